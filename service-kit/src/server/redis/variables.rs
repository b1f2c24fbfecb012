//! Servers as variables of the environment name them: those of envoyproxy/ratelimit and, where they
//! differ, of Edge Stack.

use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo as _};

use super::{Address, Credentials, RedisServer, Sentinels, Tls, Topology, Trust};
use crate::{Secret, go};

/// Connections to a server when `_POOL_SIZE` is not set. Requests in flight share a connection, and
/// are joined the better the fewer there are.
const CONNECTIONS: usize = 1;
/// Most connections to a server.
const MAX_CONNECTIONS: usize = 1_000;

/// The variables of one server: `PREFIX_TYPE`, `PREFIX_AUTH` and so on.
struct Variables<'a> {
    get: &'a dyn Fn(&str) -> Option<&'a str>,
    prefix: &'a str,
}

impl<'a> Variables<'a> {
    fn name(&self, part: &str) -> String {
        format!("{}_{part}", self.prefix)
    }

    fn own(&self, part: &str) -> Option<&'a str> {
        (self.get)(&self.name(part)).filter(|v| !v.is_empty())
    }

    /// One that is the same for all servers.
    fn common(&self, name: &str) -> Option<&'a str> {
        (self.get)(name).filter(|v| !v.is_empty())
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        let Some(text) = self.common(name) else { return Ok(false) };
        go::parse_bool(text).ok_or_else(|| format!("{name}={text}: neither true nor false"))
    }
}

impl RedisServer {
    /// The server at `url` with what the variables that begin with `prefix` say of it; `get` looks a
    /// variable up. Calls have `timeout` when the variables do not say it.
    ///
    /// # Errors
    /// In words, with the variable's name and without credentials.
    pub fn read<'a>(
        get: &'a dyn Fn(&str) -> Option<&'a str>,
        prefix: &'a str,
        url: &str,
        timeout: Duration,
    ) -> Result<Self, String> {
        let variables = Variables { get, prefix };
        let place = Place::read(&variables, url)?;
        let pool = variables.name("POOL_SIZE");
        let connections = match variables.own("POOL_SIZE") {
            None => CONNECTIONS,
            Some(text) => match text.parse() {
                Ok(n) if (1..=MAX_CONNECTIONS).contains(&n) => n,
                _ => {
                    return Err(format!("{pool}={text}: use a number from 1 to {MAX_CONNECTIONS}"));
                }
            },
        };
        let timeout = match variables.own("TIMEOUT").map(go::parse_duration) {
            None => timeout,
            Some(Ok(zero)) if zero.is_zero() => timeout,
            Some(Ok(own)) => own,
            Some(Err(e)) => return Err(format!("{}: {e}", variables.name("TIMEOUT"))),
        };
        Ok(Self {
            topology: place.topology,
            credentials: credentials(&variables)?.or(place.credentials),
            database: place.database,
            tls: tls(&variables, place.tls)?,
            timeout,
            connections,
        })
    }
}

/// What a URL says.
struct Place {
    topology: Topology,
    credentials: Option<Credentials>,
    database: i64,
    tls: bool,
}

impl Place {
    fn read(variables: &Variables<'_>, url: &str) -> Result<Self, String> {
        let kind = variables.own("TYPE").unwrap_or("SINGLE").to_ascii_uppercase();
        match kind.as_str() {
            "SINGLE" => Self::single(variables, url),
            "SENTINEL" | "CLUSTER" => Self::several(variables, url, kind == "SENTINEL"),
            other => {
                Err(format!("{}={other}: use SINGLE, SENTINEL or CLUSTER", variables.name("TYPE")))
            }
        }
    }

