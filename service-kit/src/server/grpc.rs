//! A gRPC port that is bounded and drains. One hot method may be served straight on HTTP/2
//! ([`Unary`]); the other services, and health, are tonic's. Knows no message.

mod connection;
mod health;
mod limits;
mod quiet;
mod routed;
mod unary;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tonic::service::Routes;

pub use limits::Limits;
pub use unary::{Unary, Unserved};

pub use super::port::{Address, Drain, Listener};

use super::admin::Readiness;
use super::port::{Bounds, Metrics, Port};
use super::shutdown::Shutdown;
use super::tls::Tls;
use connection::Shared;
use health::Health;

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
        self.metrics.register(registry, "grpc", "the gRPC port");
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
            let Limits { connections, handshake, .. } = shared.limits;
            let bounds = Bounds { connections, handshake };
            let port = Port::new(tls, bounds, self.metrics);
            let connection = move |io, leave| connection::serve(io, shared.clone(), leave);
            port.serve(listener.into(), begin, drain.timeout, connection).await;
        };
        tokio::select! {
            () = served => {}
            () = follow => {}
        }
    }
}

#[cfg(test)]
mod tests;
