//! Keys of the Module that are not read, with their types for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use crate::resource::fields::{Treatment, Unread};

/// Keys of `spec.config` that are not read.
pub const UNREAD: Unread = &[
    ("admin_port", Treatment::Without),
    ("auth_enabled", Treatment::NoEffect),
    ("debug_mode", Treatment::NoEffect),
    ("diag_port", Treatment::NoEffect),
    ("diagnostics", Treatment::Without),
    ("envoy_log_format", Treatment::Without),
    ("envoy_log_path", Treatment::Without),
    ("envoy_log_type", Treatment::Without),
    ("envoy_validation_timeout", Treatment::NoEffect),
    ("error_response_overrides", Treatment::Without),
    ("header_case_overrides", Treatment::Without),
    ("liveness_probe", Treatment::Without),
    ("readiness_probe", Treatment::Without),
    ("regex_type", Treatment::NoEffect),
    ("runtime_flags", Treatment::Without),
    ("service_port", Treatment::NoEffect),
    ("statsd", Treatment::Without),
    ("use_proxy_proto", Treatment::NoEffect),
    ("x_forwarded_proto_redirect", Treatment::NoEffect),
    ("xff_num_trusted_hops", Treatment::NoEffect),
];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
pub(super) struct Fields {
    /// Port of Envoy's admin page. Default: 8001.
    admin_port: Option<i64>,
    /// Has no effect.
    auth_enabled: Option<bool>,
    /// Has no effect.
    debug_mode: Option<bool>,
    /// Has no effect.
    diag_port: Option<i64>,
    /// The Mapping of the diagnostics page: `enabled`, `prefix`, `rewrite`, `service`,
    /// `allow_non_local`.
    diagnostics: Option<BTreeMap<String, Value>>,
    /// The access log's format: a text, or an object for the types json and typed_json.
    envoy_log_format: Option<Value>,
    /// The access log's file. Default: standard output.
    envoy_log_path: Option<String>,
    /// The access log's type: `text`, `json` or `typed_json`. Default: `text`.
    envoy_log_type: Option<String>,
    /// Has no effect: no second Envoy validates here.
    envoy_validation_timeout: Option<i64>,
    /// Other bodies for error answers.
    error_response_overrides: Option<Vec<BTreeMap<String, Value>>>,
    /// Header names that are sent in just this case.
    header_case_overrides: Option<Vec<String>>,
    /// The Mapping of the liveness probe: `enabled`, `prefix`, `rewrite`, `service`.
    liveness_probe: Option<BTreeMap<String, Value>>,
    /// The Mapping of the readiness probe: `enabled`, `prefix`, `rewrite`, `service`.
    readiness_probe: Option<BTreeMap<String, Value>>,
    /// Has no effect.
    regex_type: Option<String>,
    /// Switches of Envoy, by name.
    runtime_flags: Option<BTreeMap<String, Value>>,
    /// Has no effect: Listeners have the ports.
    service_port: Option<i64>,
    /// Where statistics are sent.
    statsd: Option<BTreeMap<String, Value>>,
    /// Has no effect: Listeners have the protocol.
    use_proxy_proto: Option<bool>,
    /// Has no effect: Hosts have the action.
    x_forwarded_proto_redirect: Option<bool>,
    /// Has no effect: Listeners have `l7Depth`.
    xff_num_trusted_hops: Option<i64>,
}
