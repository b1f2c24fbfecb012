//! The diagnostics pages and their JSON, for people and probes. They read only: no request changes
//! anything. Those with the configuration are for callers on this machine, or with the admin token.

mod authorization;
mod changes;
mod clusters;
mod explain;
mod layout;
mod limits;
mod objects;
mod overview;
mod picture;
mod routes;
mod services;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use gateway_core::{Overview, ResourceType};
use maud::Markup;
use serde::Serialize;
use serde_json::{Value, json};
use service_kit::Secret;
use service_kit::server::admin::{self, Readiness};
use tokio::sync::{mpsc, oneshot, watch};

use crate::controller::{Findings, Question};
use crate::history::History;
use crate::kubernetes::peers::Replica;
use crate::plane::Options;
use crate::services::Services;
use crate::xds::snapshot::word;
use crate::xds::{Clients, Snapshot};

/// Nothing is loaded from elsewhere and nothing runs: pages are text, their own style, and forms that
/// look for something in them.
const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const ICON: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path d='M2 3v11M2 5l12-2v3L2 8' fill='none' stroke='#0a58ca' stroke-width='2'/></svg>";
/// Rows of a part of a table.
const ROWS: usize = 100;

/// What the pages show.
#[derive(Clone)]
pub struct Page {
    /// Who is connected.
    pub clients: Clients,
    /// What is wrong.
    pub findings: watch::Receiver<Arc<Findings>>,
    /// What is in force.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// To the controller.
    pub questions: mpsc::Sender<Question>,
    /// What changed lately.
    pub history: History,
    /// Whether all works.
    pub ready: Readiness,
    /// To the two services.
    pub services: Services,
    /// The name of this replica.
    pub identity: Arc<str>,
    /// Who has it may look from anywhere.
    pub token: Option<Secret<String>>,
}

/// What is asked of a page.
#[derive(Debug, Default, serde::Deserialize)]
struct Form {
    /// Its JSON instead.
    #[serde(default)]
    json: Option<String>,
    /// The text that is looked for.
    #[serde(default)]
    q: String,
    /// The part of a long table, from 1.
    #[serde(default)]
    part: Option<usize>,
}

impl Form {
    fn wants_json(&self) -> bool {
        self.json.as_deref() == Some("true")
    }

    /// Whether one of the texts has what is looked for, in any case.
    fn finds<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> bool {
        let wanted = self.q.trim().to_lowercase();
        wanted.is_empty() || texts.into_iter().any(|t| t.to_lowercase().contains(&wanted))
    }

    /// The rows of the part that is asked for, its number, and of how many.
    fn part<'a, T>(&self, rows: &'a [T]) -> (&'a [T], usize, usize) {
        let parts = rows.len().div_ceil(ROWS).max(1);
        let part = self.part.unwrap_or(1).clamp(1, parts);
        let rows = rows.chunks(ROWS).nth(part - 1).unwrap_or_default();
        (rows, part, parts)
    }
}

impl Page {
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

    /// The routes of the pages.
    pub fn router(&self) -> Router {
        let looks = Router::new()
            .route("/", get(overview::show))
            .route("/routes", get(routes::show))
            .route("/clusters", get(clusters::show))
            .route("/objects", get(objects::show_all))
            .route("/objects/{kind}/{namespace}/{name}", get(objects::show))
            .route("/changes", get(changes::show))
            .route("/limits", get(limits::show))
            .route("/authorization", get(authorization::show))
            .route("/explain", get(explain::show))
            .route("/diagnostics", get(diagnostics))
            .route("/ambassador/v0/diag", get(overview::show))
            .route("/ambassador/v0/diag/", get(overview::show))
            .with_state(self.clone());
        let looks = admin::guard(looks, self.token.clone());
        // With the token a name is no risk: a page elsewhere does not know it.
        let looks = match self.token {
            Some(_) => looks,
            None => looks.layer(middleware::from_fn(check_host)),
        };
        Router::new()
            .route("/style.css", get(style))
            .route("/icon.svg", get(icon))
            .route("/clients", get(clients))
            .route("/ambassador/v0/check_alive", get(|| async { "alive\n" }))
            .route("/ambassador/v0/check_ready", get(check_ready))
            .with_state(self.clone())
            .merge(looks)
            .layer(middleware::map_response(harden))
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

    /// Asks the controller.
    ///
    /// # Errors
    /// When it has ended.
    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Response> {
        let gone = || (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
        let (sender, answer) = oneshot::channel();
        self.questions.send(question(sender)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    async fn overview(&self) -> Result<Overview, Response> {
        self.ask(Question::Overview).await
    }

    async fn to_json(&self) -> Value {
        let findings = self.findings.borrow().clone();
        let changed_at = findings.changed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        json!({
            "revision": findings.revision,
            "changed_at": changed_at.as_secs(),
            "diagnostics": *findings.diagnostics,
            "clients": self.clients.list(),
            "in_force": self.counts(),
            "overview": self.overview().await.ok(),
            "ready": self.ready.report(),
        })
    }
}

/// A page, or what it shows as JSON.
fn answer(form: &Form, json: &impl Serialize, page: impl FnOnce() -> Markup) -> Response {
    if form.wants_json() {
        return Json(json).into_response();
    }
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page().into_string()).into_response()
}

/// For the other replicas.
async fn clients(State(page): State<Page>) -> Json<Replica> {
    let snapshot = page.snapshots.borrow().clone();
    Json(Replica::new(&page.identity, &snapshot, &page.clients))
}

async fn diagnostics(State(page): State<Page>) -> Json<Value> {
    Json(page.to_json().await)
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], layout::STYLE).into_response()
}

async fn icon() -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml")], ICON).into_response()
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

    #[test]
    fn a_long_table_comes_in_parts() {
        let rows: Vec<_> = (0..250).collect();
        let part = |part| Form { part, ..Form::default() };
        assert_eq!(part(None).part(&rows), (&rows[..100], 1, 3));
        assert_eq!(part(Some(3)).part(&rows), (&rows[200..], 3, 3));
        assert_eq!(part(Some(99)).part(&rows).1, 3);
        assert_eq!(part(Some(0)).part::<u8>(&[]), (&[][..], 1, 1));
        let form = Form { q: " Shop".to_owned(), ..Form::default() };
        assert!(form.finds(["a", "workSHOP"]) && !form.finds(["a"]));
    }
}
