//! Filter kind APIKey: a key in a header, one of the values of some Secrets.

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Judge, Judged, Verdict};
use crate::arguments::Arguments;
use crate::compile::Compiling;
use crate::context::Context;
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
}

/// One Secret of accepted keys, in the Filter's namespace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySecret {
    /// Every value of this Secret is an accepted key.
    #[serde(default)]
    pub secret_name: String,
}

/// A compiled APIKey filter.
pub struct ApiKey {
    header: String,
    /// Digests of the accepted keys: what is compared says nothing of the keys by its timing.
    digests: HashSet<[u8; 32]>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("header", &self.header).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// Accepts `keys` in `header` (any case). An empty key is not one.
    pub fn new<'a>(header: &str, keys: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let digests = keys.into_iter().filter(|k| !k.is_empty()).map(digest).collect();
        Self { header: header.to_ascii_lowercase(), digests }
    }
}

impl Judge for ApiKey {
    /// Allows a request whose header is exactly one of the keys.
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        Ok(match context.header(&self.header) {
            Some(key) if self.digests.contains(&digest(key.as_bytes())) => Verdict::allow(),
            found => {
                let message = match found {
                    None | Some("") => "an API key is missing",
                    Some(_) => "the API key is not valid",
                };
                Verdict::Deny(Reply::json(401, message, context.request_id()))
            }
        })
    }
}

/// Compiles `spec`. What is wrong is told to `compiling`.
pub(crate) fn compile(spec: &Spec, compiling: &mut Compiling<'_, '_>) -> Option<Box<dyn Judge>> {
    let header = spec.http_header.as_deref().unwrap_or(DEFAULT_HEADER);
    if !is_settable(&header.to_ascii_lowercase()) {
        compiling.error("httpHeader", format!("`{header}` is not a header name"));
    }
    let names = spec.keys.as_deref().unwrap_or_default();
    if names.is_empty() {
        compiling
            .error("keys", "no keys are named, so nobody could pass")
            .hint("name at least one Secret: keys: [{secretName: …}]");
    }
    let mut keys: Vec<&[u8]> = Vec::new();
    for (i, key) in names.iter().enumerate() {
        let data = compiling.secret(&format!("keys[{i}].secretName"), &key.secret_name, None);
        keys.extend(data.into_iter().flatten().map(|(_, v)| v.expose().as_slice()));
    }
    Some(Box::new(ApiKey::new(header, keys)))
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}
