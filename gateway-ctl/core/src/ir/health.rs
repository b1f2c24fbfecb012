//! Health checks: how it is found out which hosts of a cluster may be used.

use super::HeaderEdit;

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthCheck {
    /// Until an answer is given up.
    pub timeout_ms: u64,
    /// Between two checks of a host.
    pub interval_ms: u64,
    /// Failures in a row until a host is not used.
    pub unhealthy_threshold: u32,
    /// Successes in a row until it is used again.
    pub healthy_threshold: u32,
    /// What is asked.
    pub probe: Probe,
}

/// When a host is not used for a while because of its answers; what is absent is Envoy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutlierDetection {
    /// Server errors in a row.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503 and 504 in a row.
    pub consecutive_gateway_failure: Option<u32>,
    /// Between two looks.
    pub interval_ms: Option<u64>,
    /// For how long, times how often it was left out.
    pub base_ejection_ms: Option<u64>,
    /// For how long at most.
    pub max_ejection_ms: Option<u64>,
    /// Most hosts that are left out, in percent.
    pub max_ejection_percent: Option<u32>,
}

/// What a host is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// An HTTP request.
    Http {
        /// The path.
        path: String,
        /// The host; the service's own when absent.
        host: Option<String>,
        /// Headers that are set.
        add: Vec<HeaderEdit>,
        /// Headers that are removed.
        remove: Vec<String>,
        /// Statuses that are healthy, first and last; 200 when empty.
        statuses: Vec<(u16, u16)>,
    },
    /// A call of gRPC's health service.
    Grpc {
        /// The service that is asked for.
        service: String,
        /// The `:authority`; the service's own when absent.
        authority: Option<String>,
    },
}
