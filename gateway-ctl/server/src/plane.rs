//! The control plane of one process: controller, xDS port and the page for people, put together.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway_core::{Overview, Settings};
use prometheus_client::registry::Registry;
use service_kit::Secret;
use service_kit::server::admin;
use service_kit::server::admin::{Admin, AdminServer, Readiness};
use service_kit::server::grpc::{self, Drain};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::tls;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::consul::{self, Follower};
use crate::controller::{Aside, Controller, Findings, Question};
use crate::history::History;
use crate::kubernetes::{self, lease, status, status::Writer};
use crate::metrics::Metrics;
use crate::page::Page;
use crate::services::{self, Services};
use crate::source::{self, folder::Folder, istio::Istio};
use crate::xds::clients::ClientKind;
use crate::xds::{self, Clients, Pace, Snapshot};
use crate::{certificates, output, tls_files, webhook};

/// Refusals and questions that wait for the controller.
const WAITING: usize = 64;
/// Streams never end by themselves, so there is nothing to wait for.
const DRAIN: Drain = Drain { delay: Duration::ZERO, timeout: Duration::from_millis(200) };

/// Where the resources are.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a folder (or file).
    Folder(PathBuf),
    /// In a cluster.
    Kubernetes(Box<kubernetes::Options>),
}

impl Source {
    /// The name of this replica; empty where there are no others.
    fn identity(&self) -> &str {
        match self {
            Self::Folder(_) => "",
            Self::Kubernetes(cluster) => &cluster.identity,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Kubernetes(_) => f.write_str("the Kubernetes API"),
        }
    }
}

/// What a control plane needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the resources are.
    pub source: Source,
    /// Where Envoys and services connect.
    pub xds_addr: SocketAddr,
    /// Folder of the certificate with which xDS is served, over mutual TLS.
    pub tls_dir: Option<PathBuf>,
    /// Where the API server has objects validated; needs [`Self::tls_dir`].
    pub webhook_addr: Option<SocketAddr>,
    /// The folder of Istio's certificates.
    pub istio_dir: Option<PathBuf>,
    /// Where people look.
    pub admin_addr: SocketAddr,
    /// What the engine is told.
    pub settings: Settings,
    /// How agents of Consul are spoken to.
    pub consul: consul::Environment,
    /// Where the services say how they are.
    pub services: services::Addresses,
    /// Who has it may look from anywhere, others from this machine only.
    pub admin_token: Option<Secret<String>>,
}

/// A control plane that runs until its [`Shutdown`].
pub struct Plane {
    /// The xDS port as bound.
    pub xds_addr: SocketAddr,
    /// The diagnostics page as bound; ends when dropped.
    pub admin: AdminServer,
    /// Who is connected.
    pub clients: Clients,
    /// What is in force.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What is wrong.
    pub findings: watch::Receiver<Arc<Findings>>,
    /// Commands that the configuration's comments suggest.
    pub suggestions: Vec<String>,
    /// What `/readyz` says.
    pub ready: Readiness,
    /// What other parts notice, for the controller.
    pub asides: mpsc::Sender<Aside>,
    questions: mpsc::Sender<Question>,
    tasks: Vec<JoinHandle<()>>,
}

