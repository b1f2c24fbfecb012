//! Which servers, and how to use them.

use std::time::Duration;

use super::dial::{Address, Credentials, Sentinels};
use super::tls::Tls;

/// Counters in Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// For all counters, or all but those of [`Self::per_second`].
    pub main: RedisServer,
    /// For limits of a second.
    pub per_second: Option<RedisServer>,
    /// Up to this many seconds are added to the life of a key, so that keys do not all end at once.
    pub jitter_seconds: u64,
    /// Bytes for keys that are over, of which Redis is not asked again; 0 for none.
    pub local_cache_bytes: usize,
    /// How often an idle server is asked whether it lives.
    pub ping_interval: Duration,
}

/// One server, or several that are used as one.
#[derive(Clone, Debug)]
pub struct RedisServer {
    /// Where it is.
    pub topology: Topology,
    /// Of the server; Sentinels have their own.
    pub credentials: Option<Credentials>,
    /// Number of the database; 0 in a cluster.
    pub database: i64,
    /// TLS; none for clear text.
    pub tls: Option<Tls>,
    /// Deadline of a call.
    pub timeout: Duration,
    /// How many connections; requests in flight share each.
    pub connections: usize,
}

/// Where servers are.
#[derive(Clone, Debug)]
pub enum Topology {
    /// One.
    Single(Address),
    /// One of several, by name.
    Sentinel(Sentinels),
    /// A cluster; some of its servers, which know the others.
    Cluster(Vec<Address>),
}

impl RedisServer {
    /// For people, without credentials.
    pub fn shown(&self) -> String {
        let list =
            |all: &[Address]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let place = match &self.topology {
            Topology::Single(address) => address.to_string(),
            Topology::Sentinel(s) => format!("`{}` of Sentinel {}", s.master, list(&s.addresses)),
            Topology::Cluster(seeds) => format!("Cluster {}", list(seeds)),
        };
        if self.tls.is_some() { format!("{place} over TLS") } else { place }
    }
}
