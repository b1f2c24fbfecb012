//! The command line, and what it and the environment come to.

mod grpc;
mod redis;
mod stats;
mod xds;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use ratelimit_core::resource::MatchRule;
use ratelimit_core::{Charge, OnStoreError, Options, PlanOptions, StandardHeaders};
use service_kit::Secret;
use service_kit::server::grpc::Address;
use service_kit::server::otlp;
use service_kit::server::telemetry::Format;
use service_kit::server::tls::Clients;

use crate::check::Check;
use crate::environment::Environment;
use crate::scope::Scope;
use crate::store::StoreSettings;
pub(crate) use grpc::GrpcSettings;
pub(crate) use stats::StatsSettings;
pub(crate) use xds::ControlPlane;

/// Envoy's rate limit service: a drop-in for envoyproxy/ratelimit that also reads RateLimit
/// resources.
///
/// Counters are kept in Redis (--redis-url), or in memory without it. The environment variables of
/// envoyproxy/ratelimit work with their names and defaults; flags go before them.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  ratelimit-svc --config limits/ --redis-url redis://127.0.0.1:6379\n\nEnvoy calls it by a ratelimit filter with transport_api_version V3."
)]
pub struct Args {
    /// Instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// File or folder with RateLimit objects and files of envoyproxy/ratelimit; watched.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Where gateway-ctl streams RateLimit objects from.
    #[arg(long, value_name = "HOST:PORT")]
    pub xds: Option<String>,
    /// Where Envoy's requests come in, or unix:/PATH [default: $GRPC_UDS; $GRPC_HOST:$GRPC_PORT,
    /// 0.0.0.0:8081].
    #[arg(long, value_name = "ADDR")]
    pub grpc_addr: Option<Address>,
    /// /json and /healthcheck; `off` for none [default: $HOST:$PORT, 0.0.0.0:8080].
    #[arg(long, value_name = "ADDR")]
    pub http_addr: Option<String>,
    /// Health, readiness, metrics, configuration [default: 127.0.0.1:$DEBUG_PORT, 127.0.0.1:6070].
    #[arg(long, value_name = "ADDR")]
    pub admin_addr: Option<SocketAddr>,
    /// Folder with tls.crt, tls.key and ca.crt: calls come in over mutual TLS, and gateway-ctl is
    /// reached over it. Followed, so that certificates can be renewed.
    #[arg(long, env = "TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// With --tls-dir: whether callers need a certificate, `require` or `optional`.
    #[arg(long, env = "TLS_CLIENTS", value_name = "WORD", default_value = "require")]
    pub tls_clients: Clients,
    /// As in redis://:password@host:6379 or host:6379 [default: $REDIS_URL; memory without it].
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
}

/// What else the program does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Reads limits as the service would, and tells everything that is wrong with them.
    ///
    /// One line for each problem, as FILE:LINE: error: FIELD: WORDS; the exit code is 1 when there is
    /// an error. Warnings are told, and change nothing.
    Check(Check),
}

/// A port that may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpAddr {
    Off,
    At(SocketAddr),
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    pub files: Option<Files>,
    pub xds: Option<String>,
    /// A control plane of envoyproxy/ratelimit's kind; then there are no files.
    pub control_plane: Option<ControlPlane>,
}

/// Files to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    /// The file or folder.
    pub path: PathBuf,
    /// What to watch: the same, or a folder above it that is replaced as a whole.
    pub watched: PathBuf,
    /// Only another folder in the place of the watched one is a change.
    pub only_replaced: bool,
    /// Files whose names begin with a dot are read, too.
    pub dot_files: bool,
}

impl Files {
    fn at(path: PathBuf) -> Self {
        Self { watched: path.clone(), path, only_replaced: false, dot_files: false }
    }
}

/// Everything that a process is told at start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub doors: Doors,
    pub grpc: GrpcSettings,
    pub http_addr: HttpAddr,
    pub admin_addr: SocketAddr,
    /// `ADMIN_TOKEN`: who has it may see and reset counters from anywhere.
    pub admin_token: Option<Secret<String>>,
    pub store: StoreSettings,
    pub plan: PlanOptions,
    pub options: Options,
    pub merge_domains: bool,
    pub scope: Scope,
    pub near_ratio: f32,
    pub stats: StatsSettings,
    /// The health that callers see needs a configuration with a domain.
    pub health_needs_configuration: bool,
    pub log_level: String,
    pub log_format: Format,
    /// None when there are no traces.
    pub traces: Option<otlp::Settings>,
    pub tls_dir: Option<PathBuf>,
    pub tls_clients: Clients,
    pub remarks: Vec<String>,
}

