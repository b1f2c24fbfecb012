//! Services that are not as they should be.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use e2e::certificates::Certificate;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::server::{ResolvesServerCertUsingSni, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Serves each connection with `serve`, for as long as the test runs.
fn each(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            serve(stream);
        }
    });
    addr
}

/// Reads a request and closes.
pub(crate) fn closes() -> SocketAddr {
    each(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    })
}

/// Speaks HTTP/1.1 only.
pub(crate) fn http1() -> SocketAddr {
    each(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    })
}

/// Takes no more connections; ends when what it gives is dropped.
pub(crate) fn full() -> (SocketAddr, impl Sized) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (listener, addr) = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        (listener, addr)
    });
    let waiting: Vec<_> = (0..4)
        .filter_map(|_| TcpStream::connect_timeout(&addr, Duration::from_millis(100)).ok())
        .collect();
    (addr, (runtime, listener, waiting))
}

fn tls(config: ServerConfig) -> SocketAddr {
    let config = Arc::new(config);
    each(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        // It tells the client what is wrong.
        let _ = tls.read(&mut [0; 4096]);
        let _ = tls.flush();
    })
}

/// Serves `name` only.
pub(crate) fn for_name(name: &str, own: &Certificate) -> SocketAddr {
    let (chain, key) = own.parsed();
    let mut names = ResolvesServerCertUsingSni::new();
    names.add(name, CertifiedKey::new(chain, any_supported_type(&key).unwrap())).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    tls(builder.with_no_client_auth().with_cert_resolver(Arc::new(names)))
}

/// Wants a certificate of `authority`.
pub(crate) fn for_clients_of(authority: &Certificate, own: &Certificate) -> SocketAddr {
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.parsed().0.remove(0)).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let (chain, key) = own.parsed();
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
    tls(builder.with_single_cert(chain, key).unwrap())
}
