//! Filter kind APIKey: a key in a header, one of the values of some Secrets.

use std::collections::HashSet;
use std::fmt;

use sha2::{Digest, Sha256};

use super::Verdict;
use crate::context::Context;
use crate::reply::Reply;

/// The header's name when none is given.
pub const DEFAULT_HEADER: &str = "x-api-key";

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

    /// Allows a request whose header is exactly one of the keys.
    pub fn judge(&self, context: &Context<'_>) -> Verdict {
        match context.header(&self.header) {
            Some(key) if self.digests.contains(&digest(key.as_bytes())) => {
                Verdict::Allow(Vec::new())
            }
            found => {
                let message = match found {
                    None | Some("") => "an API key is missing",
                    Some(_) => "the API key is not valid",
                };
                Verdict::Deny(Reply::json(401, message, context.request_id()))
            }
        }
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}
