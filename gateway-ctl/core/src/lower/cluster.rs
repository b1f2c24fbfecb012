//! The cluster of a Mapping or service, and its name.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::resolver::Resolved;
use super::tls::Lookup;
use crate::ir::balance::{HashOn, LoadBalancer, Policy};
use crate::ir::{ClientTls, Cluster, HostRewrite, Threshold};
use crate::resource::TcpMapping;
use crate::resource::mapping::{Mapping, Target};
use crate::resource::module::MappingDefaults;
use crate::resource::service::Service;

/// Until connecting is given up, unless the Mapping says otherwise.
const CONNECT_TIMEOUT_MS: u64 = 3000;
/// Longer names are cut and made unique by a hash.
const MAX_NAME: usize = 60;
const KEPT_OF_LONG_NAME: usize = 40;

/// What an object wants of a cluster: the name that people know, and all of its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name, unless another object with other settings has it.
    pub base: String,
    /// The settings.
    pub cluster: Arc<Cluster>,
    /// What of a request chooses the host.
    pub hash_on: Option<HashOn>,
    /// Whether another cluster with other settings takes the place of this one under another name.
    /// Calls of Envoy's own to a cluster that is made anew under its name break off; requests do not.
    pub renamed_by_settings: bool,
}

impl Claim {
    /// `host:port`, as Linkerd wants to be told where a request goes.
    pub fn destination(&self) -> String {
        let Cluster { host, port, .. } = &*self.cluster;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// What a name is made of.
#[derive(Clone, Copy)]
struct Name<'a> {
    marker: Option<&'a str>,
    service: &'a str,
    /// The TLSContext where connections are TLS; empty where none is named.
    tls: Option<&'a str>,
    host_rewrite: Option<&'a str>,
    namespace: &'a str,
    breakers: &'a [Threshold],
    /// How hosts are chosen, where that is written.
    balance: Option<&'a LoadBalancer>,
}

/// How a service is connected to where its object names a TLSContext, or https; none: in the clear.
///
/// # Errors
/// Why the TLSContext cannot be used.
pub fn origin(
    lookup: &Lookup<'_>,
    context: Option<&str>,
    service: &Service,
    namespace: &str,
) -> Result<Option<ClientTls>, String> {
    match context {
        Some(name) => lookup.originate(name, namespace).map(Some),
        None => Ok(service.is_tls().then(ClientTls::default)),
    }
}

/// The written port, else the usual one.
fn port(service: &Service, tls: Option<&ClientTls>) -> u16 {
    service.port.unwrap_or(if tls.is_some() { 443 } else { 80 })
}

/// With the name that is asked for where the TLSContext has none.
fn with_name(tls: Option<ClientTls>, host_rewrite: Option<&str>, host: &str) -> Option<ClientTls> {
    let mut tls = tls?;
    tls.server_name = tls.server_name.or_else(|| server_name(host_rewrite, host));
    Some(tls)
}

/// The cluster of a Mapping in `namespace`, whose hosts are found as `resolved` says, and which are
/// connected to as `tls` says; none for a redirect.
pub fn of_mapping(
    mapping: &Mapping,
    resolved: Resolved,
    tls: Option<ClientTls>,
    namespace: &str,
    own_namespace: &str,
    defaults: &MappingDefaults,
) -> Option<Claim> {
    let shadow = match mapping.target {
        Target::Redirect(_) => return None,
        Target::Shadow => true,
        Target::Service => false,
    };
    let up = &mapping.upstream;
    let qualifies =
        resolved.in_kubernetes && namespace != own_namespace && !defaults.unqualified_services;
    let (host, text) = if qualifies {
        up.service.qualified(namespace)
    } else {
        (up.service.host.clone(), up.service.text.clone())
    };
    let host_rewrite = match &mapping.host_rewrite {
        HostRewrite::Literal(name) if tls.is_some() => Some(name.as_str()),
        _ => None,
    };
    let thresholds = up.breakers.as_ref().unwrap_or(&defaults.breakers).clone();
    let marker = if shadow { Some("shadow") } else { up.tag.as_deref() };
    let endpoints = resolved.hosts;
    let load_balancer = up.load_balancer.as_ref().or(defaults.load_balancer.as_ref());
    let health_checks = if endpoints.is_some() { up.health_checks.clone() } else { Vec::new() };
    let name = Name {
        marker,
        service: &text,
        tls: tls.is_some().then(|| named(up.tls.as_deref(), &up.service)),
        host_rewrite,
        namespace,
        breakers: &thresholds,
        balance: load_balancer,
    };
    let stats_name = up.stats_name.clone().or_else(|| defaults.stats_name.clone());
    Some(Claim {
        base: name.render(),
        cluster: Arc::new(Cluster {
            stats_name: stats_name.unwrap_or_else(|| default_stats_name(&text)),
            port: port(&up.service, tls.as_ref()),
            tls: with_name(tls, host_rewrite, &host),
            host,
            http2: up.grpc,
            dns: up.dns,
            endpoints,
            policy: load_balancer.map_or(Policy::default(), |l| l.policy),
            respect_dns_ttl: up.respect_dns_ttl,
            ipv4: up.ipv4.unwrap_or(defaults.ipv4),
            ipv6: up.ipv6.unwrap_or(defaults.ipv6),
            connect_timeout_ms: up.connect_timeout_ms.unwrap_or(CONNECT_TIMEOUT_MS),
            idle_timeout_ms: up.idle_timeout_ms.or(defaults.cluster_idle_timeout_ms),
            max_connection_lifetime_ms: up
                .max_connection_lifetime_ms
                .or(defaults.cluster_max_connection_lifetime_ms),
            thresholds,
            keepalive: up.keepalive.or(defaults.keepalive),
            health_checks,
            outlier_detection: up.outlier_detection,
        }),
        hash_on: load_balancer.and_then(|l| l.hash_on.clone()),
        renamed_by_settings: false,
    })
}

/// A service that Envoy asks about requests.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What sets its cluster apart from that of a Mapping to the same service.
    pub marker: Option<&'a str>,
    /// Where it is.
    pub service: &'a Service,
    /// Whether it is asked over gRPC.
    pub grpc: bool,
    /// Name in statistics.
    pub stats_name: Option<&'a String>,
    /// Circuit breakers.
    pub breakers: Option<&'a Vec<Threshold>>,
    /// Whether it is of this installation, and has a certificate of its CA.
    pub own_tls: bool,
    /// The TLSContext that it names.
    pub tls: Option<&'a str>,
}

