//! What RateLimit objects add to answers, through Envoy.

use e2e::http::Request;
use serde_json::json;

use crate::edge::{Edge, header, route};
use crate::service::Service;

const OBJECTS: &str = r#"
apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: shop, namespace: edge}
spec:
  domain: edge
  limits:
  - name: per-user
    pattern: [{user: "*"}]
    rate: 1
    unit: minute
    injectRequestHeaders:
    - {name: x-quota-left, value: "{{ (index .RateLimitResponse.Statuses 0).LimitRemaining }}"}
    injectResponseHeaders:
    - name: x-wait
      value: '{{ if .RetryAfter }}{{ .RetryAfter }}{{ else }}{{ doNotSet }}{{ end }}'
    - {name: x-left, value: "{{ (index .RateLimitResponse.Statuses 0).LimitRemaining }}"}
    errorResponse:
      headers:
      - {name: content-type, value: text/plain}
      - {name: x-limit, value: "{{ (index .RateLimitResponse.Statuses 0).CurrentLimit.Name }}"}
      bodyTemplate: 'slow down, {{ printf "%.0f" .RetryAfter.Seconds }} s'
  - name: watched
    pattern: [{watched: "*"}]
    rate: 0
    unit: hour
    action: LogOnly
"#;

fn edge(filter: &serde_json::Value) -> Edge {
    let service = Service::start(&[("limits.yaml", OBJECTS)], &[]);
    let routes = vec![
        route("/shop", json!([{"actions": [header("x-user", "user")]}])),
        route("/watched", json!([{"actions": [header(":path", "watched")]}])),
    ];
    Edge::start(service, filter, Vec::new(), routes)
}

fn shop(user: &str) -> Request {
    Request::get("/shop", "test").header("x-user", user)
}

#[test]
fn headers_and_bodies_of_templates_reach_client_and_backend() {
    let edge = edge(&json!({}));
    edge.service.at(20);
    let first = edge.send(&shop("ann"));
    assert_eq!(
        (first.status, first.header("x-left"), first.header("x-wait")),
        (200, Some("0"), None)
    );
    let asked = edge.hits();
    let seen = asked[0].headers.iter().find(|(name, _)| name == "x-quota-left");
    assert_eq!(seen.map(|(_, value)| value.as_str()), Some("0"), "the backend is told");
    let refused = edge.send(&shop("ann"));
    assert_eq!((refused.status, refused.body.as_str()), (429, "slow down, 40 s"));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("x-limit", "per-user"),
        ("x-wait", "40s"),
        ("retry-after", "40"),
    ] {
        let found: Vec<_> = refused.headers.iter().filter(|(n, _)| n == name).collect();
        assert_eq!(found, [&(name.to_owned(), value.to_owned())]);
    }
    assert!(edge.hits().is_empty(), "the backend is not asked");
    assert_eq!(edge.send(&shop("bob")).status, 200, "a wildcard counts value by value");
}

#[test]
fn metadata_reaches_the_access_log() {
    let mut edge = edge(&json!({}));
    assert_eq!(edge.send(&shop("ann")).status, 200);
    assert!(edge.access("access /shop 200").ends_with("200 -"), "none exceeded, no metadata");
    assert_eq!(edge.send(&shop("ann")).status, 429);
    let line = edge.access("access /shop 429");
    let metadata: serde_json::Value =
        serde_json::from_str(line.strip_prefix("access /shop 429 ").unwrap()).unwrap();
    let wanted = json!({
        "aes.ratelimit.name": "per-user",
        "aes.ratelimit.action": "Enforce",
        "aes.ratelimit.retry_after": 60,
    });
    assert_eq!(metadata, wanted);
    assert_eq!(edge.get("/watched").status, 200, "LogOnly does not refuse");
    assert!(edge.access("access /watched").contains(r#""aes.ratelimit.action":"LogOnly""#));
}

#[test]
fn envoys_retry_after_and_ours_are_one() {
    let edge = edge(&json!({"enable_retry_after_header": true}));
    edge.send(&shop("ann"));
    let refused = edge.send(&shop("ann"));
    let found: Vec<_> = refused.headers.iter().filter(|(n, _)| n == "retry-after").collect();
    assert_eq!(found, [&("retry-after".to_owned(), "60".to_owned())]);
}
