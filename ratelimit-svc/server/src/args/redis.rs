//! Settings of Redis: those of envoyproxy/ratelimit and, where they differ, of Edge Stack.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use redis::{ConnectionAddr, IntoConnectionInfo as _};
use service_kit::Secret;

use crate::environment::Environment;
use crate::store::{
    Address, Credentials, RedisServer, RedisSettings, Sentinels, StoreSettings, Tls, Topology,
    Trust,
};

/// Deadline of a call to Redis when REDIS_TIMEOUT is not set: Envoy waits 20 ms for all of it, if it
/// is not told otherwise, and a limit that says what happens without Redis must still be heard.
const TIMEOUT: Duration = Duration::from_millis(15);
/// Connections to a server. Requests in flight share a connection, and are joined the better the
/// fewer there are.
const CONNECTIONS: u64 = 1;
/// Most connections to a server.
const MAX_CONNECTIONS: u64 = 1_000;
/// How often an idle server is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Where counters are: `url` (of the command line) or REDIS_URL, else memory.
pub(super) fn store(env: &Environment, url: Option<&str>) -> anyhow::Result<StoreSettings> {
    let memory = env.get("BACKEND_TYPE").is_some_and(|t| t.eq_ignore_ascii_case("memory"));
    let url = url.or_else(|| env.get("REDIS_URL").filter(|_| !memory));
    let per_second = env.flag("REDIS_PERSECOND", false)?;
    let Some(url) = url else {
        return Ok(StoreSettings::Memory);
    };
    let per_second = match (per_second, env.get("REDIS_PERSECOND_URL")) {
        (false, _) => None,
        (true, Some(url)) => Some(server(env, "REDIS_PERSECOND", url)?),
        (true, None) => {
            bail!("REDIS_PERSECOND=true needs REDIS_PERSECOND_URL; set it, or leave both out")
        }
    };
    let ping = env.duration("REDIS_PING_INTERVAL")?.filter(|p| !p.is_zero());
    Ok(StoreSettings::Redis(RedisSettings {
        main: server(env, "REDIS", url)?,
        per_second,
        jitter_seconds: env.number("EXPIRATION_JITTER_MAX_SECONDS", 300)?,
        local_cache_bytes: usize::try_from(env.number("LOCAL_CACHE_SIZE_IN_BYTES", 0)?)
            .unwrap_or(usize::MAX),
        ping_interval: ping.unwrap_or(PING_INTERVAL),
    }))
}

/// The server of the variables that begin with `prefix`.
fn server(env: &Environment, prefix: &str, url: &str) -> anyhow::Result<RedisServer> {
    let name = |part: &str| format!("{prefix}_{part}");
    let place = Place::read(env, prefix, url)?;
    let connections = env.number(&name("POOL_SIZE"), CONNECTIONS)?;
    if !(1..=MAX_CONNECTIONS).contains(&connections) {
        bail!("{}={connections}: use a number from 1 to {MAX_CONNECTIONS}", name("POOL_SIZE"));
    }
    let timeout = env.duration(&name("TIMEOUT"))?.filter(|t| !t.is_zero());
    Ok(RedisServer {
        topology: place.topology,
        credentials: credentials(env, prefix)?.or(place.credentials),
        database: place.database,
        tls: tls(env, prefix, place.tls)?,
        timeout: timeout.unwrap_or(TIMEOUT),
        connections: usize::try_from(connections).context("too many connections")?,
    })
}

/// What a URL says.
struct Place {
    topology: Topology,
    credentials: Option<Credentials>,
    database: i64,
    tls: bool,
}

impl Place {
    fn read(env: &Environment, prefix: &str, url: &str) -> anyhow::Result<Self> {
        let kind_name = format!("{prefix}_TYPE");
        let kind = env.text(&kind_name, "SINGLE").to_ascii_uppercase();
        match kind.as_str() {
            "SINGLE" => Self::single(env, prefix, url),
            "SENTINEL" | "CLUSTER" => Self::several(env, prefix, url, kind == "SENTINEL"),
            other => bail!("{kind_name}={other}: use SINGLE, SENTINEL or CLUSTER"),
        }
    }

    fn single(env: &Environment, prefix: &str, url: &str) -> anyhow::Result<Self> {
        let shown = redacted(url);
        if url.contains(',') {
            bail!("{shown}: several servers; set {prefix}_TYPE to SENTINEL or CLUSTER");
        }
        let socket_name = format!("{prefix}_SOCKET_TYPE");
        let unix = match env.get(&socket_name) {
            None => url.starts_with('/'),
            Some("unix") => true,
            Some("tcp") => false,
            Some(other) => bail!("{socket_name}={other}: use tcp or unix"),
        };
        let full = match (url.contains("://"), unix) {
            (true, _) => url.to_owned(),
            (false, true) => format!("unix://{url}"),
            (false, false) => format!("redis://{url}"),
        };
        Self::of_url(&full).with_context(|| format!("{shown}: not a URL of Redis"))
    }

