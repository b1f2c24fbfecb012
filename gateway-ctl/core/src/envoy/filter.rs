//! The HTTP filters and their order.

mod closed;
mod cors;
mod ext_authz;
mod ratelimit;
mod router;

use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use crate::ir::{HttpFilters, HttpOptions};

/// Name of the filter that answers for other origins.
pub const CORS: &str = "envoy.filters.http.cors";
/// Name of the filter that asks who may come in.
pub const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// What a filter is made of. `None` when it is not wanted.
type Make = fn(&HttpFilters, &HttpOptions) -> Option<hcm::HttpFilter>;

/// A filter's row: why it stands where it does, and how it is made.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Its name in Envoy.
    pub name: &'static str,
    /// Why it stands here.
    pub reason: &'static str,
    make: Make,
}

/// Every filter, in the order in which requests pass them.
pub const ORDER: &[Filter] = &[
    Filter {
        name: CORS,
        reason: "a browser's preflight has no credentials, so it is answered before they are asked for",
        make: cors::make,
    },
    Filter {
        name: "envoy.filters.http.lua",
        reason: "refuses everything in the place of what would authorize, when that is misconfigured",
        make: closed::make,
    },
    Filter {
        name: EXT_AUTHZ,
        reason: "before limits: only requests that may pass count, and limits may use who it is",
        make: ext_authz::make,
    },
    Filter {
        name: "envoy.filters.http.ratelimit",
        reason: "after authorization: headers that it sets are usable in labels",
        make: ratelimit::make,
    },
    Filter { name: "envoy.filters.http.router", reason: "ends the chain", make: router::make },
];

/// The filters of a Listener.
pub fn chain(filters: &HttpFilters, options: &HttpOptions) -> Vec<hcm::HttpFilter> {
    ORDER.iter().filter_map(|f| (f.make)(filters, options)).collect()
}

/// A filter with its configuration.
fn filter(name: &str, message_name: &str, message: &impl prost::Message) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(super::any(
            message_name,
            message,
        ))),
        ..hcm::HttpFilter::default()
    }
}