impl Args {
    pub(crate) fn settings(&self, env: &Environment) -> anyhow::Result<Settings> {
        env.refuse_unsupported()?;
        let addr = |host: &str, host_default: &str, port: &str, port_default: &str| {
            let (name, port_text) = (env.text(host, host_default), env.text(port, port_default));
            let number: u16 =
                port_text.parse().with_context(|| format!("{port}={port_text}: not a port"))?;
            let found = (name.as_str(), number).to_socket_addrs().ok().and_then(|mut a| a.next());
            found.ok_or_else(|| anyhow!("{host}={name}: not an address of this machine"))
        };
        let http_addr = match self.http_addr.as_deref() {
            Some("off") => HttpAddr::Off,
            Some(text) => HttpAddr::At(
                text.parse()
                    .with_context(|| format!("--http-addr {text}: neither ADDRESS:PORT nor off"))?,
            ),
            None => HttpAddr::At(addr("HOST", "0.0.0.0", "PORT", "8080")?),
        };
        let quota_mode = env.flag("QUOTA_MODE", false)?;
        let match_rule = match env.text("RATELIMIT_MATCH", "prefix").as_str() {
            "prefix" => MatchRule::Prefix,
            "exact" => MatchRule::Exact,
            other => bail!("RATELIMIT_MATCH={other}: use prefix or exact"),
        };
        Ok(Settings {
            doors: self.doors(env)?,
            grpc: grpc::grpc(
                env,
                self.grpc_addr.as_ref(),
                || addr("GRPC_HOST", "0.0.0.0", "GRPC_PORT", "8081"),
                self.tls_dir.is_some(),
            )?,
            http_addr,
            admin_addr: self
                .admin_addr
                .map_or_else(|| addr("DEBUG_HOST", "127.0.0.1", "DEBUG_PORT", "6070"), Ok)?,
            admin_token: env
                .get("ADMIN_TOKEN")
                .filter(|t| !t.is_empty())
                .map(|t| Secret::new(t.to_owned())),
            store: redis::store(env, self.redis_url.as_deref())?,
            plan: PlanOptions {
                key_prefix: env.text("CACHE_KEY_PREFIX", ""),
                match_rule,
                charge: charge(env)?,
                on_store_error: on_store_error(env)?,
            },
            options: options(env, quota_mode)?,
            merge_domains: env.flag("MERGE_DOMAIN_CONFIG", false)?,
            scope: Scope::read(env)?,
            near_ratio: env.share("NEAR_LIMIT_RATIO", "0.8")?,
            stats: stats::stats(env, self.xds.is_none())?,
            health_needs_configuration: env
                .flag("HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED", false)?,
            log_level: log_level(env),
            log_format: match env.text("LOG_FORMAT", "text").to_ascii_lowercase().as_str() {
                "json" => Format::Json,
                "text" => Format::Text,
                other => bail!("LOG_FORMAT={other}: use text or json"),
            },
            traces: otlp::Settings::of_service(|name| env.get(name), "RateLimit")
                .map_err(anyhow::Error::msg)?,
            tls_dir: self.tls_dir.clone(),
            tls_clients: self.tls_clients,
            remarks: env.remarks(),
        })
    }

    fn doors(&self, env: &Environment) -> anyhow::Result<Doors> {
        let by_flags = self.config.is_some() || self.xds.is_some();
        let control_plane = xds::control_plane(env)?.filter(|_| !by_flags);
        let files = match &self.config {
            Some(path) => Some(Files::at(path.clone())),
            None if by_flags || control_plane.is_some() => None,
            None => files_by_variables(env)?,
        };
        if files.is_none() && self.xds.is_none() && control_plane.is_none() {
            bail!(
                "there are no limits to read; name a file or folder by --config, or gateway-ctl by --xds"
            );
        }
        Ok(Doors { files, xds: self.xds.clone(), control_plane })
    }
}

/// `ROOT/SUBDIRECTORY/APPDIRECTORY`, where ROOT may be a link that is set anew for each version.
///
/// `RUNTIME_WATCH_ROOT` says what is a change: true, another ROOT; false, a change below the folder;
/// by default both, so that a mounted ConfigMap needs no setting.
fn files_by_variables(env: &Environment) -> anyhow::Result<Option<Files>> {
    const NAMES: [&str; 3] = ["RUNTIME_ROOT", "RUNTIME_SUBDIRECTORY", "RUNTIME_APPDIRECTORY"];
    let root = PathBuf::from(env.text("RUNTIME_ROOT", "/srv/runtime_data/current"));
    let path = root
        .join(env.text("RUNTIME_SUBDIRECTORY", ""))
        .join(env.text("RUNTIME_APPDIRECTORY", "config"));
    let watch_root = env.flag("RUNTIME_WATCH_ROOT", true)?;
    let is_asked_for = NAMES.iter().any(|name| env.get(name).is_some());
    Ok((is_asked_for || path.exists()).then_some(Files {
        watched: if watch_root { root } else { path.clone() },
        path,
        only_replaced: watch_root && env.get("RUNTIME_WATCH_ROOT").is_some(),
        dot_files: !env.flag("RUNTIME_IGNOREDOTFILES", true)?,
    }))
}

