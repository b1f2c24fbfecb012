//! What a trace tells of a request: names and numbers of the configuration, nothing that a user
//! sent but the domain. Everything here is one branch while there are no traces.

use axum::http::HeaderMap;
use prometheus_client::registry::Registry;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use ratelimit_core::request::Request;
use ratelimit_core::{Count, Counts, Decision, Plan, Planned};
use service_kit::server::otlp::{self, Array, Sending, Tracer, Value, text};
use tonic::Status;

use crate::args::Settings;
use crate::store::{StoreError, StoreSettings};

/// Span of a request, as envoyproxy/ratelimit calls it.
const REQUEST: &str = "ShouldRateLimit Execution";
/// Span of a call to Redis, as envoyproxy/ratelimit calls it.
const REDIS: &str = "Redis Pipeline Execution";
/// Most names of limits in a span.
const MAX_NAMES: usize = 16;

/// Begins spans, when there are traces.
#[derive(Debug)]
pub(crate) struct Traces {
    tracer: Option<Tracer>,
    has_redis: bool,
}

/// The span of a request, when it is recorded. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Span<'t> {
    recorded: Option<otlp::Span<'t>>,
    has_redis: bool,
}

impl Traces {
    /// Starts to send spans, when the settings say so. Needs a tokio runtime.
    pub(crate) fn start(
        settings: &Settings,
        registry: &mut Registry,
    ) -> anyhow::Result<(Self, Option<Sending>)> {
        let has_redis = matches!(settings.store, StoreSettings::Redis(_));
        let Some(traces) = &settings.traces else {
            return Ok((Self { tracer: None, has_redis }, None));
        };
        let (tracer, sending) =
            otlp::start(traces, "ratelimit-svc", registry).map_err(anyhow::Error::msg)?;
        tracing::info!(
            "spans go to {} ({}), of {} of the traces that begin here",
            traces.shown(),
            traces.protocol,
            traces.sampling
        );
        Ok((Self { tracer: Some(tracer), has_redis }, Some(sending)))
    }

    /// Begins the span of a request that came with `headers`.
    pub(crate) fn begin(&self, request: &Request<'_>, headers: &HeaderMap) -> Span<'_> {
        let recorded = self.tracer.as_ref().and_then(|tracer| {
            let span = tracer.request(REQUEST, headers)?;
            span.set("domain", text(request.domain));
            span.set("ratelimit.descriptors", number(request.descriptors.len()));
            Some(span)
        });
        Span { recorded, has_redis: self.has_redis }
    }
}

impl Span<'_> {
    /// Runs the store, within a span of its own if it is Redis, and tells what came of it.
    pub(crate) async fn store(
        &self,
        plan: &Plan<'_>,
        run: impl Future<Output = Result<Counts, StoreError>>,
    ) -> Result<Counts, StoreError> {
        let Some(span) = &self.recorded else { return run.await };
        let asks_redis = self.has_redis && !plan.counters.is_empty();
        let call = if asks_redis { span.call(REDIS) } else { None };
        let result = run.await;
        if let Some(call) = &call {
            call.set("db.system.name", "redis");
            call.set("ratelimit.counters", number(plan.counters.len()));
            if let Err(e) = &result {
                call.fail(&e.to_string());
            }
        }
        span.set("ratelimit.store", outcome(&result));
        result
    }

    /// Tells what was decided.
    pub(crate) fn decided(&self, plan: &Plan<'_>, decision: &Decision<'_>) {
        let Some(span) = &self.recorded else { return };
        span.set("ratelimit.over_limit", decision.code == Code::OverLimit);
        let limits = || {
            plan.descriptors.iter().filter_map(|planned| match planned {
                Planned::Limited(matched, _) => Some(&*matched.limit().name),
                Planned::NoLimit | Planned::Unlimited => None,
            })
        };
        span.set("ratelimit.limited_descriptors", number(limits().count()));
        // Limits of files often have no name.
        let names = limits().filter(|name| !name.is_empty()).take(MAX_NAMES).map(text).collect();
        span.set("ratelimit.limits", Value::Array(Array::String(names)));
    }

    /// Ends it with the answer.
    pub(crate) fn end<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        if let (Some(span), Err(status)) = (&self.recorded, &answer) {
            span.fail(status.message());
        }
        answer
    }
}

/// What came of the store, in a word.
fn outcome(result: &Result<Counts, StoreError>) -> &'static str {
    match result {
        Err(_) => "failed",
        Ok(counts) if counts.is_empty() => "not asked",
        Ok(counts) if counts.iter().any(|c| matches!(c, Count::Uncounted { .. })) => "uncounted",
        Ok(_) => "counted",
    }
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
