//! `envoy.service.ratelimit.v3.RateLimitService`: plan, count, decide.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use ratelimit_core::request::{DecodeError, Request};
use ratelimit_core::{Decision, Limits, Options, Plan, PlanError, PlanOptions, Reading, decide};
use tonic::Status;

use crate::args::Settings;
use crate::configuration::Configuration;
use crate::metrics::{Metrics, Outcome};
use crate::store::{Store, StoreError};
use crate::traces::{Span, Traces};

/// Why counters could not be looked at.
#[derive(Debug)]
pub(crate) enum LookError {
    /// The request is wrong.
    Plan(PlanError),
    /// The store does not say.
    Store(StoreError),
}

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

    /// Decides on a request, from whichever door; `headers` are those it came with, and `answer`
    /// makes of the decision what the door needs.
    pub(crate) async fn answer<T>(
        &self,
        request: &Request<'_>,
        headers: &HeaderMap,
        answer: impl FnOnce(&Decision<'_>) -> T,
    ) -> Result<T, Status> {
        let span = self.traces.begin(request, headers);
        let asked = self.metrics.asked();
        let answered =
            |decision: &Decision<'_>| (decision.code == Code::OverLimit, answer(decision));
        let (outcome, answer) = match self.decide(&span, request, answered).await {
            Ok((true, answer)) => (Outcome::OverLimit, Ok(answer)),
            Ok((false, answer)) => (Outcome::Ok, Ok(answer)),
            Err((outcome, status)) => {
                span.fail(&status);
                (outcome, Err(status))
            }
        };
        asked.ended(outcome);
        answer
    }

    async fn decide<T>(
        &self,
        span: &Span<'_>,
        request: &Request<'_>,
        answer: impl FnOnce(&Decision<'_>) -> T,
    ) -> Result<T, (Outcome, Status)> {
        let snapshot = self.configuration.load_full();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if !snapshot.loaded {
            let status = Status::unknown("no rate limit configuration loaded");
            return Err((Outcome::Refused, status));
        }
        let plan = snapshot.limits.plan(request, &self.plan, now.as_secs()).map_err(|e| {
            let status = match e {
                PlanError::EmptyDomain | PlanError::NoDescriptors => Status::unknown(e.to_string()),
                _ => Status::invalid_argument(e.to_string()),
            };
            (Outcome::Refused, status)
        })?;
        if !plan.domain_is_known {
            self.metrics.domain_not_found.inc();
        }
        let call = span.call(&plan);
        let counts = self.store.run(&plan, now).await;
        span.called(call, &counts);
        let counts = counts.map_err(|e| (Outcome::StoreFailed, Status::unknown(e.to_string())))?;
        self.metrics.limits.count(&snapshot.metrics, request, &plan, &counts, self.near_ratio);
        let decision = decide(request, &plan, &counts, &self.options, now);
        self.metrics.global_shadow_mode.inc_by(u64::from(decision.shadowed));
        self.metrics.failed_templates.inc_by(decision.failed_templates);
        span.decided(&plan, &decision);
        Ok(answer(&decision))
    }

    /// Where the counts are.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The beginning of the keys of a domain's counters, and `rest`.
    pub(crate) fn key_of(&self, domain: &str, rest: &str) -> String {
        format!("{}{domain}_{rest}", self.plan.key_prefix)
    }

    /// Whether `key` is of a counter of a domain that has limits.
    pub(crate) fn owns(&self, key: &str) -> bool {
        let snapshot = self.configuration.load();
        snapshot.limits.domains().any(|domain| key.starts_with(&self.key_of(domain, "")))
    }

    /// Looks at the counters that `request` meets now, and counts nothing: gives what `show` makes of
    /// the plan and of how its counters stand, in their order.
    ///
    /// # Errors
    /// In words: what is wrong with the request, or why the store does not say.
    pub(crate) async fn look<T>(
        &self,
        request: &Request<'_>,
        show: impl FnOnce(&Plan<'_>, &[Reading]) -> T,
    ) -> Result<T, LookError> {
        let snapshot = self.configuration.load_full();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let limits: &Limits = &snapshot.limits;
        let plan = limits.plan(request, &self.plan, now.as_secs()).map_err(LookError::Plan)?;
        let kept = self.store.read(&plan, now).await.map_err(LookError::Store)?;
        let counters = plan.counters.iter().zip(kept);
        let readings: Vec<Reading> = counters.map(|(c, kept)| c.kind.reading(kept, now)).collect();
        Ok(show(&plan, &readings))
    }

    /// The keys of the counters that `request` meets now.
    pub(crate) fn keys(&self, request: &Request<'_>) -> Result<Vec<String>, PlanError> {
        let snapshot = self.configuration.load();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let plan = snapshot.limits.plan(request, &self.plan, now.as_secs())?;
        let key = |c| String::from_utf8_lossy(plan.key(c)).into_owned();
        Ok(plan.counters.iter().map(key).collect())
    }

    /// A request that is none.
    pub(crate) fn refuse(&self, error: DecodeError) -> Status {
        self.metrics.asked().ended(Outcome::Refused);
        Status::invalid_argument(error.to_string())
    }
}
