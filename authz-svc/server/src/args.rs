//! The command line and the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use authz_core::{DefaultDecision, Settings, TokenCache};
use ipnet::IpNet;
use service_kit::server::grpc::Address;
use service_kit::server::otlp;
use service_kit::server::redis::RedisServer;
use service_kit::server::telemetry::Format;
use service_kit::server::tls::Clients;
use service_kit::{Secret, go};

use crate::answer::Style;
use crate::decisions::AuditSettings;
use crate::edge::Addresses;
use crate::http::{self, ClientAddress, PathPrefix};
use crate::lint::Check;
use crate::store::StoreSettings;

/// Most tokens that may be remembered: 4 GiB of them.
const MAX_TOKENS: usize = 1_000_000;
/// Deadline of a command to Redis when REDIS_TIMEOUT is not set.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);
/// How often an idle Redis is asked whether it lives when REDIS_PING_INTERVAL is not set.
const REDIS_PING: Duration = Duration::from_secs(1);

/// Envoy's external authorization service, for Filter and FilterPolicy resources.
///
/// It reads its configuration from files (--config) or from gateway-ctl (--xds).
#[derive(Clone, Debug, clap::Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  authz-svc --config policies/ --grpc-addr 0.0.0.0:9001\n\nEnvoy calls it by an ext_authz filter with transport_api_version V3."
)]
pub struct Args {
    /// Instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// File or folder with Filter, FilterPolicy and Secret objects; watched.
    #[arg(long, value_name = "PATH", conflicts_with = "xds")]
    pub config: Option<PathBuf>,
    /// Where gateway-ctl streams the configuration from.
    #[arg(long, value_name = "HOST:PORT")]
    pub xds: Option<String>,
    /// Where Envoy's checks come in, as in 0.0.0.0:9001 or unix:/run/authz.sock.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    pub grpc_addr: Address,
    /// Checks over HTTP (1.1 and 2), for callers that have no gRPC: written as --grpc-addr, or `off`.
    #[arg(long, value_name = "ADDR", default_value = "off")]
    pub http_addr: HttpAddr,
    /// With --http-addr: what callers put before each path (Envoy's path_prefix); it is taken off.
    #[arg(long, env = "AUTHZ_HTTP_PATH_PREFIX", value_name = "PATH", default_value = "")]
    pub http_path_prefix: PathPrefix,
    /// With --http-addr: the header whose last address is the one that the caller saw, as
    /// x-forwarded-for where Envoy has use_remote_address. With `none` clients' addresses are not
    /// known, and a filter IP refuses them.
    #[arg(long, env = "AUTHZ_HTTP_CLIENT_ADDRESS", value_name = "HEADER", default_value = "none")]
    pub http_client_address: ClientAddress,
    /// Health, readiness, metrics, configuration.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6071")]
    pub admin_addr: SocketAddr,
    /// Folder with tls.crt, tls.key and ca.crt: calls come in over mutual TLS, and gateway-ctl is
    /// reached over it. Followed, so that certificates can be renewed.
    #[arg(long, env = "TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// With --tls-dir: whether callers need a certificate, `require` or `optional`.
    #[arg(long, env = "TLS_CLIENTS", value_name = "WORD", default_value = "require")]
    pub tls_clients: Clients,
    /// Where sessions of logins are, as in redis://:password@host:6379 or host:6379; more is said by
    /// REDIS_TYPE, REDIS_AUTH, REDIS_TLS and others. In memory without it.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// What keys in Redis begin with.
    #[arg(long, env = "REDIS_KEY_PREFIX", value_name = "TEXT", default_value = "tollgate-authz:")]
    pub redis_key_prefix: String,
    /// Without Redis: most bytes of sessions in memory; the oldest go when there are more.
    #[arg(long, env = "STORE_MEMORY_BYTES", value_name = "BYTES", default_value = "67108864")]
    pub store_memory_bytes: usize,
    /// Objects of --config for other ids are left alone; with --xds gateway-ctl chooses.
    #[arg(long, env = "AMBASSADOR_ID", default_value = "default")]
    pub ambassador_id: String,
    /// error, warn, info, debug or trace.
    #[arg(long, env = "AES_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// `text` or `json`.
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
    /// Longest time for all filters of a request; past it the answer is 504.
    #[arg(long, env = "AES_AUTH_TIMEOUT", default_value = "4s")]
    pub auth_timeout: String,
    /// What becomes of a request that meets no rule: `allow` or `deny`.
    #[arg(long, env = "AUTHZ_DEFAULT", default_value = "allow", value_parser = ["allow", "deny"])]
    pub default: String,
    /// Remove a client's header where a template says doNotSet, instead of leaving it.
    #[arg(long, env = "AUTHZ_STRIP_UNSET", default_value = "false")]
    pub strip_unset: String,
    /// How many verified tokens (of up to 4 KiB) are remembered; 0: none.
    #[arg(long, env = "AUTHZ_TOKEN_CACHE", value_name = "NUMBER", default_value = "10000")]
    pub token_cache: usize,
    /// Tell Envoy (1.37 or later) that a request could not be decided as an error, which obeys its
    /// failure_mode_allow, and not as a denial.
    #[arg(long, env = "AUTHZ_ERROR_RESPONSE", default_value = "false")]
    pub error_response: String,
    /// Writes a line of JSON for each decision: a file, or `-` for standard output.
    #[arg(long, env = "AUTHZ_AUDIT_LOG", value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    /// Of requests that pass, one in so many is in the audit log; 0: none. Others always are.
    #[arg(long, env = "AUTHZ_AUDIT_ALLOWED_ONE_IN", value_name = "N", default_value = "1")]
    pub audit_allowed_one_in: u64,
    /// Ranges of addresses (CIDR) that are never called, whoever names them; those of clouds'
    /// metadata never are.
    #[arg(long, env = "AUTHZ_DENY_ADDRESSES", value_name = "CIDR,…", value_delimiter = ',')]
    pub deny_addresses: Vec<IpNet>,
    /// Ranges of addresses that may be called in spite of that.
    #[arg(long, env = "AUTHZ_ALLOW_ADDRESSES", value_name = "CIDR,…", value_delimiter = ',')]
    pub allow_addresses: Vec<IpNet>,
    /// Who has it may see decisions at the admin port from anywhere, not only from this machine.
    #[arg(long, env = "ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
}

