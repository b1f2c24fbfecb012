//! The bootstrap of an Envoy that gets the rest over delta ADS.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// Where an Envoy finds its configuration, and where it is asked about itself.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Host of the xDS server: an address or a name.
    pub xds_host: String,
    /// Port of the xDS server.
    pub xds_port: u16,
    /// Envoy's admin address.
    pub admin: SocketAddr,
    /// `node.id`.
    pub node: String,
}

/// Name of the cluster that the xDS server is.
const XDS_CLUSTER: &str = "xds_cluster";
/// Most connections from clients that Envoy holds at one time; more are refused, so that a flood
/// does not end in a lack of memory.
const CONNECTIONS: u32 = 50_000;

impl Bootstrap {
    /// The document, for `envoy --config-yaml` or a file.
    pub fn to_json(&self) -> Value {
        let by_ads = json!({
            "ads": {},
            "resource_api_version": "V3",
            // Wait for the controller rather than serve nothing.
            "initial_fetch_timeout": "0s",
        });
        json!({
            "node": {"id": self.node, "cluster": "tollgate"},
            "admin": admin(self.admin),
            "dynamic_resources": {
                "lds_config": by_ads.clone(),
                "cds_config": by_ads,
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{"envoy_grpc": {
                        "cluster_name": XDS_CLUSTER,
                        "retry_policy": {"retry_back_off": {
                            "base_interval": "0.25s",
                            "max_interval": "5s",
                        }},
                    }}],
                },
            },
            "static_resources": {"clusters": [self.xds_cluster()]},
            "overload_manager": {"resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": CONNECTIONS,
                },
            }]},
        })
    }

    fn xds_cluster(&self) -> Value {
        let numeric = self.xds_host.parse::<std::net::IpAddr>().is_ok();
        json!({
            "name": XDS_CLUSTER,
            "type": if numeric { "STATIC" } else { "STRICT_DNS" },
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "5s"},
                    }},
                },
            },
            "load_assignment": {
                "cluster_name": XDS_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                    "address": self.xds_host,
                    "port_value": self.xds_port,
                }}}}]}],
            },
        })
    }
}

/// Envoy's admin port.
pub fn admin(address: SocketAddr) -> Value {
    json!({"address": {"socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    }}})
}
