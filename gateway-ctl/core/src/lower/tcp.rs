//! TCPMappings by port and name: which share connections, and how TLS is served to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use super::cluster::{self, Claim};
use super::resolver::{Asker, Resolvers};
use super::tls::{Lookup, Termination};
use super::weight;
use crate::ir::ServerTls;
use crate::resource::host::Host;
use crate::resource::listener::{Listener, Namespaces, SecurityModel, Stack};
use crate::resource::module::MappingDefaults;
use crate::resource::{Spec, TcpMapping};
use crate::store::Store;
use crate::syntax::Hostname;

/// TCPMappings that take the same connections.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpGroup {
    /// The one that stands for it.
    pub first: ObjectRef,
    /// Whose services get connections, and their shares, relative to each other.
    pub members: Vec<(ObjectRef, u32)>,
    /// How TLS is served; none: what comes is passed on.
    pub tls: Option<Arc<ServerTls>>,
    /// Until a silent connection is closed; 0 is never.
    pub idle_timeout_ms: Option<u64>,
}

/// Groups by address and port, and by the name that clients ask for.
pub type TcpGroups = BTreeMap<(String, u16), BTreeMap<Option<Hostname>, TcpGroup>>;

/// The cluster of a TCPMapping, and what is wrong with it.
pub fn claim(
    reference: &ObjectRef,
    mapping: &TcpMapping,
    resolvers: &Resolvers<'_>,
    lookup: &Lookup<'_>,
    defaults: &MappingDefaults,
) -> (Option<Claim>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let (namespace, own) = (reference.namespace.as_str(), lookup.own_namespace);
    let asker = Asker {
        object: reference,
        path: "spec.service",
        service: &mapping.service,
        resolver: mapping.resolver.as_deref(),
        balances: false,
        service_namespace: if defaults.unqualified_services { own } else { namespace },
    };
    let Some(resolved) = resolvers.resolve(&asker, &mut found) else { return (None, found) };
    match cluster::origin(lookup, mapping.tls.as_deref(), &mapping.service, namespace) {
        Ok(tls) => (Some(cluster::of_tcp(mapping, resolved, tls, namespace, own, defaults)), found),
        Err(why) => {
            let text = format!("{why}; nothing is sent in the clear instead");
            let mut d = error(reference, "spec.tls", text);
            d.hint("create it, or correct the name; until then connections are closed")
                .reason(Reason::RefNotResolved);
            found.push(d);
            (None, found)
        }
    }
}

/// Puts TCPMappings together.
pub fn lower(
    store: &Store,
    lookup: Lookup<'_>,
    hosts: &[(&ObjectRef, &Host, Termination)],
    default_address: &str,
    found: &mut Vec<Diagnostic>,
) -> TcpGroups {
    type Key<'a> = (String, u16, Option<&'a Hostname>);
    let mut members: BTreeMap<Key<'_>, Vec<(&ObjectRef, &TcpMapping)>> = BTreeMap::new();
    for (reference, entry) in store.of_kind("TCPMapping") {
        if let Some(Spec::TcpMapping(mapping)) = entry.good.as_ref().map(|g| &g.spec) {
            let address = mapping.address.clone().unwrap_or_else(|| default_address.to_owned());
            let key = (address, mapping.port, mapping.host.as_ref());
            members.entry(key).or_default().push((reference, mapping));
        }
    }
    let mut groups = TcpGroups::new();
    for ((address, port, host), members) in members {
        let Some(group) = lower_group(lookup, hosts, host, &members, found) else { continue };
        groups.entry((address, port)).or_default().insert(host.cloned(), group);
    }
    groups
}

fn lower_group(
    lookup: Lookup<'_>,
    hosts: &[(&ObjectRef, &Host, Termination)],
    host: Option<&Hostname>,
    members: &[(&ObjectRef, &TcpMapping)],
    found: &mut Vec<Diagnostic>,
) -> Option<TcpGroup> {
    let (first, mapping) = *members.first()?;
    let tls = match host.map(|host| termination(lookup, hosts, host, &first.namespace)) {
        None => None,
        Some(Ok(tls)) => tls,
        Some(Err(why)) => {
            for (reference, _) in members {
                let mut d = error(reference, "spec.host", format!("{why}, disabling it"));
                d.hint("create a Host with this hostname and a tlsSecret, or a TLSContext that has it among its hosts");
                found.push(d);
            }
            return None;
        }
    };
    for (reference, other) in members {
        if other.idle_timeout_ms != mapping.idle_timeout_ms {
            let text =
                format!("it shares connections with {first}, whose idle_timeout_ms is in force");
            let mut d = error(reference, "spec.idle_timeout_ms", text);
            d.hint("set it alike");
            found.push(d);
        }
    }
    let weights: Vec<Option<u32>> = members.iter().map(|(_, m)| m.weight).collect();
    let (order, shares) = weight::divide(&weights);
    if members.len() > 1 && shares.written > 100 {
        let text = format!("the total weight of the group, {}, exceeds 100", shares.written);
        let mut d = error(first, "spec.weight", text);
        d.hint("lower the weights of the TCPMappings of this port and host");
        found.push(d);
    }
    let shares = order.into_iter().zip(shares.members).filter_map(|(i, (_, share))| {
        let (reference, mapping) = members.get(i)?;
        // What is written is relative, whatever the sum.
        let share = mapping.weight.filter(|_| members.len() > 1).unwrap_or(share);
        (share > 0).then(|| ((*reference).clone(), share))
    });
    Some(TcpGroup {
        first: first.clone(),
        members: shares.collect(),
        tls,
        idle_timeout_ms: mapping.idle_timeout_ms,
    })
}

/// What a Host says goes before what a TLSContext says.
fn termination(
    lookup: Lookup<'_>,
    hosts: &[(&ObjectRef, &Host, Termination)],
    host: &Hostname,
    namespace: &str,
) -> Result<Option<Arc<ServerTls>>, String> {
    let mut fitting: Vec<_> = hosts
        .iter()
        .filter(|(_, h, _)| h.hostname.overlaps(host))
        .filter_map(|(_, h, termination)| match termination {
            Termination::Tls(tls) => Some((h.hostname != *host, tls)),
            Termination::Clear | Termination::Broken => None,
        })
        .collect();
    // The same name before one that only overlaps.
    fitting.sort_by_key(|(differs, _)| *differs);
    if let Some((_, tls)) = fitting.first() {
        return Ok(Some((*tls).clone()));
    }
    match lookup.named_by_hosts(host, namespace)? {
        Some(tls) => Ok(tls.map(Arc::new)),
        None => Err(format!("no Host with TLS and no TLSContext has the name `{host}`")),
    }
}

/// The Listener of TCPMappings whose port has none, and the one that stands for it.
pub fn listener(
    port: u16,
    groups: &BTreeMap<Option<Hostname>, TcpGroup>,
) -> Option<(ObjectRef, Listener)> {
    let first = groups.values().map(|g| &g.first).min()?.clone();
    let tls = groups.keys().any(Option::is_some);
    let listener = Listener {
        port,
        bind_address: None,
        stack: Stack { proxy: false, tls, http: false, udp: false },
        security_model: SecurityModel::Secure,
        namespaces: Namespaces::All,
        selector: None,
        stats_prefix: None,
        l7_depth: 0,
        max_concurrent_streams: None,
    };
    Some((first, listener))
}

fn error(object: &ObjectRef, path: &str, message: String) -> Diagnostic {
    Diagnostic::new(Severity::Error, object.clone(), path, message)
}
