//! The incremental engine: from events to resources.
//!
//! A change dirties what it touched before and what it touches now. Dirty units are settled in
//! one pass, in the order in which they depend on each other: what all share (the Module and the
//! services), clusters, bindings of Listeners and Hosts, groups of Mappings, route tables,
//! Listeners, objects that are passed on. At each step what came out the same stops the change.

mod authorization;
mod clusters;
mod endpoints;
mod groups;
mod passed_on;
mod publish;
mod references;
mod secrets;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::{Diagnostic, Object, ObjectRef, Reason, Severity};

use self::authorization::Authorization;
use self::clusters::Clusters;
use self::endpoints::Endpoints;
use self::groups::{Groups, mapping_of};
use self::passed_on::PassedOn;
use self::publish::Published;
use self::references::References;
use self::secrets::Secrets;
use crate::derived::{self, Derived};
use crate::envoy;
use crate::ir;
use crate::ir::balance::ConsulService;
use crate::ir::error_page::ErrorPages;
use crate::ir::tls::SecretUse;
use crate::kinds::FALLBACK_SECRET;
use crate::lower::binding::{self, Binding, Content};
use crate::lower::resolver::{self, Resolvers};
use crate::lower::services::{self, Services};
use crate::lower::tls::{self, Lookup};
use crate::lower::{cluster, tcp};
use crate::output::{Output, Resource, ResourceType};
use crate::overview::{ObjectOverview, ObjectRow, Overview};
use crate::resource::environment::{self, Environment};
use crate::resource::listener::Stack;
use crate::resource::{Host, Mapping, Spec, consul, error_page};
use crate::store::{Change, Good, Store};
use crate::verdict::Verdict;

/// The cluster of connections that cannot be made.
const UNAVAILABLE: &str = "unavailable";

/// Most objects that are named as the cause of a change.
const MAX_CAUSES: usize = 20;

/// What the engine is told once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which objects are taken: those whose `ambassador_id` has it. `default` unless told.
    pub ambassador_id: String,
    /// The controller's own namespace: services of its Mappings need no qualification.
    pub namespace: String,
    /// The address of Listeners that name none.
    pub bind_address: String,
    /// The namespaces whose Services are known (an empty list: all), so that one that is not there
    /// can be told. None where no Services are known.
    pub services: Option<Vec<String>>,
    /// The folder, as Envoy sees it, of the certificate that is shown to the services of this
    /// installation (AuthService, RateLimitService with `https`), and of the CA that theirs are of.
    pub service_tls: Option<String>,
    /// Whether the hosts of services may be found one by one; otherwise by name only.
    pub endpoints: bool,
    /// How paths of Ingresses are read.
    pub ingress: derived::Ways,
    /// Variables that resources may name.
    pub environment: Environment,
    /// Texts that bodies of errors may name.
    pub error_pages: error_page::Files,
    /// Whether a Host takes a Mapping that fits its hostname or its selector; otherwise it must fit
    /// both, where both are there.
    pub loose_selectors: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ambassador_id: "default".to_owned(),
            namespace: "default".to_owned(),
            bind_address: "0.0.0.0".to_owned(),
            services: None,
            service_tls: None,
            endpoints: true,
            ingress: derived::Ways::default(),
            environment: Environment::new(),
            error_pages: error_page::Files::new(),
            loose_selectors: false,
        }
    }
}

/// What is to be settled, beyond what the parts of the engine know themselves.
#[derive(Debug, Default)]
struct Dirty {
    services: bool,
    bindings: bool,
    listeners: bool,
    tables: bool,
    resolvers: bool,
    /// A Secret or a TLSContext.
    tls: bool,
    mappings: BTreeSet<ObjectRef>,
    /// TCPMappings.
    tcp: BTreeSet<ObjectRef>,
    causes: BTreeSet<ObjectRef>,
}

