//! What is counted. Handles of limits are made when limits are loaded; a request only adds.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use ratelimit_core::{Count, CounterKind, Limits, Plan, Planned};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    domain: String,
    limit: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of the service.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub ok: Counter,
    pub over_limit: Counter,
    /// Requests that were wrong themselves.
    pub refused: Counter,
    /// Requests that the store could not serve.
    pub store_failed: Counter,
    pub config_loaded: Counter,
    pub config_refused: Counter,
    limits: [Family<LimitLabels, Counter>; 4],
}

/// The counters of one limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitMetrics {
    total: Counter,
    over: Counter,
    near: Counter,
    within: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::<Outcome, Counter>::default();
        let configs = Family::<Outcome, Counter>::default();
        registry.register("ratelimit_requests", "Requests by outcome", requests.clone());
        registry.register("ratelimit_config_loads", "Configurations by outcome", configs.clone());
        let limits: [Family<LimitLabels, Counter>; 4] = Default::default();
        let names = [
            ("ratelimit_total_hits", "Hits that met a limit"),
            ("ratelimit_over_limit", "Hits over a limit"),
            ("ratelimit_near_limit", "Hits within a limit, near its end"),
            ("ratelimit_within_limit", "Hits within a limit"),
        ];
        for ((name, help), family) in names.into_iter().zip(&limits) {
            registry.register(name, help, family.clone());
        }
        let of = |family: &Family<Outcome, Counter>, outcome| {
            family.get_or_create(&Outcome { outcome }).clone()
        };
        Self {
            ok: of(&requests, "ok"),
            over_limit: of(&requests, "over_limit"),
            refused: of(&requests, "refused"),
            store_failed: of(&requests, "store_failed"),
            config_loaded: of(&configs, "loaded"),
            config_refused: of(&configs, "refused"),
            limits,
        }
    }

    /// The counters of all limits, by id; those of limits that are gone are forgotten.
    pub(crate) fn of_limits(&self, limits: &Limits) -> Vec<LimitMetrics> {
        let mut all = vec![LimitMetrics::default(); limits.resources.limit_count()];
        for family in &self.limits {
            family.clear();
        }
        let mut put = |id: usize, domain: &str, limit: String| {
            if let Some(slot) = all.get_mut(id) {
                let labels = LimitLabels { domain: domain.to_owned(), limit };
                let of = |i: usize| self.limits[i].get_or_create(&labels).clone();
                *slot = LimitMetrics { total: of(0), over: of(1), near: of(2), within: of(3) };
            }
        };
        for (domain, path, tree) in limits.files.limits() {
            put(tree.limit.id, domain, path);
        }
        for (domain, limit) in limits.resources.limits() {
            put(limit.limit.id, domain, limit.limit.name.to_string());
        }
        all
    }
}

/// Adds what a request did to the counters of its limits, by envoyproxy/ratelimit's rules.
pub(crate) fn count(limits: &[LimitMetrics], plan: &Plan<'_>, counts: &[Count], near_ratio: f32) {
    for planned in &plan.descriptors {
        let Planned::Limited(matched, index) = planned else { continue };
        let (Some(metrics), Some(counter), Some(count)) =
            (limits.get(matched.limit().id), plan.counters.get(*index), counts.get(*index))
        else {
            continue;
        };
        let hits = counter.hits;
        metrics.total.inc_by(hits);
        match (counter.kind, *count) {
            (CounterKind::Window { limit, .. }, Count::Window { after }) if !counter.refund => {
                let before = after.saturating_sub(hits);
                let near = near_threshold(limit, near_ratio);
                if after <= limit {
                    metrics.within.inc_by(hits);
                    if after > near {
                        metrics.near.inc_by(if before >= near { hits } else { after - near });
                    }
                } else if before >= limit {
                    metrics.over.inc_by(hits);
                } else {
                    metrics.over.inc_by(after - limit);
                    metrics.near.inc_by(limit.saturating_sub(near.max(before)));
                }
            }
            (_, Count::Bucket { allowed: false, .. }) => {
                metrics.over.inc_by(hits);
            }
            _ => {
                metrics.within.inc_by(hits);
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn near_threshold(limit: u64, ratio: f32) -> u64 {
    (limit as f32 * ratio).floor() as u64
}
