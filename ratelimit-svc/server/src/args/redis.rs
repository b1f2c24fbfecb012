//! Settings of Redis: those of envoyproxy/ratelimit and, where they differ, of Edge Stack.

use std::time::Duration;

use anyhow::bail;

use crate::environment::Environment;
use crate::store::{RedisServer, RedisSettings, StoreSettings};

/// Deadline of a call to Redis when REDIS_TIMEOUT is not set: Envoy waits 20 ms for all of it, if it
/// is not told otherwise, and a limit that says what happens without Redis must still be heard.
const TIMEOUT: Duration = Duration::from_millis(15);
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
    let get = |name: &str| env.get(name);
    RedisServer::read(&get, prefix, url, TIMEOUT).map_err(anyhow::Error::msg)
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
    fn limits_of_seconds_may_have_a_server_of_their_own() {
        let two = [("REDIS_URL", "h:1"), ("REDIS_PERSECOND", "true")];
        assert!(redis(&two).unwrap_err().contains("needs REDIS_PERSECOND_URL"));
        let all: Vec<_> = two.iter().chain(&[("REDIS_PERSECOND_URL", "h:2")]).copied().collect();
        assert_eq!(redis(&all).unwrap().per_second.unwrap().shown(), "h:2");
    }
}
