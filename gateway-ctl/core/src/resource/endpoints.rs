//! Kubernetes' own kinds that say where the hosts of a Service are: `Service` (which ports it
//! has), `EndpointSlice` and the older `Endpoints`.

use serde::Deserialize;
use service_kit::Object;

/// The label that says whose an EndpointSlice is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ServicePort {
    /// Its name; may be empty when it is the only one.
    #[serde(default)]
    pub name: String,
    /// Its number.
    pub port: u16,
}

/// The ports of a Service; none for one that only has a name elsewhere (`ExternalName`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePorts(pub Vec<ServicePort>);

/// Hosts that have the same ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// The name of the Service, in the namespace of the object.
    pub service: String,
    /// Addresses of hosts that are ready.
    pub addresses: Vec<String>,
    /// Name and number of each port.
    pub ports: Vec<(String, u16)>,
}

/// Reads a `Service`.
pub fn read_service(object: &Object) -> ServicePorts {
    let ports = object.json.pointer("/spec/ports").cloned().unwrap_or_default();
    // The API server checks Services; what it would not take has no ports here.
    ServicePorts(serde_json::from_value(ports).unwrap_or_default())
}

#[derive(Deserialize)]
struct Slice {
    #[serde(rename = "addressType", default)]
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<SliceEndpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Default, Deserialize)]
struct Conditions {
    #[serde(default)]
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct Port {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

/// Reads an `EndpointSlice`. Names (`addressType: FQDN`) are not addresses.
pub fn read_slice(object: &Object) -> Vec<Subset> {
    let Some(service) = object.labels.get(SERVICE_NAME) else { return Vec::new() };
    let Ok(slice) = serde_json::from_value::<Slice>(object.json.clone()) else { return Vec::new() };
    if slice.address_type == "FQDN" {
        return Vec::new();
    }
    let ready = |e: &SliceEndpoint| e.conditions.ready.unwrap_or(true);
    let endpoints = slice.endpoints.unwrap_or_default();
    vec![Subset {
        service: service.clone(),
        addresses: endpoints.into_iter().filter(ready).flat_map(|e| e.addresses).collect(),
        ports: numbered(slice.ports),
    }]
}

#[derive(Deserialize)]
struct OldSubset {
    #[serde(default)]
    addresses: Option<Vec<OldAddress>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct OldAddress {
    ip: String,
}

/// Reads an `Endpoints`.
pub fn read_endpoints(object: &Object) -> Vec<Subset> {
    let subsets = object.json.get("subsets").cloned().unwrap_or_default();
    let subsets: Option<Vec<OldSubset>> = serde_json::from_value(subsets).unwrap_or_default();
    let of = |subset: OldSubset| Subset {
        service: object.reference.name.clone(),
        addresses: subset.addresses.into_iter().flatten().map(|a| a.ip).collect(),
        ports: numbered(subset.ports),
    };
    subsets.into_iter().flatten().map(of).collect()
}

fn numbered(ports: Option<Vec<Port>>) -> Vec<(String, u16)> {
    let ports = ports.into_iter().flatten();
    ports.filter_map(|p| Some((p.name.unwrap_or_default(), p.port?))).collect()
}
