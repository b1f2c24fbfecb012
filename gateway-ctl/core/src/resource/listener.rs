//! `Listener`: a port, and which Hosts it serves.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};
use super::selector::{Selector, SelectorSpec};

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
    /// The usual stacks by name: HTTP, HTTPS, HTTPPROXY and HTTPSPROXY (behind a load balancer that
    /// speaks the PROXY protocol), TLS and TCP (for TCPMappings).
    #[schemars(extend("enum" = ["HTTP", "HTTPS", "HTTPPROXY", "HTTPSPROXY", "TCP", "TLS", "UDP"]))]
    protocol: Option<String>,
    /// What is spoken; goes before `protocol`. The last is TCP or UDP; [TLS, HTTP, UDP] is HTTP/3.
    #[schemars(with = "Option<Vec<Layer>>")]
    protocol_stack: Option<Vec<String>>,
    /// Which requests are secure: those whose `x-forwarded-proto` says https (`XFP`), all
    /// (`SECURE`) or none (`INSECURE`).
    #[schemars(required, extend("enum" = ["XFP", "SECURE", "INSECURE"]))]
    security_model: Option<String>,
    /// Which Hosts are served.
    #[schemars(required)]
    host_binding: Option<HostBinding>,
    /// Start of the names of its statistics. Default: `ingress_http`, `ingress_https`,
    /// `ingress_tls_PORT` or `ingress_tcp_PORT`.
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
    /// Namespaces of the Hosts. Default, with a `selector`: the Listener's own.
    namespace: Option<NamespaceBinding>,
    /// Labels of the Hosts.
    selector: Option<SelectorSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NamespaceBinding {
    /// `ALL`, only the Listener's own (`SELF`), or those that `selector` takes (`SELECTOR`).
    #[schemars(extend("enum" = ["ALL", "SELF", "SELECTOR"]))]
    from: Option<String>,
    /// Labels of the namespaces, with `from: SELECTOR`.
    selector: Option<SelectorSpec>,
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

/// Namespaces of Hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// Every one.
    #[default]
    All,
    /// The Listener's own.
    Own,
    /// Those with these labels.
    With(Selector),
}

/// A Listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The address; the process's default when absent.
    pub bind_address: Option<String>,
    /// What is spoken.
    pub stack: Stack,
    /// How it tells requests over TLS from others.
    pub security_model: SecurityModel,
    /// Of which namespaces Hosts are served.
    pub namespaces: Namespaces,
    /// Labels a Host must have.
    pub selector: Option<Selector>,
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
        let stack = read_stack(&raw, found);
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
        let (Some(port), Some(stack), Some(security_model), Some((namespaces, selector)), true) =
            (port, stack, security_model, binding, good)
        else {
            return None;
        };
        Some(Self {
            port,
            bind_address,
            stack,
            security_model,
            namespaces,
            selector,
            stats_prefix: raw.stats_prefix.filter(|p| !p.is_empty()),
            l7_depth: raw.l7_depth.unwrap_or(0),
            max_concurrent_streams: raw.http2_max_concurrent_streams.filter(|n| *n > 0),
        })
    }
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Each connection begins with a line that names the client (PROXY protocol).
    pub proxy: bool,
    /// TLS is served; connections without it are told apart.
    pub tls: bool,
    /// HTTP is served; otherwise bytes are.
    pub http: bool,
    /// Over UDP (QUIC) instead of TCP.
    pub udp: bool,
}

const STACKS: &str =
    "HTTP, HTTPS, HTTPPROXY, HTTPSPROXY, TLS, TCP, or a protocolStack such as [TLS, HTTP, TCP]";

