//! The ports of the children: free, before any child is started.

use std::net::{SocketAddr, TcpListener};

use gateway_core::ResourceType;
use prost::Message as _;
use proto::envoy::config::core::v3::address::Address;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::listener::v3::Listener;

use super::Options;
use crate::plane::{Plane, cannot_listen};

/// Where the children listen; port 0 is replaced by a free one.
pub(super) struct Ports {
    pub(super) envoy_admin: SocketAddr,
    pub(super) ratelimit: SocketAddr,
    pub(super) ratelimit_admin: SocketAddr,
    pub(super) authz: SocketAddr,
    pub(super) authz_admin: SocketAddr,
}

/// Asks for each port once.
pub(super) async fn check(options: &Options) -> Result<Ports, String> {
    // Held until all are chosen, so that no two get the same free port.
    let mut held = Vec::new();
    let mut free = |what: &str, address: SocketAddr, flag: &str| {
        let listener =
            TcpListener::bind(address).map_err(|e| cannot_listen(what, address, &e, flag))?;
        let bound = listener.local_addr().map_err(|e| e.to_string())?;
        held.push(listener);
        Ok::<_, String>(bound)
    };
    let ports = Ports {
        envoy_admin: free("Envoy's admin page", options.envoy_admin_addr, "--envoy-admin-addr")?,
        ratelimit: free("ratelimit-svc", options.ratelimit_addr, "--ratelimit-addr")?,
        ratelimit_admin: free(
            "ratelimit-svc's admin page",
            options.ratelimit_admin_addr,
            "--ratelimit-admin-addr",
        )?,
        authz: free("authz-svc", options.authz_addr, "--authz-addr")?,
        authz_admin: free(
            "authz-svc's admin page",
            options.authz_admin_addr,
            "--authz-admin-addr",
        )?,
    };
    if let Some(echo) = options.echo {
        free("the echo backend", echo, "--echo")?;
    }
    Ok(ports)
}

/// Envoy shares ports with other Envoys without a word; so they are asked for here.
pub(super) fn check_listeners(plane: &Plane) -> Result<(), String> {
    let snapshot = plane.snapshots.borrow().clone();
    for (name, resource) in snapshot.of(ResourceType::Listener).iter() {
        let Some(address) = address(&resource.body) else { continue };
        if let Err(e) = TcpListener::bind(address) {
            let owner = resource.owners.iter().find(|o| o.kind == "Listener");
            let owner = owner.map_or_else(|| format!("listener {name}"), ToString::to_string);
            let why = if e.kind() == std::io::ErrorKind::AddrInUse {
                "the port is in use; stop the program that has it".to_owned()
            } else {
                e.to_string()
            };
            return Err(format!(
                "cannot listen on {address} for {owner}: {why}, or change spec.port"
            ));
        }
    }
    Ok(())
}

/// Where an encoded Listener listens, if it is a TCP port on an address.
pub(super) fn address(body: &[u8]) -> Option<SocketAddr> {
    let listener = Listener::decode(body).ok()?;
    let Address::SocketAddress(socket) = listener.address?.address? else { return None };
    // 1 is UDP.
    if socket.protocol == 1 {
        return None;
    }
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
    Some(SocketAddr::new(socket.address.parse().ok()?, u16::try_from(port).ok()?))
}
