//! Why was that? A form (GET, without scripts), and the causes.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};

use super::layout::{object, page, table};
use super::{Form, Page, answer};
use crate::controller::Question as ToController;
use crate::explain::{
    self, Answer, Asked, Asking as Counting, Counters, Decision, Explanation, Live, Question, Usage,
};
use crate::services::Service;

/// What is asked of the page.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Asking {
    json: Option<String>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    headers: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    flags: String,
    #[serde(default)]
    client: String,
    /// What an Envoy says of its hosts, as JSON.
    #[serde(default)]
    hosts: String,
}

impl Asking {
    fn asked(&self) -> Result<Asked, String> {
        let status = match self.status.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| format!("`{text}` is no status, as 503 is"))?),
        };
        let listed = |text: &str, separator: &[char]| {
            text.split(separator)
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Ok(Asked {
            method: self.method.trim().to_owned(),
            url: self.url.trim().to_owned(),
            headers: listed(&self.headers, &['\n', '\r']),
            text: self.text.clone(),
            status,
            flags: listed(&self.flags, &[',', ' ']),
            client: self.client.trim().to_owned(),
        })
    }

    fn is_empty(&self) -> bool {
        [&self.url, &self.text, &self.status, &self.flags].iter().all(|t| t.trim().is_empty())
    }
}

pub(super) async fn show(State(page): State<Page>, Query(query): Query<Asking>) -> Response {
    let form = Form { json: query.json.clone(), ..Form::default() };
    if query.is_empty() && !form.wants_json() {
        return answer(&form, &(), || whole(&query, None));
    }
    let asked = query.asked().and_then(|asked| Question::read(&asked));
    let question = match asked {
        Ok(question) => question,
        Err(words) if form.wants_json() => {
            return (StatusCode::BAD_REQUEST, format!("{words}\n")).into_response();
        }
        Err(words) => return answer(&form, &(), || whole(&query, Some(Err(&words)))),
    };
    let decision = decision(&page, &question).await;
    let material = match page.ask(ToController::Material).await {
        Ok(material) => Arc::new(material),
        Err(gone) => return gone,
    };
    let hosts = match serde_json::from_str(&query.hosts) {
        Ok(hosts) => Some(hosts),
        Err(_) => page.services.envoy_hosts(&material.overview.clusters).await,
    };
    // Much is compared when there are many Mappings.
    let (about, known) = (question.clone(), material.clone());
    let asking = tokio::task::spawn_blocking(move || explain::asking(&about, &known)).await;
    let counters = counters(&page, asking.ok().flatten()).await;
    let live = Live { hosts, decision, counters };
    let work = move || explain::explain(&question, &material, &live);
    match tokio::task::spawn_blocking(work).await {
        Ok(explanation) => answer(&form, &explanation, || whole(&query, Some(Ok(&explanation)))),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// How the limits stand that the request counts against, where ratelimit-svc can be asked.
async fn counters(page: &Page, asking: Option<Counting>) -> Counters {
    let Some(asking) = asking else { return Counters::default() };
    match page.services.counters(&asking.body).await {
        None => Counters::default(),
        Some(Ok(replicas)) => asking.read(&replicas),
        Some(Err(why)) => Counters { unknown: Some(why), ..Counters::default() },
    }
}

/// What authz-svc said of the request that the log names, if it refused it.
async fn decision(page: &Page, question: &Question) -> Option<Decision> {
    let symptom = &question.symptom;
    let refused = symptom.flags.iter().flatten().any(|f| f == "UAEX");
    let is_plain = |id: &&String| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let id = symptom.request_id.as_ref().filter(|_| refused).filter(is_plain)?;
    let replicas = page.services.pages(Service::Authz, &format!("/decisions/{id}")).await?.ok()?;
    replicas.into_iter().find_map(|shown| serde_json::from_value(shown.ok()?).ok())
}

fn whole(query: &Asking, result: Option<Result<&Explanation, &str>>) -> Markup {
    let content = html! {
        p.hint {
            "Give a request, or what was seen: a line of the access log, the text of a body, a status with its flag. Nothing is sent."
        }
        (form(query))
        @match result {
            None => {}
            Some(Err(words)) => { p.error role="alert" { (words) } }
            Some(Ok(explanation)) => { (shown(explanation)) }
        }
    };
    page("/explain", "Explain", &content)
}

fn form(query: &Asking) -> Markup {
    let method = if query.method.is_empty() { "GET" } else { &query.method };
    html! {
        form.explain method="get" action="/explain" {
            label for="text" { "What was seen" }
            textarea id="text" name="text" rows="3" placeholder="503 UH, or a line of the access log" { (query.text) }
            label for="url" { "Request" }
            div.row {
                input id="method" name="method" size="7" aria-label="Method" value=(method);
                input id="url" name="url" type="url" placeholder="http://shop.example:8080/cart" value=(query.url);
            }
            label for="headers" { "Headers, one a line" }
            textarea id="headers" name="headers" rows="2" placeholder="x-user: alice" { (query.headers) }
            div.row {
                label for="status" { "Status" }
                input id="status" name="status" size="4" inputmode="numeric" value=(query.status);
                label for="flags" { "Flags" }
                input id="flags" name="flags" size="8" value=(query.flags);
                label for="client" { "Client" }
                input id="client" name="client" size="14" placeholder="203.0.113.7" value=(query.client);
                button { "Explain" }
            }
        }
    }
}

fn shown(explanation: &Explanation) -> Markup {
    html! {
        @if !explanation.seen.is_empty() { p { "Seen: " (explanation.seen) } }
        @if !explanation.causes.is_empty() { h2 { "Causes" } }
        @for cause in &explanation.causes { (cause_of(cause)) }
        @if explanation.causes.is_empty() && explanation.seen.is_empty() {
            p.good { "Nothing speaks against this request." }
        }
        @for note in &explanation.notes { p.hint { (note) } }
        @if !explanation.limits.is_empty() {
            h2 { "How near it is to its limits" }
            (limits(&explanation.limits))
        }
        @if !explanation.way.is_empty() {
            h2 { "The way of the request" }
            (table("The way of the request", &["Part", "What it meets"], &html! {
                @for line in &explanation.way { tr { td { (line.part) } td { (line.text) } } }
            }))
        }
    }
}

fn limits(all: &[Usage]) -> Markup {
    let rows = html! {
        @for u in all {
            tr {
                td { code { (u.descriptor) } }
                td { (u.of()) }
                td class=[(u.remaining == 0).then_some("warning")] {
                    meter min="0" max=(u.used + u.remaining) value=(u.used) aria-hidden="true" {}
                    " " (u.stands())
                }
            }
        }
    };
    table("Limits", &["Descriptor", "Limit", "Now"], &rows)
}

fn cause_of(cause: &Answer) -> Markup {
    let mut nexts: Vec<&str> =
        cause.found.iter().map(|f| f.next.as_str()).filter(|n| !n.is_empty()).collect();
    if nexts.is_empty() {
        nexts.push(&cause.next);
    }
    nexts.dedup();
    html! {
        section {
            h3 id=(cause.id) {
                @if cause.is_certain { span.error { (cause.title) } }
                @else { span.warning { "Maybe: " } (cause.title) }
            }
            @for found in &cause.found {
                p { (found.words) @if let Some(o) = &found.object { " — " (object(o)) } }
            }
            p.hint { (cause.why) }
            p { b { "Next step: " } @for (i, next) in nexts.iter().enumerate() { @if i > 0 { br; } (next) } }
        }
    }
}
