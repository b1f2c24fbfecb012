//! One pass over what is dirty, in the order in which it depends on each other.

use service_kit::ObjectRef;

use super::dirty::Dirty;
use super::groups::mapping_of;
use super::{Engine, secrets};
use crate::lower::services;
use crate::resource::Mapping;

impl Engine {
    /// Settles what is dirty. Gives how many units were lowered and whether findings changed.
    pub(super) fn settle(&mut self, mut dirty: Dirty) -> (usize, bool) {
        let mut found_changed = false;
        if dirty.services || dirty.resolvers || dirty.tls {
            found_changed |= self.settle_services(&mut dirty);
        }
        if dirty.resolvers {
            let by_default = self.services.env.defaults.resolver.is_some();
            dirty.mappings.extend(self.mappings(|m| by_default || m.upstream.resolver.is_some()));
        }
        if dirty.tls {
            dirty.bindings = true;
            dirty.mappings.extend(self.mappings(|m| m.upstream.tls.is_some()));
        }
        if dirty.tls || dirty.resolvers {
            let all = self.store.of_kind("TCPMapping").map(|(reference, _)| reference.clone());
            dirty.tcp.extend(all);
        }
        found_changed |= self.claim_tcp_clusters(&mut dirty);
        found_changed |= self.claim_clusters(&dirty);
        let (renamed, mut lowered) = self.clusters.settle(&mut self.published);
        let clusters_changed = lowered > 0;
        if self.clusters.take_hosts_changed() {
            self.endpoints.want(self.clusters.hosts());
        }
        lowered += self.endpoints.settle(&self.store, &mut self.published);
        if let Some(namespaces) = &self.settings.services {
            found_changed |= self.references.settle(&self.store, namespaces);
        }
        for reference in &renamed {
            match mapping_of(&self.store, reference) {
                Some(mapping) => self.groups.dirty_group_of(mapping),
                None => dirty.listeners = true,
            }
        }
        if dirty.bindings {
            found_changed |= self.settle_bindings(&mut dirty);
        }
        lowered += self.groups.settle(&self.store, &self.clusters, &self.services.env);
        found_changed |= std::mem::take(&mut self.groups.found_changed);
        lowered += self.settle_tables(&dirty);
        if dirty.listeners {
            let filters = self.services.filters(|reference| self.clusters.name_of(reference));
            lowered += self.settle_extensions(&dirty, &filters);
            lowered += self.settle_listeners(&dirty, &filters);
        }
        if dirty.listeners || dirty.tls || clusters_changed {
            let wanted = secrets::wanted(&self.bindings, &self.clusters);
            let (count, changed) =
                self.secrets.settle(wanted, dirty.tls, &self.store, &mut self.published);
            lowered += count;
            found_changed |= changed;
        }
        lowered += self.passed_on.settle(&self.store, &mut self.published);
        found_changed |= self.authorization.settle(&self.store);
        let any = |kind| self.store.of_kind(kind).next().is_some();
        let fallback = self.groups.hosts.get(&self.fallback_reference());
        let notice = fallback.filter(|_| any("Mapping") || any("Listener")).map(|state| {
            match state.host().tls.secret {
                None => "there is no Host, so every hostname is served, in the clear",
                Some(_) => {
                    "there is no Host, so every hostname is served, over TLS with the Secret fallback-self-signed-cert"
                }
            }
        });
        found_changed |= std::mem::replace(&mut self.fallback_notice, notice) != notice;
        (lowered, found_changed)
    }

    /// The Mappings in force that are like this.
    fn mappings(&self, are: impl Fn(&Mapping) -> bool) -> impl Iterator<Item = ObjectRef> {
        let all = self.store.of_kind("Mapping").map(|(reference, _)| reference);
        all.filter(move |r| mapping_of(&self.store, r).is_some_and(&are)).cloned()
    }

    fn settle_services(&mut self, dirty: &mut Dirty) -> bool {
        let new = services::lower(&services::Context {
            store: &self.store,
            own_namespace: &self.settings.namespace,
            own_tls: self.settings.service_tls.is_some(),
            endpoints: self.settings.endpoints,
            checks_files: self.settings.tls_files,
        });
        let old = std::mem::replace(&mut self.services, new);
        let new = &self.services;
        if old.env != new.env {
            self.groups.dirty_all();
        }
        if old.env.defaults != new.env.defaults {
            let mappings = self.store.of_kind("Mapping").map(|(reference, _)| reference.clone());
            dirty.mappings.extend(mappings);
            let tcp = self.store.of_kind("TCPMapping").map(|(reference, _)| reference.clone());
            dirty.tcp.extend(tcp);
        }
        dirty.listeners |= old != *new;
        dirty.tls |= old.plain_secret_names != new.plain_secret_names;
        for (reference, _) in old.claims() {
            if !new.claims().any(|(r, _)| r == reference) {
                self.clusters.claim(reference, None);
            }
        }
        for (reference, claim) in new.claims() {
            self.clusters.claim(reference, Some(claim.clone()));
        }
        old.found != new.found
    }
}
