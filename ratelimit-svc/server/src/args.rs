//! The command line, and what it and the environment come to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use ratelimit_core::resource::MatchRule;
use ratelimit_core::{Options, PlanOptions};
use service_kit::Secret;
use service_kit::server::telemetry::Format;

use crate::environment::Environment;
use crate::store::StoreSettings;

/// Deadline of a call to Redis when REDIS_TIMEOUT is not set. Envoy gives up on its own after 20 ms;
/// this bounds what a Redis that hangs can hold.
const REDIS_TIMEOUT: Duration = Duration::from_millis(100);

/// Envoy's rate limit service: a drop-in for envoyproxy/ratelimit that also reads RateLimit
/// resources.
///
/// Counters are kept in Redis (--redis-url), or in memory without it. The environment variables of
/// envoyproxy/ratelimit work with their names and defaults; flags go before them.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    version,
    after_help = "Example:\n  ratelimit-svc --config limits/ --redis-url redis://127.0.0.1:6379\n\nEnvoy calls it by a ratelimit filter with transport_api_version V3."
)]
pub struct Args {
    /// File or folder with RateLimit objects and files of envoyproxy/ratelimit; watched.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Where gateway-ctl streams RateLimit objects from.
    #[arg(long, value_name = "HOST:PORT")]
    pub xds: Option<String>,
    /// Where Envoy's requests come in [default: $GRPC_HOST:$GRPC_PORT, 0.0.0.0:8081].
    #[arg(long, value_name = "ADDR")]
    pub grpc_addr: Option<SocketAddr>,
    /// /json and /healthcheck; `off` for none [default: $HOST:$PORT, 0.0.0.0:8080].
    #[arg(long, value_name = "ADDR")]
    pub http_addr: Option<String>,
    /// Health, readiness, metrics, configuration [default: 127.0.0.1:$DEBUG_PORT, 127.0.0.1:6070].
    #[arg(long, value_name = "ADDR")]
    pub admin_addr: Option<SocketAddr>,
    /// As in redis://:password@host:6379 or host:6379 [default: $REDIS_URL; memory without it].
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
}

/// A port that may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpAddr {
    Off,
    At(SocketAddr),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doors {
    pub files: Option<PathBuf>,
    pub xds: Option<String>,
}

/// Everything that a process is told at start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub doors: Doors,
    pub grpc_addr: SocketAddr,
    pub http_addr: HttpAddr,
    pub admin_addr: SocketAddr,
    pub store: StoreSettings,
    pub key_prefix: String,
    pub plan: PlanOptions,
    pub options: Options,
    pub merge_domains: bool,
    pub ambassador_id: String,
    pub near_ratio: f32,
    pub log_level: String,
    pub log_format: Format,
    pub remarks: Vec<String>,
}

