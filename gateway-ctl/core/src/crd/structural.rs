//! JSON Schema to what `apiextensions.k8s.io/v1` calls structural: every value has one type or
//! none, nothing is referred to, and nothing is closed.

use serde_json::{Map, Value, json};

use super::UNTYPED;

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Keywords that mean the same on both sides, by type.
const KEPT: &[(&str, &[&str])] = &[
    ("object", &["required", "minProperties", "maxProperties"]),
    ("array", &["minItems", "maxItems"]),
    ("string", &["minLength", "maxLength", "pattern", "enum"]),
    ("integer", &["minimum", "maximum", "enum"]),
    ("number", &["minimum", "maximum", "enum"]),
];

/// The structural form of a schema that has everything in place.
pub(super) fn structural(schema: &Value) -> Value {
    let mut out = Map::new();
    if schema.get("description").is_some() {
        out.insert("description".to_owned(), description(schema).into());
    }
    if let Some(rules) = schema.get("x-kubernetes-validations") {
        out.insert("x-kubernetes-validations".to_owned(), rules.clone());
    }
    let Some(name) = single_type(schema) else {
        // Two types in one place, or any: only a value that is not looked into can be that.
        return match only_variant(schema) {
            Some(variant) => merged(out, structural(variant)),
            None => merged(out, json!({ PRESERVE: true })),
        };
    };
    out.insert("type".to_owned(), name.into());
    for key in KEPT.iter().filter(|(t, _)| *t == name).flat_map(|(_, keys)| *keys) {
        match schema.get(*key) {
            // Null is said by `nullable`.
            Some(Value::Array(values)) => {
                let values = values.iter().filter(|v| !v.is_null()).cloned().collect();
                out.insert((*key).to_owned(), Value::Array(values));
            }
            Some(value) => drop(out.insert((*key).to_owned(), value.clone())),
            None => {}
        }
    }
    match name {
        "integer" => bound(schema, &mut out),
        "array" => {
            let items = schema.get("items").map_or_else(|| json!({ PRESERVE: true }), structural);
            out.insert("items".to_owned(), items);
        }
        "object" => {
            let values = schema.get("additionalProperties").filter(|v| single_type(v).is_some());
            match (schema.get("properties"), values) {
                (None, Some(values)) => {
                    out.insert("additionalProperties".to_owned(), structural(values));
                }
                (fields, _) => {
                    out.insert(PRESERVE.to_owned(), true.into());
                    if let Some(Value::Object(fields)) = fields {
                        out.insert("properties".to_owned(), properties(schema, fields));
                    }
                }
            }
        }
        _ => {}
    }
    Value::Object(out)
}

fn properties(schema: &Value, fields: &Map<String, Value>) -> Value {
    let untyped = schema.get(UNTYPED).is_some();
    let required = |name: &str| match schema.get("required") {
        Some(Value::Array(names)) => names.iter().any(|n| n == name),
        _ => false,
    };
    let field = |(name, field): (&String, &Value)| {
        let mut out = if untyped {
            json!({ "description": description(field), PRESERVE: true })
        } else {
            structural(field)
        };
        // Explicit nulls are everywhere in users' files, and mean "absent".
        if !required(name) {
            out["nullable"] = true.into();
            without_enum(&mut out);
        }
        (name.clone(), out)
    };
    Value::Object(fields.iter().map(field).collect())
}

/// Says `enum` by other words: the API server refuses null where there is an `enum`, even one that
/// has null.
fn without_enum(schema: &mut Value) {
    let Some(Value::Array(values)) = schema.as_object_mut().and_then(|s| s.remove("enum")) else {
        return;
    };
    if schema["type"] == "string" {
        let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
        schema["pattern"] = format!("^({})$", texts.join("|")).into();
    } else {
        let numbers = || values.iter().filter_map(Value::as_i64);
        schema["minimum"] = numbers().min().into();
        schema["maximum"] = numbers().max().into();
    }
}

/// The description on one line.
pub(super) fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type, when there is one besides null.
pub(super) fn single_type(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => {
            let mut names = names.iter().filter_map(Value::as_str).filter(|n| *n != "null");
            names.next().filter(|_| names.next().is_none())
        }
        _ => None,
    }
}

/// Alternatives other than null.
pub(super) fn variants(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    lists.flatten().filter(|v| v.get("type") != Some(&json!("null")))
}

fn only_variant(schema: &Value) -> Option<&Value> {
    let mut variants = variants(schema);
    variants.next().filter(|_| variants.next().is_none())
}

fn merged(mut first: Map<String, Value>, second: Value) -> Value {
    if let Value::Object(second) = second {
        for (key, value) in second {
            first.entry(key).or_insert(value);
        }
    }
    Value::Object(first)
}

/// Formats of integers that the API server does not know become bounds.
fn bound(schema: &Value, out: &mut Map<String, Value>) {
    let (format, most) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (None, Some(u32::from(u8::MAX))),
        Some("uint16") => (None, Some(u32::from(u16::MAX))),
        Some("uint32") => (None, Some(u32::MAX)),
        Some(known @ ("int32" | "int64")) => (Some(known), None),
        _ => (None, None),
    };
    if let Some(format) = format {
        out.insert("format".to_owned(), format.into());
    }
    if let Some(most) = most {
        out.entry("maximum").or_insert(most.into());
    }
}
