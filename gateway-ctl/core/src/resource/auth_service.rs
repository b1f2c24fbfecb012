//! `AuthService`: the service that Envoy asks whether a request may pass.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Texts, Treatment, Unread};
use super::service::Service;
use super::traffic::{BreakerSpec, read_breakers};
use crate::ir::Threshold;
use crate::syntax::{format, header};

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("ambassador_id", Treatment::NoEffect),
    ("tls", Treatment::LeftOut),
    ("v3StatusOnError", Treatment::NoEffect),
];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code, non_snake_case)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Name of the TLSContext that connections to the service use.
    tls: Option<Value>,
    /// Kept by conversion to v2.
    v3StatusOnError: Option<BTreeMap<String, Value>>,
}

/// The service that is asked whether a request may pass.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// Where it is: `[http://|https://]host[:port]`.
    #[schemars(length(min = 1))]
    auth_service: String,
    /// How it is asked. Default: `http`.
    #[schemars(extend("enum" = ["http", "grpc"]))]
    proto: Option<String>,
    /// Must be `v3` with `proto: grpc`.
    #[schemars(extend("enum" = ["v2", "v3"]))]
    protocol_version: Option<String>,
    /// Over HTTP: what is put before the path.
    path_prefix: Option<String>,
    /// Milliseconds until an answer is given up. Default: 5000.
    timeout_ms: Option<u64>,
    /// Over HTTP: headers that are sent besides the usual ones.
    allowed_request_headers: Option<Texts>,
    /// Over HTTP: headers of the answer that are taken besides the usual ones.
    allowed_authorization_headers: Option<Texts>,
    /// Over HTTP: headers that are added to the question, with their values.
    add_auth_headers: Option<BTreeMap<String, String>>,
    /// Sends the body of the request along.
    include_body: Option<IncludeBody>,
    /// Deprecated, use `include_body`: up to 4096 bytes of the body. Default: false.
    allow_request_body: Option<bool>,
    /// Whether requests pass when there is no answer. Default: false.
    failure_mode_allow: Option<bool>,
    /// What clients get when there is no answer.
    status_on_error: Option<StatusOnError>,
    /// Name in statistics.
    stats_name: Option<String>,
    /// Limits of what is under way to the service, by priority. Default: the Module's.
    circuit_breakers: Option<Vec<BreakerSpec>>,
    /// Over HTTP: whether questions carry `l5d-dst-override` for Linkerd. Default: the Module's.
    add_linkerd_headers: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct IncludeBody {
    /// Bytes that are sent at most.
    max_bytes: u32,
    /// Whether a longer body is cut; else the request is refused. Default: false.
    #[serde(default)]
    allow_partial: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct StatusOnError {
    /// The status. Default: 403.
    code: Option<u32>,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// An AuthService.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthService {
    /// Where it is.
    pub service: Service,
    /// Whether it speaks gRPC (else HTTP).
    pub grpc: bool,
    /// Over HTTP: put before the path.
    pub path_prefix: String,
    /// Until an answer is given up.
    pub timeout_ms: u64,
    /// Over HTTP: headers that are sent besides the usual ones.
    pub request_headers: Vec<String>,
    /// Over HTTP: headers of the answer that are taken besides the usual ones.
    pub response_headers: Vec<String>,
    /// Over HTTP: headers that are added to checks.
    pub add_headers: BTreeMap<String, String>,
    /// Bytes of the body that are sent along, and whether a longer body is cut.
    pub body: Option<(u32, bool)>,
    /// Whether requests pass when there is no answer.
    pub failure_mode_allow: bool,
    /// The status when there is no answer.
    pub status_on_error: Option<u32>,
    /// Name in statistics.
    pub stats_name: Option<String>,
    /// Circuit breakers.
    pub breakers: Option<Vec<Threshold>>,
    /// Linkerd's header.
    pub add_linkerd_headers: Option<bool>,
}

impl AuthService {
    /// Reads an AuthService's `spec`. `None` when it cannot be in force; requests are refused then.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        let mut good = fields::strip("AuthService", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let service = Service::read(&raw.auth_service, "spec.auth_service", found);
        let grpc = match raw.proto.as_deref() {
            None | Some("" | "http") => false,
            Some("grpc") => true,
            Some(other) => {
                found.error("spec.proto", format!("unknown proto `{other}`")).hint("http or grpc");
                return None;
            }
        };
        if grpc {
            good &= check_version(raw.protocol_version.as_deref(), found);
        }
        good &= check_headers(&raw, grpc, found);
        let body = read_body(&raw, found);
        let status = raw.status_on_error.as_ref().and_then(|s| s.code).filter(|c| *c > 0);
        if status.is_some_and(|code| !is_status(code)) {
            found.error("spec.status_on_error.code", "not a status code that Envoy knows");
            good = false;
        }
        let breakers = match &raw.circuit_breakers {
            None => None,
            Some(list) => Some(read_breakers(list, "spec.circuit_breakers", found)?),
        };
        let timeout_ms = fields::milliseconds(raw.timeout_ms, "spec.timeout_ms", found)?;
        let service = service.filter(|_| good)?;
        Some(Self {
            service,
            grpc,
            path_prefix: raw.path_prefix.unwrap_or_default(),
            timeout_ms: timeout_ms.unwrap_or(5000),
            request_headers: raw.allowed_request_headers.unwrap_or_default().0,
            response_headers: raw.allowed_authorization_headers.unwrap_or_default().0,
            add_headers: raw.add_auth_headers.unwrap_or_default(),
            body,
            failure_mode_allow: raw.failure_mode_allow.unwrap_or(false),
            status_on_error: status,
            stats_name: raw.stats_name.filter(|n| !n.is_empty()),
            breakers,
            add_linkerd_headers: raw.add_linkerd_headers,
        })
    }
}

