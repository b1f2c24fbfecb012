//! What a client is told of its limits: by Envoy, of our statuses, and by our own headers.

use e2e::http::Response;
use serde_json::{Value, json};

use crate::edge::{Edge, Route, generic_key, header, route};
use crate::service::Service;

/// Two in ten minutes for the route, a hundred an hour for each user.
const LIMITS: &str = "
domain: edge
descriptors:
- key: route
  value: narrow
  rate_limit: {unit: minute, unit_multiplier: 10, requests_per_unit: 2, name: per-route}
- key: user
  rate_limit: {unit: hour, requests_per_unit: 100, name: per-user}
- key: bucket
  rate_limit: {unit: minute, requests_per_unit: 7, algorithm: token_bucket, name: bucket}
";

fn routes() -> Vec<Route> {
    vec![
        route(
            "/narrow",
            json!([
                {"actions": [generic_key("route", "narrow")]},
                {"actions": [header(":authority", "user")]},
            ]),
        ),
        route("/bucket", json!([{"actions": [generic_key("bucket", "x")]}])),
        route("/free", json!([{"actions": [generic_key("route", "other")]}])),
    ]
}

fn edge(filter: &Value, variables: &[(&str, &str)]) -> Edge {
    Edge::start(Service::start(&[("limits.yaml", LIMITS)], variables), filter, Vec::new(), routes())
}

/// All values of a header.
fn values<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    response.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
}

/// The `x-ratelimit-` headers.
fn shown(response: &Response) -> [Vec<&str>; 3] {
    ["limit", "remaining", "reset"].map(|name| values(response, &format!("x-ratelimit-{name}")))
}

const BOTH: &str = "2, 2;w=600;name=\"per-route\", 100;w=3600;name=\"per-user\"";

/// The three requests of a client in the window of ten minutes that began 90 s ago.
fn expect_draft03(edge: &Edge) {
    edge.service.at(90);
    let first = edge.get("/narrow");
    assert_eq!((first.status, shown(&first)), (200, [vec![BOTH], vec!["1"], vec!["510"]]));
    assert!(values(&first, "retry-after").is_empty());
    assert_eq!(shown(&edge.get("/narrow"))[1], ["0"]);
    let refused = edge.get("/narrow");
    assert_eq!((refused.status, shown(&refused)), (429, [vec![BOTH], vec!["0"], vec!["510"]]));
    assert_eq!(shown(&edge.get("/free")), [[""; 0]; 3], "no limit, no header");
    edge.service.at(600);
    assert_eq!(shown(&edge.get("/narrow")), [vec![BOTH], vec!["1"], vec!["600"]]);
}

#[test]
fn envoy_makes_its_headers_of_our_statuses() {
    let filter = json!({"enable_x_ratelimit_headers": "DRAFT_VERSION_03", "enable_retry_after_header": true});
    let edge = edge(&filter, &[]);
    expect_draft03(&edge);
    edge.service.at(660);
    assert_eq!(edge.get("/narrow").status, 200);
    let refused = edge.get("/narrow");
    assert_eq!((refused.status, values(&refused, "retry-after")), (429, vec!["540"]));
}

#[test]
fn our_draft03_headers_are_those_of_envoy() {
    expect_draft03(&edge(&json!({}), &[("RATELIMIT_HEADERS", "draft03")]));
}

#[test]
fn the_headers_of_the_ietf_draft_reach_the_client() {
    let edge = edge(&json!({}), &[("RATELIMIT_HEADERS", "ietf")]);
    let first = edge.get("/narrow");
    let policy = "\"per-route\";q=2;w=600, \"per-user\";q=100;w=3600";
    assert_eq!(values(&first, "ratelimit-policy"), [policy]);
    assert_eq!(values(&first, "ratelimit"), ["\"per-route\";r=1;t=600"]);
    edge.get("/narrow");
    let refused = edge.get("/narrow");
    assert_eq!(
        (refused.status, values(&refused, "ratelimit")),
        (429, vec!["\"per-route\";r=0;t=600"])
    );
}

#[test]
fn the_headers_of_envoyproxy_ratelimit_reach_the_client() {
    let names = [("LIMIT_RESPONSE_HEADERS_ENABLED", "true"), ("LIMIT_RESET_HEADER", "X-Back-In")];
    let edge = edge(&json!({}), &names);
    let first = edge.get("/narrow");
    let three = ["ratelimit-limit", "ratelimit-remaining", "x-back-in"];
    assert_eq!(three.map(|name| values(&first, name)), [["2"], ["1"], ["600"]]);
    assert!(three.iter().all(|name| values(&edge.get("/free"), name).is_empty()));
}

/// Seven a minute is one in 8.57 s: nobody is told to come back before there is a token.
#[test]
fn a_reset_is_rounded_up() {
    let filter = json!({"enable_x_ratelimit_headers": "DRAFT_VERSION_03", "enable_retry_after_header": true});
    let edge = edge(&filter, &[]);
    let seven: Vec<u16> = (0..7).map(|_| edge.get("/bucket").status).collect();
    assert_eq!(seven, [200; 7]);
    let refused = edge.get("/bucket");
    assert_eq!((refused.status, values(&refused, "retry-after")), (429, vec!["9"]));
    assert_eq!(shown(&refused), [["7, 7;w=60;name=\"bucket\""], ["0"], ["9"]]);
    edge.service.at(8);
    assert_eq!(edge.get("/bucket").status, 429);
    edge.service.at(9);
    assert_eq!(edge.get("/bucket").status, 200);
}
