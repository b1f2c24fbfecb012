//! `RateLimitService`: the service that Envoy asks whether there were too many requests.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::auth_service::check_version;
use super::fields::{self, Treatment, Unread};
use super::service::{Service, read_tls_name};
use super::traffic::{BreakerSpec, read_breakers};
use crate::ir::Threshold;

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect)];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

/// The service that is asked whether there were too many requests.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// Where it is: `host[:port]`; it speaks gRPC.
    #[schemars(length(min = 1))]
    service: String,
    /// The domain of its questions. Default: the Module's `default_label_domain`, else
    /// `ambassador`.
    domain: Option<String>,
    /// Must be `v3`.
    #[schemars(extend("enum" = ["v2", "v3"]))]
    protocol_version: Option<String>,
    /// Milliseconds until an answer is given up. Default: 20.
    timeout_ms: Option<u64>,
    /// Whether requests are refused when there is no answer. Default: false.
    failure_mode_deny: Option<bool>,
    /// Name of the TLSContext that connections to the service use.
    #[schemars(with = "Option<Value>")]
    tls: Option<String>,
    /// Name in statistics.
    stats_name: Option<String>,
    /// Limits of what is under way to the service, by priority.
    circuit_breakers: Option<Vec<BreakerSpec>>,
    /// What gRPC clients see.
    grpc: Option<GrpcSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct GrpcSpec {
    /// Whether those over the limit get RESOURCE_EXHAUSTED instead of UNAVAILABLE. Default: false.
    use_resource_exhausted_code: Option<bool>,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// A RateLimitService.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitService {
    /// Where it is.
    pub service: Service,
    /// Its domain; the Module's when absent.
    pub domain: Option<String>,
    /// Until an answer is given up.
    pub timeout_ms: u64,
    /// Whether requests are refused when there is no answer.
    pub failure_mode_deny: bool,
    /// The TLSContext of connections to the service.
    pub tls: Option<String>,
    /// Name in statistics.
    pub stats_name: Option<String>,
    /// Circuit breakers.
    pub breakers: Option<Vec<Threshold>>,
    /// Whether gRPC clients see RESOURCE_EXHAUSTED.
    pub resource_exhausted: bool,
}

impl RateLimitService {
    /// Reads a RateLimitService's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        let mut good = fields::strip("RateLimitService", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let service = Service::read(&raw.service, "spec.service", found);
        good &= check_version(raw.protocol_version.as_deref(), found);
        let timeout_ms = fields::milliseconds(raw.timeout_ms, "spec.timeout_ms", found)?;
        let breakers = match &raw.circuit_breakers {
            None => None,
            Some(list) => Some(read_breakers(list, "spec.circuit_breakers", found)?),
        };
        let service = service.filter(|_| good)?;
        Some(Self {
            tls: read_tls_name(raw.tls.clone(), &service, "spec.service", found),
            service,
            domain: raw.domain.filter(|d| !d.is_empty()),
            timeout_ms: timeout_ms.unwrap_or(20),
            failure_mode_deny: raw.failure_mode_deny.unwrap_or(false),
            stats_name: raw.stats_name.filter(|n| !n.is_empty()),
            breakers,
            resource_exhausted: raw
                .grpc
                .and_then(|g| g.use_resource_exhausted_code)
                .unwrap_or(false),
        })
    }
}
