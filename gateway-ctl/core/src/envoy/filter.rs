//! The HTTP filters and their order.
//!
//! What decides about requests is configured apart (ECDS): a Listener says only that it is there, so
//! that its change touches no Listener and no connection. Before the configuration has come a
//! Listener waits for it; if it does not come, authorization refuses and limits let pass. So is the
//! user's script, which only Envoy can judge: one that it refuses costs nothing else.

mod buffer;
mod closed;
mod compressor;
mod cors;
pub(super) mod custom_response;
mod ext_authz;
mod grpc_http1_bridge;
mod grpc_stats;
mod grpc_web;
mod lua;
mod ratelimit;
mod rbac;
mod router;

use prost::Message as _;
use prost_types::Any;
use proto::envoy::config::core::v3::{ExtensionConfigSource, TypedExtensionConfig};
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use crate::ir::{HttpFilters, HttpOptions};

/// Name of the filter that answers for other origins.
pub const CORS: &str = "envoy.filters.http.cors";
/// Name of the filter that asks who may come in.
pub const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// Name of the filter that asks how much may come in.
pub const RATE_LIMIT: &str = "envoy.filters.http.ratelimit";

/// Name of the filter that runs the user's script.
pub const LUA: &str = "envoy.filters.http.lua";

const ERROR_PAGES: &str = "envoy.filters.http.custom_response";
const OWN_ERROR_PAGES: &str = "envoy.filters.http.custom_response.route";
const BUFFER: &str = "envoy.filters.http.buffer";
const CLOSED: &str = "envoy.filters.http.lua.closed";
const COMPRESSOR: &str = "envoy.filters.http.compressor";
const GRPC_HTTP1_BRIDGE: &str = "envoy.filters.http.grpc_http1_bridge";
const GRPC_STATS: &str = "envoy.filters.http.grpc_stats";
const GRPC_WEB: &str = "envoy.filters.http.grpc_web";

const RBAC: &str = "envoy.filters.http.rbac";

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
        name: ERROR_PAGES,
        reason: "sees an answer after all others, whoever gave it",
        make: custom_response::make_common,
    },
    Filter {
        name: OWN_ERROR_PAGES,
        reason: "as the common ones, in whose stead it is on a route",
        make: custom_response::make_own,
    },
    Filter {
        name: GRPC_HTTP1_BRIDGE,
        reason: "what follows sees gRPC, however it came",
        make: grpc_http1_bridge::make,
    },
    Filter {
        name: GRPC_WEB,
        reason: "as the bridge: what follows sees gRPC",
        make: grpc_web::make,
    },
    Filter { name: GRPC_STATS, reason: "counts what follows refuses, too", make: grpc_stats::make },
    Filter {
        name: LUA,
        reason: "scripts of Emissary's users see requests before anything decides about them",
        make: lua::make,
    },
    Filter {
        name: COMPRESSOR,
        reason: "answers of what follows are compressed, too",
        make: compressor::make,
    },
    Filter {
        name: BUFFER,
        reason: "a request that is too long costs nothing more",
        make: buffer::make,
    },
    Filter {
        name: RBAC,
        reason: "an address that may not come in costs nobody a question",
        make: rbac::make,
    },
    Filter {
        name: CORS,
        reason: "a browser's preflight has no credentials, so it is answered before they are asked for",
        make: cors::make,
    },
    Filter {
        name: CLOSED,
        reason: "refuses everything in the place of what would authorize, when that is misconfigured",
        make: closed::make,
    },
    Filter {
        name: EXT_AUTHZ,
        reason: "before limits: only requests that may pass count, and limits may use who it is",
        make: ext_authz::make,
    },
    Filter {
        name: RATE_LIMIT,
        reason: "after authorization: headers that it sets are usable in labels",
        make: ratelimit::make,
    },
    Filter { name: "envoy.filters.http.router", reason: "ends the chain", make: router::make },
];

/// The filters of a Listener.
pub fn chain(filters: &HttpFilters, options: &HttpOptions) -> Vec<hcm::HttpFilter> {
    ORDER.iter().filter_map(|f| (f.make)(filters, options)).collect()
}

/// What filters are configured with that is fetched apart: name and encoded resource.
pub fn apart(filters: &HttpFilters, options: &HttpOptions) -> Vec<(&'static str, Vec<u8>)> {
    let configs = [
        (LUA, lua::of_user(options)),
        (EXT_AUTHZ, ext_authz::config(filters)),
        (RATE_LIMIT, ratelimit::config(filters)),
    ];
    let encode = |(name, config): (&'static str, Option<Any>)| {
        let message = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config?) };
        Some((name, message.encode_to_vec()))
    };
    configs.into_iter().filter_map(encode).collect()
}

/// A filter whose configuration is fetched apart; `default` is in force when it does not come.
fn discovered(name: &str, config: &Any, default: Any) -> hcm::HttpFilter {
    let mut type_urls = vec![config.type_url.clone(), default.type_url.clone()];
    type_urls.dedup();
    let source = ExtensionConfigSource {
        config_source: Some(super::ads()),
        default_config: Some(default),
        apply_default_config_without_warming: false,
        type_urls,
    };
    hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::ConfigDiscovery(source)),
        ..hcm::HttpFilter::default()
    }
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
