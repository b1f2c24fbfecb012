//! Routes, in the order in which Envoy tries them: a picture of the first that were found, and all
//! of them as a table.

use axum::extract::{Query, State};
use axum::response::Response;
use gateway_core::overview::RouteOverview;
use maud::{Markup, html};

use super::layout::{conditions, object, page, pager, search, table, target};
use super::{Form, Page, answer, clusters, picture};

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let overview = match page.overview().await {
        Ok(overview) => overview,
        Err(gone) => return gone,
    };
    let all = overview.routes.len();
    let found: Vec<_> = overview.routes.iter().filter(|r| is_found(&form, r)).cloned().collect();
    let endpoints = clusters::endpoints(&page.snapshots.borrow());
    answer(&form, &found, || {
        let (rows, part, parts) = form.part(&found);
        let content = html! {
            (search("/routes", &form.q, found.len(), all))
            @if found.is_empty() { p { "No route is like that." } } @else {
                (picture::draw(rows, &overview.clusters, &endpoints))
                h2 { "In the order in which they are tried" }
                (routes(rows))
                (pager("/routes", &form.q, part, parts))
            }
        };
        self::page("/routes", "Routes", &content)
    })
}

fn is_found(form: &Form, r: &RouteOverview) -> bool {
    let cluster = r.cluster.as_deref().unwrap_or_default();
    let texts = [&r.host.name, &r.hostname, &r.path, &r.mapping.name, &r.mapping.namespace];
    form.finds(texts.into_iter().map(String::as_str).chain([r.service.as_str(), cluster]))
}

fn routes(rows: &[RouteOverview]) -> Markup {
    let rows = html! {
        @for r in rows {
            tr {
                td { (object(&r.host)) }
                td { (conditions(r)) }
                td { (target(r)) }
                td { (object(&r.mapping)) }
                td { @if r.authorized { "yes" } @else { "no" } }
                td { @for d in &r.descriptors { code { (d.join(", ")) } br; } }
            }
        }
    };
    table("Routes", &["Host", "Match", "Goes to", "Mapping", "Authorized", "Descriptors"], &rows)
}