/// Where checks over HTTP come in, if at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAddr {
    /// They do not.
    Off,
    /// There.
    At(Address),
}

impl FromStr for HttpAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|e| format!("{e}, or `off`")),
        }
    }
}

/// What the program does instead of serving.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Reads policies as the service would, and tells everything that is wrong with them.
    ///
    /// One line for each problem, as FILE:LINE: error: OBJECT: FIELD: WORDS; the exit code is 1 when
    /// there is an error. Warnings are told, and change nothing.
    Check(Check),
}

/// The settings after validation.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSettings {
    pub compile: Settings,
    pub timeout: Duration,
    pub audit: Option<AuditSettings>,
    pub admin_token: Option<Secret<String>>,
    pub traces: Option<otlp::Settings>,
    pub addresses: Addresses,
    pub style: Style,
    pub store: StoreSettings,
    pub http: http::Settings,
}

impl Args {
    pub(crate) fn settings(&self) -> anyhow::Result<ServiceSettings> {
        let timeout = go::parse_duration(&self.auth_timeout)
            .map_err(anyhow::Error::msg)
            .context("AES_AUTH_TIMEOUT")?;
        if timeout.is_zero() {
            bail!("AES_AUTH_TIMEOUT: no request could be allowed in no time; use the default 4s");
        }
        let strip_unset = go::parse_bool(&self.strip_unset).with_context(|| {
            format!("AUTHZ_STRIP_UNSET: `{}` is neither true nor false", self.strip_unset)
        })?;
        let style = match go::parse_bool(&self.error_response) {
            Some(true) => Style::Error,
            Some(false) => Style::Denied,
            None => {
                bail!("AUTHZ_ERROR_RESPONSE: `{}` is neither true nor false", self.error_response)
            }
        };
        let default = match self.default.as_str() {
            "deny" => DefaultDecision::Deny,
            _ => DefaultDecision::Allow,
        };
        // What gateway-ctl streams, gateway-ctl chose; to choose again could only lose a policy.
        let ambassador_id = self.xds.is_none().then(|| self.ambassador_id.clone());
        if self.token_cache > MAX_TOKENS {
            bail!("AUTHZ_TOKEN_CACHE: {} is too many; the most are {MAX_TOKENS}", self.token_cache);
        }
        let token_cache = TokenCache::new(self.token_cache);
        let compile = Settings { ambassador_id, default, strip_unset, token_cache };
        let audit = self.audit_log.as_ref().map(|file| AuditSettings {
            file: (file.as_os_str() != "-").then(|| file.clone()),
            allowed_one_in: self.audit_allowed_one_in,
        });
        let admin_token = self.admin_token.clone().filter(|t| !t.is_empty()).map(Secret::new);
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let variable =
            |name: &str| variables.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let traces =
            otlp::Settings::of_service(variable, "authz-svc").map_err(anyhow::Error::msg)?;
        let addresses = Addresses::new(self.deny_addresses.clone(), self.allow_addresses.clone());
        let store = self.store(&variable)?;
        let http = http::Settings {
            prefix: self.http_path_prefix.clone(),
            client: self.http_client_address.clone(),
        };
        Ok(ServiceSettings {
            compile,
            timeout,
            audit,
            admin_token,
            traces,
            addresses,
            style,
            store,
            http,
        })
    }

    /// Where sessions are: in Redis if there is a URL.
    fn store<'a>(
        &self,
        variable: &'a dyn Fn(&str) -> Option<&'a str>,
    ) -> anyhow::Result<StoreSettings> {
        let Some(url) = self.redis_url.as_deref().filter(|url| !url.is_empty()) else {
            return Ok(StoreSettings::Memory { bytes: self.store_memory_bytes });
        };
        let server = RedisServer::read(variable, "REDIS", url, REDIS_TIMEOUT);
        let ping = variable("REDIS_PING_INTERVAL").map(go::parse_duration).transpose();
        let ping = ping.map_err(anyhow::Error::msg).context("REDIS_PING_INTERVAL")?;
        Ok(StoreSettings::Redis {
            server: server.map_err(anyhow::Error::msg)?,
            prefix: self.redis_key_prefix.clone(),
            ping: ping.filter(|p| !p.is_zero()).unwrap_or(REDIS_PING),
        })
    }

    pub(crate) fn log_format(&self) -> Format {
        if self.log_format == "json" { Format::Json } else { Format::Text }
    }
}
