//! `load_balancer:` of a Mapping.

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::Diagnostics;

use crate::ir::balance::{HashOn, LoadBalancer, Policy};

/// How a host is chosen.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LoadBalancerSpec {
    /// `round_robin`, `least_request`, `ring_hash` or `maglev`; the last two choose by what a request
    /// has, so they need one of `cookie`, `header` and `source_ip`.
    policy: Option<String>,
    /// The cookie that is hashed.
    cookie: Option<CookieSpec>,
    /// The header that is hashed.
    header: Option<String>,
    /// Whether the client's address is hashed. Default: false.
    source_ip: Option<bool>,
}

/// A cookie.
#[derive(Debug, Deserialize, JsonSchema)]
struct CookieSpec {
    /// Its name.
    name: Option<String>,
    /// Its path, where Envoy sets it. Default: none.
    path: Option<String>,
    /// Its lifetime, as in `30s`; with it Envoy sets the cookie where it is missing.
    ttl: Option<String>,
}

impl LoadBalancerSpec {
    /// Reads it. `None` when it cannot be in force.
    pub(super) fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<LoadBalancer> {
        let policy = match self.policy.as_deref().unwrap_or_default() {
            "round_robin" => Policy::RoundRobin,
            "least_request" => Policy::LeastRequest,
            "ring_hash" => Policy::RingHash,
            "maglev" => Policy::Maglev,
            other => {
                found
                    .error(format!("{path}.policy"), format!("unknown policy `{other}`"))
                    .hint("round_robin, least_request, ring_hash or maglev");
                return None;
            }
        };
        let header = self.header.as_deref().filter(|h| !h.is_empty());
        let mut hashed: Vec<HashOn> =
            header.map(|h| HashOn::Header(h.to_owned())).into_iter().collect();
        if let Some(cookie) = &self.cookie {
            hashed.push(cookie.read(path, found)?);
        }
        if self.source_ip == Some(true) {
            hashed.push(HashOn::SourceIp);
        }
        let hashes = matches!(policy, Policy::RingHash | Policy::Maglev);
        let count = hashed.len();
        let hash_on = hashed.pop().filter(|_| hashes);
        if (hashes && count != 1) || (!hashes && count != 0) {
            let word = policy.as_str();
            let text = if hashes {
                format!("{word} needs exactly one of cookie, header and source_ip")
            } else {
                format!("{word} takes neither cookie nor header nor source_ip")
            };
            found.error(path, text).hint("ring_hash and maglev choose by what a request has");
            return None;
        }
        Some(LoadBalancer { policy, hash_on })
    }
}

impl CookieSpec {
    fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<HashOn> {
        let Some(name) = self.name.clone().filter(|n| !n.is_empty()) else {
            found.error(format!("{path}.cookie.name"), "a cookie needs a name");
            return None;
        };
        let ttl = self.ttl.as_deref().filter(|t| !t.is_empty());
        let ttl_ms = match ttl.map(service_kit::go::parse_duration) {
            None => None,
            Some(Ok(ttl)) => Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX >> 1)),
            Some(Err(why)) => {
                found.error(format!("{path}.cookie.ttl"), why.to_string()).hint("as in 30s or 2h");
                return None;
            }
        };
        Some(HashOn::Cookie { name, path: self.path.clone().unwrap_or_default(), ttl_ms })
    }
}
