//! The variables of envoyproxy/ratelimit and of Edge Stack, with their notation. Flags go before
//! them. What a variable means is where it is used; here is which of them are not supported.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use service_kit::go;

/// The environment as it was at start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of this process; a variable that is no text is left out.
    pub(crate) fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    /// A variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A variable, or its default.
    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or(default).to_owned()
    }

    /// A boolean as Go writes it.
    pub(crate) fn flag(&self, name: &str, default: bool) -> anyhow::Result<bool> {
        let Some(text) = self.get(name) else { return Ok(default) };
        go::parse_bool(text).ok_or_else(|| anyhow!("{name}={text}: neither true nor false"))
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str, default: u64) -> anyhow::Result<u64> {
        let Some(text) = self.get(name) else { return Ok(default) };
        text.parse().with_context(|| format!("{name}={text}: not a whole number"))
    }

    /// A number from 0 to 1.
    pub(crate) fn share<T>(&self, name: &str, default: &str) -> anyhow::Result<T>
    where
        T: std::str::FromStr + PartialOrd + From<u8>,
    {
        let text = self.text(name, default);
        let share = text.parse().ok().filter(|s| (T::from(0)..=T::from(1)).contains(s));
        share.ok_or_else(|| anyhow!("{name}={text}: not a number from 0 to 1"))
    }

    /// A duration as Go writes it.
    pub(crate) fn duration(&self, name: &str) -> anyhow::Result<Option<Duration>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        go::parse_duration(text).map(Some).map_err(|e| anyhow!("{name}: {e}"))
    }

    /// Pairs as in `a:1,b:2`.
    pub(crate) fn pairs(&self, name: &str) -> anyhow::Result<Vec<(String, String)>> {
        let text = self.get(name).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|p| !p.is_empty());
        parts
            .map(|part| {
                let (key, value) = part
                    .split_once(':')
                    .filter(|(key, _)| !key.is_empty())
                    .ok_or_else(|| anyhow!("{name}: `{part}` is not like key:value"))?;
                Ok((key.to_owned(), value.to_owned()))
            })
            .collect()
    }

    /// Refuses what is not supported yet when it is asked for.
    ///
    /// # Errors
    /// Names the variable and what to do.
    pub(crate) fn refuse_unsupported(&self) -> anyhow::Result<()> {
        for (name, harmless, what) in UNSUPPORTED {
            let Some(value) = self.get(name).filter(|v| !is_harmless(v, harmless)) else {
                continue;
            };
            if needed_switch(name).is_some_and(|(switch, default)| !self.is_on(switch, default)) {
                continue;
            }
            // What could be a secret is not repeated.
            let shown = if name.ends_with("_AUTH") { "…" } else { value };
            bail!("{name}={shown} is not supported yet: {what}");
        }
        Ok(())
    }

    /// What is accepted, but does less than its name says.
    pub(crate) fn remarks(&self) -> Vec<String> {
        REMARKS
            .iter()
            .filter(|(name, harmless, _)| self.get(name).is_some_and(|v| !is_harmless(v, harmless)))
            .map(|(name, _, what)| format!("{name}: {what}"))
            .collect()
    }

    fn is_on(&self, switch: &str, default: bool) -> bool {
        self.get(switch).map_or(default, |v| go::parse_bool(v) != Some(false))
    }
}

/// Variables that mean nothing while a switch is off, and what it is by default.
fn needed_switch(name: &str) -> Option<(&'static str, bool)> {
    const SWITCHES: [(&str, &str, bool); 1] = [("REDIS_PERSECOND_", "REDIS_PERSECOND", false)];
    let found =
        SWITCHES.iter().find(|(prefix, switch, _)| name.starts_with(prefix) && name != *switch);
    found.map(|(_, switch, default)| (*switch, *default))
}

fn is_harmless(value: &str, harmless: &[&str]) -> bool {
    harmless.iter().any(|h| {
        h.eq_ignore_ascii_case(value)
            || go::parse_bool(h).is_some_and(|h| go::parse_bool(value) == Some(h))
    })
}

