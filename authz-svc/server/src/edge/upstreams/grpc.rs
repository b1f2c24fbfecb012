//! Unary gRPC calls, over a channel for each server and way of reaching it. What a message means is
//! not known here: it goes as bytes.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authz_core::need::{CallError, GrpcCall, Transport};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use bytes::{Buf as _, BufMut as _};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use service_kit::server::tls::client_config;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::service_fn;

use crate::edge::addresses::{Addresses, Forbidden};

/// Most channels that are kept.
const MOST: usize = 256;
/// For a connection with its handshake.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;

type Key = (String, Arc<Transport>);

/// The channels.
#[derive(Debug)]
pub(super) struct Channels {
    addresses: Addresses,
    known: Mutex<HashMap<Key, Channel>>,
}

impl Channels {
    pub(super) fn new(addresses: Addresses) -> Self {
        Self { addresses, known: Mutex::default() }
    }

    /// Makes a call; its time is the caller's business.
    pub(super) async fn call(&self, call: GrpcCall) -> Result<Arc<Vec<u8>>, CallError> {
        let shown = format!("{call:?}");
        let channel = self.channel(&call).map_err(|why| {
            tracing::warn!("{shown} is not made: {why}");
            CallError::Malformed
        })?;
        let mut request = Request::new(call.message);
        for (name, value) in &call.metadata {
            let name =
                MetadataKey::from_bytes(name.as_bytes()).map_err(|_| CallError::Malformed)?;
            let value = MetadataValue::try_from(value).map_err(|_| CallError::Malformed)?;
            request.metadata_mut().append(name, value);
        }
        let failed = |status: Status| {
            tracing::warn!("{shown}: {} {}", status.code(), status.message());
            match status.code() {
                Code::DeadlineExceeded => CallError::TimedOut,
                Code::OutOfRange | Code::ResourceExhausted => CallError::TooLong,
                _ => CallError::Unavailable,
            }
        };
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
        grpc.ready().await.map_err(|e| failed(Status::unavailable(e.to_string())))?;
        let path = PathAndQuery::from_static(call.path);
        let answer = grpc.unary(request, path, Bytes).await.map_err(failed)?;
        Ok(Arc::new(answer.into_inner()))
    }

    fn channel(&self, call: &GrpcCall) -> Result<Channel, String> {
        let key = (call.origin.clone(), call.transport.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.get(&key) {
            return Ok(channel.clone());
        }
        let channel = connect(&self.addresses, &call.origin, &call.transport)?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, channel.clone());
        Ok(channel)
    }
}

/// A channel that connects when it is used, and again when the connection is gone.
fn connect(addresses: &Addresses, origin: &str, transport: &Transport) -> Result<Channel, String> {
    let uri: Uri = origin.parse().map_err(|_| format!("{origin} is not like http://HOST:PORT"))?;
    let secure = uri.scheme_str() == Some("https");
    let config = if secure { Some(tls(transport)?) } else { None };
    let addresses = addresses.clone();
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(5));
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| {
        let (addresses, config) = (addresses.clone(), config.clone());
        async move {
            let opened = tokio::time::timeout(CONNECT, open(&uri, &addresses, config)).await;
            opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    })))
}

async fn open(
    uri: &Uri,
    addresses: &Addresses,
    config: Option<Arc<ClientConfig>>,
) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if config.is_some() { 443 } else { 80 });
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let found: Vec<_> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
    for socket in found {
        if !addresses.may_call(socket.ip()) {
            last = io::Error::new(io::ErrorKind::PermissionDenied, Forbidden);
            continue;
        }
        match TcpStream::connect(socket).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let Some(config) = config else { return Ok(TokioIo::new(Box::new(stream))) };
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                let stream = TlsConnector::from(config).connect(name, stream).await?;
                return Ok(TokioIo::new(Box::new(stream)));
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// A connection, with or without TLS.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for S {}

fn tls(transport: &Transport) -> Result<Arc<ClientConfig>, String> {
    let authorities = transport.authorities.as_ref().map(|pem| pem.0.expose().as_slice());
    let identity = transport
        .identity
        .as_ref()
        .map(|(chain, key)| (chain.0.expose().as_slice(), key.0.expose().as_slice()));
    client_config(authorities, identity)
}

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
