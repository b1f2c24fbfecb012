//! A plain Envoy with the ratelimit filter between a client, a backend that echoes, and a
//! ratelimit-svc.

use std::net::SocketAddr;

use e2e::backend::{Backend, Hit};
use e2e::http::{self, Request, Response};
use e2e::process::{Process, start_envoy};
use e2e::{TempDir, free_addr};
use serde_json::{Value, json};

use crate::service::Service;

pub(crate) struct Edge {
    pub(crate) service: Service,
    pub(crate) envoy: Process,
    listener: SocketAddr,
    backend: Backend,
    _folder: TempDir,
}

/// The rate limits of the requests below a path.
pub(crate) struct Route {
    path: &'static str,
    rate_limits: Value,
}

pub(crate) fn route(path: &'static str, rate_limits: Value) -> Route {
    Route { path, rate_limits }
}

/// An action that gives the entry `key=value`.
pub(crate) fn generic_key(key: &str, value: &str) -> Value {
    json!({"generic_key": {"descriptor_key": key, "descriptor_value": value}})
}

/// An action that gives a header's value.
pub(crate) fn header(name: &str, key: &str) -> Value {
    json!({"request_headers": {"header_name": name, "descriptor_key": key}})
}

impl Edge {
    /// `filter` has what the test wants of the ratelimit filter besides the address; `before` are
    /// HTTP filters that come first.
    pub(crate) fn start(
        service: Service,
        filter: &Value,
        before: Vec<Value>,
        routes: Vec<Route>,
    ) -> Self {
        let (listener, admin, app) = (free_addr(), free_addr(), free_addr());
        let backend = Backend::start("app", "http", &[app], &Value::Null);
        let mut filters = before;
        filters.extend([ratelimit(filter), router()]);
        let bootstrap = json!({
            "admin": {"address": socket(admin)},
            "static_resources": {
                "listeners": [{
                    "name": "http",
                    "address": socket(listener),
                    "filter_chains": [{"filters": [connection_manager(filters, &routes)]}],
                }],
                "clusters": [cluster("app", app, false), cluster("ratelimit", service.grpc, true)],
            },
        });
        let folder = TempDir::new("envoy");
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, bootstrap.to_string()).unwrap();
        let mut envoy = start_envoy(&file, &["--file-flush-interval-msec", "20"]);
        envoy.wait_ready_envoy(admin);
        Self { service, envoy, listener, backend, _folder: folder }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path, "test"))
    }

    pub(crate) fn send(&self, request: &Request) -> Response {
        http::send(self.listener, request)
            .unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.envoy.log(), self.service.process.log()))
    }

    /// What the backend was asked since the last call.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.backend.take_hits()
    }

    /// The next line of the access log with `text`.
    pub(crate) fn access(&mut self, text: &str) -> String {
        self.envoy.wait_log(text);
        let log = self.envoy.log();
        log.lines().find(|l| l.contains(text)).unwrap_or_default().to_owned()
    }
}

fn socket(addr: SocketAddr) -> Value {
    json!({"socket_address": {"address": addr.ip().to_string(), "port_value": addr.port()}})
}

fn cluster(name: &str, addr: SocketAddr, is_grpc: bool) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(addr)}}]}],
        },
    });
    if is_grpc {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
    }
    cluster
}

/// What fails is seen (500), and a busy machine is given time.
fn ratelimit(more: &Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
        "domain": "edge",
        "timeout": "10s",
        "failure_mode_deny": true,
        "rate_limit_service": {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "ratelimit", "authority": "ratelimit"}},
        },
    });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    json!({"name": "envoy.filters.http.ratelimit", "typed_config": config})
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    })
}

fn connection_manager(filters: Vec<Value>, routes: &[Route]) -> Value {
    let routes: Vec<Value> = routes
        .iter()
        .map(|route| {
            json!({
                "match": {"prefix": route.path},
                "route": {"cluster": "app"},
                "typed_per_filter_config": {
                    "envoy.filters.http.ratelimit": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
                        "rate_limits": route.rate_limits,
                    },
                },
            })
        })
        .collect();
    let line =
        "access %REQ(:PATH)% %RESPONSE_CODE% %DYNAMIC_METADATA(envoy.filters.http.ratelimit)%\n";
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "access_log": [{
                "name": "envoy.access_loggers.stdout",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                    "log_format": {"text_format_source": {"inline_string": line}},
                },
            }],
            "http_filters": filters,
            "route_config": {
                "name": "routes",
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
            },
        },
    })
}
