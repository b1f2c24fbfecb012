//! Words for tests of the engine.

#![allow(dead_code)]

use std::sync::Arc;

use gateway_core::{Engine, Output, Resource, ResourceType, Settings};
use serde_json::Value;
use service_kit::{Object, ObjectRef};

/// The objects of a YAML text; documents without a name have one made of kind and place.
pub(crate) fn objects(yaml: &str) -> Vec<Arc<Object>> {
    let (objects, found) = Object::from_yaml(yaml, "test.yaml").expect("the test's YAML is YAML");
    assert!(found.is_empty(), "{found:?}");
    objects.into_iter().map(Arc::new).collect()
}

/// An object of the gateway's group in the namespace `default`.
pub(crate) fn object(kind: &str, name: &str, spec: &str) -> Arc<Object> {
    let yaml = format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    objects(&yaml).remove(0)
}

/// A reference in the namespace `default`.
pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
    ObjectRef::new(kind, "default", name)
}

/// A Listener on 8080 and a Host for everything.
pub(crate) fn edge() -> Vec<Arc<Object>> {
    vec![listener("edge", 8080), host("all", "*")]
}

pub(crate) fn listener(name: &str, port: u16) -> Arc<Object> {
    object(
        "Listener",
        name,
        &format!(
            "{{port: {port}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}"
        ),
    )
}

pub(crate) fn host(name: &str, hostname: &str) -> Arc<Object> {
    object(
        "Host",
        name,
        &format!("{{hostname: \"{hostname}\", requestPolicy: {{insecure: {{action: Route}}}}}}"),
    )
}

pub(crate) fn mapping(name: &str, hostname: &str, prefix: &str) -> Arc<Object> {
    object(
        "Mapping",
        name,
        &format!("{{hostname: \"{hostname}\", prefix: \"{prefix}\", service: {name}}}"),
    )
}

/// An engine that has taken these objects at once.
pub(crate) fn engine(objects: Vec<Arc<Object>>) -> Engine {
    let mut engine = Engine::new(Settings::default());
    engine.apply(objects, Vec::new());
    engine
}

/// `Cluster cluster_a_default` and such, of what changed.
pub(crate) fn changed(output: &Output) -> Vec<String> {
    output.changed.iter().map(label).collect()
}

pub(crate) fn removed(output: &Output) -> Vec<String> {
    output.removed.iter().map(|(kind, name)| format!("{kind:?} {name}")).collect()
}

fn label(resource: &Resource) -> String {
    format!("{:?} {}", resource.resource_type, resource.name)
}

/// The JSON of a resource in force.
pub(crate) fn json(engine: &Engine, kind: ResourceType, name: &str) -> Value {
    let resource = engine
        .resources()
        .find(|r| r.resource_type == kind && r.name == name)
        .unwrap_or_else(|| panic!("{kind:?} {name} is not in force"));
    proto::reflect::to_json(kind.message_name(), &resource.body).expect("it decodes")
}

/// The routes of the only virtual host of the Listener `edge`.
pub(crate) fn routes(engine: &Engine) -> Vec<Value> {
    let table = json(engine, ResourceType::Route, "edge");
    let routes = table.pointer("/virtual_hosts/0/routes").and_then(Value::as_array);
    routes.cloned().unwrap_or_default()
}

/// `severity object: path: message` of everything wrong.
pub(crate) fn findings(engine: &Engine) -> Vec<String> {
    engine
        .diagnostics()
        .iter()
        .map(|d| format!("{} {}: {}: {}", d.severity, d.object, d.path, d.message))
        .collect()
}