fn read_stack(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Stack> {
    let protocol = raw.protocol.as_deref().filter(|p| !p.is_empty());
    let stack = raw.protocol_stack.as_deref().filter(|s| !s.is_empty());
    let layers = match (protocol, stack) {
        (None, None) => {
            found.error("spec.protocol", "a Listener needs protocol or protocolStack").hint(STACKS);
            return None;
        }
        (protocol, Some(stack)) => {
            if protocol.is_some() {
                found.error(
                    "spec.protocol",
                    "protocol and protocolStack exclude each other; protocolStack is used",
                );
            }
            stack.iter().map(String::as_str).collect()
        }
        (Some("HTTP"), None) => vec!["HTTP", "TCP"],
        (Some("HTTPS"), None) => vec!["TLS", "HTTP", "TCP"],
        (Some("HTTPPROXY"), None) => vec!["PROXY", "HTTP", "TCP"],
        (Some("HTTPSPROXY"), None) => vec!["TLS", "PROXY", "HTTP", "TCP"],
        (Some("TCP"), None) => vec!["TCP"],
        (Some("TLS"), None) => vec!["TLS", "TCP"],
        (Some("UDP"), None) => {
            found
                .error(
                    "spec.protocol",
                    "protocol UDP alone has no meaning: only HTTP/3 is over UDP",
                )
                .hint("protocolStack: [TLS, HTTP, UDP]");
            return None;
        }
        (Some(other), None) => {
            found.error("spec.protocol", format!("unknown protocol `{other}`")).hint(STACKS);
            return None;
        }
    };
    match parse_stack(&layers) {
        Ok(stack) => Some(stack),
        Err(why) => {
            let text = format!("protocolStack [{}]: {why}", layers.join(", "));
            found.error("spec.protocolStack", text).hint(STACKS);
            None
        }
    }
}

/// The order of TLS, PROXY and HTTP has always been free: there is one way to put them together.
fn parse_stack(layers: &[&str]) -> Result<Stack, String> {
    let udp = match layers.last() {
        Some(&"TCP") => false,
        Some(&"UDP") => true,
        _ => return Err("the last layer is TCP or UDP".to_owned()),
    };
    let upper = layers.get(..layers.len() - 1).unwrap_or_default();
    let has = |name: &str| upper.contains(&name);
    for (i, layer) in upper.iter().enumerate() {
        if !["HTTP", "PROXY", "TLS"].contains(layer) {
            return Err(format!("`{layer}` is unknown, or not before the last place"));
        }
        if upper.iter().skip(i + 1).any(|other| other == layer) {
            return Err(format!("{layer} is there twice"));
        }
    }
    let http = has("HTTP");
    if udp && !http {
        return Err("over UDP there is only HTTP (HTTP/3)".to_owned());
    }
    if udp && has("PROXY") {
        return Err("there is no PROXY protocol over UDP".to_owned());
    }
    // QUIC has TLS inside.
    Ok(Stack { proxy: has("PROXY"), tls: has("TLS") || udp, http, udp })
}

/// Of which namespaces, and the labels of Hosts.
type Binding = (Namespaces, Option<Selector>);

fn read_binding(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Binding> {
    let path = "spec.hostBinding";
    let binding = raw.host_binding.as_ref();
    let namespace = binding.and_then(|b| b.namespace.as_ref());
    let selector = match binding.and_then(|b| b.selector.as_ref()) {
        None => None,
        Some(spec) => {
            let path = format!("{path}.selector");
            let read = spec.read(&path, found)?;
            if read.is_none() {
                found.error(path, "a selector needs matchLabels or matchExpressions");
                return None;
            }
            read
        }
    };
    let at = format!("{path}.namespace.selector");
    let labels = match namespace.and_then(|n| n.selector.as_ref()) {
        None => None,
        Some(spec) => spec.read(&at, found)?,
    };
    let from = namespace.and_then(|n| n.from.as_deref()).filter(|f| !f.is_empty());
    if labels.is_some() && from != Some("SELECTOR") {
        found
            .error(at, "it has an effect with `from: SELECTOR` only")
            .hint("write `from: SELECTOR`, or remove it");
        return None;
    }
    let namespaces = match (from, labels) {
        (Some("ALL"), _) => Namespaces::All,
        (Some("SELF"), _) => Namespaces::Own,
        (Some("SELECTOR"), Some(labels)) => Namespaces::With(labels),
        (Some("SELECTOR"), None) => {
            found
                .error(at, "`from: SELECTOR` needs a selector of namespaces")
                .hint("as in selector: {matchLabels: {team: web}}");
            return None;
        }
        (Some(other), _) => {
            found
                .error(format!("{path}.namespace.from"), format!("unknown value `{other}`"))
                .hint("ALL, SELF or SELECTOR");
            return None;
        }
        (None, _) if selector.is_some() => Namespaces::Own,
        (None, _) => {
            found
                .error(path, "a Listener needs hostBinding.namespace or hostBinding.selector")
                .hint("hostBinding: {namespace: {from: ALL}} serves every Host");
            return None;
        }
    };
    Some((namespaces, selector))
}
