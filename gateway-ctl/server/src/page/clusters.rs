//! Clusters, and the endpoints that the controller gave Envoy for them.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::response::Response;
use gateway_core::ResourceType;
use gateway_core::overview::ClusterOverview;
use maud::{Markup, html};
use serde::Serialize;

use super::layout::{object, page, pager, search, table};
use super::{Form, Page, answer};
use crate::endpoints::addresses;
use crate::xds::Snapshot;

/// Endpoints that are written out for a cluster.
const MOST: usize = 20;

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    cluster: ClusterOverview,
    /// None where Envoy resolves a name by itself.
    endpoints: Option<Vec<String>>,
}

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let overview = match page.overview().await {
        Ok(overview) => overview,
        Err(gone) => return gone,
    };
    let mut endpoints = endpoints(&page.snapshots.borrow());
    let all = overview.clusters.len();
    let found: Vec<Row> = overview
        .clusters
        .into_iter()
        .filter(|c| {
            let owners = c.owners.iter().map(|o| o.name.as_str());
            form.finds([c.name.as_str(), &c.address, &c.alt_stat_name].into_iter().chain(owners))
        })
        .map(|cluster| Row { endpoints: endpoints.remove(&cluster.address), cluster })
        .collect();
    answer(&form, &found, || {
        let (rows, part, parts) = form.part(&found);
        let content = html! {
            (search("/clusters", &form.q, found.len(), all))
            (clusters(rows))
            (pager("/clusters", &form.q, part, parts))
        };
        self::page("/clusters", "Clusters", &content)
    })
}

fn clusters(rows: &[Row]) -> Markup {
    let rows = html! {
        @for Row { cluster: c, endpoints } in rows {
            tr {
                td { code { (c.name) } }
                td {
                    code { (c.address) }
                    @match endpoints {
                        None => { br; span.hint { "Envoy resolves this name" } }
                        Some(list) if list.is_empty() => {
                            br; span.error { "no endpoints: requests are answered 503 UH. Is a pod ready, does the Service select it, does it have this port?" }
                        }
                        Some(list) => {
                            @for endpoint in list.iter().take(MOST) { br; code { (endpoint) } }
                            @if list.len() > MOST { br; "and " (list.len() - MOST) " more" }
                        }
                    }
                }
                td { @if c.http2 { "HTTP/2" } @else { "HTTP/1.1" } }
                td { code { (c.alt_stat_name) } }
                td {
                    @for o in c.owners.iter().take(5) { (object(o)) br; }
                    @if c.owners.len() > 5 { "and " (c.owners.len() - 5) " more" }
                }
            }
        }
    };
    table("Clusters", &["Cluster", "Endpoints", "Protocol", "In statistics", "Used by"], &rows)
}

/// The endpoints that were given to Envoy, by the name of their resource.
pub(super) fn endpoints(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
    let of = snapshot.of(ResourceType::Endpoint);
    of.iter().filter_map(|(name, r)| Some((name.to_string(), addresses(&r.body)?))).collect()
}
