//! `envoy.config.listener.v3.Listener` with its connection manager.

use prost::Message as _;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::listener::v3 as listener;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;

use super::{access_log, ads, any, filter, milliseconds, socket_address};
use crate::ir::listener::Underscores;
use crate::ir::{HttpOptions, Listener};

/// Encodes a Listener.
pub fn encode(ir: &Listener) -> Vec<u8> {
    let name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let network_filter = listener::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(name, &manager(ir)))),
    };
    let message = listener::Listener {
        name: ir.name.clone(),
        address: Some(socket_address(&ir.address, ir.port)),
        filter_chains: vec![listener::FilterChain {
            name: "http".to_owned(),
            filters: vec![network_filter],
            ..listener::FilterChain::default()
        }],
        per_connection_buffer_limit_bytes: ir.options.buffer_limit_bytes,
        // A change closes only the connections that it concerns.
        drain_type: listener::listener::DrainType::ModifyOnly.into(),
        ..listener::Listener::default()
    };
    message.encode_to_vec()
}

fn manager(ir: &Listener) -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::{PathWithEscapedSlashesAction, RouteSpecifier};
    let options = &ir.options;
    let slashes = if options.reject_escaped_slashes {
        PathWithEscapedSlashesAction::RejectRequest
    } else {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault
    };
    hcm::HttpConnectionManager {
        stat_prefix: ir.stat_prefix.clone(),
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(ads()),
            route_config_name: ir.name.clone(),
        })),
        http_filters: filter::chain(&ir.filters, options),
        common_http_protocol_options: common(options),
        http_protocol_options: http1(options),
        http2_protocol_options: ir.max_concurrent_streams.map(|n| core::Http2ProtocolOptions {
            max_concurrent_streams: Some(n),
            ..core::Http2ProtocolOptions::default()
        }),
        server_name: options.server_name.clone(),
        max_request_headers_kb: options.max_request_headers_kb,
        access_log: vec![access_log::encode(&options.access_log)],
        use_remote_address: Some(options.use_remote_address),
        xff_num_trusted_hops: ir.trusted_hops,
        preserve_external_request_id: options.preserve_external_request_id,
        normalize_path: Some(true),
        merge_slashes: options.merge_slashes,
        path_with_escaped_slashes_action: slashes.into(),
        strip_matching_host_port: options.strip_matching_host_port,
        ..hcm::HttpConnectionManager::default()
    }
}

fn common(options: &HttpOptions) -> Option<core::HttpProtocolOptions> {
    use core::http_protocol_options::HeadersWithUnderscoresAction;
    let action = match options.underscores {
        Underscores::Allow => HeadersWithUnderscoresAction::Allow,
        Underscores::RejectRequest => HeadersWithUnderscoresAction::RejectRequest,
        Underscores::DropHeader => HeadersWithUnderscoresAction::DropHeader,
    };
    let wanted = options.idle_timeout_ms.is_some() || action != HeadersWithUnderscoresAction::Allow;
    wanted.then(|| core::HttpProtocolOptions {
        idle_timeout: options.idle_timeout_ms.map(milliseconds),
        headers_with_underscores_action: action.into(),
        ..core::HttpProtocolOptions::default()
    })
}

fn http1(options: &HttpOptions) -> Option<core::Http1ProtocolOptions> {
    use core::http1_protocol_options::{HeaderKeyFormat, header_key_format};
    let proper = options.proper_case.then_some(HeaderKeyFormat {
        header_format: Some(header_key_format::HeaderFormat::ProperCaseWords(
            header_key_format::ProperCaseWords {},
        )),
    });
    let wanted = options.http10 || options.allow_chunked_length || proper.is_some();
    wanted.then(|| core::Http1ProtocolOptions {
        accept_http_10: options.http10,
        allow_chunked_length: options.allow_chunked_length,
        header_key_format: proper,
        ..core::Http1ProtocolOptions::default()
    })
}
