//! One fetch of a document over HTTP.

use std::time::Duration;

use authz_core::keys;
use authz_core::need::{Document, Fetch};
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use sha2::{Digest as _, Sha256};

use crate::edge::Addresses;

/// Longest time for a fetch; requests that wait for it have their own.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For how long a document is good when its server does not say.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// For how long at most, whatever the server says.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A document and for how long it is good.
pub(super) struct Fetched {
    pub(super) document: Document,
    /// SHA-256 of its bytes.
    pub(super) digest: [u8; 32],
    pub(super) lifetime: Duration,
}

/// HTTP clients; those that accept any certificate are apart.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    addresses: Addresses,
    strict: reqwest::Client,
    insecure: reqwest::Client,
}

impl Clients {
    pub(super) fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        let builder = || addresses.client().timeout(TIMEOUT).connect_timeout(TIMEOUT);
        Ok(Self {
            addresses: addresses.clone(),
            strict: builder().build()?,
            insecure: builder().danger_accept_invalid_certs(true).build()?,
        })
    }

    /// Fetches the document; the error is in words for the log.
    pub(super) async fn fetch(
        &self,
        fetch: &Fetch,
        max_stale: Duration,
    ) -> Result<Fetched, String> {
        let url: reqwest::Url = fetch.url.parse().map_err(|_| "its address is no URL")?;
        if !self.addresses.may_call_url(&url) {
            return Err("its address must not be called (see --deny-addresses)".to_owned());
        }
        let client = if fetch.insecure_tls { &self.insecure } else { &self.strict };
        let mut request = client.get(url).header("accept", "application/json");
        if !max_stale.is_zero() {
            request = request.header(CACHE_CONTROL, format!("max-stale={}", max_stale.as_secs()));
        }
        let mut response = request.send().await.map_err(|e| words(&e))?;
        if response.status() != 200 {
            return Err(format!("its server answered {}", response.status()));
        }
        let lifetime = lifetime(response.headers(), max_stale);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| words(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > keys::MAX_LEN {
                return Err("it is longer than 1 MiB".to_owned());
            }
        }
        // A large one takes the processor for some time.
        let what = fetch.what;
        let read = move || {
            Document::parse(what, &body).map(|document| Fetched {
                document,
                digest: Sha256::digest(&body).into(),
                lifetime,
            })
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| "a fault of this program".to_owned())?
    }
}

fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// `Cache-Control` of a response; with `max_stale`, `no-store` and `no-cache` are not obeyed.
fn lifetime(headers: &HeaderMap, max_stale: Duration) -> Duration {
    let directives: Vec<String> = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|d| d.trim().to_ascii_lowercase())
        .collect();
    let forbidden = directives.iter().any(|d| d == "no-store" || d == "no-cache");
    if forbidden && max_stale.is_zero() {
        return Duration::ZERO;
    }
    let max_age = directives
        .iter()
        .find_map(|d| d.strip_prefix("max-age=")?.trim_matches('"').parse().ok())
        .map_or(DEFAULT_LIFETIME, Duration::from_secs);
    max_age.saturating_add(max_stale).min(MAX_LIFETIME.max(max_stale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caching_follows_the_server_unless_stale_keys_are_allowed() {
        let seconds = |value: &'static str, stale| {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, value.parse().unwrap())]);
            lifetime(&headers, Duration::from_secs(stale)).as_secs()
        };
        assert_eq!(seconds("public, max-age=60", 0), 60);
        assert_eq!(seconds("no-store", 0), 0);
        assert_eq!(seconds("No-Cache, max-age=60", 30), 90);
        assert_eq!(seconds("private", 0), 300);
        assert_eq!(seconds("max-age=99999999", 0), 86400);
    }
}
