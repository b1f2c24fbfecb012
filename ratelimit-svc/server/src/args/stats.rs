//! Settings of the statistics: those of envoyproxy/ratelimit and, where they differ, of Edge Stack.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use crate::environment::Environment;
use crate::metrics::{Mapper, Mogrifier, Naming, Output, Style, Tags, Target};

/// How often lines are sent when nothing else is said.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
/// Tags that Datadog's client takes from the environment, in its order.
const GLOBAL_TAGS: [(&str, &str); 4] = [
    ("DD_ENTITY_ID", "dd.internal.entity_id"),
    ("DD_ENV", "env"),
    ("DD_SERVICE", "service"),
    ("DD_VERSION", "version"),
];

/// What to count, and who gets it.
#[derive(Clone, Debug)]
pub(crate) struct StatsSettings {
    /// Count the hits of single limits.
    pub limits: bool,
    pub naming: Naming,
    /// Labels of all metrics at the admin port.
    pub extra_tags: Vec<(String, String)>,
    pub output: Output,
}

/// `alone` is whether the configuration does not come from gateway-ctl, which has no wish for
/// statsd of its own.
pub(super) fn stats(env: &Environment, alone: bool) -> anyhow::Result<StatsSettings> {
    let limits = !env.flag("DISABLE_STATS", false)?;
    let extra_tags = env.pairs("EXTRA_TAGS")?;
    let naming = Naming { without_dots: env.flag("SANITIZE_DESCRIPTOR_METRIC_DOTS", false)? };
    let output = output(env, alone, &Tags::new(&extra_tags))?;
    let output = if limits { output } else { Output::None };
    Ok(StatsSettings { limits, naming, extra_tags, output })
}

fn output(env: &Environment, alone: bool, tags: &Tags) -> anyhow::Result<Output> {
    let dog = env.flag("USE_DOG_STATSD", false)?;
    let prometheus = env.flag("USE_PROMETHEUS", false)?;
    // There, USE_STATSD is on by default and has to be put off for each of the others.
    let by_default = !dog
        && !prometheus
        && (alone || ["STATSD_HOST", "STATSD_PORT"].iter().any(|n| env.get(n).is_some()));
    let statsd = env.flag("USE_STATSD", by_default)?;
    if [dog, prometheus, statsd].iter().filter(|on| **on).count() > 1 {
        bail!(
            "USE_STATSD, USE_DOG_STATSD and USE_PROMETHEUS: more than one is on; statistics go one way, choose one (metrics are on the admin port at /metrics in any case)"
        );
    }
    if dog {
        return dog_statsd(env, tags);
    }
    if prometheus {
        return page(env, tags);
    }
    if statsd {
        return plain_statsd(env, tags);
    }
    Ok(Output::None)
}

fn plain_statsd(env: &Environment, tags: &Tags) -> anyhow::Result<Output> {
    let (host, port) = (env.text("STATSD_HOST", "localhost"), port(env)?);
    let asked = ["USE_STATSD", "STATSD_HOST", "STATSD_PORT", "STATSD_PROTOCOL"];
    Ok(Output::Lines {
        to: match env.text("STATSD_PROTOCOL", "tcp").as_str() {
            "tcp" | "tcp4" | "tcp6" => Target::Tcp(host, port),
            "udp" | "udp4" | "udp6" => Target::Udp(host, port),
            other => bail!("STATSD_PROTOCOL={other}: use tcp or udp"),
        },
        style: Style::statsd(tags, env.get("DD_ENTITY_ID")),
        every: flush_interval(env)?,
        asked: asked.iter().any(|name| env.get(name).is_some()),
    })
}

/// Always datagrams; STATSD_HOST may also be `unix:///path`.
fn dog_statsd(env: &Environment, tags: &Tags) -> anyhow::Result<Output> {
    let host = env.text("STATSD_HOST", "localhost");
    let to = match host.strip_prefix("unix://") {
        Some(path) => Target::Unix(path.into()),
        None => Target::Udp(host, port(env)?),
    };
    let names = env.text("USE_DOG_STATSD_MOGRIFIERS", "");
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mogrifiers = names.map(|name| mogrifier(env, name)).collect::<anyhow::Result<_>>()?;
    let global: Vec<(&str, &str)> =
        GLOBAL_TAGS.iter().filter_map(|(name, tag)| Some((*tag, env.get(name)?))).collect();
    let style = Style::dog_statsd(&global, tags, mogrifiers);
    Ok(Output::Lines { to, style, every: flush_interval(env)?, asked: true })
}

fn mogrifier(env: &Environment, name: &str) -> anyhow::Result<Mogrifier> {
    // The original reads them by a library that takes names in upper case.
    let prefix = format!("DOG_STATSD_MOGRIFIER_{}", name.to_uppercase());
    let part = |part: &str| env.text(&format!("{prefix}_{part}"), "");
    let tags = env.pairs(&format!("{prefix}_TAGS"))?;
    Mogrifier::new(&part("PATTERN"), &part("NAME"), tags)
        .with_context(|| format!("USE_DOG_STATSD_MOGRIFIERS: {name} ({prefix}_…)"))
}

fn page(env: &Environment, tags: &Tags) -> anyhow::Result<Output> {
    let milliseconds = env.flag("PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS", false)?;
    let mapper = match env.get("PROMETHEUS_MAPPER_YAML") {
        None => Mapper::original(milliseconds),
        Some(path) => {
            let named = || format!("PROMETHEUS_MAPPER_YAML={path}");
            let text = std::fs::read_to_string(path).with_context(named)?;
            Mapper::read(&text).map_err(anyhow::Error::msg).with_context(named)?
        }
    };
    let path = env.text("PROMETHEUS_PATH", "/metrics");
    if !path.starts_with('/') {
        bail!("PROMETHEUS_PATH={path}: it must begin with /");
    }
    Ok(Output::Page { addr: prometheus_addr(env)?, path, mapper, tags: tags.clone() })
}

