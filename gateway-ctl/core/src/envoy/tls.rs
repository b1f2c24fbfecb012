//! TLS of connections: `DownstreamTlsContext` and `UpstreamTlsContext`, with certificates by name.

use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::transport_sockets::quic::v3 as quic;
use proto::envoy::extensions::transport_sockets::tls::v3 as tls;

use super::any;
use crate::ir::tls::{Parameters, SecretUse, ServerTls, Version};

/// The transport socket of a server.
pub fn server(ir: &ServerTls, over_quic: bool) -> core::TransportSocket {
    let mut parameters = ir.parameters.clone();
    if over_quic {
        // It has versions and ciphers of its own.
        parameters = Parameters { alpn: vec!["h3".to_owned()], ..Parameters::default() };
    }
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(common(
            &parameters,
            Some(&ir.certificate),
            ir.authorities.as_ref(),
        )),
        require_client_certificate: ir.requires_certificate.then_some(true),
        ..tls::DownstreamTlsContext::default()
    };
    if over_quic {
        let transport = quic::QuicDownstreamTransport {
            downstream_tls_context: Some(context),
            ..quic::QuicDownstreamTransport::default()
        };
        let name = "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport";
        return socket("envoy.transport_sockets.quic", any(name, &transport));
    }
    let name = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    socket("envoy.transport_sockets.tls", any(name, &context))
}

fn socket(name: &str, config: prost_types::Any) -> core::TransportSocket {
    core::TransportSocket {
        name: name.to_owned(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(config)),
    }
}

fn common(
    parameters: &Parameters,
    certificate: Option<&SecretUse>,
    authorities: Option<&SecretUse>,
) -> tls::CommonTlsContext {
    use tls::common_tls_context::ValidationContextType;
    tls::CommonTlsContext {
        tls_params: params(parameters),
        alpn_protocols: parameters.alpn.clone(),
        tls_certificate_sds_secret_configs: certificate.map(named).into_iter().collect(),
        validation_context_type: authorities
            .map(|a| ValidationContextType::ValidationContextSdsSecretConfig(named(a))),
        ..tls::CommonTlsContext::default()
    }
}

fn named(secret: &SecretUse) -> tls::SdsSecretConfig {
    tls::SdsSecretConfig { name: secret.name(), sds_config: Some(super::ads()) }
}

fn params(parameters: &Parameters) -> Option<tls::TlsParameters> {
    use tls::tls_parameters::TlsProtocol;
    let version = |v: Option<Version>| match v {
        None => TlsProtocol::TlsAuto,
        Some(Version::V1_0) => TlsProtocol::TlSv10,
        Some(Version::V1_1) => TlsProtocol::TlSv11,
        Some(Version::V1_2) => TlsProtocol::TlSv12,
        Some(Version::V1_3) => TlsProtocol::TlSv13,
    };
    let message = tls::TlsParameters {
        tls_minimum_protocol_version: version(parameters.min).into(),
        tls_maximum_protocol_version: version(parameters.max).into(),
        cipher_suites: parameters.ciphers.clone(),
        ecdh_curves: parameters.curves.clone(),
        ..tls::TlsParameters::default()
    };
    (message != tls::TlsParameters::default()).then_some(message)
}
