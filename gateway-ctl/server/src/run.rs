//! `gateway-ctl run`: the whole gateway on one machine. Starts Envoy and the two services as
//! children, says when requests can come, and stops everything together.

pub mod child;
mod envoy;
mod greeting;
mod ports;
mod progress;
mod readiness;
mod restarts;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, ObjectRef, Severity};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::bootstrap::{Bootstrap, NODE_CLUSTER};
use crate::controller::Aside;
use crate::plane::{self, Plane};
use crate::source::Noticed;
use crate::statsd::Statsd;
use crate::{echo, output};
use child::Child;
use restarts::Restarts;

/// Programs that start others may pass one signal on twice; a second one counts after this long.
const SAME_SIGNAL: Duration = Duration::from_millis(500);
/// How long children may take to end when asked.
const STOP: Duration = Duration::from_secs(5);

/// What `run` needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The control plane.
    pub plane: plane::Options,
    /// The Envoy binary, if one is named.
    pub envoy: Option<PathBuf>,
    /// Envoy's admin port.
    pub envoy_admin_addr: SocketAddr,
    /// Envoy's worker threads; absent is one a CPU.
    pub envoy_concurrency: Option<u32>,
    /// ratelimit-svc's gRPC port.
    pub ratelimit_addr: SocketAddr,
    /// ratelimit-svc's admin port.
    pub ratelimit_admin_addr: SocketAddr,
    /// authz-svc's gRPC port.
    pub authz_addr: SocketAddr,
    /// authz-svc's admin port.
    pub authz_admin_addr: SocketAddr,
    /// Where ratelimit-svc counts; absent is in its memory.
    pub redis_url: Option<String>,
    /// Where to serve the echo backend.
    pub echo: Option<SocketAddr>,
}

/// Runs until a signal. Must be called on the process's main thread (see [`child`]).
///
/// # Errors
/// One line: what went wrong and the next step. Nothing is left running.
pub async fn run(options: Options) -> Result<(), String> {
    let shutdown = Shutdown::on_signals().map_err(|e| format!("cannot handle signals: {e}"))?;
    let ports = ports::check(&options).await?;
    let programs = Programs {
        ratelimit: beside_or_on_path("ratelimit-svc")?,
        authz: beside_or_on_path("authz-svc")?,
    };
    let plane = Plane::start(&options.plane, &["envoy"], shutdown.clone()).await?;
    ports::check_listeners(&plane)?;
    let envoy = tokio::select! {
        envoy = envoy::find(options.envoy.as_deref()) => envoy?,
        () = shutdown.wait() => return Ok(()),
    };
    let echoing = match &options.echo {
        None => None,
        Some(addr) => {
            let listener = service_kit::server::grpc::bind(*addr)
                .await
                .map_err(|e| plane::cannot_listen("the echo backend", *addr, &e, "--echo"))?;
            Some(tokio::spawn(echo::serve(listener, "echo".to_owned(), shutdown.clone())))
        }
    };
    let mut children = Children::default();
    let result = children.live(&options, &ports, &programs, &envoy, &plane, &shutdown).await;
    children.stop().await;
    if shutdown.is_triggered() {
        plane.join().await;
        if let Some(echoing) = echoing {
            // Its port is closed with it, orderly or not.
            let _ = echoing.await;
        }
    }
    result
}

struct Programs {
    ratelimit: PathBuf,
    authz: PathBuf,
}

/// What Envoy is called among the children.
const ENVOY: &str = "envoy";

/// The end of a child.
struct Death {
    name: &'static str,
    words: String,
}

impl Death {
    /// What is said when it ends everything.
    fn fatal(&self) -> String {
        let step = match self.name {
            ENVOY => {
                "if a port is in use, free it or choose another with --envoy-admin-addr; otherwise run it apart with `gateway-ctl envoy-bootstrap`"
            }
            "ratelimit-svc" => {
                "if a port is in use, choose others with --ratelimit-addr and --ratelimit-admin-addr"
            }
            _ => "if a port is in use, choose others with --authz-addr and --authz-admin-addr",
        };
        format!("{}; everything is stopped; {step}", self.words)
    }
}

/// Tells of an Envoy that is down, or that it is up again.
async fn tell(plane: &Plane, down: Option<&str>) {
    let found: Vec<Diagnostic> = down
        .iter()
        .map(|words| Diagnostic::new(Severity::Error, ObjectRef::default(), "", *words))
        .collect();
    plane.ready.set(ENVOY, down.map_or(Ok(()), |words| Err(words.to_owned())));
    let noticed =
        Noticed { change: Change { found, ..Change::default() }, at: std::time::Instant::now() };
    // The controller has ended when this fails, and the rest ends with it.
    let _ = plane.asides.send(Aside { part: ENVOY, noticed }).await;
}

/// The children in the order in which they are stopped.
#[derive(Default)]
struct Children(Vec<Child>);

