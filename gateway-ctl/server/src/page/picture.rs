//! The way of requests as a picture: Host, Mapping, what is asked on the way, cluster, endpoints. Boxes in
//! lists, joined by lines of the style sheet, so that it is read aloud as it is seen and turns upright on
//! a narrow screen.

use std::collections::BTreeMap;

use gateway_core::overview::{ClusterOverview, RouteOverview};
use maud::{Markup, html};

use super::layout::{encoded, object_path};
use crate::explain::{Guard, State};

/// Routes that are drawn.
pub(super) const MOST: usize = 12;
/// Endpoints of a cluster, and guards of a route, that are drawn.
const MOST_ENDPOINTS: usize = 3;
const MOST_GUARDS: usize = 6;

/// Draws routes, each with its guards.
pub(super) fn draw(
    routes: &[(&RouteOverview, Vec<Guard>)],
    clusters: &[ClusterOverview],
    endpoints: &BTreeMap<String, Vec<String>>,
) -> Markup {
    html! {
        div.picture {
            div.heads aria-hidden="true" {
                span { "Host" }
                div.row { @for head in ["Mapping", "Asked on the way", "Cluster", "Endpoints"] { span { (head) } } }
            }
            @for of_host in routes.chunk_by(|(a, _), (b, _)| a.host == b.host) {
                section {
                    div { (host(of_host[0].0)) }
                    ul {
                        @for (route, guards) in of_host {
                            li {
                                div.mapping { (mapping(route)) }
                                div.guards { (guards_of(guards)) }
                                @match &route.cluster {
                                    None => div.redirect { span.box { "redirect " (route.redirect.unwrap_or_default()) } }
                                    Some(name) => (upstream(name, clusters, endpoints))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn host(route: &RouteOverview) -> Markup {
    html! {
        @if route.host.name.is_empty() { span.box { b { "(default)" } } }
        @else { a.box href=(object_path(&route.host)) { b { (route.host.name) } } }
    }
}

fn mapping(route: &RouteOverview) -> Markup {
    html! {
        a.box href=(object_path(&route.mapping)) {
            b { (route.mapping.name) }
            code { (route.path) }
            @if !matches!(route.weight, 0 | 100) { span.note { (route.weight) " % of the requests" } }
        }
    }
}

fn guards_of(guards: &[Guard]) -> Markup {
    let class = |guard: &Guard| match guard.state {
        State::Open => "box open",
        State::Guarded => "box guard",
        State::Broken => "box broken",
    };
    let text = |guard: &Guard| {
        html! { b { (guard.words) } @if !guard.note.is_empty() { span.note { (guard.note) } } }
    };
    html! {
        @for guard in guards.iter().take(MOST_GUARDS) {
            @match &guard.object {
                Some(o) => a class=(class(guard)) href=(object_path(o)) { (text(guard)) }
                None => span class=(class(guard)) { (text(guard)) }
            }
        }
        @if guards.len() > MOST_GUARDS { span.note { "and " (guards.len() - MOST_GUARDS) " more" } }
    }
}

fn upstream(
    name: &str,
    clusters: &[ClusterOverview],
    endpoints: &BTreeMap<String, Vec<String>>,
) -> Markup {
    let cluster = clusters.iter().find(|c| c.name == name);
    let address = cluster.map(|c| c.address.as_str()).unwrap_or_default();
    let is_address = address.parse::<std::net::SocketAddr>().is_ok();
    html! {
        div.cluster { a.box href={ "/clusters?q=" (encoded(name)) } { code { (name) } } }
        div.endpoints {
            @match endpoints.get(address) {
                Some(list) if list.is_empty() => span.box.broken { b { "none" } span.note { "503 UH" } },
                Some(list) => {
                    @for endpoint in list.iter().take(MOST_ENDPOINTS) { span.box { code { (endpoint) } } }
                    @if list.len() > MOST_ENDPOINTS { span.note { "and " (list.len() - MOST_ENDPOINTS) " more" } }
                }
                None => span.box {
                    code { (address) }
                    @if !is_address { span.note { "Envoy looks this name up" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_kit::ObjectRef;

    #[test]
    fn a_cluster_without_endpoints_is_seen() {
        let route = RouteOverview {
            mapping: ObjectRef::new("Mapping", "default", "shop"),
            path: "/shop/".to_owned(),
            cluster: Some("c".to_owned()),
            ..RouteOverview::default()
        };
        let guard = Guard {
            words: "login".to_owned(),
            note: "JWT".to_owned(),
            object: Some(ObjectRef::new("Filter", "default", "login")),
            state: State::Guarded,
        };
        let cluster = ClusterOverview {
            name: "c".to_owned(),
            address: "k8s/default/shop/80".to_owned(),
            ..ClusterOverview::default()
        };
        let endpoints = BTreeMap::from([("k8s/default/shop/80".to_owned(), Vec::new())]);
        let text = draw(&[(&route, vec![guard])], &[cluster], &endpoints).into_string();
        for part in ["(default)", "login", "/objects/Filter/default/login", "/shop/", "box broken"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