/// Name, values that ask for nothing, what to do. Settings of what is switched off (memcached,
/// TLS) mean nothing here as they mean nothing there, so
/// that only the switches stand here.
const UNSUPPORTED: &[(&str, &[&str], &str)] = &[
    ("BACKEND_TYPE", &["redis", "memory"], "counters are kept in redis or memory; leave it out"),
    ("REDIS_POOL_ON_EMPTY_BEHAVIOR", &["WAIT"], "requests share connections; leave it out"),
    (
        "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR",
        &["WAIT"],
        "requests share connections; leave it out",
    ),
];

const SHARED_WRITES: &str = "requests in flight share writes by themselves; it has no effect";
const NO_WAIT: &str =
    "the service does not wait for Redis, it tries again by itself; it has no effect";
const NO_SURGE: &str = "connections are shared, there is no surge; it has no effect";

/// Name, values that ask for nothing, what is different.
const REMARKS: &[(&str, &[&str], &str)] = &[
    ("REDIS_PIPELINE_WINDOW", &["0", "0s"], SHARED_WRITES),
    ("REDIS_PIPELINE_LIMIT", &["0"], SHARED_WRITES),
    ("REDIS_PERSECOND_PIPELINE_WINDOW", &["0", "0s"], SHARED_WRITES),
    ("REDIS_PERSECOND_PIPELINE_LIMIT", &["0"], SHARED_WRITES),
    ("REDIS_STARTUP_INITIAL_INTERVAL", &["1s"], NO_WAIT),
    ("REDIS_STARTUP_MAX_INTERVAL", &["30s"], NO_WAIT),
    ("REDIS_STARTUP_MAX_ELAPSED_TIME", &["0", "0s"], NO_WAIT),
    ("REDIS_SURGE_LIMIT_INTERVAL", &["0", "0s"], NO_SURGE),
    ("REDIS_SURGE_LIMIT_AFTER", &[], NO_SURGE),
    ("REDIS_SURGE_POOL_SIZE", &["0"], NO_SURGE),
    ("REDIS_SURGE_POOL_DRAIN_INTERVAL", &["1m", "1m0s"], NO_SURGE),
    (
        "RUNTIME_IGNOREDOTFILES",
        &["true"],
        "files whose names begin with a dot are read, but for those of a mounted ConfigMap (..data)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(variables: &[(&str, &str)]) -> Option<String> {
        Environment::of(variables).refuse_unsupported().err().map(|e| e.to_string())
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let error = refusal(&[("BACKEND_TYPE", "memcache")]).unwrap();
        assert!(error.starts_with("BACKEND_TYPE=memcache is not supported yet: "), "{error}");
        assert_eq!(refusal(&[("BACKEND_TYPE", "REDIS")]), None);
    }

    #[test]
    fn settings_of_what_is_off_mean_nothing() {
        let pool = ("REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR", "ERROR");
        assert_eq!(refusal(&[pool]), None);
        assert!(refusal(&[pool, ("REDIS_PERSECOND", "true")]).is_some());
    }

    #[test]
    fn what_does_less_than_its_name_is_remarked_on() {
        let remarks = |variables: &[(&str, &str)]| Environment::of(variables).remarks().len();
        assert_eq!(remarks(&[]), 0);
        assert_eq!(remarks(&[("REDIS_PIPELINE_WINDOW", "1ms")]), 1);
        assert_eq!(remarks(&[("RUNTIME_IGNOREDOTFILES", "T")]), 0);
    }

    #[test]
    fn go_notation_is_read() {
        let env = Environment::of(&[("A", "T"), ("B", "yes"), ("C", "1m"), ("D", "a:1, b:c:d")]);
        assert!(env.flag("A", false).unwrap() && env.flag("B", false).is_err());
        assert_eq!(env.duration("C").unwrap(), Some(Duration::from_secs(60)));
        let pairs = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "c:d".to_owned())];
        assert_eq!(env.pairs("D").unwrap(), pairs);
    }
}
