//! Which Listener serves which Hosts and TCPMappings, and in which way: a chain for each name that
//! clients ask for over TLS, and one for connections without TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::tcp::{self, TcpGroup, TcpGroups};
use super::tls::Termination;
use crate::derived::is_of_ingress;
use crate::ir::ServerTls;
use crate::ir::listener::Match;
use crate::resource::host::{Host, InsecureAction};
use crate::resource::listener::{Listener, Namespaces, SecurityModel};
use crate::resource::selector::Selector;
use crate::syntax::Hostname;

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

/// Hosts by domain, and how they are served.
pub type HostModes = BTreeMap<String, (ObjectRef, Mode)>;

/// A route table: the Hosts of a chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The name of the resource.
    pub name: String,
    /// The Hosts.
    pub hosts: HostModes,
    /// Whether a Host names a port.
    pub ports_matter: bool,
}

/// What a chain does with connections.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// HTTP, routed by a table.
    Http(Table),
    /// Bytes go to services.
    Tcp(Box<TcpGroup>),
}

/// Connections that are served alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// Which connections.
    pub matches: Match,
    /// How TLS is served; none: what comes is taken as it is.
    pub tls: Option<Arc<ServerTls>>,
    /// What is done with them.
    pub content: Content,
}

/// A Listener that listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The name of its Listener resource.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What it says.
    pub listener: Listener,
    /// Its chains, no two of which match the same.
    pub chains: Vec<Chain>,
    /// The port of HTTP/3 at the same address.
    pub http3_port: Option<u16>,
}

impl Binding {
    /// Its route tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.chains.iter().filter_map(|c| match &c.content {
            Content::Http(table) => Some(table),
            Content::Tcp(_) => None,
        })
    }

    /// Its Hosts.
    pub fn hosts(&self) -> BTreeSet<&ObjectRef> {
        self.tables().flat_map(|t| t.hosts.values()).map(|(host, _)| host).collect()
    }
}

/// Every Listener's binding, and what is wrong.
pub type Bindings = (BTreeMap<ObjectRef, Binding>, Vec<Diagnostic>);

/// What Listeners are bound to.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The Hosts, and how each is served.
    pub hosts: &'a [(&'a ObjectRef, &'a Host, Termination)],
    /// The TCPMappings.
    pub tcp: &'a TcpGroups,
    /// Whether the only Host is the one that every Listener takes.
    pub fallback: bool,
    /// The controller's namespace.
    pub own_namespace: &'a str,
    /// The address of Listeners that name none.
    pub default_address: &'a str,
    /// Whether one label of a selector is enough.
    pub loose: bool,
    /// The labels of the namespaces that are known.
    pub namespaces: &'a BTreeMap<&'a str, &'a BTreeMap<String, String>>,
}

/// Binds Listeners, and listens for TCPMappings whose port has none.
pub fn lower<'a>(
    listeners: impl Iterator<Item = (&'a ObjectRef, &'a Listener)>,
    inputs: &Inputs<'_>,
) -> Bindings {
    let mut bindings = BTreeMap::new();
    let mut found = Vec::new();
    let mut taken: BTreeMap<(String, u16, bool), ObjectRef> = BTreeMap::new();
    for (reference, listener) in listeners {
        let address =
            listener.bind_address.clone().unwrap_or_else(|| inputs.default_address.to_owned());
        let socket = (address.clone(), listener.port, listener.stack.udp);
        if let Some(other) = taken.get(&socket) {
            let text = format!("{other} already listens on {address}:{}; it is kept", socket.1);
            let mut d = error(reference, "spec.port", text);
            d.hint("give it another port, or remove it");
            found.push(d);
            continue;
        }
        taken.insert(socket, reference.clone());
        let groups = inputs.tcp.get(&(address.clone(), listener.port));
        let groups = groups.filter(|_| !listener.stack.udp);
        let chains = bind(reference, listener, inputs, groups, &mut found);
        if chains.0.is_empty() {
            let mut d = error(
                reference,
                "spec.hostBinding",
                "No matching Hosts/TCPMappings found, disabling! It does not listen".to_owned(),
            );
            d.hint(if listener.stack.http {
                "create a Host, or change hostBinding so that it takes one"
            } else {
                "create a TCPMapping with its port, or add HTTP to its protocolStack"
            });
            found.push(d);
            continue;
        }
        let name = if reference.namespace == inputs.own_namespace {
            reference.name.clone()
        } else {
            format!("{}.{}", reference.name, reference.namespace)
        };
        let chains = finish(chains, &name, inputs);
        let listener = listener.clone();
        let binding = Binding { name, address, listener, chains, http3_port: None };
        bindings.insert(reference.clone(), binding);
    }
    for ((address, port), groups) in inputs.tcp {
        if taken.contains_key(&(address.clone(), *port, false)) {
            continue;
        }
        if let Some((first, listener)) = tcp::listener(*port, groups) {
            let name = format!("tcp/{address}:{port}");
            let chains = bind(&first, &listener, inputs, Some(groups), &mut found);
            let chains = finish(chains, &name, inputs);
            let address = address.clone();
            bindings.insert(first, Binding { name, address, listener, chains, http3_port: None });
        }
    }
    announce_http3(&mut bindings);
    (bindings, found)
}

