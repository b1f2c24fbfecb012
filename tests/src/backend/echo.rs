//! A backend that answers with what it was asked, and obeys `x-echo-…` headers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, ServerConfig, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Hit, Hits};
use crate::certificates::Certificate;

struct Shared {
    name: String,
    hits: Hits,
    failed: Mutex<HashSet<String>>,
}

pub(super) async fn serve(listener: TcpListener, name: String, hits: Hits) {
    let shared = Arc::new(Shared { name, hits, failed: Mutex::default() });
    let router = Router::new().fallback(answer).with_state(shared);
    let _ = axum::serve(listener, router).await;
}

/// The same over TLS. What the client did there is told in headers that begin with `x-tls-`.
pub(super) async fn serve_tls(
    listener: TcpListener,
    name: String,
    hits: Hits,
    own: Arc<ServerConfig>,
) {
    let shared = Arc::new(Shared { name, hits, failed: Mutex::default() });
    let router = Router::new().fallback(answer).with_state(shared);
    let listener = TlsListener { listener, acceptor: own.into() };
    let service = router.into_make_service_with_connect_info::<Handshake>();
    let _ = axum::serve(listener, service).await;
}

/// A server that takes, and does not need, any client's certificate.
pub(super) fn tls_of(certificate: &Certificate) -> Arc<ServerConfig> {
    let (chain, key) = certificate.parsed();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// What a client did when it connected.
#[derive(Clone, Debug, Default)]
struct Handshake {
    server_name: Option<String>,
    subject: Option<String>,
    alpn: Option<String>,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Handshake;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((tcp, _)) = self.listener.accept().await else { continue };
            let Ok(stream) = self.acceptor.accept(tcp).await else { continue };
            let (_, connection) = stream.get_ref();
            let subject = connection.peer_certificates().and_then(|c| {
                let (_, shown) = X509Certificate::from_der(c.first()?).ok()?;
                Some(shown.subject().to_string())
            });
            let handshake = Handshake {
                server_name: connection.server_name().map(str::to_owned),
                subject,
                alpn: connection.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
            };
            return (stream, handshake);
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(Handshake::default())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Handshake {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

#[derive(Debug)]
struct Anyone;

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<axum::body::Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let handshake = parts.extensions.get::<ConnectInfo<Handshake>>().map(|c| c.0.clone());
    let handshake = handshake.unwrap_or_default();
    let told = [
        ("x-tls-server-name", handshake.server_name),
        ("x-tls-client", handshake.subject),
        ("x-tls-alpn", handshake.alpn),
    ];
    let told = told.into_iter().filter_map(|(n, v)| Some((n.to_owned(), v?)));
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .chain(told)
        .collect();
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let text = String::from_utf8_lossy(&body).into_owned();
    shared.hits.lock().unwrap().push(Hit {
        path: path.clone(),
        headers: headers.clone(),
        body: text.clone(),
        ..Hit::default()
    });
    let of = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    if let Some(delay) = of("x-echo-delay-ms").and_then(|d| d.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let mut status = of("x-echo-status").and_then(|s| s.parse().ok()).unwrap_or(200);
    if of("x-echo-fail-first").is_some_and(|key| shared.failed.lock().unwrap().insert(key)) {
        status = 503;
    }
    let map: serde_json::Map<String, Value> =
        headers.iter().map(|(n, v)| (n.clone(), Value::String(v.clone()))).collect();
    let answer = json!({"backend": shared.name, "method": parts.method.as_str(), "path": path, "headers": map, "body": text});
    let mut response =
        (StatusCode::from_u16(status).unwrap_or(StatusCode::OK), Bytes::from(answer.to_string()))
            .into_response();
    let kind = of("x-echo-type").unwrap_or_else(|| "application/json".to_owned());
    let set =
        headers.iter().filter_map(|(n, v)| Some((n.strip_prefix("x-echo-set-")?, v.as_str())));
    for (name, value) in set.chain([("content-type", kind.as_str())]) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
