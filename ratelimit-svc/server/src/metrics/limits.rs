//! Hits of single limits, by the rules of envoyproxy/ratelimit.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use ratelimit_core::{Count, Counter as Counted, CounterKind, Plan, Planned};

/// Most series that are named after values of requests. Those that do not fit are counted under
/// the limit's own name.
const MAX_BY_VALUE: usize = 10_000;
/// What limits that requests bring themselves are counted under.
const OVERRIDE: &str = "(request)";

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    domain: Arc<str>,
    limit: Arc<str>,
}

/// Name and help of each counter of a limit, in the order of [`LimitMetrics`]' fields.
const COUNTERS: [(&str, &str); 7] = [
    ("ratelimit_total_hits", "Hits that met a limit"),
    ("ratelimit_over_limit", "Hits over a limit"),
    ("ratelimit_near_limit", "Hits within a limit, near its end"),
    ("ratelimit_within_limit", "Hits within a limit"),
    ("ratelimit_over_limit_with_local_cache", "Hits over a limit that the local cache knew of"),
    ("ratelimit_shadow_mode", "Hits over a limit in shadow mode"),
    ("ratelimit_negative_hits", "Hits that were given back"),
];

/// The counters of one limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitMetrics {
    domain: Arc<str>,
    total: Counter,
    over: Counter,
    near: Counter,
    within: Counter,
    over_by_cache: Counter,
    shadow: Counter,
    negative: Counter,
}

/// The counters of all limits.
#[derive(Clone, Debug)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    families: [Family<Labels, Counter>; COUNTERS.len()],
    series: Mutex<Series>,
    overrides: LimitMetrics,
    enabled: bool,
}

#[derive(Debug, Default)]
struct Series {
    /// Of the limits in force.
    of_limits: HashSet<Labels>,
    /// Named after values of requests.
    by_value: HashMap<Labels, LimitMetrics>,
}

impl Limits {
    pub(super) fn register(registry: &mut Registry, enabled: bool) -> Self {
        let families: [Family<Labels, Counter>; COUNTERS.len()] = Default::default();
        if enabled {
            for ((name, help), family) in COUNTERS.into_iter().zip(&families) {
                registry.register(name, help, family.clone());
            }
        }
        let overrides = Labels { domain: Arc::default(), limit: OVERRIDE.into() };
        let overrides = if enabled { of(&families, &overrides) } else { LimitMetrics::default() };
        Self(Arc::new(Inner { families, series: Mutex::default(), overrides, enabled }))
    }

    /// The counters of all limits, by id. Those of limits that are gone are forgotten; the others
    /// go on.
    pub(crate) fn of_limits(&self, limits: &ratelimit_core::Limits) -> Vec<LimitMetrics> {
        let mut all = vec![LimitMetrics::default(); limits.resources.limit_count()];
        if !self.0.enabled {
            return all;
        }
        let mut series = self.series();
        let mut now = HashSet::new();
        let mut put = |id: usize, domain: &str, limit: &str| {
            if let Some(slot) = all.get_mut(id) {
                let labels = Labels { domain: domain.into(), limit: limit.into() };
                *slot = of(&self.0.families, &labels);
                now.insert(labels);
            }
        };
        for (domain, path, tree) in limits.files.limits() {
            put(tree.limit.id, domain, &path);
        }
        for (domain, limit) in limits.resources.limits() {
            put(limit.limit.id, domain, &limit.limit.name);
        }
        let by_value = std::mem::take(&mut series.by_value);
        for gone in series.of_limits.difference(&now).chain(by_value.keys()) {
            if !now.contains(gone) {
                self.forget(gone);
            }
        }
        series.of_limits = now;
        all
    }

    /// Adds what a request did to the counters of its limits.
    pub(crate) fn count(
        &self,
        limits: &[LimitMetrics],
        plan: &Plan<'_>,
        counts: &[Count],
        near_ratio: f32,
    ) {
        if !self.0.enabled {
            return;
        }
        for planned in &plan.descriptors {
            let Planned::Limited(matched, index) = planned else { continue };
            let (Some(counter), Some(count)) = (plan.counters.get(*index), counts.get(*index))
            else {
                continue;
            };
            let limit = matched.limit();
            let own = limits.get(limit.id).unwrap_or(&self.0.overrides);
            match &counter.metric {
                None => own.add(counter, *count, limit.shadow, near_ratio),
                Some(name) => {
                    self.by_value(own, name).add(counter, *count, limit.shadow, near_ratio);
                }
            }
        }
    }

    /// The counters named `name` in the domain of `own`; `own` when there are too many names.
    fn by_value(&self, own: &LimitMetrics, name: &str) -> LimitMetrics {
        let labels = Labels { domain: own.domain.clone(), limit: name.into() };
        let mut series = self.series();
        if let Some(known) = series.by_value.get(&labels) {
            return known.clone();
        }
        if series.by_value.len() >= MAX_BY_VALUE {
            return own.clone();
        }
        let metrics = of(&self.0.families, &labels);
        series.by_value.insert(labels, metrics.clone());
        metrics
    }

    fn forget(&self, labels: &Labels) {
        for family in &self.0.families {
            family.remove(labels);
        }
    }

    fn series(&self) -> MutexGuard<'_, Series> {
        self.0.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(families: &[Family<Labels, Counter>; COUNTERS.len()], labels: &Labels) -> LimitMetrics {
    let [total, over, near, within, over_by_cache, shadow, negative] =
        families.each_ref().map(|family| family.get_or_create(labels).clone());
    let domain = labels.domain.clone();
    LimitMetrics { domain, total, over, near, within, over_by_cache, shadow, negative }
}

impl LimitMetrics {
    fn add(&self, counter: &Counted, count: Count, shadow: bool, near_ratio: f32) {
        let hits = counter.hits;
        if counter.refund {
            self.negative.inc_by(hits);
            return;
        }
        self.total.inc_by(hits);
        let over = match (counter.kind, count) {
            (CounterKind::Window { limit, .. }, Count::Window { after }) => {
                self.add_to_window(limit, after, hits, near_ratio)
            }
            (_, Count::Over) => {
                self.over.inc_by(hits);
                self.over_by_cache.inc_by(hits);
                true
            }
            (
                _,
                Count::Bucket { allowed: false, .. }
                | Count::Sliding { allowed: false, .. }
                | Count::Uncounted { allowed: false },
            ) => {
                self.over.inc_by(hits);
                true
            }
            _ => {
                self.within.inc_by(hits);
                false
            }
        };
        if over && shadow {
            self.shadow.inc_by(hits);
        }
    }

    /// Gives whether the window is over.
    fn add_to_window(&self, limit: u64, after: u64, hits: u64, near_ratio: f32) -> bool {
        let before = after.saturating_sub(hits);
        let near = near_threshold(limit, near_ratio);
        if after <= limit {
            self.within.inc_by(hits);
            if after > near {
                self.near.inc_by(if before >= near { hits } else { after - near });
            }
            return false;
        }
        if before >= limit {
            self.over.inc_by(hits);
        } else {
            self.over.inc_by(after - limit);
            self.near.inc_by(limit.saturating_sub(near.max(before)));
        }
        true
    }
}

/// As the original: in single precision, rounded down.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn near_threshold(limit: u64, ratio: f32) -> u64 {
    (limit as f32 * ratio).floor() as u64
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
