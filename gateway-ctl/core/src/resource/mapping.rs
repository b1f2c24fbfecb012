//! `Mapping`: which requests go to which service, and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use service_kit::{Diagnostics, Object};

use super::fields::{self, Texts, Treatment, Unread};
use super::label::{self, Labels};
use super::service::Service;
use super::traffic::{
    AddHeaderSpec, BreakerSpec, CorsSpec, KeepaliveSpec, RetrySpec, read_added, read_breakers,
    read_removed,
};
use crate::ir::{
    Cors, Dns, HeaderEdit, HostRewrite, Keepalive, PathKind, Redirect, RedirectPath, Retry,
    Rewrite, RouteKey, Threshold, ValueMatch,
};
use crate::syntax::{Hostname, header, regex};

/// Fields that are not read.
pub const UNREAD: Unread = &[
    ("ambassador_id", Treatment::NoEffect),
    ("bypass_error_response_overrides", Treatment::NoEffect),
    ("docs", Treatment::NoEffect),
    ("envoy_override", Treatment::NoEffect),
    ("error_response_overrides", Treatment::Without),
    ("health_checks", Treatment::Without),
    ("load_balancer", Treatment::LeftOut),
    ("modules", Treatment::NoEffect),
    ("outlier_detection", Treatment::Without),
    ("resolver", Treatment::LeftOut),
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
    /// Headers set on requests.
    pub add_request_headers: Option<Vec<HeaderEdit>>,
    /// Headers set on responses.
    pub add_response_headers: Option<Vec<HeaderEdit>>,
    /// Headers removed from requests.
    pub remove_request_headers: Option<Vec<String>>,
    /// Headers removed from responses.
    pub remove_response_headers: Option<Vec<String>>,
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
        let mut ms = |value, field: &str| match fields::milliseconds(value, field, found) {
            Ok(value) => value,
            Err(()) => {
                good = false;
                None
            }
        };
        let timeout_ms = ms(raw.timeout_ms, "spec.timeout_ms");
        let idle_timeout_ms = ms(raw.idle_timeout_ms, "spec.idle_timeout_ms");
        // An inner `None` is what is wrong and reported, an outer one what is not there.
        let mut all = |ok: bool| good &= ok;
        let retry = raw.retry_policy.as_ref().map(|r| r.read("spec.retry_policy", found));
        all(retry.as_ref().is_none_or(Option::is_some));
        let cors = raw.cors.as_ref().map(|c| c.read("spec.cors", found));
        all(cors.as_ref().is_none_or(Option::is_some));
        let added = |headers: &Option<_>, field: &str, found: &mut Diagnostics<'_>| {
            headers.as_ref().map(|h| read_added(h, field, found))
        };
        let add_request = added(&raw.add_request_headers, "spec.add_request_headers", found);
        let add_response = added(&raw.add_response_headers, "spec.add_response_headers", found);
        let removed = |names: &Option<Texts>, field: &str, found: &mut Diagnostics<'_>| {
            names.as_ref().map(|n| read_removed(n, field, found))
        };
        let remove_request =
            removed(&raw.remove_request_headers, "spec.remove_request_headers", found);
        let remove_response =
            removed(&raw.remove_response_headers, "spec.remove_response_headers", found);
        for edits in [&add_request, &add_response] {
            all(edits.as_ref().is_none_or(Option::is_some));
        }
        for names in [&remove_request, &remove_response] {
            all(names.as_ref().is_none_or(Option::is_some));
        }
        let high_priority = match raw.priority.as_deref() {
            None | Some("" | "default") => false,
            Some("high") => true,
            Some(other) => {
                found
                    .error("spec.priority", format!("unknown priority `{other}`"))
                    .hint("default or high");
                all(false);
                false
            }
        };
        let host_rewrite = read_host_rewrite(&raw, found);
        all(host_rewrite.is_some());
        let labels = raw.labels.as_ref().map(|l| label::read_labels(l, "spec.labels", found));
        good.then(|| Self {
            key: Arc::new(key),
            regex_size,
            object_labels: object.labels.clone(),
            target,
            weight: raw.weight,
            upstream,
            rewrite,
            host_rewrite: host_rewrite.unwrap_or(HostRewrite::Keep),
            timeout_ms,
            idle_timeout_ms,
            retry: retry.flatten(),
            upgrades: read_upgrades(&raw),
            high_priority,
            add_request_headers: add_request.flatten(),
            add_response_headers: add_response.flatten(),
            remove_request_headers: remove_request.flatten(),
            remove_response_headers: remove_response.flatten(),
            add_linkerd_headers: raw.add_linkerd_headers,
            bypass_auth: raw.bypass_auth.unwrap_or(false),
            auth_context: raw.auth_context_extensions.unwrap_or_default(),
            labels: labels.filter(|l| !l.is_empty()),
            cors: cors.flatten(),
        })
    }
}