/// The cluster of a service that Envoy asks, for an object in `namespace`.
pub fn of_service(
    asked: Asked<'_>,
    resolved: Resolved,
    tls: Option<ClientTls>,
    namespace: &str,
    own_namespace: &str,
    defaults: &MappingDefaults,
) -> Claim {
    let service = asked.service;
    let thresholds = asked.breakers.unwrap_or(&defaults.breakers).clone();
    let tls = match (asked.tls, asked.own_tls) {
        (None, true) => tls.map(|tls| ClientTls { own: true, ..tls }),
        _ => tls,
    };
    let load_balancer = defaults.load_balancer.as_ref();
    let name = Name {
        marker: asked.marker,
        service: &service.text,
        tls: tls.is_some().then(|| named(asked.tls, service)),
        host_rewrite: None,
        namespace,
        breakers: &thresholds,
        balance: load_balancer,
    };
    let qualifies =
        resolved.in_kubernetes && namespace != own_namespace && !defaults.unqualified_services;
    let host = if qualifies { service.qualified(namespace).0 } else { service.host.clone() };
    let usual_stats_name = default_stats_name(&service.text);
    let usual = MappingDefaults::default();
    // All that is neither the same everywhere nor in the name already.
    let is_usual = asked.stats_name.is_none_or(|name| *name == usual_stats_name)
        && tls.as_ref().is_none_or(|tls| *tls == ClientTls::default())
        && (defaults.ipv4, defaults.ipv6) == (usual.ipv4, usual.ipv6);
    Claim {
        base: name.render(),
        renamed_by_settings: !is_usual,
        cluster: Arc::new(Cluster {
            stats_name: asked.stats_name.cloned().unwrap_or(usual_stats_name),
            port: port(service, tls.as_ref()),
            tls: with_name(tls, None, &host),
            host,
            http2: asked.grpc,
            dns: crate::ir::Dns::Strict,
            endpoints: resolved.hosts,
            policy: load_balancer.map_or(Policy::default(), |l| l.policy),
            respect_dns_ttl: false,
            ipv4: defaults.ipv4,
            ipv6: defaults.ipv6,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            idle_timeout_ms: None,
            max_connection_lifetime_ms: None,
            thresholds,
            keepalive: None,
            health_checks: Vec::new(),
            outlier_detection: None,
        }),
        hash_on: None,
    }
}

