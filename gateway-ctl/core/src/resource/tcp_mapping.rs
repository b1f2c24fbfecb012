//! `TCPMapping`: connections of a port go to a service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};
use super::service::Service;
use super::traffic::{BreakerSpec, read_breakers};
use crate::ir::Threshold;
use crate::syntax::Hostname;

/// Fields that are not read.
pub const UNREAD: Unread =
    &[("ambassador_id", Treatment::NoEffect), ("v2ExplicitTLS", Treatment::NoEffect)];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code, non_snake_case)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
    /// Kept by conversion from v2.
    v2ExplicitTLS: Option<BTreeMap<String, Value>>,
}

/// Sends connections of a port to a service.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// The port. A Listener there says what is spoken; without one the port is listened on as TLS
    /// (with `host`) or TCP.
    #[schemars(required, range(min = 1, max = 65535))]
    port: Option<i64>,
    /// The name that clients ask for (SNI). TLS is served with what a Host of this name, or a
    /// TLSContext that has it among its hosts, says; with such a TLSContext that has no certificate
    /// it is passed on to the service as it came. Without `host` every connection is taken, TLS or
    /// not, as it came.
    host: Option<String>,
    /// The address that is listened on. Default: all of IPv4.
    address: Option<String>,
    /// Where connections go: `host[:port]`.
    #[schemars(length(min = 1))]
    service: String,
    /// Name of the TLSContext that connections to the service use.
    #[schemars(with = "Option<Value>")]
    tls: Option<String>,
    /// Name of the resolver that finds the addresses of the service. Default: the Module's.
    resolver: Option<String>,
    /// Share of the connections, percent.
    weight: Option<u32>,
    /// Whether the service is reached over IPv4. Default: the Module's, else true.
    enable_ipv4: Option<bool>,
    /// Whether the service is reached over IPv6. Default: the Module's, else false.
    enable_ipv6: Option<bool>,
    /// Limits of what is under way to the service, by priority.
    circuit_breakers: Option<Vec<BreakerSpec>>,
    /// Keeps connections apart from those of other TCPMappings with the same service.
    cluster_tag: Option<String>,
    /// Milliseconds until a silent connection is closed, as a number or a text; 0 is never.
    /// Default: Envoy's, an hour.
    #[schemars(with = "Option<Value>")]
    idle_timeout_ms: Option<Milliseconds>,
    /// Name of the service in statistics. Default: the service with `_` for every other character.
    stats_name: Option<String>,
}

/// A number, or a text of one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Milliseconds {
    Number(u64),
    Text(String),
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// A TCPMapping.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpMapping {
    /// The port.
    pub port: u16,
    /// The address; the process's default when absent.
    pub address: Option<String>,
    /// The name that clients ask for.
    pub host: Option<Hostname>,
    /// Where connections go.
    pub service: Service,
    /// The TLSContext of connections to the service.
    pub tls: Option<String>,
    /// The name of the resolver.
    pub resolver: Option<String>,
    /// Share of the connections.
    pub weight: Option<u32>,
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// Circuit breakers.
    pub breakers: Option<Vec<Threshold>>,
    /// Separates clusters of one service.
    pub tag: Option<String>,
    /// Until a silent connection is closed; 0 is never.
    pub idle_timeout_ms: Option<u64>,
    /// Name in statistics.
    pub stats_name: Option<String>,
}

impl TcpMapping {
    /// Reads a TCPMapping's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        let mut good = fields::strip("TCPMapping", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        let port = raw.port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
        if port.is_none() {
            found.error("spec.port", "a TCPMapping needs a port, 1 to 65535");
        }
        let address = given(raw.address);
        if let Some(address) = &address
            && address.parse::<IpAddr>().is_err()
        {
            found.error("spec.address", format!("`{address}` is not an IP address"));
            good = false;
        }
        let host = match given(raw.host).as_deref().map(Hostname::parse) {
            None => None,
            Some(Ok(host)) => Some(host),
            Some(Err(why)) => {
                found.error("spec.host", why);
                return None;
            }
        };
        let idle = match raw.idle_timeout_ms {
            None => None,
            Some(Milliseconds::Number(ms)) => Some(ms),
            Some(Milliseconds::Text(text)) if text.is_empty() => None,
            Some(Milliseconds::Text(text)) => match text.parse() {
                Ok(ms) => Some(ms),
                Err(_) => {
                    found.error("spec.idle_timeout_ms", "it is a number of milliseconds");
                    return None;
                }
            },
        };
        let idle_timeout_ms = fields::milliseconds(idle, "spec.idle_timeout_ms", found)?;
        if raw.weight.is_some_and(|w| w > 100) {
            found.error("spec.weight", "a weight is a share in percent, 0 to 100");
            good = false;
        }
        let breakers = match &raw.circuit_breakers {
            None => None,
            Some(list) => Some(read_breakers(list, "spec.circuit_breakers", found)?),
        };
        let service = Service::read(&raw.service, "spec.service", found);
        let (Some(port), Some(service), true) = (port, service, good) else { return None };
        Some(Self {
            port,
            address,
            host,
            service,
            tls: given(raw.tls),
            resolver: given(raw.resolver),
            weight: raw.weight,
            ipv4: raw.enable_ipv4,
            ipv6: raw.enable_ipv6,
            breakers,
            tag: given(raw.cluster_tag),
            idle_timeout_ms,
            stats_name: given(raw.stats_name),
        })
    }
}
