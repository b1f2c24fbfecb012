//! The hosts of Services and of Consul's services, for clusters that want them.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::ObjectRef;

use super::publish::Published;
use crate::envoy;
use crate::ir::balance::{Backend, ConsulService, Hosts};
use crate::output::{Resource, ResourceType};
use crate::resource::Spec;
use crate::resource::consul;
use crate::resource::endpoints::Subset;
use crate::store::{Good, Store};

/// A Service by namespace and name.
type ServiceName = (String, String);

/// Which objects say where a Service's hosts are, and which hosts are wanted.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    /// The EndpointSlices (or Endpoints) of each Service.
    sources: BTreeMap<ServiceName, BTreeSet<ObjectRef>>,
    wanted: BTreeSet<Hosts>,
    /// Those of Kubernetes by their Service.
    of_service: BTreeMap<ServiceName, BTreeSet<Backend>>,
    /// Those of Consul by the object that says what it answers.
    in_consul: BTreeMap<ObjectRef, ConsulService>,
    /// Counts changes of [`Self::in_consul`].
    consul_revision: u64,
    dirty: BTreeSet<Hosts>,
}

impl Endpoints {
    /// Takes a change of a Service, an EndpointSlice or an Endpoints.
    pub(super) fn touch(&mut self, object: &ObjectRef, old: Option<&Good>, new: Option<&Good>) {
        if object.kind == "Service" {
            self.dirty_service(&(object.namespace.clone(), object.name.clone()));
            return;
        }
        for service in services_of(object, old) {
            if let Some(sources) = self.sources.get_mut(&service) {
                sources.remove(object);
                if sources.is_empty() {
                    self.sources.remove(&service);
                }
            }
            self.dirty_service(&service);
        }
        for service in services_of(object, new) {
            self.sources.entry(service.clone()).or_default().insert(object.clone());
            self.dirty_service(&service);
        }
    }

    /// Takes a change of what Consul says.
    pub(super) fn touch_consul(&mut self, object: &ObjectRef) {
        self.dirty.extend(self.in_consul.get(object).cloned().map(Hosts::Consul));
    }

    fn dirty_service(&mut self, service: &ServiceName) {
        let backends = self.of_service.get(service).into_iter().flatten().cloned();
        self.dirty.extend(backends.map(Hosts::Service));
    }