impl Children {
    /// Starts all, waits until requests can come, and then until a signal or a child's end.
    async fn live(
        &mut self,
        options: &Options,
        ports: &ports::Ports,
        programs: &Programs,
        envoy: &Path,
        plane: &Plane,
        shutdown: &Shutdown,
    ) -> Result<(), String> {
        let start = |name, program: &Path, args: &[String]| {
            Child::start(name, program, args).map_err(|e| format!("cannot start {name}: {e}"))
        };
        let xds = plane.xds_addr.to_string();
        let bootstrap = Bootstrap {
            xds_host: plane.xds_addr.ip().to_string(),
            xds_port: plane.xds_addr.port(),
            admin: ports.envoy_admin,
            node: "gateway".to_owned(),
            cluster: NODE_CLUSTER.to_owned(),
            tls: None,
            ready: None,
            statsd: Statsd::from_variables(|name| std::env::var(name).ok())?,
            runtime: Vec::new(),
        };
        let args = envoy_args(&bootstrap, options.envoy_concurrency);
        let start_envoy = || start(ENVOY, envoy, &args);
        self.0.push(start_envoy()?);
        let mut started = Instant::now();
        let mut args = service_args(ports.ratelimit, ports.ratelimit_admin, &xds);
        if let Some(url) = &options.redis_url {
            args.extend(["--redis-url".to_owned(), url.clone()]);
        }
        self.0.push(start("ratelimit-svc", &programs.ratelimit, &args)?);
        let args = service_args(ports.authz, ports.authz_admin, &xds);
        self.0.push(start("authz-svc", &programs.authz, &args)?);

        tokio::select! {
            ready = readiness::wait(plane, ports.envoy_admin) => ready?,
            death = self.first_death() => return Err(death.fatal()),
            () = shutdown.wait() => return Ok(()),
        }
        plane.ready.set("envoy", Ok(()));
        output::result(&greeting::text(plane).await).map_err(|e| e.to_string())?;
        let mut restarts = Restarts::default();
        loop {
            let death = tokio::select! {
                death = self.first_death() => death,
                () = shutdown.wait() => return Ok(()),
            };
            // The services have requests of an Envoy that lives; theirs is an end of the whole.
            if death.name != ENVOY {
                return Err(death.fatal());
            }
            let wait = restarts.ended(started.elapsed());
            let words = restarts.words(&death.words, wait);
            tell(plane, Some(&words)).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.wait() => return Ok(()),
            }
            let child = start_envoy()?;
            started = Instant::now();
            if let Some(envoy) = self.0.iter_mut().find(|c| c.name == ENVOY) {
                *envoy = child;
            }
            // Until it serves again, or has ended again.
            tokio::select! {
                ready = readiness::wait(plane, ports.envoy_admin) => match ready {
                    Ok(()) => tell(plane, None).await,
                    Err(why) => output::note(why),
                },
                () = self.end_of_any() => {}
                () = shutdown.wait() => return Ok(()),
            }
        }
    }

    /// Waits until one of them ends by itself.
    async fn end_of_any(&mut self) {
        let waits = self.0.iter_mut().map(|child| Box::pin(child.wait()));
        // How it ended is told by whoever looks next.
        let _ = futures::future::select_all(waits).await;
    }

    /// Waits until one of them ends by itself, and says so.
    async fn first_death(&mut self) -> Death {
        let waits = self.0.iter_mut().map(|child| {
            Box::pin(async move {
                let status = child.wait().await;
                Death { name: child.name, words: child.obituary(status).await }
            })
        });
        futures::future::select_all(waits).await.0
    }

    /// Ends all in order: Envoy first, so that nobody asks a service that is gone. After five
    /// seconds, or at a second signal, they are killed.
    async fn stop(&mut self) {
        let deadline = Instant::now() + STOP;
        let mut again = SecondSignal::new();
        let services = self.0.split_off(self.0.len().min(1));
        for group in [std::mem::take(&mut self.0), services] {
            group.iter().for_each(Child::terminate);
            for mut child in group {
                let ended = tokio::select! {
                    ended = timeout_at(deadline, child.wait()) => ended.is_ok(),
                    () = again.wait() => false,
                };
                if !ended {
                    output::note(format_args!("{} did not end in time and is killed", child.name));
                    child.kill();
                    // Nothing survives that; this collects it.
                    let _ = child.wait().await;
                }
            }
        }
    }
}

/// A signal after the first.
struct SecondSignal {
    signals: Option<(Signal, Signal)>,
    counts_from: Instant,
}

impl SecondSignal {
    fn new() -> Self {
        let signals = signal(SignalKind::interrupt()).and_then(|interrupt| {
            signal(SignalKind::terminate()).map(|terminate| (interrupt, terminate))
        });
        // Without it the deadline still ends the wait.
        Self { signals: signals.ok(), counts_from: Instant::now() + SAME_SIGNAL }
    }

    async fn wait(&mut self) {
        let Some((interrupt, terminate)) = &mut self.signals else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if Instant::now() >= self.counts_from {
                return;
            }
        }
    }
}

/// A service of ours: beside this program, else on PATH.
fn beside_or_on_path(name: &str) -> Result<PathBuf, String> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    beside.filter(|path| envoy::is_program(path)).or_else(|| envoy::on_path(name)).ok_or_else(|| {
        format!("{name} is neither beside gateway-ctl nor on PATH; build it (cargo build -p {name}) or install it")
    })
}

fn service_args(grpc: SocketAddr, admin: SocketAddr, xds: &str) -> Vec<String> {
    [
        ("--grpc-addr", grpc.to_string()),
        ("--http-addr", "off".to_owned()),
        ("--admin-addr", admin.to_string()),
        ("--xds", xds.to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

fn envoy_args(bootstrap: &Bootstrap, concurrency: Option<u32>) -> Vec<String> {
    let mut args = vec![
        "--config-yaml".to_owned(),
        bootstrap.to_json().to_string(),
        // Two gateways on one machine would meet in shared memory otherwise.
        "--disable-hot-restart".to_owned(),
        // To look for fields that it does not know takes Envoy a third of the time for a route table.
        "--ignore-unknown-dynamic-fields".to_owned(),
        "--log-level".to_owned(),
        "warning".to_owned(),
    ];
    if let Some(threads) = concurrency {
        args.extend(["--concurrency".to_owned(), threads.to_string()]);
    }
    args
}
