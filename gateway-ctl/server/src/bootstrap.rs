//! The bootstrap of an Envoy that gets the rest over delta ADS.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::statsd::Statsd;

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
    /// `node.cluster`: the gateway's name in traces and in the descriptors of `source_cluster`.
    pub cluster: String,
    /// Over which the xDS server is reached, if not in the clear.
    pub tls: Option<XdsTls>,
    /// Where `/ready` and `/stats/prometheus` of the admin port, and nothing else of it, are served
    /// to others.
    pub ready: Option<SocketAddr>,
    /// Where statistics are sent.
    pub statsd: Option<Statsd>,
    /// Envoy's switches (`layered_runtime`), by name.
    pub runtime: Vec<(String, String)>,
}

/// Mutual TLS to the xDS server. All paths are as Envoy sees them.
#[derive(Clone, Debug)]
pub struct XdsTls {
    /// The folder with `tls.crt`, `tls.key` and `ca.crt`; watched by Envoy.
    pub folder: String,
    /// The folder of the two files that [`XdsTls::sources`] gives.
    pub sources: String,
}

impl XdsTls {
    /// The files that say where certificate and CA are: Envoy reloads what files of theirs name.
    pub fn sources(&self) -> [(&'static str, Value); 2] {
        let file = |name: &str| json!({"filename": format!("{}/{name}", self.folder)});
        let secret = |name: &str, kind: &str, mut body: Value| {
            body["watched_directory"] = json!({"path": self.folder});
            json!({"resources": [{
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": name,
                kind: body,
            }]})
        };
        let identity =
            json!({"certificate_chain": file("tls.crt"), "private_key": file("tls.key")});
        let ca = json!({"trusted_ca": file("ca.crt")});
        [
            ("sds-identity.json", secret("xds-identity", "tls_certificate", identity)),
            ("sds-ca.json", secret("xds-ca", "validation_context", ca)),
        ]
    }

    fn transport_socket(&self, host: &str) -> Value {
        let source = |name: &str, file: &str| {
            json!({
                "name": name,
                "sds_config": {
                    "resource_api_version": "V3",
                    "path_config_source": {"path": format!("{}/{file}", self.sources)},
                },
            })
        };
        let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP_ADDRESS" } else { "DNS" };
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": host,
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificate_sds_secret_configs": [source("xds-identity", "sds-identity.json")],
                    "combined_validation_context": {
                        "default_validation_context": {"match_typed_subject_alt_names": [
                            {"san_type": kind, "matcher": {"exact": host}},
                        ]},
                        "validation_context_sds_secret_config": source("xds-ca", "sds-ca.json"),
                    },
                },
            },
        })
    }
}

/// `node.cluster` where nobody says another.
pub const NODE_CLUSTER: &str = "tollgate";
/// Name of the cluster that the xDS server is.
const XDS_CLUSTER: &str = "xds_cluster";
/// Name of the cluster that Envoy's own admin port is.
const ADMIN_CLUSTER: &str = "admin";
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
        let mut document = json!({
            "node": {"id": self.node, "cluster": self.cluster},
            "admin": admin(self.admin),
            "deferred_stat_options": deferred_statistics(),
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
            "static_resources": {
                "clusters": self.clusters(),
                "listeners": self.ready.iter().map(|a| ready_listener(*a)).collect::<Vec<_>>(),
            },
            "overload_manager": {"resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": CONNECTIONS,
                },
            }]},
        });
        if let Some(statsd) = &self.statsd {
            statsd.write_into(&mut document);
        }
        if !self.runtime.is_empty() {
            let flags: Map<String, Value> =
                self.runtime.iter().map(|(name, value)| (name.clone(), flag(value))).collect();
            document["layered_runtime"] = json!({"layers": [
                {"name": "flags", "static_layer": flags},
                // What an Envoy without `layered_runtime` has.
                {"name": "admin", "admin_layer": {}},
            ]});
        }
        document
    }

    fn clusters(&self) -> Vec<Value> {
        let mut xds = self.xds_cluster();
        if let Some(tls) = &self.tls {
            xds["transport_socket"] = tls.transport_socket(&self.xds_host);
        }
        let admin = self.ready.map(|_| {
            json!({
                "name": ADMIN_CLUSTER,
                "type": "STATIC",
                "connect_timeout": "1s",
                "load_assignment": endpoint(ADMIN_CLUSTER, &self.admin.ip().to_string(), self.admin.port()),
            })
        });
        std::iter::once(xds).chain(admin).collect()
    }

    fn xds_cluster(&self) -> Value {
        let numeric = self.xds_host.parse::<std::net::IpAddr>().is_ok();
        json!({
            "name": XDS_CLUSTER,
            "type": if numeric { "STATIC" } else { "LOGICAL_DNS" },
            // Every address is tried, of either family.
            "dns_lookup_family": "ALL",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {
                        "connection_keepalive": {"interval": "30s", "timeout": "5s"},
                    }},
                },
            },
            "load_assignment": endpoint(XDS_CLUSTER, &self.xds_host, self.xds_port),
        })
    }
}

/// A switch as a number or a truth value, if it is one.
fn flag(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn endpoint(cluster: &str, address: &str, port: u16) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
            "address": address,
            "port_value": port,
        }}}}]}],
    })
}

/// A listener for probes and metrics.
fn ready_listener(address: SocketAddr) -> Value {
    let route = |path: &str| json!({"match": {"path": path}, "route": {"cluster": ADMIN_CLUSTER}});
    json!({
        "name": "ready",
        "address": {"socket_address": {
            "address": address.ip().to_string(),
            "port_value": address.port(),
        }},
        // Probes must get through when the gateway is full.
        "ignore_global_conn_limit": true,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "ready",
                "route_config": {"virtual_hosts": [{
                    "name": "ready",
                    "domains": ["*"],
                    "routes": [route("/ready"), route("/stats/prometheus")],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                    },
                }],
            },
        }]}],
    })
}

/// A cluster's statistics are made when it gets its first request: most of a large configuration
/// is idle in each Envoy.
pub fn deferred_statistics() -> Value {
    json!({"enable_deferred_creation_stats": true})
}

/// Envoy's admin port.
pub fn admin(address: SocketAddr) -> Value {
    json!({"address": {"socket_address": {
        "address": address.ip().to_string(),
        "port_value": address.port(),
    }}})
}
