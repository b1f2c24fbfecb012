//! Connections that come in: handshakes side by side, each with a deadline.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::Tls;

/// A handshake that takes longer is given up.
const DEADLINE: Duration = Duration::from_secs(5);
/// Handshakes at one time; more wait.
const AT_ONCE: usize = 256;
/// Wait after the system refused a connection, as when there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection whose client was verified.
#[derive(Debug)]
pub struct Connection(TlsStream<TcpStream>);

/// Accepts connections of `listener` for as long as somebody takes them.
pub fn accept(listener: TcpListener, tls: Tls) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // The newest identity, whatever came before.
            let acceptor = TlsAcceptor::from(tls.0.current.load().server.clone());
            let sender = sender.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                match tokio::time::timeout(DEADLINE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        drop(permit);
                        // Whoever took connections may have ended.
                        let _ = sender.send(Ok(Connection(stream))).await;
                    }
                    Ok(Err(e)) => tracing::debug!("no TLS with {peer}: {e}"),
                    Err(_) => tracing::debug!("no TLS with {peer} within {DEADLINE:?}"),
                }
            });
        }
    });
    ReceiverStream::new(receiver)
}

/// For HTTP servers of axum.
pub struct Listener {
    incoming: ReceiverStream<io::Result<Connection>>,
    addr: SocketAddr,
}

impl Listener {
    /// Accepts connections of `listener`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn new(listener: TcpListener, tls: Tls) -> io::Result<Self> {
        Ok(Self { addr: listener.local_addr()?, incoming: accept(listener, tls) })
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.incoming.next().await {
            Some(Ok(connection)) => {
                let peer = connection.0.get_ref().0.peer_addr().unwrap_or(self.addr);
                (connection, peer)
            }
            // The task that accepts ends with the process only.
            _ => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
