//! The way of requests as a picture (SVG): Host, what is asked on the way, Mapping, cluster, endpoints.
//! Text that says the same is in the table below it, so the picture is hidden from screen readers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use gateway_core::overview::{ClusterOverview, RouteOverview};
use maud::{Markup, html};

/// Routes that are drawn.
const MOST: usize = 12;
const COLUMNS: [(&str, usize); 5] = [
    ("Host", 0),
    ("Asked on the way", 215),
    ("Mapping", 430),
    ("Cluster", 690),
    ("Endpoints", 950),
];
const WIDTH: usize = 1160;
const BOX: (usize, usize) = (170, 30);
const STEP: usize = 42;
const TOP: usize = 30;

/// A box of the picture, and the line to the box that follows.
struct Node<'a> {
    column: usize,
    row: usize,
    text: String,
    class: &'a str,
}

/// Draws the first of `routes`.
pub(super) fn draw(
    routes: &[RouteOverview],
    clusters: &[ClusterOverview],
    endpoints: &BTreeMap<String, Vec<String>>,
) -> Markup {
    let shown = &routes[..routes.len().min(MOST)];
    let height = TOP + shown.len() * STEP + 8;
    let mut nodes = Vec::new();
    let mut lines = String::new();
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, route) in shown.iter().enumerate() {
        let host = match route.host.name.as_str() {
            "" => "(default)",
            name => name,
        };
        let from = *hosts.entry(host).or_insert_with(|| {
            nodes.push(Node { column: 0, row, text: host.to_owned(), class: "host" });
            row
        });
        line(&mut lines, (0, from), (1, row));
        for column in 1..if route.cluster.is_some() { 4 } else { 2 } {
            line(&mut lines, (column, row), (column + 1, row));
        }
        nodes.push(guards(route, row));
        let path = format!("{} {}", route.mapping.name, route.path);
        nodes.push(Node { column: 2, row, text: path, class: "mapping" });
        match &route.cluster {
            Some(cluster) => nodes.extend(upstream(cluster, clusters, endpoints, row)),
            None => {
                line(&mut lines, (2, row), (3, row));
                let text = format!("redirect {}", route.redirect.unwrap_or_default());
                nodes.push(Node { column: 3, row, text, class: "redirect" });
            }
        }
    }
    html! {
        div.scroll {
            svg.picture viewBox={ "0 0 " (WIDTH) " " (height) } aria-hidden="true" {
                @for (head, x) in COLUMNS { text.head x=(x) y="16" { (head) } }
                path d=(lines) {}
                @for node in &nodes {
                    @let (x, y) = (COLUMNS[node.column].1, TOP + node.row * STEP);
                    rect class=(node.class) x=(x) y=(y) width=(width(node.column)) height=(BOX.1) rx="4" {}
                    text x=(x + 8) y=(y + 19) { (short(&node.text, width(node.column) / 8)) title { (node.text) } }
                }
            }
        }
        @if routes.len() > MOST { p.hint { "The picture has the first " (MOST) " of these." } }
    }
}

const fn width(column: usize) -> usize {
    // Names of Mappings with their paths and of clusters are long.
    if column == 2 || column == 3 { 220 } else { BOX.0 }
}

fn guards(route: &RouteOverview, row: usize) -> Node<'static> {
    let (text, class) = match (route.authorized, route.descriptors.len()) {
        (false, 0) => ("nothing".to_owned(), "open"),
        (true, 0) => ("authorization".to_owned(), "guard"),
        (false, n) => (format!("{n} limit{}", plural(n)), "guard"),
        (true, n) => (format!("auth + {n} limit{}", plural(n)), "guard"),
    };
    Node { column: 1, row, text, class }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn upstream<'a>(
    cluster: &str,
    clusters: &[ClusterOverview],
    endpoints: &BTreeMap<String, Vec<String>>,
    row: usize,
) -> [Node<'a>; 2] {
    let address = clusters.iter().find(|c| c.name == cluster).map(|c| c.address.as_str());
    let (text, class) = match endpoints.get(address.unwrap_or_default()) {
        Some(list) if list.is_empty() => ("none".to_owned(), "broken"),
        Some(list) if list.len() == 1 => (list[0].clone(), "endpoint"),
        Some(list) => (format!("{} endpoints", list.len()), "endpoint"),
        None => (format!("DNS {}", address.unwrap_or("?")), "endpoint"),
    };
    [
        Node { column: 3, row, text: cluster.to_owned(), class: "cluster" },
        Node { column: 4, row, text, class },
    ]
}

/// From the right side of a box to the left side of another.
fn line(path: &mut String, from: (usize, usize), to: (usize, usize)) {
    let y = |row: usize| TOP + row * STEP + BOX.1 / 2;
    let (x1, y1) = (COLUMNS[from.0].1 + width(from.0), y(from.1));
    let (x2, y2) = (COLUMNS[to.0].1, y(to.1));
    let middle = usize::midpoint(x1, x2);
    // Writing to a text cannot fail.
    let _ = write!(path, "M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}");
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
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
            authorized: true,
            ..RouteOverview::default()
        };
        let cluster = ClusterOverview {
            name: "c".to_owned(),
            address: "k8s/default/shop/80".to_owned(),
            ..ClusterOverview::default()
        };
        let endpoints = BTreeMap::from([("k8s/default/shop/80".to_owned(), Vec::new())]);
        let text = draw(&[route], &[cluster], &endpoints).into_string();
        for part in ["(default)", "authorization", "shop /shop/", "class=\"broken\""] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
