//! Which resolver is meant, and what comes of it: hosts that are known one by one, or a name that
//! is looked up in DNS.

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use crate::ir::balance::{Backend, ConsulService, Hosts};
use crate::resource::Spec;
use crate::resource::mapping::{Mapping, Target};
use crate::resource::resolver::Resolver;
use crate::resource::service::Service;
use crate::store::Store;

/// The kinds of resolvers.
pub const KINDS: [&str; 3] =
    ["ConsulResolver", "KubernetesEndpointResolver", "KubernetesServiceResolver"];

/// What resolving depends on besides the asker.
#[derive(Clone, Copy, Debug)]
pub struct Resolvers<'a> {
    /// The objects.
    pub store: &'a Store,
    /// The controller's own namespace.
    pub own_namespace: &'a str,
    /// The Module's resolver, of those that name none.
    pub default: Option<&'a str>,
    /// Whether endpoints may be used.
    pub endpoints: bool,
}

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The object.
    pub object: &'a ObjectRef,
    /// Where its field `service` is.
    pub path: &'a str,
    /// The service.
    pub service: &'a Service,
    /// The resolver that it names.
    pub resolver: Option<&'a str>,
    /// Whether it says how hosts are chosen.
    pub balances: bool,
    /// The namespace of a service that names none.
    pub service_namespace: &'a str,
}

/// What a resolver makes of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Where hosts come from; none: from DNS.
    pub hosts: Option<Hosts>,
    /// Whether the service is a name in Kubernetes, which may need a namespace.
    pub in_kubernetes: bool,
}

