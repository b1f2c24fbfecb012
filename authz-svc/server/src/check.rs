//! `envoy.service.auth.v3.Authorization` over gRPC.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use authz_core::{Failure, Flow, Mutations, Outcome, Reply, Request, Step};
use axum::http::HeaderMap;
use futures::FutureExt as _;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3::authorization_server::Authorization;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::rpc::Status as RpcStatus;
use tonic::{Request as Call, Response, Status};

use crate::configuration::{Configuration, State};
use crate::decisions::Decisions;
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::traces::{Span, Traces};

/// Answers checks.
#[derive(Debug)]
pub(crate) struct Checks {
    configuration: Configuration,
    edge: Arc<Edge>,
    decisions: Decisions,
    traces: Traces,
    metrics: Metrics,
    timeout: Duration,
}

impl Checks {
    pub(crate) fn new(
        configuration: Configuration,
        edge: Arc<Edge>,
        decisions: Decisions,
        traces: Traces,
        metrics: Metrics,
        timeout: Duration,
    ) -> Self {
        Self { configuration, edge, decisions, traces, metrics, timeout }
    }

    /// The answer; in time, and a denial whatever happens on the way.
    async fn decide(&self, request: Request, headers: &HeaderMap) -> Outcome {
        let snapshot = match self.configuration.state() {
            State::Waiting => {
                let words = "the authorization service is not configured yet";
                return Outcome::Error(Reply::json(503, words, request.id()));
            }
            State::Ready(snapshot) => snapshot,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = Instant::now();
        let mut flow = Flow::new(snapshot, request, now);
        let span = self.traces.begin(headers);
        let chain = AssertUnwindSafe(self.run(&mut flow, &span)).catch_unwind();
        let outcome = match tokio::time::timeout(self.timeout, chain).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::error!("a check failed by a fault of this program; it was denied");
                flow.fail(Failure::Fault)
            }
            Err(_) => flow.fail(Failure::TimedOut),
        };
        span.decided(&flow, &outcome);
        self.decisions.note(&flow, &outcome, start.elapsed());
        outcome
    }

    async fn run(&self, flow: &mut Flow, span: &Span<'_>) -> Outcome {
        loop {
            match flow.step(&*self.edge) {
                Step::Done(outcome) => return outcome,
                Step::Need(need) => {
                    let _span = span.need(&need);
                    let answer = self.edge.perform(need).await;
                    flow.answer(answer);
                }
            }
        }
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Allow(_) => self.metrics.allowed.inc(),
            Outcome::Deny(reply) if reply.status < 500 => self.metrics.denied.inc(),
            Outcome::Deny(_) | Outcome::Error(_) => self.metrics.failed.inc(),
        };
    }
}

#[tonic::async_trait]
impl Authorization for Checks {
    async fn check(&self, call: Call<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (metadata, _, check) = call.into_parts();
        let request = Request::from_check(check).map_err(Status::invalid_argument)?;
        let outcome = self.decide(request, &metadata.into_headers()).await;
        self.count(&outcome);
        Ok(Response::new(match outcome {
            Outcome::Allow(mutations) => allow(*mutations),
            Outcome::Deny(reply) | Outcome::Error(reply) => deny(reply),
        }))
    }
}

fn header((key, value): (String, String)) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key, value, ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

fn response(code: i32, http_response: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus { code, ..RpcStatus::default() }),
        http_response: Some(http_response),
        dynamic_metadata: None,
    }
}

fn allow(mutations: Mutations) -> CheckResponse {
    let ok = OkHttpResponse {
        headers: mutations.set.into_iter().map(header).collect(),
        headers_to_remove: mutations.remove,
        ..OkHttpResponse::default()
    };
    response(tonic::Code::Ok.into(), HttpResponse::OkResponse(ok))
}

fn deny(reply: Reply) -> CheckResponse {
    let code = match reply.status {
        401 => tonic::Code::Unauthenticated,
        _ => tonic::Code::PermissionDenied,
    };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(reply.status) }),
        headers: reply.headers.into_iter().map(header).collect(),
        body: reply.body,
    };
    response(code.into(), HttpResponse::DeniedResponse(denied))
}
