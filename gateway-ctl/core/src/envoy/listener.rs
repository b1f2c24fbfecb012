//! `envoy.config.listener.v3.Listener` with its connection manager.

use prost::Message as _;
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::listener::v3 as listener;
use proto::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy_protocol;
use proto::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;

use super::{access_log, ads, any, filter, milliseconds, socket_address, telemetry};
use crate::ir::listener::{Chain, Content, Forwarding, Match, Underscores};
use crate::ir::{HttpOptions, Listener};

/// Until a connection that does not finish its handshake is closed.
const HANDSHAKE_MS: u64 = 15_000;

/// Encodes a Listener.
pub fn encode(ir: &Listener) -> Vec<u8> {
    let mut address = socket_address(&ir.address, ir.port);
    if ir.quic {
        over_udp(&mut address);
    }
    let message = listener::Listener {
        name: ir.name.clone(),
        address: Some(address),
        listener_filters: listener_filters(ir),
        filter_chains: ir.chains.iter().map(|c| filter_chain(ir, c)).collect(),
        udp_listener_config: ir.quic.then(|| listener::UdpListenerConfig {
            quic_options: Some(listener::QuicProtocolOptions::default()),
            downstream_socket_config: Some(core::UdpSocketConfig {
                prefer_gro: Some(true),
                ..core::UdpSocketConfig::default()
            }),
            ..listener::UdpListenerConfig::default()
        }),
        per_connection_buffer_limit_bytes: ir.options.buffer_limit_bytes,
        access_log: ir
            .inspects_tls
            .then(|| access_log::of_refused(&ir.options.access_log))
            .into_iter()
            .chain(telemetry::of_connections(&ir.telemetry))
            .collect(),
        // A change closes only the connections that it concerns.
        drain_type: listener::listener::DrainType::ModifyOnly.into(),
        ..listener::Listener::default()
    };
    message.encode_to_vec()
}

fn over_udp(address: &mut core::Address) {
    if let Some(core::address::Address::SocketAddress(socket)) = &mut address.address {
        socket.protocol = core::socket_address::Protocol::Udp.into();
    }
}

/// What a connection begins with is read in this order.
fn listener_filters(ir: &Listener) -> Vec<listener::ListenerFilter> {
    let filter = |name: &str, config: prost_types::Any| listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..listener::ListenerFilter::default()
    };
    let mut filters = Vec::new();
    if ir.proxy_protocol {
        let name = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
        let config = any(name, &proxy_protocol::ProxyProtocol::default());
        filters.push(filter("envoy.filters.listener.proxy_protocol", config));
    }
    if ir.inspects_tls {
        let name = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        let config = any(name, &tls_inspector::TlsInspector::default());
        filters.push(filter("envoy.filters.listener.tls_inspector", config));
    }
    filters
}

fn filter_chain(ir: &Listener, chain: &Chain) -> listener::FilterChain {
    let (network_filter, name) = match &chain.content {
        Content::Http(table) => {
            let manager_name =
                "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
            let filter = listener::Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(listener::filter::ConfigType::TypedConfig(any(
                    manager_name,
                    &manager(ir, table),
                ))),
            };
            (filter, "http")
        }
        Content::Tcp { clusters, idle_timeout_ms } => {
            (tcp_proxy(ir, clusters, *idle_timeout_ms), "tcp")
        }
    };
    let (transport, server_names) = match &chain.matches {
        // Where nothing is inspected there is one chain.
        Match::Clear if !ir.inspects_tls => (None, Vec::new()),
        Match::Everything => (None, Vec::new()),
        Match::Clear => (Some("raw_buffer"), Vec::new()),
        Match::AnyName => (Some("tls"), Vec::new()),
        Match::Name(name) => (Some("tls"), vec![name.clone()]),
    };
    // QUIC is always what it is.
    let transport = transport.filter(|_| !ir.quic);
    let filter_chain_match =
        (transport.is_some() || !server_names.is_empty()).then(|| listener::FilterChainMatch {
            transport_protocol: transport.unwrap_or_default().to_owned(),
            server_names: server_names.clone(),
            ..listener::FilterChainMatch::default()
        });
    let suffix = match &chain.matches {
        Match::Name(name) => format!("/{name}"),
        Match::AnyName => "/*".to_owned(),
        Match::Clear | Match::Everything => String::new(),
    };
    listener::FilterChain {
        name: format!("{name}{suffix}"),
        filter_chain_match,
        filters: vec![network_filter],
        transport_socket: chain.tls.as_ref().map(|tls| super::tls::server(tls, ir.quic)),
        transport_socket_connect_timeout: chain.tls.as_ref().map(|_| milliseconds(HANDSHAKE_MS)),
        ..listener::FilterChain::default()
    }
}

