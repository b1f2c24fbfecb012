//! Why a Kubernetes Service has no endpoints: read from the Service and its EndpointSlices.

use gateway_core::overview::ClusterOverview;
use serde_json::Value;
use service_kit::{Object, ObjectRef};

use super::causes::Found;
use super::facts::{Facts, ServicePort, dns_name, service_port};

/// The label that says whose an EndpointSlice is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What is wrong with the endpoints of a Service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// It is not there.
    NoService,
    /// Its ports are others: these.
    NoPort(Vec<u64>),
    /// It has the port under this name, its pods have no such port.
    PortUnnamed(String),
    /// No pod: its selector, as in `app=web`.
    NoPods(String),
    /// No pod is ready: its selector.
    NotReady(String),
}

/// What is wrong with the endpoints of a cluster; none when nothing is, or nothing is known.
pub(super) fn look(facts: &Facts<'_>, cluster: &ClusterOverview) -> Option<Backing> {
    let Some(port) = service_port(cluster) else { return by_name(facts, cluster) };
    let known = facts.material.endpoints.get(&cluster.address);
    if known.is_some_and(|list| !list.is_empty()) {
        return None;
    }
    let Some(service) = facts.object("Service", port.namespace, port.service) else {
        return Some(Backing::NoService);
    };
    Some(of_service(facts, service, &port))
}

/// As far as it can be told of a name that Envoy looks up: it must be one of Kubernetes, and Services
/// of its namespace must be known.
fn by_name(facts: &Facts<'_>, cluster: &ClusterOverview) -> Option<Backing> {
    let name = dns_name(cluster)?;
    let mut parts = name.split('.');
    let (service, namespace) = (parts.next()?, parts.next());
    let is_certain = namespace.is_none() || name.contains(".svc") || parts.next().is_none();
    let namespace = namespace.unwrap_or("default");
    let says_so = facts.owner(cluster).is_some_and(|owner| {
        facts.found(&owner).any(|d| d.message.starts_with("there is no Service"))
    });
    let known = facts.of_kind("Service").any(|o| o.reference.namespace == namespace);
    let is_there = facts.object("Service", namespace, service).is_some();
    (!is_there && (says_so || (is_certain && known))).then_some(Backing::NoService)
}

fn of_service(facts: &Facts<'_>, service: &Object, wanted: &ServicePort<'_>) -> Backing {
    let list = |v: Option<&Value>| v.and_then(Value::as_array).cloned().unwrap_or_default();
    let ports = list(service.json.pointer("/spec/ports"));
    let number = |p: &Value| p["port"].as_u64();
    let named = ports.iter().find(|p| number(p) == Some(u64::from(wanted.port)));
    if named.is_none() && !ports.is_empty() {
        return Backing::NoPort(ports.iter().filter_map(number).collect());
    }
    let (mut any, mut ready) = (false, false);
    let mine = |o: &&Object| o.reference.namespace == wanted.namespace;
    for slice in facts.of_kind("EndpointSlice").filter(mine) {
        if slice.labels.get(SERVICE_NAME).is_none_or(|name| *name != wanted.service) {
            continue;
        }
        for endpoint in list(slice.json.get("endpoints")) {
            any = true;
            ready |= endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
        }
    }
    if let Some(old) = facts.object("Endpoints", wanted.namespace, wanted.service) {
        for subset in list(old.json.get("subsets")) {
            ready |= !list(subset.get("addresses")).is_empty();
            any |= ready || !list(subset.get("notReadyAddresses")).is_empty();
        }
    }
    match (any, ready) {
        (false, _) => Backing::NoPods(selector(service)),
        (true, false) => Backing::NotReady(selector(service)),
        (true, true) => {
            let port = named.unwrap_or(&Value::Null);
            let target = port["targetPort"].as_str().or_else(|| port["name"].as_str());
            Backing::PortUnnamed(target.unwrap_or_default().to_owned())
        }
    }
}

fn selector(service: &Object) -> String {
    let selector = service.json.pointer("/spec/selector").and_then(Value::as_object);
    let pair = |(k, v): (&String, &Value)| format!("{k}={}", v.as_str().unwrap_or_default());
    selector.into_iter().flatten().map(pair).collect::<Vec<_>>().join(",")
}

impl Backing {
    /// In words, for this cluster.
    pub(super) fn found(&self, facts: &Facts<'_>, cluster: &ClusterOverview) -> Found {
        let owner = facts.owner(cluster);
        let (namespace, name, port) = match service_port(cluster) {
            Some(s) => (s.namespace, s.service, s.port),
            None => {
                let mut parts = dns_name(cluster).unwrap_or_default().split('.');
                let name = parts.next().unwrap_or_default();
                (parts.next().unwrap_or("default"), name, 0)
            }
        };
        let of = owner.as_ref().map(|o| format!(", which {o} sends to")).unwrap_or_default();
        let service = ObjectRef::new("Service", namespace, name);
        let (words, next, object) = match self {
            Self::NoService => (
                format!("there is no {service}{of}"),
                format!(
                    "`kubectl get service -A | grep {name}`; then write `spec.service: {name}.NAMESPACE`"
                ),
                owner,
            ),
            Self::NoPort(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                let ports = ports.join(", ");
                (
                    format!("{service}{of}, has no port {port}; its ports are {ports}"),
                    format!("write `spec.service: {name}.{namespace}:PORT` with one of {ports}"),
                    owner,
                )
            }
            Self::PortUnnamed(target) => (
                format!(
                    "{service}{of}, has ready pods, but none has a port `{target}` for its port {port}"
                ),
                format!(
                    "name a port of the container `{target}`, or set `targetPort` to its number"
                ),
                Some(service),
            ),
            Self::NoPods(selector) if selector.is_empty() => (
                format!("{service}{of}, has no selector, and nobody made an EndpointSlice for it"),
                "give it a selector, or create an EndpointSlice".to_owned(),
                Some(service),
            ),
            Self::NoPods(selector) => (
                format!("{service}{of}, selects {selector}, and no pod is like that"),
                format!(
                    "`kubectl -n {namespace} get pods -l {selector}`, then `kubectl -n {namespace} get pods --show-labels`"
                ),
                Some(service),
            ),
            Self::NotReady(selector) => (
                format!("{service}{of}, has pods ({selector}), and none is ready"),
                format!(
                    "`kubectl -n {namespace} describe pods -l {selector}`: look at the readiness probe"
                ),
                Some(service),
            ),
        };
        Found::new(words, next, object.as_ref())
    }
}