/// Keeps the resources in step with the objects.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    store: Store,
    derived: Derived,
    /// Mappings with bodies of errors of their own.
    own_error_pages: BTreeSet<ObjectRef>,
    services: Services,
    clusters: Clusters,
    /// What is wrong with how the hosts of Mappings are found.
    unresolved: BTreeMap<ObjectRef, Vec<Diagnostic>>,
    endpoints: Endpoints,
    references: References,
    groups: Groups,
    bindings: BTreeMap<ObjectRef, Binding>,
    binding_found: Vec<Diagnostic>,
    fallback_notice: bool,
    secrets: Secrets,
    passed_on: PassedOn,
    authorization: Authorization,
    published: Published,
}

impl Engine {
    /// An engine that knows no object yet.
    pub fn new(settings: Settings) -> Self {
        let mut engine = Self {
            settings,
            store: Store::default(),
            derived: Derived::default(),
            own_error_pages: BTreeSet::new(),
            services: Services::default(),
            clusters: Clusters::default(),
            unresolved: BTreeMap::new(),
            endpoints: Endpoints::default(),
            references: References::default(),
            groups: Groups::default(),
            bindings: BTreeMap::new(),
            binding_found: Vec::new(),
            fallback_notice: false,
            secrets: Secrets::default(),
            passed_on: PassedOn::default(),
            authorization: Authorization::default(),
            published: Published::default(),
        };
        if let Some(folder) = &engine.settings.service_tls {
            for (name, body) in envoy::secret::own(folder) {
                let version = envoy::version(&body);
                let resource_type = ResourceType::Secret;
                let resource =
                    Resource { resource_type, name, version, body: body.into(), owners: vec![] };
                engine.published.put(resource, Vec::new());
            }
        }
        engine.groups.loose = engine.settings.loose_selectors;
        engine.update_fallback();
        engine
    }

    /// What it was told at the start.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes new and changed objects and deletions, in this order, as one change.
    pub fn apply(&mut self, applied: Vec<Arc<Object>>, deleted: Vec<ObjectRef>) -> Output {
        let mut dirty = Dirty::default();
        let mut found_changed = false;
        let id = self.settings.ambassador_id.clone();
        for object in applied {
            let reference = object.reference.clone();
            let object = self.complete(object);
            let change = self.store.put(object, &id);
            found_changed |= self.take(reference, change, &mut dirty);
        }
        for reference in deleted {
            let change = self.store.remove(&reference);
            found_changed |= self.take(reference, change, &mut dirty);
        }
        for (reference, object) in self.derived.settle(&self.store, self.settings.ingress, &id) {
            let change = match object {
                Some(object) => {
                    let object = self.complete(object);
                    self.store.put(object, &id)
                }
                None => self.store.remove(&reference),
            };
            if let Some(change) = change {
                found_changed |= change.found_changed;
                self.touch(&change, &mut dirty);
            }
        }
        found_changed |= self.derived.take_found_changed();
        if self.update_fallback() {
            dirty.bindings = true;
        }
        let (lowered, settled_changed) = self.settle(dirty);
        self.output(lowered, found_changed || settled_changed)
    }

    /// The object with what it names that is neither in it nor in other objects.
    fn complete(&self, object: Arc<Object>) -> Arc<Object> {
        let object = environment::expand(object, &self.settings.environment);
        error_page::inline(object, &self.settings.error_pages)
    }

    /// Takes what an event did to an object that a user wrote; gives whether other things are wrong
    /// with it now.
    fn take(&mut self, reference: ObjectRef, change: Option<Change>, dirty: &mut Dirty) -> bool {
        if change.is_some() || self.derived.knows(&reference) {
            self.derived.touch(&self.store, &reference);
        }
        let Some(change) = change else { return false };
        self.touch(&change, dirty);
        change.found_changed
    }

    /// Takes Envoy's refusal of a resource: what it had before stays until the inputs change, and
    /// a finding is on the objects whose change it was.
    pub fn reject(&mut self, kind: ResourceType, name: &str, message: &str) -> Output {
        self.published.reject(kind, name, message);
        self.output(0, false)
    }

    /// Tells the time, so that certificates that have expired are known. Seconds since the Unix
    /// epoch.
    pub fn set_time(&mut self, now: i64) -> Output {
        let found_changed = self.secrets.set_time(&self.store, now);
        self.output(0, found_changed)
    }

