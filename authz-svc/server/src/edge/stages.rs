//! How long each kind of need takes: the stages of a decision.

use authz_core::need::Need;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds.
const BUCKETS: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 4.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

/// The times.
#[derive(Debug)]
pub(crate) struct Stages {
    document: Histogram,
    http: Histogram,
    grpc: Histogram,
    store: Histogram,
    compute: Histogram,
}

impl Stages {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let family: Family<StageLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let text = "Waits of decisions: for documents, calls, the store of sessions, computations";
        registry.register("authz_stage_seconds", text, family.clone());
        let of = |stage| family.get_or_create(&StageLabel { stage }).clone();
        Self {
            document: of("document"),
            http: of("http"),
            grpc: of("grpc"),
            store: of("store"),
            compute: of("compute"),
        }
    }

    /// The time of a need; none of those that say nothing about others.
    pub(super) fn of(&self, need: &Need) -> Option<&Histogram> {
        match need {
            Need::Document(_) => Some(&self.document),
            Need::Http(_) => Some(&self.http),
            Need::Grpc(_) => Some(&self.grpc),
            Need::Store(_) => Some(&self.store),
            Need::Compute(_) => Some(&self.compute),
            Need::Random | Need::Wait(_) => None,
        }
    }
}
