//! What a Kubernetes Secret has for TLS: a certificate with its key, authorities, a list of revoked
//! certificates. Texts are kept as they are; what is printable of them is nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use service_kit::{Diagnostics, Object, Secret};

use crate::certificate::{self, Validity};

/// Keys with a certificate chain, in the order in which they are looked at.
const CHAIN: &[&str] = &["tls.crt", "cert-chain.pem"];
/// Keys with the private key.
const KEY: &[&str] = &["tls.key", "key.pem"];
/// Keys with authorities. A Secret of an authority has its own certificate as `tls.crt`.
const AUTHORITIES: &[&str] = &["tls.crt", "ca.crt", "root-cert.pem", "cert-chain.pem"];
/// Keys with revoked certificates.
const REVOKED: &[&str] = &["crl.pem", "ca.crl", "tls.crl"];

/// The type of a Secret that Istio writes, with certificate, key and authorities.
const ISTIO: &str = "istio.io/key-and-cert";

/// A PEM text, when it is valid, or why it cannot be used; none where the Secret has no such key.
pub type Part<T> = Option<Result<(T, Validity), String>>;

/// A certificate chain and its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The chain.
    pub chain: Vec<u8>,
    /// The key.
    pub key: Secret<Vec<u8>>,
}

/// What a Secret has for TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretTls {
    /// Certificate and key.
    pub identity: Part<Identity>,
    /// Authorities.
    pub authorities: Part<Vec<u8>>,
    /// Revoked certificates.
    pub revoked: Part<Vec<u8>>,
    /// Whether it is one of Istio's, whose authorities are those of the other side's certificate where
    /// none are named.
    pub brings_authorities: bool,
}

impl SecretTls {
    /// Reads a Secret. A certificate whose key is not its own is an error of the Secret itself.
    pub fn read(object: &Object, found: &mut Diagnostics<'_>) -> Self {
        let get = |names: &'static [&'static str]| {
            names.iter().find_map(|name| Some((*name, value(object, name)?)))
        };
        let identity = match (get(CHAIN), get(KEY)) {
            (Some((_, chain)), Some((name, key))) => {
                let checked = certificate::check_pair(&chain, &key);
                if let Err(why) = &checked {
                    found
                        .error(format!("data.{name}"), format!("it cannot be used for TLS: {why}"))
                        .hint("write both parts of one certificate, in one step");
                }
                Some(checked.map(|valid| (Identity { chain, key: Secret::new(key) }, valid)))
            }
            (Some(_), None) => Some(Err("it has no tls.key".to_owned())),
            (None, Some(_)) => Some(Err("it has no tls.crt".to_owned())),
            (None, None) => None,
        };
        let checked = |names, check: fn(&[u8]) -> Result<Validity, String>| {
            get(names).map(|(_, pem)| check(&pem).map(|valid| (pem, valid)))
        };
        let istio = object.json.get("type").and_then(Value::as_str) == Some(ISTIO);
        Self {
            identity,
            brings_authorities: istio
                && get(AUTHORITIES).is_some_and(|(name, _)| name == "root-cert.pem"),
            authorities: checked(AUTHORITIES, certificate::check_authorities),
            revoked: checked(REVOKED, certificate::check_revoked),
        }
    }
}

/// `stringData` goes before `data`, as at the API server. An empty value is none.
fn value(object: &Object, key: &str) -> Option<Vec<u8>> {
    let text = |field: &str| object.json.get(field)?.get(key).and_then(Value::as_str);
    let bytes = match text("stringData") {
        Some(plain) => plain.as_bytes().to_vec(),
        None => STANDARD.decode(text("data")?.trim()).ok()?,
    };
    (!bytes.is_empty()).then_some(bytes)
}
