//! Clusters, the endpoints that the controller gave Envoy for them, and what each Envoy says of their health.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::{Query, State};
use axum::response::Response;
use gateway_core::ResourceType;
use gateway_core::overview::ClusterOverview;
use maud::{Markup, html};
use serde::Serialize;

use super::layout::{object, page, pager, search, table};
use super::{Form, Page, answer};
use crate::endpoints::addresses;
use crate::services::Envoy;
use crate::xds::Snapshot;

/// What Envoys say, as far as it is known where they are.
type Envoys = Option<Result<Vec<Envoy>, String>>;

/// Endpoints that are written out for a cluster.
const MOST: usize = 20;

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    cluster: ClusterOverview,
    /// None where Envoy resolves a name by itself.
    endpoints: Option<Vec<String>>,
    /// What Envoys say of each host of which they know whether it is well.
    hosts: BTreeMap<String, Vec<Said>>,
}

/// What an Envoy says of a host.
#[derive(Debug, Serialize)]
struct Said {
    envoy: SocketAddr,
    /// Why it is out; empty when it is well.
    unhealthy: String,
}

pub(super) async fn show(State(page): State<Page>, Query(form): Query<Form>) -> Response {
    let overview = match page.overview().await {
        Ok(overview) => overview,
        Err(gone) => return gone,
    };
    let envoys = page.services.envoys(&overview.clusters).await;
    let mut said = said(&envoys);
    let mut endpoints = endpoints(&page.snapshots.borrow());
    let all = overview.clusters.len();
    let found: Vec<Row> = overview
        .clusters
        .into_iter()
        .filter(|c| {
            let owners = c.owners.iter().map(|o| o.name.as_str());
            form.finds([c.name.as_str(), &c.address, &c.alt_stat_name].into_iter().chain(owners))
        })
        .map(|cluster| Row {
            endpoints: endpoints.remove(&cluster.address),
            hosts: said.remove(&cluster.name).unwrap_or_default(),
            cluster,
        })
        .collect();
    answer(&form, &found, || {
        let (rows, part, parts) = form.part(&found);
        let content = html! {
            (search("/clusters", &form.q, found.len(), all))
            (asked(&envoys))
            (clusters(rows))
            (pager("/clusters", &form.q, part, parts))
        };
        self::page("/clusters", "Clusters", &content)
    })
}

/// By cluster and host.
fn said(envoys: &Envoys) -> BTreeMap<String, BTreeMap<String, Vec<Said>>> {
    let mut all: BTreeMap<String, BTreeMap<String, Vec<Said>>> = BTreeMap::new();
    for envoy in envoys.iter().flatten().flatten() {
        for (cluster, hosts) in envoy.hosts.iter().flat_map(|hosts| &hosts.0) {
            let of_cluster = all.entry(cluster.clone()).or_default();
            for host in hosts {
                let unhealthy = host.unhealthy.clone();
                let said = Said { envoy: envoy.address, unhealthy };
                of_cluster.entry(host.address.clone()).or_default().push(said);
            }
        }
    }
    all
}

/// Which Envoys were asked, and which did not answer.
fn asked(envoys: &Envoys) -> Markup {
    html! {
        @match envoys {
            None => p.hint {
                "Whether endpoints are well is known to Envoys, and nobody said where they can be asked: start gateway-ctl with "
                code { "--envoy-stats HOST:PORT" } "."
            }
            Some(Err(why)) => p.error { "Envoys cannot be asked whether endpoints are well: " (why) }
            Some(Ok(all)) => {
                @for envoy in all {
                    @if let Err(why) = &envoy.hosts { p.warning { "Envoy " code { (envoy.address) } ": " (why) } }
                }
            }
        }
    }
}

/// Whether a host is well, by what Envoys say.
fn health(said: &[Said]) -> Markup {
    let sick: Vec<&Said> = said.iter().filter(|s| !s.unhealthy.is_empty()).collect();
    html! {
        @match sick.as_slice() {
            [] => span.good { "healthy" },
            [first, ..] if sick.len() == said.len() => span.error { (first.unhealthy) },
            some => {
                span.warning { "out in " (some.len()) " of " (said.len()) " Envoys" }
                @for s in some { br; span.hint { code { (s.envoy) } ": " (s.unhealthy) } }
            }
        }
        @if said.len() > 1 && (sick.is_empty() || sick.len() == said.len()) {
            span.hint { " in " (said.len()) " Envoys" }
        }
    }
}

fn sick_first(hosts: &BTreeMap<String, Vec<Said>>) -> Vec<(&String, &Vec<Said>)> {
    let mut all: Vec<_> = hosts.iter().collect();
    all.sort_by_key(|(_, said)| said.iter().all(|s| s.unhealthy.is_empty()));
    all
}

fn clusters(rows: &[Row]) -> Markup {
    let rows = html! {
        @for Row { cluster: c, endpoints, hosts } in rows {
            tr {
                td { code { (c.name) } }
                td {
                    code { (c.address) }
                    @match endpoints {
                        None if c.address.parse::<SocketAddr>().is_ok() => {}
                        None => { br; span.hint { "Envoy resolves this name" } }
                        Some(list) if list.is_empty() => {
                            br; span.error { "no endpoints: requests are answered 503 UH. Is a pod ready, does the Service select it, does it have this port?" }
                        }
                        // Told with their health.
                        Some(_) if !hosts.is_empty() => {}
                        Some(list) => {
                            @for endpoint in list.iter().take(MOST) { br; code { (endpoint) } }
                            @if list.len() > MOST { br; "and " (list.len() - MOST) " more" }
                        }
                    }
                    @for (host, said) in sick_first(hosts).into_iter().take(MOST) { br; code { (host) } " " (health(said)) }
                    @if hosts.len() > MOST { br; "and " (hosts.len() - MOST) " more" }
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
