//! Labels: what of a request goes to the rate limit service, as descriptors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;
use service_kit::Diagnostics;

use crate::ir::RateAction;
use crate::syntax::header;

/// What [`read_labels`] reads, for the schema.
pub(super) type LabelsSpec = BTreeMap<String, Vec<BTreeMap<String, Vec<Specifier>>>>;

/// What [`read_defaults`] reads, for the schema.
pub(super) type DefaultLabelsSpec = BTreeMap<String, DefaultsSpec>;

#[derive(JsonSchema)]
#[allow(dead_code)]
pub(super) struct DefaultsSpec {
    /// Specifiers.
    defaults: Option<Vec<Specifier>>,
}

/// One entry of a descriptor.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
pub(super) enum Specifier {
    /// `remote_address`, `source_cluster`, `destination_cluster`, or the value of a generic key.
    Short(String),
    /// One of these.
    Full(FullSpecifier),
}

#[derive(JsonSchema)]
#[allow(dead_code)]
pub(super) struct FullSpecifier {
    /// A fixed `value`; `key` is `generic_key` when absent.
    generic_key: Option<Value>,
    /// The client's address.
    remote_address: Option<Value>,
    /// The value of the header `header_name`, as `key`; without the header the group is left out.
    request_headers: Option<Value>,
    /// What the AuthService said of the request in dynamic metadata, at `path` (a name, or a list of
    /// them), as `key`; without it `default_value`, and without that the group is left out.
    metadata: Option<Value>,
    /// The name of the gateway's own cluster.
    source_cluster: Option<Value>,
    /// The name of the cluster that the request goes to.
    destination_cluster: Option<Value>,
}

/// Groups of specifiers by domain; each group becomes one descriptor.
pub type Labels = BTreeMap<String, Vec<Vec<RateAction>>>;

/// Reads `labels` of a Mapping. A specifier that is wrong is left out and reported; a group
/// without a good one is none.
pub fn read_labels(value: &Value, path: &str, found: &mut Diagnostics<'_>) -> Labels {
    let mut labels = Labels::new();
    let Some(domains) = expect_map(value, path, "domains", found) else { return labels };
    for (domain, groups) in domains {
        let path = format!("{path}.{domain}");
        let Some(groups) = expect_list(groups, &path, "label groups", found) else { continue };
        let mut read = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            let path = format!("{path}[{i}]");
            let Some(named) = expect_map(group, &path, "a group's name", found) else { continue };
            for (name, specifiers) in named {
                let actions = read_specifiers(specifiers, &format!("{path}.{name}"), found);
                if !actions.is_empty() {
                    read.push(actions);
                }
            }
        }
        labels.insert(domain.clone(), read);
    }
    labels
}

