//! The first page: is everything well, who is connected, what came last; errors first.

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use gateway_core::Overview;
use maud::{Markup, html};
use serde_json::Value;
use service_kit::Severity;

use super::layout::{diagnostics, object, page, table, utc};
use super::services::health;
use super::{Form, Page, ROWS, answer};
use crate::controller::Findings;
use crate::history::Entry;
use crate::services::{Answer, Service};
use crate::xds::ClientStatus;

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    if form.wants_json() {
        return super::diagnostics(State(page)).await.into_response();
    }
    let overview = match page.overview().await {
        Ok(overview) => overview,
        Err(gone) => return gone,
    };
    let findings = page.findings.borrow().clone();
    let (clients, ready) = (page.clients.list(), page.ready.report());
    let last = page.history.last();
    let (ratelimit, authz) = tokio::join!(
        page.services.health(Service::RateLimit),
        page.services.health(Service::Authz)
    );
    let asked = [("ratelimit-svc", ratelimit), ("authz-svc", authz)];
    answer(&form, &(), || whole(&findings, &clients, &overview, &ready, &asked, last.as_ref()))
}

fn whole(
    findings: &Findings,
    clients: &[ClientStatus],
    overview: &Overview,
    ready: &Value,
    asked: &[(&str, Answer)],
    last: Option<&Entry>,
) -> Markup {
    // Findings are sorted by how much they matter.
    let found: Vec<_> = findings.diagnostics.iter().take(ROWS).collect();
    let content = html! {
        (readiness(ready))
        @for (name, answer) in asked { (health(name, answer)) }
        (numbers(findings, overview))
        (latest(last))
        h2 { "What is wrong" }
        (diagnostics(&found))
        @if findings.diagnostics.len() > ROWS {
            p { "The first " (ROWS) " of " (findings.diagnostics.len()) "; the JSON has all." }
        }
        h2 { "Connected" }
        (connected(clients))
        h2 { "Services that are asked about requests" }
        (services(overview))
        h2 { "Listeners" }
        (listeners(overview))
    };
    page("/", "Overview", &content)
}

fn readiness(ready: &Value) -> Markup {
    let waiting: Vec<(&str, &str)> = ready
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, state)| Some((name.as_str(), state.as_str()?)))
        .filter(|(_, state)| *state != "ok")
        .collect();
    html! {
        @if waiting.is_empty() { p.good { "Ready" } }
        @for (name, state) in waiting { p.error { "Not ready: " (name) ": " (state) } }
    }
}

fn numbers(findings: &Findings, overview: &Overview) -> Markup {
    let of = |severity| findings.diagnostics.iter().filter(|d| d.severity == severity).count();
    html! {
        ul.numbers {
            @for (severity, class, word) in [(Severity::Error, "error", "errors"),
                (Severity::Warning, "warning", "warnings"), (Severity::Notice, "notice", "notices")] {
                li { b class=[(of(severity) > 0).then_some(class)] { (of(severity)) } (word) }
            }
            li { b { (overview.hosts.len()) } "Hosts" }
            li { b { (overview.routes.len()) } a href="/routes" { "routes" } }
            li { b { (overview.clusters.len()) } a href="/clusters" { "clusters" } }
        }
    }
}

fn latest(last: Option<&Entry>) -> Markup {
    html! {
        @if let Some(last) = last {
            p {
                "Last change: revision " (last.revision) ", " (utc(last.at)) ": "
                @for (i, change) in last.objects.iter().take(3).enumerate() {
                    @if i > 0 { ", " }
                    (object(&change.object)) " " (change.what)
                }
                @if last.objects.len() + last.more > 3 {
                    " and " (last.objects.len() + last.more - 3) " more"
                }
                @match last.live_ms {
                    Some(ms) => { "; live on all clients after " (ms) " ms." }
                    None => { "; " span.warning { "not acknowledged by all clients yet." } }
                }
                " " a href="/changes" { "All changes" }
            }
        }
    }
}

fn connected(clients: &[ClientStatus]) -> Markup {
    let rows = html! {
        @for c in clients.iter().take(ROWS) {
            tr {
                td { (c.kind.word()) }
                td { (c.node) @if !c.agent.is_empty() { br; (c.agent) } }
                td { (utc(c.connected_at)) }
                td {
                    @if c.is_in_sync(0) { span.good { "in sync" } } @else { span.warning { "behind" } }
                    " at revision " (c.revision)
                }
                td {
                    @for (name, t) in &c.types {
                        (name) ": " (t.acknowledged)
                        @if t.rejected > 0 { span.error { " (" (t.rejected) " refused)" } }
                        br;
                    }
                }
                td { (c.last_refusal.as_deref().unwrap_or("none")) }
            }
        }
    };
    let heads = ["Client", "Node", "Since", "State", "Acknowledged", "Last refusal"];
    html! {
        @if clients.is_empty() { p.error { "No Envoy and no service is connected." } }
        @else { (table("Connected clients", &heads, &rows)) }
    }
}

fn services(overview: &Overview) -> Markup {
    let rows = html! {
        @for s in &overview.services {
            tr {
                td { (object(&s.service)) @if !s.domain.is_empty() { br; "domain " (s.domain) } }
                td class=(if s.state == "in force" { "good" } else { "error" }) { (s.state) }
                td { code { (s.cluster.as_deref().unwrap_or("none")) } }
                td { (s.timeout_ms) " ms" }
                td { @if s.fails_open { "requests pass" } @else { "requests are refused" } }
            }
        }
    };
    let heads = ["Service", "State", "Cluster", "Timeout", "Without an answer"];
    html! {
        @if overview.services.is_empty() { p { "None: no AuthService and no RateLimitService." } }
        @else { (table("Services", &heads, &rows)) }
    }
}

fn listeners(overview: &Overview) -> Markup {
    let rows = html! {
        @for l in &overview.listeners {
            tr {
                td { (object(&l.listener)) }
                td { code { (l.address) ":" (l.port) } }
                td { (l.security_model) }
                td {
                    @for h in l.hosts.iter().take(10) { (object(h)) br; }
                    @if l.hosts.len() > 10 { "and " (l.hosts.len() - 10) " more" }
                }
            }
        }
    };
    table("Listeners", &["Listener", "Address", "Security model", "Hosts"], &rows)
}
