//! `Host`: a domain, which Mappings it takes, and what happens to requests in the clear.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};
use super::selector::{Selector, SelectorSpec};
use super::tls::{TlsSettings, TlsSpec};
use crate::syntax::Hostname;

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("acmeProvider", Treatment::NoEffect),
    ("ambassadorId", Treatment::NoEffect),
    ("ambassador_id", Treatment::NoEffect),
];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code, non_snake_case)]
struct UnreadFields {
    /// Was for certificates by ACME: `authority`, `email`, `privateKeySecret`, `registration`.
    acmeProvider: Option<BTreeMap<String, Value>>,
    /// Another spelling of `ambassador_id`.
    ambassadorId: Option<AmbassadorId>,
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// Its name.
    name: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SecretRef {
    /// Its name.
    name: Option<String>,
    /// Its namespace. Default: the Host's.
    namespace: Option<String>,
}

/// A domain, which Mappings it takes, and what happens to requests in the clear.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.tls) && has(self.tlsContext))",
    "message": "tls and tlsContext exclude each other; keep the settings in one place",
}]))]
struct Raw {
    /// The domain: a whole name, `*.example.org`, `www.*` or `*`. Default: `*`.
    hostname: Option<String>,
    /// Labels of the Mappings it takes; those with a `hostname` must also fit that.
    mapping_selector: Option<SelectorSpec>,
    /// Deprecated, use `mappingSelector`.
    selector: Option<SelectorSpec>,
    /// What happens to requests by the way they came.
    request_policy: Option<RequestPolicy>,
    /// Settings of TLS, in snake or camel case.
    tls: Option<TlsSpec>,
    /// The TLSContext with the settings of TLS.
    tls_context: Option<Named>,
    /// The Secret with the certificate; none: that of the TLSContext, else no TLS.
    tls_secret: Option<SecretRef>,
    /// Has no effect.
    #[schemars(with = "Option<BTreeMap<String, Value>>", extend("x-support" = "no effect"))]
    preview_url: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct RequestPolicy {
    /// Requests in the clear.
    insecure: Option<Insecure>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Insecure {
    /// They are sent to https (`Redirect`), served (`Route`) or unknown (`Reject`). Default:
    /// `Redirect`.
    #[schemars(extend("enum" = ["Redirect", "Route", "Reject"]))]
    action: Option<String>,
    /// Has no effect: Listeners have the ports.
    #[serde(rename = "additionalPort")]
    #[schemars(extend("x-support" = "no effect"))]
    additional_port: Option<i64>,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// What happens to a request that did not come over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InsecureAction {
    /// The client is sent to https.
    Redirect,
    /// It is routed.
    Route,
    /// It is not known.
    Reject,
}

impl InsecureAction {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "Redirect",
            Self::Route => "Route",
            Self::Reject => "Reject",
        }
    }
}

/// How a Host is served over TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostTls {
    /// Namespace and name of the Secret with the certificate.
    pub secret: Option<(String, String)>,
    /// The name of the TLSContext with the settings.
    pub context: Option<String>,
    /// The settings, if they are the Host's own.
    pub settings: Option<TlsSettings>,
}

/// A Host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its domain.
    pub hostname: Hostname,
    /// Which Mappings it takes; none: by hostname only.
    pub selector: Option<Selector>,
    /// What happens to requests in the clear.
    pub insecure: InsecureAction,
    /// TLS.
    pub tls: HostTls,
    /// The object's labels, for `hostBinding`.
    pub object_labels: BTreeMap<String, String>,
}

impl Host {
    /// Reads a Host's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        check_acme(&spec, found);
        let mut good = fields::strip("Host", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let text = raw.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or("*");
        let hostname = Hostname::parse(text);
        if let Err(why) = &hostname {
            found.error("spec.hostname", why.clone());
        }
        if raw.preview_url.is_some_and(|p| !fields::is_unset(&p)) {
            found.warning("spec.previewUrl", "it has no effect");
        }
        let (selector, path) = match (&raw.mapping_selector, &raw.selector) {
            (Some(selector), _) => (Some(selector), "spec.mappingSelector"),
            (None, selector) => (selector.as_ref(), "spec.selector"),
        };
        let selector = selector.map(|s| s.read(path, found));
        good &= selector.as_ref().is_none_or(Option::is_some);
        let insecure = raw.request_policy.and_then(|p| p.insecure);
        if insecure.as_ref().and_then(|i| i.additional_port).is_some_and(|port| port > 0) {
            found
                .notice("spec.requestPolicy.insecure.additionalPort", "it has no effect here")
                .hint("create a Listener for the port");
        }
        let insecure = insecure.and_then(|i| i.action);
        let insecure = match insecure.as_deref() {
            None | Some("" | "Redirect") => InsecureAction::Redirect,
            Some("Route") => InsecureAction::Route,
            Some("Reject") => InsecureAction::Reject,
            Some(other) => {
                found
                    .error(
                        "spec.requestPolicy.insecure.action",
                        format!("unknown action `{other}`"),
                    )
                    .hint("Redirect, Route or Reject");
                return None;
            }
        };
        let tls = read_tls(object, raw.tls, raw.tls_context, raw.tls_secret, found);
        let hostname = hostname.ok().filter(|_| good)?;
        Some(Self {
            tls: tls?,
            hostname,
            selector: selector.flatten().flatten(),
            insecure,
            object_labels: object.labels.clone(),
        })
    }

