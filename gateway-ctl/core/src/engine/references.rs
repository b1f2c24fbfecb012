//! Whether what objects refer to is there: the Services of Mappings, where a cluster's Services
//! are known.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use crate::ir::balance::{Backend, Hosts};
use crate::lower::resolver;
use crate::resource::Spec;
use crate::resource::mapping::{Mapping, Target};
use crate::store::Store;

/// A Service by namespace and name.
type ServiceName = (String, String);

/// Who goes to which Service, and who goes to one that is not there.
#[derive(Debug, Default)]
pub(super) struct References {
    users: BTreeMap<ServiceName, BTreeSet<ObjectRef>>,
    used: BTreeMap<ObjectRef, Backend>,
    found: BTreeMap<ObjectRef, Diagnostic>,
    dirty: BTreeSet<ObjectRef>,
}

impl References {
    /// Takes a Mapping as it is now, with its hosts if they are known one by one. Names without a
    /// namespace are of `namespace`.
    pub(super) fn touch_mapping(
        &mut self,
        object: &ObjectRef,
        mapping: Option<&Mapping>,
        namespace: &str,
        hosts: Option<&Hosts>,
    ) {
        let new = mapping
            .filter(|m| !matches!(m.target, Target::Redirect(_)))
            .and_then(|m| certain(m, namespace, hosts));
        if let Some(old) = self.used.remove(object) {
            let service = (old.namespace, old.service);
            if let Some(users) = self.users.get_mut(&service) {
                users.remove(object);
                if users.is_empty() {
                    self.users.remove(&service);
                }
            }
        }
        if let Some(new) = new {
            let service = (new.namespace.clone(), new.service.clone());
            self.users.entry(service).or_default().insert(object.clone());
            self.used.insert(object.clone(), new);
        }
        self.dirty.insert(object.clone());
    }

    /// Takes it that a Service changed.
    pub(super) fn touch_service(&mut self, service: &ObjectRef) {
        let name = (service.namespace.clone(), service.name.clone());
        self.dirty.extend(self.users.get(&name).into_iter().flatten().cloned());
    }

    /// Looks again at what changed; gives whether something else is wrong now. Only Services of
    /// `namespaces` are known (of all, when it is empty).
    pub(super) fn settle(&mut self, store: &Store, namespaces: &[String]) -> bool {
        let mut changed = false;
        for object in std::mem::take(&mut self.dirty) {
            let backend = self.used.get(&object);
            let known = |b: &&Backend| namespaces.is_empty() || namespaces.contains(&b.namespace);
            let new = backend.filter(known).and_then(|b| missing(store, &object, b));
            let old = match new {
                Some(d) => {
                    let old = self.found.insert(object.clone(), d);
                    changed |= old.as_ref() != self.found.get(&object);
                    continue;
                }
                None => self.found.remove(&object),
            };
            changed |= old.is_some();
        }
        changed
    }

    /// What is not there.
    pub(super) fn found(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.values()
    }
}

/// The Service of a Mapping, when its name can mean nothing else: `a.b` may be a name outside the
/// cluster.
fn certain(mapping: &Mapping, namespace: &str, hosts: Option<&Hosts>) -> Option<Backend> {
    match hosts {
        Some(Hosts::Service(backend)) => return Some(backend.clone()),
        Some(Hosts::Consul(_)) => return None,
        None => {}
    }
    let service = &mapping.upstream.service;
    let is_certain = service.is_unqualified() || service.host.contains(".svc");
    resolver::of_service(service, namespace).filter(|_| is_certain)
}

fn missing(store: &Store, object: &ObjectRef, backend: &Backend) -> Option<Diagnostic> {
    let (namespace, name) = (&backend.namespace, &backend.service);
    let ports = match store.good(&ObjectRef::new("Service", namespace, name)).map(|g| &g.spec) {
        Some(Spec::Service(ports)) => Some(&ports.0),
        _ => None,
    };
    let (text, hint) = match ports {
        None => (
            format!("there is no Service `{name}` in namespace `{namespace}`"),
            "create it, or correct the name; until then requests get 503".to_owned(),
        ),
        Some(ports) if !ports.is_empty() && !ports.iter().any(|p| p.port == backend.port) => {
            let all: Vec<String> = ports.iter().map(|p| p.port.to_string()).collect();
            (
                format!("Service `{name}` in namespace `{namespace}` has no port {}", backend.port),
                format!("its ports are {}; write one of them behind the name", all.join(", ")),
            )
        }
        Some(_) => return None,
    };
    let mut d = Diagnostic::new(Severity::Warning, object.clone(), "spec.service", text);
    d.hint(hint).reason(Reason::RefNotResolved);
    Some(d)
}
