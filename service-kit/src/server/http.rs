//! An HTTP port that is bounded and drains: HTTP/1.1, and HTTP/2 in the clear or over TLS, for
//! callers that are proxies. Requests come whole. Knows nothing of what is asked.

mod body;
mod pulse;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus_client::registry::Registry;
use tokio::time::sleep;

pub use super::port::{Address, Drain, Listener};

use super::port::{Bounds, Io, Metrics, Port};
use super::shutdown::Shutdown;
use super::tls::Tls;
use body::Bodies;
use pulse::{Pulse, Watched};

/// Between one HTTP/2 ping and the next, and for the answer to one.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// hyper takes no smaller one.
const MIN_BUFFER: usize = 8 << 10;

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one. The future is dropped when the caller gives up. A panic is answered 500.
    fn handle(&self, request: Request<Bytes>) -> impl Future<Output = Response<Bytes>> + Send;
}

/// What a port allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at one time; more are closed at once.
    pub connections: usize,
    /// Requests in flight of one HTTP/2 connection.
    pub streams: u32,
    /// Request line and headers, in bytes; more is answered 431.
    pub head: u32,
    /// Headers of one request; more is answered 431.
    pub headers: usize,
    /// Length of a body, in bytes; a longer one is answered 413.
    pub body: usize,
    /// Of bodies that are being read or judged, in bytes, of the whole port; more is answered 503.
    pub bodies: usize,
    /// For TLS, for the head from its first byte on, and for the body: more ends the connection, or
    /// is answered 408.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 256,
            // Envoy's default is 60 KiB for the request; it may add to it.
            head: 128 << 10,
            // Envoy's default is 100 for the request.
            headers: 256,
            body: 16 << 20,
            bodies: 256 << 20,
            patience: Duration::from_secs(10),
        }
    }
}

/// What a port serves.
pub struct Server<H> {
    handler: H,
    limits: Limits,
    metrics: Metrics,
}

impl<H: Handler> Server<H> {
    /// `handler`, within `limits`.
    pub fn new(handler: H, limits: Limits) -> Self {
        Self { handler, limits, metrics: Metrics::default() }
    }

    /// Puts the metrics into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry, "http", "the HTTP port");
    }

    /// Serves on `listener`, over `tls` if there is one, until `shutdown`, then drains: after
    /// `drain.delay` no more connections are taken and each ends when it is idle, at the latest
    /// when `drain.timeout` is over.
    pub async fn serve(
        self,
        listener: Listener,
        tls: Option<Tls>,
        drain: Drain,
        shutdown: Shutdown,
    ) {
        let limits = &self.limits;
        let bounds = Bounds { connections: limits.connections, handshake: limits.patience };
        let port = Port::new(tls, bounds, self.metrics);
        let begin = async move {
            shutdown.wait().await;
            sleep(drain.delay).await;
        };
        let shared = Arc::new(Shared {
            bodies: Bodies::new(limits.body, limits.bodies, limits.patience),
            handler: self.handler,
            limits: self.limits,
        });
        let connection = move |io, leave| serve(io, shared.clone(), leave);
        port.serve(listener, begin, drain.timeout, connection).await;
    }
}

struct Shared<H> {
    handler: H,
    limits: Limits,
    bodies: Bodies,
}

/// Serves a connection until it ends; from `leave` on it takes no new requests.
async fn serve<H: Handler>(io: Io, shared: Arc<Shared<H>>, leave: Shutdown) {
    let pulse = Arc::new(Pulse::default());
    let service = service_fn(|request| {
        let (shared, busy) = (shared.clone(), pulse.busy());
        async move {
            let response = answer(&shared, request).await;
            drop(busy);
            Ok::<_, std::convert::Infallible>(response.map(Full::new))
        }
    });
    let builder = builder(&shared.limits);
    let io = TokioIo::new(Watched::new(io, pulse.clone()));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut leave = std::pin::pin!(async move { leave.wait().await }.fuse());
    let mut tick = tokio::time::interval(shared.limits.patience);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(e) = ended {
                    tracing::debug!("a connection ended: {e}");
                }
                return;
            }
            () = &mut leave => connection.as_mut().graceful_shutdown(),
            _ = tick.tick() => if pulse.is_slow(shared.limits.patience) {
                return tracing::debug!("a connection is ended: its request does not come");
            },
        }
    }
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let head = usize::try_from(limits.head).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        // It would close idle connections, too, on which a proxy may just send a request.
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_headers(limits.headers)
        // A head that does not fit into the buffer is too long.
        .max_buf_size(head.max(MIN_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head);
    builder
}

async fn answer<H: Handler>(shared: &Shared<H>, request: Request<Incoming>) -> Response<Bytes> {
    let too_many = request.headers().len() > shared.limits.headers;
    if too_many {
        return plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let (head, body) = request.into_parts();
    let body = match shared.bodies.read(body).await {
        Ok(body) => body,
        Err(status) => return plain(status),
    };
    // What is taken of the bound on bodies is given back after the answer.
    let request = Request::from_parts(head, body.bytes.clone());
    let answer = AssertUnwindSafe(shared.handler.handle(request)).catch_unwind().await;
    answer.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

fn plain(status: StatusCode) -> Response<Bytes> {
    let words = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Bytes::from(format!("{words}\n")));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
