//! The variables of envoyproxy/ratelimit, with its notation. Flags go before them.

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
        match self.get(name) {
            None => Ok(default),
            Some(text) => {
                go::parse_bool(text).ok_or_else(|| anyhow!("{name}={text}: neither true nor false"))
            }
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str, default: u64) -> anyhow::Result<u64> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => {
                text.parse().with_context(|| format!("{name}={text}: not a whole number"))
            }
        }
    }

    /// A duration as Go writes it.
    pub(crate) fn duration(&self, name: &str) -> anyhow::Result<Option<Duration>> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => go::parse_duration(text).map(Some).map_err(|e| anyhow!("{name}: {e}")),
        }
    }

    /// Refuses what is not supported yet when it is asked for.
    ///
    /// # Errors
    /// Names the variable and what to do.
    pub(crate) fn refuse_unsupported(&self) -> anyhow::Result<()> {
        for (name, harmless, what) in UNSUPPORTED {
            if let Some(value) = self.get(name).filter(|v| !is_harmless(v, harmless)) {
                bail!("{name}={value} is not supported yet: {what}");
            }
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
}

fn is_harmless(value: &str, harmless: &[&str]) -> bool {
    harmless.iter().any(|h| {
        h.eq_ignore_ascii_case(value) || (*h == "false" && go::parse_bool(value) == Some(false))
    })
}

/// Name, values that ask for nothing, what to do.
const UNSUPPORTED: &[(&str, &[&str], &str)] = &[
    ("CONFIG_TYPE", &["FILE"], "only FILE; leave it out, or use --xds with gateway-ctl"),
    ("BACKEND_TYPE", &["redis", "memory"], "counters are kept in redis or memory; leave it out"),
    ("REDIS_TYPE", &["SINGLE"], "only SINGLE; name one server in REDIS_URL"),
    ("REDIS_SENTINEL_AUTH", &[], "only single servers; leave it out"),
    ("REDIS_TLS", &["false"], "connect in clear text on a network you trust; leave it out"),
    ("REDIS_TLS_ENABLED", &["false"], "connect in clear text on a network you trust; leave it out"),
    ("REDIS_PERSECOND", &["false"], "all counters are in one Redis; leave it out"),
    ("GRPC_UDS", &[], "only TCP; use GRPC_HOST and GRPC_PORT"),
    (
        "GRPC_SERVER_USE_TLS",
        &["false"],
        "only clear text; let a mesh or sidecar encrypt, and leave it out",
    ),
    ("USE_DOG_STATSD", &["false"], "metrics are on the admin port at /metrics; leave it out"),
    ("TRACING_ENABLED", &["false"], "there are no traces; leave it out"),
];

/// Name, values that ask for nothing, what is different.
const REMARKS: &[(&str, &[&str], &str)] = &[
    ("USE_STATSD", &["false"], "statsd is not sent yet; metrics are on the admin port at /metrics"),
    (
        "USE_PROMETHEUS",
        &["false"],
        "metrics are on the admin port at /metrics, under names of their own",
    ),
    (
        "LOCAL_CACHE_SIZE_IN_BYTES",
        &["0"],
        "there is no local cache yet; every request asks the store, which does not change any answer",
    ),
    (
        "REDIS_PIPELINE_WINDOW",
        &["0", "0s"],
        "requests in flight share writes by themselves; it has no effect",
    ),
    (
        "REDIS_PIPELINE_LIMIT",
        &["0"],
        "requests in flight share writes by themselves; it has no effect",
    ),
    (
        "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED",
        &["false"],
        "the service always is ready only with a configuration",
    ),
    (
        "FORCE_START_WITHOUT_INITIAL_CONFIG",
        &["false"],
        "the service always starts; it has no effect",
    ),
    ("GRPC_MAX_CONNECTION_AGE", &[], "connections do not age yet; it has no effect"),
    ("EXTRA_TAGS", &[], "metrics have no extra tags yet; it has no effect"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let error = of(&[("REDIS_TYPE", "CLUSTER")]).refuse_unsupported().unwrap_err().to_string();
        assert!(error.starts_with("REDIS_TYPE=CLUSTER is not supported yet"), "{error}");
        of(&[("REDIS_TYPE", "single"), ("REDIS_TLS", "f"), ("CONFIG_TYPE", "FILE")])
            .refuse_unsupported()
            .unwrap();
        assert_eq!(of(&[("USE_STATSD", "0")]).remarks().len(), 0);
        assert_eq!(of(&[("USE_STATSD", "true")]).remarks().len(), 1);
    }

    #[test]
    fn go_notation_is_read() {
        assert!(of(&[("A", "T")]).flag("A", false).unwrap());
        assert!(of(&[("A", "yes")]).flag("A", false).is_err());
        assert_eq!(of(&[("A", "1m")]).duration("A").unwrap(), Some(Duration::from_secs(60)));
    }
}