impl Args {
    pub(crate) fn settings(&self, env: &Environment) -> anyhow::Result<Settings> {
        env.refuse_unsupported()?;
        let addr = |host: &str, host_default: &str, port: &str, port_default: &str| {
            let (ip, port_text) = (env.text(host, host_default), env.text(port, port_default));
            let ip: IpAddr =
                ip.parse().with_context(|| format!("{host}={ip}: not an IP address"))?;
            let number: u16 =
                port_text.parse().with_context(|| format!("{port}={port_text}: not a port"))?;
            anyhow::Ok(SocketAddr::new(ip, number))
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
            grpc_addr: self
                .grpc_addr
                .map_or_else(|| addr("GRPC_HOST", "0.0.0.0", "GRPC_PORT", "8081"), Ok)?,
            http_addr,
            admin_addr: self
                .admin_addr
                .map_or_else(|| addr("DEBUG_HOST", "127.0.0.1", "DEBUG_PORT", "6070"), Ok)?,
            store: self.store(env)?,
            key_prefix: env.text("CACHE_KEY_PREFIX", ""),
            plan: PlanOptions {
                key_prefix: env.text("CACHE_KEY_PREFIX", ""),
                match_rule,
                stop_when_over: env.flag("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", false)?,
            },
            options: options(env, quota_mode)?,
            merge_domains: env.flag("MERGE_DOMAIN_CONFIG", false)?,
            ambassador_id: env.text("AMBASSADOR_ID", "default"),
            near_ratio: near_ratio(env)?,
            log_level: env
                .get("LOG_LEVEL")
                .or_else(|| env.get("AES_LOG_LEVEL"))
                .unwrap_or("info")
                .to_owned(),
            log_format: match env.text("LOG_FORMAT", "text").as_str() {
                "json" => Format::Json,
                "text" => Format::Text,
                other => bail!("LOG_FORMAT={other}: use text or json"),
            },
            remarks: env.remarks(),
        })
    }

    fn doors(&self, env: &Environment) -> anyhow::Result<Doors> {
        let by_variables = || {
            let root = PathBuf::from(env.text("RUNTIME_ROOT", "/srv/runtime_data/current"));
            let folder = root
                .join(env.text("RUNTIME_SUBDIRECTORY", ""))
                .join(env.text("RUNTIME_APPDIRECTORY", "config"));
            (env.get("RUNTIME_ROOT").is_some()
                || env.get("RUNTIME_SUBDIRECTORY").is_some()
                || folder.exists())
            .then_some(folder)
        };
        let files = match (&self.config, &self.xds) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => by_variables(),
        };
        if files.is_none() && self.xds.is_none() {
            bail!(
                "there are no limits to read; name a file or folder by --config, or gateway-ctl by --xds"
            );
        }
        Ok(Doors { files, xds: self.xds.clone() })
    }

    fn store(&self, env: &Environment) -> anyhow::Result<StoreSettings> {
        let url = self.redis_url.as_deref().or_else(|| env.get("REDIS_URL"));
        let memory = env.get("BACKEND_TYPE").is_some_and(|t| t.eq_ignore_ascii_case("memory"));
        let Some(url) = url.filter(|_| !memory || self.redis_url.is_some()) else {
            return Ok(StoreSettings::Memory);
        };
        if url.starts_with("rediss://") {
            bail!(
                "{}: TLS to Redis is not supported yet; use redis:// on a network you trust",
                redacted(url)
            );
        }
        let unix = env.get("REDIS_SOCKET_TYPE") == Some("unix") || url.starts_with('/');
        let full = match (url.contains("://"), unix) {
            (true, _) => url.to_owned(),
            (false, true) => format!("unix://{url}"),
            (false, false) => format!("redis://{url}"),
        };
        let mut credentials = env.get("REDIS_AUTH").map(|auth| match auth.split_once(':') {
            Some((user, password)) => (Some(user.to_owned()), password.to_owned()),
            None => (None, auth.to_owned()),
        });
        match (env.get("REDIS_USERNAME"), env.get("REDIS_PASSWORD")) {
            (user, Some(password)) => {
                credentials = Some((user.map(str::to_owned), password.to_owned()));
            }
            (Some(_), None) => bail!("REDIS_USERNAME is set without REDIS_PASSWORD; set both"),
            (None, None) => {}
        }
        Ok(StoreSettings::Redis {
            url: Secret::new(full),
            shown: redacted(url),
            credentials: credentials.map(|(user, password)| (user, Secret::new(password))),
            timeout: env
                .duration("REDIS_TIMEOUT")?
                .filter(|t| !t.is_zero())
                .unwrap_or(REDIS_TIMEOUT),
            connections: usize::try_from(env.number("REDIS_POOL_SIZE", 4)?)
                .unwrap_or(4)
                .clamp(1, 16),
            jitter_seconds: env.number("EXPIRATION_JITTER_MAX_SECONDS", 300)?,
        })
    }
}

/// A URL without its credentials.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(start), Some(end)) if end > start => format!("{}://…{}", &url[..start], &url[end..]),
        _ => url.to_owned(),
    }
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
        draft03_headers: match env.text("RATELIMIT_HEADERS", "off").as_str() {
            "off" => false,
            "draft03" => true,
            other => bail!("RATELIMIT_HEADERS={other}: use off or draft03"),
        },
    })
}

fn near_ratio(env: &Environment) -> anyhow::Result<f32> {
    let text = env.text("NEAR_LIMIT_RATIO", "0.8");
    text.parse()
        .ok()
        .filter(|r| (0.0..=1.0).contains(r))
        .ok_or_else(|| anyhow!("NEAR_LIMIT_RATIO={text}: not a number from 0 to 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redacted("redis://u:secret@h:1"), "redis://…@h:1");
        assert_eq!(redacted("h:1"), "h:1");
    }
}
