//! Asks the rate limit service; what it is told is set by route.

use prost_types::Any;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use proto::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use proto::envoy::extensions::filters::http::rbac::v3::Rbac;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use super::super::{any, milliseconds};
use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(filters: &HttpFilters, _: &HttpOptions) -> Option<HttpFilter> {
    // Without rules it lets everything pass.
    let open = any("envoy.extensions.filters.http.rbac.v3.RBAC", &Rbac::default());
    Some(super::discovered(super::RATE_LIMIT, &config(filters)?, open))
}

pub(super) fn config(filters: &HttpFilters) -> Option<Any> {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    let ir = filters.limiter.as_ref()?;
    let message = RateLimit {
        domain: ir.domain.clone(),
        request_type: "both".to_owned(),
        timeout: Some(milliseconds(ir.timeout_ms)),
        failure_mode_deny: ir.failure_mode_deny,
        rate_limited_as_resource_exhausted: ir.resource_exhausted,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(core::GrpcService {
                target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                    cluster_name: ir.cluster.clone(),
                    ..EnvoyGrpc::default()
                })),
                ..core::GrpcService::default()
            }),
            transport_api_version: core::ApiVersion::V3.into(),
        }),
        ..RateLimit::default()
    };
    Some(any("envoy.extensions.filters.http.ratelimit.v3.RateLimit", &message))
}
