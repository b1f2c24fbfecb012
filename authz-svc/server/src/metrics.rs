//! What is counted. Handles are made at start; a request only adds.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Requests that may pass.
    pub allowed: Counter,
    /// Requests that were refused (4xx).
    pub denied: Counter,
    /// Requests that were refused for a fault of ours or the configuration (5xx).
    pub failed: Counter,
    /// Key sets fetched.
    pub fetched: Counter,
    /// Key sets that could not be fetched.
    pub fetch_failed: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let checks = Family::<Outcome, Counter>::default();
        let fetches = Family::<Outcome, Counter>::default();
        registry.register("authz_checks", "Checks by outcome", checks.clone());
        registry.register(
            "authz_key_set_fetches",
            "Fetches of key sets by outcome",
            fetches.clone(),
        );
        let of = |family: &Family<Outcome, Counter>, outcome| {
            family.get_or_create(&Outcome { outcome }).clone()
        };
        Self {
            allowed: of(&checks, "allowed"),
            denied: of(&checks, "denied"),
            failed: of(&checks, "failed"),
            fetched: of(&fetches, "ok"),
            fetch_failed: of(&fetches, "failed"),
        }
    }
}