impl Plane {
    /// Reads the configuration, says what is wrong with it, binds both ports and serves.
    /// `components` are further ones that `/readyz` asks for.
    ///
    /// # Errors
    /// One line for people: what is missing or taken, and which flag changes it.
    pub async fn start(
        options: &Options,
        components: &[&'static str],
        shutdown: Shutdown,
    ) -> Result<Self, String> {
        let mut registry = Registry::default();
        let metrics = xds::Metrics::new(&mut registry);
        let mut names = vec!["configuration", "xds"];
        names.extend_from_slice(components);
        let ready = Readiness::new(&names);
        let numbers = Metrics::new(&mut registry);
        let mut controller =
            Controller::new(options.settings.clone(), numbers.clone(), ready.clone());
        let clients = Clients::default();
        let (sender, mut changes) = mpsc::channel(source::WAITING);
        let mut istio = match &options.istio_dir {
            None => None,
            Some(folder) => Some(open_istio(folder, &options.settings.namespace)?),
        };
        let mut tasks = Vec::new();
        let suggestions = match &options.source {
            Source::Folder(path) => {
                let (folder, mut first, suggestions) = open(path)?;
                if let Some(istio) = &mut istio {
                    istio.read(&mut first.change);
                }
                controller.apply(first);
                tasks.push(tokio::spawn(folder.run(sender, shutdown.clone())));
                suggestions
            }
            Source::Kubernetes(cluster) => {
                let client = kubernetes::connect().await?;
                let source = kubernetes::source::Source::new(client.clone(), (**cluster).clone());
                let judged = controller.judge();
                let writer = Writer::new(client.clone(), cluster, source.served(), numbers.clone());
                let (leads, giving_back) = lease::lead(client.clone(), cluster, shutdown.clone());
                tasks.extend(look_after(&client, cluster, options, &leads, &shutdown));
                let addresses = status::follow_addresses(client, cluster);
                let until = shutdown.clone();
                let clients = (clients.clone(), controller.snapshots());
                tasks.push(tokio::spawn(writer.run(judged, clients, leads, addresses, until)));
                tasks.push(giving_back);
                tasks.push(tokio::spawn(source.run(sender, ready.clone(), shutdown.clone())));
                Vec::new()
            }
        };
        if let Some(istio) = istio {
            changes = istio.join(changes, shutdown.clone());
        }
        let listener = grpc::bind(options.xds_addr)
            .await
            .map_err(|e| cannot_listen("xDS", options.xds_addr, &e, "--xds-addr"))?;
        let xds_addr = listener.local_addr().map_err(|e| e.to_string())?;
        let tls =
            tls::from_flags(options.tls_dir.as_deref(), tls::Clients::Require, &mut registry)?;
        if tls.is_none() && !xds_addr.ip().is_loopback() {
            output::note(format!(
                "warning: xDS listens on {xds_addr} in clear text and carries keys; use --tls-dir, or let only trusted networks reach it"
            ));
        }

        serve_webhook(options, &shutdown).await?;
        let (snapshots, findings) = (controller.snapshots(), controller.findings());
        let (rejections, rejected) = mpsc::channel(WAITING);
        let (questions, asked) = mpsc::channel(WAITING);
        let (asides, noticed) = mpsc::channel(1);
        let follower = Follower::new(options.consul.clone(), controller.in_consul(), &mut registry);
        tasks.push(tokio::spawn(follower.run(asides.clone(), shutdown.clone())));
        if options.settings.tls_files {
            let follower = tls_files::Follower::new(controller.tls_files());
            tasks.push(tokio::spawn(follower.run(asides.clone(), shutdown.clone())));
        }
        let server = xds::Server::new(
            snapshots.clone(),
            rejections,
            clients.clone(),
            metrics,
            Pace::default(),
        );

        let history = controller.history();
        tasks.push(tokio::spawn(follow(clients.clone(), history.clone(), shutdown.clone())));
        let page = Page {
            clients: clients.clone(),
            findings: findings.clone(),
            snapshots: snapshots.clone(),
            questions: questions.clone(),
            history,
            ready: ready.clone(),
            services: Services::new(options.services.clone(), options.admin_token.clone()),
            identity: options.source.identity().into(),
            token: options.admin_token.clone(),
        };
        let admin = Admin {
            registry,
            ready: ready.clone(),
            config: page.config(options),
            extra: page.router(),
        };
        let admin = admin::serve(options.admin_addr, admin).map_err(|e| {
            cannot_listen("the diagnostics page", options.admin_addr, &e, "--admin-addr")
        })?;
        tracing::info!(port = "xds", address = %xds_addr, "listening");
        tracing::info!(port = "admin", address = %admin.addr, "listening");
        ready.set("xds", Ok(()));

        let routes = tonic::service::Routes::new(server.into_service());
        let serving = {
            let (ready, shutdown) = (ready.clone(), shutdown.clone());
            let (mut configured, mut complete) = (controller.configured(), controller.complete());
            tokio::spawn(async move {
                // An Envoy that comes back keeps what it has until there is something to compare.
                tokio::select! {
                    _ = configured.wait_for(|configured| *configured) => {}
                    () = shutdown.wait() => return,
                }
                // The same for what Consul knows, but not for ever.
                tokio::select! {
                    _ = complete.wait_for(|complete| *complete) => {}
                    () = tokio::time::sleep(consul::FIRST_ANSWERS) => {}
                    () = shutdown.wait() => return,
                }
                grpc::serve(listener, tls, routes, &[], ready, DRAIN, shutdown).await;
            })
        };
        tasks.push(serving);
        tasks.push(tokio::spawn(controller.run(
            changes,
            rejected,
            asked,
            noticed,
            clients.clone(),
            shutdown,
        )));
        Ok(Self {
            xds_addr,
            admin,
            clients,
            snapshots,
            findings,
            suggestions,
            ready,
            asides,
            questions,
            tasks,
        })
    }

    /// What is in force, for people; absent when the controller has ended.
    pub async fn overview(&self) -> Option<Overview> {
        let (answer, overview) = oneshot::channel();
        self.questions.send(Question::Overview(answer)).await.ok()?;
        overview.await.ok()
    }

    /// Waits until everything has ended after the shutdown.
    pub async fn join(self) {
        for task in self.tasks {
            // A task that panicked has said so already.
            let _ = task.await;
        }
    }
}

/// Notes in the history when every client has a change.
async fn follow(clients: Clients, history: History, shutdown: Shutdown) {
    let mut changes = clients.changes();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.wait() => return,
        }
        let all = clients.list();
        if all.iter().any(|c| c.kind == ClientKind::Envoy) && all.iter().all(|c| c.is_in_sync(0)) {
            history.live(all.iter().map(|c| c.revision).min().unwrap_or_default());
        }
    }
}

