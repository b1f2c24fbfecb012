//! `LogService`: where access logs go, over gRPC.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::auth_service::check_version;
use super::fields::{self, Treatment, Unread};
use super::service::Service;
use crate::ir::telemetry::About;
use crate::syntax::header;

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect), ("grpc", Treatment::NoEffect)];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Has no effect: it is always spoken to over gRPC.
    grpc: Option<bool>,
}

/// Where access logs go.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// Where it is: `[http://|https://]host[:port]`; it speaks gRPC.
    #[schemars(length(min = 1))]
    service: String,
    /// What an entry is about: `http` requests or `tcp` connections. Default: `http`.
    #[schemars(extend("enum" = ["http", "tcp"]))]
    driver: Option<String>,
    /// Settings of the driver.
    driver_config: Option<ConfigSpec>,
    /// Seconds until what was collected is sent. Default: 1.
    flush_interval_time: Option<u32>,
    /// Bytes until what was collected is sent. Default: 16384.
    flush_interval_byte_size: Option<u32>,
    /// Must be `v3`.
    #[schemars(extend("enum" = ["v2", "v3"]))]
    protocol_version: Option<String>,
    /// Name in statistics.
    stats_name: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ConfigSpec {
    /// http: headers that are logged, too.
    additional_log_headers: Option<Vec<HeaderSpec>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct HeaderSpec {
    /// Its name.
    header_name: String,
    /// Of the request. Default: true.
    during_request: Option<bool>,
    /// Of the response. Default: true.
    during_response: Option<bool>,
    /// Of the response's trailers. Default: true.
    during_trailer: Option<bool>,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// A LogService.
#[derive(Clone, Debug, PartialEq)]
pub struct LogService {
    /// Where it is.
    pub service: Service,
    /// What an entry is about.
    pub about: About,
    /// Milliseconds until what was collected is sent.
    pub flush_ms: u64,
    /// Bytes until what was collected is sent.
    pub flush_bytes: u32,
    /// Name in statistics.
    pub stats_name: Option<String>,
}

impl LogService {
    /// Reads a LogService's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        fields::strip("LogService", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let service = Service::read(&raw.service, "spec.service", found);
        let version = check_version(raw.protocol_version.as_deref(), found);
        let about = read_about(&raw, found);
        let seconds = raw.flush_interval_time.filter(|s| *s > 0).unwrap_or(1);
        Some(Self {
            service: service.filter(|_| version)?,
            about: about?,
            flush_ms: u64::from(seconds) * 1000,
            flush_bytes: raw.flush_interval_byte_size.unwrap_or(16_384),
            stats_name: raw.stats_name.filter(|n| !n.is_empty()),
        })
    }
}

fn read_about(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<About> {
    let headers = raw.driver_config.as_ref().and_then(|c| c.additional_log_headers.as_deref());
    let headers = headers.unwrap_or_default();
    let path = "spec.driver_config.additional_log_headers";
    match raw.driver.as_deref() {
        None | Some("" | "http") => {}
        Some("tcp") => {
            if !headers.is_empty() {
                found
                    .error(path, "a connection has no headers; it is logged without them")
                    .hint("remove them, or write `driver: http`");
            }
            return Some(About::Connections);
        }
        Some(other) => {
            found.error("spec.driver", format!("unknown driver `{other}`")).hint("http or tcp");
            return None;
        }
    }
    let mut logged = Vec::with_capacity(headers.len());
    for (i, spec) in headers.iter().enumerate() {
        match header::check_match_name(&spec.header_name) {
            Ok(()) => logged.push(spec),
            Err(why) => {
                let text = format!("{why}; the rest is logged without it");
                found.error(format!("{path}[{i}].header_name"), text);
            }
        }
    }
    let names = |during: fn(&HeaderSpec) -> Option<bool>| {
        let wanted = logged.iter().filter(|h| during(h).unwrap_or(true));
        wanted.map(|h| h.header_name.to_ascii_lowercase()).collect()
    };
    Some(About::Requests {
        request: names(|h| h.during_request),
        response: names(|h| h.during_response),
        trailer: names(|h| h.during_trailer),
    })
}
