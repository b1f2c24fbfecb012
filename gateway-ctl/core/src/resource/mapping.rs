//! `Mapping`: which requests go to which service, and how.

mod matching;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use service_kit::{Diagnostics, Object};

use self::matching::read_key;
use self::target::{read_host_rewrite, read_rewrite, read_target};
use super::fields::{self, Texts, Treatment, Unread};
use super::label::{self, Labels};
use super::load_balancer::LoadBalancerSpec;
use super::service::Service;
use super::traffic::{
    AddHeaderSpec, BreakerSpec, CorsSpec, KeepaliveSpec, RetrySpec, read_added, read_breakers,
    read_removed,
};
use crate::ir::balance::LoadBalancer;
use crate::ir::{
    Cors, Dns, HeaderEdit, HostRewrite, Keepalive, Redirect, Retry, Rewrite, RouteKey, Threshold,
};

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("ambassador_id", Treatment::NoEffect),
    ("bypass_error_response_overrides", Treatment::NoEffect),
    ("docs", Treatment::NoEffect),
    ("envoy_override", Treatment::NoEffect),
    ("error_response_overrides", Treatment::Without),
    ("health_checks", Treatment::Without),
    ("modules", Treatment::NoEffect),
    ("outlier_detection", Treatment::Without),
    ("tls", Treatment::LeftOut),
    ("v2BoolHeaders", Treatment::NoEffect),
    ("v2BoolQueryParameters", Treatment::NoEffect),
    ("v2ExplicitTLS", Treatment::NoEffect),
];

#[derive(Debug, Deserialize)]
struct Raw {
    prefix: String,
    prefix_exact: Option<bool>,
    prefix_regex: Option<bool>,
    case_sensitive: Option<bool>,
    rewrite: Option<String>,
    regex_rewrite: Option<RegexSpec>,
    hostname: Option<String>,
    host: Option<String>,
    host_regex: Option<bool>,
    method: Option<String>,
    method_regex: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
    regex_headers: Option<BTreeMap<String, String>>,
    query_parameters: Option<BTreeMap<String, String>>,
    regex_query_parameters: Option<BTreeMap<String, String>>,
    precedence: Option<i64>,
    service: String,
    resolver: Option<String>,
    load_balancer: Option<LoadBalancerSpec>,
    weight: Option<u32>,
    shadow: Option<bool>,
    host_redirect: Option<bool>,
    path_redirect: Option<String>,
    prefix_redirect: Option<String>,
    regex_redirect: Option<RegexSpec>,
    redirect_response_code: Option<u32>,
    timeout_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
    connect_timeout_ms: Option<u64>,
    cluster_idle_timeout_ms: Option<u64>,
    cluster_max_connection_lifetime_ms: Option<u64>,
    host_rewrite: Option<String>,
    auto_host_rewrite: Option<bool>,
    add_request_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    add_response_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    remove_request_headers: Option<Texts>,
    remove_response_headers: Option<Texts>,
    add_linkerd_headers: Option<bool>,
    allow_upgrade: Option<Texts>,
    use_websocket: Option<bool>,
    bypass_auth: Option<bool>,
    auth_context_extensions: Option<BTreeMap<String, String>>,
    labels: Option<Value>,
    cors: Option<CorsSpec>,
    retry_policy: Option<RetrySpec>,
    circuit_breakers: Option<Vec<BreakerSpec>>,
    priority: Option<String>,
    grpc: Option<bool>,
    keepalive: Option<KeepaliveSpec>,
    dns_type: Option<String>,
    respect_dns_ttl: Option<bool>,
    enable_ipv4: Option<bool>,
    enable_ipv6: Option<bool>,
    stats_name: Option<String>,
    cluster_tag: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RegexSpec {
    #[serde(default)]
    pattern: String,
    #[serde(default)]
    substitution: String,
}

/// What a Mapping does with requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// They go to the service.
    Service,
    /// The service gets a copy of what its group's other Mappings get.
    Shadow,
    /// The client is sent to the service's host.
    Redirect(Redirect),
}