/// What the leader looks after besides status.
fn look_after(
    client: &kube::Client,
    cluster: &kubernetes::Options,
    options: &Options,
    leads: &watch::Receiver<bool>,
    shutdown: &Shutdown,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if let Some(wanted) = cluster.certificates.clone() {
        let (client, leads, shutdown) = (client.clone(), leads.clone(), shutdown.clone());
        tasks.push(tokio::spawn(certificates::keep(client, wanted, leads, shutdown)));
    }
    if let (Some(name), Some(folder)) = (cluster.webhook_configuration.clone(), &options.tls_dir) {
        let (client, leads, shutdown) = (client.clone(), leads.clone(), shutdown.clone());
        let ca = folder.join("ca.crt");
        tasks.push(tokio::spawn(kubernetes::webhook::keep_ca(client, name, ca, leads, shutdown)));
    }
    tasks
}

async fn serve_webhook(options: &Options, shutdown: &Shutdown) -> Result<(), String> {
    let Some(addr) = options.webhook_addr else { return Ok(()) };
    let folder = options.tls_dir.as_deref().ok_or("--webhook-addr needs --tls-dir")?;
    let cannot = |e: io::Error| cannot_listen("the webhook", addr, &e, "--webhook-addr");
    // The API server has no certificate of ours.
    let tls = tls::Tls::open(folder, tls::Clients::Optional)?;
    let listener = grpc::bind(addr).await.map_err(cannot)?;
    let id = options.settings.ambassador_id.clone();
    let addr = webhook::serve(listener, tls, id, shutdown.clone()).await.map_err(cannot)?;
    tracing::info!(port = "webhook", address = %addr, "listening");
    Ok(())
}

fn open(path: &Path) -> Result<(Folder, source::Noticed, Vec<String>), String> {
    let opened = Folder::open(path).map_err(|e| cannot_read(&e))?;
    if opened.1.is_empty() {
        output::note(format!(
            "warning: {} has no .yaml, .yml or .json file with a resource yet",
            path.display()
        ));
    }
    Ok(opened)
}

fn open_istio(folder: &Path, namespace: &str) -> Result<Istio, String> {
    Istio::open(folder.to_owned(), namespace.to_owned()).map_err(|e| {
        format!("cannot follow {}: {e} (name Istio's folder with --istio-dir)", folder.display())
    })
}

fn cannot_read(e: &io::Error) -> String {
    format!("cannot read the configuration: {e} (name a folder of resources with --config)")
}

/// One line about a port that cannot be bound.
pub fn cannot_listen(what: &str, address: SocketAddr, e: &io::Error, flag: &str) -> String {
    let reason = match e.kind() {
        io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "this user may not bind it (ports below 1024 need privileges)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => e.to_string(),
    };
    format!("cannot listen on {address} for {what}: {reason}; choose another with {flag}")
}
