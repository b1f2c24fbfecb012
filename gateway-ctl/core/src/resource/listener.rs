//! `Listener`: a port, and which Hosts it serves.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};
use super::host::{Selector, check_expressions};

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect)];

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct UnreadFields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

/// A port, and which Hosts it serves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.protocol) || has(self.protocolStack)",
    "message": "a Listener needs protocol or protocolStack, as in protocol: HTTP",
}]))]
struct Raw {
    /// The port.
    #[schemars(required, range(min = 1, max = 65535))]
    port: Option<i64>,
    /// The IP address that is listened on. Default: all of IPv4.
    #[serde(rename = "bind_address", alias = "bindAddress")]
    bind_address: Option<String>,
    /// The usual stacks by name; only HTTP is supported yet.
    #[schemars(extend("enum" = ["HTTP", "HTTPS", "HTTPPROXY", "HTTPSPROXY", "TCP", "TLS", "UDP"]))]
    protocol: Option<String>,
    /// What is spoken, from the outside in; goes before `protocol`. Only [HTTP, TCP] is supported
    /// yet.
    #[schemars(with = "Option<Vec<Layer>>")]
    protocol_stack: Option<Vec<String>>,
    /// Which requests are secure: those whose `x-forwarded-proto` says https (`XFP`), all
    /// (`SECURE`) or none (`INSECURE`).
    #[schemars(required, extend("enum" = ["XFP", "SECURE", "INSECURE"]))]
    security_model: Option<String>,
    /// Which Hosts are served.
    #[schemars(required)]
    host_binding: Option<HostBinding>,
    /// Start of the names of its statistics. Default: `ingress_http` and the like.
    stats_prefix: Option<String>,
    /// How many proxies in front are trusted in `x-forwarded-for`. Default: 0.
    #[serde(rename = "l7Depth")]
    l7_depth: Option<u32>,
    /// Most HTTP/2 streams on one connection. Default: Envoy's, 1024.
    #[serde(rename = "http2MaxConcurrentStreams", alias = "http2_max_concurrent_streams")]
    #[schemars(range(max = 2147483647))]
    http2_max_concurrent_streams: Option<u32>,
}

/// What an element of `protocolStack` can be.
#[derive(JsonSchema)]
#[schemars(rename_all = "UPPERCASE")]
#[allow(dead_code)]
enum Layer {
    Http,
    Proxy,
    Tls,
    Tcp,
    Udp,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.namespace) || has(self.selector)",
    "message": "hostBinding needs namespace or selector; {namespace: {from: ALL}} serves every Host",
}]))]
struct HostBinding {
    /// Namespaces of the Hosts.
    namespace: Option<NamespaceBinding>,
    /// Labels of the Hosts.
    selector: Option<Selector>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NamespaceBinding {
    /// `ALL`, or only the Listener's own (`SELF`). `SELECTOR` is not supported yet.
    #[schemars(extend("enum" = ["ALL", "SELF", "SELECTOR"]))]
    from: Option<String>,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, UnreadFields>(generator, UNREAD)
}

/// How a Listener tells requests over TLS from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityModel {
    /// By the header `x-forwarded-proto`.
    Xfp,
    /// All are.
    Secure,
    /// None is.
    Insecure,
}

impl SecurityModel {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Xfp => "XFP",
            Self::Secure => "SECURE",
            Self::Insecure => "INSECURE",
        }
    }
}

/// A Listener for HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The address; the process's default when absent.
    pub bind_address: Option<String>,
    /// How it tells requests over TLS from others.
    pub security_model: SecurityModel,
    /// Whether only Hosts of its own namespace are served.
    pub own_namespace: bool,
    /// Labels a Host must have.
    pub selector: Option<BTreeMap<String, String>>,
    /// Prefix of its statistics.
    pub stats_prefix: Option<String>,
    /// Proxies in front whose `x-forwarded-for` is trusted.
    pub l7_depth: u32,
    /// HTTP/2 streams on one connection.
    pub max_concurrent_streams: Option<u32>,
}

