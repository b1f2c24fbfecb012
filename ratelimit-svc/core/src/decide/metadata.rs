//! `RESPONSE_DYNAMIC_METADATA`: the request and the metadata of its limits, for Envoy's logs and
//! filters.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use serde_json::{Map, Value as Json};

use super::Decided;
use crate::limit::Unit;
use crate::plan::Matched;
use crate::request::{Descriptor, Request};

pub(super) fn add(
    response: &mut RateLimitResponse,
    request: &Request<'_>,
    decided: &[Decided<'_>],
) {
    let mut fields = BTreeMap::new();
    fields.insert("domain".to_owned(), text(request.domain));
    fields.insert(
        "descriptors".to_owned(),
        list(request.descriptors.iter().map(|d| descriptor(request, d))),
    );
    if request.hits_addend != 0 {
        fields.insert("hitsAddend".to_owned(), number(f64::from(request.hits_addend)));
    }
    let mut merged = Map::new();
    for (d, matched) in decided.iter().filter_map(|d| Some((d, d.matched()?))) {
        if let (Code::Ok, Matched::Tree(tree)) = (d.code, matched)
            && let Some(metadata) = &tree.metadata
        {
            merge(&mut merged, metadata);
        }
    }
    if !merged.is_empty() {
        fields.insert("metadata".to_owned(), value(&Json::Object(merged)));
    }
    let own = response.dynamic_metadata.get_or_insert_default();
    own.fields.extend(fields);
}

/// Who wrote first wins; only mappings are merged.
fn merge(into: &mut Map<String, Json>, from: &Map<String, Json>) {
    for (key, new) in from {
        match (into.get_mut(key), new) {
            (None, new) => {
                into.insert(key.clone(), new.clone());
            }
            (Some(Json::Object(old)), Json::Object(new)) => merge(old, new),
            _ => {}
        }
    }
}

fn descriptor(request: &Request<'_>, descriptor: &Descriptor) -> Value {
    let mut fields = BTreeMap::new();
    let entries =
        request.entries(descriptor).iter().map(|e| text(&format!("{}={}", e.key, e.value)));
    fields.insert("entries".to_owned(), list(entries));
    if let Some(own) = &descriptor.limit {
        let unit = Unit::from_number(own.unit)
            .map_or("UNKNOWN".to_owned(), |u| format!("{u:?}").to_uppercase());
        let shown = format!("requests_per_unit:{} unit:{unit}", own.requests_per_unit);
        fields.insert("limit".to_owned(), text(&shown));
    }
    if let Some(hits) = descriptor.hits_addend {
        #[allow(clippy::cast_precision_loss)] // a Struct has no other numbers
        fields.insert("hitsAddend".to_owned(), number(hits as f64));
    }
    Value { kind: Some(Kind::StructValue(Struct { fields })) }
}

pub(super) fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

pub(super) fn number(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

fn list(values: impl Iterator<Item = Value>) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values: values.collect() })) }
}

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(*b),
        Json::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Json::String(s) => Kind::StringValue(s.clone()),
        Json::Array(items) => return list(items.iter().map(value)),
        Json::Object(map) => Kind::StructValue(Struct {
            fields: map.iter().map(|(k, v)| (k.clone(), value(v))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
