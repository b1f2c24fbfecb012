//! `TLSContext`: settings of TLS, for Hosts and for connections to services.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};
use super::tls::{TlsSettings, TlsSpec};
use crate::syntax::Hostname;

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect)];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

/// Settings of TLS: for Hosts, or for connections to services.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// Names that this serves; none: for connections to services, and for Hosts that name it.
    hosts: Option<Vec<String>>,
    /// Secret with certificate and key.
    secret: Option<String>,
    /// Whether `name.namespace` is a Secret of another namespace. Default: the Module's
    /// `defaults.tls_secret_namespacing`, else true.
    #[serde(alias = "secretNamespacing")]
    secret_namespacing: Option<bool>,
}

/// The fields of [`Raw`]; all others are [`TlsSpec`]'s.
const OWN: &[&str] = &["hosts", "secret", "secret_namespacing", "secretNamespacing"];

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = fields::schema::<Raw, UnreadFields>(generator, UNREAD);
    fields::add_fields::<TlsSpec>(&mut schema, generator, |field| match field {
        "redirect_cleartext_from" => "no effect",
        _ => "yes",
    });
    schema
}

/// A TLSContext.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsContext {
    /// Names that it serves.
    pub hosts: Vec<Hostname>,
    /// The Secret with certificate and key, as it is written.
    pub secret: Option<String>,
    /// Whether a dot in a Secret's name parts it from its namespace; the Module's when absent.
    pub secret_namespacing: Option<bool>,
    /// The rest.
    pub settings: TlsSettings,
}

impl TlsContext {
    /// Reads a TLSContext's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        fields::strip("TLSContext", "spec", &mut spec, UNREAD, found);
        let own = take(&mut spec);
        let raw: Raw = fields::read(object, own, found)?;
        let tls: TlsSpec = fields::read(object, spec, found)?;
        let settings = tls.read("spec", found);
        let mut good = true;
        let mut hosts = Vec::new();
        for (i, text) in raw.hosts.iter().flatten().enumerate() {
            match Hostname::parse(text) {
                Ok(host) => hosts.push(host),
                Err(why) => {
                    found.error(format!("spec.hosts[{i}]"), why);
                    good = false;
                }
            }
        }
        let secret = raw.secret.filter(|s| !s.is_empty());
        let settings = settings?;
        if secret.is_some() && settings.files.is_some() {
            found
                .error("spec.cert_chain_file", "secret and cert_chain_file exclude each other")
                .hint("keep one of them");
            good = false;
        }
        let has_certificate = secret.is_some() || settings.files.is_some();
        if !hosts.is_empty() && settings.ca.is_some() && !has_certificate {
            found
                .error("spec.ca_secret", "cannot validate client certs without TLS termination")
                .hint("set secret: clients are asked for a certificate by a server that has one");
            good = false;
        }
        good.then_some(Self { hosts, secret, secret_namespacing: raw.secret_namespacing, settings })
    }
}

/// The fields of [`OWN`], taken out.
fn take(spec: &mut Value) -> Value {
    let Some(map) = spec.as_object_mut() else { return Value::Object(Map::new()) };
    let own = OWN.iter().filter_map(|name| map.remove_entry(*name));
    Value::Object(own.collect())
}
