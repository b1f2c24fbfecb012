//! Decisions on the admin port: the last ones, and what would become of a request. Guarded, for
//! they name clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use authz_core::need::{Answer, AtHand as _, CallError, Need, StoreError};
use authz_core::{Flow, Outcome, Request, Step};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::config::core::v3::{Address, SocketAddress};
use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest, Peer};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::Secret;
use service_kit::server::admin;

use crate::configuration::{Configuration, State as Configured};
use crate::decisions::{Ending, Record, Recorder};
use crate::edge::Edge;

/// Longest body, in bytes.
const MAX_BODY: usize = 256 << 10;
/// What is told at `/`.
const ENDPOINTS: &str = "/healthz  is the process alive\n/readyz   may it get requests, and why not\n\
     /metrics  OpenMetrics\n/config   the configuration in force\n\
     /decisions       the last decisions; /decisions/REQUEST-ID one of them\n\
     /explain  POST {\"method\", \"host\", \"path\", \"headers\"}: what would become of that request\n\
     The last two are for callers on this machine, or with ADMIN_TOKEN.\n";

#[derive(Clone)]
struct Shared {
    recorder: Recorder,
    configuration: Configuration,
    edge: Arc<Edge>,
}

/// `/decisions` and `/explain`.
pub(crate) fn routes(
    recorder: Recorder,
    configuration: Configuration,
    edge: Arc<Edge>,
    token: Option<Secret<String>>,
) -> Router {
    let routes = Router::new()
        .route("/decisions", get(list))
        .route("/decisions/{request_id}", get(one))
        .route("/explain", post(explain))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared { recorder, configuration, edge });
    admin::guard(routes, token).route("/", get(|| async { ENDPOINTS }))
}

async fn list(State(shared): State<Shared>) -> Response {
    let all = shared.recorder.all();
    let records: Vec<&Record> = all.iter().map(|r| &**r).collect();
    Json(json!({"decisions": records})).into_response()
}

async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    match shared.recorder.find(&id) {
        Some(record) => Json(&*record).into_response(),
        None => {
            let words = "no decision is kept of this request; all that did not pass are kept for \
                         a while, and some of those that did\n";
            (StatusCode::NOT_FOUND, words).into_response()
        }
    }
}

/// A request to explain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default = "default_method")]
    method: String,
    host: String,
    #[serde(default = "default_path")]
    path: String,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// The client's address.
    #[serde(default)]
    source: String,
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_path() -> String {
    "/".to_owned()
}

impl Wanted {
    fn check(self) -> CheckRequest {
        let http = HttpRequest {
            id: "explain".to_owned(),
            method: self.method,
            host: self.host,
            path: self.path,
            scheme: self.scheme,
            headers: self.headers.into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect(),
            body: self.body,
            ..HttpRequest::default()
        };
        let socket = SocketAddress { address: self.source, ..SocketAddress::default() };
        let address = Address { address: Some(AddressKind::SocketAddress(socket)) };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer { address: Some(address), ..Peer::default() }),
                request: Some(attribute_context::Request { http: Some(http), time: None }),
                ..AttributeContext::default()
            }),
        }
    }
}

async fn explain(State(shared): State<Shared>, Json(wanted): Json<Wanted>) -> Response {
    let told = |status: StatusCode, words: &str| (status, format!("{words}\n")).into_response();
    let Configured::Ready(snapshot) = shared.configuration.state() else {
        return told(StatusCode::SERVICE_UNAVAILABLE, "no configuration was read yet");
    };
    let request = match Request::from_check(wanted.check()) {
        Ok(request) => request,
        Err(why) => return told(StatusCode::BAD_REQUEST, why),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    let mut flow = Flow::new(snapshot, request, now);
    let mut not_asked = Vec::new();
    let outcome = loop {
        match flow.step(&*shared.edge) {
            Step::Done(outcome) => break outcome,
            Step::Need(need) => {
                let answer = answer(&shared.edge, need, &mut not_asked);
                flow.answer(answer);
            }
        }
    };
    let ending = Ending::of(&flow, &outcome);
    let record = Record::of(&flow, &outcome, ending, start.elapsed());
    let mut shown = serde_json::to_value(&record).unwrap_or_default();
    shown["not_asked"] = json!(not_asked);
    shown["answer"] = answer_shown(&outcome);
    Json(shown).into_response()
}

/// An explanation changes nothing: it sees what is known, and asks nobody.
fn answer(edge: &Edge, need: Need, not_asked: &mut Vec<String>) -> Answer {
    if let Some(answer) = edge.answer(&need) {
        return answer;
    }
    not_asked.push(need.to_string());
    match need {
        Need::Document(_) => Answer::Document(Err(CallError::Unavailable)),
        Need::Http(_) => Answer::Http(Err(CallError::Unavailable)),
        Need::Grpc(_) | Need::Random => Answer::Grpc(Err(CallError::Unavailable)),
        Need::Store(_) => Answer::Store(Err(StoreError)),
        Need::Compute(job) => {
            not_asked.pop();
            Answer::Computed(Some(job.run()))
        }
        Need::Wait(_) => {
            not_asked.pop();
            Answer::Waited
        }
    }
}

fn answer_shown(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Allow(_) => json!("the request goes to the backend"),
        Outcome::Deny(reply) | Outcome::Error(reply) => {
            json!({"status": reply.status, "reason": reply.reason})
        }
    }
}
