//! Hits of single limits, by the rules of envoyproxy/ratelimit. Handles are made when limits are
//! loaded, and a request only adds. Names that depend on a request (`value_to_metric`,
//! `detailed_metric`, limits that a request brings itself, domains that nobody knows) are looked up
//! in a table that is bounded and forgets what is idle.

mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use ratelimit_core::ratelimit_file::LEVEL;
use ratelimit_core::request::{Descriptor, Request};
use ratelimit_core::{Count, Counter as Counted, CounterKind, Matched, Plan, Planned};

use super::Value;
use super::name::Naming;
use table::Table;

/// Longest name that depends on a request, in bytes.
const MAX_NAME: usize = 1_024;
/// What limits that requests bring themselves are counted under when the table is full.
const OVERRIDE: &str = "(request)";

/// Name, help and envoyproxy/ratelimit's name of each counter of a limit.
const COUNTERS: [(&str, &str, &str); 7] = [
    ("ratelimit_total_hits", "Hits that met a limit", "total_hits"),
    ("ratelimit_over_limit", "Hits over a limit", "over_limit"),
    ("ratelimit_near_limit", "Hits within a limit, near its end", "near_limit"),
    ("ratelimit_within_limit", "Hits within a limit", "within_limit"),
    (
        "ratelimit_over_limit_with_local_cache",
        "Hits over a limit that the local cache knew of",
        "over_limit_with_local_cache",
    ),
    ("ratelimit_shadow_mode", "Hits over a limit in shadow mode", "shadow_mode"),
    ("ratelimit_negative_hits", "Hits that were given back", "total_negative_hits"),
];

/// Places in [`COUNTERS`].
const TOTAL: usize = 0;
const OVER: usize = 1;
const NEAR: usize = 2;
const WITHIN: usize = 3;
const OVER_BY_CACHE: usize = 4;
const SHADOW: usize = 5;
const NEGATIVE: usize = 6;

/// The counters of one limit; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitMetrics(Arc<Series>);

#[derive(Debug, Default)]
struct Series {
    domain: Arc<str>,
    /// For people: levels are divided by dots.
    limit: Arc<str>,
    /// envoyproxy/ratelimit's name, without that of the counter.
    name: Box<str>,
    counters: [AtomicU64; COUNTERS.len()],
}

/// The counters of all limits; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    table: Table,
    /// Of limits that requests bring, when the table is full.
    overrides: LimitMetrics,
    /// Hits that were not counted under their own name.
    overflow: Counter,
    enabled: bool,
}

impl Limits {
    /// With `enabled` false nothing is counted (`DISABLE_STATS`).
    pub(super) fn register(registry: &mut Registry, enabled: bool, naming: Naming) -> Self {
        let overrides = Series {
            limit: OVERRIDE.into(),
            name: "ratelimit.service.rate_limit._request".into(),
            ..Series::default()
        };
        let overflow = Counter::default();
        let this = Self(Arc::new(Inner {
            table: Table::new(naming),
            overrides: LimitMetrics(Arc::new(overrides)),
            overflow: overflow.clone(),
            enabled,
        }));
        if enabled {
            registry.register(
                "ratelimit_metrics_overflow",
                "Counts under the name of a limit because there were too many names of values",
                overflow,
            );
            registry.register_collector(Box::new(this.clone()));
        }
        this
    }

    /// The counters of all limits, by id. Those of limits that are gone are forgotten; the others
    /// go on.
    pub(crate) fn of_limits(&self, limits: &ratelimit_core::Limits) -> Vec<LimitMetrics> {
        let mut all = vec![LimitMetrics::default(); limits.resources.limit_count()];
        if !self.0.enabled {
            return all;
        }
        let levels = LEVEL.to_string();
        let files = limits.files.limits();
        let files = files.iter().map(|(domain, path, t)| (t.limit.id, *domain, path.join(&levels)));
        let objects = limits.resources.limits();
        let objects = objects.iter().map(|(d, l)| (l.limit.id, *d, l.limit.name.to_string()));
        self.0.table.load(files.chain(objects), |id, metrics| {
            if let Some(slot) = all.get_mut(id) {
                *slot = metrics;
            }
        });
        all
    }

    /// Adds what a request did to the counters of its limits. `near_ratio` is `NEAR_LIMIT_RATIO`.
    pub(crate) fn count(
        &self,
        limits: &[LimitMetrics],
        request: &Request<'_>,
        plan: &Plan<'_>,
        counts: &[Count],
        near_ratio: f32,
    ) {
        if !self.0.enabled {
            return;
        }
        if !plan.domain_is_known {
            let descriptors = plan.descriptors.len() as u64;
            if !self.0.table.domain_not_found(request.domain, descriptors) {
                self.0.overflow.inc_by(descriptors);
            }
            return;
        }
        for (planned, descriptor) in plan.descriptors.iter().zip(&request.descriptors) {
            let Planned::Limited(matched, index) = planned else { continue };
            let (Some(counter), Some(count)) = (plan.counters.get(*index), counts.get(*index))
            else {
                continue;
            };
            let limit = matched.limit();
            let add = |to: &LimitMetrics| to.0.add(counter, *count, limit.shadow, near_ratio);
            let own = limits.get(limit.id).unwrap_or(&self.0.overrides);
            match (matched, &counter.metric) {
                (Matched::Override(_), _) => {
                    let own = &self.0.overrides;
                    add(&self.by_value(own, request.domain, &path(request, descriptor)));
                }
                (_, None) => add(own),
                (_, Some(path)) => add(&self.by_value(own, &own.0.domain, path)),
            }
        }
    }