/// As Go has it: without a host, on all addresses.
fn prometheus_addr(env: &Environment) -> anyhow::Result<SocketAddr> {
    let text = env.text("PROMETHEUS_ADDR", ":9090");
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.clone() };
    let found = full.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| anyhow!("PROMETHEUS_ADDR={text}: neither :PORT nor HOST:PORT"))
}

fn port(env: &Environment) -> anyhow::Result<u16> {
    let text = env.text("STATSD_PORT", "8125");
    text.parse().ok().filter(|p| *p > 0).ok_or_else(|| anyhow!("STATSD_PORT={text}: not a port"))
}

/// STATS_FLUSH_INTERVAL, or Edge Stack's variable in whole seconds.
fn flush_interval(env: &Environment) -> anyhow::Result<Duration> {
    const SECONDS: &str = "GOSTATS_FLUSH_INTERVAL_SECONDS";
    let (name, interval) = match env.duration("STATS_FLUSH_INTERVAL")? {
        Some(interval) => ("STATS_FLUSH_INTERVAL", interval),
        None => (SECONDS, Duration::from_secs(env.number(SECONDS, FLUSH_INTERVAL.as_secs())?)),
    };
    if interval.is_zero() {
        bail!("{name}: it must be more than 0");
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Output, String> {
        stats(&Environment::of(variables), true).map(|s| s.output).map_err(|e| format!("{e:#}"))
    }

    fn target(variables: &[(&str, &str)]) -> String {
        match of(variables) {
            Ok(Output::Lines { to, every, asked, .. }) => format!("{to} {every:?} {asked}"),
            Ok(Output::Page { .. }) => "page".to_owned(),
            Ok(Output::None) => "none".to_owned(),
            Err(e) => e,
        }
    }

    #[test]
    fn lines_go_to_statsd_unless_another_way_is_chosen() {
        assert_eq!(target(&[]), "tcp localhost:8125 10s false");
        assert_eq!(target(&[("USE_STATSD", "1")]), "tcp localhost:8125 10s true");
        assert_eq!(target(&[("USE_STATSD", "0")]), "none");
        assert_eq!(target(&[("DISABLE_STATS", "true"), ("STATSD_HOST", "h")]), "none");
        let udp = [("STATSD_HOST", "h"), ("STATSD_PORT", "1"), ("STATSD_PROTOCOL", "udp")];
        assert_eq!(target(&udp), "udp h:1 10s true");
        let dog = [("USE_DOG_STATSD", "true"), ("STATSD_HOST", "unix:///run/dsd.socket")];
        assert_eq!(target(&dog), "unix /run/dsd.socket 10s true");
        let page = of(&[("USE_PROMETHEUS", "true"), ("PROMETHEUS_ADDR", ":1")]);
        assert!(matches!(page, Ok(Output::Page { addr, .. }) if addr.port() == 1));
        let fed = |variables: &[_]| stats(&Environment::of(variables), false).unwrap().output;
        assert!(matches!(fed(&[]), Output::None));
        assert!(matches!(fed(&[("STATSD_HOST", "h")]), Output::Lines { .. }));
    }

    #[test]
    fn two_ways_are_refused_when_both_are_asked_for() {
        for other in ["USE_PROMETHEUS", "USE_DOG_STATSD"] {
            assert!(of(&[(other, "true")]).is_ok());
            let error = of(&[(other, "true"), ("USE_STATSD", "true")]).unwrap_err();
            assert!(error.contains("more than one is on"), "{error}");
        }
        assert!(of(&[("USE_PROMETHEUS", "true"), ("USE_DOG_STATSD", "true")]).is_err());
    }

    #[test]
    fn intervals_come_by_two_names() {
        let edge = ("GOSTATS_FLUSH_INTERVAL_SECONDS", "5");
        assert_eq!(target(&[edge]), "tcp localhost:8125 5s false");
        let own = ("STATS_FLUSH_INTERVAL", "1m");
        assert_eq!(target(&[edge, own]), "tcp localhost:8125 60s false");
    }

    #[test]
    fn a_bad_value_is_named() {
        let dog = ("USE_DOG_STATSD", "true");
        let page = ("USE_PROMETHEUS", "true");
        for (name, variables) in [
            ("STATSD_PORT", &[("STATSD_PORT", "0")][..]),
            ("STATSD_PROTOCOL", &[("STATSD_PROTOCOL", "sctp")]),
            ("STATS_FLUSH_INTERVAL", &[("STATS_FLUSH_INTERVAL", "0s")]),
            ("PROMETHEUS_PATH", &[page, ("PROMETHEUS_PATH", "metrics")]),
            ("PROMETHEUS_ADDR", &[page, ("PROMETHEUS_ADDR", "9090")]),
            ("PROMETHEUS_MAPPER_YAML=/none", &[page, ("PROMETHEUS_MAPPER_YAML", "/none")]),
            ("USE_DOG_STATSD_MOGRIFIERS: A", &[dog, ("USE_DOG_STATSD_MOGRIFIERS", "A")]),
        ] {
            let error = of(variables).unwrap_err();
            assert!(error.starts_with(name) && !error.contains('\n'), "{name}: {error}");
        }
    }
}
