//! From the intermediate form to Envoy's messages. Knows no resource and decides nothing.

mod access_log;
pub mod cluster;
pub mod filter;
pub mod listener;
pub mod route;
pub mod secret;
pub mod table;
pub mod tls;

use prost::Message;
use prost_types::{Any, Duration};
use proto::envoy::config::core::v3 as core;
use proto::envoy::r#type::matcher::v3 as matcher;
use sha2::{Digest, Sha256};

/// A hash of encoded content, as a resource's version.
pub fn version(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The first half of a hash in hex.
pub fn hex(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(32);
    for byte in hash.iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A message in an `Any`.
fn any(message_name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{message_name}"), value: message.encode_to_vec() }
}

fn milliseconds(ms: u64) -> Duration {
    Duration {
        seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
    }
}

/// Programs up to this size pass Envoy's own limit of 100 whatever our estimate is worth.
const SMALL_REGEX: usize = 60;

/// A pattern. Sizes were checked against the Module's limit; Envoy's own is lower, and the field
/// that raises it is deprecated, so it is set only where it is needed.
fn regex(pattern: &str) -> matcher::RegexMatcher {
    let small = crate::syntax::regex::check(pattern).is_ok_and(|size| size <= SMALL_REGEX);
    #[allow(deprecated)]
    let engine = matcher::regex_matcher::EngineType::GoogleRe2(matcher::regex_matcher::GoogleRe2 {
        max_program_size: Some(u32::MAX),
    });
    matcher::RegexMatcher { regex: pattern.to_owned(), engine_type: (!small).then_some(engine) }
}

fn exact(text: &str) -> matcher::StringMatcher {
    string(matcher::string_matcher::MatchPattern::Exact(text.to_owned()), false)
}

fn string(
    pattern: matcher::string_matcher::MatchPattern,
    ignore_case: bool,
) -> matcher::StringMatcher {
    matcher::StringMatcher { ignore_case, match_pattern: Some(pattern) }
}

fn socket_address(host: &str, port: u16) -> core::Address {
    core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
            ..core::SocketAddress::default()
        })),
    }
}

/// "Over the one stream that everything comes by."
fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource {},
        )),
        ..core::ConfigSource::default()
    }
}

fn percent(numerator: u32) -> proto::envoy::r#type::v3::FractionalPercent {
    proto::envoy::r#type::v3::FractionalPercent { numerator, denominator: 0 }
}

/// JSON as a message.
fn structure(object: &serde_json::Map<String, serde_json::Value>) -> prost_types::Struct {
    prost_types::Struct {
        fields: object.iter().map(|(name, v)| (name.clone(), value(v))).collect(),
    }
}

fn value(json: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(b) => Kind::BoolValue(*b),
        Json::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(value).collect() })
        }
        Json::Object(object) => Kind::StructValue(structure(object)),
    };
    prost_types::Value { kind: Some(kind) }
}
