//! Answers for other origins; what it answers is set by route.

use proto::envoy::extensions::filters::http::cors::v3::Cors;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, _: &HttpOptions) -> Option<HttpFilter> {
    Some(super::filter(super::CORS, "envoy.extensions.filters.http.cors.v3.Cors", &Cors {}))
}
