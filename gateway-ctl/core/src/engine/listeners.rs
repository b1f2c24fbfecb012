//! Listeners: what they are bound to, and what they and their HTTP filters say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Engine;
use super::claims::lookups;
use super::dirty::Dirty;
use crate::derived::is_of_ingress;
use crate::envoy;
use crate::ir;
use crate::lower::binding::{self, Binding, Content};
use crate::lower::tcp;
use crate::output::{Resource, ResourceType};
use crate::resource::Spec;
use crate::resource::listener::Stack;

/// The cluster of connections that cannot be made.
const UNAVAILABLE: &str = "unavailable";

impl Engine {
    pub(super) fn settle_bindings(&mut self, dirty: &mut Dirty) -> bool {
        let fallback = self.fallback_reference();
        let is_fallback = self.groups.hosts.contains_key(&fallback);
        let mut found = Vec::new();
        let (lookup, _) = lookups(&self.store, &self.settings, &self.services);
        let mut hosts: Vec<_> = self
            .groups
            .hosts
            .iter()
            .map(|(r, s)| (r, s.host(), lookup.terminate(r, s.host(), &mut found)))
            .collect();
        // A user's own goes before one that is made of an Ingress.
        hosts.sort_by_key(|(reference, ..)| is_of_ingress(reference));
        let tcp = tcp::lower(&self.store, lookup, &hosts, &self.settings.bind_address, &mut found);
        if is_fallback {
            found.extend(lookup.unused_terminations());
        }
        let listeners =
            self.store.of_kind("Listener").filter_map(|(reference, entry)| {
                match &entry.good.as_ref()?.spec {
                    Spec::Listener(listener) => Some((reference, listener)),
                    _ => None,
                }
            });
        let namespaces: BTreeMap<&str, &BTreeMap<String, String>> = self
            .store
            .of_kind("Namespace")
            .filter_map(|(reference, entry)| match &entry.good.as_ref()?.spec {
                Spec::Namespace(labels) => Some((reference.name.as_str(), labels)),
                _ => None,
            })
            .collect();
        let inputs = binding::Inputs {
            namespaces: &namespaces,
            loose: self.settings.loose_selectors,
            hosts: &hosts,
            tcp: &tcp,
            fallback: is_fallback,
            own_namespace: &self.settings.namespace,
            default_address: &self.settings.bind_address,
        };
        let (bindings, more) = binding::lower(listeners, &inputs);
        found.extend(more);
        if bindings != self.bindings {
            let names: BTreeSet<&str> = bindings.values().map(|b| b.name.as_str()).collect();
            for gone in self.bindings.values().filter(|b| !names.contains(b.name.as_str())) {
                self.published.remove(ResourceType::Listener, &gone.name);
            }
            let tables = bindings.values().flat_map(Binding::tables);
            let names: BTreeSet<&str> = tables.map(|t| t.name.as_str()).collect();
            let old = self.bindings.values().flat_map(Binding::tables);
            for gone in old.filter(|t| !names.contains(t.name.as_str())) {
                self.published.remove(ResourceType::Route, &gone.name);
            }
            dirty.tables = true;
            dirty.listeners = true;
            self.bindings = bindings;
        }
        let files = lookup.files();
        if files != *self.tls_files {
            self.tls_files = Arc::new(files);
        }
        std::mem::replace(&mut self.binding_found, found) != self.binding_found
    }

    /// What Listeners fetch apart: a change of it touches no Listener.
    pub(super) fn settle_extensions(&mut self, dirty: &Dirty, filters: &ir::HttpFilters) -> usize {
        let causes = dirty.causes_of(&["Module", "AuthService", "RateLimitService"]);
        let wanted = envoy::filter::apart(filters, &self.services.http);
        for (name, owner) in [
            (envoy::filter::LUA, self.services.module.as_ref()),
            (envoy::filter::EXT_AUTHZ, self.services.auth.as_ref().map(|a| &a.reference)),
            (envoy::filter::RATE_LIMIT, self.services.limit.as_ref().map(|l| &l.reference)),
        ] {
            let resource_type = ResourceType::Extension;
            let Some((_, body)) = wanted.iter().find(|(n, _)| *n == name) else {
                self.published.remove(resource_type, name);
                continue;
            };
            let resource = Resource {
                resource_type,
                name: name.to_owned(),
                version: envoy::version(body),
                body: body.clone().into(),
                owners: owner.cloned().into_iter().collect(),
            };
            self.published.put(resource, causes.clone());
        }
        wanted.len()
    }

    pub(super) fn settle_listeners(&mut self, dirty: &Dirty, filters: &ir::HttpFilters) -> usize {
        let telemetry = self.services.told.telemetry(|r| self.clusters.name_of(r));
        let kinds = [
            "Listener",
            "Host",
            "TCPMapping",
            "TLSContext",
            "Module",
            "AuthService",
            "RateLimitService",
            "TracingService",
            "LogService",
        ];
        let causes = dirty.causes_of(&kinds);
        let mut options = self.services.http.clone();
        options.filters.own_error_pages = !self.own_error_pages.is_empty();
        for (reference, binding) in &self.bindings {
            let listener = &binding.listener;
            let stack = listener.stack;
            let kind = match stack {
                Stack { http: true, tls: true, .. } => "ingress_https".to_owned(),
                Stack { http: true, .. } => "ingress_http".to_owned(),
                Stack { tls: true, .. } => format!("ingress_tls_{}", listener.port),
                _ => format!("ingress_tcp_{}", listener.port),
            };
            let ir = ir::Listener {
                name: binding.name.clone(),
                address: binding.address.clone(),
                port: listener.port,
                proxy_protocol: stack.proxy,
                inspects_tls: stack.tls && !stack.udp,
                quic: stack.udp,
                stat_prefix: listener.stats_prefix.clone().unwrap_or(kind),
                trusted_hops: listener.l7_depth,
                max_concurrent_streams: listener.max_concurrent_streams,
                options: options.clone(),
                filters: filters.clone(),
                telemetry: telemetry.clone(),
                chains: binding.chains.iter().map(|c| self.chain(c)).collect(),
            };
            let body = envoy::listener::encode(&ir);
            let resource = Resource {
                resource_type: ResourceType::Listener,
                name: binding.name.clone(),
                version: envoy::version(&body),
                body: body.into(),
                owners: vec![reference.clone()],
            };
            self.published.put(resource, causes.clone());
        }
        self.bindings.len()
    }

    /// A chain with the names of its clusters.
    fn chain(&self, chain: &binding::Chain) -> ir::listener::Chain {
        let content = match &chain.content {
            Content::Http(table) => ir::listener::Content::Http(table.name.clone()),
            Content::Tcp(group) => ir::listener::Content::Tcp {
                clusters: group
                    .members
                    .iter()
                    // Envoy closes connections that would go to a cluster which is not there.
                    .map(|(r, weight)| {
                        let name = self.clusters.name_of(r).unwrap_or(UNAVAILABLE);
                        (name.to_owned(), *weight)
                    })
                    .collect(),
                idle_timeout_ms: group.idle_timeout_ms,
            },
        };
        ir::listener::Chain { matches: chain.matches.clone(), tls: chain.tls.clone(), content }
    }
}
