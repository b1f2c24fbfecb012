//! Resolvers: how the hosts of a service are found. Kubernetes' kinds have no settings of their own.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect)];

/// The schema of Kubernetes' two kinds.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, Fields>(generator, UNREAD)
}

/// The schema of Consul's kind.
pub(crate) fn consul_schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<ConsulRaw, Fields>(generator, UNREAD)
}

/// How hosts are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// By the name of the Service, in DNS.
    Service,
    /// By the endpoints of the Service.
    Endpoint,
    /// By the instances in Consul.
    Consul {
        /// The agent's address as written; empty is the usual one.
        agent: String,
        /// The datacenter.
        datacenter: String,
    },
}

/// Says how the hosts of services are found; it has no settings of its own.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {}

/// Finds the hosts of services in Consul.
#[derive(Debug, Deserialize, JsonSchema)]
struct ConsulRaw {
    /// Where Consul's agent is: `[http://|https://]host[:port]`. Default: `CONSUL_HTTP_ADDR`, else `127.0.0.1:8500`.
    address: Option<String>,
    /// The datacenter.
    datacenter: Option<String>,
}

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct Fields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

impl Resolver {
    /// Reads the `spec` of one of Kubernetes' resolvers.
    pub fn read(
        self,
        object: &Object,
        mut spec: Value,
        found: &mut Diagnostics<'_>,
    ) -> Option<Self> {
        fields::strip(&object.reference.kind, "spec", &mut spec, UNREAD, found);
        let Raw {} = fields::read(object, spec, found)?;
        Some(self)
    }

    /// Reads the `spec` of a ConsulResolver.
    pub fn read_consul(
        object: &Object,
        mut spec: Value,
        found: &mut Diagnostics<'_>,
    ) -> Option<Self> {
        fields::strip("ConsulResolver", "spec", &mut spec, UNREAD, found);
        let raw: ConsulRaw = fields::read(object, spec, found)?;
        let datacenter = raw.datacenter.unwrap_or_default().trim().to_owned();
        let agent = raw.address.unwrap_or_default().trim().to_owned();
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if datacenter.is_empty() || datacenter.len() > 63 || !datacenter.chars().all(is_name) {
            found
                .error("spec.datacenter", "a ConsulResolver needs the name of a datacenter")
                .hint("as in dc1: letters, digits, - and _");
            return None;
        }
        if agent.len() > 300 || agent.contains(|c: char| c.is_whitespace() || "@?#".contains(c)) {
            found
                .error("spec.address", "not the address of a Consul agent")
                .hint("as in consul.consul:8500 or https://consul.consul:8501; a token is given by CONSUL_HTTP_TOKEN");
            return None;
        }
        Some(Self::Consul { agent, datacenter })
    }

    /// Those that are always there.
    pub fn builtin(name: &str) -> Option<Self> {
        match name {
            "" | "kubernetes-service" => Some(Self::Service),
            "endpoint" | "kubernetes-endpoint" => Some(Self::Endpoint),
            "consul" | "consul-endpoint" => {
                Some(Self::Consul { agent: String::new(), datacenter: "dc1".to_owned() })
            }
            _ => None,
        }
    }

    /// The other name of a resolver that has two.
    pub fn alias(name: &str) -> Option<&'static str> {
        match name {
            "endpoint" => Some("kubernetes-endpoint"),
            "kubernetes-endpoint" => Some("endpoint"),
            "consul" => Some("consul-endpoint"),
            "consul-endpoint" => Some("consul"),
            _ => None,
        }
    }
}
