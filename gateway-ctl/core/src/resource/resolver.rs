//! Resolvers: how the hosts of a service are found. The kinds have no settings of their own.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use service_kit::{AmbassadorId, Diagnostics, Object};

use super::fields::{self, Treatment, Unread};

/// Fields that are not read.
pub const UNREAD: Unread = &[("ambassador_id", Treatment::NoEffect)];

/// The schema of both kinds.
pub(crate) fn schema(generator: &mut SchemaGenerator) -> Schema {
    fields::schema::<Raw, Fields>(generator, UNREAD)
}

/// How hosts are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// By the name of the Service, in DNS.
    Service,
    /// By the endpoints of the Service.
    Endpoint,
}

/// Says how the hosts of services are found; it has no settings of its own.
#[derive(Debug, Deserialize, JsonSchema)]
struct Raw {}

/// The types of [`UNREAD`].
#[derive(JsonSchema)]
#[allow(dead_code)]
struct Fields {
    /// Which installations read this; `["default"]` when absent.
    ambassador_id: Option<AmbassadorId>,
}

impl Resolver {
    /// Reads a resolver's `spec`.
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

    /// Those that are always there.
    pub fn builtin(name: &str) -> Option<Self> {
        match name {
            "" | "kubernetes-service" => Some(Self::Service),
            "endpoint" | "kubernetes-endpoint" => Some(Self::Endpoint),
            _ => None,
        }
    }
}
