//! Traces and access logs: where they go is changed while Envoy runs.

#![allow(clippy::unwrap_used)]

use e2e::backend::{Backend, Hit};
use e2e::collector::{Collector, Protocol};
use e2e::free_addr;
use e2e::gateway::Gateway;
use serde_json::{Value, json};

fn mapping(echo: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: echo}}
spec: {{hostname: \"*\", prefix: /, service: \"{echo}\"}}
"
    )
}

fn service(kind: &str, name: &str, spec: &Value) -> String {
    let object = json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec});
    format!("---\n{object}\n")
}

/// Sends requests until something that `is_it` came to `receiver`.
fn send_until(gateway: &Gateway, receiver: &Backend, is_it: impl Fn(&Hit) -> bool) -> Hit {
    let mut found = None;
    gateway.eventually("told", |gateway| {
        gateway.get("/asked?x=1").unwrap();
        found = receiver.take_hits().into_iter().find(&is_it);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn where_traces_go_changes_without_a_restart_of_envoy() {
    let (echo_at, zipkin_at, otlp_at) = (free_addr(), free_addr(), free_addr());
    let _echo = Backend::start("echo", "http", &[echo_at], &Value::Null);
    let zipkin = Backend::start("zipkin", "http", &[zipkin_at], &Value::Null);
    let mapping = mapping(&echo_at.to_string());
    let gateway = Gateway::start(&mapping, &[]);
    let envoy = gateway.envoy.id();
    assert_eq!(gateway.get("/").unwrap().json()["headers"]["x-b3-traceid"], Value::Null);

    let spec = json!({
        "driver": "zipkin",
        "service": zipkin_at.to_string(),
        "custom_tags": [
            {"tag": "fixed", "literal": {"value": "yes"}},
            {"tag": "host", "request_header": {"name": "host-is-not-there", "default_value": "none"}},
        ],
    });
    gateway.write(&(mapping.clone() + &service("TracingService", "t", &spec)));
    let hit = send_until(&gateway, &zipkin, |h| h.path == "/api/v2/spans");
    let spans: Value = serde_json::from_str(&hit.body).unwrap();
    assert_eq!(spans[0]["tags"]["fixed"], "yes", "{spans}");
    assert_eq!(spans[0]["tags"]["host"], "none", "{spans}");
    assert_eq!(spans[0]["traceId"].as_str().unwrap().len(), 32, "{spans}");

    // Another driver at another place.
    let collector = Collector::start(Protocol::Grpc, otlp_at);
    let spec = json!({
        "driver": "opentelemetry",
        "service": otlp_at.to_string(),
        "config": {"service_name": "edge"},
    });
    gateway.write(&(mapping.clone() + &service("TracingService", "t", &spec)));
    gateway.eventually("traced by OpenTelemetry", |gateway| {
        gateway.get("/asked").unwrap();
        collector.spans().iter().any(|s| s.resource.get("service.name") == Some(&json!("edge")))
    });

    // None is traced when none shall be, and nobody when the service is gone.
    let spec =
        json!({"driver": "zipkin", "service": zipkin_at.to_string(), "sampling": {"overall": 0}});
    gateway.write(&(mapping.clone() + &service("TracingService", "t", &spec)));
    gateway.eventually("with Zipkin's headers, not sampled", |gateway| {
        gateway.get("/").unwrap().json()["headers"]["x-b3-sampled"] == "0"
    });
    gateway.write(&mapping);
    gateway.eventually("without", |gateway| {
        gateway.get("/").unwrap().json()["headers"]["x-b3-sampled"] == Value::Null
    });
    assert_eq!(gateway.envoy.id(), envoy);
}

#[test]
fn where_access_logs_go_changes_without_a_restart_of_envoy() {
    let (echo_at, first_at, second_at) = (free_addr(), free_addr(), free_addr());
    let _echo = Backend::start("echo", "http", &[echo_at], &Value::Null);
    let first = Backend::start("first", "als", &[first_at], &Value::Null);
    let second = Backend::start("second", "als", &[second_at], &Value::Null);
    let mapping = mapping(&echo_at.to_string());
    let gateway = Gateway::start(&mapping, &[]);

    let requests = json!({
        "driver": "http",
        "service": first_at.to_string(),
        "protocol_version": "v3",
        "flush_interval_byte_size": 1,
        "driver_config": {"additional_log_headers": [
            {"header_name": "Host-Is-Not-There"},
            {"header_name": "content-type", "during_request": false},
        ]},
    });
    let connections = json!({
        "driver": "tcp",
        "service": second_at.to_string(),
        "protocol_version": "v3",
        "flush_interval_byte_size": 1,
    });
    let both = service("LogService", "requests", &requests)
        + &service("LogService", "connections", &connections);
    gateway.write(&(mapping.clone() + &both));
    let entry = send_until(&gateway, &first, |_| true);
    assert_eq!((entry.path.as_str(), entry.body.as_str()), ("/asked?x=1", "requests 200"));
    let content_type = entry.headers.iter().find(|(name, _)| name == "content-type");
    assert_eq!(content_type.map(|(_, v)| v.as_str()), Some("application/json"));
    let entry = send_until(&gateway, &second, |_| true);
    assert_eq!(entry.body, "connections");

    // Requests are logged at the other place.
    let mut requests = requests;
    requests["service"] = json!(second_at.to_string());
    gateway.write(&(mapping.clone() + &service("LogService", "requests", &requests)));
    send_until(&gateway, &second, |entry| entry.body == "requests 200");
    gateway.write(&mapping);
    gateway.eventually("in sync", Gateway::is_in_sync);
}