/// Collects conditions and remembers the size of the largest regular expression.
struct Conditions<'f, 'o> {
    found: &'f mut Diagnostics<'o>,
    size: usize,
    good: bool,
}

impl Conditions<'_, '_> {
    fn regex(&mut self, path: &str, pattern: &str) {
        match regex::check(pattern) {
            Ok(size) => self.size = self.size.max(size),
            Err(why) => {
                self.found.error(path, why);
                self.good = false;
            }
        }
    }

    fn check(&mut self, path: &str, result: Result<(), String>) {
        if let Err(why) = result {
            self.found.error(path, why);
            self.good = false;
        }
    }

    fn values(
        &mut self,
        exact: Option<&BTreeMap<String, String>>,
        pattern: Option<&BTreeMap<String, String>>,
        fields: [&str; 2],
        headers: bool,
    ) -> Vec<ValueMatch> {
        let mut values = Vec::new();
        for (map, field, is_regex) in [(exact, fields[0], false), (pattern, fields[1], true)] {
            for (name, value) in map.into_iter().flatten() {
                let path = format!("{field}.{name}");
                if headers {
                    self.check(&path, header::check_match_name(name));
                    self.check(&path, header::check_value(value));
                }
                if is_regex {
                    self.regex(&path, value);
                }
                values.push(ValueMatch {
                    name: if headers { name.to_ascii_lowercase() } else { name.clone() },
                    value: Some(value.clone()),
                    regex: is_regex,
                });
            }
        }
        values
    }
}

fn read_key(raw: &Raw, regex_size: &mut usize, found: &mut Diagnostics<'_>) -> Option<RouteKey> {
    let mut c = Conditions { found, size: 0, good: true };
    let path_kind = match (raw.prefix_regex.unwrap_or(false), raw.prefix_exact.unwrap_or(false)) {
        (true, _) => PathKind::Regex,
        (false, true) => PathKind::Exact,
        (false, false) => PathKind::Prefix,
    };
    if raw.prefix.is_empty() {
        c.check("spec.prefix", Err("a Mapping needs a prefix; `/` fits every path".to_owned()));
    } else if path_kind == PathKind::Regex {
        c.regex("spec.prefix", &raw.prefix);
    } else if !raw.prefix.starts_with('/') {
        c.found
            .warning("spec.prefix", "no path starts like this")
            .hint("let it start with a slash");
    }
    let mut headers = c.values(
        raw.headers.as_ref(),
        raw.regex_headers.as_ref(),
        ["spec.headers", "spec.regex_headers"],
        true,
    );
    let (hostname, hostname_regex) = read_hostname(raw, &mut headers, &mut c);
    if let Some(method) = raw.method.as_ref().filter(|m| !m.is_empty()) {
        let is_regex = raw.method_regex.unwrap_or(false);
        if is_regex {
            c.regex("spec.method", method);
        } else {
            c.check("spec.method", header::check_method(method));
        }
        let value = Some(method.clone());
        headers.push(ValueMatch { name: ":method".to_owned(), value, regex: is_regex });
    }
    let mut query_parameters = c.values(
        raw.query_parameters.as_ref(),
        raw.regex_query_parameters.as_ref(),
        ["spec.query_parameters", "spec.regex_query_parameters"],
        false,
    );
    headers.sort();
    headers.dedup();
    query_parameters.sort();
    *regex_size = c.size;
    if !c.good {
        return None;
    }
    let authority = match (&hostname, &hostname_regex) {
        (None | Some(Hostname::Any), None) => 0,
        (Some(host), _) => ":authority".len() + host.to_string().len(),
        (None, Some(regex)) => ":authority".len() + regex.len() + 1,
    };
    Some(RouteKey {
        precedence: raw.precedence.unwrap_or(0),
        path_len: raw.prefix.len(),
        header_weight: authority + headers.iter().map(ValueMatch::weight).sum::<usize>(),
        query_weight: query_parameters.iter().map(ValueMatch::weight).sum(),
        path: raw.prefix.clone(),
        path_kind,
        case_sensitive: raw.case_sensitive.unwrap_or(true),
        hostname,
        hostname_regex,
        headers,
        query_parameters,
    })
}

