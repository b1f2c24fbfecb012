//! Which cluster each Mapping and TCPMapping wants.

use std::collections::BTreeMap;

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use super::dirty::Dirty;
use super::groups::mapping_of;
use super::{Engine, Settings};
use crate::lower::resolver::Resolvers;
use crate::lower::services::Services;
use crate::lower::tls::Lookup;
use crate::lower::{cluster, tcp};
use crate::resource::Spec;
use crate::store::Store;

/// Where TLS and the hosts of services are looked up, as the Module wants it.
pub(super) fn lookups<'a>(
    store: &'a Store,
    settings: &'a Settings,
    services: &'a Services,
) -> (Lookup<'a>, Resolvers<'a>) {
    let own_namespace = settings.namespace.as_str();
    let lookup = Lookup {
        store,
        own_namespace,
        namespacing: !services.plain_secret_names,
        checks_files: settings.tls_files,
    };
    let default = services.env.defaults.resolver.as_deref();
    let resolvers = Resolvers { store, own_namespace, default, endpoints: settings.endpoints };
    (lookup, resolvers)
}

impl Engine {
    /// Gives whether something else is wrong now.
    pub(super) fn claim_clusters(&mut self, dirty: &Dirty) -> bool {
        let own_namespace = &self.settings.namespace;
        let defaults = &self.services.env.defaults;
        let (lookup, resolvers) = lookups(&self.store, &self.settings, &self.services);
        let mut found_changed = false;
        for reference in &dirty.mappings {
            let mapping = mapping_of(&self.store, reference);
            let namespace =
                if defaults.unqualified_services { own_namespace } else { &reference.namespace };
            let mut found = Vec::new();
            let resolved =
                mapping.and_then(|m| resolvers.of_mapping(reference, m, namespace, &mut found));
            let hosts = resolved.as_ref().and_then(|r| r.hosts.as_ref());
            self.references.touch_mapping(reference, mapping, namespace, hosts);
            let claim = mapping.zip(resolved).and_then(|(mapping, resolved)| {
                let (service, name) = (&mapping.upstream.service, mapping.upstream.tls.as_deref());
                let tls = cluster::origin(&lookup, name, service, &reference.namespace);
                let tls = tls.map_err(|why| found.push(no_context(reference, &why))).ok()?;
                cluster::of_mapping(
                    mapping,
                    resolved,
                    tls,
                    &reference.namespace,
                    own_namespace,
                    defaults,
                )
            });
            found_changed |= note(&mut self.unresolved, reference, found);
            if self.clusters.claim(reference, claim)
                && let Some(mapping) = mapping
            {
                self.groups.dirty_group_of(mapping);
            }
        }
        found_changed
    }

    /// As [`Self::claim_clusters`], of TCPMappings.
    pub(super) fn claim_tcp_clusters(&mut self, dirty: &mut Dirty) -> bool {
        let defaults = &self.services.env.defaults;
        let (lookup, resolvers) = lookups(&self.store, &self.settings, &self.services);
        let mut found_changed = false;
        for reference in std::mem::take(&mut dirty.tcp) {
            let mapping = match self.store.good(&reference).map(|g| &g.spec) {
                Some(Spec::TcpMapping(mapping)) => Some(&**mapping),
                _ => None,
            };
            let (claim, found) = match mapping {
                None => (None, Vec::new()),
                Some(mapping) => tcp::claim(&reference, mapping, &resolvers, &lookup, defaults),
            };
            found_changed |= note(&mut self.unresolved, &reference, found);
            dirty.listeners |= self.clusters.claim(&reference, claim);
        }
        found_changed
    }
}

/// Notes what of an object cannot be resolved; gives whether that is something else than before.
fn note(
    unresolved: &mut BTreeMap<ObjectRef, Vec<Diagnostic>>,
    reference: &ObjectRef,
    found: Vec<Diagnostic>,
) -> bool {
    let before = match found.is_empty() {
        true => unresolved.remove(reference),
        false => unresolved.insert(reference.clone(), found),
    };
    before.as_ref() != unresolved.get(reference)
}

/// That the TLSContext of an object cannot be used.
fn no_context(reference: &ObjectRef, why: &str) -> Diagnostic {
    let text = format!("{why}; nothing is sent in the clear instead");
    let mut d = Diagnostic::new(Severity::Error, reference.clone(), "spec.tls", text);
    d.hint("create it, or correct the name; until then requests get 503")
        .reason(Reason::RefNotResolved);
    d
}
