//! `$NAME` and `${NAME}` in resources: the value of an environment variable of the controller.
//!
//! Only in fields whose texts are names and addresses, and in scripts: in a regular expression, a path
//! or a header's format a `$` is one. And only variables that whoever runs the controller lets resources see: who
//! may write a Mapping must not read what else the process was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use service_kit::Object;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// Fields of `spec` where names of variables are replaced, by kind. `*` is every entry of a list.
const FIELDS: &[(&str, &[&str])] = &[
    ("AuthService", &["auth_service", "tls"]),
    ("ConsulResolver", &["address", "datacenter"]),
    ("Host", &["hostname", "tlsSecret/name", "tlsSecret/namespace", "tlsContext/name"]),
    ("Listener", &["bind_address", "bindAddress"]),
    ("LogService", &["service"]),
    ("Mapping", &["service", "hostname", "host_rewrite", "resolver", "tls", "cluster_tag"]),
    ("Module", &["config/lua_scripts"]),
    ("RateLimitService", &["service", "domain", "tls"]),
    ("TCPMapping", &["service", "host", "address", "resolver", "tls", "cluster_tag"]),
    (
        "TLSContext",
        &[
            "hosts/*",
            "sni",
            "secret",
            "ca_secret",
            "crl_secret",
            "cert_chain_file",
            "private_key_file",
            "cacert_chain_file",
            "crl_file",
        ],
    ),
    ("TracingService", &["service"]),
];

/// The object with what its fields mean here; itself when none names a variable.
pub fn expand(object: Arc<Object>, environment: &Environment) -> Arc<Object> {
    let Some((_, fields)) = FIELDS.iter().find(|(kind, _)| *kind == object.reference.kind) else {
        return object;
    };
    let mut expanded = None;
    for field in *fields {
        let Some(spec) = object.json.get("spec") else { break };
        let named = texts(spec, field).any(|t| replace(t, environment).is_some());
        if named {
            let json = &mut expanded.get_or_insert_with(|| Object::clone(&object)).json;
            if let Some(spec) = json.get_mut("spec") {
                replace_all(spec, field, environment);
            }
        }
    }
    expanded.map_or(object, Arc::new)
}

/// The kinds that have such fields.
pub const KINDS: &[&str] = &{
    let mut kinds = [""; FIELDS.len()];
    let mut i = 0;
    while i < kinds.len() {
        kinds[i] = FIELDS[i].0;
        i += 1;
    }
    kinds
};

/// Whether a field in which nothing is replaced names a variable.
pub fn is_named_elsewhere(kind: &str, spec: &Value) -> bool {
    let mut rest = spec.clone();
    let fields = FIELDS.iter().find(|(k, _)| *k == kind).map_or(&[][..], |(_, fields)| *fields);
    for field in fields {
        if let Some(value) = rest.pointer_mut(&split(field).0) {
            *value = Value::Null;
        }
    }
    is_named(&rest)
}

/// Whether a text within names a variable, as `a$NAME` and `${NAME}` do.
pub fn is_named(value: &Value) -> bool {
    let begins = |after: &str| {
        let name = after.strip_prefix('{').unwrap_or(after);
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
    };
    match value {
        Value::String(text) => text.split('$').skip(1).any(begins),
        Value::Array(items) => items.iter().any(is_named),
        Value::Object(fields) => fields.values().any(is_named),
        _ => false,
    }
}

/// The texts at a field.
fn texts<'a>(spec: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    let (place, list) = split(field);
    let value = spec.pointer(&place);
    let items = value.and_then(Value::as_array).filter(|_| list);
    let one = value.filter(|_| !list);
    items.into_iter().flatten().chain(one).filter_map(Value::as_str)
}

fn replace_all(spec: &mut Value, field: &str, environment: &Environment) {
    let (place, list) = split(field);
    let Some(value) = spec.pointer_mut(&place) else { return };
    let set = |value: &mut Value| {
        if let Some(text) = value.as_str().and_then(|t| replace(t, environment)) {
            *value = text.into();
        }
    };
    match value {
        Value::Array(items) if list => items.iter_mut().for_each(set),
        value => set(value),
    }
}

/// A field as a JSON pointer, and whether its entries are meant.
fn split(field: &str) -> (String, bool) {
    match field.strip_suffix("/*") {
        Some(place) => (format!("/{place}"), true),
        None => (format!("/{field}"), false),
    }
}

/// The text with its variables replaced; none when it names none that is known.
fn replace(text: &str, environment: &Environment) -> Option<String> {
    let mut rest = text;
    let mut out = String::new();
    let mut replaced = false;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        let (name, behind) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
            Some(parts) => parts,
            None => {
                let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                after.split_at(after.find(|c| !part(c)).unwrap_or(after.len()))
            }
        };
        match environment.get(name) {
            Some(value) => {
                out += value;
                replaced = true;
                rest = behind;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out += rest;
    replaced.then_some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expanded(kind: &str, spec: Value) -> Value {
        let json = json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": "x"}, "spec": spec,
        });
        let object = Arc::new(Object::from_json(json).unwrap());
        let environment = [("HOST_IP", "10.0.0.1"), ("N", "v")];
        let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        expand(object, &environment).json["spec"].clone()
    }

    #[test]
    fn variables_in_other_fields_are_noticed() {
        let named = |spec| is_named_elsewhere("Mapping", &spec);
        assert!(named(json!({"service": "$A", "headers": {"x": "${N}"}})));
        assert!(named(json!({"methods": ["a", "b$N"]})));
        assert!(!named(json!({"service": "$A", "prefix": "/a$", "regex": "a${2}|$n"})));
    }

    #[test]
    fn variables_are_replaced_where_names_and_addresses_are() {
        assert_eq!(
            expanded("ConsulResolver", json!({"address": "${HOST_IP}:8500"})),
            json!({"address": "10.0.0.1:8500"})
        );
        assert_eq!(
            expanded("TLSContext", json!({"hosts": ["a", "$N.test"], "sni": "$NOT"})),
            json!({"hosts": ["a", "v.test"], "sni": "$NOT"})
        );
        let other =
            json!({"prefix": "/$N", "headers": {"x": "$N"}, "service": "a$", "hostname": "$"});
        assert_eq!(expanded("Mapping", other.clone()), other);
        assert_eq!(expanded("Mapping", json!({"service": "${N"})), json!({"service": "${N"}));
        assert_eq!(expanded("Mapping", json!({"service": "$$N$N"})), json!({"service": "$vv"}));
    }
}