/// Checks `protocol_version` of a service that is asked over gRPC: only v3 is spoken, and the
/// resource's default is v2.
pub(super) fn check_version(version: Option<&str>, found: &mut Diagnostics<'_>) -> bool {
    let version = version.filter(|v| !v.is_empty()).unwrap_or("v2");
    if version == "v3" {
        return true;
    }
    let message =
        format!("protocol_version {version} is unsupported, protocol_version must be \"v3\"");
    found.error("spec.protocol_version", message).hint("write protocol_version: v3");
    false
}

fn read_body(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<(u32, bool)> {
    let allowed = raw.allow_request_body.unwrap_or(false);
    if allowed && raw.include_body.is_some() {
        found.error(
            "spec.allow_request_body",
            "allow_request_body and include_body exclude each other; include_body is used",
        );
    }
    match &raw.include_body {
        Some(body) if body.max_bytes > 0 => Some((body.max_bytes, body.allow_partial)),
        Some(_) => None,
        None => allowed.then_some((4096, true)),
    }
}

fn check_headers(raw: &Raw, grpc: bool, found: &mut Diagnostics<'_>) -> bool {
    let mut good = true;
    let lists = [
        ("allowed_request_headers", &raw.allowed_request_headers),
        ("allowed_authorization_headers", &raw.allowed_authorization_headers),
    ];
    for (field, list) in lists {
        for (i, name) in list.iter().flat_map(|l| l.0.iter()).enumerate() {
            if let Err(why) = header::check_name(name) {
                found.error(format!("spec.{field}[{i}]"), why);
                good = false;
            }
        }
        if grpc && list.as_ref().is_some_and(|l| !l.0.is_empty()) {
            found.notice(format!("spec.{field}"), "it has an effect with proto: http only");
        }
    }
    let only_http = [
        ("add_auth_headers", raw.add_auth_headers.as_ref().is_some_and(|h| !h.is_empty())),
        ("path_prefix", raw.path_prefix.as_ref().is_some_and(|p| !p.is_empty())),
        ("add_linkerd_headers", raw.add_linkerd_headers == Some(true)),
    ];
    for (field, _) in only_http.iter().filter(|(_, is_set)| grpc && *is_set) {
        found.notice(format!("spec.{field}"), "it has an effect with proto: http only");
    }
    for (name, value) in raw.add_auth_headers.iter().flatten() {
        let checked = header::check_edit_name(name)
            .and_then(|()| header::check_value(value))
            // Envoy reads a `%` in it as the beginning of a command.
            .and_then(|()| format::check(value));
        if let Err(why) = checked {
            found.error(format!("spec.add_auth_headers.{name}"), why);
            good = false;
        }
    }
    if let Some(Err(why)) = raw.path_prefix.as_deref().map(check_prefix) {
        found.error("spec.path_prefix", why);
        good = false;
    }
    good
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    if !prefix.is_empty() && !prefix.starts_with('/') {
        return Err("it starts with a slash".to_owned());
    }
    header::check_value(prefix)
}

/// Whether Envoy knows the status code.
fn is_status(code: u32) -> bool {
    matches!(code,
        200..=208 | 226 | 300..=305 | 307 | 308 | 400..=417 | 421..=424 | 426 | 428
        | 429 | 431 | 500..=508 | 510 | 511)
}