impl Listener {
    /// Reads a Listener's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        let mut good = fields::strip("Listener", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let port = raw.port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0);
        if port.is_none() {
            found.error("spec.port", "a Listener needs a port from 1 to 65535");
        }
        let bind_address = raw.bind_address.clone().filter(|a| !a.is_empty());
        if let Some(address) = &bind_address
            && address.parse::<std::net::IpAddr>().is_err()
        {
            found.error("spec.bind_address", format!("`{address}` is not an IP address"));
            good = false;
        }
        good &= check_protocol(&raw, found);
        if raw.http2_max_concurrent_streams.is_some_and(|n| n > i32::MAX.unsigned_abs()) {
            found.error("spec.http2MaxConcurrentStreams", "at most 2147483647");
            good = false;
        }
        let security_model = match raw.security_model.as_deref() {
            Some("XFP") => Some(SecurityModel::Xfp),
            Some("SECURE") => Some(SecurityModel::Secure),
            Some("INSECURE") => Some(SecurityModel::Insecure),
            other => {
                let what = other.map_or("is missing".to_owned(), |o| format!("`{o}` is unknown"));
                found
                    .error("spec.securityModel", format!("securityModel {what}"))
                    .hint("XFP, SECURE or INSECURE");
                None
            }
        };
        let binding = read_binding(&raw, found);
        let (Some(port), Some(security_model), Some((own_namespace, selector)), true) =
            (port, security_model, binding, good)
        else {
            return None;
        };
        Some(Self {
            port,
            bind_address,
            security_model,
            own_namespace,
            selector,
            stats_prefix: raw.stats_prefix.filter(|p| !p.is_empty()),
            l7_depth: raw.l7_depth.unwrap_or(0),
            max_concurrent_streams: raw.http2_max_concurrent_streams.filter(|n| *n > 0),
        })
    }
}

fn check_protocol(raw: &Raw, found: &mut Diagnostics<'_>) -> bool {
    let protocol = raw.protocol.as_deref().filter(|p| !p.is_empty());
    let stack = raw.protocol_stack.as_deref().filter(|s| !s.is_empty());
    let hint = "HTTP (or the protocolStack [HTTP, TCP]) works";
    match (protocol, stack) {
        (None, None) => {
            found.error("spec.protocol", "a Listener needs protocol or protocolStack").hint(hint);
            false
        }
        (protocol, Some(stack)) => {
            if protocol.is_some() {
                found.error(
                    "spec.protocol",
                    "protocol and protocolStack exclude each other; protocolStack is used",
                );
            }
            if stack == ["HTTP", "TCP"] {
                return true;
            }
            let text = stack.join(", ");
            found
                .error(
                    "spec.protocolStack",
                    format!("not supported yet: Listener.protocolStack [{text}]"),
                )
                .hint(hint);
            false
        }
        (Some("HTTP"), None) => true,
        (Some(known @ ("HTTPS" | "HTTPPROXY" | "HTTPSPROXY" | "TCP" | "TLS")), None) => {
            found
                .error("spec.protocol", format!("not supported yet: Listener.protocol {known}"))
                .hint(hint);
            false
        }
        (Some(other), None) => {
            found.error("spec.protocol", format!("unknown protocol `{other}`")).hint(hint);
            false
        }
    }
}

/// Whether only its own namespace, and the labels of Hosts.
type Binding = (bool, Option<BTreeMap<String, String>>);

fn read_binding(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Binding> {
    let path = "spec.hostBinding";
    let binding = raw.host_binding.as_ref();
    let from = binding.and_then(|b| b.namespace.as_ref()).and_then(|n| n.from.as_deref());
    let selector = binding.and_then(|b| b.selector.as_ref());
    if let Some(selector) = selector {
        if !check_expressions(selector, "Listener", "spec.hostBinding.selector", found) {
            return None;
        }
        if selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) {
            found.error(format!("{path}.selector.matchLabels"), "a selector needs matchLabels");
            return None;
        }
    }
    let own = match from {
        Some("ALL") => false,
        Some("SELF") => true,
        Some("SELECTOR") => {
            found
                .error(
                    format!("{path}.namespace.from"),
                    "not supported yet: Listener.hostBinding.namespace.from SELECTOR",
                )
                .hint("ALL or SELF");
            return None;
        }
        Some(other) if !other.is_empty() => {
            found
                .error(format!("{path}.namespace.from"), format!("unknown value `{other}`"))
                .hint("ALL or SELF");
            return None;
        }
        _ if selector.is_some() => false,
        _ => {
            found
                .error(path, "a Listener needs hostBinding.namespace or hostBinding.selector")
                .hint("hostBinding: {namespace: {from: ALL}} serves every Host");
            return None;
        }
    };
    Some((own, selector.and_then(|s| s.match_labels.clone())))
}