/// The level in the words of [`service_kit::server::telemetry`].
fn log_level(env: &Environment) -> String {
    let level = env.get("LOG_LEVEL").or_else(|| env.get("AES_LOG_LEVEL")).unwrap_or("info");
    match level.to_ascii_lowercase().as_str() {
        // Levels of the original that have no lines here of their own.
        "panic" | "fatal" => "error".to_owned(),
        _ => level.to_owned(),
    }
}

/// Which counters are charged when one of a request is over.
fn charge(env: &Environment) -> anyhow::Result<Charge> {
    const STOP: &str = "STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT";
    let stop = env.flag(STOP, false)?;
    match (env.text("CHARGE_DESCRIPTORS", "each").as_str(), stop) {
        ("each", false) => Ok(Charge::Each),
        ("each", true) => Ok(Charge::OnlyOver),
        ("all-or-none", false) => Ok(Charge::AllOrNone),
        ("all-or-none", true) => bail!("CHARGE_DESCRIPTORS=all-or-none: leave {STOP} out"),
        (other, _) => bail!("CHARGE_DESCRIPTORS={other}: use each or all-or-none"),
    }
}

/// What happens while the store fails, for limits that do not say.
fn on_store_error(env: &Environment) -> anyhow::Result<OnStoreError> {
    let text = env.text("ON_STORE_ERROR", "error");
    OnStoreError::parse(&text)
        .ok_or_else(|| anyhow!("ON_STORE_ERROR={text}: use error, allow, deny or local"))
}

fn options(env: &Environment, quota_mode: bool) -> anyhow::Result<Options> {
    let names = || {
        [
            env.text("LIMIT_LIMIT_HEADER", "RateLimit-Limit"),
            env.text("LIMIT_REMAINING_HEADER", "RateLimit-Remaining"),
            env.text("LIMIT_RESET_HEADER", "RateLimit-Reset"),
        ]
    };
    Ok(Options {
        shadow_mode: env.flag("SHADOW_MODE", false)?,
        quota_mode,
        limit_headers: env.flag("LIMIT_RESPONSE_HEADERS_ENABLED", false)?.then(names),
        dynamic_metadata: env.flag("RESPONSE_DYNAMIC_METADATA", false)?,
        standard_headers: match env.text("RATELIMIT_HEADERS", "off").as_str() {
            "off" => StandardHeaders::Off,
            "draft03" => StandardHeaders::Draft03,
            "ietf" => StandardHeaders::Ietf,
            other => bail!("RATELIMIT_HEADERS={other}: use off, draft03 or ietf"),
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn settings(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let arguments = ["ratelimit-svc"].iter().chain(arguments);
        let args = Args::try_parse_from(arguments).map_err(|e| e.to_string())?;
        args.settings(&Environment::of(variables)).map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn flags_go_before_variables() {
        let variables =
            [("GRPC_PORT", "1"), ("PORT", "2"), ("DEBUG_PORT", "3"), ("GRPC_HOST", "::1")];
        let s = settings(&["--config", "x"], &variables).unwrap();
        assert_eq!(s.grpc.address.to_string(), "[::1]:1");
        assert_eq!(s.http_addr, HttpAddr::At(([0, 0, 0, 0], 2).into()));
        assert_eq!(s.admin_addr.to_string(), "127.0.0.1:3");
        let flags = ["--config", "x", "--grpc-addr", "127.0.0.1:9", "--http-addr", "off"];
        let s = settings(&flags, &variables).unwrap();
        assert_eq!(
            (s.grpc.address.to_string(), s.http_addr),
            ("127.0.0.1:9".to_owned(), HttpAddr::Off)
        );
    }

    #[test]
    fn the_folder_is_found_by_its_three_variables() {
        let variables = [("RUNTIME_ROOT", "/r"), ("RUNTIME_SUBDIRECTORY", "s")];
        let files = settings(&[], &variables).unwrap().doors.files.unwrap();
        assert_eq!((files.path, files.watched), ("/r/s/config".into(), "/r".into()));
        assert_eq!(settings(&["--xds", "h:1"], &variables).unwrap().doors.files, None);
        assert!(settings(&[], &[]).unwrap_err().contains("--config"));
    }

    #[test]
    fn a_bad_value_is_named() {
        for (name, value) in [
            ("GRPC_PORT", "70000"),
            ("SHADOW_MODE", "yes"),
            ("NEAR_LIMIT_RATIO", "2"),
            ("REDIS_TIMEOUT", "soon"),
            ("RATELIMIT_MATCH", "some"),
            ("RATELIMIT_HEADERS", "on"),
            ("ON_STORE_ERROR", "panic"),
            ("CHARGE_DESCRIPTORS", "some"),
            ("REDIS_TYPE", "RING"),
            ("LOG_FORMAT", "xml"),
            ("EXTRA_TAGS", "a"),
            ("REDIS_POOL_SIZE", "0"),
            ("AMBASSADOR_LABEL_SELECTOR", "a=b=c"),
        ] {
            let variables = [(name, value), ("REDIS_URL", "h:1")];
            let error = settings(&["--config", "x"], &variables).unwrap_err();
            assert!(error.starts_with(name) && !error.contains('\n'), "{name}: {error}");
        }
    }
}
