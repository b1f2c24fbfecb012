//! Envoy's rate limit service: the edge around `ratelimit-core`. Sockets, files, counters and
//! metrics are here; what a limit means is not.

mod args;
mod configuration;
mod environment;
mod http;
mod metrics;
mod service;
pub mod store;

pub use args::Args;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use prometheus_client::registry::Registry;
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer;
use service_kit::server::admin::{self, Admin, AdminServer, Readiness};
use service_kit::server::grpc::{self, Drain};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::telemetry;
use tonic::service::Routes;

use args::HttpAddr;
use configuration::Configuration;
use metrics::Metrics;
use service::RateLimits;
use store::Store;

/// Names of the service for health checks; `ratelimit` is envoyproxy/ratelimit's.
const SERVICES: &[&str] = &["ratelimit", "envoy.service.ratelimit.v3.RateLimitService"];
/// Longest request, in bytes.
const MAX_MESSAGE: usize = 4 << 20;
/// How the process ends.
const DRAIN: Drain = Drain { delay: Duration::from_millis(500), timeout: Duration::from_secs(10) };

/// Runs the service until a signal ends it.
///
/// # Errors
/// When a setting is wrong, a port is taken or a file cannot be read: in words for the user, with
/// the next step. A configuration that is wrong is no error: it is said, and mended by a new one.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = args.settings(&environment::Environment::of_process())?;
    telemetry::init(&settings.log_level, settings.log_format).map_err(anyhow::Error::msg)?;
    for line in &settings.remarks {
        tracing::warn!("{line}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let ready = Readiness::new(&["configuration", "store"]);
        let configuration =
            Configuration::open(&settings, &metrics, ready.clone(), shutdown.clone())?;
        let store =
            Store::open(&settings.store, &settings.key_prefix, ready.clone(), shutdown.clone())?;
        let limits = Arc::new(RateLimits::new(&settings, configuration.clone(), store, metrics));
        let listener = grpc::bind(settings.grpc_addr).await.with_context(|| {
            format!(
                "the gRPC port {} cannot be used; choose another by --grpc-addr",
                settings.grpc_addr
            )
        })?;
        if let HttpAddr::At(addr) = settings.http_addr {
            http::serve(addr, limits.clone(), ready.clone(), shutdown.clone()).await.with_context(
                || {
                    format!(
                        "the HTTP port {addr} cannot be used; choose another by --http-addr, or off"
                    )
                },
            )?;
        }
        let _admin = serve_admin(settings.admin_addr, registry, ready.clone(), &configuration)?;
        tracing::info!("listening for gRPC on {}", listener.local_addr()?);
        let service =
            RateLimitServiceServer::from_arc(limits).max_decoding_message_size(MAX_MESSAGE);
        grpc::serve(listener, Routes::new(service), SERVICES, ready, DRAIN, shutdown).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

fn serve_admin(
    addr: SocketAddr,
    registry: Registry,
    ready: Readiness,
    configuration: &Configuration,
) -> anyhow::Result<AdminServer> {
    let (report, lines) = (configuration.clone(), configuration.clone());
    let extra =
        Router::new().route("/rlconfig", axum::routing::get(|| async move { lines.limit_lines() }));
    let config = Box::new(move || report.report());
    let server = admin::serve(addr, Admin { registry, ready, config, extra })
        .context("the admin port cannot be used; choose another by --admin-addr")?;
    tracing::info!("listening for admin on {}", server.addr);
    Ok(server)
}
