//! Which servers, and how to use them.

use std::time::Duration;

use super::{Address, Credentials, Sentinels, Tls};

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
