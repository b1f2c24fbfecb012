//! The fields of a kind, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::structural::{description, single_type, variants};
use super::{Definition, SUPPORT};
use crate::kinds::{GROUP, KINDS, Kind, Reading};

/// The page that leads to the others.
pub(super) fn index(definitions: &[Definition]) -> String {
    let mut page = "# Reference\n\n\
        The fields of every resource, as its CustomResourceDefinition has them. \
        `gateway-ctl crds | kubectl apply --server-side -f -` installs those; in the place of \
        Emissary's or Edge Stack's put them with `kubectl replace -f -`, since an apply may leave \
        the conversion webhook of those, which then makes them wrong.\n\n| kind | what it is | supported |\n|---|---|---|\n"
        .to_owned();
    for definition in definitions {
        let kind = definition.kind;
        let what = description(&definition.spec_schema());
        let support = support(definition);
        let _ = writeln!(page, "| [{kind}]({}.md) | {what} | {support} |", kind.to_lowercase());
    }
    page
}

/// Whether objects of a kind have an effect, in a word.
fn support(definition: &Definition) -> &'static str {
    let is_it = |k: &&Kind| k.group == GROUP && k.name == definition.kind;
    match KINDS.iter().find(is_it).map(|k| k.reading) {
        None | Some(Reading::NotYet) => "not yet",
        Some(Reading::NoEffect(_)) => "no effect",
        Some(_) => "yes",
    }
}

/// The page about a kind.
pub(super) fn page(definition: &Definition) -> String {
    let spec = definition.spec_schema();
    let kind = definition.kind;
    let support = support(definition);
    let versions = definition.versions.join("`, `");
    let mut page = format!("# {kind}\n\n{}\n\n", description(&spec));
    let _ = writeln!(page, "`{GROUP}`, versions `{versions}`.");
    if support == "not yet" {
        page += "\nNot supported yet: objects are stored, and a diagnostic says so.\n";
    }
    page += "\n| field of `spec` | type | meaning | supported |\n|---|---|---|---|\n";
    rows(&spec, "", support, &mut page);
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

/// The type in words.
fn type_of(schema: &Value) -> String {
    match single_type(schema) {
        Some("boolean") => "true or false".to_owned(),
        Some("integer" | "number") => "number".to_owned(),
        Some("array") => format!("list of {}", types_of(&schema["items"])),
        Some("object") => match schema.get("additionalProperties") {
            Some(values) if types_of(values) != ANY && schema.get("properties").is_none() => {
                format!("map of {}", types_of(values))
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
            if types.is_empty() { ANY.to_owned() } else { types.join(" or ") }
        }
    }
}

const ANY: &str = "any";

/// The type in words, of several.
fn types_of(schema: &Value) -> String {
    let many = |one: &str| match one {
        "text" | "number" | "object" => format!("{one}s"),
        other => other.replacen("list of", "lists of", 1).replacen("map of", "maps of", 1),
    };
    let words = type_of(schema);
    words.split(" or ").map(many).collect::<Vec<_>>().join(" or ")
}
