//! Settings of Redis: those of envoyproxy/ratelimit and, where they differ, of Edge Stack.

use std::time::Duration;

use anyhow::{Context as _, bail};
use service_kit::Secret;

use crate::environment::Environment;
use crate::store::{RedisServer, RedisSettings, StoreSettings};

/// Deadline of a call to Redis when REDIS_TIMEOUT is not set. Envoy cancels its call after 20 ms
/// of its own accord, and with it the wait for Redis; this bounds what callers without a deadline
/// can hold while Redis hangs.
const TIMEOUT: Duration = Duration::from_millis(100);
/// Connections to a server. Requests in flight share them, so a few are enough; more make the
/// writes smaller.
const CONNECTIONS: u64 = 4;
/// Most connections to a server.
const MAX_CONNECTIONS: u64 = 1_000;
/// How often a server is asked whether it lives.
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
    let shown = redacted(url);
    if url.starts_with("rediss://") {
        bail!("{shown}: TLS to Redis is not supported yet; use redis:// on a network you trust");
    }
    if url.contains(',') {
        bail!("{shown}: several servers are not supported yet; name one in {}", name("URL"));
    }
    let unix = match env.get(&name("SOCKET_TYPE")) {
        None => url.starts_with('/'),
        Some("unix") => true,
        Some("tcp") => false,
        Some(other) => bail!("{}={other}: use tcp or unix", name("SOCKET_TYPE")),
    };
    let full = match (url.contains("://"), unix) {
        (true, _) => url.to_owned(),
        (false, true) => format!("unix://{url}"),
        (false, false) => format!("redis://{url}"),
    };
    let connections = env.number(&name("POOL_SIZE"), CONNECTIONS)?;
    if !(1..=MAX_CONNECTIONS).contains(&connections) {
        bail!("{}={connections}: use a number from 1 to {MAX_CONNECTIONS}", name("POOL_SIZE"));
    }
    let timeout = env.duration(&name("TIMEOUT"))?.filter(|t| !t.is_zero());
    Ok(RedisServer {
        url: Secret::new(full),
        shown,
        credentials: credentials(env, prefix)?,
        timeout: timeout.unwrap_or(TIMEOUT),
        connections: usize::try_from(connections).context("too many connections")?,
    })
}

type Credentials = Option<(Option<String>, Secret<String>)>;

/// `_AUTH` is a password or `user:password`; with `_USERNAME` it is the password alone, as
/// `_PASSWORD` always is.
fn credentials(env: &Environment, prefix: &str) -> anyhow::Result<Credentials> {
    let get = |part: &str| env.get(&format!("{prefix}_{part}"));
    let user = get("USERNAME").map(str::to_owned);
    Ok(match (user, get("PASSWORD"), get("AUTH")) {
        (user, Some(password), _) | (user @ Some(_), None, Some(password)) => {
            Some((user, Secret::new(password.to_owned())))
        }
        (Some(_), None, None) => {
            bail!("{prefix}_USERNAME is set without {prefix}_PASSWORD; set both")
        }
        (None, None, Some(auth)) => Some(match auth.split_once(':') {
            Some((user, password)) => (Some(user.to_owned()), Secret::new(password.to_owned())),
            None => (None, Secret::new(auth.to_owned())),
        }),
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
        let error = redis(&[("REDIS_URL", "rediss://u:secret@h:1")]).unwrap_err();
        assert!(error.contains("TLS") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_url_means_redis_and_none_memory() {
        assert_eq!(redis(&[]).unwrap_err(), "memory");
        assert_eq!(
            redis(&[("REDIS_URL", "h:1"), ("BACKEND_TYPE", "Memory")]).unwrap_err(),
            "memory"
        );
        let of = |variables: &[(&str, &str)]| redis(variables).unwrap().main.url.expose().clone();
        assert_eq!(of(&[("REDIS_URL", "h:1")]), "redis://h:1");
        assert_eq!(of(&[("REDIS_URL", "/run/r.sock")]), "unix:///run/r.sock");
        assert_eq!(of(&[("REDIS_URL", "/r"), ("REDIS_SOCKET_TYPE", "unix")]), "unix:///r");
        assert!(redis(&[("REDIS_URL", "m,h:1,h:2")]).unwrap_err().contains("several servers"));
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
        assert_eq!(redis(&all).unwrap().per_second.unwrap().shown, "h:2");
    }
}
