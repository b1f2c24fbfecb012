//! What Consul said of a service, as the controller tells the engine: an object of a kind of its own,
//! so that it is kept, compared and forgotten as all others.

use std::collections::BTreeSet;

use serde_json::json;
use service_kit::{Object, ObjectRef};

use crate::ir::balance::ConsulService;

/// The API group of the kind; no API server has it, and files are not read for it.
pub const GROUP: &str = "consul";
const KIND: &str = "ConsulService";

/// Address and port of each instance whose checks pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances(pub BTreeSet<(String, u16)>);

/// The object of a service.
pub fn reference(service: &ConsulService) -> ObjectRef {
    ObjectRef::new(KIND, "", service.to_string())
}

/// What Consul said, as an object. Addresses are IP addresses.
pub fn object(service: &ConsulService, instances: &BTreeSet<(String, u16)>) -> Object {
    Object {
        api_version: format!("{GROUP}/v1"),
        reference: reference(service),
        labels: Default::default(),
        annotations: Default::default(),
        generation: 0,
        uid: String::new(),
        json: json!({"instances": instances}),
        status: serde_json::Value::Null,
        source: None,
    }
}

/// Reads such an object.
pub fn read(object: &Object) -> Instances {
    let instances = object.json.get("instances").cloned().unwrap_or_default();
    // It was made by the function above.
    Instances(serde_json::from_value(instances).unwrap_or_default())
}
