//! Which Listener serves which Hosts, and in which way.

use std::collections::BTreeMap;

use service_kit::{Diagnostic, ObjectRef, Severity};

use crate::resource::host::{Host, InsecureAction, fits};
use crate::resource::listener::{Listener, SecurityModel};

/// How a Host's routes are served on a Listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Every request is routed.
    Route,
    /// Every request that would be routed is sent to https.
    Redirect,
    /// No request is known.
    Reject,
    /// Requests of https are routed, others are sent there.
    RouteHttpsElseRedirect,
    /// Requests of https are routed, others not known.
    RouteHttpsElseReject,
}

impl Mode {
    /// The way that follows from a Listener and a Host.
    pub const fn of(model: SecurityModel, action: InsecureAction) -> Self {
        match (model, action) {
            (SecurityModel::Secure, _) | (_, InsecureAction::Route) => Self::Route,
            (SecurityModel::Insecure, InsecureAction::Redirect) => Self::Redirect,
            (SecurityModel::Insecure, InsecureAction::Reject) => Self::Reject,
            (SecurityModel::Xfp, InsecureAction::Redirect) => Self::RouteHttpsElseRedirect,
            (SecurityModel::Xfp, InsecureAction::Reject) => Self::RouteHttpsElseReject,
        }
    }
}

/// A Listener that listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The name of its resources.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What it says.
    pub listener: Listener,
    /// Its Hosts by domain, and how they are served.
    pub hosts: BTreeMap<String, (ObjectRef, Mode)>,
    /// Whether a Host names a port.
    pub ports_matter: bool,
}

/// Every Listener's binding, and what is wrong.
pub type Bindings = (BTreeMap<ObjectRef, Binding>, Vec<Diagnostic>);

/// Binds Listeners to Hosts. `fallback` is a Host that every Listener takes.
pub fn lower<'a>(
    listeners: impl Iterator<Item = (&'a ObjectRef, &'a Listener)>,
    hosts: &[(&ObjectRef, &Host)],
    fallback: bool,
    own_namespace: &str,
    default_address: &str,
) -> Bindings {
    let mut bindings = BTreeMap::new();
    let mut found = Vec::new();
    let mut taken: BTreeMap<(String, u16), ObjectRef> = BTreeMap::new();
    for (reference, listener) in listeners {
        let address = listener.bind_address.clone().unwrap_or_else(|| default_address.to_owned());
        let socket = (address.clone(), listener.port);
        if let Some(other) = taken.get(&socket) {
            let text = format!("{other} already listens on {address}:{}; it is kept", socket.1);
            found.push(error(reference, "spec.port", text));
            continue;
        }
        taken.insert(socket, reference.clone());
        let bound = bind(reference, listener, hosts, fallback, &mut found);
        if bound.is_empty() {
            let mut d = error(
                reference,
                "spec.hostBinding",
                "No matching Hosts/TCPMappings found, disabling! It does not listen".to_owned(),
            );
            d.hint("create a Host, or change hostBinding so that it takes one");
            found.push(d);
            continue;
        }
        let ports_matter = bound
            .values()
            .any(|(host, _)| hosts.iter().any(|(r, h)| *r == host && h.hostname.has_port()));
        let name = if reference.namespace == own_namespace {
            reference.name.clone()
        } else {
            format!("{}.{}", reference.name, reference.namespace)
        };
        let listener = listener.clone();
        let binding = Binding { name, address, listener, hosts: bound, ports_matter };
        bindings.insert(reference.clone(), binding);
    }
    (bindings, found)
}

/// The Hosts of a Listener by domain. Of two with one domain the first is kept.
fn bind(
    reference: &ObjectRef,
    listener: &Listener,
    hosts: &[(&ObjectRef, &Host)],
    fallback: bool,
    found: &mut Vec<Diagnostic>,
) -> BTreeMap<String, (ObjectRef, Mode)> {
    let mut bound: BTreeMap<String, (ObjectRef, Mode)> = BTreeMap::new();
    for (host_ref, host) in hosts {
        let here = !listener.own_namespace || host_ref.namespace == reference.namespace;
        let wanted = listener.selector.as_ref().is_none_or(|s| fits(s, &host.object_labels));
        let taken = fallback || (here && wanted);
        if !taken {
            continue;
        }
        let domain = host.hostname.to_string();
        if let Some((first, _)) = bound.get(&domain) {
            let text = format!(
                "two Hosts have the hostname `{domain}` on {reference}: {first} and {host_ref}; the first is in force"
            );
            let mut d = error(host_ref, "spec.hostname", text);
            d.hint("remove one of them, or bind them to different Listeners");
            found.push(d);
            continue;
        }
        let mode = Mode::of(listener.security_model, host.insecure);
        bound.insert(domain, ((*host_ref).clone(), mode));
    }
    bound
}

fn error(object: &ObjectRef, path: &str, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, object.clone(), path, message)
}
