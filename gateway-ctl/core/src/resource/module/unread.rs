//! Keys of the Module that are not read, with their types for the schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use crate::resource::fields::{Treatment, Unread};

/// Keys of `spec.config` that are not read.
pub const UNREAD: Unread = &[
    (
        "admin_port",
        Treatment::Elsewhere(
            "Envoy has it from its start: gateway-ctl envoy-bootstrap --envoy-admin-addr",
        ),
    ),
    (
        "auth_enabled",
        Treatment::Elsewhere("an AuthService that is there is asked; remove the field"),
    ),
    ("debug_mode", Treatment::Elsewhere("use gateway-ctl --log-level debug")),
    ("diag_port", Treatment::Elsewhere("use gateway-ctl --admin-addr")),
    (
        "envoy_validation_timeout",
        Treatment::Elsewhere("no second Envoy validates here; remove the field"),
    ),
    (
        "header_case_overrides",
        Treatment::Without(
            "Envoy has no table of names; write proper_case: true, which sends every name Like-This",
        ),
    ),
    ("regex_type", Treatment::Elsewhere("regular expressions are RE2's; remove the field")),
    (
        "runtime_flags",
        Treatment::Elsewhere(
            "Envoy has them from its start: gateway-ctl envoy-bootstrap --runtime KEY=VALUE",
        ),
    ),
    ("service_port", Treatment::Elsewhere("Listeners have the ports")),
    (
        "statsd",
        Treatment::Elsewhere(
            "Envoy has it from its start: STATSD_ENABLED, STATSD_HOST and STATSD_PORT of gateway-ctl envoy-bootstrap",
        ),
    ),
    (
        "use_proxy_proto",
        Treatment::Elsewhere("write it into Listener.protocolStack, as in [PROXY, HTTP, TCP]"),
    ),
    (
        "x_forwarded_proto_redirect",
        Treatment::Elsewhere(
            "use securityModel XFP of a Listener, and requestPolicy.insecure.action Redirect of Hosts",
        ),
    ),
    ("xff_num_trusted_hops", Treatment::Elsewhere("use l7Depth of Listeners")),
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
    /// Has no effect: no second Envoy validates here.
    envoy_validation_timeout: Option<i64>,
    /// Header names that are sent in just this case.
    header_case_overrides: Option<Vec<String>>,
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
