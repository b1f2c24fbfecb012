//! Routes, in the order in which Envoy tries them: a picture of the first that were found, and all
//! of them as a table.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use gateway_core::overview::RouteOverview;
use maud::{Markup, html};

use super::layout::{conditions, object, page, pager, search, table, target};
use super::{Form, Page, answer, clusters, picture};
use crate::controller::Question;
use crate::explain::Guards;

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let material = match page.ask(Question::Material).await {
        Ok(material) => Arc::new(material),
        Err(gone) => return gone,
    };
    let overview = &material.overview;
    let all = overview.routes.len();
    let found: Vec<_> = overview.routes.iter().filter(|r| is_found(&form, r)).cloned().collect();
    if form.wants_json() {
        return answer(&form, &found, || html! {});
    }
    let drawn: Vec<_> = form.part(&found).0.iter().take(picture::MOST).cloned().collect();
    // Policies are compiled, and limits looked for.
    let known = material.clone();
    let guarded = tokio::task::spawn_blocking(move || {
        let guards = Guards::new(&known);
        drawn.iter().map(|route| guards.of(route)).collect::<Vec<_>>()
    });
    let Ok(guarded) = guarded.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let endpoints = clusters::endpoints(&page.snapshots.borrow());
    answer(&form, &found, || {
        let (rows, part, parts) = form.part(&found);
        let drawn: Vec<_> = rows.iter().zip(guarded).collect();
        let content = html! {
            (search("/routes", &form.q, found.len(), all))
            @if found.is_empty() { p { "No route is like that." } } @else {
                (picture::draw(&drawn, &overview.clusters, &endpoints))
                @if rows.len() > picture::MOST {
                    p.hint { "The picture has the first " (picture::MOST) " of these; search to see others." }
                }
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