/// Tells Listeners of HTTP over TCP of one of HTTP/3 at the same address and port.
fn announce_http3(bindings: &mut BTreeMap<ObjectRef, Binding>) {
    let quic: BTreeSet<(String, u16)> = bindings
        .values()
        .filter(|b| b.listener.stack.udp)
        .map(|b| (b.address.clone(), b.listener.port))
        .collect();
    for binding in bindings.values_mut().filter(|b| !b.listener.stack.udp) {
        let socket = (binding.address.clone(), binding.listener.port);
        binding.http3_port = quic.contains(&socket).then_some(socket.1);
    }
}

/// Chains by what they match, while they are put together, and whose they are.
#[derive(Default)]
struct Chains(BTreeMap<Match, (Chain, ObjectRef)>);

fn bind(
    reference: &ObjectRef,
    listener: &Listener,
    inputs: &Inputs<'_>,
    groups: Option<&BTreeMap<Option<Hostname>, TcpGroup>>,
    found: &mut Vec<Diagnostic>,
) -> Chains {
    let mut chains = Chains::default();
    for (host, group) in groups.into_iter().flatten() {
        chains.add_tcp(reference, listener, host.as_ref(), group, found);
    }
    if !listener.stack.http {
        return chains;
    }
    let mut domains: BTreeMap<String, &ObjectRef> = BTreeMap::new();
    for (host_ref, host, termination) in inputs.hosts {
        let here = match &listener.namespaces {
            Namespaces::All => true,
            Namespaces::Own => host_ref.namespace == reference.namespace,
            Namespaces::With(selector) => {
                inputs.namespaces.get(&*host_ref.namespace).is_some_and(|l| selector.fits(l))
            }
        };
        let fits = if inputs.loose { Selector::fits_loosely } else { Selector::fits };
        let wanted = listener.selector.as_ref().is_none_or(|s| fits(s, &host.object_labels));
        let taken = inputs.fallback || (here && wanted);
        if !taken {
            continue;
        }
        let domain = host.hostname.to_string();
        if let Some(first) = domains.get(&domain) {
            let text = format!(
                "two Hosts have the hostname `{domain}` on {reference}: {first} and {host_ref}; the first is in force"
            );
            let severity = match is_of_ingress(host_ref) && !is_of_ingress(first) {
                true => Severity::Notice,
                false => Severity::Error,
            };
            let mut d = Diagnostic::new(severity, (*host_ref).clone(), "spec.hostname", text);
            d.hint("remove one of them, or bind them to different Listeners");
            found.push(d);
            continue;
        }
        domains.insert(domain, host_ref);
        if let (true, Termination::Tls(tls)) = (listener.stack.tls, termination) {
            chains.add_tls_host(reference, listener, (host_ref, host), tls, found);
        }
        if !listener.stack.udp {
            let mode = clear_mode(listener, host, termination);
            chains.add_clear_host(reference, (host_ref, host), mode, found);
        }
    }
    chains
}

/// How a Host is served to connections without TLS.
fn clear_mode(listener: &Listener, host: &Host, termination: &Termination) -> Mode {
    match termination {
        // Certificates are proven in the clear; nothing else is served.
        Termination::Broken => Mode::Reject,
        // Where TLS is served, a connection without it is never secure.
        Termination::Tls(_)
            if listener.stack.tls && listener.security_model == SecurityModel::Secure =>
        {
            Mode::of(SecurityModel::Insecure, host.insecure)
        }
        _ => Mode::of(listener.security_model, host.insecure),
    }
}

impl Chains {
    fn add_tcp(
        &mut self,
        reference: &ObjectRef,
        listener: &Listener,
        host: Option<&Hostname>,
        group: &TcpGroup,
        found: &mut Vec<Diagnostic>,
    ) {
        let (first, path) = (&group.first, "spec.host");
        let matches = match host {
            None => Match::Everything,
            Some(_) if !listener.stack.tls => {
                let text = format!("a name is asked for in TLS only, and {reference} has no TLS");
                let mut d = error(first, path, text);
                d.hint("add TLS to its protocolStack, or remove host");
                found.push(d);
                return;
            }
            Some(host) => match server_name(host) {
                Ok(matches) => matches,
                Err(why) => {
                    found.push(error(first, path, why));
                    return;
                }
            },
        };
        let content = Content::Tcp(Box::new(group.clone()));
        let chain = Chain { matches: matches.clone(), tls: group.tls.clone(), content };
        self.0.insert(matches, (chain, first.clone()));
    }

