//! What Envoy sends besides a plain request: descriptors without entries, charges that come after
//! the answer, refunds, limits of their own.

use std::time::{Duration, Instant};

use e2e::http::Request;
use e2e::process::PATIENCE;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::r#type::v3::RateLimitUnit;
use serde_json::{Value, json};

use crate::calls::{Caller, request};
use crate::edge::{Edge, generic_key, route};
use crate::service::{Service, Store};

const LIMITS: &str = "
domain: edge
descriptors:
- key: bytes
  rate_limit: {unit: day, requests_per_unit: 1000}
- key: few
  rate_limit: {unit: day, requests_per_unit: 3}
- key: tenant
  rate_limit: {unit: day, requests_per_unit: 1}
- key: shown
  rate_limit: {unit: day, requests_per_unit: 5}
- key: tier
  rate_limit: {unit: day, requests_per_unit: 1}
";

fn shows() -> Value {
    json!({"enable_x_ratelimit_headers": "DRAFT_VERSION_03"})
}

fn service(variables: &[(&str, &str)]) -> Service {
    Service::start(&[("limits.yaml", LIMITS)], variables)
}

fn service_with(store: Store) -> Service {
    Service::start_with(store, &[("limits.yaml", LIMITS)], &[])
}

/// Envoy sends a descriptor without entries when an action that may be skipped is the only one. It
/// must have its status, or the next one is taken for it.
#[test]
fn a_descriptor_without_entries_has_a_status_and_no_limit() {
    let optional = json!({"request_headers": {
        "header_name": "x-tenant", "descriptor_key": "tenant", "skip_if_absent": true,
    }});
    let rate_limits = json!([
        {"actions": [optional], "hits_addend": {"number": 1}},
        {"actions": [generic_key("shown", "x")]},
    ]);
    let service = service(&[("RESPONSE_DYNAMIC_METADATA", "true")]);
    let mut edge = Edge::start(service, &shows(), Vec::new(), vec![route("/", rate_limits)]);
    let without = edge.get("/a");
    assert_eq!(without.status, 200);
    assert_eq!(without.header("x-ratelimit-limit"), Some("5, 5;w=86400"));
    assert_eq!(without.header("x-ratelimit-remaining"), Some("4"));
    let line = edge.access("access /a 200");
    let metadata: Value =
        serde_json::from_str(line.strip_prefix("access /a 200 ").unwrap()).unwrap();
    assert_eq!(metadata["descriptors"][0], json!({"entries": [], "hitsAddend": 1}));
    assert_eq!(metadata["descriptors"][1]["entries"], json!(["shown=x"]));
    let with = || edge.send(&Request::get("/b", "test").header("x-tenant", "t"));
    assert_eq!((with().status, with().status, edge.get("/c").status), (200, 429, 200));
}

/// The route asks whether bytes are left, by no hits, and charges for the answer when it is sent.
#[test]
fn late_charges_push_a_counter_over_its_limit() {
    Store::ALL.into_iter().for_each(late_charges);
}