    fn single(variables: &Variables<'_>, url: &str) -> Result<Self, String> {
        let shown = redacted(url);
        if url.contains(',') {
            let name = variables.name("TYPE");
            return Err(format!("{shown}: several servers; set {name} to SENTINEL or CLUSTER"));
        }
        let unix = match variables.own("SOCKET_TYPE") {
            None => url.starts_with('/'),
            Some("unix") => true,
            Some("tcp") => false,
            Some(other) => {
                return Err(format!("{}={other}: use tcp or unix", variables.name("SOCKET_TYPE")));
            }
        };
        let full = match (url.contains("://"), unix) {
            (true, _) => url.to_owned(),
            (false, true) => format!("unix://{url}"),
            (false, false) => format!("redis://{url}"),
        };
        Self::of_url(&full).map_err(|e| format!("{shown}: not a URL of Redis: {e}"))
    }

    /// `redis://`, `rediss://` and `unix://`, with credentials and a database.
    fn of_url(url: &str) -> Result<Self, String> {
        // TLS is made here, not by the client library, which therefore does not know its scheme.
        let (tls, plain) = match url.strip_prefix("rediss://") {
            Some(rest) => (true, format!("redis://{rest}")),
            None => (false, url.to_owned()),
        };
        let info = plain.as_str().into_connection_info().map_err(|e| e.to_string())?;
        let own = info.redis_settings();
        let password = own.password().map(|p| Secret::new(p.to_owned()));
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err("neither TCP nor a socket".to_owned()),
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
    fn several(variables: &Variables<'_>, url: &str, sentinel: bool) -> Result<Self, String> {
        let shown = redacted(url);
        let (master, list) = match (sentinel, url.split_once(',')) {
            (false, _) => (None, url),
            (true, Some((master, list))) if !master.contains(':') => (Some(master.trim()), list),
            (true, _) => {
                return Err(format!(
                    "{shown}: write the master's name and its Sentinels, as mymaster,host:26379"
                ));
            }
        };
        let (tls, rest) = match list.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            Some(_) => return Err(format!("{shown}: use redis:// or rediss://, or no scheme")),
            None => (false, list),
        };
        let (own, rest) = match rest.rsplit_once('@') {
            Some((own, rest)) => (Some(pair(own)), rest),
            None => (None, rest),
        };
        let addresses: Option<Vec<Address>> = rest.split(',').map(Address::parse).collect();
        let Some(addresses) = addresses.filter(|a| !a.is_empty()) else {
            return Err(format!("{shown}: write servers as host:port,host:port"));
        };
        let topology = match master {
            None => Topology::Cluster(addresses),
            Some(master) => Topology::Sentinel(Sentinels {
                master: master.to_owned(),
                addresses,
                credentials: variables.own("SENTINEL_AUTH").map(pair),
            }),
        };
        Ok(Self { topology, credentials: own, database: 0, tls })
    }
}

/// TLS, when the URL or a switch says so. The files are the same for all servers of a program.
fn tls(variables: &Variables<'_>, by_url: bool) -> Result<Option<Tls>, String> {
    let flag = |part: &str| variables.flag(&variables.name(part));
    let insecure = flag("TLS_INSECURE")? || variables.flag("REDIS_TLS_INSECURE")?;
    if !(by_url || flag("TLS")? || flag("TLS_ENABLED")?) {
        return Ok(None);
    }
    let path = |name: &str| variables.common(name).map(PathBuf::from);
    let client = match (path("REDIS_TLS_CLIENT_CERT"), path("REDIS_TLS_CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let words = "REDIS_TLS_CLIENT_CERT and REDIS_TLS_CLIENT_KEY belong together; set both";
            return Err(words.to_owned());
        }
    };
    let trust = match (insecure, variables.flag("REDIS_TLS_SKIP_HOSTNAME_VERIFICATION")?) {
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
fn credentials(variables: &Variables<'_>) -> Result<Option<Credentials>, String> {
    let user = variables.own("USERNAME").map(str::to_owned);
    Ok(match (user, variables.own("PASSWORD"), variables.own("AUTH")) {
        (user, Some(password), _) | (user @ Some(_), None, Some(password)) => {
            Some((user, Secret::new(password.to_owned())))
        }
        (Some(_), None, None) => {
            let (user, password) = (variables.name("USERNAME"), variables.name("PASSWORD"));
            return Err(format!("{user} is set without {password}; set both"));
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
#[path = "variables/tests.rs"]
mod tests;
