//! Where Envoy sends its statistics, by Emissary's variables: a part of the bootstrap.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::{Value, json};
use service_kit::go;

/// A statsd server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statsd {
    /// Where it is, over UDP.
    pub address: SocketAddr,
    /// Whether it takes tags as DogStatsD does.
    pub dog: bool,
    /// Time from one report to the next.
    pub interval: Duration,
}

impl Statsd {
    /// Reads `STATSD_ENABLED`, `STATSD_HOST`, `STATSD_PORT`, `STATSD_FLUSH_INTERVAL` and
    /// `DOGSTATSD`. A name is looked up once, now.
    ///
    /// # Errors
    /// Which variable is wrong.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let is_on = |name: &str| get(name).is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if !is_on("STATSD_ENABLED") {
            return Ok(None);
        }
        let text = |name: &str, default: &str| {
            get(name).filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let host = text("STATSD_HOST", "statsd-sink");
        let port = text("STATSD_PORT", "8125");
        let port = port.parse::<u16>().map_err(|_| format!("STATSD_PORT {port} is no port"))?;
        let address = (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|e| format!("STATSD_HOST {host}: {e}"))?
            .next()
            .ok_or_else(|| format!("STATSD_HOST {host} has no address"))?;
        let interval = text("STATSD_FLUSH_INTERVAL", "1");
        let interval = match interval.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => go::parse_duration(&interval)
                .map_err(|e| format!("STATSD_FLUSH_INTERVAL {interval}: {e}"))?,
        };
        if interval < Duration::from_millis(1) || interval > Duration::from_secs(300) {
            return Err("STATSD_FLUSH_INTERVAL is 1ms to 5m".to_owned());
        }
        Ok(Some(Self { address, dog: is_on("DOGSTATSD"), interval }))
    }

    /// Writes it into a bootstrap.
    pub fn write_into(&self, bootstrap: &mut Value) {
        let (name, kind) = match self.dog {
            true => ("envoy.stat_sinks.dog_statsd", "DogStatsdSink"),
            false => ("envoy.stat_sinks.statsd", "StatsdSink"),
        };
        bootstrap["stats_flush_interval"] = json!(format!("{}s", self.interval.as_secs_f64()));
        bootstrap["stats_sinks"] = json!([{
            "name": name,
            "typed_config": {
                "@type": format!("type.googleapis.com/envoy.config.metrics.v3.{kind}"),
                "address": {"socket_address": {
                    "protocol": "UDP",
                    "address": self.address.ip().to_string(),
                    "port_value": self.address.port(),
                }},
            },
        }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Statsd>, String> {
        let get = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        Statsd::from_variables(get)
    }

    #[test]
    fn variables_say_where_statistics_go() {
        assert_eq!(read(&[("STATSD_HOST", "127.0.0.1")]), Ok(None), "it is not switched on");
        let on = ("STATSD_ENABLED", "true");
        let local = ("STATSD_HOST", "127.0.0.1");
        let statsd = read(&[on, local, ("DOGSTATSD", "true")]).unwrap().unwrap();
        assert_eq!(statsd.address, "127.0.0.1:8125".parse().unwrap());
        let mut bootstrap = json!({});
        statsd.write_into(&mut bootstrap);
        assert_eq!(bootstrap["stats_sinks"][0]["name"], "envoy.stat_sinks.dog_statsd");
        assert_eq!(bootstrap["stats_flush_interval"], "1s");
        assert!(read(&[on, local, ("STATSD_PORT", "x")]).unwrap_err().contains("STATSD_PORT"));
        assert!(read(&[on, local, ("STATSD_FLUSH_INTERVAL", "0")]).is_err());
    }
}
