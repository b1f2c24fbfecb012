//! `Mapping`: which requests go to which service, and how.

mod matching;
mod target;
mod unread;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{Diagnostics, Object};

use self::matching::read_key;
use self::target::{read_host_rewrite, read_rewrite, read_target};
pub use self::unread::UNREAD;
use super::error_page::{self, ErrorPageSpec};
use super::fields::{self, Texts};
use super::health_check::{self, HealthCheckSpec};
use super::label::{self, Labels};
use super::load_balancer::LoadBalancerSpec;
use super::outlier_detection;
use super::service::Service;
use super::service::read_tls_name;
use super::traffic::{
    AddHeaderSpec, BreakerSpec, CorsSpec, KeepaliveSpec, RetrySpec, read_added, read_breakers,
    read_removed,
};
use crate::ir::balance::LoadBalancer;
use crate::ir::error_page::ErrorPages;
use crate::ir::health::{HealthCheck, OutlierDetection};
use crate::ir::{
    Cors, Dns, HeaderEdit, HostRewrite, Keepalive, Redirect, Retry, Rewrite, RouteKey, Threshold,
};
use crate::syntax::header;

/// Routes requests to a service.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {
    /// Start of the paths that are matched; with `prefix_exact` the whole path, with `prefix_regex`
    /// a regular expression.
    #[schemars(length(min = 1))]
    prefix: String,
    /// Whether `prefix` is the whole path. Default: false.
    prefix_exact: Option<bool>,
    /// Whether `prefix` is a regular expression (RE2) of the whole path. Default: false.
    prefix_regex: Option<bool>,
    /// Whether `prefix` ends where an element of the path ends: `/a` then matches `/a` and `/a/b`, and
    /// not `/ab`. Default: false.
    prefix_separated: Option<bool>,
    /// Whether the case of the path matters. Default: true.
    case_sensitive: Option<bool>,
    /// What takes the place of the prefix; an empty text keeps the path. Default: `/`.
    rewrite: Option<String>,
    /// Replaces what a pattern finds in the path; goes before `rewrite`.
    regex_rewrite: Option<RegexSpec>,
    /// Glob of the hosts that are matched: `*`, `*.example.org`, `www.*` or a whole name.
    hostname: Option<String>,
    /// Deprecated, use `hostname`: the host, or with `host_regex` a regular expression of it.
    host: Option<String>,
    /// Deprecated: whether `host` is a regular expression. Default: false.
    host_regex: Option<bool>,
    /// The method that is matched. Default: any.
    method: Option<String>,
    /// Whether `method` is a regular expression. Default: false.
    method_regex: Option<bool>,
    /// Headers that a request must have, with their exact values; `true` is any value.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    headers: Option<BTreeMap<String, String>>,
    /// Headers that a request must have, with regular expressions of their whole values.
    regex_headers: Option<BTreeMap<String, String>>,
    /// Query parameters that a request must have, with their exact values; `true` is any value.
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    query_parameters: Option<BTreeMap<String, String>>,
    /// Query parameters that a request must have, with regular expressions of their whole values.
    regex_query_parameters: Option<BTreeMap<String, String>>,
    /// Mappings with a higher one are looked at first. Default: 0.
    precedence: Option<i64>,
    /// Where requests go: `[http://|https://]host[:port]`; for `host_redirect` the host clients are
    /// sent to.
    #[schemars(length(min = 1))]
    service: String,
    /// How the hosts of the service are found: `kubernetes-service`, `endpoint` or the name of a
    /// resolver. Default: `kubernetes-service`.
    resolver: Option<String>,
    /// How a host of the service is chosen; needs a resolver of endpoints. Default: in turn.
    load_balancer: Option<LoadBalancerSpec>,
    /// Share of the requests, percent; Mappings that match the same without one share the rest.
    weight: Option<u32>,
    /// Whether the service only gets a copy of the requests; its answers are dropped. Default:
    /// false.
    shadow: Option<bool>,
    /// Whether clients are sent to the host in `service` instead. Default: false.
    host_redirect: Option<bool>,
    /// With `host_redirect`: the path clients are sent to.
    path_redirect: Option<String>,
    /// With `host_redirect`: what takes the place of the prefix.
    prefix_redirect: Option<String>,
    /// With `host_redirect`: replaces what a pattern finds in the path.
    regex_redirect: Option<RegexSpec>,
    /// With `host_redirect`: the status of the answer. Default: 301.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    redirect_response_code: Option<u32>,
    /// Milliseconds until the whole request is given up; 0 is never. Default: the Module's
    /// `cluster_request_timeout_ms`, else 3000.
    timeout_ms: Option<u64>,
    /// Milliseconds until a silent stream is given up; 0 is never. Default: five minutes.
    idle_timeout_ms: Option<u64>,
    /// Milliseconds until connecting to the service is given up. Default: 3000.
    connect_timeout_ms: Option<u64>,
    /// Milliseconds until an idle connection to the service is closed. Default: the Module's, else
    /// an hour.
    cluster_idle_timeout_ms: Option<u64>,
    /// Milliseconds until any connection to the service is closed. Default: the Module's, else
    /// never.
    cluster_max_connection_lifetime_ms: Option<u64>,
    /// The host the service sees. Default: the client's.
    host_rewrite: Option<String>,
    /// Whether the service sees its own name as host. Default: false.
    auto_host_rewrite: Option<bool>,
    /// Headers that are set on requests, by name. Default: the Module's.
    add_request_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    /// Headers that are set on responses, by name. Default: the Module's.
    add_response_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    /// Headers that are removed from requests. Default: the Module's.
    remove_request_headers: Option<Texts>,
    /// Headers that are removed from responses. Default: the Module's.
    remove_response_headers: Option<Texts>,
    /// Whether requests carry `l5d-dst-override` for Linkerd. Default: the Module's, else false.
    add_linkerd_headers: Option<bool>,
    /// Protocols that a connection may change to, as in `websocket`.
    allow_upgrade: Option<Texts>,
    /// Deprecated, use `allow_upgrade`: allows `websocket`. Default: false.
    use_websocket: Option<bool>,
    /// Whether the AuthService is not asked. Default: false.
    bypass_auth: Option<bool>,
    /// Names and values that are told to the AuthService.
    auth_context_extensions: Option<BTreeMap<String, String>>,
    /// What the RateLimitService is told, by domain: a list of groups, each a name with a list of
    /// specifiers.
    #[schemars(with = "Option<label::LabelsSpec>")]
    labels: Option<Value>,
    /// Which other origins browsers may ask from. Default: the Module's.
    cors: Option<CorsSpec>,
    /// When a request is tried again. Default: the Module's.
    retry_policy: Option<RetrySpec>,
    /// Limits of what is under way to the service, by priority. Default: the Module's.
    circuit_breakers: Option<Vec<BreakerSpec>>,
    /// `default` or `high`: which circuit breakers count. Default: `default`.
    priority: Option<String>,
    /// Whether the service is spoken to in HTTP/2. Default: false.
    grpc: Option<bool>,
    /// TCP keepalive of connections to the service. Default: the Module's.
    keepalive: Option<KeepaliveSpec>,
    /// `strict_dns` (every address of the name is used) or `logical_dns` (the first). Default:
    /// `strict_dns`.
    dns_type: Option<String>,
    /// Whether addresses are kept as long as DNS says. Default: false.
    respect_dns_ttl: Option<bool>,
    /// Whether the service is reached over IPv4. Default: the Module's, else true.
    enable_ipv4: Option<bool>,
    /// Whether the service is reached over IPv6. Default: the Module's, else false.
    enable_ipv6: Option<bool>,
    /// How it is found out which addresses of the service may be used; needs a resolver of
    /// endpoints.
    health_checks: Option<Vec<HealthCheckSpec>>,
    /// When a host of the service is left out for a while because of its answers:
    /// `consecutive_5xx` (in a row; 5 when absent), `consecutive_gateway_failure` (502, 503 and 504 in
    /// a row), `interval` (10s), `base_ejection_time` (30s), `max_ejection_time` (300s) and
    /// `max_ejection_percent` (10), as Envoy has them.
    outlier_detection: Option<Value>,
    /// Name of the service in statistics. Default: the service with `_` for every other character.
    stats_name: Option<String>,
    /// Keeps connections apart from those of other Mappings with the same service.
    cluster_tag: Option<String>,
    /// Name of the TLSContext that connections to the service use.
    #[schemars(with = "Option<Value>")]
    tls: Option<String>,
    /// Other bodies for errors, whether the service or the gateway answers; the Module's have no
    /// effect then. Other headers of the answer are not kept.
    error_response_overrides: Option<Vec<ErrorPageSpec>>,
    /// Whether errors keep their bodies although the Module has others. Default: false.
    bypass_error_response_overrides: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct RegexSpec {
    /// Regular expression (RE2).
    #[serde(default)]
    pattern: String,
    /// What takes its place; `\1` is what the first group matched.
    #[serde(default)]
    substitution: String,
}

