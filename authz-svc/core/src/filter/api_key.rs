//! Filter kind APIKey: a key in a header, one of the values of some Secrets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::{Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::{Context, Identity};
use crate::reply::Reply;
use crate::request::is_settable;
use crate::spec::unset_if_empty;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// The header's name when none is given.
pub const DEFAULT_HEADER: &str = "x-api-key";

/// `Filter.spec.APIKey`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["keys"]))]
pub struct Spec {
    /// The header that has the key. Default: `X-API-Key`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub http_header: Option<String>,
    /// Where the accepted keys are.
    #[serde(default)]
    pub keys: Option<Vec<KeySecret>>,
    /// Whether the header is removed from requests that are allowed. Default: false.
    #[serde(default)]
    pub strip_header: Option<bool>,
}

/// One Secret of accepted keys, in the Filter's namespace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySecret {
    /// Every value of this Secret is an accepted key.
    #[serde(default)]
    pub secret_name: String,
    /// Whose the keys are. Default: for each key its name in the Secret.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub identity: Option<String>,
    /// The plan of the keys: `plan` in Envoy's dynamic metadata, for limits by plan.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub plan: Option<String>,
    /// When the keys end, as in `2030-01-31T00:00:00Z` (RFC 3339). Default: never.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub expires: Option<String>,
}

/// A compiled APIKey filter.
pub struct ApiKey {
    header: String,
    strip: bool,
    /// By the digests of the accepted keys: what is compared says nothing of the keys by its timing.
    keys: HashMap<[u8; 32], Grant>,
}

/// What a key gives.
#[derive(Clone)]
struct Grant {
    subject: Arc<str>,
    attributes: Arc<Json>,
    /// Since the Unix epoch.
    until: Option<Duration>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Judge for ApiKey {
    /// Allows a request whose header is exactly one of the keys.
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let message = match context.header(&self.header) {
            None | Some("") => "an API key is missing",
            Some(key) => match self.keys.get(&digest(key.as_bytes())) {
                None => "the API key is not valid",
                Some(grant) if grant.until.is_some_and(|until| context.now >= until) => {
                    "the API key is expired"
                }
                Some(grant) => return Ok(self.allow(grant)),
            },
        };
        Ok(Verdict::Deny(Reply::json(401, message, context.request_id())))
    }
}

impl ApiKey {
    fn allow(&self, grant: &Grant) -> Verdict {
        let identity = Identity {
            subject: grant.subject.as_ref().to_owned(),
            attributes: grant.attributes.clone(),
        };
        let headers = if self.strip { vec![(self.header.clone(), None)] } else { Vec::new() };
        Verdict::Allow(Box::new(Modification {
            headers,
            identity: Some(identity),
            ..Modification::default()
        }))
    }
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let header = spec.http_header.as_deref().unwrap_or(DEFAULT_HEADER).to_ascii_lowercase();
    if !is_settable(&header) {
        compiling.error("httpHeader", format!("`{header}` is not a header name"));
    }
    let secrets = spec.keys.as_deref().unwrap_or_default();
    if secrets.is_empty() {
        compiling
            .error("keys", "no keys are named, so nobody could pass")
            .hint("name at least one Secret: keys: [{secretName: …}]");
    }
    let mut keys = HashMap::new();
    for (i, secret) in secrets.iter().enumerate() {
        take(&mut keys, secret, &format!("keys[{i}]"), compiling);
    }
    Some(Box::new(ApiKey { header, strip: spec.strip_header == Some(true), keys }))
}

/// The keys of a Secret; an empty one is none, and of equal ones the first counts.
fn take(
    keys: &mut HashMap<[u8; 32], Grant>,
    spec: &KeySecret,
    path: &str,
    compiling: &mut Compiling<'_, '_>,
) {
    let until = spec.expires.as_deref().and_then(|text| expiry(text, path, compiling));
    let attributes = Arc::new(match &spec.plan {
        Some(plan) => json!({ "plan": plan }),
        None => json!({}),
    });
    let data = compiling.secret(&format!("{path}.secretName"), &spec.secret_name, None);
    let mut again = 0;
    for (name, key) in data.into_iter().flatten().filter(|(_, key)| !key.expose().is_empty()) {
        let subject = spec.identity.as_deref().unwrap_or(name).into();
        match keys.entry(digest(key.expose())) {
            Entry::Occupied(_) => again += 1,
            Entry::Vacant(entry) => {
                entry.insert(Grant { subject, attributes: attributes.clone(), until });
            }
        }
    }
    if again > 0 {
        compiling
            .warning(
                &format!("{path}.secretName"),
                format!("{again} of its keys stand more than once; the first of each counts"),
            )
            .hint("give every client a key of its own");
    }
}

fn expiry(text: &str, path: &str, compiling: &mut Compiling<'_, '_>) -> Option<Duration> {
    let path = format!("{path}.expires");
    match text.parse::<Timestamp>() {
        // What ended before the epoch ended at it.
        Ok(time) => Some(Duration::try_from(time.as_duration()).unwrap_or_default()),
        Err(_) => {
            compiling
                .error(&path, format!("`{text}` is not a time"))
                .hint("write it as in 2030-01-31T00:00:00Z (RFC 3339)");
            None
        }
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
#[path = "api_key/tests.rs"]
mod tests;
