//! Envoy's external authorization service: the edge around `authz-core`. Sockets, files, fetches
//! and metrics are here; what is allowed is not.

mod answer;
mod args;
mod check;
mod configuration;
mod decisions;
mod documents;
mod edge;
mod explain;
mod http;
mod lint;
mod metrics;
mod traces;

pub use args::{Args, Command, HttpAddr};
pub use edge::store;
pub use http::{ClientAddress, PathPrefix};
pub use lint::Check;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use prometheus_client::registry::Registry;
use serde_json::Value;
use service_kit::server::admin::{self, Admin, AdminServer, Readiness};
use service_kit::server::grpc::{Address, Drain, Limits, Listener, Server};
use service_kit::server::http as http_port;
use service_kit::server::shutdown::Shutdown;
use service_kit::server::{telemetry, tls};
use tonic::service::Routes;

use check::Checks;
use configuration::Configuration;
use decisions::{Audit, Decisions, Recorder};
use documents::Documents;
use edge::{Edge, Stages, Upstreams, Work};
use metrics::Metrics;
use store::Store;
use traces::Traces;

/// Name of the gRPC service for health checks.
const SERVICE: &str = "envoy.service.auth.v3.Authorization";
/// Longest CheckRequest, in bytes: Envoy may send a body.
const MAX_MESSAGE: usize = 16 << 20;
/// At the end, for the collector of traces to take the last spans.
const LAST_SPANS: Duration = Duration::from_secs(3);
/// How the process ends.
const DRAIN: Drain = Drain { delay: Duration::from_millis(500), timeout: Duration::from_secs(10) };

/// Runs the service until a signal ends it.
///
/// # Errors
/// When a setting is wrong, a port is taken or the configuration cannot be read: in words for the
/// user, with the next step.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = args.settings()?;
    if let Some(Command::Check(check)) = &args.command {
        return lint::run(check, &settings.compile);
    }
    telemetry::init(&args.log_level, args.log_format()).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let ready = Readiness::new(&["configuration"]);
        let tls = tls::from_flags(args.tls_dir.as_deref(), args.tls_clients, &mut registry)
            .map_err(anyhow::Error::msg)?;
        let documents = Documents::new(&settings.addresses, metrics.clone())?;
        documents.register(&mut registry, settings.compile.token_cache.clone());
        let configuration = Configuration::open(
            &args,
            tls.clone(),
            settings.compile,
            documents.clone(),
            ready.clone(),
            shutdown.clone(),
        )?;
        let grpc_listener = bind("gRPC", "--grpc-addr", &args.grpc_addr).await?;
        let http_listener = match &args.http_addr {
            HttpAddr::Off => None,
            HttpAddr::At(address) => Some(bind("HTTP", "--http-addr", address).await?),
        };
        let store = Store::open(&settings.store, &mut registry);
        store.tell(&ready);
        let edge = Arc::new(Edge {
            documents,
            upstreams: Upstreams::new(settings.addresses.clone(), &mut registry),
            store,
            work: Work::register(&mut registry),
            stages: Stages::register(&mut registry),
        });
        let audit = settings.audit.as_ref().map(|a| Audit::open(a, &mut registry)).transpose()?;
        let (traces, spans) = Traces::start(settings.traces.as_ref(), &mut registry)?;
        let recorder = Recorder::default();
        let decisions = Decisions::new(&mut registry, audit, recorder.clone());
        let (timeout, style) = (settings.timeout, settings.style);
        let (at, with) = (configuration.clone(), edge.clone());
        let checks = Arc::new(Checks::new(at, with, decisions, traces, metrics, timeout, style));
        let grpc = Server::new(Routes::default())
            .unary(check::PATH, checks.clone())
            .health_services(&[SERVICE])
            .limits(Limits { message: MAX_MESSAGE, ..Limits::default() });
        grpc.register(&mut registry);
        let http = http_listener.map(|listener| {
            let unexpressed = http::Unexpressed::register(&mut registry);
            let door = http::Door::new(checks, settings.http, unexpressed);
            let server = http_port::Server::new(door, http_port::Limits::default());
            server.register(&mut registry);
            (listener, server)
        });
        let extra =
            explain::routes(recorder, configuration.clone(), edge.clone(), settings.admin_token);
        let config = {
            let (configuration, edge) = (configuration.clone(), edge.clone());
            move || {
                let mut report = configuration.report();
                report["store"] = edge.store.shown().into();
                report
            }
        };
        let _admin = serve_admin(args.admin_addr, registry, ready.clone(), config, extra)?;
        let over_http = async {
            if let Some((listener, server)) = http {
                server.serve(listener, tls.clone(), DRAIN, shutdown.clone()).await;
            }
        };
        let over_grpc = grpc.serve(grpc_listener, tls.clone(), ready, DRAIN, shutdown.clone());
        tokio::join!(over_http, over_grpc);
        if let Some(spans) = spans {
            spans.finish(LAST_SPANS).await;
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Binds a port; `setting` chooses another one.
async fn bind(name: &str, setting: &str, address: &Address) -> anyhow::Result<Listener> {
    let listener = Listener::bind(address).await.with_context(|| {
        format!("the {name} port {address} cannot be used; choose another by {setting}")
    })?;
    tracing::info!("listening for {name} on {}", listener.address()?);
    Ok(listener)
}

fn serve_admin(
    addr: SocketAddr,
    registry: Registry,
    ready: Readiness,
    config: impl Fn() -> Value + Send + Sync + 'static,
    extra: Router,
) -> anyhow::Result<AdminServer> {
    let config = Box::new(config);
    let server = admin::serve(addr, Admin { registry, ready, config, extra })
        .context("the admin port cannot be used; choose another by --admin-addr")?;
    tracing::info!("listening for admin on {}", server.addr);
    Ok(server)
}
