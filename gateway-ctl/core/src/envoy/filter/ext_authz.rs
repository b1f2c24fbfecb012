//! Asks the authorization service.

use prost_types::Any;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use proto::envoy::r#type::matcher::v3::ListStringMatcher;
use proto::envoy::r#type::v3::HttpStatus;

use super::super::{any, exact, milliseconds};
use crate::ir::listener::AuthorizerHttp;
use crate::ir::{Authorizer, HttpFilters, HttpOptions};

pub(super) fn make(filters: &HttpFilters, _: &HttpOptions) -> Option<HttpFilter> {
    let closed = super::closed::config("nothing is known yet of the authorization service");
    Some(super::discovered(super::EXT_AUTHZ, &config(filters)?, closed))
}

pub(super) fn config(filters: &HttpFilters) -> Option<Any> {
    let ir = filters.authorizer.as_ref().filter(|_| filters.closed.is_none())?;
    let (services, allowed_headers) = match &ir.http {
        None => (grpc(ir), None),
        Some(http) => (http_service(ir, http), Some(names(&http.request_headers))),
    };
    let message = ext_authz::ExtAuthz {
        services: Some(services),
        transport_api_version: core::ApiVersion::V3.into(),
        allowed_headers,
        with_request_body: ir.body.map(|(max, partial)| ext_authz::BufferSettings {
            max_request_bytes: max,
            allow_partial_message: partial,
            pack_as_bytes: false,
        }),
        failure_mode_allow: ir.failure_mode_allow,
        // A header that the service sets may choose another route.
        clear_route_cache: true,
        status_on_error: ir
            .status_on_error
            .map(|code| HttpStatus { code: i32::try_from(code).unwrap_or(403) }),
        validate_mutations: true,
        ..ext_authz::ExtAuthz::default()
    };
    Some(any("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz", &message))
}

fn grpc(ir: &Authorizer) -> ext_authz::ext_authz::Services {
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    ext_authz::ext_authz::Services::GrpcService(core::GrpcService {
        timeout: Some(milliseconds(ir.timeout_ms)),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: ir.cluster.clone(),
            ..EnvoyGrpc::default()
        })),
        ..core::GrpcService::default()
    })
}

fn http_service(ir: &Authorizer, http: &AuthorizerHttp) -> ext_authz::ext_authz::Services {
    let headers_to_add = http.add_headers.iter().map(|(key, value)| core::HeaderValue {
        key: key.clone(),
        value: value.clone(),
        ..core::HeaderValue::default()
    });
    ext_authz::ext_authz::Services::HttpService(ext_authz::HttpService {
        server_uri: Some(core::HttpUri {
            uri: format!("http://{}", ir.authority),
            timeout: Some(milliseconds(ir.timeout_ms)),
            http_upstream_type: Some(core::http_uri::HttpUpstreamType::Cluster(ir.cluster.clone())),
        }),
        path_prefix: http.path_prefix.clone(),
        authorization_request: Some(ext_authz::AuthorizationRequest {
            headers_to_add: headers_to_add.collect(),
            ..ext_authz::AuthorizationRequest::default()
        }),
        authorization_response: Some(ext_authz::AuthorizationResponse {
            allowed_upstream_headers: Some(names(&http.response_headers)),
            allowed_client_headers: Some(names(&http.response_headers)),
            ..ext_authz::AuthorizationResponse::default()
        }),
        ..ext_authz::HttpService::default()
    })
}

fn names(list: &[String]) -> ListStringMatcher {
    let patterns = list.iter().map(|name| {
        let mut matcher = exact(name);
        matcher.ignore_case = true;
        matcher
    });
    ListStringMatcher { patterns: patterns.collect() }
}
