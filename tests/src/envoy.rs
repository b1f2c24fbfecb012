//! Envoy as gateway-ctl feeds it.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::program;

/// The bootstrap that gateway-ctl prints, with the test's own name server.
///
/// # Panics
/// When it prints none.
pub fn bootstrap(xds: SocketAddr, admin: SocketAddr, names: SocketAddr) -> String {
    let run = Command::new(program("gateway-ctl"))
        .args([
            "envoy-bootstrap",
            "--xds",
            &xds.to_string(),
            "--envoy-admin-addr",
            &admin.to_string(),
            "--format",
            "json",
        ])
        .output()
        .unwrap();
    let mut bootstrap: Value = serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|e| panic!("no bootstrap: {e}\n{}", String::from_utf8_lossy(&run.stderr)));
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