/// The schema of `spec`.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, unread::Fields>(generator, UNREAD)
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
    /// The TLSContext of connections to the service.
    pub tls: Option<String>,
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
    /// Health checks.
    pub health_checks: Vec<HealthCheck>,
    /// When a host is left out because of its answers.
    pub outlier_detection: Option<OutlierDetection>,
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
    /// Bodies of errors.
    pub error_pages: ErrorPages,
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
        let rewrite = read_rewrite(&raw, &key, found);
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
        let error_pages = read_error_pages(&raw, found);
        let labels = raw.labels.as_ref().map(|l| label::read_labels(l, "spec.labels", found));
        let upgrades = read_upgrades(&raw, found);
        let (Some(edits), Some(high_priority), Some(host_rewrite), Some(upgrades), true) =
            (edits, high_priority, host_rewrite, upgrades, good)
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
            upgrades,
            high_priority,
            edits,
            add_linkerd_headers: raw.add_linkerd_headers,
            bypass_auth: raw.bypass_auth.unwrap_or(false),
            auth_context: raw.auth_context_extensions.unwrap_or_default(),
            labels: labels.filter(|l| !l.is_empty()),
            cors: cors.flatten(),
            error_pages,
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

fn read_error_pages(raw: &Raw, found: &mut Diagnostics<'_>) -> ErrorPages {
    let path = "spec.error_response_overrides";
    let list = raw.error_response_overrides.as_deref().unwrap_or_default();
    if !list.is_empty() {
        if raw.bypass_error_response_overrides == Some(true) {
            let text = "this Mapping has bodies of its own, so this has no effect";
            found.notice("spec.bypass_error_response_overrides", text);
        }
        let pages = error_page::read(list, path, found);
        // Envoy refuses a route with an empty list of its own.
        return if pages.is_empty() { ErrorPages::Kept } else { ErrorPages::Own(pages) };
    }
    match raw.bypass_error_response_overrides {
        Some(true) => ErrorPages::Kept,
        _ => ErrorPages::Common,
    }
}

fn read_upgrades(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Vec<String>> {
    let mut upgrades = raw.allow_upgrade.clone().unwrap_or_default().0;
    upgrades.retain(|u| !u.is_empty());
    for upgrade in &upgrades {
        if let Err(why) = header::check_upgrade(upgrade) {
            found.error("spec.allow_upgrade", why).hint("a protocol, as in `websocket`");
            return None;
        }
    }
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
    Some(upgrades)
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
    let health_checks = match &raw.health_checks {
        None => Vec::new(),
        Some(list) => health_check::read(list, "spec.health_checks", found)?,
    };
    let tls = read_tls_name(raw.tls.clone(), &service, "spec.service", found);
    let mut ms = |value, field: &str| fields::milliseconds(value, field, found);
    Some(Upstream {
        resolver: raw.resolver.clone().filter(|r| !r.is_empty()),
        load_balancer,
        tls,
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
        health_checks,
        outlier_detection: outlier_detection::read(
            raw.outlier_detection.as_ref(),
            "spec.outlier_detection",
            found,
        ),
    })
}
