//! A gRPC port that is bounded and drains. One hot method may be served straight on HTTP/2
//! ([`Unary`]); the other services, and health, are tonic's. Knows no message.

mod connection;
mod health;
mod limits;
mod listener;
mod quiet;
mod routed;
mod unary;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::service::Routes;

pub use limits::Limits;
pub use listener::{Address, Listener};
pub use unary::{Unary, Unserved};

use super::admin::Readiness;
use super::shutdown::Shutdown;
use super::tls::Tls;
use connection::Shared;
use health::Health;
use listener::{Io, Socket};

/// Wait after the system refused a connection, as when there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Least time between two lines about refused connections.
const QUIET: Duration = Duration::from_secs(1);

/// How a port ends.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// From "not serving" to the first GOAWAY: time for callers to notice.
    pub delay: Duration,
    /// From there to the end, at most: time for calls in flight.
    pub timeout: Duration,
}

/// Binds `addr` for this process alone (no SO_REUSEPORT: two processes must not share a port by
/// mistake).
///
/// # Errors
/// The plain reason, as in "address in use"; callers add what the port is for.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Serves `routes` with [`Limits::default`], as [`Server::serve`].
pub async fn serve(
    listener: impl Into<Listener>,
    tls: Option<Tls>,
    routes: Routes,
    health_services: &[&str],
    ready: Readiness,
    drain: Drain,
    shutdown: Shutdown,
) {
    Server::new(routes)
        .health_services(health_services)
        .serve(listener, tls, ready, drain, shutdown)
        .await;
}

/// What a port serves.
pub struct Server<U = Unserved> {
    unary: Option<(&'static str, U)>,
    routes: Routes,
    health_services: Vec<String>,
    limits: Limits,
    metrics: Metrics,
}

#[derive(Clone, Default)]
struct Metrics {
    connections: Gauge<i64, AtomicI64>,
    refused: Counter,
}

impl Server {
    /// `routes`, and health.
    pub fn new(routes: Routes) -> Self {
        Self {
            unary: None,
            routes,
            health_services: Vec::new(),
            limits: Limits::default(),
            metrics: Metrics::default(),
        }
    }
}

impl<U: Unary> Server<U> {
    /// Serves the method at `path`, as in `/package.Service/Method`, by `unary`, and not by the
    /// routes.
    pub fn unary<V: Unary>(self, path: &'static str, unary: V) -> Server<V> {
        let Self { routes, health_services, limits, metrics, .. } = self;
        Server { unary: Some((path, unary)), routes, health_services, limits, metrics }
    }

    /// Services that health knows besides "".
    #[must_use]
    pub fn health_services(mut self, names: &[&str]) -> Self {
        self.health_services = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Other limits than the default.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Puts the metrics into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tollgate_grpc_connections",
            "Connections to the gRPC port",
            self.metrics.connections.clone(),
        );
        registry.register(
            "tollgate_grpc_connections_refused",
            "Connections to the gRPC port that were one too many",
            self.metrics.refused.clone(),
        );
    }

    /// Serves on `listener` (serving as long as `ready` is, says health), over `tls` if there is
    /// one, until `shutdown`, then drains: `ready` and health say no at once, GOAWAY after
    /// `drain.delay`, the end when all calls are answered or `drain.timeout` is over.
    pub async fn serve(
        self,
        listener: impl Into<Listener>,
        tls: Option<Tls>,
        ready: Readiness,
        drain: Drain,
        shutdown: Shutdown,
    ) {
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let health = Health::new(reporter, self.health_services);
        // Before the first call can come.
        health.tell(ready.is_ready()).await;
        let shared = Arc::new(Shared {
            unary: self.unary,
            routes: self.routes.add_service(health_service).prepare(),
            limits: self.limits,
        });
        let follow = health.follow(ready.clone(), shutdown.clone());
        let begin = async move {
            shutdown.wait().await;
            ready.set("drain", Err("shutting down".to_owned()));
            sleep(drain.delay).await;
        };
        let served = async move {
            let port = Port { tls, shared, metrics: self.metrics, connections: JoinSet::new() };
            port.serve(listener.into(), begin, drain.timeout).await;
        };
        tokio::select! {
            () = served => {}
            () = follow => {}
        }
    }
}

/// A port at work.
struct Port<U> {
    tls: Option<Tls>,
    shared: Arc<Shared<U>>,
    metrics: Metrics,
    connections: JoinSet<()>,
}

impl<U: Unary> Port<U> {
    /// Takes connections until `begin`, then lets those that are there finish.
    async fn serve(mut self, listener: Listener, begin: impl Future<Output = ()>, limit: Duration) {
        let (leave, trigger) = Shutdown::manual();
        let mut told = None;
        let mut begin = std::pin::pin!(begin);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(socket) => self.take(socket, &leave, &mut told),
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

    fn take(&mut self, socket: Socket, leave: &Shutdown, told: &mut Option<Instant>) {
        let most = self.shared.limits.connections;
        if self.connections.len() >= most {
            self.metrics.refused.inc();
            if told.is_none_or(|told| told.elapsed() >= QUIET) {
                *told = Some(Instant::now());
                tracing::warn!("{most} connections are open; another one was refused");
            }
            return;
        }
        let tls = self.tls.clone();
        let (shared, leave) = (self.shared.clone(), leave.clone());
        self.connections.spawn(async move {
            let io = match tls {
                None => Io::Clear(socket),
                Some(tls) => match timeout(shared.limits.handshake, tls.accept(socket)).await {
                    Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
                    Ok(Err(e)) => return tracing::debug!("no TLS with a caller: {e}"),
                    Err(_) => return tracing::debug!("no TLS with a caller in time"),
                },
            };
            connection::serve(io, shared, leave).await;
        });
        self.count();
    }

    fn count(&self) {
        self.metrics.connections.set(i64::try_from(self.connections.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests;
