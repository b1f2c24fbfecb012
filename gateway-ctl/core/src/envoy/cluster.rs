//! `envoy.config.cluster.v3.Cluster`

use std::collections::BTreeSet;

use prost::Message as _;
use proto::envoy::config::cluster::v3 as cluster;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::endpoint::v3 as endpoint;
use proto::envoy::extensions::upstreams::http::v3 as upstream;

use super::{any, milliseconds, socket_address};
use crate::ir::balance::Policy;
use crate::ir::health::OutlierDetection;
use crate::ir::{Cluster, Dns, Threshold};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Encodes a cluster under a name.
// `respect_dns_ttl` has moved into the DNS cluster extension, where older Envoys do not look.
#[allow(deprecated)]
pub fn encode(name: &str, ir: &Cluster) -> Vec<u8> {
    use cluster::cluster::LbPolicy;
    use cluster::cluster::{ClusterDiscoveryType, DiscoveryType, DnsLookupFamily};
    let discovery = match (&ir.endpoints, ir.dns) {
        (Some(_), _) => DiscoveryType::Eds,
        (None, Dns::Strict) => DiscoveryType::StrictDns,
        (None, Dns::Logical) => DiscoveryType::LogicalDns,
    };
    let policy = match ir.policy {
        Policy::RoundRobin => LbPolicy::RoundRobin,
        Policy::LeastRequest => LbPolicy::LeastRequest,
        Policy::RingHash => LbPolicy::RingHash,
        Policy::Maglev => LbPolicy::Maglev,
    };
    let family = match (ir.ipv4, ir.ipv6) {
        (true, true) => DnsLookupFamily::Auto,
        (false, true) => DnsLookupFamily::V6Only,
        _ => DnsLookupFamily::V4Only,
    };
    let breakers = (!ir.thresholds.is_empty()).then(|| cluster::CircuitBreakers {
        thresholds: ir.thresholds.iter().map(threshold).collect(),
        ..cluster::CircuitBreakers::default()
    });
    let keepalive = ir.keepalive.map(|k| cluster::UpstreamConnectionOptions {
        tcp_keepalive: Some(core::TcpKeepalive {
            keepalive_probes: k.probes,
            keepalive_time: k.idle_time,
            keepalive_interval: k.interval,
        }),
        ..cluster::UpstreamConnectionOptions::default()
    });
    let mut message = cluster::Cluster {
        name: name.to_owned(),
        alt_stat_name: ir.stats_name.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        connect_timeout: Some(milliseconds(ir.connect_timeout_ms)),
        eds_cluster_config: ir.endpoints.as_ref().map(|backend| {
            cluster::cluster::EdsClusterConfig {
                eds_config: Some(super::ads()),
                service_name: backend.to_string(),
            }
        }),
        lb_policy: policy.into(),
        load_assignment: ir
            .endpoints
            .is_none()
            .then(|| load_assignment(name, [(&*ir.host, ir.port)])),
        circuit_breakers: breakers,
        respect_dns_ttl: ir.respect_dns_ttl,
        dns_lookup_family: family.into(),
        upstream_connection_options: keepalive,
        health_checks: super::health_check::of_cluster(ir),
        outlier_detection: ir.outlier_detection.map(outliers),
        // Which host is out is then among Envoy's statistics; where none can be it would be only numbers.
        track_cluster_stats: (!ir.health_checks.is_empty() || ir.outlier_detection.is_some()).then(
            || cluster::TrackClusterStats {
                per_endpoint_stats: true,
                ..cluster::TrackClusterStats::default()
            },
        ),
        // A host that is no endpoint any longer is gone, however healthy it looks.
        ignore_health_on_host_removal: !ir.health_checks.is_empty(),
        transport_socket: ir.tls.as_ref().map(|tls| super::tls::client(tls, &ir.host)),
        ..cluster::Cluster::default()
    };
    set_protocol(&mut message, ir);
    message.encode_to_vec()
}

/// HTTP/2 and time limits. Envoy reads the limits from one of two places.
#[allow(deprecated)]
fn set_protocol(message: &mut cluster::Cluster, ir: &Cluster) {
    let limited = ir.idle_timeout_ms.is_some() || ir.max_connection_lifetime_ms.is_some();
    let common = limited.then(|| core::HttpProtocolOptions {
        idle_timeout: ir.idle_timeout_ms.map(milliseconds),
        max_connection_duration: ir
            .max_connection_lifetime_ms
            .filter(|ms| *ms > 0)
            .map(milliseconds),
        ..core::HttpProtocolOptions::default()
    });
    if !ir.http2 {
        message.common_http_protocol_options = common;
        return;
    }
    use upstream::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    };
    let options = upstream::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
                    core::Http2ProtocolOptions::default(),
                )),
            },
        )),
        ..upstream::HttpProtocolOptions::default()
    };
    message
        .typed_extension_protocol_options
        .insert(HTTP_OPTIONS.to_owned(), any(HTTP_OPTIONS, &options));
}

fn outliers(o: OutlierDetection) -> cluster::OutlierDetection {
    cluster::OutlierDetection {
        consecutive_5xx: o.consecutive_5xx,
        consecutive_gateway_failure: o.consecutive_gateway_failure,
        // Envoy only counts these unless it is told to act.
        enforcing_consecutive_gateway_failure: o.consecutive_gateway_failure.map(|_| 100),
        interval: o.interval_ms.map(milliseconds),
        base_ejection_time: o.base_ejection_ms.map(milliseconds),
        max_ejection_time: o.max_ejection_ms.map(milliseconds),
        max_ejection_percent: o.max_ejection_percent,
        ..cluster::OutlierDetection::default()
    }
}

fn threshold(t: &Threshold) -> cluster::circuit_breakers::Thresholds {
    let priority = match t.high {
        Some(true) => core::RoutingPriority::High,
        _ => core::RoutingPriority::Default,
    };
    cluster::circuit_breakers::Thresholds {
        priority: priority.into(),
        max_connections: t.max_connections,
        max_pending_requests: t.max_pending_requests,
        max_requests: t.max_requests,
        max_retries: t.max_retries,
        ..cluster::circuit_breakers::Thresholds::default()
    }
}

/// Encodes the endpoints of an EDS name.
pub fn assignment(name: &str, hosts: &BTreeSet<(String, u16)>) -> Vec<u8> {
    load_assignment(name, hosts.iter().map(|(host, port)| (host.as_str(), *port))).encode_to_vec()
}

fn load_assignment<'a>(
    name: &str,
    hosts: impl IntoIterator<Item = (&'a str, u16)>,
) -> endpoint::ClusterLoadAssignment {
    let lb_endpoint = |(host, port)| {
        let endpoint = endpoint::Endpoint {
            address: Some(socket_address(host, port)),
            ..endpoint::Endpoint::default()
        };
        endpoint::LbEndpoint {
            host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..endpoint::LbEndpoint::default()
        }
    };
    let lb_endpoints: Vec<_> = hosts.into_iter().map(lb_endpoint).collect();
    let locality =
        endpoint::LocalityLbEndpoints { lb_endpoints, ..endpoint::LocalityLbEndpoints::default() };
    endpoint::ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: if locality.lb_endpoints.is_empty() { Vec::new() } else { vec![locality] },
        ..endpoint::ClusterLoadAssignment::default()
    }
}
