//! `envoy.service.ratelimit.v3.RateLimitService`: plan, count, decide.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use ratelimit_core::request::{DecodeError, Request};
use ratelimit_core::{Decision, Options, PlanError, PlanOptions, decide};
use tonic::Status;

use crate::args::Settings;
use crate::configuration::Configuration;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::traces::{Span, Traces};

/// Answers requests.
#[derive(Debug)]
pub(crate) struct RateLimits {
    configuration: Configuration,
    store: Store,
    metrics: Metrics,
    traces: Traces,
    plan: PlanOptions,
    options: Options,
    near_ratio: f32,
}

impl RateLimits {
    pub(crate) fn new(
        settings: &Settings,
        configuration: Configuration,
        store: Store,
        metrics: Metrics,
        traces: Traces,
    ) -> Self {
        Self {
            configuration,
            store,
            metrics,
            traces,
            plan: settings.plan.clone(),
            options: settings.options.clone(),
            near_ratio: settings.near_ratio,
        }
    }

    /// Begins the span of a request that came with `headers`.
    pub(crate) fn span(&self, request: &Request<'_>, headers: &HeaderMap) -> Span<'_> {
        self.traces.begin(request, headers)
    }

    /// Decides on a request, from whichever door; `answer` makes of it what the door needs.
    pub(crate) async fn answer<T>(
        &self,
        request: &Request<'_>,
        span: &Span<'_>,
        answer: impl FnOnce(&Decision<'_>) -> T,
    ) -> Result<T, Status> {
        let snapshot = self.configuration.load_full();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if !snapshot.loaded {
            self.metrics.refused.inc();
            return Err(Status::unknown("no rate limit configuration loaded"));
        }
        let plan = snapshot.limits.plan(request, &self.plan, now.as_secs()).map_err(|e| {
            self.metrics.refused.inc();
            match e {
                PlanError::EmptyDomain | PlanError::NoDescriptors => Status::unknown(e.to_string()),
                _ => Status::invalid_argument(e.to_string()),
            }
        })?;
        if !plan.domain_is_known {
            self.metrics.domain_not_found.inc();
        }
        let call = span.call(&plan);
        let counts = self.store.run(&plan, now).await;
        span.called(call, &counts);
        let counts = counts.map_err(|e| {
            self.metrics.store_failed.inc();
            Status::unknown(e.to_string())
        })?;
        self.metrics.limits.count(&snapshot.metrics, &plan, &counts, self.near_ratio);
        let decision = decide(request, &plan, &counts, &self.options, now);
        self.count(&decision);
        span.decided(&plan, &decision);
        Ok(answer(&decision))
    }

    /// A request that is none.
    pub(crate) fn refuse(&self, error: DecodeError) -> Status {
        self.metrics.refused.inc();
        Status::invalid_argument(error.to_string())
    }

    fn count(&self, decision: &Decision<'_>) {
        let over = decision.code == Code::OverLimit;
        if over { &self.metrics.over_limit } else { &self.metrics.ok }.inc();
        self.metrics.global_shadow_mode.inc_by(u64::from(decision.shadowed));
        self.metrics.failed_templates.inc_by(decision.failed_templates);
    }
}