/// The cluster of a TCPMapping in `namespace`.
pub fn of_tcp(
    mapping: &TcpMapping,
    resolved: Resolved,
    tls: Option<ClientTls>,
    namespace: &str,
    own_namespace: &str,
    defaults: &MappingDefaults,
) -> Claim {
    let qualifies =
        resolved.in_kubernetes && namespace != own_namespace && !defaults.unqualified_services;
    let service = &mapping.service;
    let (host, text) = if qualifies {
        service.qualified(namespace)
    } else {
        (service.host.clone(), service.text.clone())
    };
    let thresholds = mapping.breakers.as_ref().unwrap_or(&defaults.breakers).clone();
    let name = Name {
        marker: mapping.tag.as_deref(),
        service: &text,
        tls: tls.is_some().then(|| named(mapping.tls.as_deref(), service)),
        host_rewrite: None,
        namespace,
        breakers: &thresholds,
        balance: defaults.load_balancer.as_ref(),
    };
    let asked = Asked {
        marker: None,
        service,
        grpc: false,
        stats_name: mapping.stats_name.as_ref(),
        breakers: Some(&thresholds),
        own_tls: false,
        tls: mapping.tls.as_deref(),
    };
    let base = name.render();
    let claim = of_service(asked, resolved, tls, namespace, own_namespace, defaults);
    let cluster = Cluster {
        stats_name: mapping.stats_name.clone().unwrap_or_else(|| default_stats_name(&text)),
        tls: with_name(claim.cluster.tls.clone(), None, &host),
        host,
        ipv4: mapping.ipv4.unwrap_or(defaults.ipv4),
        ipv6: mapping.ipv6.unwrap_or(defaults.ipv6),
        keepalive: defaults.keepalive,
        ..Cluster::clone(&claim.cluster)
    };
    let cluster = Arc::new(cluster);
    Claim { base, cluster, hash_on: None, renamed_by_settings: false }
}

/// The name that is asked for in TLS: what the host is rewritten to, else the host's own.
fn server_name(host_rewrite: Option<&str>, host: &str) -> Option<String> {
    let name = host_rewrite.map_or(host, |h| h.split(':').next().unwrap_or(h));
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    (!is_address && !name.is_empty() && name.len() < 256).then(|| name.to_owned())
}

/// The service without its scheme, as a word.
fn default_stats_name(service: &str) -> String {
    let bare = service.split_once("://").map_or(service, |(_, rest)| rest);
    word(bare)
}

fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

impl Name<'_> {
    fn render(&self) -> String {
        let mut parts = vec!["cluster".to_owned()];
        parts.extend(self.marker.map(str::to_owned));
        parts.push(self.service.to_owned());
        if let Some(context) = self.tls {
            parts.push("otls".to_owned());
            parts.extend((!context.is_empty()).then(|| context.to_owned()));
        }
        parts.extend(self.host_rewrite.map(|h| format!("hr-{h}")));
        parts.push(self.namespace.to_owned());
        parts.extend(self.breakers.iter().map(breaker_name));
        parts.extend(self.balance.map(|lb| format!("er_{}", balance_name(lb))));
        shorten(word(&parts.join("_")))
    }
}

