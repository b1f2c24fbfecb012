//! Metrics that are worked out when somebody asks: ages of documents, hits of the token cache.

use std::collections::BTreeMap;
use std::fmt;

use authz_core::TokenCache;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Documents;

/// Most documents that are shown.
const MAX_SHOWN: usize = 100;

/// What is collected.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) documents: Documents,
    pub(super) tokens: TokenCache,
}

impl Documents {
    /// Seconds by host and path; of equal ones the oldest.
    fn ages(&self) -> BTreeMap<String, f64> {
        let mut ages: BTreeMap<String, f64> = BTreeMap::new();
        for entry in self.0.entries.load().values() {
            let Some(age) = entry.age() else { continue };
            let known = ages.entry(place(entry.url())).or_default();
            *known = known.max(age.as_secs_f64());
        }
        ages
    }
}

/// Host and path of a URL: the rest may be a secret.
fn place(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(url) => {
            let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
            format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
        }
        Err(_) => "invalid".to_owned(),
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "authz_document_age_seconds",
            "Seconds since a document, such as a key set, was fetched",
            None,
            MetricType::Gauge,
        )?;
        for (place, age) in self.documents.ages().into_iter().take(MAX_SHOWN) {
            ConstGauge::new(age).encode(family.encode_family(&[("document", place)])?)?;
        }
        let (hits, misses) = self.tokens.counts();
        let mut family = encoder.encode_descriptor(
            "authz_token_cache_lookups",
            "Tokens looked up in the cache of verified tokens",
            None,
            MetricType::Counter,
        )?;
        for (result, count) in [("hit", hits), ("miss", misses)] {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_no_secrets() {
        assert_eq!(place("https://u:p@idp.test/k/s?key=1#x"), "idp.test/k/s");
        assert_eq!(place("http://[::1]:8080/k"), "[::1]:8080/k");
        assert_eq!(place("nonsense"), "invalid");
    }
}
