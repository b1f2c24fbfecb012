//! The fields of a kind, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::structural::{description, single_type, variants};
use super::{Definition, SUPPORT};
use crate::kinds::{GROUP, KINDS, Reading};

/// The page about a kind.
pub(super) fn page(definition: &Definition) -> String {
    let spec = definition.spec_schema();
    let kind = definition.kind;
    let read = KINDS
        .iter()
        .any(|k| k.name == kind && !matches!(k.reading, Reading::NotYet | Reading::NotYetNotice));
    let versions = definition.versions.join("`, `");
    let mut page = format!("# {kind}\n\n{}\n\n", description(&spec));
    let _ = writeln!(page, "`{GROUP}`, versions `{versions}`.");
    if !read {
        page += "\nNot supported yet: objects are stored, and a diagnostic says so.\n";
    }
    page += "\n| field of `spec` | type | meaning | supported |\n|---|---|---|---|\n";
    rows(&spec, "", if read { "yes" } else { "not yet" }, &mut page);
    page
}

fn rows(schema: &Value, path: &str, support: &str, page: &mut String) {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
    };
    let Some(Value::Object(fields)) = schema.get("properties") else { return };
    for (name, field) in fields {
        let path = format!("{path}{name}");
        let support = field[SUPPORT].as_str().unwrap_or(support);
        let need = if required(name) { ", required" } else { "" };
        let _ = writeln!(
            page,
            "| `{path}` | {}{need} | {} | {support} |",
            type_of(field),
            description(field).replace('|', "\\|")
        );
        inner(field, &path, support, page);
    }
}

/// The rows of what is inside of a value.
fn inner(schema: &Value, path: &str, support: &str, page: &mut String) {
    match single_type(schema) {
        Some("array") => inner(&schema["items"], &format!("{path}[]"), support, page),
        Some("object") if schema.get("properties").is_some() => {
            rows(schema, &format!("{path}."), support, page);
        }
        Some("object") => {
            inner(&schema["additionalProperties"], &format!("{path}.*"), support, page);
        }
        Some(_) => {}
        None => variants(schema).for_each(|v| inner(v, path, support, page)),
    }
}

fn type_of(schema: &Value) -> String {
    match single_type(schema) {
        Some("boolean") => "true or false".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("array") => format!("list of {}", type_of(&schema["items"])),
        Some("object") if schema.get("properties").is_some() => "object".to_owned(),
        Some("object") => match schema.get("additionalProperties") {
            Some(values) if single_type(values).is_some() || variants(values).next().is_some() => {
                format!("map of {}", type_of(values))
            }
            _ => "object".to_owned(),
        },
        Some("string") => match schema["enum"].as_array() {
            None => "text".to_owned(),
            Some(values) => {
                let values = values.iter().filter_map(Value::as_str).filter(|v| !v.is_empty());
                values.map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ")
            }
        },
        Some(other) => other.to_owned(),
        None => {
            let types: Vec<String> = variants(schema).map(type_of).collect();
            if types.is_empty() { "any".to_owned() } else { types.join(" or ") }
        }
    }
}