fn late_charges(store: Store) {
    let actions = json!([generic_key("bytes", "x")]);
    let rate_limits = json!([
        {"actions": actions, "hits_addend": {"number": 0}},
        {"actions": actions, "hits_addend": {"format": "%BYTES_SENT%"}, "apply_on_stream_done": true},
    ]);
    let edge =
        Edge::start(service_with(store), &shows(), Vec::new(), vec![route("/", rate_limits)]);
    let mut caller = Caller::of(&edge.service);
    let mut left = || caller.remaining("edge", "bytes=x");
    let send = |method: &str, body: String| {
        let request = Request { method: method.to_owned(), body, ..Request::get("/", "test") };
        edge.send(&request)
    };
    // Of each request the service is asked twice; the second time after the answer.
    let wait_asked = |calls: f64| {
        let end = Instant::now() + PATIENCE;
        while edge.service.answered() < calls {
            assert!(Instant::now() < end, "the charge does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    assert_eq!(send("HEAD", String::new()).status, 200);
    wait_asked(2.0);
    assert_eq!(left(), 1000, "an answer without a body is a charge of nothing");
    let small = send("GET", String::new());
    assert_eq!(small.header("x-ratelimit-remaining"), Some("1000"));
    wait_asked(5.0);
    assert_eq!(left(), 1000 - u32::try_from(small.body.len()).unwrap());
    let large = send("POST", "x".repeat(5_000));
    assert_eq!(large.status, 200, "what it costs is not known before");
    wait_asked(8.0);
    assert_eq!(left(), 0);
    let refused = send("GET", String::new());
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, Some("0")));
    edge.service.at(86_400);
    assert_eq!(send("HEAD", String::new()).status, 200);
}

#[test]
fn negative_hits_are_a_refund() {
    Store::ALL.into_iter().for_each(negative_hits);
}

fn negative_hits(store: Store) {
    let actions = json!([generic_key("few", "x")]);
    let routes = vec![
        route("/use", json!([{"actions": actions}])),
        route(
            "/refund",
            json!([{"actions": actions, "hits_addend": {"number": 2, "is_negative_hits": true}}]),
        ),
    ];
    let edge = Edge::start(service_with(store), &shows(), Vec::new(), routes);
    let left = |path: &str| {
        let answer = edge.get(path);
        (answer.status, answer.header("x-ratelimit-remaining").unwrap().to_owned())
    };
    assert_eq!(left("/refund"), (200, "3".to_owned()), "nothing to give back");
    let used: Vec<u16> = (0..4).map(|_| edge.get("/use").status).collect();
    assert_eq!(used, [200, 200, 200, 429]);
    assert_eq!(left("/refund"), (200, "1".to_owned()), "the refused one was counted as well");
    assert_eq!(left("/use"), (200, "0".to_owned()));
    assert_eq!(left("/use").0, 429);
}

#[test]
fn limits_come_with_the_request() {
    let tiers = json!({
        "name": "tiers",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{
                "metadata_namespace": "tiers",
                "value": {
                    "gold": {"requests_per_unit": 2, "unit": "HOUR"},
                },
            }],
        },
    });
    let of_metadata = |tier: &str| json!({"dynamic_metadata": {"metadata_key": {"key": "tiers", "path": [{"key": tier}]}}});
    let limited = |limit: Value, tier: &str| json!([{"actions": [generic_key("tier", tier)], "limit": limit}]);
    let fixed = json!({"rate_limit": {"requests_per_unit": 4, "unit": "MINUTE"}});
    let routes = vec![
        route("/gold", limited(of_metadata("gold"), "gold")),
        route("/none", limited(of_metadata("none"), "none")),
        route("/fixed", limited(fixed, "fixed")),
    ];
    let edge = Edge::start(service(&[]), &shows(), vec![tiers], routes);
    for (path, limit) in
        [("/gold", "2, 2;w=3600"), ("/none", "1, 1;w=86400"), ("/fixed", "4, 4;w=60")]
    {
        let answer = edge.get(path);
        let shown = answer.header("x-ratelimit-limit");
        assert_eq!((answer.status, shown), (200, Some(limit)), "{path}");
    }
    assert_eq!((edge.get("/gold").status, edge.get("/gold").status), (200, 429));
    edge.service.at(3600);
    assert_eq!((edge.get("/gold").status, edge.get("/none").status), (200, 429));
}

/// Envoy 1.40 has the field, but its filter does not set it yet.
#[test]
fn a_limit_of_the_request_may_have_a_window_of_several_units() {
    let service = service(&[]);
    let mut caller = Caller::of(&service);
    let mut asked = request("edge", &["tier=gold"]);
    let unit = RateLimitUnit::Minute.into();
    let own = RateLimitOverride { requests_per_unit: 2, unit, unit_multiplier: Some(10) };
    asked.descriptors[0].limit = Some(own);
    let mut reset = |at| {
        service.at(at);
        let response = caller.ask(asked.clone()).unwrap();
        let status = response.statuses[0].clone();
        let limit = status.current_limit.unwrap();
        assert_eq!((limit.requests_per_unit, limit.unit_multiplier), (2, Some(10)));
        (response.overall_code == i32::from(Code::Ok), status.duration_until_reset.unwrap().seconds)
    };
    assert_eq!([reset(0), reset(300), reset(599)], [(true, 600), (true, 300), (false, 1)]);
    assert_eq!(reset(600), (true, 600));
}