/// The upstream half of a Mapping. `None` in a field is the Module's default.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The service.
    pub service: Service,
    /// The name of the resolver; absent is the usual one.
    pub resolver: Option<String>,
    /// How hosts are chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// Separates clusters of one service.
    pub tag: Option<String>,
    /// Name in statistics.
    pub stats_name: Option<String>,
    /// HTTP/2.
    pub grpc: bool,
    /// How hosts are found.
    pub dns: Dns,
    /// Whether addresses are kept as long as DNS says.
    pub respect_dns_ttl: bool,
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// Until connecting is given up.
    pub connect_timeout_ms: Option<u64>,
    /// Until an idle connection is closed.
    pub idle_timeout_ms: Option<u64>,
    /// Until any connection is closed.
    pub max_connection_lifetime_ms: Option<u64>,
    /// Circuit breakers.
    pub breakers: Option<Vec<Threshold>>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
}

/// Headers that a Mapping sets and removes. `None` in a field is the Module's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// Set on requests.
    pub add_request: Option<Vec<HeaderEdit>>,
    /// Set on responses.
    pub add_response: Option<Vec<HeaderEdit>>,
    /// Removed from requests.
    pub remove_request: Option<Vec<String>>,
    /// Removed from responses.
    pub remove_response: Option<Vec<String>>,
}

/// A Mapping. `None` in a field is the Module's default.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// What it matches.
    pub key: Arc<RouteKey>,
    /// Size of its largest regular expression's program.
    pub regex_size: usize,
    /// The object's labels, for `mappingSelector`.
    pub object_labels: BTreeMap<String, String>,
    /// What it does.
    pub target: Target,
    /// Share of its group, percent.
    pub weight: Option<u32>,
    /// Where it goes.
    pub upstream: Upstream,
    /// The path.
    pub rewrite: Rewrite,
    /// The host.
    pub host_rewrite: HostRewrite,
    /// Until the whole is given up.
    pub timeout_ms: Option<u64>,
    /// Until a silent stream is given up.
    pub idle_timeout_ms: Option<u64>,
    /// Retries.
    pub retry: Option<Retry>,
    /// Protocols that a connection may change to.
    pub upgrades: Vec<String>,
    /// High priority.
    pub high_priority: bool,
    /// Headers that are set and removed.
    pub edits: Edits,
    /// Linkerd's header.
    pub add_linkerd_headers: Option<bool>,
    /// No authorization.
    pub bypass_auth: bool,
    /// What the authorization service is told.
    pub auth_context: BTreeMap<String, String>,
    /// Rate limit labels by domain; none were written, or not one domain.
    pub labels: Option<Labels>,
    /// Other origins.
    pub cors: Option<Cors>,
}

impl Mapping {
    /// Reads a Mapping's `spec`. `None` when it cannot be in force.
    pub fn read(object: &Object, mut spec: Value, found: &mut Diagnostics<'_>) -> Option<Self> {
        let mut good = fields::strip("Mapping", "spec", &mut spec, UNREAD, found);
        let raw: Raw = fields::read(object, spec, found)?;
        let mut regex_size = 0;
        let key = read_key(&raw, &mut regex_size, found);
        let service = Service::read(&raw.service, "spec.service", found);
        let target = service.as_ref().and_then(|s| read_target(&raw, s, found));
        let (Some(key), Some(service), Some(target)) = (key, service, target) else {
            return None;
        };
        let rewrite = read_rewrite(&raw, found);
        let upstream = read_upstream(&raw, service, found);
        let (Some(rewrite), Some(upstream)) = (rewrite, upstream) else { return None };
        let mut ms = |value, field: &str| {
            fields::milliseconds(value, field, found).unwrap_or_else(|| {
                good = false;
                None
            })
        };
        let timeout_ms = ms(raw.timeout_ms, "spec.timeout_ms");
        let idle_timeout_ms = ms(raw.idle_timeout_ms, "spec.idle_timeout_ms");
        // An inner `None` is what is wrong and reported, an outer one what is not there.
        let retry = raw.retry_policy.as_ref().map(|r| r.read("spec.retry_policy", found));
        let cors = raw.cors.as_ref().map(|c| c.read("spec.cors", found));
        good &= retry.as_ref().is_none_or(Option::is_some);
        good &= cors.as_ref().is_none_or(Option::is_some);
        let edits = read_edits(&raw, found);
        let high_priority = read_priority(&raw, found);
        let host_rewrite = read_host_rewrite(&raw, found);
        let labels = raw.labels.as_ref().map(|l| label::read_labels(l, "spec.labels", found));
        let (Some(edits), Some(high_priority), Some(host_rewrite), true) =
            (edits, high_priority, host_rewrite, good)
        else {
            return None;
        };
        Some(Self {
            key: Arc::new(key),
            regex_size,
            object_labels: object.labels.clone(),
            target,
            weight: raw.weight,
            upstream,
            rewrite,
            host_rewrite,
            timeout_ms,
            idle_timeout_ms,
            retry: retry.flatten(),
            upgrades: read_upgrades(&raw),
            high_priority,
            edits,
            add_linkerd_headers: raw.add_linkerd_headers,
            bypass_auth: raw.bypass_auth.unwrap_or(false),
            auth_context: raw.auth_context_extensions.unwrap_or_default(),
            labels: labels.filter(|l| !l.is_empty()),
            cors: cors.flatten(),
        })
    }
}

