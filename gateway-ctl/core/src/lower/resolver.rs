//! Which resolver a Mapping means, and what comes of it.

use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use crate::ir::balance::Backend;
use crate::resource::Spec;
use crate::resource::mapping::{Mapping, Target};
use crate::resource::resolver::Resolver;
use crate::resource::service::Service;
use crate::store::Store;

/// The kinds of resolvers.
pub const KINDS: [&str; 2] = ["KubernetesEndpointResolver", "KubernetesServiceResolver"];

/// The Service whose endpoints a Mapping goes to; none where its name in DNS is asked. A name
/// without a namespace is of `service_namespace`.
///
/// # Errors
/// Why the Mapping goes nowhere.
pub fn backend(
    store: &Store,
    reference: &ObjectRef,
    mapping: &Mapping,
    own_namespace: &str,
    service_namespace: &str,
) -> Result<Option<Backend>, Box<Diagnostic>> {
    if matches!(mapping.target, Target::Redirect(_)) {
        return Ok(None);
    }
    let name = mapping.upstream.resolver.as_deref().unwrap_or_default();
    let error = |path: &str, text: String| {
        Box::new(Diagnostic::new(Severity::Error, reference.clone(), path, text))
    };
    let Some(resolver) = find(store, name, &reference.namespace, own_namespace) else {
        let mut d = error("spec.resolver", format!("resolver {name} is unknown"));
        d.hint("kubernetes-service, endpoint, or the name of a resolver object")
            .reason(Reason::RefNotResolved);
        return Err(d);
    };
    let by_endpoints = (resolver == Resolver::Endpoint)
        .then(|| of_service(&mapping.upstream.service, service_namespace))
        .flatten();
    if by_endpoints.is_none() && mapping.upstream.load_balancer.is_some() {
        let text = "No load_balancer setting is allowed: the service is reached by its name, which is one host";
        let mut d = error("spec.load_balancer", text.to_owned());
        d.hint("remove it, or set `resolver: endpoint`");
        return Err(d);
    }
    Ok(by_endpoints)
}

fn find(store: &Store, name: &str, namespace: &str, own_namespace: &str) -> Option<Resolver> {
    if let Some(resolver) = Resolver::builtin(name) {
        return Some(resolver);
    }
    let mut named: Vec<(&ObjectRef, Resolver)> = KINDS
        .iter()
        .flat_map(|kind| store.of_kind(kind))
        .filter(|(r, _)| r.name == name)
        .filter_map(|(r, entry)| match entry.good.as_ref()?.spec {
            Spec::Resolver(resolver) => Some((r, resolver)),
            _ => None,
        })
        .collect();
    // Nearest first: the Mapping's own namespace, the controller's, the only one anywhere.
    named.sort_by_key(|(r, _)| (r.namespace != namespace, r.namespace != own_namespace));
    let near = |r: &ObjectRef| r.namespace == namespace || r.namespace == own_namespace;
    match named.as_slice() {
        [(first, resolver), rest @ ..] if near(first) || rest.is_empty() => Some(*resolver),
        _ => None,
    }
}

/// The Kubernetes Service that a name in a Mapping of `namespace` means; none for an address or a
/// name of this machine.
pub fn of_service(service: &Service, namespace: &str) -> Option<Backend> {
    let host = service.host.trim_end_matches('.');
    if host.parse::<std::net::IpAddr>().is_ok() || host == "localhost" {
        return None;
    }
    let mut parts = host.split('.');
    let name = parts.next()?;
    Some(Backend {
        namespace: parts.next().unwrap_or(namespace).to_owned(),
        service: name.to_owned(),
        port: service.port_or_default(),
    })
}
