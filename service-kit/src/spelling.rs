//! What a name that nothing has was meant to be. It knows neither objects nor diagnostics.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// Longest name that is compared letter by letter, in bytes: what is compared may be anybody's.
const LONGEST: usize = 64;

/// The one of `known` that `written` is but for case and joints, or but for a letter in four.
pub fn meant<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > LONGEST {
        return None;
    }
    let written = plain(written);
    let distance = |known: &str| strsim::damerau_levenshtein(&written, &plain(known));
    let nearest = known.into_iter().map(|known| (distance(known), known)).min()?;
    (nearest.0 <= written.len() / 4).then_some(nearest.1)
}

fn plain(text: &str) -> String {
    text.replace(['_', '-'], "").to_ascii_lowercase()
}

/// The next step for who wrote a field that `T` does not have at `path`, as `serde_ignored` gives it
/// (`limits.0.?.rat`): the field that was meant, or else `otherwise`.
pub fn hint<T: JsonSchema + 'static>(path: &str, otherwise: &str) -> String {
    meant_field::<T>(path)
        .map_or_else(|| otherwise.to_owned(), |meant| format!("did you mean `{meant}`?"))
}

/// The field of `T` that was meant at `path`.
fn meant_field<T: JsonSchema + 'static>(path: &str) -> Option<String> {
    let steps: Vec<&str> = path.split('.').filter(|s| !s.is_empty() && *s != "?").collect();
    let (written, parents) = steps.split_last()?;
    let schema = schema::<T>();
    let mut fields = Vec::new();
    collect_fields(&schema, parents, &mut fields);
    meant(written, fields).map(str::to_owned)
}

/// The schema of `T` with everything in place; each is made once.
fn schema<T: JsonSchema + 'static>() -> Arc<Value> {
    static MADE: LazyLock<Mutex<HashMap<TypeId, Arc<Value>>>> = LazyLock::new(Mutex::default);
    let make = || {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        Arc::new(settings.into_generator().into_root_schema_for::<T>().to_value())
    };
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(TypeId::of::<T>()).or_insert_with(make).clone()
}

/// Adds the names of the fields that the schema has below `steps`.
fn collect_fields<'s>(schema: &'s Value, steps: &[&str], fields: &mut Vec<&'s str>) {
    for variants in ["anyOf", "oneOf", "allOf"] {
        for variant in schema[variants].as_array().into_iter().flatten() {
            collect_fields(variant, steps, fields);
        }
    }
    let properties = schema["properties"].as_object();
    let Some((step, rest)) = steps.split_first() else {
        fields.extend(properties.into_iter().flatten().map(|(name, _)| name.as_str()));
        return;
    };
    let below = [properties.and_then(|p| p.get(*step)), schema.get("items")];
    for schema in below.into_iter().flatten().chain(schema.get("additionalProperties")) {
        collect_fields(schema, rest, fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn names_are_meant_but_for_case_joints_and_a_letter_in_four() {
        let known = ["hostname", "tlsSecret", "rewrite", "host_redirect"];
        for (written, expected) in [
            ("hosname", Some("hostname")),
            ("tls_secret", Some("tlsSecret")),
            ("hostRedirect", Some("host_redirect")),
            ("rewrtie", Some("rewrite")),
            ("write", None),
            ("colour", None),
            ("", None),
            (&"hostname".repeat(9), None),
        ] {
            assert_eq!(meant(written, known), expected, "{written}");
        }
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Outer {
        by_name: Option<BTreeMap<String, Vec<Inner>>>,
        one: Option<Inner>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Inner {
        weight: u32,
    }

    #[test]
    fn fields_are_looked_for_where_they_stand() {
        for (path, expected) in [
            ("one.?.wieght", Some("weight")),
            ("by_name.?.any.0.weigth", Some("weight")),
            ("byName", Some("by_name")),
            ("weight", None),
            ("one.?.other", None),
        ] {
            assert_eq!(meant_field::<Outer>(path).as_deref(), expected, "{path}");
        }
    }
}
