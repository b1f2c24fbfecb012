//! What an API server checks of an object, as far as our schemas ask for it; not the rules in CEL.

use regex::Regex;
use serde_json::Value;

/// What is wrong with `value`, and where.
pub(crate) fn faults(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let mut fault = |what: &str| found.push(format!("{path}: {what}, got {value}"));
    let of_type = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("{path}: unknown type {other}"),
    };
    if !of_type {
        return fault(&format!("must be {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        fault(&format!("must be one of {}", schema["enum"]));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !Regex::new(pattern).unwrap().is_match(text)
    {
        fault(&format!("must match {pattern}"));
    }
    let size = match value {
        Value::String(text) => Some(("minLength", text.chars().count())),
        Value::Array(items) => Some(("minItems", items.len())),
        Value::Object(fields) => Some(("minProperties", fields.len())),
        _ => None,
    };
    if let Some((key, size)) = size
        && schema[key].as_u64().is_some_and(|least| (size as u64) < least)
    {
        fault(&format!("{key} {}", schema[key]));
    }
    if let Some(number) = value.as_f64() {
        if schema["minimum"].as_f64().is_some_and(|least| number < least) {
            fault(&format!("at least {}", schema["minimum"]));
        }
        if schema["maximum"].as_f64().is_some_and(|most| number > most) {
            fault(&format!("at most {}", schema["maximum"]));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            fault(&format!("needs {name}"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let schema = schema["properties"].get(name).or(schema.get("additionalProperties"));
        if let Some(schema) = schema {
            faults(schema, field, &format!("{path}.{name}"), found);
        }
    }
    if let Some(schema) = schema.get("items") {
        for (i, item) in value.as_array().into_iter().flatten().enumerate() {
            faults(schema, item, &format!("{path}[{i}]"), found);
        }
    }
}