/// The host that is matched: `hostname`, else the deprecated `host`, else a condition on the
/// header `:authority`, which works like `host`.
fn read_hostname(
    raw: &Raw,
    headers: &mut Vec<ValueMatch>,
    c: &mut Conditions<'_, '_>,
) -> (Option<Hostname>, Option<String>) {
    let position = headers.iter().position(|h| h.name == ":authority");
    let authority = position.map(|i| headers.remove(i));
    let hostname = raw.hostname.as_deref().filter(|h| !h.is_empty());
    let host = raw.host.as_deref().filter(|h| !h.is_empty());
    if let Some(text) = hostname {
        if host.is_some() {
            c.found.warning("spec.host", "hostname is given, so host has no effect");
        }
        return match Hostname::parse(text) {
            Ok(hostname) => (Some(hostname), None),
            Err(why) => {
                c.check("spec.hostname", Err(why));
                (None, None)
            }
        };
    }
    let (text, is_regex, path) = match (host, authority) {
        (Some(host), _) => (host.to_owned(), raw.host_regex.unwrap_or(false), "spec.host"),
        (None, Some(h)) => (h.value.unwrap_or_default(), h.regex, "spec.headers.:authority"),
        (None, None) => return (None, None),
    };
    if is_regex {
        c.regex(path, &text);
        return (None, Some(text));
    }
    if text.contains('*') {
        let why = format!("`{text}`: an exact host with a `*` cannot match anything");
        c.check(path, Err(why));
        return (None, None);
    }
    match Hostname::parse(&text) {
        Ok(hostname) => (Some(hostname), None),
        Err(why) => {
            c.check(path, Err(why));
            (None, None)
        }
    }
}

