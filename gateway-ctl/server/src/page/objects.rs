//! All objects, and a page for each: its YAML without secrets, what is wrong with it, its status, and
//! what it became in Envoy.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gateway_core::overview::RouteOverview;
use gateway_core::{ObjectOverview, ObjectRow, ResourceType};
use maud::{Markup, html};
use serde_json::{Value, json};
use service_kit::ObjectRef;

use super::layout::{conditions, diagnostics, object, page, pager, search, table, target};
use super::{Form, Page, answer};
use crate::controller::Question;
use crate::xds::snapshot::word;

/// Longest text of a resource that is written on the page; the JSON has all.
const MOST: usize = 256 << 10;
/// Routes of a Mapping or Host that are written out.
const ROUTES: usize = 50;

pub(super) async fn show_all(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let rows = match page.ask(Question::Objects).await {
        Ok(rows) => rows,
        Err(gone) => return gone,
    };
    let all = rows.len();
    let found: Vec<ObjectRow> = rows
        .into_iter()
        .filter(|r| form.finds([r.object.to_string().as_str(), &r.api_version]))
        .collect();
    answer(&form, &found, || {
        let (rows, part, parts) = form.part(&found);
        let rows = html! {
            @for row in rows {
                tr {
                    td { (object(&row.object)) }
                    td { code { (row.api_version) } }
                    td { (state(row)) }
                }
            }
        };
        let content = html! {
            (search("/objects", &form.q, found.len(), all))
            (table("Objects", &["Object", "Version", "State"], &rows))
            (pager("/objects", &form.q, part, parts))
        };
        self::page("/objects", "Objects", &content)
    })
}

pub(super) async fn show(
    State(page): State<Page>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    Query(form): Query<Form>,
) -> Response {
    let reference = ObjectRef::new(kind, namespace, name);
    let known = page.ask(|answer| Question::Object(reference.clone(), answer)).await;
    let (known, overview) = match (known, page.overview().await) {
        (Ok(Some(known)), Ok(overview)) => (known, overview),
        (Ok(None), _) => {
            return (StatusCode::NOT_FOUND, format!("there is no {reference}\n")).into_response();
        }
        (Err(gone), _) | (_, Err(gone)) => return gone,
    };
    let is_of = |r: &&RouteOverview| r.mapping == reference || r.host == reference;
    let routes: Vec<_> = overview.routes.iter().filter(is_of).cloned().collect();
    let resources = resources(&page, &known);
    let json = json!({"object": *known, "routes": routes, "envoy": resources});
    answer(&form, &json, || whole(&known, &routes, &resources))
}

/// What it became, as JSON. Keys and what only the services read are named, not shown.
fn resources(page: &Page, known: &ObjectOverview) -> Vec<(String, Value)> {
    let snapshot = page.snapshots.borrow().clone();
    let shown = |(kind, name): &(ResourceType, String)| {
        let label = format!("{} {name}", word(*kind));
        let hidden = matches!(
            kind,
            ResourceType::Secret
                | ResourceType::RateLimitObject
                | ResourceType::AuthorizationObject
        );
        let of = snapshot.of(*kind);
        let resource = of.get(name).filter(|_| !hidden);
        let json =
            resource.and_then(|r| proto::reflect::to_json(kind.message_name(), &r.body).ok());
        (label, json.unwrap_or(Value::Null))
    };
    known.resources.iter().map(shown).collect()
}

fn state(row: &ObjectRow) -> Markup {
    html! {
        @if row.in_force { span.good { "in force" } }
        @else { span.error { "this version is not in force" } }
    }
}

fn whole(
    known: &ObjectOverview,
    routes: &[RouteOverview],
    resources: &[(String, Value)],
) -> Markup {
    let found: Vec<_> = known.diagnostics.iter().collect();
    let title = known.row.object.to_string();
    let content = html! {
        p {
            code { (known.row.api_version) } " · " (state(&known.row))
            @if let Some(file) = &known.file { " · " code { (file) } }
        }
        h2 { "What is wrong" }
        (diagnostics(&found))
        @if !routes.is_empty() { h2 { "Its routes" } (route_table(routes)) }
        h2 { "As it is written" }
        pre { (yaml(&known.json)) }
        @if !known.status.is_null() { h2 { "Its status" } pre { (yaml(&known.status)) } }
        @if !resources.is_empty() {
            h2 { "What it became" }
            @for (label, json) in resources {
                details { summary { code { (label) } } pre { (became(json)) } }
            }
        }
    };
    page("/objects", &title, &content)
}

fn route_table(routes: &[RouteOverview]) -> Markup {
    let rows = html! {
        @for r in routes.iter().take(ROUTES) {
            tr { td { (object(&r.host)) } td { (conditions(r)) } td { (target(r)) } td { (object(&r.mapping)) } }
        }
    };
    html! {
        (table("Routes", &["Host", "Match", "Goes to", "Mapping"], &rows))
        @if routes.len() > ROUTES { p { "The first " (ROUTES) " of " (routes.len()) "." } }
    }
}

fn became(json: &Value) -> String {
    if json.is_null() {
        return "(not shown: it holds keys, or only the services read it)".to_owned();
    }
    let text = yaml(json);
    match text.char_indices().nth(MOST) {
        None => text,
        Some((end, _)) => format!("{}\n… (the JSON of this page has all)", &text[..end]),
    }
}

fn yaml(json: &Value) -> String {
    yaml_serde::to_string(json).unwrap_or_default()
}
