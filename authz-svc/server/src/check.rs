//! `envoy.service.auth.v3.Authorization` over gRPC.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use authz_core::filter::ResponseHeader;
use authz_core::{Failure, Flow, Mutations, Outcome, Reply, Request, Step};
use axum::http::HeaderMap;
use futures::FutureExt as _;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter};
use proto::envoy::service::auth::v3::authorization_server::Authorization;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::rpc::Status as RpcStatus;
use serde_json::{Map, Value as Json};
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
    header_option(key, value, HeaderAppendAction::OverwriteIfExistsOrAdd)
}

fn header_option(key: String, value: String, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key, value, ..HeaderValue::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}

fn response_header(header: ResponseHeader) -> HeaderValueOption {
    let action = if header.append {
        HeaderAppendAction::AppendIfExistsOrAdd
    } else {
        HeaderAppendAction::OverwriteIfExistsOrAdd
    };
    header_option(header.name, header.value, action)
}

fn response(code: i32, http_response: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus { code, ..RpcStatus::default() }),
        http_response: Some(http_response),
        dynamic_metadata: None,
    }
}

fn allow(mutations: Mutations) -> CheckResponse {
    let query = |(key, value): (String, String)| QueryParameter { key, value };
    let ok = OkHttpResponse {
        headers: mutations.set.into_iter().map(header).collect(),
        headers_to_remove: mutations.remove,
        response_headers_to_add: mutations
            .response_headers
            .into_iter()
            .map(response_header)
            .collect(),
        query_parameters_to_set: mutations.query_set.into_iter().map(query).collect(),
        query_parameters_to_remove: mutations.query_remove,
        ..OkHttpResponse::default()
    };
    let metadata = (!mutations.metadata.is_empty()).then(|| structure(mutations.metadata));
    CheckResponse {
        dynamic_metadata: metadata,
        ..response(tonic::Code::Ok.into(), HttpResponse::OkResponse(ok))
    }
}

fn structure(map: Map<String, Json>) -> Struct {
    Struct { fields: map.into_iter().map(|(name, json)| (name, value(json))).collect() }
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(list) => {
            Kind::ListValue(ListValue { values: list.into_iter().map(value).collect() })
        }
        Json::Object(map) => Kind::StructValue(structure(map)),
    };
    Value { kind: Some(kind) }
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