    fn add_tls_host(
        &mut self,
        reference: &ObjectRef,
        listener: &Listener,
        (host_ref, host): (&ObjectRef, &Host),
        tls: &Arc<ServerTls>,
        found: &mut Vec<Diagnostic>,
    ) {
        let matches = match server_name(&host.hostname) {
            Ok(matches) => matches,
            Err(why) => {
                let text = format!("{why}; it is not served over TLS on {reference}");
                found.push(error(host_ref, "spec.hostname", text));
                return;
            }
        };
        let new = || Chain {
            matches: matches.clone(),
            tls: Some(tls.clone()),
            content: Content::Http(Table::default()),
        };
        let (chain, of) =
            self.0.entry(matches.clone()).or_insert_with(|| (new(), host_ref.clone()));
        let Content::Http(table) = &mut chain.content else {
            found.push(beaten(host_ref, of, reference));
            return;
        };
        if chain.tls.as_ref() != Some(tls) {
            let text = format!(
                "{of} and {host_ref} have one name in TLS (SNI) on {reference} and different settings of TLS; those of {of} are in force"
            );
            let mut d = error(host_ref, "spec.tlsSecret", text);
            d.hint("give both the same tlsSecret and the same tls or tlsContext");
            found.push(d);
            return;
        }
        let mode = Mode::of(listener.security_model, host.insecure);
        table.hosts.insert(host.hostname.to_string(), (host_ref.clone(), mode));
    }

    fn add_clear_host(
        &mut self,
        reference: &ObjectRef,
        (host_ref, host): (&ObjectRef, &Host),
        mode: Mode,
        found: &mut Vec<Diagnostic>,
    ) {
        if let Some((_, of)) = self.0.get(&Match::Everything) {
            found.push(beaten(host_ref, of, reference));
            return;
        }
        let new =
            || Chain { matches: Match::Clear, tls: None, content: Content::Http(Table::default()) };
        let (chain, _) = self.0.entry(Match::Clear).or_insert_with(|| (new(), host_ref.clone()));
        if let Content::Http(table) = &mut chain.content {
            table.hosts.insert(host.hostname.to_string(), (host_ref.clone(), mode));
        }
    }
}

fn beaten(host: &ObjectRef, tcp: &ObjectRef, listener: &ObjectRef) -> Diagnostic {
    let text = format!("on {listener} the connections of this Host go to {tcp}");
    let mut d = error(host, "spec.hostname", text);
    d.hint("give the TCPMapping another port or host");
    d
}

/// The chains with their tables' names: the cleartext one has the Listener's.
fn finish(chains: Chains, name: &str, inputs: &Inputs<'_>) -> Vec<Chain> {
    let mut finished = Vec::new();
    for (mut chain, _) in chains.0.into_values() {
        if let Content::Http(table) = &mut chain.content {
            table.name = match &chain.matches {
                Match::Name(server_name) => format!("{name}/{server_name}"),
                Match::AnyName => format!("{name}/*"),
                Match::Clear | Match::Everything => name.to_owned(),
            };
            table.ports_matter = table.hosts.values().any(|(host, _)| {
                inputs.hosts.iter().any(|(r, h, _)| *r == host && h.hostname.has_port())
            });
        }
        finished.push(chain);
    }
    finished
}

/// What a client that means a hostname asks for in TLS: no port, and no star but at the start of a
/// name.
fn server_name(hostname: &Hostname) -> Result<Match, String> {
    let (text, star) = match hostname {
        Hostname::Any => return Ok(Match::AnyName),
        Hostname::Exact(text) => (text, ""),
        Hostname::Suffix(text) if text.starts_with('.') => (text, "*"),
        Hostname::Suffix(_) | Hostname::Prefix(_) => {
            return Err(format!(
                "`{hostname}` cannot be told by the name in TLS (SNI): a star stands for whole labels at the start, as in *.example.org"
            ));
        }
    };
    let bare = match text.rsplit_once(':') {
        Some((host, _)) if hostname.has_port() => host,
        _ => text,
    };
    Ok(Match::Name(format!("{star}{bare}")))
}

fn error(object: &ObjectRef, path: &str, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, object.clone(), path, message)
}