fn read_edits(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Edits> {
    let mut good = true;
    let mut added = |headers: &Option<_>, field: &str| {
        let read = headers.as_ref().map(|h| read_added(h, field, found));
        good &= read.as_ref().is_none_or(Option::is_some);
        read.flatten()
    };
    let add_request = added(&raw.add_request_headers, "spec.add_request_headers");
    let add_response = added(&raw.add_response_headers, "spec.add_response_headers");
    let mut removed = |names: &Option<_>, field: &str| {
        let read = names.as_ref().map(|n| read_removed(n, field, found));
        good &= read.as_ref().is_none_or(Option::is_some);
        read.flatten()
    };
    let remove_request = removed(&raw.remove_request_headers, "spec.remove_request_headers");
    let remove_response = removed(&raw.remove_response_headers, "spec.remove_response_headers");
    good.then_some(Edits { add_request, add_response, remove_request, remove_response })
}

/// Whether it takes the circuit breakers of high priority.
fn read_priority(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<bool> {
    match raw.priority.as_deref() {
        None | Some("" | "default") => Some(false),
        Some("high") => Some(true),
        Some(other) => {
            let text = format!("unknown priority `{other}`");
            found.error("spec.priority", text).hint("default or high");
            None
        }
    }
}

fn read_upgrades(raw: &Raw) -> Vec<String> {
    let mut upgrades = raw.allow_upgrade.clone().unwrap_or_default().0;
    upgrades.retain(|u| !u.is_empty());
    if raw.use_websocket.unwrap_or(false) {
        upgrades.push("websocket".to_owned());
    }
    // Envoy refuses a route that names one twice, whatever the case.
    let mut seen = Vec::new();
    upgrades.retain(|u| {
        let lower = u.to_ascii_lowercase();
        let new = !seen.contains(&lower);
        seen.push(lower);
        new
    });
    upgrades
}

fn read_upstream(raw: &Raw, service: Service, found: &mut Diagnostics<'_>) -> Option<Upstream> {
    let dns = match raw.dns_type.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "strict_dns") => Dns::Strict,
        Some("logical_dns") => Dns::Logical,
        Some(other) => {
            found
                .error("spec.dns_type", format!("unknown dns_type `{other}`; strict_dns is used"))
                .hint("strict_dns or logical_dns");
            Dns::Strict
        }
    };
    let load_balancer = match &raw.load_balancer {
        None => None,
        Some(spec) => Some(spec.read("spec.load_balancer", found)?),
    };
    let breakers = match &raw.circuit_breakers {
        None => None,
        Some(list) => Some(read_breakers(list, "spec.circuit_breakers", found)?),
    };
    let mut ms = |value, field: &str| fields::milliseconds(value, field, found);
    Some(Upstream {
        resolver: raw.resolver.clone().filter(|r| !r.is_empty()),
        load_balancer,
        service,
        tag: raw.cluster_tag.clone().filter(|t| !t.is_empty()),
        stats_name: raw.stats_name.clone().filter(|n| !n.is_empty()),
        grpc: raw.grpc.unwrap_or(false),
        dns,
        respect_dns_ttl: raw.respect_dns_ttl.unwrap_or(false),
        ipv4: raw.enable_ipv4,
        ipv6: raw.enable_ipv6,
        // None at all is not possible; a zero is what converted objects have for unset.
        connect_timeout_ms: ms(raw.connect_timeout_ms, "spec.connect_timeout_ms")?
            .filter(|ms| *ms > 0),
        idle_timeout_ms: ms(raw.cluster_idle_timeout_ms, "spec.cluster_idle_timeout_ms")?,
        max_connection_lifetime_ms: ms(
            raw.cluster_max_connection_lifetime_ms,
            "spec.cluster_max_connection_lifetime_ms",
        )?,
        breakers,
        keepalive: raw.keepalive.as_ref().map(Keepalive::from),
    })
}
