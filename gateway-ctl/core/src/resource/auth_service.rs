//! `AuthService`: the service that Envoy asks whether a request may pass.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use service_kit::{Diagnostics, Object};

use super::fields::{self, Texts, Treatment, Unread};
use super::service::Service;
use super::traffic::{BreakerSpec, read_breakers};
use crate::ir::Threshold;
use crate::syntax::header;

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("ambassador_id", Treatment::NoEffect),
    ("tls", Treatment::LeftOut),
    ("v3StatusOnError", Treatment::NoEffect),
];

#[derive(Debug, Deserialize)]
struct Raw {
    auth_service: String,
    proto: Option<String>,
    protocol_version: Option<String>,
    path_prefix: Option<String>,
    timeout_ms: Option<u64>,
    allowed_request_headers: Option<Texts>,
    allowed_authorization_headers: Option<Texts>,
    add_auth_headers: Option<BTreeMap<String, String>>,
    include_body: Option<IncludeBody>,
    allow_request_body: Option<bool>,
    failure_mode_allow: Option<bool>,
    status_on_error: Option<StatusOnError>,
    stats_name: Option<String>,
    circuit_breakers: Option<Vec<BreakerSpec>>,
    add_linkerd_headers: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct IncludeBody {
    max_bytes: u32,
    #[serde(default)]
    allow_partial: bool,
}

#[derive(Debug, Deserialize)]
struct StatusOnError {
    code: Option<u32>,
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
    for (name, value) in raw.add_auth_headers.iter().flatten() {
        let checked = header::check_edit_name(name).and_then(|()| header::check_value(value));
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
