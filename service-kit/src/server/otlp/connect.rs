//! The way to the collector.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    Protocol as OtlpProtocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;

use super::super::tls::pem::{self, Pem};
use super::settings::{Protocol, Settings};

/// For a TCP connection.
const CONNECT: Duration = Duration::from_secs(5);

/// What takes batches. Nothing is connected yet.
///
/// # Errors
/// Which file or setting is wrong, and why; never what is in it.
pub(super) fn exporter(settings: &Settings) -> Result<SpanExporter, String> {
    let tls = tls(settings)?;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let exporter = match settings.protocol {
        Protocol::Grpc => {
            let connector = connector.enable_http2().wrap_connector(tcp);
            let channel = Endpoint::from(settings.endpoint.clone())
                .timeout(settings.timeout)
                .connect_with_connector_lazy(connector);
            SpanExporter::builder()
                .with_tonic()
                .with_channel(channel)
                .with_metadata(MetadataMap::from_headers(settings.headers.clone()))
                .with_timeout(settings.timeout)
                .build()
        }
        Protocol::Http => {
            let connector: HttpsConnector<_> = connector.enable_http1().wrap_connector(tcp);
            let text = |v: &http::HeaderValue| v.to_str().unwrap_or_default().to_owned();
            let headers = settings.headers.iter().map(|(k, v)| (k.to_string(), text(v)));
            SpanExporter::builder()
                .with_http()
                .with_protocol(OtlpProtocol::HttpBinary)
                .with_http_client(HyperClient::new(connector, settings.timeout, None))
                .with_endpoint(settings.endpoint.to_string())
                .with_headers(headers.collect())
                .with_timeout(settings.timeout)
                .build()
        }
    };
    exporter.map_err(|e| format!("the exporter of traces: {e}"))
}

fn tls(settings: &Settings) -> Result<ClientConfig, String> {
    let roots = match &settings.ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            Pem::read_of("OTEL_EXPORTER_OTLP_CERTIFICATE", path)?.trust(&mut roots)?;
            roots
        }
        None if settings.endpoint.scheme_str() == Some("https") => {
            let roots = pem::system_roots(None)?;
            if roots.is_empty() {
                return Err("the system has no certificates to trust; name a file by \
                            OTEL_EXPORTER_OTLP_CERTIFICATE"
                    .to_owned());
            }
            roots
        }
        // The system's are not even read where nothing is encrypted.
        None => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let identity = match &settings.client {
        Some((chain, key)) => Some((
            Pem::read_of("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", chain)?,
            Pem::read_of("OTEL_EXPORTER_OTLP_CLIENT_KEY", key)?,
        )),
        None => None,
    };
    pem::with_identity(builder, identity)
}

#[cfg(test)]
#[path = "connect/tests.rs"]
mod tests;
