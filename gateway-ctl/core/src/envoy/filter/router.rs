//! Sends requests to their cluster.

use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let message =
        Router { suppress_envoy_headers: options.suppress_envoy_headers, ..Router::default() };
    let name = "envoy.extensions.filters.http.router.v3.Router";
    Some(super::filter("envoy.filters.http.router", name, &message))
}
