//! Envoy as gateway-ctl feeds it.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::program;

/// The bootstrap that gateway-ctl prints.
///
/// # Panics
/// When it prints none.
pub fn printed(xds: SocketAddr, admin: SocketAddr) -> Value {
    printed_with(xds, admin, &[])
}

/// As [`printed`], with more arguments.
///
/// # Panics
/// As [`printed`].
pub fn printed_with(xds: SocketAddr, admin: SocketAddr, more: &[&str]) -> Value {
    let (xds, admin) = (xds.to_string(), admin.to_string());
    let run = Command::new(program("gateway-ctl"))
        .args(["envoy-bootstrap", "--xds", &xds, "--envoy-admin-addr", &admin, "--format", "json"])
        .args(more)
        .output()
        .unwrap();
    serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|e| panic!("no bootstrap: {e}\n{}", String::from_utf8_lossy(&run.stderr)))
}

/// As [`printed`], with the test's own name server.
///
/// # Panics
/// As [`printed`].
pub fn bootstrap(xds: SocketAddr, admin: SocketAddr, names: SocketAddr) -> String {
    with_names(printed(xds, admin), names)
}

/// A bootstrap with the test's own name server.
pub fn with_names(mut bootstrap: Value, names: SocketAddr) -> String {
    bootstrap["typed_dns_resolver_config"] = json!({
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": names.ip().to_string(), "port_value": names.port()}}],
            "dns_resolver_options": {"no_default_search_domain": true},
        },
    });
    bootstrap.to_string()
}
