//! The diagnostics page and its JSON, for people and probes. Reads only: no request changes
//! anything.

mod html;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use gateway_core::{Overview, ResourceType};
use serde_json::{Value, json};
use service_kit::server::admin::Readiness;
use tokio::sync::{mpsc, oneshot, watch};

use crate::controller::{Findings, Question};
use crate::kubernetes::peers::Replica;
use crate::plane::Options;
use crate::xds::snapshot::word;
use crate::xds::{Clients, Snapshot};

/// Nothing is loaded and nothing runs: the page is text and its own style.
const CSP: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the page shows.
#[derive(Clone)]
pub struct Page {
    clients: Clients,
    findings: watch::Receiver<Arc<Findings>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    questions: mpsc::Sender<Question>,
    ready: Readiness,
    /// The name of this replica.
    identity: Arc<str>,
}

#[derive(serde::Deserialize)]
struct Form {
    #[serde(default)]
    json: Option<String>,
}

impl Page {
    /// A page of these sources.
    pub const fn new(
        clients: Clients,
        findings: watch::Receiver<Arc<Findings>>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        questions: mpsc::Sender<Question>,
        ready: Readiness,
        identity: Arc<str>,
    ) -> Self {
        Self { clients, findings, snapshots, questions, ready, identity }
    }

    /// What `/config` shows: how the process was started and how much is in force. Resources hold
    /// keys, so they are counted, not shown.
    pub fn config(&self, options: &Options) -> Box<dyn Fn() -> Value + Send + Sync> {
        let settings = json!({
            "config": options.source.to_string(),
            "xds_addr": options.xds_addr.to_string(),
            "admin_addr": options.admin_addr.to_string(),
            "ambassador_id": options.settings.ambassador_id,
            "namespace": options.settings.namespace,
        });
        let page = self.clone();
        Box::new(move || json!({"settings": settings, "in_force": page.counts()}))
    }

    /// The routes of the page.
    pub fn router(&self) -> Router {
        let checked = Router::new()
            .route("/", get(diagnostics_page))
            .route("/diagnostics", get(diagnostics))
            .route("/ambassador/v0/diag", get(diagnostics_page))
            .route("/ambassador/v0/diag/", get(diagnostics_page))
            .layer(middleware::from_fn(check_host));
        Router::new()
            .route("/style.css", get(style))
            .route("/clients", get(clients))
            .route("/ambassador/v0/check_alive", get(|| async { "alive\n" }))
            .route("/ambassador/v0/check_ready", get(check_ready))
            .merge(checked)
            .layer(middleware::map_response(harden))
            .with_state(self.clone())
    }

    fn counts(&self) -> Value {
        let snapshot = self.snapshots.borrow().clone();
        let resources: serde_json::Map<String, Value> = ResourceType::ALL
            .into_iter()
            .map(|t| {
                let of = snapshot.of(t);
                (word(t).to_owned(), json!({"count": of.len(), "version": of.version()}))
            })
            .collect();
        json!({"revision": snapshot.revision, "resources": resources})
    }

    async fn overview(&self) -> Option<Overview> {
        let (question, answer) = oneshot::channel();
        self.questions.send(question).await.ok()?;
        answer.await.ok()
    }

    async fn to_json(&self) -> Value {
        let findings = self.findings.borrow().clone();
        let changed_at = findings.changed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        json!({
            "revision": findings.revision,
            "changed_at": changed_at.as_secs(),
            "diagnostics": findings.diagnostics,
            "clients": self.clients.list(),
            "in_force": self.counts(),
            "overview": self.overview().await,
            "ready": self.ready.report(),
        })
    }
}

/// For the other replicas.
async fn clients(State(page): State<Page>) -> Json<Replica> {
    let snapshot = page.snapshots.borrow().clone();
    Json(Replica::new(&page.identity, &snapshot, &page.clients))
}

async fn diagnostics(State(page): State<Page>) -> Json<Value> {
    Json(page.to_json().await)
}

async fn diagnostics_page(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    if form.json.as_deref() == Some("true") {
        return diagnostics(State(page)).await.into_response();
    }
    let Some(overview) = page.overview().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    };
    let findings = page.findings.borrow().clone();
    let text = html::page(&findings, &page.clients.list(), &overview, &page.ready.report());
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (headers, text.into_string()).into_response()
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], html::STYLE).into_response()
}

async fn check_ready(State(page): State<Page>) -> Response {
    if page.ready.is_ready() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", page.ready.report()))
        .into_response()
}

/// A web page elsewhere can make a browser here ask this port under a name of its own; such a
/// request carries that name. Addresses and `localhost` cannot be made to point here.
async fn check_host(request: Request, next: Next) -> Response {
    let host =
        request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if is_local_name(host) {
        return next.run(request).await;
    }
    let text = "this page answers under an address or localhost only\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok()
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_pointed_here_are_answered() {
        for host in ["127.0.0.1:8877", "localhost", "localhost:1", "[::1]:8877", "10.0.0.1"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8877", "127.0.0.1.evil.example", "localhost.evil"]
        {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
