//! Clusters: where requests go.

use super::ClientTls;
use super::balance::{Hosts, Policy};
use super::health::{HealthCheck, OutlierDetection};

/// How the hosts of a cluster are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dns {
    /// Every address of the name.
    Strict,
    /// One address of the name at a time.
    Logical,
}

/// TCP keepalive; what is not set is the operating system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keepalive {
    /// Probes without an answer until the connection is dead.
    pub probes: Option<u32>,
    /// Seconds of silence until the first probe.
    pub idle_time: Option<u32>,
    /// Seconds between probes.
    pub interval: Option<u32>,
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold {
    /// `default` (`false`) or `high`, if it was written.
    pub high: Option<bool>,
    /// Connections.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests in flight.
    pub max_requests: Option<u32>,
    /// Retries in flight.
    pub max_retries: Option<u32>,
}

/// A cluster but for its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster {
    /// Its name in statistics.
    pub stats_name: String,
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How connections are TLS; none: they are not.
    pub tls: Option<ClientTls>,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// How hosts are found, where they are not endpoints.
    pub dns: Dns,
    /// Where the hosts come from; none: from DNS.
    pub endpoints: Option<Hosts>,
    /// How hosts are chosen.
    pub policy: Policy,
    /// Whether addresses are kept as long as DNS says.
    pub respect_dns_ttl: bool,
    /// IPv4 addresses are used.
    pub ipv4: bool,
    /// IPv6 addresses are used.
    pub ipv6: bool,
    /// Until connecting is given up.
    pub connect_timeout_ms: u64,
    /// Until an idle connection is closed.
    pub idle_timeout_ms: Option<u64>,
    /// Until any connection is closed.
    pub max_connection_lifetime_ms: Option<u64>,
    /// Circuit breakers.
    pub thresholds: Vec<Threshold>,
    /// TCP keepalive.
    pub keepalive: Option<Keepalive>,
    /// How it is found out which hosts are healthy.
    pub health_checks: Vec<HealthCheck>,
    /// When a host is left out because of its answers.
    pub outlier_detection: Option<OutlierDetection>,
}
