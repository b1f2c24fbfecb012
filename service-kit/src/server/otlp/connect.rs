//! The way to the collector.

use std::path::Path;
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
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;

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
    let mut roots = RootCertStore::empty();
    // The system's are not even read where nothing is encrypted.
    match &settings.ca {
        Some(path) => {
            for certificate in certificates("OTEL_EXPORTER_OTLP_CERTIFICATE", path)? {
                roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
        None if settings.endpoint.scheme_str() == Some("https") => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("the system has no certificates to trust; name a file by \
                            OTEL_EXPORTER_OTLP_CERTIFICATE"
                    .to_owned());
            }
        }
        None => {}
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let Some((chain, key)) = &settings.client else { return Ok(builder.with_no_client_auth()) };
    let name = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
    let secret = PrivateKeyDer::from_pem_slice(&read(name, key)?)
        .map_err(|_| format!("{name}: {}: no private key in PEM", key.display()))?;
    let certificates = certificates("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", chain)?;
    builder
        .with_client_auth_cert(certificates, secret)
        .map_err(|e| format!("{} does not fit {}: {e}", key.display(), chain.display()))
}

fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(name, path)?).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{name}: {}: no certificate in PEM", path.display())),
    }
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{name}: {}: {e}", path.display()))
}

#[cfg(test)]
#[path = "connect/tests.rs"]
mod tests;
