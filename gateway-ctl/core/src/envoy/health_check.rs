//! `envoy.config.core.v3.HealthCheck`

use proto::envoy::config::core::v3 as core;
use proto::envoy::r#type::v3::Int64Range;

use super::{milliseconds, route};
use crate::ir::Cluster;
use crate::ir::health::{HealthCheck, Probe};

/// The health checks of a cluster's hosts.
pub(super) fn of_cluster(ir: &Cluster) -> Vec<core::HealthCheck> {
    ir.health_checks.iter().map(|check| message(check, ir)).collect()
}

fn message(check: &HealthCheck, ir: &Cluster) -> core::HealthCheck {
    use core::health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck};
    let own_name = || ir.host.clone();
    let checker = match &check.probe {
        Probe::Http { path, host, add, remove, statuses } => {
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                host: host.clone().unwrap_or_else(own_name),
                path: path.clone(),
                request_headers_to_add: add.iter().map(route::header_to_add).collect(),
                request_headers_to_remove: remove.clone(),
                expected_statuses: statuses.iter().map(|range| statuses_of(*range)).collect(),
                codec_client_type: i32::from(ir.http2),
                ..HttpHealthCheck::default()
            })
        }
        Probe::Grpc { service, authority } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone(),
            authority: authority.clone().unwrap_or_else(own_name),
            ..GrpcHealthCheck::default()
        }),
    };
    core::HealthCheck {
        timeout: Some(milliseconds(check.timeout_ms)),
        interval: Some(milliseconds(check.interval_ms)),
        // Envoy asks a host without traffic once a minute otherwise, so that a host that died at
        // night is found by the first users of the morning.
        no_traffic_interval: Some(milliseconds(check.interval_ms)),
        unhealthy_threshold: Some(check.unhealthy_threshold),
        healthy_threshold: Some(check.healthy_threshold),
        health_checker: Some(checker),
        ..core::HealthCheck::default()
    }
}

/// Envoy's ranges do not have their end.
fn statuses_of((first, last): (u16, u16)) -> Int64Range {
    Int64Range { start: first.into(), end: i64::from(last) + 1 }
}