impl Resolvers<'_> {
    /// How the hosts of a Mapping's service are found. `None` for a redirect, and when they are not;
    /// `found` says why.
    pub fn of_mapping(
        &self,
        reference: &ObjectRef,
        mapping: &Mapping,
        service_namespace: &str,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Resolved> {
        if matches!(mapping.target, Target::Redirect(_)) {
            return None;
        }
        let up = &mapping.upstream;
        let asker = Asker {
            object: reference,
            path: "spec.service",
            service: &up.service,
            resolver: up.resolver.as_deref(),
            balances: up.load_balancer.is_some(),
            service_namespace,
        };
        let resolved = self.resolve(&asker, found)?;
        if resolved.hosts.is_none() && !up.health_checks.is_empty() {
            let text = "health_checks have no effect: the service is reached by its name, which is one host";
            let mut d =
                Diagnostic::new(Severity::Warning, reference.clone(), "spec.health_checks", text);
            d.hint("set `resolver: endpoint`, or remove them");
            found.push(d);
        }
        Some(resolved)
    }

    /// How the hosts of a service are found. `None` when they are not; `found` says why.
    pub fn resolve(&self, asker: &Asker<'_>, found: &mut Vec<Diagnostic>) -> Option<Resolved> {
        let error = |path: &str, text: String, hint: &str| {
            let mut d = Diagnostic::new(Severity::Error, asker.object.clone(), path, text);
            d.hint(hint);
            d
        };
        let name = asker.resolver.or(self.default).unwrap_or_default();
        let Some((resolver, trusted)) = self.find(name, &asker.object.namespace) else {
            let hint = "kubernetes-service, endpoint, consul, or the name of a resolver object";
            let text = format!("resolver {name} is unknown");
            let mut d = error("spec.resolver", text, hint);
            d.reason(Reason::RefNotResolved);
            found.push(d);
            return None;
        };
        let by_name = Resolved { hosts: None, in_kubernetes: true };
        if !self.endpoints && resolver != Resolver::Service {
            // Emissary's variable; whoever sets it wants names.
            let text = "endpoints are switched off (AMBASSADOR_DISABLE_ENDPOINTS), so the service is reached by its name";
            let hint = "set `resolver: kubernetes-service`, or unset the variable";
            found.push(error("spec.resolver", text.to_owned(), hint));
            return Some(by_name);
        }
        match &resolver {
            Resolver::Service if asker.balances => {
                let text = "No load_balancer setting is allowed: the service is reached by its name, which is one host";
                let hint = "remove it, or set `resolver: endpoint`";
                found.push(error("spec.load_balancer", text.to_owned(), hint));
                None
            }
            Resolver::Service => Some(by_name),
            // What is no name of a service is looked up as it is.
            _ if is_address(asker.service) => Some(by_name),
            Resolver::Endpoint => {
                let hosts = of_service(asker.service, asker.service_namespace).map(Hosts::Service);
                Some(Resolved { hosts, in_kubernetes: true })
            }
            Resolver::Consul { agent, datacenter } => {
                if asker.service.host.contains('.') {
                    let text = format!(
                        "`{}` is no name of a service in Consul: it has a dot",
                        asker.service.host
                    );
                    let hint = "write the service's name alone, as in `service: web`";
                    found.push(error(asker.path, text, hint));
                    return None;
                }
                if let Some(port) = asker.service.port {
                    let text =
                        format!("port {port} has no effect: Consul says the ports of instances");
                    let mut d =
                        Diagnostic::new(Severity::Notice, asker.object.clone(), asker.path, text);
                    d.hint("leave the port out");
                    found.push(d);
                }
                let hosts = Hosts::Consul(ConsulService {
                    apart: self.is_apart(agent, datacenter, trusted),
                    trusted,
                    agent: agent.clone(),
                    datacenter: datacenter.clone(),
                    service: asker.service.host.clone(),
                });
                Some(Resolved { hosts: Some(hosts), in_kubernetes: false })
            }
        }
    }

    /// The resolver of a name, or of its other name: an object before what is always there. And
    /// whether whoever runs the controller wrote it.
    fn find(&self, name: &str, namespace: &str) -> Option<(Resolver, bool)> {
        let alias = Resolver::alias(name);
        self.object(name, namespace)
            .or_else(|| self.object(alias?, namespace))
            .map(|(of, resolver)| (resolver.clone(), of.namespace == self.own_namespace))
            .or_else(|| Some((Resolver::builtin(name)?, true)))
    }

    fn object(&self, name: &str, namespace: &str) -> Option<(&ObjectRef, &Resolver)> {
        let mut named: Vec<(&ObjectRef, &Resolver)> =
            self.all().filter(|(r, _)| r.name == name).collect();
        // Nearest first: the asker's own namespace, the controller's, the only one anywhere.
        named.sort_by_key(|(r, _)| (r.namespace != namespace, r.namespace != self.own_namespace));
        let near = |r: &ObjectRef| r.namespace == namespace || r.namespace == self.own_namespace;
        match named.as_slice() {
            [first, rest @ ..] if near(first.0) || rest.is_empty() => Some(*first),
            _ => None,
        }
    }

    fn all(&self) -> impl Iterator<Item = (&ObjectRef, &Resolver)> {
        KINDS.iter().flat_map(|kind| self.store.of_kind(kind)).filter_map(|(r, entry)| match &entry
            .good
            .as_ref()?
            .spec
        {
            Spec::Resolver(resolver) => Some((r, resolver)),
            _ => None,
        })
    }

    /// Whether another agent is asked about a datacenter of this name, by the first resolver for it.
    fn is_apart(&self, agent: &str, datacenter: &str, trusted: bool) -> bool {
        let first = self.all().find_map(|(of, resolver)| match resolver {
            Resolver::Consul { agent, datacenter: other } if other == datacenter => {
                Some((agent.as_str(), of.namespace == self.own_namespace))
            }
            _ => None,
        });
        first.is_some_and(|first| first != (agent, trusted))
    }
}

/// Whether a service is an address, or a name of this machine.
fn is_address(service: &Service) -> bool {
    let host = service.host.trim_end_matches('.');
    host.parse::<std::net::IpAddr>().is_ok() || host == "localhost"
}

/// The Kubernetes Service that a name in an object of `namespace` means; none for an address or a
/// name of this machine.
pub fn of_service(service: &Service, namespace: &str) -> Option<Backend> {
    if is_address(service) {
        return None;
    }
    let mut parts = service.host.trim_end_matches('.').split('.');
    let name = parts.next()?;
    Some(Backend {
        namespace: parts.next().unwrap_or(namespace).to_owned(),
        service: name.to_owned(),
        port: service.port_or_default(),
    })
}
