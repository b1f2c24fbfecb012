//! Objects that are passed on to the services whole.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use proto::tollgate::config::v1 as config;
use serde_json::{Map, Value, json};
use service_kit::{Object, ObjectRef};

use super::publish::Published;
use crate::envoy;
use crate::output::{Resource, ResourceType};
use crate::resource::Spec;
use crate::store::{Good, Store};

/// Who names which Secret.
#[derive(Debug, Default)]
pub(super) struct PassedOn {
    secrets: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    dirty: BTreeSet<ObjectRef>,
}

impl PassedOn {
    /// Takes a change of an object that is passed on.
    pub(super) fn touch(&mut self, object: &ObjectRef, old: Option<&Good>, new: Option<&Good>) {
        self.dirty.insert(object.clone());
        for secret in secrets_of(old) {
            if let Some(owners) = self.secrets.get_mut(secret) {
                owners.remove(object);
                if owners.is_empty() {
                    self.secrets.remove(secret);
                }
            }
            self.dirty.insert(secret.clone());
        }
        for secret in secrets_of(new) {
            self.secrets.entry(secret.clone()).or_default().insert(object.clone());
            self.dirty.insert(secret.clone());
        }
    }

    /// Publishes what changed; gives how many objects that were.
    pub(super) fn settle(&mut self, store: &Store, published: &mut Published) -> usize {
        let dirty = std::mem::take(&mut self.dirty);
        for reference in &dirty {
            let good = store.good(reference).map(AsRef::as_ref);
            match good.and_then(|g| self.encode(reference, g)) {
                Some(resource) => published.put(resource, Vec::new()),
                None => {
                    for kind in [ResourceType::RateLimitObject, ResourceType::AuthorizationObject] {
                        published.remove(kind, &name(reference));
                    }
                }
            }
        }
        dirty.len()
    }

    fn encode(&self, reference: &ObjectRef, good: &Good) -> Option<Resource> {
        let mut owners = vec![reference.clone()];
        let resource_type = match good.spec {
            Spec::RateLimit => ResourceType::RateLimitObject,
            Spec::Authorization { .. } => ResourceType::AuthorizationObject,
            Spec::Secret(_) => {
                owners.extend(self.secrets.get(reference)?.iter().cloned());
                ResourceType::AuthorizationObject
            }
            _ => return None,
        };
        let object = Some(config::Object {
            api_version: good.object.api_version.clone(),
            kind: reference.kind.clone(),
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            json: json_of(&good.object).to_string().into(),
        });
        let body = if resource_type == ResourceType::RateLimitObject {
            config::RateLimitObject { object }.encode_to_vec()
        } else {
            config::AuthorizationObject { object }.encode_to_vec()
        };
        Some(Resource {
            resource_type,
            name: name(reference),
            version: envoy::version(&body),
            body: body.into(),
            owners,
        })
    }
}

fn secrets_of(good: Option<&Good>) -> &[ObjectRef] {
    match good.map(|g| &g.spec) {
        Some(Spec::Authorization { secrets }) => secrets,
        _ => &[],
    }
}

fn name(reference: &ObjectRef) -> String {
    format!("{}/{}/{}", reference.kind, reference.namespace, reference.name)
}

/// The parts of an object that a service reads: no status, no managed fields.
fn json_of(object: &Object) -> Value {
    let mut map = Map::new();
    map.insert("apiVersion".to_owned(), json!(object.api_version));
    map.insert("kind".to_owned(), json!(object.reference.kind));
    map.insert(
        "metadata".to_owned(),
        json!({
            "name": object.reference.name,
            "namespace": object.reference.namespace,
            "labels": object.labels,
            "generation": object.generation,
        }),
    );
    for field in ["spec", "data", "stringData", "type"] {
        if let Some(value) = object.json.get(field) {
            map.insert(field.to_owned(), value.clone());
        }
    }
    Value::Object(map)
}
