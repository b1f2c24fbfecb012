//! The algorithms told apart by what their clients see, with bursts around the end of a window.

use serde_json::json;

use crate::edge::{Edge, generic_key, route};
use crate::service::{Service, Store};

const LIMITS: &str = "
domain: edge
descriptors:
- key: kind
  value: fixed
  rate_limit: {unit: minute, requests_per_unit: 5}
- key: kind
  value: sliding
  rate_limit: {unit: minute, requests_per_unit: 5, algorithm: sliding_window}
- key: kind
  value: bucket
  rate_limit: {unit: minute, requests_per_unit: 5, algorithm: token_bucket}
- key: kind
  value: burst
  rate_limit: {unit: minute, requests_per_unit: 5, burst_factor: 3}
";

fn edge(store: Store) -> Edge {
    let limited = |path, kind| route(path, json!([{"actions": [generic_key("kind", kind)]}]));
    let routes = vec![
        limited("/fixed", "fixed"),
        limited("/sliding", "sliding"),
        limited("/bucket", "bucket"),
        limited("/burst", "burst"),
    ];
    let filter = json!({
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "enable_retry_after_header": true,
    });
    let service = Service::start_with(store, &[("limits.yaml", LIMITS)], &[]);
    Edge::start(service, &filter, Vec::new(), routes)
}

/// How many of so many requests at once pass.
fn admitted(edge: &Edge, path: &str, requests: usize) -> usize {
    let passes = |status| match status {
        200 => true,
        429 => false,
        other => panic!("{path}: {other}"),
    };
    (0..requests).filter(|_| passes(edge.get(path).status)).count()
}

#[test]
fn a_burst_around_the_end_of_a_window_passes_only_the_fixed_one() {
    Store::ALL.into_iter().for_each(burst_around_the_end);
}

fn burst_around_the_end(store: Store) {
    let edge = edge(store);
    edge.service.at(59);
    for path in ["/fixed", "/sliding", "/bucket"] {
        assert_eq!(admitted(&edge, path, 8), 5, "{path}");
    }
    edge.service.at(61);
    assert_eq!(admitted(&edge, "/fixed", 8), 5, "a new window");
    assert_eq!(admitted(&edge, "/sliding", 8), 0, "59 s of the window before still count");
    assert_eq!(admitted(&edge, "/bucket", 8), 0, "no token in 2 s");
    // Half of the window before still counts, which is 2.5 of its 5.
    edge.service.at(90);
    assert_eq!(admitted(&edge, "/sliding", 8), 2);
    // A token in 12 s since 59.
    assert_eq!(admitted(&edge, "/bucket", 8), 2);
}

#[test]
fn an_idle_client_may_make_up_for_what_it_did_not_use() {
    Store::ALL.into_iter().for_each(idle_client);
}

fn idle_client(store: Store) {
    let edge = edge(store);
    assert_eq!(admitted(&edge, "/burst", 20), 15, "three windows at once");
    edge.service.at(60);
    assert_eq!(admitted(&edge, "/burst", 20), 5, "then the rate");
    edge.service.at(3600);
    assert_eq!(admitted(&edge, "/burst", 20), 15);
}

/// Who comes back when it was told to, is let in; a second before, it is not.
#[test]
fn retry_after_is_when_there_is_room_again() {
    for path in ["/fixed", "/sliding", "/bucket", "/burst"] {
        let edge = edge(Store::Memory);
        edge.service.at(47);
        let refused = (0..20).map(|_| edge.get(path)).find(|r| r.status == 429).unwrap();
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(refused.header("x-ratelimit-reset"), refused.header("retry-after"));
        edge.service.at(47 + wait - 1);
        assert_eq!(edge.get(path).status, 429, "{path}, before {wait} s");
        edge.service.at(47 + wait);
        assert_eq!(edge.get(path).status, 200, "{path}, after {wait} s");
    }
}
