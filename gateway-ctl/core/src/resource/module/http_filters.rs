//! Filters that the Module asks for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service_kit::Diagnostics;

use crate::ir::listener::{AddressRange, AddressRule, GrpcStats, Gzip, ModuleFilters};
use crate::resource::error_page::{self, ErrorPageSpec};
use crate::resource::fields;

/// Longest script, in bytes.
const MAX_SCRIPT: usize = 128 << 10;
/// Most ranges of addresses.
const MAX_RANGES: usize = 10_000;

/// Their settings, as part of `spec.config`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Raw {
    /// Whether HTTP/1.1 clients may speak to gRPC services. Default: false.
    enable_grpc_http11_bridge: Option<bool>,
    /// Whether gRPC-Web clients may speak to gRPC services. Default: false.
    enable_grpc_web: Option<bool>,
    /// Statistics of gRPC calls.
    grpc_stats: Option<GrpcStatsSpec>,
    /// A Lua script that sees every request.
    lua_scripts: Option<String>,
    /// Compresses answers.
    gzip: Option<GzipSpec>,
    /// Buffers whole requests.
    buffer: Option<BufferSpec>,
    /// Addresses that may come in, as `peer: CIDR` (the other end of the connection) or
    /// `remote: CIDR` (the client behind trusted proxies); all others may not.
    ip_allow: Option<Vec<BTreeMap<String, String>>>,
    /// Addresses that may not come in, as `peer: CIDR` or `remote: CIDR`; not with `ip_allow`.
    ip_deny: Option<Vec<BTreeMap<String, String>>>,
    /// Other bodies for errors, whether a service or the gateway answers. Other headers of the
    /// answer are not kept.
    error_response_overrides: Option<Vec<ErrorPageSpec>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct GrpcStatsSpec {
    /// Whether all methods have statistics; their names are as clients send them, so only for
    /// clients that are trusted. No effect beside `services`. Default: false.
    all_methods: Option<bool>,
    /// Services and methods that have statistics.
    services: Option<Vec<GrpcServiceSpec>>,
    /// Whether the time of services is counted. Default: false.
    upstream_stats: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct GrpcServiceSpec {
    /// As in `package.Service`.
    name: String,
    /// Its methods.
    method_names: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct GzipSpec {
    /// Memory for the state, 1 to 9. Default: Envoy's, 5.
    memory_level: Option<u32>,
    /// Shorter answers are left as they are, in bytes. Default: Envoy's, 30.
    min_content_length: Option<u32>,
    /// `DEFAULT`, `SPEED` or `BEST`. Default: `DEFAULT`.
    compression_level: Option<String>,
    /// `DEFAULT`, `FILTERED`, `HUFFMAN`, `RLE` or `FIXED`. Default: `DEFAULT`.
    compression_strategy: Option<String>,
    /// Size of the window in bits, 9 to 15. Default: Envoy's, 12.
    window_bits: Option<u32>,
    /// Types of answers that are compressed. Default: Envoy's, of text and the like.
    content_type: Option<Vec<String>>,
    /// Whether answers with an `etag` are left as they are. Default: false.
    disable_on_etag_header: Option<bool>,
    /// Whether services do not see `accept-encoding`. Default: false.
    remove_accept_encoding_header: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct BufferSpec {
    /// Largest request, in bytes; larger ones are answered 413.
    max_request_bytes: Option<u32>,
    /// Has no effect.
    #[schemars(extend("x-support" = "no effect"))]
    max_request_time: Option<u64>,
}

/// Their keys of `spec.config`.
pub(super) const KEYS: &[&str] = &[
    "enable_grpc_http11_bridge",
    "enable_grpc_web",
    "grpc_stats",
    "lua_scripts",
    "gzip",
    "buffer",
    "ip_allow",
    "ip_deny",
    "error_response_overrides",
];

/// Whether the settings say who may come in.
pub(super) fn is_guarded(config: &Value) -> bool {
    let given = |key| config.get(key).is_some_and(|value| !fields::is_unset(value));
    given("ip_allow") || given("ip_deny")
}

/// The filters, and why everything is refused when who may come in cannot be told.
pub(super) fn read(
    raw: &Raw,
    found: &mut Diagnostics<'_>,
) -> (Option<ModuleFilters>, Option<String>) {
    let addresses = addresses(raw, found);
    let closed = addresses.as_ref().err().cloned();
    let lua = raw.lua_scripts.clone().filter(|s| !s.trim().is_empty());
    let mut good = true;
    if lua.as_ref().is_some_and(|s| s.len() > MAX_SCRIPT) {
        found.error("spec.config.lua_scripts", "longer than 128 KiB");
        good = false;
    }
    let gzip = raw.gzip.as_ref().map(|g| gzip(g, found));
    let buffer = raw.buffer.as_ref().map(|b| buffer(b, found));
    good &= gzip.as_ref().is_none_or(Option::is_some) && buffer.is_none_or(|b| b.is_some());
    let filters = good.then(|| ModuleFilters {
        grpc_http1_bridge: raw.enable_grpc_http11_bridge == Some(true),
        grpc_web: raw.enable_grpc_web == Some(true),
        grpc_stats: raw.grpc_stats.as_ref().map(|s| grpc_stats(s, found)),
        lua,
        gzip: gzip.flatten(),
        buffer: buffer.flatten(),
        addresses: addresses.ok().flatten(),
        error_pages: error_page::read(
            raw.error_response_overrides.as_deref().unwrap_or_default(),
            "spec.config.error_response_overrides",
            found,
        ),
        own_error_pages: false,
    });
    (filters, closed)
}

fn grpc_stats(spec: &GrpcStatsSpec, found: &mut Diagnostics<'_>) -> GrpcStats {
    let listed = spec.services.as_deref().unwrap_or_default();
    let all = spec.all_methods == Some(true) && spec.services.is_none();
    if spec.all_methods == Some(true) && !all {
        found
            .warning("spec.config.grpc_stats.all_methods", "services counts, this has no effect")
            .hint("keep one of them");
    }
    let services = listed.iter().filter(|s| !s.name.is_empty());
    let services = services.map(|s| (s.name.clone(), s.method_names.clone())).collect();
    GrpcStats { services: (!all).then_some(services), upstream: spec.upstream_stats == Some(true) }
}

fn gzip(spec: &GzipSpec, found: &mut Diagnostics<'_>) -> Option<Gzip> {
    let mut within = |value: Option<u32>, field: &str, from: u32, to: u32| {
        let good = value.is_none_or(|v| (from..=to).contains(&v));
        if !good {
            found.error(format!("spec.config.gzip.{field}"), format!("not from {from} to {to}"));
        }
        good
    };
    let good = within(spec.memory_level, "memory_level", 1, 9)
        & within(spec.window_bits, "window_bits", 9, 15);
    let mut word = |text: &Option<String>, field: &str, known: &[(&str, i32)]| {
        let Some(text) = text.as_deref().filter(|t| !t.is_empty()) else { return Some(0) };
        let number = known.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        if number.is_none() {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            found
                .error(format!("spec.config.gzip.{field}"), format!("unknown word `{text}`"))
                .hint(format!("use one of {}", names.join(", ")));
        }
        number
    };
    let level = word(&spec.compression_level, "compression_level", LEVELS);
    let strategy = word(&spec.compression_strategy, "compression_strategy", STRATEGIES);
    let (level, strategy) = (level?, strategy?);
    good.then(|| Gzip {
        memory_level: spec.memory_level,
        window_bits: spec.window_bits,
        level,
        strategy,
        min_content_length: spec.min_content_length,
        content_type: spec.content_type.clone().unwrap_or_default(),
        disable_on_etag_header: spec.disable_on_etag_header == Some(true),
        remove_accept_encoding_header: spec.remove_accept_encoding_header == Some(true),
    })
}

/// Emissary's words and Envoy's, with the numbers of `Gzip.CompressionLevel`.
const LEVELS: &[(&str, i32)] = &[
    ("DEFAULT", 0),
    ("SPEED", 1),
    ("BEST", 9),
    ("DEFAULT_COMPRESSION", 0),
    ("BEST_SPEED", 1),
    ("BEST_COMPRESSION", 9),
    ("COMPRESSION_LEVEL_1", 1),
    ("COMPRESSION_LEVEL_2", 2),
    ("COMPRESSION_LEVEL_3", 3),
    ("COMPRESSION_LEVEL_4", 4),
    ("COMPRESSION_LEVEL_5", 5),
    ("COMPRESSION_LEVEL_6", 6),
    ("COMPRESSION_LEVEL_7", 7),
    ("COMPRESSION_LEVEL_8", 8),
    ("COMPRESSION_LEVEL_9", 9),
];

/// As [`LEVELS`], of `Gzip.CompressionStrategy`.
const STRATEGIES: &[(&str, i32)] = &[
    ("DEFAULT", 0),
    ("FILTERED", 1),
    ("HUFFMAN", 2),
    ("RLE", 3),
    ("FIXED", 4),
    ("DEFAULT_STRATEGY", 0),
    ("HUFFMAN_ONLY", 2),
];

fn buffer(spec: &BufferSpec, found: &mut Diagnostics<'_>) -> Option<u32> {
    if spec.max_request_time.is_some_and(|t| t > 0) {
        found.notice("spec.config.buffer.max_request_time", "it has no effect").hint("remove it");
    }
    let bytes = spec.max_request_bytes.filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        found
            .error("spec.config.buffer.max_request_bytes", "the largest request is missing")
            .hint("say how many bytes a request may have, as in 1048576");
    }
    bytes
}

/// Who may come in; an error closes everything, for it is not known who must not.
fn addresses(raw: &Raw, found: &mut Diagnostics<'_>) -> Result<Option<AddressRule>, String> {
    let allow = raw.ip_allow.as_deref().filter(|list| !list.is_empty());
    let deny = raw.ip_deny.as_deref().filter(|list| !list.is_empty());
    let (allow, field, list) = match (allow, deny) {
        (None, None) => return Ok(None),
        (Some(list), None) => (true, "ip_allow", list),
        (None, Some(list)) => (false, "ip_deny", list),
        (Some(_), Some(_)) => {
            found
                .error("spec.config.ip_deny", "ip_allow and ip_deny exclude each other")
                .hint("every request is refused until one of them is removed");
            return Err("Module has both ip_allow and ip_deny".to_owned());
        }
    };
    let mut ranges = Vec::new();
    let mut good = list.len() <= MAX_RANGES;
    if !good {
        found.error(format!("spec.config.{field}"), "more than 10000 ranges");
    }
    for (i, entry) in list.iter().take(MAX_RANGES).enumerate() {
        match range(entry) {
            Ok(range) => ranges.push(range),
            Err(why) => {
                good = false;
                found
                    .error(format!("spec.config.{field}[{i}]"), why)
                    .hint("write it like remote: 10.0.0.0/8; every request is refused until then");
            }
        }
    }
    if good {
        Ok(Some(AddressRule { allow, ranges }))
    } else {
        Err(format!("Module.{field} is wrong"))
    }
}

fn range(entry: &BTreeMap<String, String>) -> Result<AddressRange, String> {
    let mut fields = entry.iter();
    let (Some((kind, text)), None) = (fields.next(), fields.next()) else {
        return Err("not one of peer and remote".to_owned());
    };
    let peer = match kind.as_str() {
        "peer" => true,
        "remote" => false,
        other => return Err(format!("`{other}` is neither peer nor remote")),
    };
    let (address, bits) = text.split_once('/').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let address: IpAddr =
        address.trim().parse().map_err(|_| format!("`{address}` is not an IP address"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix_length = match bits {
        None => most,
        Some(bits) => bits
            .trim()
            .parse()
            .ok()
            .filter(|bits| *bits <= most)
            .ok_or_else(|| format!("`{bits}` is not a length from 0 to {most}"))?,
    };
    Ok(AddressRange { peer, address, prefix_length })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, text: &str) -> Result<AddressRange, String> {
        range(&[(kind.to_owned(), text.to_owned())].into())
    }

    #[test]
    fn ranges_are_addresses_with_or_without_a_length() {
        let range = of("remote", "203.0.113.0/24").unwrap();
        assert_eq!((range.peer, range.prefix_length), (false, 24));
        assert_eq!(of("peer", "10.1.2.3").unwrap().prefix_length, 32);
        assert_eq!(of("peer", "2001:db8::/32").unwrap().prefix_length, 32);
        for (kind, text) in [
            ("remote", "10.0.0.0/33"),
            ("remote", "10.0.0"),
            ("from", "10.0.0.1"),
            ("peer", "10.0.0.1/-1"),
        ] {
            assert!(of(kind, text).is_err(), "{kind}: {text}");
        }
        assert!(super::range(&BTreeMap::new()).is_err());
    }
}
