//! What `run` says when requests can come.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use gateway_core::{Overview, ResourceType};

use super::ports;
use crate::plane::Plane;

/// Most commands that are suggested.
const SUGGESTIONS: usize = 6;

pub(super) async fn text(plane: &Plane) -> String {
    let mut out = String::from("\nReady.\n");
    let listeners = listeners(plane);
    if listeners.is_empty() {
        out.push_str("  Nothing listens: no Listener is in force; see the diagnostics page.\n");
    }
    for (name, address) in &listeners {
        let _ = writeln!(out, "  {:<22} http://{address}/", format!("Listener {name}"));
    }
    let _ = writeln!(out, "  {:<22} http://{}/", "Diagnostics page", plane.admin.addr);
    let mut commands = plane.suggestions.clone();
    if commands.is_empty()
        && let (Some(overview), Some((_, address))) = (plane.overview().await, listeners.first())
    {
        commands = derived(&overview, *address);
    }
    if !commands.is_empty() {
        out.push_str("Try:\n");
        for command in commands.iter().take(SUGGESTIONS) {
            let _ = writeln!(out, "  {command}");
        }
    }
    out.push_str("Edit the files while it runs; Ctrl-C stops everything.\n");
    out
}

/// Name and address of each Listener, as people can reach it from here.
fn listeners(plane: &Plane) -> Vec<(String, SocketAddr)> {
    let snapshot = plane.snapshots.borrow().clone();
    snapshot
        .of(ResourceType::Listener)
        .iter()
        .filter_map(|(name, resource)| {
            let mut address = ports::address(&resource.body)?;
            if address.ip().is_unspecified() {
                address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
            }
            let owner = resource.owners.iter().find(|o| o.kind == "Listener");
            Some((owner.map_or_else(|| name.to_string(), |o| o.name.clone()), address))
        })
        .collect()
}

/// One command for each of the first Mappings.
fn derived(overview: &Overview, address: SocketAddr) -> Vec<String> {
    let mut seen = Vec::new();
    let mut commands = Vec::new();
    for route in &overview.routes {
        if route.path_kind == "regex" || seen.contains(&&route.mapping) {
            continue;
        }
        seen.push(&route.mapping);
        let host = if route.hostname.is_empty() || route.hostname.contains('*') {
            String::new()
        } else {
            format!("-H 'host: {}' ", route.hostname)
        };
        commands.push(format!("curl -i {host}http://{address}{}", route.path));
        if commands.len() == 4 {
            break;
        }
    }
    commands
}
