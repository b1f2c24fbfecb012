//! Fields that are not read, by kind, and forms that several kinds share.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use service_kit::{Diagnostics, Object, Reason, Severity};

use crate::crd::SUPPORT;

/// What happens to an object with a field that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The field never had an effect; it is accepted.
    NoEffect,
    /// A notice: it has no effect, and this is what to do instead.
    Elsewhere(&'static str),
    /// An error; the object lives without the field, and this is what to do instead.
    Without(&'static str),
    /// An error; without the field traffic could go where it must not, in the clear, or past a
    /// check, so the object is not in force.
    LeftOut,
}

/// The fields of a kind that are not read.
pub type Unread = &'static [(&'static str, Treatment)];

/// Takes the fields that are not read out of `spec` (at `path`) and says so. `false` when the
/// object cannot live without one of them.
pub fn strip(
    kind: &str,
    path: &str,
    spec: &mut Value,
    unread: Unread,
    found: &mut Diagnostics<'_>,
) -> bool {
    let Some(map) = spec.as_object_mut() else { return true };
    let mut lives = true;
    for (field, treatment) in unread {
        let Some(value) = map.remove(*field) else { continue };
        if *treatment == Treatment::NoEffect || is_unset(&value) {
            continue;
        }
        if let Treatment::Elsewhere(advice) = treatment {
            found.notice(format!("{path}.{field}"), "it has no effect here").hint(*advice);
            continue;
        }
        let message = format!("not supported yet: {kind}.{field}");
        let hint = match treatment {
            Treatment::LeftOut => {
                "without it the object would do something else than it says, so it is not in force; remove the field"
            }
            Treatment::Without(advice) => advice,
            _ => "remove the field",
        };
        found.error(format!("{path}.{field}"), message).hint(hint).reason(Reason::NotSupported);
        lives &= *treatment != Treatment::LeftOut;
    }
    lives
}

/// Whether a value is the zero value that converted objects are full of.
pub fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Number(_) => false,
    }
}

/// Reads `spec` (the object's own, after changes) into `T`: wrong types are errors, unknown
/// fields warnings.
pub fn read<T: DeserializeOwned + JsonSchema + 'static>(
    object: &Object,
    spec: Value,
    found: &mut Diagnostics<'_>,
) -> Option<T> {
    let read = Object {
        api_version: object.api_version.clone(),
        reference: object.reference.clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        generation: object.generation,
        uid: String::new(),
        json: Value::Object([("spec".to_owned(), spec)].into_iter().collect()),
        status: Value::Null,
        source: None,
    };
    read.read_spec(Severity::Warning, found)
}

/// The schema of a `spec` that is read as `R` and has fields of `U` that are not.
pub fn schema<R: JsonSchema, U: JsonSchema>(
    generator: &mut SchemaGenerator,
    unread: Unread,
) -> Schema {
    let mut schema = R::json_schema(generator);
    add_fields::<U>(&mut schema, generator, |field| {
        // Read with what all kinds have in common.
        if field == "ambassador_id" {
            return "yes";
        }
        match unread.iter().find(|(name, _)| *name == field) {
            Some((_, Treatment::NoEffect | Treatment::Elsewhere(_))) => "no effect",
            _ => "not yet",
        }
    });
    schema
}

/// Adds the fields of `U` to `schema`, with what `support` says of them.
pub fn add_fields<U: JsonSchema>(
    schema: &mut Schema,
    generator: &mut SchemaGenerator,
    support: impl Fn(&str) -> &'static str,
) {
    let mut more = U::json_schema(generator);
    let Some(Value::Object(more)) = more.remove("properties") else { return };
    let all = schema.ensure_object().entry("properties").or_insert_with(|| json!({}));
    let Some(all) = all.as_object_mut() else { return };
    for (name, mut field) in more {
        if !field.is_object() {
            field = json!({});
        }
        field[SUPPORT] = support(&name).into();
        all.insert(name, field);
    }
}

/// One text or a list of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "OneOrMany")]
pub struct Texts(pub Vec<String>);

/// What [`Texts`] looks like.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_unit<E>(self) -> Result<Texts, E> {
                Ok(Texts::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Milliseconds, at most about 24 days, so that no sum of them overflows. `None` when it is wrong.
pub fn milliseconds(
    value: Option<u64>,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Option<u64>> {
    match value {
        Some(ms) if ms > u64::from(u32::MAX >> 1) => {
            found.error(path, "longer than a timeout can be").hint("at most 2147483647 (24 days)");
            None
        }
        other => Some(other),
    }
}