/// The TLSContext as a name has it: only where the service is written without a scheme.
fn named<'a>(context: Option<&'a str>, service: &Service) -> &'a str {
    context.filter(|_| service.scheme.is_none()).unwrap_or_default()
}

fn balance_name(lb: &LoadBalancer) -> String {
    let policy = lb.policy.as_str();
    match &lb.hash_on {
        None => policy.to_owned(),
        Some(HashOn::Header(name)) => format!("{policy}_hdr_{name}"),
        Some(HashOn::Cookie { name, .. }) => format!("{policy}_cookie_{name}"),
        Some(HashOn::SourceIp) => format!("{policy}_srcip"),
    }
}

fn breaker_name(threshold: &Threshold) -> String {
    let mut name = String::from(match threshold.high {
        None => "cbn",
        Some(false) => "cbd",
        Some(true) => "cbh",
    });
    for (letter, value) in [
        ('c', threshold.max_connections),
        ('p', threshold.max_pending_requests),
        ('r', threshold.max_requests),
        ('t', threshold.max_retries),
    ] {
        if let Some(value) = value {
            name.push(letter);
            name += &value.to_string();
        }
    }
    name
}

fn shorten(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    let hash = sha1_smol::Sha1::from(&name).digest().to_string().to_ascii_uppercase();
    let head: String = name.chars().take(KEPT_OF_LONG_NAME).collect();
    let hash: String = hash.chars().take(16).collect();
    format!("{head}-{hash}-0")
}

/// The name of a cluster whose base name another one has, or may have: what differs is in the hash, so
/// that a changed setting makes another cluster and the old one serves until the new one is warm.
pub fn variant_name(base: &str, encoded: &[u8]) -> String {
    let hash = Sha256::digest(encoded);
    let hash: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{base}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(service: &str, namespace: &str) -> String {
        Name {
            marker: None,
            service,
            tls: None,
            host_rewrite: None,
            namespace,
            breakers: &[],
            balance: None,
        }
        .render()
    }

    #[test]
    fn names_are_those_that_dashboards_know() {
        let breakers = [
            Threshold {
                max_connections: Some(5),
                max_pending_requests: Some(6),
                ..Threshold::default()
            },
            Threshold {
                high: Some(true),
                max_requests: Some(7),
                max_retries: Some(8),
                ..Threshold::default()
            },
        ];
        let service = "one:8000";
        let with_breakers = Name {
            marker: None,
            service,
            tls: None,
            host_rewrite: None,
            namespace: "default",
            breakers: &breakers,
            balance: None,
        };
        assert_eq!(with_breakers.render(), "cluster_one_8000_default_cbnc5p6_cbhr7t8");
        let by_header = LoadBalancer {
            policy: Policy::Maglev,
            hash_on: Some(HashOn::Header("x-id".to_owned())),
        };
        assert_eq!(
            Name { balance: Some(&by_header), ..with_breakers }.render(),
            "cluster_one_8000_default_cbnc5p6_cbhr7t8_er_maglev_hdr_x_id"
        );
        let tagged = Name {
            marker: Some("blue"),
            service: "two.other:8000",
            breakers: &[],
            ..with_breakers
        };
        assert_eq!(tagged.render(), "cluster_blue_two_other_8000_default");
        assert_eq!(name("four.team-y", "team-y"), "cluster_four_team_y_team_y");
    }

    #[test]
    fn long_names_are_cut_and_stay_unique() {
        let a = name(&"a".repeat(80), "default");
        let b = name(&"a".repeat(81), "default");
        assert_eq!(a.len(), 40 + 1 + 16 + 2);
        assert_ne!(a, b);
        assert!(a.ends_with("-0"));
    }
}
