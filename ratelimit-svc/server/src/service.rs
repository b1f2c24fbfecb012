//! `envoy.service.ratelimit.v3.RateLimitService`: plan, count, decide.

use std::panic::AssertUnwindSafe;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use ratelimit_core::{Options, PlanError, PlanOptions, decide};
use tonic::{Request, Response, Status};

use crate::args::Settings;
use crate::configuration::Configuration;
use crate::metrics::{Metrics, Outcome};
use crate::store::Store;

/// Answers requests.
#[derive(Debug)]
pub(crate) struct RateLimits {
    configuration: Configuration,
    store: Store,
    metrics: Metrics,
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
    ) -> Self {
        Self {
            configuration,
            store,
            metrics,
            plan: settings.plan.clone(),
            options: settings.options.clone(),
            near_ratio: settings.near_ratio,
        }
    }

    /// The answer to a request, from whichever door.
    pub(crate) async fn answer(
        &self,
        request: RateLimitRequest,
    ) -> Result<RateLimitResponse, Status> {
        let asked = self.metrics.asked();
        let (outcome, answer) = match self.decide(&request).await {
            Ok(response) => {
                let over = response.overall_code == i32::from(Code::OverLimit);
                (if over { Outcome::OverLimit } else { Outcome::Ok }, Ok(response))
            }
            Err((outcome, status)) => (outcome, Err(status)),
        };
        asked.ended(outcome);
        answer
    }

    async fn decide(
        &self,
        request: &RateLimitRequest,
    ) -> Result<RateLimitResponse, (Outcome, Status)> {
        let fault = |_| (Outcome::Refused, Status::internal("the rate limit service failed"));
        let snapshot = self.configuration.load_full();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = now.as_secs();
        if !snapshot.loaded {
            let status = Status::unknown("no rate limit configuration loaded");
            return Err((Outcome::Refused, status));
        }
        let planned = std::panic::catch_unwind(AssertUnwindSafe(|| {
            snapshot.limits.plan(request, &self.plan, seconds)
        }))
        .map_err(fault)?;
        let plan = planned.map_err(|e| {
            let status = match e {
                PlanError::EmptyDomain | PlanError::NoDescriptors => Status::unknown(e.to_string()),
                _ => Status::invalid_argument(e.to_string()),
            };
            (Outcome::Refused, status)
        })?;
        if !plan.domain_is_known {
            self.metrics.domain_not_found.inc();
        }
        let counts = self
            .store
            .run(&plan, now)
            .await
            .map_err(|e| (Outcome::StoreFailed, Status::unknown(e.to_string())))?;
        self.metrics.limits.count(&snapshot.metrics, request, &plan, &counts, self.near_ratio);
        let decision = std::panic::catch_unwind(AssertUnwindSafe(|| {
            decide(request, &plan, &counts, &self.options, seconds)
        }))
        .map_err(fault)?;
        self.metrics.global_shadow_mode.inc_by(u64::from(decision.shadowed));
        self.metrics.failed_templates.inc_by(decision.failed_templates);
        Ok(decision.response)
    }
}

#[tonic::async_trait]
impl RateLimitService for RateLimits {
    async fn should_rate_limit(
        &self,
        call: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        self.answer(call.into_inner()).await.map(Response::new)
    }
}
