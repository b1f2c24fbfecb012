//! Collectors that ask for certificates, and have one.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanExporter as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::service::Routes;

use super::super::super::admin::Readiness;
use super::super::super::grpc::{self, Drain, Server, Unary};
use super::super::super::shutdown::Shutdown;
use super::super::super::tls::{self, Clients, Tls};
use super::*;

/// A folder with an identity for `localhost`, of an authority of its own.
fn identity() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let unique = format!("otlp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&folder).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.crt"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = own.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    folder
}

/// Takes everything.
struct Taker;

impl Unary for Taker {
    async fn call(
        &self,
        _: Bytes,
        _: HeaderMap,
        _: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        Ok(|_: &mut BytesMut| {})
    }
}

/// A collector whose callers must have a certificate of its authority; its port.
async fn collector(protocol: Protocol, tls: Tls) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    match protocol {
        Protocol::Grpc => {
            let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
            let server = Server::new(Routes::default()).unary(path, Taker);
            let drain = Drain { delay: Duration::ZERO, timeout: Duration::ZERO };
            let (shutdown, trigger) = Shutdown::manual();
            tokio::spawn(async move {
                let _never = trigger;
                let listener: grpc::Listener = listener.into();
                server.serve(listener, Some(tls), Readiness::new(&[]), drain, shutdown).await;
            });
        }
        Protocol::Http => {
            let router = Router::new().route("/v1/traces", post(|| async {}));
            let listener = tls::Listener::new(listener, tls).unwrap();
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
    }
    port
}

/// Sends a span to `localhost`, with the files of these variables.
async fn send(protocol: Protocol, port: u16, files: &[(&str, PathBuf)]) -> Result<(), String> {
    let mut variables = vec![("ENDPOINT", format!("https://localhost:{port}"))];
    variables.extend(files.iter().map(|(name, path)| (*name, path.display().to_string())));
    let variable = |name: &str| {
        let name = name.strip_prefix("OTEL_EXPORTER_OTLP_")?;
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    };
    let settings = Settings::read(variable, Some(protocol))?;
    let exporter = exporter(&settings)?;
    let span = SdkTracerProvider::default().tracer("test").start("s");
    let span = span.exported_data().unwrap();
    exporter.export(vec![span]).await.map_err(|e| e.to_string())
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let (ours, other) = (identity(), identity());
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let port = collector(protocol, Tls::open(&ours, Clients::Require).unwrap()).await;
        let ca = |folder: &PathBuf| ("CERTIFICATE", folder.join("ca.crt"));
        let own = |folder: &PathBuf| {
            [("CLIENT_CERTIFICATE", folder.join("tls.crt")), ("CLIENT_KEY", folder.join("tls.key"))]
        };
        let [chain, key] = own(&ours);
        let all = [ca(&ours), chain.clone(), key.clone()];
        assert_eq!(send(protocol, port, &all).await, Ok(()), "{protocol}");
        let stranger = [ca(&other), chain.clone(), key];
        assert!(send(protocol, port, &stranger).await.is_err(), "{protocol}: who is it?");
        assert!(send(protocol, port, &[ca(&ours)]).await.is_err(), "{protocol}: who are we?");
        let [_, wrong] = own(&other);
        let misfit = send(protocol, port, &[ca(&ours), chain, wrong]).await.unwrap_err();
        assert!(misfit.contains("tls.key does not fit"), "{misfit}");
        let gone = send(protocol, port, &[("CERTIFICATE", "/gone".into())]).await.unwrap_err();
        assert!(gone.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE: /gone: "), "{gone}");
    }
}
