//! Fields of a Mapping that are not read, with their types for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;
use service_kit::AmbassadorId;

use crate::resource::fields::{Treatment, Unread};
use crate::resource::traffic::AddHeaderSpec;

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("ambassador_id", Treatment::NoEffect),
    (
        "docs",
        Treatment::Elsewhere(
            "there is no developer portal here; serve the documentation by a Mapping of its own",
        ),
    ),
    ("envoy_override", Treatment::Elsewhere("it has no effect since Emissary 2; remove the field")),
    ("health_checks", Treatment::Without),
    ("modules", Treatment::Elsewhere("it has no effect since Emissary 2; remove the field")),
    ("outlier_detection", Treatment::Without),
    ("tls", Treatment::LeftOut),
    ("v2BoolHeaders", Treatment::NoEffect),
    ("v2BoolQueryParameters", Treatment::NoEffect),
    ("v2ExplicitTLS", Treatment::NoEffect),
];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code, non_snake_case)]
pub(super) struct Fields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Where the documentation of the service's API is.
    docs: Option<BTreeMap<String, Value>>,
    /// Was to change Envoy's route directly.
    envoy_override: Option<BTreeMap<String, Value>>,
    /// How it is found out which addresses of the service are healthy.
    health_checks: Option<Vec<HealthCheck>>,
    /// Was settings of modules.
    modules: Option<Vec<BTreeMap<String, Value>>>,
    /// When an address of the service is no longer used.
    outlier_detection: Option<Value>,
    /// Name of the TLSContext that connections to the service use.
    tls: Option<Value>,
    /// Kept by conversion from v2.
    v2BoolHeaders: Option<Vec<String>>,
    /// Kept by conversion from v2.
    v2BoolQueryParameters: Option<Vec<String>>,
    /// Kept by conversion from v2.
    v2ExplicitTLS: Option<BTreeMap<String, Value>>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct HealthCheck {
    /// Until an answer is given up, as in `3s`. Default: 3s.
    timeout: Option<String>,
    /// Between two checks, as in `5s`. Default: 5s.
    interval: Option<String>,
    /// Failures in a row until an address is not used. Default: 2.
    unhealthy_threshold: Option<u32>,
    /// Successes in a row until it is used again. Default: 1.
    healthy_threshold: Option<u32>,
    /// What is asked: `http` or `grpc`.
    health_check: Option<HealthCheckKind>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct HealthCheckKind {
    /// An HTTP request.
    http: Option<HttpHealthCheck>,
    /// A call of gRPC's health service.
    grpc: Option<GrpcHealthCheck>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct HttpHealthCheck {
    /// The path.
    path: String,
    /// The host. Default: the service.
    hostname: Option<String>,
    /// Headers that are set, by name.
    add_request_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    /// Headers that are removed.
    remove_request_headers: Option<Vec<String>>,
    /// Statuses that are healthy. Default: 200.
    expected_statuses: Option<Vec<StatusRange>>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct StatusRange {
    /// The first.
    min: u32,
    /// The last.
    max: u32,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct GrpcHealthCheck {
    /// The service that is asked for.
    upstream_name: String,
    /// The `:authority`.
    authority: Option<String>,
}
