//! An object as the API server serves it → ours. Pure.

use kube::api::{ApiResource, DynamicObject};
use kube::core::ObjectMeta;
use serde_json::{Map, Value, json};
use service_kit::{Diagnostic, Object, ObjectRef};

/// Written by `kubectl apply`; as large as the object itself and of no use here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Reads an object of `resource`.
///
/// # Errors
/// A finding, when it has no name or its metadata is wrong (an API server serves no such thing).
pub fn read(object: DynamicObject, resource: &ApiResource) -> Result<Object, Box<Diagnostic>> {
    let DynamicObject { metadata, data, .. } = object;
    let api_version = written_version(&metadata, resource);
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    let mut map = match data {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    map.insert("apiVersion".to_owned(), json!(api_version));
    map.insert("kind".to_owned(), json!(resource.kind));
    // Neither managed fields nor resource versions: they change when nothing that is said does.
    map.insert(
        "metadata".to_owned(),
        json!({
            "name": metadata.name,
            "namespace": metadata.namespace,
            "labels": metadata.labels,
            "annotations": annotations,
            "generation": metadata.generation.unwrap_or(0),
            "uid": metadata.uid.unwrap_or_default(),
        }),
    );
    Object::from_json(Value::Object(map))
}

/// Which object it is.
pub fn reference(object: &DynamicObject, resource: &ApiResource) -> ObjectRef {
    let DynamicObject { metadata: ObjectMeta { namespace, name, .. }, .. } = object;
    // As [`Object::from_json`] has it where there is none.
    let namespace = namespace.as_deref().unwrap_or("default");
    ObjectRef::new(&resource.kind, namespace, name.as_deref().unwrap_or_default())
}

/// The version in whose words the `spec` was written. Without a conversion webhook the API server
/// serves it under another version unchanged, so the words of v2 come as v3alpha1.
fn written_version(metadata: &ObjectMeta, resource: &ApiResource) -> String {
    let fields = metadata.managed_fields.as_deref().unwrap_or_default();
    let writer = fields
        .iter()
        .filter(|f| f.subresource.as_deref().unwrap_or_default().is_empty())
        .filter(|f| f.fields_v1.as_ref().is_some_and(|v| v.0.get("f:spec").is_some()))
        .max_by(|a, b| a.time.cmp(&b.time))
        .and_then(|f| f.api_version.clone());
    let prefix = format!("{}/", resource.group);
    writer
        .filter(|v| !resource.group.is_empty() && v.starts_with(&prefix))
        .unwrap_or_else(|| resource.api_version.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(managed: &str) -> Object {
        let resource = ApiResource {
            group: "getambassador.io".to_owned(),
            version: "v3alpha1".to_owned(),
            api_version: "getambassador.io/v3alpha1".to_owned(),
            kind: "Mapping".to_owned(),
            plural: "mappings".to_owned(),
        };
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "generation": 3,
                "resourceVersion": "17",
                "annotations": {LAST_APPLIED: "{}", "mine": "1"},
                "managedFields": [
                    {"apiVersion": "getambassador.io/v3alpha1", "manager": "s",
                     "operation": "Apply", "subresource": "status", "time": "2026-01-02T00:00:00Z",
                     "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {}}},
                    {"apiVersion": managed, "manager": "k", "operation": "Update",
                     "time": "2026-01-01T00:00:00Z",
                     "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}},
                ],
            },
            "spec": {"prefix": "/"},
            "status": {"state": "Running"},
        }))
        .unwrap();
        read(object, &resource).unwrap()
    }

    #[test]
    fn what_changes_without_a_meaning_is_left_out() {
        let object = mapping("getambassador.io/v3alpha1");
        assert_eq!(object.reference, ObjectRef::new("Mapping", "n", "a"));
        assert_eq!((object.generation, object.uid.as_str()), (3, "u"));
        assert_eq!(object.status, json!({"state": "Running"}));
        let text = object.json.to_string();
        for absent in ["resourceVersion", "managedFields", "last-applied", "Running"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        assert_eq!(object.annotations.len(), 1);
    }

    #[test]
    fn the_words_are_those_of_the_version_it_was_written_in() {
        assert_eq!(mapping("getambassador.io/v2").api_version, "getambassador.io/v2");
        assert_eq!(mapping("other.io/v2").api_version, "getambassador.io/v3alpha1");
    }
}
