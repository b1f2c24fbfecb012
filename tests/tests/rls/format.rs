//! Requests and answers in the notation of the cases.

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use serde_json::Value;

/// `domain | k=v,k2=v2 | k=v`, or the long form with `domain`, `d` and `hits`.
pub(crate) fn request(spec: &Value, hits: &Value) -> RateLimitRequest {
    let (domain, descriptors, own_hits) = match spec {
        Value::String(text) => {
            let mut parts = text.split('|').map(str::trim);
            let domain = parts.next().unwrap_or_default().to_owned();
            (domain, parts.filter(|p| !p.is_empty()).map(Value::from).collect(), Value::Null)
        }
        long => (
            long["domain"].as_str().unwrap_or_default().to_owned(),
            long["d"].as_array().cloned().unwrap_or_default(),
            long["hits"].clone(),
        ),
    };
    let hits = hits.as_u64().or_else(|| own_hits.as_u64()).unwrap_or(0);
    RateLimitRequest {
        domain,
        descriptors: descriptors.iter().map(descriptor).collect(),
        hits_addend: u32::try_from(hits).unwrap(),
    }
}

fn descriptor(spec: &Value) -> RateLimitDescriptor {
    let long = spec.is_object();
    let spec_entries = if long { &spec["e"] } else { spec };
    let limit = spec["limit"].as_str().map(|text| {
        let (number, unit) = text.split_once('/').unwrap();
        RateLimitOverride {
            requests_per_unit: number.parse().unwrap(),
            unit: Unit::from_str_name(&unit.to_uppercase()).unwrap().into(),
            unit_multiplier: None,
        }
    });
    RateLimitDescriptor {
        entries: entries(spec_entries),
        limit,
        hits_addend: spec["hits"].as_u64(),
        is_negative_hits: spec["neg"] == true,
    }
}

fn entries(spec: &Value) -> Vec<Entry> {
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
    match spec {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => text
            .split(',')
            .map(|pair| pair.split_once('=').map_or_else(|| entry(pair, ""), |(k, v)| entry(k, v)))
            .collect(),
        list => list
            .as_array()
            .into_iter()
            .flatten()
            .map(|pair| entry(&e2e::cases::text(&pair[0]), &e2e::cases::text(&pair[1])))
            .collect(),
    }
}

/// `CODE REMAINING LIMIT/UNIT NAME`, or `-` for no limit.
pub(crate) fn status(status: &DescriptorStatus) -> String {
    let limit = status.current_limit.as_ref().map_or_else(
        || "-".to_owned(),
        |limit| {
            let unit = Unit::try_from(limit.unit).unwrap().as_str_name();
            let text = format!("{}/{unit}", limit.requests_per_unit);
            if limit.name.is_empty() { text } else { format!("{text} {}", limit.name) }
        },
    );
    format!("{} {} {limit}", code(status.code), status.limit_remaining)
}

/// The name of a code.
pub(crate) fn code(number: i32) -> &'static str {
    Code::try_from(number).unwrap().as_str_name()
}

/// The length of a unit in seconds, by any case of its name.
pub(crate) fn seconds(unit: &str) -> u64 {
    match unit.to_lowercase().as_str() {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        "month" => 2_592_000,
        "year" => 31_536_000,
        other => panic!("no unit {other}"),
    }
}

/// Seconds to the end of the window around now.
pub(crate) fn to_reset(unit: &str) -> u64 {
    seconds(unit) - now() % seconds(unit)
}

/// Whether `found` may be the seconds to the end of the window: a second may have passed since.
pub(crate) fn is_near_reset(found: i64, unit: &str) -> bool {
    let found = u64::try_from(found).unwrap_or_default();
    let left = to_reset(unit);
    found.abs_diff(left) <= 1
        || (left <= 1 || left >= seconds(unit) - 1) && found.abs_diff(seconds(unit)) <= 1
}

/// Seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// `{hour}` and its like become the start of the window around now.
pub(crate) fn key(template: &str) -> String {
    ["second", "minute", "hour", "day", "week", "month", "year"].iter().fold(
        template.to_owned(),
        |key, unit| {
            key.replace(&format!("{{{unit}}}"), &(now() - now() % seconds(unit)).to_string())
        },
    )
}

/// Headers for the client.
pub(crate) fn headers(response: &RateLimitResponse) -> Vec<(String, String)> {
    response.response_headers_to_add.iter().map(|h| (h.key.clone(), h.value.clone())).collect()
}
