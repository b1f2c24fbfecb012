//! Schemas of what is not read yet. Its CRDs exist all the same, so that users' resources can be
//! applied; a kind or a field that becomes supported moves to `resource`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;
use service_kit::AmbassadorId;

/// Where traces go.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct TracingService {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// How it is spoken to.
    #[schemars(extend("enum" = ["zipkin", "datadog", "opentelemetry", "lightstep"]))]
    driver: String,
    /// Where it is: `host[:port]`.
    #[schemars(length(min = 1))]
    service: String,
    /// Settings of the driver.
    config: Option<TracingConfig>,
    /// Which requests are traced.
    sampling: Option<Sampling>,
    /// Tags of every trace.
    custom_tags: Option<Vec<CustomTag>>,
    /// Deprecated, use `custom_tags`: request headers that become tags.
    tag_headers: Option<Vec<String>>,
    /// Name in statistics.
    stats_name: Option<String>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct TracingConfig {
    /// lightstep: file of the access token.
    access_token_file: Option<String>,
    /// zipkin: name of Envoy's cluster.
    collector_cluster: Option<String>,
    /// zipkin: path that traces are sent to. Default: `/api/v2/spans`.
    collector_endpoint: Option<String>,
    /// zipkin: `HTTP_JSON` or `HTTP_PROTO`. Default: `HTTP_JSON`.
    collector_endpoint_version: Option<String>,
    /// zipkin: the host that is asked for.
    collector_hostname: Option<String>,
    /// lightstep: how the trace is passed on.
    propagation_modes: Option<Vec<String>>,
    /// datadog: the name of this service.
    service_name: Option<String>,
    /// zipkin: whether client and server share a span. Default: true.
    shared_span_context: Option<bool>,
    /// zipkin: whether trace ids have 128 bits. Default: true.
    trace_id_128bit: Option<bool>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Sampling {
    /// Percent of the requests with `x-client-trace-id`. Default: 100.
    client: Option<u32>,
    /// Percent of all requests. Default: 100.
    random: Option<u32>,
    /// Percent of those that the other two chose. Default: 100.
    overall: Option<u32>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct CustomTag {
    /// Its name.
    tag: String,
    /// A fixed value.
    literal: Option<Literal>,
    /// An environment variable of Envoy.
    environment: Option<Named>,
    /// A header of the request.
    request_header: Option<Named>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Literal {
    /// The value.
    value: String,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Named {
    /// Its name.
    name: String,
    /// The value when it is missing.
    default_value: Option<String>,
}

/// Where access logs go.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct LogService {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where it is: `host[:port]`.
    service: Option<String>,
    /// What is logged: `http` requests or `tcp` connections.
    #[schemars(extend("enum" = ["http", "tcp"]))]
    driver: Option<String>,
    /// Settings of the driver.
    driver_config: Option<LogConfig>,
    /// Seconds until what was collected is sent. Default: 1.
    flush_interval_time: Option<u32>,
    /// Bytes until what was collected is sent. Default: 16384.
    flush_interval_byte_size: Option<u32>,
    /// Whether it is spoken to in HTTP/2. Default: false.
    grpc: Option<bool>,
    /// Must be `v3`.
    protocol_version: Option<String>,
    /// Name in statistics.
    stats_name: Option<String>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct LogConfig {
    /// http: headers that are logged, too.
    additional_log_headers: Option<Vec<LogHeader>>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct LogHeader {
    /// Its name.
    header_name: Option<String>,
    /// Of the request. Default: true.
    during_request: Option<bool>,
    /// Of the response. Default: true.
    during_response: Option<bool>,
    /// Of the response's trailers. Default: true.
    during_trailer: Option<bool>,
}

/// Documentation of services' APIs; has no effect.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct DevPortal {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where its pages are: `url`, `branch`, `dir`.
    content: Option<BTreeMap<String, Value>>,
    /// Whether this is the one that is shown.
    default: Option<bool>,
    /// Documentation that is shown: `service`, `url`, `timeout_ms`.
    docs: Option<Vec<BTreeMap<String, Value>>>,
    /// How services are named: `namespace.name` or `name.prefix`.
    naming_scheme: Option<String>,
    /// Whether the servers in a documentation are kept.
    preserve_servers: Option<bool>,
    /// The search: `enabled`, `type`.
    search: Option<BTreeMap<String, Value>>,
    /// Which Mappings are shown: `matchLabels`, `matchNamespaces`.
    selector: Option<BTreeMap<String, Value>>,
}

/// Finds addresses of services in Consul.
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(crate) struct ConsulResolver {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where Consul's agent is: `host[:port]`.
    address: Option<String>,
    /// The data centre.
    datacenter: Option<String>,
}
