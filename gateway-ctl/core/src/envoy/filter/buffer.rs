//! Holds a request until it is whole, and refuses what is too long.

use proto::envoy::extensions::filters::http::buffer::v3::Buffer;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use crate::ir::{HttpFilters, HttpOptions};

pub(super) fn make(_: &HttpFilters, options: &HttpOptions) -> Option<HttpFilter> {
    let buffer = Buffer { max_request_bytes: Some(options.filters.buffer?) };
    Some(super::filter(super::BUFFER, "envoy.extensions.filters.http.buffer.v3.Buffer", &buffer))
}
