//! A gRPC port that drains.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::admin::Readiness;
use super::shutdown::Shutdown;
use super::tls::{self, Tls};

/// Calls in flight that one connection may have.
const MAX_STREAMS: u32 = 4096;
/// How often readiness is looked at, for health.
const LOOK: Duration = Duration::from_millis(100);

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

/// Serves `routes` and `grpc.health.v1` (for "" and each of `health_services`; serving while
/// `ready` is) over `tls`, if there is one, until `shutdown`, then drains: `ready` and health say no at once, GOAWAY after
/// `drain.delay`, the end when all calls are answered or `drain.timeout` is over.
///
/// # Errors
/// When the transport fails.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    routes: Routes,
    health_services: &[&str],
    ready: Readiness,
    drain: Drain,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let names: Vec<String> =
        std::iter::once("").chain(health_services.iter().copied()).map(str::to_owned).collect();
    let health = Health { reporter, names };
    // Before the first call can come.
    health.tell(ready.is_ready()).await;
    let follow = health.follow(ready.clone(), shutdown.clone());
    let begin = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.wait().await;
            ready.set("drain", Err("shutting down".to_owned()));
            tokio::time::sleep(drain.delay).await;
        }
    };
    let limit = async move {
        shutdown.wait().await;
        tokio::time::sleep(drain.delay.saturating_add(drain.timeout)).await;
    };
    let server = Server::builder()
        .max_concurrent_streams(Some(MAX_STREAMS))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_routes(routes)
        .add_service(health_service);
    let served = async move {
        match tls {
            Some(tls) => {
                server.serve_with_incoming_shutdown(tls::accept(listener, tls), begin).await
            }
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                server.serve_with_incoming_shutdown(incoming, begin).await
            }
        }
    };
    tokio::select! {
        served = served => served,
        () = limit => {
            tracing::warn!("calls were in flight after {:?} of draining; they are cut off", drain.timeout);
            Ok(())
        }
        () = follow => Ok(()),
    }
}

struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
}

impl Health {
    async fn tell(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Tells what `ready` says, and no from `shutdown` on. Never ends.
    async fn follow(self, ready: Readiness, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(LOOK);
        let mut told = None;
        while !shutdown.is_triggered() {
            let serving = ready.is_ready();
            if told != Some(serving) {
                self.tell(serving).await;
                told = Some(serving);
            }
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.wait() => {}
            }
        }
        self.tell(false).await;
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
