//! `envoy.service.auth.v3.Authorization` over gRPC.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authz_core::{Flow, Mutations, Outcome, Reply, Request, Step};
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
use crate::key_sets::KeySets;
use crate::metrics::Metrics;

/// Answers checks.
#[derive(Debug)]
pub(crate) struct Checks {
    configuration: Configuration,
    key_sets: KeySets,
    metrics: Metrics,
    timeout: Duration,
}

impl Checks {
    pub(crate) fn new(
        configuration: Configuration,
        key_sets: KeySets,
        metrics: Metrics,
        timeout: Duration,
    ) -> Self {
        Self { configuration, key_sets, metrics, timeout }
    }

    /// The answer; in time, and a denial whatever happens on the way.
    async fn decide(&self, request: Request) -> Outcome {
        let id = request.id.clone();
        let refuse = |status, text| Outcome::Deny(Reply::json(status, text, &id));
        let snapshot = match self.configuration.state() {
            State::Waiting => {
                return refuse(503, "the authorization service is not configured yet");
            }
            State::Ready(snapshot) => snapshot,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let chain = self.run(Flow::new(snapshot, request, now));
        match tokio::time::timeout(self.timeout, AssertUnwindSafe(chain).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                tracing::error!("a check failed by a fault of this program; it was denied");
                refuse(500, "the authorization service failed")
            }
            Err(_) => refuse(504, "the authorization of this request took too long"),
        }
    }

    async fn run(&self, mut flow: Flow) -> Outcome {
        loop {
            match flow.step() {
                Step::Done(outcome) => return outcome,
                Step::Need(fetch) => {
                    let result = self.key_sets.get(&fetch).await;
                    flow.answer(fetch, result);
                }
            }
        }
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Allow(_) => self.metrics.allowed.inc(),
            Outcome::Deny(reply) if reply.status < 500 => self.metrics.denied.inc(),
            Outcome::Deny(_) => self.metrics.failed.inc(),
        };
    }
}

#[tonic::async_trait]
impl Authorization for Checks {
    async fn check(&self, call: Call<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = Request::from_check(call.into_inner()).map_err(Status::invalid_argument)?;
        let outcome = self.decide(request).await;
        self.count(&outcome);
        Ok(Response::new(match outcome {
            Outcome::Allow(mutations) => allow(mutations),
            Outcome::Deny(reply) => deny(reply),
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
