//! Traces of ratelimit-svc as a collector of OpenTelemetry gets them.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e::backend::Backend;
use e2e::collector::{Collector, Protocol, Span};
use e2e::http::{self, Request};
use e2e::limiter::Limiter;
use e2e::process::{PATIENCE, Process, program, start_envoy};
use e2e::redis::Redis;
use e2e::{TempDir, free_addr};
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const REQUEST: &str = "ShouldRateLimit Execution";
const REDIS: &str = "Redis Pipeline Execution";
const LIMITS: &str = "domain: shop
descriptors:
- key: user
  rate_limit: {unit: hour, requests_per_unit: 2, name: per-user}
- key: all
  rate_limit: {unit: hour, requests_per_unit: 1000}
";

/// A service with [`LIMITS`].
struct Service {
    limiter: Limiter,
    _folder: TempDir,
}

impl Service {
    fn start(variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new("traces");
        folder.write("limits.yaml", LIMITS);
        let variables = [&[("OTEL_BSP_SCHEDULE_DELAY", "20")], variables].concat();
        Self { limiter: Limiter::start_ready(&folder, &variables), _folder: folder }
    }

    /// Asks for a hit of each of `keys`.
    fn ask(&mut self, keys: &[&str], headers: &[(&'static str, &str)]) {
        let descriptor = |key: &&str| RateLimitDescriptor {
            entries: vec![Entry { key: (*key).to_owned(), value: "secret-of-a-user".to_owned() }],
            ..RateLimitDescriptor::default()
        };
        let mut request = tonic::Request::new(RateLimitRequest {
            domain: "shop".to_owned(),
            descriptors: keys.iter().map(descriptor).collect(),
            hits_addend: 1,
        });
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        // That a request is refused is for the spans to tell.
        let _ = self.limiter.call(request);
    }

    /// The value of a line of its metrics.
    fn metric(&self, line: &str) -> u64 {
        let text = http::get(self.limiter.admin, "/metrics").unwrap().body;
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {line} in\n{text}")).parse().unwrap()
    }
}

fn is_request(span: &Span) -> bool {
    span.name == REQUEST
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

#[test]
fn a_request_is_a_part_of_its_callers_trace() {
    for (protocol, name) in [(Protocol::Grpc, "grpc"), (Protocol::Http, "http")] {
        let addr = free_addr();
        let collector = Collector::start(protocol, addr);
        let redis = Redis::start();
        let mut service = Service::start(&[
            ("TRACING_ENABLED", "true"),
            ("TRACING_EXPORTER_PROTOCOL", name),
            ("TRACING_SERVICE_NAMESPACE", "gateways"),
            ("TRACING_SERVICE_INSTANCE_ID", "7d0a3b1e-5b0f-4a57-9d9c-2f1d6f6b1c55"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-test=a%20token"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=limits"),
            ("REDIS_URL", &format!("redis://127.0.0.1:{}", redis.port)),
        ]);
        service.ask(&["user", "all", "other"], &[("traceparent", &traceparent("01"))]);
        let request = collector.wait(is_request);
        assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, CALLER));
        assert_eq!((request.kind, &request.error), (2, &None));
        assert_eq!(
            json!(request.attributes),
            json!({
                "domain": "shop", "ratelimit.descriptors": 3, "ratelimit.store": "counted",
                "ratelimit.over_limit": false, "ratelimit.limits": ["per-user"],
                "ratelimit.limited_descriptors": 2,
            })
        );
        assert_eq!(
            json!(request.resource),
            json!({
                "service.name": "RateLimit", "service.namespace": "gateways",
                "service.instance.id": "7d0a3b1e-5b0f-4a57-9d9c-2f1d6f6b1c55", "team": "limits",
            })
        );
        assert_eq!(request.header, "a token");
        let call = collector.wait(|span| span.name == REDIS);
        assert_eq!((call.trace.as_str(), &call.parent, call.kind), (TRACE, &request.id, 3));
        assert_eq!(
            json!(call.attributes),
            json!({"db.system.name": "redis", "ratelimit.counters": 2})
        );
        // The collector has them before the service hears that it does.
        let start = Instant::now();
        while service.metric("tollgate_trace_spans_total{outcome=\"sent\"}") < 2 {
            assert!(start.elapsed() < PATIENCE, "{}", service.limiter.process.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = service.limiter.end();
        assert!(!log.contains("a token"), "{log}");
    }
}

#[test]
fn a_request_over_its_limit_says_so() {
    let addr = free_addr();
    let collector = Collector::start(Protocol::Http, addr);
    let mut service = Service::start(&[
        ("TRACING_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
    ]);
    for _ in 0..3 {
        service.ask(&["user"], &[]);
    }
    let over = collector.wait(|s| s.attributes.get("ratelimit.over_limit") == Some(&json!(true)));
    assert_eq!((over.parent.as_str(), over.trace.len()), ("", 32));
    let ids = |of: fn(&Span) -> String| {
        let mut ids: Vec<_> = collector.spans().iter().map(of).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    };
    assert_eq!((ids(|s| s.trace.clone()), ids(|s| s.id.clone())), (3, 3));

    // A request that is none, and the other door.
    service.ask(&[], &[]);
    let refused = collector.wait(|span| span.error.is_some());
    assert_eq!(refused.error.unwrap(), "rate limit descriptor list must not be empty");
    let body = r#"{"domain": "shop", "descriptors": [{"entries": [{"key": "all"}]}]}"#;
    let json_request = Request {
        method: "POST".to_owned(),
        path: "/json".to_owned(),
        headers: Vec::new(),
        body: body.to_owned(),
    };
    let json_request = json_request
        .header("host", "limits")
        .header("content-length", &body.len().to_string())
        .header("traceparent", &traceparent("01"));
    assert_eq!(http::send(service.limiter.http, &json_request).unwrap().status, 200);
    collector.wait(|span| span.trace == TRACE && span.parent == CALLER);

    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("secret-of-a-user") && !all.contains(REDIS), "{all}");
}

#[test]
fn a_redis_that_fails_is_seen() {
    let addr = free_addr();
    let collector = Collector::start(Protocol::Http, addr);
    let redis = Redis::start();
    let mut service = Service::start(&[
        ("TRACING_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
        ("REDIS_URL", &format!("redis://127.0.0.1:{}", redis.port)),
    ]);
    drop(redis);
    service.ask(&["all"], &[]);
    let call = collector.wait(|span| span.name == REDIS && span.error.is_some());
    let request = collector.wait(|span| span.id == call.parent);
    assert_eq!(request.attributes["ratelimit.store"], "failed");
    assert_eq!(request.error, call.error);
    assert!(call.error.unwrap().starts_with("Redis 127.0.0.1"), "{:?}", request.error);
}

#[test]
fn b3_is_understood_too() {
    let addr = free_addr();
    let collector = Collector::start(Protocol::Grpc, addr);
    let mut service = Service::start(&[
        ("TRACING_ENABLED", "true"),
        ("TRACING_EXPORTER_PROTOCOL", "grpc"),
        ("TRACING_SAMPLING_RATE", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
    ]);
    let (one, several) = ("a".repeat(32), "b".repeat(32));
    service.ask(&["all"], &[("b3", &format!("{one}-{CALLER}-1"))]);
    service.ask(
        &["all"],
        &[("x-b3-traceid", &several), ("x-b3-spanid", CALLER), ("x-b3-sampled", "1")],
    );
    for trace in [one, several] {
        assert_eq!(collector.wait(|span| span.trace == trace).parent, CALLER);
    }
}

#[test]
fn callers_decide_and_else_the_rate_does() {
    for (rate, wanted) in [("0", vec![TRACE]), ("1", vec!["", TRACE])] {
        let addr = free_addr();
        let collector = Collector::start(Protocol::Http, addr);
        let mut service = Service::start(&[
            ("TRACING_ENABLED", "true"),
            ("TRACING_SAMPLING_RATE", rate),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
        ]);
        service.ask(&["all"], &[]);
        service.ask(&["all"], &[("traceparent", &traceparent("00"))]);
        service.ask(&["all"], &[("b3", "0")]);
        service.ask(&["all"], &[("traceparent", &traceparent("01"))]);
        // All that there is comes before the end.
        service.limiter.end();
        let spans = collector.spans();
        let traces: Vec<&str> =
            spans.iter().map(|s| if s.parent.is_empty() { "" } else { &*s.trace }).collect();
        assert_eq!(traces, wanted, "rate {rate}");
    }
}

#[test]
fn nothing_is_sent_unless_it_is_asked_for() {
    let addr = free_addr();
    let listener = std::net::TcpListener::bind(addr).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut service = Service::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
        ("TRACING_SAMPLING_RATE", "nonsense"),
    ]);
    service.ask(&["all"], &[("traceparent", &traceparent("01"))]);
    let metrics = http::get(service.limiter.admin, "/metrics").unwrap().body;
    assert!(!metrics.contains("tollgate_trace_spans"), "{metrics}");
    service.limiter.end();
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_collector_may_be_down_and_come_back() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let addr = free_addr();
        let mut service = Service::start(&[
            ("TRACING_ENABLED", "true"),
            ("TRACING_EXPORTER_PROTOCOL", if protocol == Protocol::Grpc { "grpc" } else { "http" }),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ]);
        service.ask(&["all"], &[]);
        service.limiter.process.wait_log("spans cannot be sent to");
        // More than the queue holds.
        let end = Instant::now() + PATIENCE;
        while service.metric("tollgate_trace_spans_total{outcome=\"dropped\"}") == 0 {
            assert!(Instant::now() < end, "no span is dropped:\n{}", service.limiter.process.log());
            service.ask(&["all"], &[]);
        }
        assert!(service.metric("tollgate_trace_spans_total{outcome=\"lost\"}") > 0);
        let collector = Collector::start(protocol, addr);
        collector.wait(is_request);
        service.limiter.process.wait_log("takes spans again");
        let log = service.limiter.end();
        assert_eq!(log.matches("spans cannot be sent to").count(), 1, "{log}");
    }
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_end() {
    // Its backlog takes connections, and nobody answers.
    let listener = std::net::TcpListener::bind(free_addr()).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut service = Service::start(&[
        ("TRACING_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
    ]);
    service.ask(&["all"], &[]);
    let log = service.limiter.end();
    assert!(log.contains("did not take the last spans"), "{log}");
}

#[test]
fn a_setting_that_is_wrong_is_one_clear_line() {
    let addr = free_addr().to_string();
    let variables = [("TRACING_ENABLED", "true"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    let arguments = ["--config", "/", "--grpc-addr", &addr];
    let mut process = Process::start(&program("ratelimit-svc"), &arguments, &variables);
    assert_eq!(process.wait_end().code(), Some(1));
    let log = process.log();
    assert!(log.contains("error: OTEL_EXPORTER_OTLP_COMPRESSION=gzip: "), "{log}");
}

#[test]
fn envoys_spans_and_ours_are_one_trace() {
    let addr = free_addr();
    let collector = Collector::start(Protocol::Grpc, addr);
    let service = Service::start(&[
        ("TRACING_ENABLED", "true"),
        ("TRACING_EXPORTER_PROTOCOL", "grpc"),
        // Ours begin no trace.
        ("TRACING_SAMPLING_RATE", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
    ]);
    let [listener, admin, echo] = std::array::from_fn(|_| free_addr());
    let _backend = Backend::start("echo", "http", &[echo], &json!([]));
    let config = envoy_config(listener, admin, service.limiter.grpc, addr, echo);
    let bootstrap = TempDir::new("traces-envoy");
    bootstrap.write("envoy.json", &config.to_string());
    let file = bootstrap.path().join("envoy.json");
    let mut process = start_envoy(&file, &[]);
    process.wait_ready_envoy(admin);
    let response = http::send(listener, &Request::get("/", "gateway.test")).unwrap();
    assert_eq!(response.status, 200, "{}", process.log());

    let ours = collector.wait(is_request);
    let call = collector.wait(|span| span.id == ours.parent);
    assert_eq!(call.resource["service.name"], "gateway");
    let whole = collector.wait(|span| span.id == call.parent);
    assert_eq!((whole.parent.as_str(), whole.kind), ("", 2));
    assert_eq!((&ours.trace, &call.trace), (&whole.trace, &whole.trace));
}

/// An Envoy that asks `limits` about each request and traces to `collector`.
fn envoy_config(
    listener: SocketAddr,
    admin: SocketAddr,
    limits: SocketAddr,
    collector: SocketAddr,
    backend: SocketAddr,
) -> serde_json::Value {
    let address = |addr: SocketAddr| {
        json!({"socket_address":
        {"address": addr.ip().to_string(), "port_value": addr.port()}})
    };
    let cluster = |name: &str, addr: SocketAddr, protocol: &str| {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(addr)}}]}]},
            "typed_extension_protocol_options": {options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {protocol: {}}}},
        })
    };
    let typed = |name: &str, message: &str, mut fields: serde_json::Value| {
        fields["@type"] = json!(format!("type.googleapis.com/{message}"));
        json!({"name": name, "typed_config": fields})
    };
    let tracer = typed(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        json!({"service_name": "gateway",
            "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "5s"}}),
    );
    let filters = [
        typed(
            "envoy.filters.http.ratelimit",
            "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            json!({"domain": "shop", "failure_mode_deny": true, "timeout": "10s",
                "rate_limit_service": {"transport_api_version": "V3",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}}}),
        ),
        typed(
            "envoy.filters.http.router",
            "envoy.extensions.filters.http.router.v3.Router",
            json!({}),
        ),
    ];
    let manager = typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "in", "http_filters": filters,
            "tracing": {"provider": tracer, "random_sampling": {"value": 100}},
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                "match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
                "rate_limits": [{"actions": [
                    {"generic_key": {"descriptor_key": "all", "descriptor_value": "x"}}]}]}]},
        }),
    );
    json!({
        "admin": {"address": address(admin)},
        // Spans come one by one, not every five seconds.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "tracing.opentelemetry.min_flush_spans": 1}}]},
        "static_resources": {
            "listeners": [{"name": "in", "address": address(listener),
                "filter_chains": [{"filters": [manager]}]}],
            "clusters": [
                cluster("limits", limits, "http2_protocol_options"),
                cluster("collector", collector, "http2_protocol_options"),
                cluster("backend", backend, "http_protocol_options"),
            ],
        },
    })
}