fn tcp_proxy(
    ir: &Listener,
    clusters: &[(String, u32)],
    idle_timeout_ms: Option<u64>,
) -> listener::Filter {
    use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
    let specifier = match clusters {
        [(one, _)] => ClusterSpecifier::Cluster(one.clone()),
        several => ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several
                .iter()
                .map(|(name, weight)| ClusterWeight {
                    name: name.clone(),
                    weight: *weight,
                    ..ClusterWeight::default()
                })
                .collect(),
        }),
    };
    let message = tcp::TcpProxy {
        stat_prefix: ir.stat_prefix.clone(),
        cluster_specifier: Some(specifier),
        idle_timeout: idle_timeout_ms.map(milliseconds),
        ..tcp::TcpProxy::default()
    };
    let name = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    listener::Filter {
        name: "envoy.filters.network.tcp_proxy".to_owned(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(any(name, &message))),
    }
}

fn manager(ir: &Listener, table: &str) -> hcm::HttpConnectionManager {
    use hcm::http_connection_manager::{CodecType, PathWithEscapedSlashesAction, RouteSpecifier};
    let options = &ir.options;
    let slashes = if options.reject_escaped_slashes {
        PathWithEscapedSlashesAction::RejectRequest
    } else {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault
    };
    hcm::HttpConnectionManager {
        codec_type: if ir.quic { CodecType::Http3 } else { CodecType::Auto }.into(),
        http3_protocol_options: ir.quic.then(core::Http3ProtocolOptions::default),
        stat_prefix: ir.stat_prefix.clone(),
        route_specifier: Some(RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(ads()),
            route_config_name: table.to_owned(),
        })),
        http_filters: filter::chain(&ir.filters, options),
        common_http_protocol_options: common(options),
        http_protocol_options: http1(options),
        http2_protocol_options: ir.max_concurrent_streams.map(|n| core::Http2ProtocolOptions {
            max_concurrent_streams: Some(n),
            ..core::Http2ProtocolOptions::default()
        }),
        forward_client_cert_details: forwarding(options.client_certificates.forwarding).into(),
        set_current_client_cert_details: client_certificate(options),
        server_name: options.server_name.clone(),
        max_request_headers_kb: options.max_request_headers_kb,
        access_log: std::iter::once(access_log::encode(&options.access_log, &ir.telemetry))
            .chain(telemetry::of_requests(&ir.telemetry))
            .collect(),
        tracing: telemetry::tracing(&ir.telemetry),
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

fn forwarding(ir: Forwarding) -> hcm::http_connection_manager::ForwardClientCertDetails {
    use hcm::http_connection_manager::ForwardClientCertDetails as Envoy;
    match ir {
        Forwarding::Sanitize => Envoy::Sanitize,
        Forwarding::ForwardOnly => Envoy::ForwardOnly,
        Forwarding::AppendForward => Envoy::AppendForward,
        Forwarding::SanitizeSet => Envoy::SanitizeSet,
        Forwarding::AlwaysForwardOnly => Envoy::AlwaysForwardOnly,
    }
}

fn client_certificate(
    options: &HttpOptions,
) -> Option<hcm::http_connection_manager::SetCurrentClientCertDetails> {
    let ir = options.client_certificates;
    let message = hcm::http_connection_manager::SetCurrentClientCertDetails {
        subject: ir.subject.then_some(true),
        cert: ir.certificate,
        chain: ir.chain,
        dns: ir.dns,
        uri: ir.uri,
        ..Default::default()
    };
    let sets = matches!(ir.forwarding, Forwarding::AppendForward | Forwarding::SanitizeSet);
    sets.then_some(message)
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