    /// `redis://`, `rediss://` and `unix://`, with credentials and a database.
    fn of_url(url: &str) -> anyhow::Result<Self> {
        // TLS is made here, not by the client library, which therefore does not know its scheme.
        let (tls, plain) = match url.strip_prefix("rediss://") {
            Some(rest) => (true, format!("redis://{rest}")),
            None => (false, url.to_owned()),
        };
        let info = plain.as_str().into_connection_info()?;
        let own = info.redis_settings();
        let password = own.password().map(|p| Secret::new(p.to_owned()));
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => bail!("neither TCP nor a socket"),
        };
        Ok(Self {
            topology: Topology::Single(address),
            credentials: password.map(|p| (own.username().map(str::to_owned), p)),
            database: own.db(),
            tls,
        })
    }

    /// `HOST:PORT,…`, for Sentinel behind the name of the master; a scheme and credentials may stand
    /// before the first.
    fn several(env: &Environment, prefix: &str, url: &str, sentinel: bool) -> anyhow::Result<Self> {
        let shown = redacted(url);
        let (master, list) = match (sentinel, url.split_once(',')) {
            (false, _) => (None, url),
            (true, Some((master, list))) if !master.contains(':') => (Some(master.trim()), list),
            (true, _) => {
                bail!("{shown}: write the master's name and its Sentinels, as mymaster,host:26379")
            }
        };
        let (tls, rest) = match list.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            Some(_) => bail!("{shown}: use redis:// or rediss://, or no scheme"),
            None => (false, list),
        };
        let (own, rest) = match rest.rsplit_once('@') {
            Some((own, rest)) => (Some(pair(own)), rest),
            None => (None, rest),
        };
        let addresses: Option<Vec<Address>> = rest.split(',').map(Address::parse).collect();
        let Some(addresses) = addresses.filter(|a| !a.is_empty()) else {
            bail!("{shown}: write servers as host:port,host:port");
        };
        let topology = match master {
            None => Topology::Cluster(addresses),
            Some(master) => Topology::Sentinel(Sentinels {
                master: master.to_owned(),
                addresses,
                credentials: env.get(&format!("{prefix}_SENTINEL_AUTH")).map(pair),
            }),
        };
        Ok(Self { topology, credentials: own, database: 0, tls })
    }
}