    /// Everything in force, in the order of [`ResourceType`], then by name.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.published.iter()
    }

    /// The services of Consul whose instances are wanted.
    pub fn consul_services(&self) -> impl Iterator<Item = &ConsulService> {
        self.endpoints.of_consul()
    }

    /// Differs when [`Self::consul_services`] do.
    pub const fn consul_revision(&self) -> u64 {
        self.endpoints.consul_revision()
    }

    /// Whether Consul has answered about a service.
    pub fn knows_instances(&self, service: &ConsulService) -> bool {
        self.store.good(&consul::reference(service)).is_some()
    }

    /// Everything wrong now, sorted, with the places in files.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = Vec::new();
        found.extend(self.store.iter().flat_map(|(_, entry)| entry.found.iter().cloned()));
        found.extend(self.derived.found().cloned());
        found.extend(self.services.found.iter().cloned());
        found.extend(self.binding_found.iter().cloned());
        found.extend(self.secrets.found().iter().cloned());
        found.extend(self.groups.found().cloned());
        found.extend(self.unresolved.values().flatten().cloned());
        if self.settings.services.is_some() {
            found.extend(self.references.found().cloned());
        }
        found.extend(self.published.found());
        found.extend(self.authorization.found().iter().cloned());
        if self.fallback_notice {
            let mut d = Diagnostic::new(
                Severity::Notice,
                ObjectRef::default(),
                "",
                "there is no Host, so every hostname is served, in the clear",
            );
            d.hint("create a Host");
            found.push(d);
        }
        for d in &mut found {
            self.derived.attribute(d);
            if let Some(entry) = self.store.get(&d.object) {
                d.locate(&entry.latest);
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What became of objects, given everything that is wrong ([`Self::diagnostics`]). None for
    /// what is not there, or is nobody's to judge.
    pub fn verdicts(
        &self,
        references: impl IntoIterator<Item = ObjectRef>,
        found: &[Diagnostic],
    ) -> Vec<(ObjectRef, Option<Verdict>)> {
        let mut about: BTreeMap<&ObjectRef, Vec<&Diagnostic>> = BTreeMap::new();
        for d in found {
            about.entry(&d.object).or_default().push(d);
        }
        let judge = |reference: ObjectRef| {
            let found = about.get(&reference).map(Vec::as_slice).unwrap_or_default();
            let others = ["Ingress", "IngressClass"].contains(&reference.kind.as_str())
                && !self.derived.serves(&reference);
            if others {
                return (reference, None);
            }
            let verdict = self.store.get(&reference).and_then(|e| Verdict::of(e, found));
            (reference, verdict)
        };
        references.into_iter().map(judge).collect()
    }

    /// What is in force, for people.
    pub fn overview(&self) -> Overview {
        survey::overview(self)
    }

    /// Every object that is for this installation, sorted.
    pub fn objects(&self) -> Vec<ObjectRow> {
        self.store.iter().map(|(_, entry)| survey::row(entry)).collect()
    }

    /// All that is known of an object, given everything that is wrong ([`Self::diagnostics`]).
    pub fn object(&self, reference: &ObjectRef, found: &[Diagnostic]) -> Option<ObjectOverview> {
        let entry = self.store.get(reference)?;
        Some(survey::object(entry, found, self.published.iter()))
    }

    /// The newest version of an object, whether it is in force or not.
    pub fn latest(&self, reference: &ObjectRef) -> Option<&Arc<Object>> {
        self.store.get(reference).map(|entry| &entry.latest)
    }

    fn output(&mut self, lowered: usize, found_changed: bool) -> Output {
        let (changed, removed, refusals_changed) = self.published.take_changes();
        Output { changed, removed, diagnostics_changed: found_changed || refusals_changed, lowered }
    }

    /// Marks what an object touched before and what it touches now.
    fn touch(&mut self, change: &Change, dirty: &mut Dirty) {
        let (old, new) = (change.old.as_deref(), change.new.as_deref());
        let unchanged = match (&change.old, &change.new) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => !change.missing,
            _ => false,
        };
        if unchanged {
            return;
        }
        let reference = &change.reference;
        if dirty.causes.len() < MAX_CAUSES {
            dirty.causes.insert(reference.clone());
        }
        match reference.kind.as_str() {
            "Mapping" => {
                let (old, new) = (old.and_then(as_mapping), new.and_then(as_mapping));
                let had_some = !self.own_error_pages.is_empty();
                match new.map(|m| &m.error_pages) {
                    Some(ErrorPages::Own(_)) => self.own_error_pages.insert(reference.clone()),
                    _ => self.own_error_pages.remove(reference),
                };
                dirty.listeners |= had_some == self.own_error_pages.is_empty();
                self.groups.touch_mapping(reference, old, new);
                dirty.mappings.insert(reference.clone());
            }
            "Host" => {
                let host = match new.map(|g| &g.spec) {
                    Some(Spec::Host(host)) => Some(&**host),
                    _ => None,
                };
                self.groups.touch_host(&self.store, reference, host);
                dirty.bindings = true;
            }
            "Listener" | "Namespace" => dirty.bindings = true,
            "TLSContext" => dirty.tls = true,
            "TCPMapping" => {
                dirty.bindings = true;
                dirty.tcp.insert(reference.clone());
            }
            "Module" | "AuthService" | "RateLimitService" | "TracingService" | "LogService" => {
                dirty.services = true;
            }
            "Service" => {
                self.references.touch_service(reference);
                self.endpoints.touch(reference, old, new);
            }
            "ConsulService" => self.endpoints.touch_consul(reference),
            "Ingress" | "IngressClass" => {}
            "EndpointSlice" | "Endpoints" => self.endpoints.touch(reference, old, new),
            kind if resolver::KINDS.contains(&kind) => dirty.resolvers = true,
            _ => {
                dirty.tls |= reference.kind == "Secret";
                self.authorization.touch(reference);
                self.passed_on.touch(reference, old, new);
            }
        }
    }

    /// The Host that is there when there is none. A Host that is broken is there, too: nothing is
    /// opened because of it. `true` when that changed.
    fn update_fallback(&mut self) -> bool {
        let reference = self.fallback_reference();
        let wanted = self.store.of_kind("Host").next().is_none().then(|| {
            let secret = ObjectRef::new("Secret", &self.settings.namespace, FALLBACK_SECRET);
            let tls = tls::secret_tls(self.store.good(&secret).map(AsRef::as_ref));
            let usable = tls.is_some_and(|tls| matches!(tls.identity, Some(Ok(_))));
            Host::fallback(usable.then_some((secret.namespace, secret.name)))
        });
        let there = self.groups.hosts.get(&reference).map(|state| &state.host);
        let changed = wanted.as_ref() != there;
        if changed {
            self.groups.touch_host(&self.store, &reference, wanted.as_ref());
        }
        changed
    }

    fn fallback_reference(&self) -> ObjectRef {
        ObjectRef::new("Host", &self.settings.namespace, "")
    }

    /// Settles what is dirty. Gives how many units were lowered and whether findings changed.
    fn settle(&mut self, mut dirty: Dirty) -> (usize, bool) {
        let mut found_changed = false;
        if dirty.services || dirty.resolvers || dirty.tls {
            found_changed |= self.settle_services(&mut dirty);
        }
        if dirty.resolvers {
            let by_default = self.services.env.defaults.resolver.is_some();
            let named = |m: &Mapping| by_default || m.upstream.resolver.is_some();
            let mappings = self.store.of_kind("Mapping").map(|(reference, _)| reference);
            let mappings = mappings.filter(|r| mapping_of(&self.store, r).is_some_and(named));
            dirty.mappings.extend(mappings.cloned());
        }
        if dirty.tls {
            dirty.bindings = true;
            let named = |m: &Mapping| m.upstream.tls.is_some();
            let mappings = self.store.of_kind("Mapping").map(|(reference, _)| reference);
            let mappings = mappings.filter(|r| mapping_of(&self.store, r).is_some_and(named));
            dirty.mappings.extend(mappings.cloned());
        }
        if dirty.tls || dirty.resolvers {
            self.dirty_tcp(&mut dirty);
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
            let (count, changed) = self.settle_secrets(dirty.tls);
            lowered += count;
            found_changed |= changed;
        }
        lowered += self.passed_on.settle(&self.store, &mut self.published);
        found_changed |= self.authorization.settle(&self.store);
        let any = |kind| self.store.of_kind(kind).next().is_some();
        let notice = self.groups.hosts.contains_key(&self.fallback_reference())
            && (any("Mapping") || any("Listener"));
        found_changed |= std::mem::replace(&mut self.fallback_notice, notice) != notice;
        (lowered, found_changed)
    }

    fn settle_services(&mut self, dirty: &mut Dirty) -> bool {
        let new = services::lower(&services::Context {
            store: &self.store,
            own_namespace: &self.settings.namespace,
            own_tls: self.settings.service_tls.is_some(),
            endpoints: self.settings.endpoints,
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

    /// Gives whether something else is wrong now.
    fn claim_clusters(&mut self, dirty: &Dirty) -> bool {
        let own_namespace = &self.settings.namespace;
        let defaults = &self.services.env.defaults;
        let lookup = Lookup {
            store: &self.store,
            own_namespace,
            namespacing: !self.services.plain_secret_names,
        };
        let resolvers = Resolvers {
            store: &self.store,
            own_namespace,
            default: defaults.resolver.as_deref(),
            endpoints: self.settings.endpoints,
        };
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
            let before = if found.is_empty() {
                self.unresolved.remove(reference)
            } else {
                self.unresolved.insert(reference.clone(), found)
            };
            found_changed |= before.as_ref() != self.unresolved.get(reference);
            if self.clusters.claim(reference, claim)
                && let Some(mapping) = mapping
            {
                self.groups.dirty_group_of(mapping);
            }
        }
        found_changed
    }

    /// As [`Self::claim_clusters`], of TCPMappings.
    fn claim_tcp_clusters(&mut self, dirty: &mut Dirty) -> bool {
        let own_namespace = &self.settings.namespace;
        let defaults = &self.services.env.defaults;
        let lookup = Lookup {
            store: &self.store,
            own_namespace,
            namespacing: !self.services.plain_secret_names,
        };
        let resolvers = Resolvers {
            store: &self.store,
            own_namespace,
            default: defaults.resolver.as_deref(),
            endpoints: self.settings.endpoints,
        };
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
            let before = if found.is_empty() {
                self.unresolved.remove(&reference)
            } else {
                self.unresolved.insert(reference.clone(), found)
            };
            found_changed |= before.as_ref() != self.unresolved.get(&reference);
            dirty.listeners |= self.clusters.claim(&reference, claim);
        }
        found_changed
    }

    fn settle_bindings(&mut self, dirty: &mut Dirty) -> bool {
        let fallback = self.fallback_reference();
        let is_fallback = self.groups.hosts.contains_key(&fallback);
        let mut found = Vec::new();
        let lookup = Lookup {
            store: &self.store,
            own_namespace: &self.settings.namespace,
            namespacing: !self.services.plain_secret_names,
        };
        let hosts: Vec<_> = self
            .groups
            .hosts
            .iter()
            .map(|(r, s)| (r, &s.host, lookup.terminate(r, &s.host, &mut found)))
            .collect();
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
        std::mem::replace(&mut self.binding_found, found) != self.binding_found
    }

    /// Puts the route tables together whose Hosts changed.
    fn settle_tables(&mut self, dirty: &Dirty) -> usize {
        let dirty_hosts = std::mem::take(&mut self.groups.dirty_hosts);
        for host in &dirty_hosts {
            self.groups.forget_parts(host);
        }
        let causes = self.causes(dirty, &["Mapping", "Host", "Module"]);
        let mut assembled = 0;
        let tables =
            self.bindings.iter().flat_map(|(r, b)| b.tables().map(move |table| (r, b, table)));
        for (reference, binding, table) in tables {
            let hit = table.hosts.values().any(|(host, _)| dirty_hosts.contains(host));
            if !hit && !dirty.tables {
                continue;
            }
            let mut parts = Vec::new();
            let mut owners = vec![reference.clone()];
            for (host, mode) in table.hosts.values() {
                assembled += usize::from(dirty_hosts.contains(host));
                parts.extend(self.groups.virtual_host(host, *mode));
                owners.push(host.clone());
            }
            let head = envoy::table::Head {
                name: &table.name,
                ports_matter: table.ports_matter,
                http3_port: binding.http3_port,
            };
            let (body, version) = envoy::table::table(&head, parts.iter());
            assembled += 1;
            let resource_type = ResourceType::Route;
            let name = table.name.clone();
            owners.retain(|o| !o.name.is_empty());
            let resource = Resource { resource_type, name, version, body, owners };
            self.published.put(resource, causes.clone());
        }
        assembled
    }

    /// What Listeners fetch apart: a change of it touches no Listener.
    fn settle_extensions(&mut self, dirty: &Dirty, filters: &ir::HttpFilters) -> usize {
        let causes = self.causes(dirty, &["Module", "AuthService", "RateLimitService"]);
        let wanted = envoy::filter::apart(filters);
        for (name, owner) in [
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

    fn settle_listeners(&mut self, dirty: &Dirty, filters: &ir::HttpFilters) -> usize {
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
        let causes = self.causes(dirty, &kinds);
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

    fn dirty_tcp(&self, dirty: &mut Dirty) {
        dirty.tcp.extend(self.store.of_kind("TCPMapping").map(|(reference, _)| reference.clone()));
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

    /// Publishes the certificates that Listeners and clusters name.
    fn settle_secrets(&mut self, contents_changed: bool) -> (usize, bool) {
        let mut wanted: BTreeMap<SecretUse, BTreeSet<ObjectRef>> = BTreeMap::new();
        for (reference, binding) in &self.bindings {
            for chain in &binding.chains {
                let users: Vec<&ObjectRef> = match &chain.content {
                    Content::Http(table) => table.hosts.values().map(|(host, _)| host).collect(),
                    Content::Tcp(group) => vec![&group.first],
                };
                // The default Host is nobody's object.
                let users =
                    users.into_iter().map(|u| if u.name.is_empty() { reference } else { u });
                let tls = chain.tls.iter().flat_map(|tls| {
                    std::iter::once(&tls.certificate).chain(tls.authorities.as_ref())
                });
                for secret in tls {
                    wanted.entry(secret.clone()).or_default().extend(users.clone().cloned());
                }
            }
        }
        for (_, cluster, owners) in self.clusters.iter() {
            let tls = cluster
                .tls
                .iter()
                .flat_map(|tls| tls.certificate.iter().chain(tls.authorities.as_ref()));
            for secret in tls {
                let users = owners.iter().take(clusters::MAX_OWNERS).cloned();
                wanted.entry(secret.clone()).or_default().extend(users);
            }
        }
        self.secrets.settle(wanted, contents_changed, &self.store, &mut self.published)
    }

    fn causes(&self, dirty: &Dirty, kinds: &[&str]) -> Vec<ObjectRef> {
        let fits = |r: &&ObjectRef| kinds.contains(&r.kind.as_str());
        dirty.causes.iter().filter(fits).cloned().collect()
    }
}

/// That the TLSContext of an object cannot be used.
fn no_context(reference: &ObjectRef, why: &str) -> Diagnostic {
    let text = format!("{why}; nothing is sent in the clear instead");
    let mut d = Diagnostic::new(Severity::Error, reference.clone(), "spec.tls", text);
    d.hint("create it, or correct the name; until then requests get 503")
        .reason(Reason::RefNotResolved);
    d
}

fn as_mapping(good: &Good) -> Option<&Mapping> {
    match &good.spec {
        Spec::Mapping(mapping) => Some(mapping),
        _ => None,
    }
}
