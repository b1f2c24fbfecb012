//! Envoy's rate limit service: the edge around `ratelimit-core`. Sockets, files, counters and
//! metrics are here; what a limit means is not.

mod args;
mod call;
mod check;
mod configuration;
mod counters;
mod environment;
mod health;
mod http;
mod metrics;
mod scope;
mod service;
pub mod store;
mod traces;

pub use args::{Args, Command};
pub use check::Check;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use prometheus_client::registry::Registry;
use ratelimit_core::OnStoreError;
use service_kit::server::admin::{self, Admin, AdminServer, Readiness};
use service_kit::server::grpc::{Drain, Listener, Server};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::telemetry;
use service_kit::server::tls::{self, Tls};
use tonic::service::Routes;

use args::{HttpAddr, Settings};
use configuration::Configuration;
use health::Health;
pub use metrics::{LocalCacheStats, PoolStats, StoreStats};
use metrics::{Metrics, Outputs};
use service::RateLimits;
use store::Store;
use traces::Traces;

/// Names of the service for health checks; `ratelimit` is envoyproxy/ratelimit's.
const SERVICES: &[&str] = &["ratelimit", "envoy.service.ratelimit.v3.RateLimitService"];
/// How the process ends.
const DRAIN: Drain = Drain { delay: Duration::from_millis(500), timeout: Duration::from_secs(10) };
/// For the collector to take the last spans.
const LAST_SPANS: Duration = Duration::from_secs(3);

const ADMIN_PAGES: &str = "/healthz   is the process alive
/readyz    may it get requests, and why not
/metrics   OpenMetrics
/config    the configuration in force, what is wrong with newer ones, where counters are
/rlconfig  the limits in force, a line each
/stats     the statistics under envoyproxy/ratelimit's names, a line each
/counters?domain=NAME[&prefix=TEXT][&limit=N]
           counters of a domain; for callers on this machine, or with ADMIN_TOKEN
/counters/read (POST)
           a request as for /json: how near it is to its limits; nothing is counted
/counters/reset (POST)
           {\"key\": KEY}, or a request as for /json: its counters begin anew
";

/// Runs the service until a signal ends it, or the command that is named instead.
///
/// # Errors
/// When a command says no, a setting is wrong, a port is taken or a file cannot be read: in words for the user, with
/// the next step. A configuration that is wrong is no error: it is said, and mended by a new one.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(Command::Check(check)) = &args.command {
        return check::run(check);
    }
    let settings = args.settings(&environment::Environment::of_process())?;
    telemetry::init(&settings.log_level, settings.log_format)
        .map_err(|e| anyhow::anyhow!("LOG_LEVEL: {e}"))?;
    for line in &settings.remarks {
        tracing::info!("{line}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let mut registry = Registry::with_labels(
        settings.stats.extra_tags.iter().map(|(k, v)| (k.clone().into(), v.clone().into())),
    );
    let stats = &settings.stats;
    let metrics = Metrics::register(&mut registry, stats.limits, stats.naming);
    let _outputs = Outputs::start(stats.output.clone(), metrics.clone())?;
    let needs_store = settings.plan.on_store_error == OnStoreError::Error;
    let health = Health::new(settings.health_needs_configuration, needs_store);
    health.follow(shutdown.clone());
    let tls = tls::from_flags(settings.tls_dir.as_deref(), settings.tls_clients, &mut registry)
        .map_err(anyhow::Error::msg)?;
    let (traces, sending) = Traces::start(settings, &mut registry)?;
    let (configuration, first) =
        Configuration::open(settings, tls.clone(), &metrics, &health, &shutdown)?;
    let store = Store::open(&settings.store, &metrics.store, &health, &shutdown);
    let limits = RateLimits::new(settings, configuration.clone(), store, metrics.clone(), traces);
    let limits = Arc::new(limits);
    let server = Server::new(Routes::default())
        .unary(call::PATH, limits.clone())
        .health_services(SERVICES)
        .limits(settings.grpc.limits.clone());
    server.register(&mut registry);
    let port_tls = own_tls(settings, &mut registry)?.or(tls);
    let counters = counters::routes(limits.clone(), settings.admin_token.clone());
    let ready = health.ready.clone();
    let _admin = serve_admin(settings, registry, metrics, ready, configuration, counters)?;
    tokio::select! {
        () = first.heard() => {}
        () = shutdown.wait() => return Ok(()),
    }
    let address = &settings.grpc.address;
    let listener = Listener::bind(address).await.with_context(|| {
        format!("the gRPC port {address} cannot be used; choose another by --grpc-addr")
    })?;
    if let HttpAddr::At(addr) = settings.http_addr {
        let callers = health.callers.clone();
        http::serve(addr, limits.clone(), callers, shutdown.clone()).await.with_context(|| {
            format!("the HTTP port {addr} cannot be used; choose another by --http-addr, or off")
        })?;
    }
    tracing::info!("listening for gRPC on {}", listener.address()?);
    health.set_ports_open();
    server.serve(listener, port_tls, health.callers, DRAIN, shutdown).await;
    if let Some(sending) = sending {
        sending.finish(LAST_SPANS).await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The certificate of the gRPC port, if it has one of its own.
fn own_tls(settings: &Settings, registry: &mut Registry) -> anyhow::Result<Option<Tls>> {
    let Some(source) = settings.grpc.tls.clone() else { return Ok(None) };
    let tls = Tls::open_files(source).map_err(anyhow::Error::msg)?;
    tls.register(registry);
    Ok(Some(tls))
}

fn serve_admin(
    settings: &Settings,
    registry: Registry,
    metrics: Metrics,
    ready: Readiness,
    configuration: Configuration,
    counters: Router,
) -> anyhow::Result<AdminServer> {
    let lines = configuration.clone();
    let extra = Router::new()
        .route("/", get(|| async { ADMIN_PAGES }))
        .route("/stats", get(|| async move { metrics.lines() }))
        .route("/rlconfig", get(|| async move { lines.limit_lines() }))
        .merge(counters);
    let store = settings.store.describe();
    let config = Box::new(move || {
        let mut report = configuration.report();
        report["store"] = store.clone().into();
        report
    });
    let server = admin::serve(settings.admin_addr, Admin { registry, ready, config, extra })
        .context("the admin port cannot be used; choose another by --admin-addr")?;
    tracing::info!("listening for admin on {}", server.addr);
    Ok(server)
}