/// TLS, when the URL or a switch says so. The files are the same for both servers.
fn tls(env: &Environment, prefix: &str, by_url: bool) -> anyhow::Result<Option<Tls>> {
    let flag = |part: &str| env.flag(&format!("{prefix}_{part}"), false);
    let insecure = flag("TLS_INSECURE")? || env.flag("REDIS_TLS_INSECURE", false)?;
    if !(by_url || flag("TLS")? || flag("TLS_ENABLED")?) {
        return Ok(None);
    }
    let path = |name: &str| env.get(name).filter(|p| !p.is_empty()).map(PathBuf::from);
    let client = match (path("REDIS_TLS_CLIENT_CERT"), path("REDIS_TLS_CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => bail!("REDIS_TLS_CLIENT_CERT and REDIS_TLS_CLIENT_KEY belong together; set both"),
    };
    let trust = match (insecure, env.flag("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", false)?) {
        (true, _) => Trust::Nothing,
        (false, true) => Trust::AnyHost,
        (false, false) => Trust::Full,
    };
    Ok(Some(Tls { ca: path("REDIS_TLS_CACERT"), client, trust }))
}

/// A password, or user and password with a colon between.
fn pair(text: &str) -> Credentials {
    match text.split_once(':') {
        Some((user, password)) => (Some(user.to_owned()), Secret::new(password.to_owned())),
        None => (None, Secret::new(text.to_owned())),
    }
}

/// `_AUTH` is a password or `user:password`; with `_USERNAME` it is the password alone, as
/// `_PASSWORD` always is.
fn credentials(env: &Environment, prefix: &str) -> anyhow::Result<Option<Credentials>> {
    let get = |part: &str| env.get(&format!("{prefix}_{part}"));
    let user = get("USERNAME").map(str::to_owned);
    Ok(match (user, get("PASSWORD"), get("AUTH")) {
        (user, Some(password), _) | (user @ Some(_), None, Some(password)) => {
            Some((user, Secret::new(password.to_owned())))
        }
        (Some(_), None, None) => {
            bail!("{prefix}_USERNAME is set without {prefix}_PASSWORD; set both")
        }
        (None, None, Some(auth)) => Some(pair(auth)),
        (None, None, None) => None,
    })
}

/// A URL without its credentials.
fn redacted(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    match url.rfind('@') {
        Some(end) if end >= start => format!("{}…{}", &url[..start], &url[end..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(variables: &[(&str, &str)]) -> Result<RedisSettings, String> {
        match store(&Environment::of(variables), None) {
            Ok(StoreSettings::Redis(settings)) => Ok(settings),
            Ok(StoreSettings::Memory) => Err("memory".to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn shown_credentials(variables: &[(&str, &str)]) -> Option<(Option<String>, String)> {
        let all: Vec<_> = [("REDIS_URL", "h:1")].iter().chain(variables).copied().collect();
        let credentials = redis(&all).unwrap().main.credentials;
        credentials.map(|(user, password)| (user, password.expose().clone()))
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redacted("redis://u:secret@h:1"), "redis://…@h:1");
        assert_eq!(redacted("u:se@cret@h:1"), "…@h:1");
        assert_eq!(redacted("h:1"), "h:1");
        let error = redis(&[("REDIS_URL", "redis+x://u:secret@h:1")]).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_url_means_redis_and_none_memory() {
        assert_eq!(redis(&[]).unwrap_err(), "memory");
        assert_eq!(
            redis(&[("REDIS_URL", "h:1"), ("BACKEND_TYPE", "Memory")]).unwrap_err(),
            "memory"
        );
        let of = |variables: &[(&str, &str)]| redis(variables).unwrap().main.shown();
        assert_eq!(of(&[("REDIS_URL", "h:1")]), "h:1");
        assert_eq!(of(&[("REDIS_URL", "rediss://u:p@h:1/3")]), "h:1 over TLS");
        assert_eq!(of(&[("REDIS_URL", "/run/r.sock")]), "/run/r.sock");
        assert_eq!(of(&[("REDIS_URL", "/r"), ("REDIS_SOCKET_TYPE", "unix")]), "/r");
        assert!(redis(&[("REDIS_URL", "m,h:1,h:2")]).unwrap_err().contains("several servers"));
    }

    #[test]
    fn several_servers_are_a_cluster_or_sentinels() {
        let of = |kind, url| {
            let all = [("REDIS_URL", url), ("REDIS_TYPE", kind), ("REDIS_SENTINEL_AUTH", "s")];
            redis(&all).map(|r| r.main)
        };
        let cluster = of("cluster", "rediss://u:p@h:1,h:2").unwrap();
        assert_eq!(cluster.shown(), "Cluster h:1,h:2 over TLS");
        let (user, password) = cluster.credentials.unwrap();
        assert_eq!((user.as_deref(), password.expose().as_str()), (Some("u"), "p"));
        let sentinel = of("SENTINEL", "mymaster,h:1,h:2").unwrap();
        assert_eq!(sentinel.shown(), "`mymaster` of Sentinel h:1,h:2");
        assert!(of("SENTINEL", "h:1,h:2").unwrap_err().contains("master's name"));
        assert!(of("SENTINEL", "mymaster").unwrap_err().contains("master's name"));
        assert!(of("CLUSTER", "h:1,h").unwrap_err().contains("host:port"));
        assert!(of("RING", "h:1").unwrap_err().starts_with("REDIS_TYPE=RING"));
    }

    #[test]
    fn tls_is_told_by_switches() {
        let tls = |variables: &[(&str, &str)]| {
            let all: Vec<_> = [("REDIS_URL", "h:1")].iter().chain(variables).copied().collect();
            redis(&all).map(|r| r.main.tls.map(|t| t.trust))
        };
        assert_eq!(tls(&[]), Ok(None));
        assert_eq!(tls(&[("REDIS_TLS", "true")]), Ok(Some(Trust::Full)));
        let any = [("REDIS_TLS", "1"), ("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION", "true")];
        assert_eq!(tls(&any), Ok(Some(Trust::AnyHost)));
        let nothing = [("REDIS_TLS_ENABLED", "true"), ("REDIS_TLS_INSECURE", "true")];
        assert_eq!(tls(&nothing), Ok(Some(Trust::Nothing)));
        assert!(tls(&[("REDIS_TLS", "true"), ("REDIS_TLS_CLIENT_CERT", "c")]).is_err());
    }

    #[test]
    fn users_and_passwords_come_by_several_names() {
        assert_eq!(shown_credentials(&[]), None);
        assert_eq!(shown_credentials(&[("REDIS_AUTH", "p")]), Some((None, "p".to_owned())));
        let named = Some((Some("u".to_owned()), "p:q".to_owned()));
        assert_eq!(shown_credentials(&[("REDIS_AUTH", "u:p:q")]), named);
        assert_eq!(shown_credentials(&[("REDIS_AUTH", "p:q"), ("REDIS_USERNAME", "u")]), named);
        assert_eq!(shown_credentials(&[("REDIS_PASSWORD", "p:q"), ("REDIS_USERNAME", "u")]), named);
        assert!(
            redis(&[("REDIS_URL", "h:1"), ("REDIS_USERNAME", "u")])
                .unwrap_err()
                .contains("without REDIS_PASSWORD")
        );
    }

    #[test]
    fn limits_of_seconds_may_have_a_server_of_their_own() {
        let two = [("REDIS_URL", "h:1"), ("REDIS_PERSECOND", "true")];
        assert!(redis(&two).unwrap_err().contains("needs REDIS_PERSECOND_URL"));
        let all: Vec<_> = two.iter().chain(&[("REDIS_PERSECOND_URL", "h:2")]).copied().collect();
        assert_eq!(redis(&all).unwrap().per_second.unwrap().shown(), "h:2");
    }
}
