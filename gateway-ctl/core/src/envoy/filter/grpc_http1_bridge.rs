//! Lets HTTP/1.1 clients speak to gRPC services.

use proto::envoy::extensions::filters::http::grpc_http1_bridge::v3::Config;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let name = "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config";
    let wanted = options.filters.grpc_http1_bridge;
    wanted.then(|| super::filter(super::GRPC_HTTP1_BRIDGE, name, &Config::default()))
}
