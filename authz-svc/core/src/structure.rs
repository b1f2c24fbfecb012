//! `google.protobuf.Struct` as JSON.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::{Map, Value as Json};

/// The same as JSON.
pub(crate) fn to_json(structure: Struct) -> Map<String, Json> {
    structure.fields.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn json(value: Value) -> Json {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::NumberValue(number)) => {
            serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number)
        }
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json).collect()),
        Some(Kind::StructValue(inner)) => Json::Object(to_json(inner)),
    }
}
