//! What is counted. Handles of limits are made when limits are loaded; a request only adds. Limits
//! whose metrics name the request's values (`value_to_metric`, `detailed_metric`) look theirs up,
//! in a bounded table.

mod limits;

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use limits::{LimitMetrics, Limits};

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
    /// Requests of a domain without limits.
    pub domain_not_found: Counter,
    /// `SHADOW_MODE` let a request pass.
    pub global_shadow_mode: Counter,
    pub failed_templates: Counter,
    pub limits: Limits,
    config_loaded: Counter,
    config_refused: Counter,
    config_loaded_at: Gauge,
    config_is_stale: Gauge,
}

impl Metrics {
    /// Registers everything; with `limits_too` false nothing is counted of single limits
    /// (`DISABLE_STATS`).
    pub(crate) fn register(registry: &mut Registry, limits_too: bool) -> Self {
        let requests = Family::<Outcome, Counter>::default();
        let configs = Family::<Outcome, Counter>::default();
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
        let of = |family: &Family<Outcome, Counter>, outcome| {
            family.get_or_create(&Outcome { outcome }).clone()
        };
        Self {
            ok: of(&requests, "ok"),
            over_limit: of(&requests, "over_limit"),
            refused: of(&requests, "refused"),
            store_failed: of(&requests, "store_failed"),
            domain_not_found,
            global_shadow_mode: shadow,
            failed_templates: templates,
            limits: Limits::register(registry, limits_too),
            config_loaded: of(&configs, "loaded"),
            config_refused: of(&configs, "refused"),
            config_loaded_at: loaded_at,
            config_is_stale: stale,
        }
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
}
