//! A port at work: it takes connections, in the clear or over TLS, up to a bound, until it drains.
//! Knows no protocol.

mod listener;

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

pub(super) use listener::Io;
use listener::Socket;
pub use listener::{Address, Listener};

use super::shutdown::Shutdown;
use super::tls::Tls;

/// Wait after the system refused a connection, as when there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Least time between two lines about refused connections.
const QUIET: Duration = Duration::from_secs(1);

/// How a port ends.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// From "not serving" to the moment when connections are told to go: time for callers to notice.
    pub delay: Duration,
    /// From there to the end, at most: time for calls in flight.
    pub timeout: Duration,
}

/// What a port allows before any protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at one time; more are closed at once.
    pub(super) connections: usize,
    /// For TLS.
    pub(super) handshake: Duration,
}

/// Of one port.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    connections: Gauge<i64, AtomicI64>,
    refused: Counter,
}

impl Metrics {
    /// Puts them into `registry`; `name` is the port's in them, `words` in their descriptions.
    pub(super) fn register(&self, registry: &mut Registry, name: &str, words: &str) {
        registry.register(
            format!("tollgate_{name}_connections"),
            format!("Connections to {words}"),
            self.connections.clone(),
        );
        registry.register(
            format!("tollgate_{name}_connections_refused"),
            format!("Connections to {words} that were one too many"),
            self.refused.clone(),
        );
    }
}

/// See the module.
pub(super) struct Port {
    tls: Option<Tls>,
    bounds: Bounds,
    metrics: Metrics,
    connections: JoinSet<()>,
}

impl Port {
    pub(super) fn new(tls: Option<Tls>, bounds: Bounds, metrics: Metrics) -> Self {
        Self { tls, bounds, metrics, connections: JoinSet::new() }
    }

    /// Takes connections until `begin`, then lets those that are there finish, for at most `limit`.
    /// Each is served by `connection`, which is told when it should leave.
    pub(super) async fn serve<F: Future<Output = ()> + Send + 'static>(
        mut self,
        listener: Listener,
        begin: impl Future<Output = ()>,
        limit: Duration,
        connection: impl Fn(Io, Shutdown) -> F + Clone + Send + 'static,
    ) {
        let (leave, trigger) = Shutdown::manual();
        let mut told = None;
        let mut begin = std::pin::pin!(begin);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(socket) => self.take(socket, &leave, &mut told, connection.clone()),
                    Err(e) => {
                        tracing::debug!("no connection: {e}");
                        sleep(PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => self.count(),
                () = &mut begin => break,
            }
        }
        drop(listener);
        trigger.fire();
        let ended = async { while self.connections.join_next().await.is_some() {} };
        if timeout(limit, ended).await.is_err() {
            tracing::warn!("calls were in flight after {limit:?} of draining; they are cut off");
        }
    }

    fn take<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        socket: Socket,
        leave: &Shutdown,
        told: &mut Option<Instant>,
        connection: impl Fn(Io, Shutdown) -> F + Send + 'static,
    ) {
        let most = self.bounds.connections;
        if self.connections.len() >= most {
            self.metrics.refused.inc();
            if told.is_none_or(|told| told.elapsed() >= QUIET) {
                *told = Some(Instant::now());
                tracing::warn!("{most} connections are open; another one was refused");
            }
            return;
        }
        let (tls, leave, handshake) = (self.tls.clone(), leave.clone(), self.bounds.handshake);
        self.connections.spawn(async move {
            let io = match tls {
                None => Io::Clear(socket),
                Some(tls) => match timeout(handshake, tls.accept(socket)).await {
                    Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
                    Ok(Err(e)) => return tracing::debug!("no TLS with a caller: {e}"),
                    Err(_) => return tracing::debug!("no TLS with a caller in time"),
                },
            };
            connection(io, leave).await;
        });
        self.count();
    }

    fn count(&self) {
        self.metrics.connections.set(i64::try_from(self.connections.len()).unwrap_or(i64::MAX));
    }
}