/// Reads a pattern and what replaces it.
fn read_regex(
    spec: &RegexSpec,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<(String, String)> {
    let checked = regex::check(&spec.pattern)
        .and_then(|_| regex::check_substitution(&spec.pattern, &spec.substitution));
    match checked {
        Ok(()) => Some((spec.pattern.clone(), spec.substitution.clone())),
        Err(why) => {
            found.error(path, why);
            None
        }
    }
}

fn read_rewrite(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<Rewrite> {
    if let Some(spec) = raw.regex_rewrite.as_ref().filter(|r| !r.pattern.is_empty()) {
        if raw.rewrite.as_ref().is_some_and(|r| r != "/") {
            found.notice("spec.rewrite", "regex_rewrite is given, so rewrite has no effect");
        }
        let (pattern, substitution) = read_regex(spec, "spec.regex_rewrite", found)?;
        return Some(Rewrite::Regex { pattern, substitution });
    }
    let rewrite = raw.rewrite.as_deref().unwrap_or("/");
    if let Err(why) = header::check_value(rewrite) {
        found.error("spec.rewrite", why);
        return None;
    }
    Some(if rewrite.is_empty() { Rewrite::Keep } else { Rewrite::Prefix(rewrite.to_owned()) })
}

fn read_host_rewrite(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<HostRewrite> {
    let literal = raw.host_rewrite.as_deref().filter(|h| !h.is_empty());
    let auto = raw.auto_host_rewrite.unwrap_or(false);
    let Some(literal) = literal else {
        return Some(if auto { HostRewrite::Upstream } else { HostRewrite::Keep });
    };
    if auto {
        found.warning("spec.auto_host_rewrite", "host_rewrite is given, so this has no effect");
    }
    match header::check_value(literal) {
        Ok(()) => Some(HostRewrite::Literal(literal.to_owned())),
        Err(why) => {
            found.error("spec.host_rewrite", why);
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

fn read_target(raw: &Raw, service: &Service, found: &mut Diagnostics<'_>) -> Option<Target> {
    let redirect = raw.host_redirect.unwrap_or(false);
    if raw.shadow.unwrap_or(false) {
        if redirect {
            found.error(
                "spec.host_redirect",
                "at most one of host_redirect and shadow may be set; ignoring host_redirect",
            );
        }
        return Some(Target::Shadow);
    }
    if !redirect {
        return Some(Target::Service);
    }
    let status = match raw.redirect_response_code {
        None => 301,
        Some(code @ (301 | 302 | 303 | 307 | 308)) => code,
        Some(code) => {
            found.error(
                "spec.redirect_response_code",
                format!("invalid redirect_response_code {code}: must be one of 301, 302, 303, 307, 308; 301 is used"),
            );
            301
        }
    };
    let host = match service.port {
        Some(port) if service.host.contains(':') => format!("[{}]:{port}", service.host),
        Some(port) => format!("{}:{port}", service.host),
        None => service.host.clone(),
    };
    let scheme = service.scheme.map(|_| if service.is_tls() { "https" } else { "http" });
    let path = read_redirect_path(raw, found)?;
    Some(Target::Redirect(Redirect { host, scheme, path, status }))
}

/// Path before prefix before regular expression; an error names what is dropped.
fn read_redirect_path(raw: &Raw, found: &mut Diagnostics<'_>) -> Option<RedirectPath> {
    let path = raw.path_redirect.as_deref().filter(|p| !p.is_empty());
    let prefix = raw.prefix_redirect.as_deref().filter(|p| !p.is_empty());
    let regex = raw.regex_redirect.as_ref().filter(|r| !r.pattern.is_empty());
    let given = [
        ("path_redirect", path.is_some()),
        ("prefix_redirect", prefix.is_some()),
        ("regex_redirect", regex.is_some()),
    ];
    let mut given = given.iter().filter(|(_, is)| *is).map(|(name, _)| name);
    if let Some(first) = given.next() {
        for dropped in given {
            found.error(
                format!("spec.{dropped}"),
                format!("Cannot specify both {first} and {dropped}; using {first}"),
            );
        }
    }
    for (field, text) in [("path_redirect", path), ("prefix_redirect", prefix)] {
        if let Some(Err(why)) = text.map(header::check_value) {
            found.error(format!("spec.{field}"), why);
            return None;
        }
    }
    if let Some(path) = path {
        return Some(RedirectPath::Path(path.to_owned()));
    }
    if let Some(prefix) = prefix {
        return Some(RedirectPath::Prefix(prefix.to_owned()));
    }
    match regex {
        None => Some(RedirectPath::Keep),
        Some(spec) => {
            let (pattern, substitution) = read_regex(spec, "spec.regex_redirect", found)?;
            Some(RedirectPath::Regex { pattern, substitution })
        }
    }
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
    let breakers = match &raw.circuit_breakers {
        None => None,
        Some(list) => Some(read_breakers(list, "spec.circuit_breakers", found)?),
    };
    let mut ms = |value, field: &str| fields::milliseconds(value, field, found).ok();
    Some(Upstream {
        service,
        tag: raw.cluster_tag.clone().filter(|t| !t.is_empty()),
        stats_name: raw.stats_name.clone().filter(|n| !n.is_empty()),
        grpc: raw.grpc.unwrap_or(false),
        dns,
        respect_dns_ttl: raw.respect_dns_ttl.unwrap_or(false),
        ipv4: raw.enable_ipv4,
        ipv6: raw.enable_ipv6,
        connect_timeout_ms: ms(raw.connect_timeout_ms, "spec.connect_timeout_ms")?,
        idle_timeout_ms: ms(raw.cluster_idle_timeout_ms, "spec.cluster_idle_timeout_ms")?,
        max_connection_lifetime_ms: ms(
            raw.cluster_max_connection_lifetime_ms,
            "spec.cluster_max_connection_lifetime_ms",
        )?,
        breakers,
        keepalive: raw.keepalive.as_ref().map(Keepalive::from),
    })
}
