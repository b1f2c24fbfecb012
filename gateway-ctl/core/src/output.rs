//! What the engine hands out: encoded xDS resources and what changed among them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use service_kit::ObjectRef;

/// The xDS types that are served. Their order is the order in which additions and changes are to
/// be sent so that nothing refers to what is not there yet; removals go the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoint,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
    /// `envoy.config.core.v3.TypedExtensionConfig`: the configuration of an HTTP filter.
    Extension,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `tollgate.config.v1.RateLimitObject`, for ratelimit-svc.
    RateLimitObject,
    /// `tollgate.config.v1.AuthorizationObject`, for authz-svc.
    AuthorizationObject,
}

impl ResourceType {
    /// Every type, in the order of [`ResourceType`].
    pub const ALL: [Self; 8] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Secret,
        Self::Extension,
        Self::Listener,
        Self::Route,
        Self::RateLimitObject,
        Self::AuthorizationObject,
    ];

    /// The full name of the message, as in `envoy.config.cluster.v3.Cluster`.
    pub const fn message_name(self) -> &'static str {
        // Cut off what `type_url` has in front.
        self.type_url().split_at("type.googleapis.com/".len()).1
    }

    /// The type URL of the message in xDS.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            Self::Extension => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::RateLimitObject => "type.googleapis.com/tollgate.config.v1.RateLimitObject",
            Self::AuthorizationObject => {
                "type.googleapis.com/tollgate.config.v1.AuthorizationObject"
            }
        }
    }

    /// The type with this URL, if it is one of ours.
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.type_url() == url)
    }
}

/// One xDS resource, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its name within the type.
    pub name: String,
    /// A hash of its content in hex: equal content has an equal version on every replica.
    pub version: String,
    /// The encoded message, without the `Any` around it.
    pub body: Bytes,
    /// The objects that it was made of. For a route table: its Listener and Hosts, not the (maybe
    /// thousands of) Mappings.
    pub owners: Vec<ObjectRef>,
}

/// What one call changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// New or different resources, in the order of [`ResourceType`], then by name.
    pub changed: Vec<Resource>,
    /// Resources that are gone, in the same order.
    pub removed: Vec<(ResourceType, String)>,
    /// Whether [`Engine::diagnostics`](crate::Engine::diagnostics) says something else now, but for the
    /// lines that it stands in.
    pub diagnostics_changed: bool,
    /// How many units were lowered for it: a measure of work that does not depend on the machine.
    pub lowered: usize,
}