    /// Makes what is wanted exactly this.
    pub(super) fn want<'a>(&mut self, hosts: impl Iterator<Item = &'a Hosts>) {
        let wanted: BTreeSet<Hosts> = hosts.cloned().collect();
        self.dirty.extend(self.wanted.symmetric_difference(&wanted).cloned());
        self.of_service.clear();
        let before = std::mem::take(&mut self.in_consul);
        for hosts in &wanted {
            match hosts {
                Hosts::Service(backend) => {
                    let service = (backend.namespace.clone(), backend.service.clone());
                    self.of_service.entry(service).or_default().insert(backend.clone());
                }
                Hosts::Consul(service) => {
                    self.in_consul.insert(consul::reference(service), service.clone());
                }
            }
        }
        self.wanted = wanted;
        self.consul_revision += u64::from(self.in_consul != before);
    }

    /// Differs when the services of Consul do.
    pub(super) const fn consul_revision(&self) -> u64 {
        self.consul_revision
    }

    /// The services of Consul that are wanted.
    pub(super) fn of_consul(&self) -> impl Iterator<Item = &ConsulService> {
        self.in_consul.values()
    }

    /// Publishes what changed; gives how many that were.
    pub(super) fn settle(&mut self, store: &Store, published: &mut Published) -> usize {
        let dirty = std::mem::take(&mut self.dirty);
        let (wanted, gone): (Vec<&Hosts>, Vec<&Hosts>) =
            dirty.iter().partition(|hosts| self.wanted.contains(*hosts));
        // Before the others: another agent of Consul may have taken over a name.
        for hosts in gone {
            published.remove(ResourceType::Endpoint, &hosts.to_string());
        }
        for wanted in wanted {
            let name = wanted.to_string();
            let found = match wanted {
                Hosts::Service(backend) => {
                    let service = (backend.namespace.clone(), backend.service.clone());
                    let owner = ObjectRef::new("Service", &service.0, &service.1);
                    Some((self.hosts(store, &service, backend), owner))
                }
                // Until Consul has answered nothing is said, so that an Envoy keeps what it has.
                Hosts::Consul(service) => instances(store, service),
            };
            let Some((hosts, owner)) = found else {
                published.remove(ResourceType::Endpoint, &name);
                continue;
            };
            let body = envoy::cluster::assignment(&name, &hosts);
            let resource = Resource {
                resource_type: ResourceType::Endpoint,
                version: envoy::version(&body),
                body: body.into(),
                name,
                owners: vec![owner],
            };
            published.put(resource, Vec::new());
        }
        dirty.len()
    }

    /// Addresses and ports of the hosts that are ready, sorted.
    fn hosts(
        &self,
        store: &Store,
        service: &ServiceName,
        backend: &Backend,
    ) -> BTreeSet<(String, u16)> {
        let reference = ObjectRef::new("Service", &service.0, &service.1);
        let known = match store.good(&reference).map(|g| &g.spec) {
            Some(Spec::Service(ports)) => ports.0.as_slice(),
            _ => &[],
        };
        let named = known.iter().find(|p| p.port == backend.port).map(|p| p.name.as_str());
        let sources: Vec<_> = self.sources.get(service).into_iter().flatten().collect();
        // Kubernetes mirrors the one into the other.
        let has_slices = sources.iter().any(|r| r.kind == "EndpointSlice");
        sources
            .into_iter()
            .filter(|r| !has_slices || r.kind == "EndpointSlice")
            .flat_map(|r| subsets_of(store.good(r).map(AsRef::as_ref)))
            .filter(|s| s.service == service.1)
            .flat_map(|subset| {
                let port = choose_port(&subset.ports, named, backend.port);
                subset.addresses.iter().filter_map(move |a| Some((a.clone(), port?)))
            })
            .collect()
    }
}

/// What Consul says of a service, if it has said something.
fn instances(
    store: &Store,
    service: &ConsulService,
) -> Option<(BTreeSet<(String, u16)>, ObjectRef)> {
    let reference = consul::reference(service);
    match &store.good(&reference)?.spec {
        Spec::Consul(instances) => Some((instances.0.clone(), reference)),
        _ => None,
    }
}

/// The port of the name that the Service gives the number, else the port of that number, else the
/// only one.
fn choose_port(ports: &[(String, u16)], named: Option<&str>, number: u16) -> Option<u16> {
    let by_name = named.and_then(|name| ports.iter().find(|(n, _)| n == name));
    let by_number = || ports.iter().find(|(_, p)| *p == number);
    let only = || ports.first().filter(|_| ports.len() == 1);
    by_name.or_else(by_number).or_else(only).map(|(_, port)| *port)
}

fn subsets_of(good: Option<&Good>) -> &[Subset] {
    match good.map(|g| &g.spec) {
        Some(Spec::Endpoints(subsets)) => subsets,
        _ => &[],
    }
}

fn services_of(object: &ObjectRef, good: Option<&Good>) -> BTreeSet<ServiceName> {
    subsets_of(good).iter().map(|s| (object.namespace.clone(), s.service.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::choose_port;

    #[test]
    fn the_port_is_found_by_the_services_name_for_it() {
        let ports = [("http".to_owned(), 8080), ("admin".to_owned(), 80)];
        assert_eq!(choose_port(&ports, Some("http"), 80), Some(8080));
        assert_eq!(choose_port(&ports, None, 80), Some(80), "no Service is known");
        assert_eq!(choose_port(&ports[..1], None, 80), Some(8080), "the only one");
        assert_eq!(choose_port(&ports, None, 81), None);
    }
}
