//! Connections that go out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use super::Tls;

/// From the name to the end of the handshake.
const DEADLINE: Duration = Duration::from_secs(5);

/// Connects to `endpoint` (whose scheme does not count) over TLS: the server must have a
/// certificate of the CA for the host of the endpoint, and is shown ours.
///
/// # Errors
/// When there is no such server.
pub async fn connect(endpoint: Endpoint, tls: Tls) -> Result<Channel, Error> {
    connect_with(endpoint, tls.0.current.load().client.clone(), None).await
}

/// As [`connect`], with a configuration of its own. The certificate must be for `server_name`, or
/// else for the host.
///
/// # Errors
/// When there is no such server.
pub async fn connect_with(
    endpoint: Endpoint,
    config: Arc<ClientConfig>,
    server_name: Option<String>,
) -> Result<Channel, Error> {
    endpoint
        .connect_with_connector(service_fn(move |uri: http::Uri| {
            let (config, server_name) = (config.clone(), server_name.clone());
            async move {
                tokio::time::timeout(DEADLINE, open(&uri, config, server_name))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        }))
        .await
}

async fn open(
    uri: &http::Uri,
    config: Arc<ClientConfig>,
    server_name: Option<String>,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(server_name.unwrap_or(host)).map_err(io::Error::other)?;
    let connector = TlsConnector::from(config);
    Ok(TokioIo::new(connector.connect(name, stream).await?))
}
