use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::structural::{single_type, structural, variants};
use super::{DEFINITIONS, GROUP, SUPPORT};
use crate::kinds::KINDS;
use crate::resource::fields::Unread;
use crate::resource::{auth_service, host, listener, mapping, module, rate_limit_service};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Calls `look` with every schema in a version's schema, and where it is.
fn walk(schema: &Value, path: &str, look: &mut dyn FnMut(&Value, &str)) {
    look(schema, path);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(field, &format!("{path}.{name}"), look);
    }
    for (key, step) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(key) {
            walk(inner, &format!("{path}{step}"), look);
        }
    }
}

#[test]
fn schemas_are_structural() {
    let known = [
        "additionalProperties",
        "description",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "nullable",
        "pattern",
        "properties",
        "required",
        "type",
        PRESERVE,
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-validations",
    ];
    for definition in DEFINITIONS {
        let crd = definition.to_json();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            let root = &version["schema"]["openAPIV3Schema"];
            walk(root, &format!("{} {}", definition.kind, version["name"]), &mut |s, at| {
                let keys = s.as_object().unwrap_or_else(|| panic!("{at}: {s}"));
                for key in keys.keys() {
                    assert!(known.contains(&key.as_str()), "{at}: {key}");
                }
                let preserves = s[PRESERVE] == true;
                match s["type"].as_str() {
                    None => assert!(preserves, "{at} has no type"),
                    Some("object") => {
                        let map = s.get("additionalProperties").is_some();
                        assert!(!map || s.get("properties").is_none(), "{at} is both");
                        // Only the root is checked for fields that it does not know.
                        assert!(map || preserves || !at.contains('.'), "{at} prunes");
                    }
                    Some("array") => assert!(s["items"].is_object(), "{at} has no items"),
                    Some("string" | "integer" | "number" | "boolean") => {}
                    Some(other) => panic!("{at}: {other}"),
                }
                assert!(s["nullable"] != true || s.get("enum").is_none(), "{at} refuses null");
                for name in s["required"].as_array().into_iter().flatten() {
                    let field = &s["properties"][name.as_str().unwrap()];
                    assert!(field.is_object(), "{at} needs {name}, which is not there");
                    assert!(field["nullable"] != true, "{at}.{name}");
                }
            });
        }
    }
}

#[test]
fn what_has_no_structural_form_becomes_what_has_one() {
    let schema = json!({
        "type": "object",
        "required": ["must"],
        "properties": {
            "must": { "type": "string", "enum": ["a", "b"], "default": "a" },
            "may": { "type": ["string", "null"], "enum": ["a", "b", null] },
            "count": { "type": ["integer", "null"], "format": "uint32", "minimum": 0 },
            "either": { "anyOf": [{ "type": "string" }, { "type": "array" }, { "type": "null" }] },
            "one": { "anyOf": [{ "type": "boolean" }, { "type": "null" }], "description": "x\ny" },
            "free": { "type": "object", "additionalProperties": true },
            "any": true,
        },
    });
    assert_eq!(
        structural(&schema),
        json!({
            "type": "object",
            "required": ["must"],
            PRESERVE: true,
            "properties": {
                "must": { "type": "string", "enum": ["a", "b"] },
                "may": { "type": "string", "pattern": "^(a|b)$", "nullable": true },
                "count": {
                    "type": "integer", "minimum": 0, "maximum": u32::MAX, "nullable": true,
                },
                "either": { PRESERVE: true, "nullable": true },
                "one": { "type": "boolean", "description": "x y", "nullable": true },
                "free": { "type": "object", PRESERVE: true, "nullable": true },
                "any": { PRESERVE: true, "nullable": true },
            },
        })
    );
}

#[test]
fn every_field_says_what_it_means() {
    fn look(schema: &Value, path: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(!field["description"].as_str().unwrap_or_default().is_empty(), "{path}");
            let support = field.get(SUPPORT).and_then(Value::as_str).unwrap_or("yes");
            assert!(["yes", "not yet", "no effect"].contains(&support), "{path}");
            look(field, &path);
        }
        variants(schema).for_each(|v| look(v, path));
        match single_type(schema) {
            Some("array") => look(&schema["items"], &format!("{path}[]")),
            Some("object") => look(&schema["additionalProperties"], &format!("{path}.*")),
            _ => {}
        }
    }
    for definition in DEFINITIONS {
        let spec = definition.spec_schema();
        assert!(spec["description"].is_string(), "{}", definition.kind);
        look(&spec, definition.kind);
    }
}

#[test]
fn each_kind_of_the_group_has_one() {
    let rows: Vec<_> = KINDS.iter().filter(|k| k.group == GROUP && k.name != "*").collect();
    let names = |kinds: &[&'static str]| kinds.iter().copied().collect::<BTreeSet<_>>();
    let read: Vec<_> = rows.iter().map(|k| k.name).collect();
    let defined: Vec<_> = DEFINITIONS.iter().map(|d| d.kind).collect();
    assert_eq!(names(&read), names(&defined));
    assert!(defined.is_sorted_by_key(|k| k.to_lowercase()), "in the order of names");
    for row in rows {
        let definition = DEFINITIONS.iter().find(|d| d.kind == row.name).unwrap();
        assert_eq!(definition.versions.last(), Some(&"v3alpha1"));
        for version in row.versions {
            assert!(definition.versions.contains(version), "{} {version}", row.name);
        }
        let crd = serde_json::to_string(&definition.to_json()).unwrap();
        // What kubectl notes in an annotation has at most 256 KiB.
        assert!(crd.len() < 200 * 1024, "{}: {}", row.name, crd.len());
    }
}

#[test]
fn fields_that_are_not_read_are_in_the_schema() {
    let config = |s: &Value| s["properties"]["config"].clone();
    let itself = |s: &Value| s.clone();
    let check = |kind: &str, unread: Unread, at: fn(&Value) -> Value| {
        let definition = DEFINITIONS.iter().find(|d| d.kind == kind).unwrap();
        let schema = at(&definition.spec_schema());
        let fields = schema["properties"].as_object().unwrap();
        let unsupported = |f: &Value| f.get(SUPPORT).is_some_and(|s| s != "yes");
        for (name, _) in unread {
            let field = fields.get(*name).unwrap_or_else(|| panic!("{kind}.{name}"));
            assert!(*name == "ambassador_id" || unsupported(field), "{kind}.{name}");
        }
    };
    check("AuthService", auth_service::UNREAD, itself);
    check("Host", host::UNREAD, itself);
    check("Listener", listener::UNREAD, itself);
    check("Mapping", mapping::UNREAD, itself);
    check("Module", module::UNREAD, config);
    check("RateLimitService", rate_limit_service::UNREAD, itself);
}

#[test]
fn the_reference_says_what_is_not_supported() {
    let page = |kind: &str| DEFINITIONS.iter().find(|d| d.kind == kind).unwrap().reference();
    let mapping = page("Mapping");
    let row = |field: &str| {
        mapping.lines().find(|l| l.starts_with(&format!("| `{field}` |"))).unwrap().to_owned()
    };
    assert!(row("prefix").contains("| text, required |"), "{}", row("prefix"));
    assert!(row("prefix").ends_with("| yes |"));
    assert!(row("tls").ends_with("| yes |"));
    assert!(row("load_balancer.cookie.name").ends_with("| yes |"));
    assert!(row("labels.*[].*[].remote_address").ends_with("| yes |"));
    assert!(row("docs").ends_with("| no effect |"));
}
