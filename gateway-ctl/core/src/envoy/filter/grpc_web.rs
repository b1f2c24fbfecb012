//! Lets gRPC-Web clients speak to gRPC services.

use proto::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let name = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb";
    options.filters.grpc_web.then(|| super::filter(super::GRPC_WEB, name, &GrpcWeb {}))
}