/// Reads `default_labels` of the Module: `{domain: {defaults: [specifier…]}}`.
pub fn read_defaults(
    value: &Value,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> BTreeMap<String, Vec<RateAction>> {
    let mut defaults = BTreeMap::new();
    let Some(domains) = expect_map(value, path, "domains", found) else { return defaults };
    for (domain, value) in domains {
        let path = format!("{path}.{domain}");
        let Some(map) = expect_map(value, &path, "`defaults`", found) else { continue };
        for (key, specifiers) in map {
            let path = format!("{path}.{key}");
            if key == "defaults" {
                defaults.insert(domain.clone(), read_specifiers(specifiers, &path, found));
            } else {
                found.warning(path, "unknown field; it has no effect").hint("write `defaults`");
            }
        }
    }
    defaults
}

fn read_specifiers(value: &Value, path: &str, found: &mut Diagnostics<'_>) -> Vec<RateAction> {
    let Some(list) = expect_list(value, path, "specifiers", found) else { return Vec::new() };
    let mut actions = Vec::new();
    for (i, specifier) in list.iter().enumerate() {
        let path = format!("{path}[{i}]");
        match read_specifier(specifier, &path, found) {
            Ok(action) => actions.push(action),
            Err(why) => {
                found.error(path, format!("{why}; this specifier is left out")).hint(
                    "one of generic_key, remote_address, request_headers, metadata, source_cluster, destination_cluster",
                );
            }
        }
    }
    actions
}

fn read_specifier(
    value: &Value,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Result<RateAction, String> {
    if let Some(text) = value.as_str() {
        return Ok(bare(text));
    }
    let map = value.as_object().ok_or("a label specifier is a map with one key")?;
    let mut entries = map.iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else {
        return Err(format!("a label specifier has one key, this one has {}", map.len()));
    };
    let text = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s.clone()).filter(|s| !s.is_empty())),
        Some(_) => Err(format!("`{name}.{key}` is a text")),
    };
    let fixed = |action: RateAction| match text("key")? {
        Some(key) if key != *name => Err(format!("`{name}.key` is always `{name}`")),
        _ => Ok(action),
    };
    let known: &[&str] = match name.as_str() {
        "generic_key" => &["key", "value"],
        "request_headers" => &["key", "header_name", "omit_if_not_present"],
        "remote_address" | "source_cluster" | "destination_cluster" => &["key"],
        "metadata" if value.get("header").is_none() => &["key", "path", "default_value"],
        _ => &["header", "omit_if_not_present"],
    };
    for key in value.as_object().into_iter().flat_map(|m| m.keys()) {
        // What conversion from v2 keeps has no effect.
        if !known.contains(&key.as_str()) && key != "v2Representation" {
            found.warning(format!("{path}.{name}.{key}"), "unknown field; it has no effect");
        }
    }
    let header = |header_name: String, key: String| {
        header::check_match_name(&header_name)?;
        Ok(RateAction::RequestHeader { header: header_name.to_ascii_lowercase(), key })
    };
    match name.as_str() {
        "generic_key" => match value.as_str() {
            Some(value) => Ok(bare_key(value)),
            None => Ok(RateAction::GenericKey {
                key: text("key")?.unwrap_or_else(|| "generic_key".to_owned()),
                value: text("value")?.ok_or("`generic_key` needs a `value`")?,
            }),
        },
        "remote_address" => fixed(RateAction::RemoteAddress),
        "source_cluster" => fixed(RateAction::SourceCluster),
        "destination_cluster" => fixed(RateAction::DestinationCluster),
        "request_headers" => header(
            text("header_name")?.ok_or("`request_headers` needs a `header_name`")?,
            text("key")?.ok_or("`request_headers` needs a `key`")?,
        ),
        "metadata" if value.get("header").is_none() => Ok(RateAction::Authorization {
            key: text("key")?.ok_or("`metadata` needs a `key`")?,
            path: read_path(value.get("path"))
                .ok_or("`metadata` needs a `path`: a name or a list")?,
            default: text("default_value")?.unwrap_or_default(),
        }),
        // The older form: the key is the name of the entry.
        _ => match text("header") {
            Ok(Some(header_name)) => header(header_name, name.clone()),
            _ => Err(format!("unknown label specifier `{name}`")),
        },
    }
}

/// A name, or a list of them; none for anything else.
fn read_path(value: Option<&Value>) -> Option<Vec<String>> {
    let name = |v: &Value| v.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    match value? {
        Value::Array(names) if !names.is_empty() => names.iter().map(name).collect(),
        one => Some(vec![name(one)?]),
    }
}

fn bare(text: &str) -> RateAction {
    match text {
        "remote_address" => RateAction::RemoteAddress,
        "source_cluster" => RateAction::SourceCluster,
        "destination_cluster" => RateAction::DestinationCluster,
        other => bare_key(other),
    }
}

fn bare_key(value: &str) -> RateAction {
    RateAction::GenericKey { key: "generic_key".to_owned(), value: value.to_owned() }
}

fn expect_map<'a>(
    value: &'a Value,
    path: &str,
    of: &str,
    found: &mut Diagnostics<'_>,
) -> Option<&'a serde_json::Map<String, Value>> {
    let map = value.as_object();
    if map.is_none() && !value.is_null() {
        found.error(path, format!("expected a map of {of}"));
    }
    map
}

fn expect_list<'a>(
    value: &'a Value,
    path: &str,
    of: &str,
    found: &mut Diagnostics<'_>,
) -> Option<&'a Vec<Value>> {
    let list = value.as_array();
    if list.is_none() && !value.is_null() {
        found.error(path, format!("expected a list of {of}"));
    }
    list
}