    /// The Host that is there when there is none: every domain, in the clear, or over TLS with the
    /// certificate of `secret` if there is one; then requests in the clear are sent there.
    pub fn fallback(secret: Option<(String, String)>) -> Self {
        let insecure =
            if secret.is_some() { InsecureAction::Redirect } else { InsecureAction::Route };
        Self {
            tls: HostTls { secret, ..HostTls::default() },
            hostname: Hostname::Any,
            selector: None,
            insecure,
            object_labels: BTreeMap::new(),
        }
    }

    /// Whether it takes a Mapping with this hostname and these labels; `loose`: one of the two, and of
    /// the labels, is enough.
    pub fn takes(
        &self,
        hostname: Option<&Hostname>,
        any_host: bool,
        labels: &BTreeMap<String, String>,
        loose: bool,
    ) -> bool {
        let by_name = || any_host || hostname.is_some_and(|h| h.overlaps(&self.hostname));
        match &self.selector {
            Some(selector) if loose => selector.fits_loosely(labels) || by_name(),
            Some(selector) => selector.fits(labels) && (hostname.is_none() || by_name()),
            None => by_name(),
        }
    }
}

/// Certificates by ACME come from others.
fn check_acme(spec: &Value, found: &mut Diagnostics<'_>) {
    let provider = spec.get("acmeProvider").filter(|p| !fields::is_unset(p));
    let authority = provider.and_then(|p| p["authority"].as_str());
    if provider.is_some() && authority != Some("none") {
        let text = "no certificate is asked for: it has no effect here";
        found
            .notice("spec.acmeProvider", text)
            .hint("have cert-manager write the Secret that tlsSecret names");
    }
    if provider.is_some_and(|p| !fields::is_unset(&p["privateKeySecret"])) {
        found
            .notice(
                "spec.acmeProvider.privateKeySecret",
                "it has no effect here, nor is it looked for",
            )
            .hint("remove it");
    }
}

fn read_tls(
    object: &Object,
    own: Option<TlsSpec>,
    context: Option<Named>,
    secret: Option<SecretRef>,
    found: &mut Diagnostics<'_>,
) -> Option<HostTls> {
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let context = context.and_then(|c| given(c.name));
    if own.is_some() && context.is_some() {
        found
            .error("spec.tlsContext", "tls and tlsContext exclude each other")
            .hint("keep the settings in one place");
        return None;
    }
    let settings = match &own {
        Some(spec) => Some(spec.read("spec.tls", found)?),
        None => None,
    };
    if settings.as_ref().is_some_and(|s| s.server_name.is_some()) {
        found
            .notice(
                "spec.tls.sni",
                "it has no effect here: it is the name that services are asked for",
            )
            .hint("write it in the TLSContext that a Mapping names");
    }
    let namespace = secret.as_ref().and_then(|s| given(s.namespace.clone()));
    let secret = secret.and_then(|s| given(s.name));
    let namespace = namespace.unwrap_or_else(|| object.reference.namespace.clone());
    if secret.is_some() && settings.as_ref().is_some_and(|s| s.files.is_some()) {
        found
            .error("spec.tls.cert_chain_file", "tlsSecret and cert_chain_file exclude each other")
            .hint("keep one of them");
        return None;
    }
    let bare = settings.as_ref().is_some_and(|s| s.ca.is_some() && s.files.is_none());
    if bare && secret.is_none() {
        found
            .error("spec.tls.ca_secret", "cannot validate client certs without TLS termination")
            .hint("set tlsSecret: clients are asked for a certificate by a server that has one");
        return None;
    }
    Some(HostTls { secret: secret.map(|name| (namespace, name)), context, settings })
}
