//! The message `RateLimitConfig` that control planes send, as the file that says the same: so one
//! reader checks both.

use prost_types::value::Kind as Json;
use prost_types::{Struct, Value};
use proto::ratelimit::config::ratelimit::v3::{
    RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitUnit,
};
use service_kit::yaml::{Kind, Node as Yaml};

/// The file that says what `message` says; nothing of it has a line.
pub(super) fn file(message: &RateLimitConfig) -> Yaml {
    mapping([
        ("domain", Some(text(&message.domain))),
        ("descriptors", Some(list(&message.descriptors, descriptor))),
    ])
}

fn descriptor(message: &RateLimitDescriptor) -> Yaml {
    mapping([
        ("key", Some(text(&message.key))),
        ("value", Some(text(&message.value))),
        ("rate_limit", message.rate_limit.as_ref().map(rate_limit)),
        ("descriptors", Some(list(&message.descriptors, descriptor))),
        ("shadow_mode", Some(plain(message.shadow_mode))),
        ("detailed_metric", Some(plain(message.detailed_metric))),
        ("quota_mode", Some(plain(message.quota_mode))),
        ("metadata", message.metadata.as_ref().map(object)),
    ])
}

fn rate_limit(message: &RateLimitPolicy) -> Yaml {
    let unit = RateLimitUnit::try_from(message.unit)
        .map_or_else(|_| message.unit.to_string(), |unit| unit.as_str_name().to_owned());
    mapping([
        ("unit", Some(text(&unit))),
        ("requests_per_unit", Some(plain(message.requests_per_unit))),
        ("unlimited", Some(plain(message.unlimited))),
        ("name", Some(text(&message.name))),
        (
            "replaces",
            Some(list(&message.replaces, |replaced| {
                mapping([("name", Some(text(&replaced.name)))])
            })),
        ),
    ])
}

fn object(message: &Struct) -> Yaml {
    let entries = message.fields.iter().map(|(key, value)| (text(key), json(value)));
    node(Kind::Mapping(entries.collect()))
}

fn json(value: &Value) -> Yaml {
    match &value.kind {
        None | Some(Json::NullValue(_)) => plain("~"),
        Some(Json::BoolValue(b)) => plain(b),
        Some(Json::NumberValue(n)) if n.is_nan() => plain(".nan"),
        Some(Json::NumberValue(n)) if n.is_infinite() => plain(".inf"),
        Some(Json::NumberValue(n)) => plain(n),
        Some(Json::StringValue(s)) => text(s),
        Some(Json::StructValue(s)) => object(s),
        Some(Json::ListValue(l)) => list(&l.values, json),
    }
}

fn mapping<const N: usize>(entries: [(&str, Option<Yaml>); N]) -> Yaml {
    let said = entries.into_iter().filter_map(|(key, value)| Some((text(key), value?)));
    node(Kind::Mapping(said.collect()))
}

fn list<T>(items: &[T], each: impl Fn(&T) -> Yaml) -> Yaml {
    node(Kind::Sequence(items.iter().map(each).collect()))
}

fn text(text: &str) -> Yaml {
    node(Kind::Scalar { text: text.to_owned(), plain: false })
}

fn plain(value: impl ToString) -> Yaml {
    node(Kind::Scalar { text: value.to_string(), plain: true })
}

const fn node(kind: Kind) -> Yaml {
    Yaml { line: 0, kind }
}
