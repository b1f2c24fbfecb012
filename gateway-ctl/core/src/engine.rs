//! The incremental engine: from events to resources.
//!
//! A change dirties what it touched before and what it touches now. Dirty units are settled in
//! one pass, in the order in which they depend on each other: what all share (the Module and the
//! services), clusters, bindings of Listeners and Hosts, groups of Mappings, route tables,
//! Listeners, objects that are passed on. At each step what came out the same stops the change.

mod authorization;
mod bound;
mod claims;
mod clusters;
mod dirty;
mod endpoints;
mod groups;
mod host;
mod listeners;
mod passed_on;
mod publish;
mod references;
mod secrets;
mod settle;
mod survey;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::{Diagnostic, Object, ObjectRef, Severity};

use self::authorization::Authorization;
use self::clusters::Clusters;
use self::dirty::Dirty;
use self::endpoints::Endpoints;
use self::groups::Groups;
use self::host::HostState;
use self::passed_on::PassedOn;
use self::publish::Published;
use self::references::References;
use self::secrets::Secrets;
use crate::derived::{self, Derived};
use crate::envoy;
use crate::envoy::secret::Spelling;
use crate::ir::balance::ConsulService;
use crate::kinds::FALLBACK_SECRET;
use crate::lower::binding::Binding;
use crate::lower::services::Services;
use crate::lower::tls;
use crate::output::{Output, Resource, ResourceType};
use crate::overview::{ObjectOverview, ObjectRow, Overview};
use crate::resource::environment::{self, Environment};
use crate::resource::tls_file::FileUse;
use crate::resource::{Host, consul, error_page};
use crate::store::{Change, Store};
use crate::verdict::Verdict;

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
    /// Whether a Host takes a Mapping that fits its hostname or its selector, and a selector what has
    /// one of its labels; otherwise all must fit, where they are there.
    pub loose_selectors: bool,
    /// Whether somebody says of the files that TLS settings name whether they can be used; what names
    /// one is not in force before that.
    pub tls_files: bool,
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
            tls_files: false,
        }
    }
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
    fallback_notice: Option<&'static str>,
    secrets: Secrets,
    tls_files: Arc<BTreeSet<FileUse>>,
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
            fallback_notice: None,
            secrets: Secrets::default(),
            tls_files: Arc::default(),
            passed_on: PassedOn::default(),
            authorization: Authorization::default(),
            published: Published::default(),
        };
        if let Some(folder) = &engine.settings.service_tls {
            for secret in own_secrets(folder, Spelling::Plain) {
                engine.published.put(secret, Vec::new());
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
        let may_heal = self.may_heal(kind, name);
        self.published.reject(kind, name, message, may_heal);
        self.output(0, false)
    }

    /// Whether Envoy may take later what it refused, although nothing here changes: a resource for which
    /// it reads files of its own disk. Then it is to be asked again ([`Self::ask_again`]).
    pub fn may_heal(&self, kind: ResourceType, name: &str) -> bool {
        kind == ResourceType::Secret && (self.is_own_secret(name) || self.secrets.is_of_files(name))
    }

    fn is_own_secret(&self, name: &str) -> bool {
        self.settings.service_tls.is_some() && envoy::secret::OWN.contains(&name)
    }

    /// Publishes a resource again that Envoy refused and may take now. None when it is not wanted any
    /// longer, or not refused. The finding stays until [`Self::heal`].
    pub fn ask_again(&mut self, kind: ResourceType, name: &str) -> Option<Output> {
        if !self.may_heal(kind, name) || !self.published.is_refused(kind, name) {
            return None;
        }
        let resource = match &self.settings.service_tls {
            Some(folder) if self.is_own_secret(name) => {
                let spelling = self.secrets.respelled(name);
                own_secrets(folder, spelling).find(|secret| secret.name == name)?
            }
            _ => self.secrets.respell(name, &self.store)?,
        };
        self.published.ask_again(resource);
        Some(self.output(0, false))
    }

    /// Notes that every Envoy took what was published again.
    pub fn heal(&mut self, kind: ResourceType, name: &str) -> Output {
        self.published.heal(kind, name);
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

    /// The files that TLS settings name. With [`Settings::tls_files`] the engine is to be told of each
    /// whether it can be used ([`tls_file::object`]).
    pub const fn tls_files(&self) -> &Arc<BTreeSet<FileUse>> {
        &self.tls_files
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
        if let Some(text) = self.fallback_notice {
            let mut d = Diagnostic::new(Severity::Notice, ObjectRef::default(), "", text);
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

    /// Objects of which something else became with the last change although they are not in it: an
    /// Ingress whose class came or went.
    pub fn take_judged_anew(&mut self) -> BTreeSet<ObjectRef> {
        self.derived.take_judged_anew()
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
        let there = self.groups.hosts.get(&reference).map(HostState::host);
        let changed = wanted.as_ref() != there;
        if changed {
            self.groups.touch_host(&self.store, &reference, wanted.as_ref());
        }
        changed
    }

    fn fallback_reference(&self) -> ObjectRef {
        ObjectRef::new("Host", &self.settings.namespace, "")
    }
}

/// The secrets with which the installation's own services are called.
fn own_secrets(folder: &str, spelling: Spelling) -> impl Iterator<Item = Resource> {
    envoy::secret::own(folder, spelling).into_iter().map(|(name, body)| {
        let version = envoy::version(&body);
        let resource_type = ResourceType::Secret;
        Resource { resource_type, name, version, body: body.into(), owners: Vec::new() }
    })
}
