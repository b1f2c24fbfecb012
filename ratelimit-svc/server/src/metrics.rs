//! What is counted. Handles are made when limits are loaded; a request only adds. Who reads does
//! so beside the requests: OpenMetrics under names of our own at the admin port, and
//! envoyproxy/ratelimit's statistics in one of its forms ([`outputs`]).

mod limits;
mod name;
mod outputs;
mod prometheus;
mod response_time;
mod statsd;
mod store;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use prometheus_client::metrics::family::Family;

pub(crate) use limits::{LimitMetrics, Limits};
pub(crate) use name::{Naming, Tags};
pub(crate) use outputs::{Output, Outputs};
pub(crate) use prometheus::mapper::Mapper;
pub(crate) use statsd::{Mogrifier, Style, Target};
pub(crate) use store::FileStats;
pub use store::{LocalCacheStats, PoolStats, StoreStats};

use response_time::ResponseTime;

/// envoyproxy/ratelimit's name of the time of an answer.
const RESPONSE_TIME: &str = "ratelimit_server.ShouldRateLimit.response_time";
const TOTAL_REQUESTS: &str = "ratelimit_server.ShouldRateLimit.total_requests";

/// A number of envoyproxy/ratelimit's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// It grows.
    Counter(u64),
    /// It goes up and down.
    Gauge(u64),
}

impl Value {
    fn number(self) -> u64 {
        match self {
            Self::Counter(n) | Self::Gauge(n) => n,
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    OverLimit,
    /// It was wrong itself.
    Refused,
    /// The store could not serve it.
    StoreFailed,
    /// The caller did not wait for the answer.
    Cancelled,
}

/// A request on its way: counted with its outcome when this is dropped, as cancelled if it has none.
#[derive(Debug)]
pub(crate) struct Asked<'m> {
    metrics: &'m Metrics,
    start: Instant,
    outcome: Outcome,
}

impl Asked<'_> {
    /// It has this outcome.
    pub(crate) fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.metrics.answered(self.outcome, self.start.elapsed());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Counters of the service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    ok: Counter,
    over_limit: Counter,
    refused: Counter,
    store_failed: Counter,
    cancelled: Counter,
    response_time: Arc<ResponseTime>,
    /// Requests of a domain without limits.
    pub domain_not_found: Counter,
    /// `SHADOW_MODE` let a request pass.
    pub global_shadow_mode: Counter,
    pub failed_templates: Counter,
    pub limits: Limits,
    /// For the store to set.
    pub store: StoreStats,
    /// For the reading of files to set.
    pub files: FileStats,
    config_loaded: Counter,
    config_refused: Counter,
    config_loaded_at: Gauge,
    config_is_stale: Gauge,
}

impl Metrics {
    /// Registers everything; with `limits_too` false nothing is counted of single limits
    /// (`DISABLE_STATS`).
    pub(crate) fn register(registry: &mut Registry, limits_too: bool, naming: Naming) -> Self {
        let requests = Family::<OutcomeLabel, Counter>::default();
        let configs = Family::<OutcomeLabel, Counter>::default();
        let response_time = Arc::new(ResponseTime::default());
        registry.register_collector(Box::new(response_time.clone()));
        registry.register("ratelimit_requests", "Requests by outcome", requests.clone());
        registry.register("ratelimit_config_loads", "Configurations by outcome", configs.clone());
        let (domain_not_found, shadow, templates) =
            (Counter::default(), Counter::default(), Counter::default());
        let (loaded_at, stale) = (Gauge::default(), Gauge::default());
        registry.register(
            "ratelimit_domain_not_found",
            "Requests of a domain without limits",
            domain_not_found.clone(),
        );
        registry.register(
            "ratelimit_global_shadow_mode",
            "Requests over a limit that SHADOW_MODE let pass",
            shadow.clone(),
        );
        registry.register(
            "ratelimit_failed_templates",
            "Templates of headers and bodies that could not be executed",
            templates.clone(),
        );
        registry.register(
            "ratelimit_config_loaded_timestamp_seconds",
            "When the configuration in force was loaded",
            loaded_at.clone(),
        );
        registry.register(
            "ratelimit_config_is_stale",
            "1 while a newer configuration, or a part of it, is refused",
            stale.clone(),
        );
        let of = |family: &Family<OutcomeLabel, Counter>, outcome| {
            family.get_or_create(&OutcomeLabel { outcome }).clone()
        };
        Self {
            ok: of(&requests, "ok"),
            over_limit: of(&requests, "over_limit"),
            refused: of(&requests, "refused"),
            store_failed: of(&requests, "store_failed"),
            cancelled: of(&requests, "cancelled"),
            domain_not_found,
            global_shadow_mode: shadow,
            failed_templates: templates,
            response_time,
            limits: Limits::register(registry, limits_too, naming),
            store: StoreStats::default(),
            files: FileStats::default(),
            config_loaded: of(&configs, "loaded"),
            config_refused: of(&configs, "refused"),
            config_loaded_at: loaded_at,
            config_is_stale: stale,
        }
    }

    /// A request was read.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { metrics: self, start: Instant::now(), outcome: Outcome::Cancelled }
    }

    /// A request was answered, `elapsed` after it was read.
    fn answered(&self, outcome: Outcome, elapsed: Duration) {
        self.response_time.add(elapsed);
        match outcome {
            Outcome::Ok => &self.ok,
            Outcome::OverLimit => &self.over_limit,
            Outcome::Refused => &self.refused,
            Outcome::StoreFailed => &self.store_failed,
            Outcome::Cancelled => &self.cancelled,
        }
        .inc();
    }

    /// A configuration came into force; `whole` when nothing of it was refused.
    pub(crate) fn loaded(&self, whole: bool) {
        if whole { &self.config_loaded } else { &self.config_refused }.inc();
        self.config_is_stale.set(i64::from(!whole));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.config_loaded_at.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// A configuration was refused.
    pub(crate) fn kept(&self) {
        self.config_refused.inc();
        self.config_is_stale.set(1);
    }

    /// envoyproxy/ratelimit's statistics as they are now, by name. The times of answers are not
    /// among them.
    fn readings(&self) -> BTreeMap<Box<str>, Value> {
        const SERVICE: &str = "ratelimit.service";
        let mut all = BTreeMap::new();
        let mut put = |name: &str, value: Value| match (all.get_mut(name), value) {
            // Names that were different may be the same by the rules of the original.
            (Some(Value::Counter(sum)), Value::Counter(n)) => *sum = n.wrapping_add(*sum),
            _ => {
                all.insert(name.into(), value);
            }
        };
        for (name, counter) in [
            ("call.should_rate_limit.redis_error", &self.store_failed),
            ("call.should_rate_limit.service_error", &self.refused),
            ("config_load_error", &self.config_refused),
            ("config_load_success", &self.config_loaded),
            ("global_shadow_mode", &self.global_shadow_mode),
        ] {
            put(&format!("{SERVICE}.{name}"), Value::Counter(counter.get()));
        }
        put(TOTAL_REQUESTS, Value::Counter(self.response_time.count()));
        self.files.visit(&mut put);
        self.store.visit(&mut put);
        self.limits.visit(&mut put);
        all
    }

    /// For the admin port: envoyproxy/ratelimit's statistics, a line each, in order.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.readings() {
            let _ = writeln!(text, "{name}: {}", value.number());
        }
        text
    }

    /// Forgets names of requests that are idle.
    fn sweep(&self, now: Instant) {
        self.limits.sweep(now);
    }
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
