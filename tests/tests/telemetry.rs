//! Traces and access logs: where they go is changed while Envoy runs.

#![allow(clippy::unwrap_used)]

use e2e::backend::{Backend, Hit};
use e2e::collector::{Collector, Protocol, Span};
use e2e::free_addr;
use e2e::gateway::Gateway;
use e2e::http;
use e2e::run::Run;
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
    assert_eq!(spans[0]["localEndpoint"]["serviceName"], "tollgate", "{spans}");

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

/// One request, one trace: Envoy's spans, those of authz-svc and those of ratelimit-svc.
#[test]
fn a_request_is_one_trace_through_envoy_and_both_services() {
    let addr = free_addr();
    let collector = Collector::start(Protocol::Grpc, addr);
    let spec = json!({"driver": "opentelemetry", "service": addr.to_string(),
        "config": {"service_name": "edge"}});
    let run = Run::start(
        "plans",
        &service("TracingService", "traces", &spec),
        &[
            ("TRACING_ENABLED", "true"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            // Theirs begin no trace.
            ("TRACING_SAMPLING_RATE", "0"),
        ],
    );
    // Envoy sends spans when there are a few, or after five seconds.
    let answer = run.get("/api/", &[("x-api-key", "key-of-cleo")]);
    let id = answer.json()["headers"]["x-request-id"].as_str().unwrap().to_owned();
    let authz = collector.wait(|s| s.name == "Authorization/Check");
    let limits = collector.wait(|s| s.name == "ShouldRateLimit Execution");
    let whole = collector.wait(|s| s.trace == authz.trace && s.parent.is_empty());
    assert_eq!(whole.resource["service.name"], "edge", "{whole:?}");
    assert_eq!((&authz.trace, &limits.trace), (&whole.trace, &whole.trace));
    let named = |s: &Span| s.attributes.values().any(|v| *v == json!(id));
    assert!(named(&whole), "Envoy's span has the request's id {id}: {whole:?}");
    // What the service gets is of the same trace, and the page names the request by the same id.
    let parent = answer.json()["headers"]["traceparent"].as_str().unwrap().to_owned();
    assert!(parent.contains(&whole.trace), "{parent}");
    assert_eq!(run.get("/api/", &[("x-api-key", "guess")]).status, 401);
    let page = http::get(run.admin, "/authorization?json=true").unwrap().json();
    assert_eq!(page["refused"][0]["request_id"].as_str().unwrap().len(), id.len(), "{page}");
    run.end();
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
