//! Authorization as it goes: what each policy decided, who was refused lately and why, and how old the
//! identity providers' keys are.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::response::Response;
use gateway_core::Overview;
use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;
use service_kit::ObjectRef;

use super::layout::{object, page, search, table, utc};
use super::services::{health, unknown};
use super::{Form, Page, answer};
use crate::services::{Answer, Replica, Service, if_known};

/// Decisions that are shown.
const SHOWN: usize = 50;

#[derive(Serialize)]
struct Shown {
    #[serde(serialize_with = "if_known")]
    replicas: Answer,
    /// Results by policy, as `NAME.NAMESPACE`.
    policies: BTreeMap<String, BTreeMap<String, u64>>,
    /// Seconds since it was fetched, by document.
    documents: BTreeMap<String, u64>,
    /// Decisions that were no plain allowance, newest first.
    refused: Vec<Value>,
}

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let overview = match page.overview().await {
        Ok(overview) => overview,
        Err(gone) => return gone,
    };
    let replicas = page.services.report(Service::Authz, "/decisions").await;
    let shown = gather(replicas, &form);
    answer(&form, &shown, || {
        let content = html! {
            (health("authz-svc", &shown.replicas))
            (asked(&overview))
            @if shown.replicas.is_none() { (unknown("authz-svc", "--authz-admin")) }
            @else {
                h2 { "Policies" }
                (policies(&shown.policies))
                h2 { "Refused lately" }
                (hidden(&shown.replicas))
                (search("/authorization", &form.q, shown.refused.len(), shown.refused.len()))
                (refused(&shown.refused))
                h2 { "Keys of identity providers" }
                (documents(&shown.documents))
            }
        };
        self::page("/authorization", "Authorization", &content)
    })
}

fn gather(replicas: Answer, form: &Form) -> Shown {
    let mut policies: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut documents = BTreeMap::new();
    let mut refused = Vec::new();
    for replica in replicas.iter().flatten().flatten() {
        for sample in &replica.samples {
            // Whole numbers, all of them.
            let value = sample.value as u64;
            match sample.name.as_str() {
                "authz_decisions_total" => {
                    let results = policies.entry(sample.label("policy").to_owned()).or_default();
                    *results.entry(sample.label("result").to_owned()).or_default() += value;
                }
                "authz_document_age_seconds" => {
                    let age = documents.entry(sample.label("document").to_owned()).or_insert(value);
                    *age = value.max(*age);
                }
                _ => {}
            }
        }
        refused.extend(refusals(replica, form));
    }
    refused.sort_by_key(|d| std::cmp::Reverse(d["time_ms"].as_u64()));
    refused.truncate(SHOWN);
    Shown { replicas, policies, documents, refused }
}

fn refusals(replica: &Replica, form: &Form) -> Vec<Value> {
    let all = replica.more.as_ref().ok().and_then(|m| m["decisions"].as_array());
    let texts = |d: &Value| {
        ["host", "path", "rule", "result", "client", "request_id"]
            .map(|field| d[field].as_str().unwrap_or_default().to_owned())
    };
    let wanted = |d: &&Value| {
        let texts = texts(d);
        d["result"] != "allowed" && form.finds(texts.iter().map(String::as_str))
    };
    all.into_iter().flatten().filter(wanted).cloned().collect()
}

/// Where Envoy asks.
fn asked(overview: &Overview) -> Markup {
    let services = overview.services.iter().filter(|s| s.service.kind == "AuthService");
    html! {
        @for s in services {
            p {
                (object(&s.service)) ": "
                span class=(if s.state == "in force" { "good" } else { "error" }) { (s.state) }
                ", " (s.timeout_ms) " ms; without an answer requests "
                @if s.fails_open { strong.warning { "pass" } } @else { "are refused" } "."
            }
        }
    }
}

/// `NAME.NAMESPACE` as an object.
fn policy(name: &str) -> Markup {
    match name.rsplit_once('.') {
        Some((name, namespace)) => object(&ObjectRef::new("FilterPolicy", namespace, name)),
        None => html! { (name) },
    }
}

fn policies(all: &BTreeMap<String, BTreeMap<String, u64>>) -> Markup {
    let rows = html! {
        @for (name, results) in all {
            tr {
                td { @if name.is_empty() { "no policy" } @else { (policy(name)) } }
                td {
                    @for (result, count) in results.iter().filter(|(_, count)| **count > 0) {
                        span class=(weight(result)) { (result) ": " (count) } br;
                    }
                }
            }
        }
    };
    html! {
        @if all.is_empty() { p { "No request met a policy yet." } }
        @else { (table("Policies", &["Policy", "Decisions since the replicas started"], &rows)) }
    }
}

/// How much a result matters.
fn weight(result: &str) -> &'static str {
    match result {
        "failed" | "failed_open" => "error",
        "denied" | "shadow_denied" => "warning",
        _ => "good",
    }
}

fn hidden(replicas: &Answer) -> Markup {
    let why = replicas.iter().flatten().flatten().find_map(|r| r.more.as_ref().err());
    html! { @if let Some(why) = why { p.warning { "Not to be seen of every replica: " (why) } } }
}

fn refused(all: &[Value]) -> Markup {
    let text = |d: &Value, field: &str| d[field].as_str().unwrap_or_default().to_owned();
    let rows = html! {
        @for d in all {
            tr {
                td { (utc(d["time_ms"].as_u64().unwrap_or_default() / 1000)) }
                td { (text(d, "method")) " " code { (text(d, "host")) (text(d, "path")) } }
                td { span class=(weight(&text(d, "result"))) { (text(d, "result")) } " " (d["status"]) }
                td {
                    code { (text(d, "rule")) }
                    @for f in d["filters"].as_array().into_iter().flatten() {
                        @if let Some(reason) = f["reason"].as_str() {
                            br; (text(f, "kind")) " " (text(f, "filter")) ": " (reason)
                        }
                    }
                }
                td { code { (text(d, "request_id")) } }
            }
        }
    };
    let heads = ["When", "Request", "Result", "Rule, and why", "Request id"];
    html! {
        @if all.is_empty() { p.good { "Nobody." } }
        @else { (table("Refused lately", &heads, &rows)) }
    }
}

fn documents(all: &BTreeMap<String, u64>) -> Markup {
    let rows = html! {
        @for (url, age) in all {
            tr { td { code { (url) } } td { (age) " s" } }
        }
    };
    html! {
        @if all.is_empty() { p { "None is fetched." } }
        @else { (table("Keys", &["Document", "Fetched before"], &rows)) }
    }
}
