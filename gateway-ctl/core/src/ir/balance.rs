//! How a cluster's hosts are chosen among.

/// The policy of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one of two with fewer requests.
    LeastRequest,
    /// By a hash of the request, on a ring.
    RingHash,
    /// By a hash of the request, in a table.
    Maglev,
}

impl Policy {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
        }
    }
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashOn {
    /// A header.
    Header(String),
    /// A cookie; with a lifetime (milliseconds) Envoy sets it where it is missing.
    Cookie {
        /// Its name.
        name: String,
        /// Its path, when Envoy sets it.
        path: String,
        /// Its lifetime, when Envoy sets it; 0 is the browser's session.
        ttl_ms: Option<u64>,
    },
    /// The client's address.
    SourceIp,
}

/// How hosts are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The policy.
    pub policy: Policy,
    /// What is hashed; always there with a policy that hashes.
    pub hash_on: Option<HashOn>,
}

/// A port of a Kubernetes Service, whose endpoints are hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The Service's port, as it is asked for.
    pub port: u16,
}

/// A service in Consul, whose instances are hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsulService {
    /// The agent's address as the resolver writes it; empty is the usual one.
    pub agent: String,
    /// The datacenter.
    pub datacenter: String,
    /// The service's name.
    pub service: String,
    /// Whether the agent may be given the controller's token: whoever may write resolvers
    /// elsewhere than in the controller's namespace must not get it.
    pub trusted: bool,
    /// Whether another agent is asked about a datacenter of this name, so that the name of the
    /// endpoints has to tell them apart.
    pub apart: bool,
}

/// Where the hosts of a cluster come from, other than from DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hosts {
    /// From Kubernetes.
    Service(Backend),
    /// From Consul.
    Consul(ConsulService),
}

/// The name of the endpoints in xDS.
impl std::fmt::Display for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(backend) => backend.fmt(f),
            Self::Consul(service) => service.fmt(f),
        }
    }
}

/// `consul/datacenter/service`, as dashboards know it.
impl std::fmt::Display for ConsulService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "consul/{}/{}", self.datacenter, self.service)?;
        if self.apart {
            let other = if self.trusted { "" } else { "~" };
            write!(f, "@{}{other}", self.agent)?;
        }
        Ok(())
    }
}

/// The name of its endpoints in xDS, `k8s/namespace/service/port`.
impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "k8s/{}/{}/{}", self.namespace, self.service, self.port)
    }
}