    /// The counters named after a request; `own` when there are too many, or the name is too long.
    fn by_value(&self, own: &LimitMetrics, domain: &str, path: &str) -> LimitMetrics {
        let fits = domain.len().saturating_add(path.len()) <= MAX_NAME;
        fits.then(|| self.0.table.by_value(domain, path)).flatten().unwrap_or_else(|| {
            self.0.overflow.inc();
            own.clone()
        })
    }

    /// Forgets names of requests that were idle for an hour, as of `now`.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.table.sweep(now);
    }

    /// Every counter under envoyproxy/ratelimit's name.
    pub(super) fn visit(&self, each: &mut dyn FnMut(&str, Value)) {
        if !self.0.enabled {
            return;
        }
        let (all, domains) = self.0.table.all();
        let mut name = String::new();
        for LimitMetrics(series) in all.iter().chain([&self.0.overrides]) {
            for ((_, _, counter), value) in COUNTERS.iter().zip(&series.counters) {
                name.clear();
                name.extend([&*series.name, ".", counter]);
                each(&name, Value::Counter(value.load(Relaxed)));
            }
        }
        for (name, count) in domains {
            each(&name, Value::Counter(count));
        }
    }
}

/// As the original names a limit that a descriptor brings.
fn path(request: &Request<'_>, descriptor: &Descriptor) -> String {
    let mut path = String::new();
    for entry in request.entries(descriptor) {
        if !path.is_empty() {
            path.push(LEVEL);
        }
        path.push_str(entry.key);
        if !entry.value.is_empty() {
            path.extend(["_", entry.value]);
        }
        if path.len() > MAX_NAME {
            break;
        }
    }
    path
}

impl Collector for Limits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut all = self.0.table.in_force();
        all.push(self.0.overrides.clone());
        for (place, (name, help, _)) in COUNTERS.iter().enumerate() {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            // Different paths may look the same to people.
            for same in all.chunk_by(|a, b| a.0.labels() == b.0.labels()) {
                let value = same.iter().filter_map(|m| m.0.counters.get(place));
                let value: u64 = value.map(|c| c.load(Relaxed)).fold(0, u64::wrapping_add);
                let Some(first) = same.first() else { continue };
                family
                    .encode_family(&first.0.labels())?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }
}

impl Series {
    fn labels(&self) -> [(&str, &str); 2] {
        [("domain", &self.domain), ("limit", &self.limit)]
    }

    fn inc(&self, place: usize, hits: u64) {
        if let Some(counter) = self.counters.get(place).filter(|_| hits > 0) {
            counter.fetch_add(hits, Relaxed);
        }
    }

    /// A number that grows with each hit.
    fn activity(&self) -> u64 {
        [TOTAL, NEGATIVE]
            .iter()
            .filter_map(|place| self.counters.get(*place))
            .fold(0, |sum, c| sum.wrapping_add(c.load(Relaxed)))
    }

    fn add(&self, counter: &Counted, count: Count, shadow: bool, near_ratio: f32) {
        let hits = counter.hits;
        if counter.refund {
            self.inc(NEGATIVE, hits);
            return;
        }
        self.inc(TOTAL, hits);
        let over = match (counter.kind, count) {
            (CounterKind::Window { limit, .. }, Count::Window { after }) => {
                self.add_to_window(limit, after, hits, near_ratio)
            }
            (_, Count::Over) => {
                self.inc(OVER, hits);
                self.inc(OVER_BY_CACHE, hits);
                hits
            }
            (
                _,
                Count::Bucket { allowed: false, .. }
                | Count::Sliding { allowed: false, .. }
                | Count::Uncounted { allowed: false },
            ) => {
                self.inc(OVER, hits);
                hits
            }
            (CounterKind::Bucket { bucket, .. }, Count::Bucket { tokens, .. }) => {
                self.inc(WITHIN, hits);
                let used = bucket.capacity - tokens;
                self.inc(NEAR, hits.min(beyond(used, bucket.capacity * f64::from(near_ratio))));
                0
            }
            _ => {
                self.inc(WITHIN, hits);
                0
            }
        };
        if shadow {
            self.inc(SHADOW, over);
        }
    }

    /// Gives how many of the hits were over.
    fn add_to_window(&self, limit: u64, after: u64, hits: u64, near_ratio: f32) -> u64 {
        let before = after.saturating_sub(hits);
        let near = near_threshold(limit, near_ratio);
        if after <= limit {
            self.inc(WITHIN, hits);
            if after > near {
                self.inc(NEAR, if before >= near { hits } else { after - near });
            }
            return 0;
        }
        let over = if before >= limit { hits } else { after - limit };
        self.inc(OVER, over);
        if before < limit {
            self.inc(NEAR, limit.saturating_sub(near.max(before)));
        }
        over
    }
}

/// How many whole tokens of a bucket are used beyond `near`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` stays within u64
fn beyond(used: f64, near: f64) -> u64 {
    (used - near).max(0.0).ceil() as u64
}

/// As the original: in single precision, rounded down.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn near_threshold(limit: u64, ratio: f32) -> u64 {
    (limit as f32 * ratio).floor() as u64
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
