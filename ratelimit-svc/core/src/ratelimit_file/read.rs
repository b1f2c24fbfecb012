//! One file to a tree, with envoyproxy/ratelimit's checks and texts.

use std::sync::Arc;

use serde_json::Value;
use service_kit::yaml::{self, Kind, Node as Yaml};

use super::Domains;
use super::scalar::{self, Scalar};
use super::tree::{Node, TreeLimit};
use crate::limit::{Limit, Unit};
use crate::quota::{Fault, Part, Quota, Written};

const KEYS: &[&str] = &[
    "domain",
    "key",
    "value",
    "descriptors",
    "rate_limit",
    "unit",
    "requests_per_unit",
    "unlimited",
    "shadow_mode",
    "quota_mode",
    "name",
    "replaces",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "metadata",
    // What envoyproxy/ratelimit does not have.
    "unit_multiplier",
    "algorithm",
    "burst_factor",
    "on_store_error",
    "lease",
];
/// Deepest nesting of descriptors.
const MAX_DEPTH: usize = 64;

/// Reads `text` into `domains`.
pub(super) fn file(text: &str, merge: bool, domains: &mut Domains) -> Result<(), String> {
    let documents = yaml::parse(text).map_err(|e| loading(&format!("yaml: {e}")))?;
    // Only the first document counts.
    let root = documents.into_iter().next();
    let mut root = root.unwrap_or(Yaml { line: 1, kind: Kind::Mapping(Vec::new()) });
    scalar::merge_keys(&mut root);
    if !matches!(root.kind, Kind::Mapping(_)) {
        return Err(loading(&format!("yaml: line {}: the file is no mapping", root.line)));
    }
    check_keys(&root)?;
    let domain = text_of(root.get("domain"))?.to_owned();
    if domain.is_empty() {
        return Err("config file cannot have empty domain".to_owned());
    }
    if !merge && domains.domains.contains_key(&domain) {
        return Err(format!("duplicate domain '{domain}' in config file"));
    }
    let mut reader = Reader { next_id: domains.limits };
    let tree = domains.domains.entry(domain.clone()).or_default();
    reader.children(root.get("descriptors"), &Place::top(&domain), tree)?;
    domains.limits = reader.next_id;
    Ok(())
}

fn loading(error: &str) -> String {
    format!("error loading config file: {error}")
}

/// The shape that every level must have, whatever it is.
fn check_keys(node: &Yaml) -> Result<(), String> {
    let Kind::Mapping(entries) = &node.kind else { return Ok(()) };
    for (key, value) in entries {
        let name = key_name(key)?;
        if !KEYS.contains(&name) {
            return Err(format!("config error, unknown key '{name}'"));
        }
        match &value.kind {
            _ if name == "metadata" => {}
            Kind::Mapping(_) => check_keys(value)?,
            Kind::Sequence(items) => {
                for item in items {
                    if !matches!(item.kind, Kind::Mapping(_)) {
                        let shown = item.text().unwrap_or("…");
                        return Err(format!(
                            "config error, yaml file contains list of type other than map: {shown}"
                        ));
                    }
                    check_keys(item)?;
                }
            }
            Kind::Scalar { .. } => check_leaf(value)?,
        }
    }
    Ok(())
}

/// A key as text, or the words that it is none, with the value as Go prints it.
fn key_name(key: &Yaml) -> Result<&str, String> {
    let text = key.text().unwrap_or("…");
    let shown = match scalar::resolve(key) {
        Some(Scalar::Text) => return Ok(text),
        Some(Scalar::Null) => "<nil>".to_owned(),
        Some(Scalar::Bool(b)) => b.to_string(),
        Some(Scalar::Int(n)) => n.to_string(),
        _ => text.to_owned(),
    };
    Err(format!("config error, key is not of type string: {shown}"))
}

fn check_leaf(node: &Yaml) -> Result<(), String> {
    match scalar::resolve(node) {
        Some(Scalar::Float(_) | Scalar::BigInt(_)) => Err("error checking config".to_owned()),
        _ => Ok(()),
    }
}

fn mismatch(node: &Yaml, wanted: &str) -> String {
    let shown = node.text().map_or_else(String::new, |text| format!(" `{text}`"));
    loading(&format!("yaml: line {}: cannot unmarshal{shown} into {wanted}", node.line))
}

fn text_of(node: Option<&Yaml>) -> Result<&str, String> {
    let Some(node) = node else { return Ok("") };
    match (scalar::resolve(node), node.text()) {
        (Some(Scalar::Null), _) => Ok(""),
        (Some(_), Some(text)) => Ok(text),
        _ => Err(mismatch(node, "string")),
    }
}

fn bool_of(node: Option<&Yaml>) -> Result<bool, String> {
    let Some(node) = node else { return Ok(false) };
    match scalar::resolve(node) {
        Some(Scalar::Null) => Ok(false),
        Some(Scalar::Bool(b)) => Ok(b),
        _ => Err(mismatch(node, "bool")),
    }
}

fn number_of(node: Option<&Yaml>) -> Result<u32, String> {
    let Some(node) = node else { return Ok(0) };
    match scalar::resolve(node) {
        Some(Scalar::Null) => Ok(0),
        Some(Scalar::Int(n)) => u32::try_from(n).map_err(|_| mismatch(node, "uint32")),
        _ => Err(mismatch(node, "uint32")),
    }
}

fn items_of(node: Option<&Yaml>) -> Result<&[Yaml], String> {
    let Some(node) = node else { return Ok(&[]) };
    match &node.kind {
        Kind::Sequence(items) => Ok(items),
        _ if scalar::resolve(node) == Some(Scalar::Null) => Ok(&[]),
        _ => Err(mismatch(node, "a list")),
    }
}

/// Where in the tree the reader is.
struct Place {
    /// As in `domain.key_value.key`.
    path: String,
    depth: usize,
    /// A descriptor on the way has `value_to_metric`.
    by_value: bool,
}

impl Place {
    fn top(domain: &str) -> Self {
        Self { path: domain.to_owned(), depth: 0, by_value: false }
    }
}

struct Reader {
    next_id: usize,
}

impl Reader {
    fn children(
        &mut self,
        list: Option<&Yaml>,
        place: &Place,
        parent: &mut Node,
    ) -> Result<(), String> {
        if place.depth > MAX_DEPTH {
            return Err(loading("descriptors are nested deeper than 64 levels"));
        }
        for descriptor in items_of(list)? {
            let key = text_of(descriptor.get("key"))?;
            if key.is_empty() {
                return Err("descriptor has empty key".to_owned());
            }
            let value = text_of(descriptor.get("value"))?;
            let name = if value.is_empty() { key.to_owned() } else { format!("{key}_{value}") };
            let path = format!("{}.{name}", place.path);
            if parent.children.contains_key(&name) {
                return Err(format!("duplicate descriptor composite key '{path}'"));
            }
            let value_to_metric = bool_of(descriptor.get("value_to_metric"))?;
            let by_value = place.by_value || value_to_metric;
            let limit = self.limit(descriptor, by_value)?;
            let share_threshold = bool_of(descriptor.get("share_threshold"))?;
            let wildcard = name.contains('*');
            if share_threshold && !wildcard {
                return Err(format!(
                    "share_threshold can only be used with wildcard values (containing '*'), but found key '{name}'"
                ));
            }
            let mut child = Node { limit, share_threshold, value_to_metric, ..Node::default() };
            let below = Place { path, depth: place.depth + 1, by_value };
            self.children(descriptor.get("descriptors"), &below, &mut child)?;
            if wildcard {
                parent.wildcards.push(name.clone());
            }
            parent.children.insert(name, child);
        }
        Ok(())
    }

    fn limit(&mut self, descriptor: &Yaml, by_value: bool) -> Result<Option<TreeLimit>, String> {
        let (shadow, is_quota) =
            (bool_of(descriptor.get("shadow_mode"))?, bool_of(descriptor.get("quota_mode"))?);
        let detailed = bool_of(descriptor.get("detailed_metric"))?;
        let metadata = match descriptor.get("metadata").map(scalar::to_json).transpose()? {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(_) => return Err("error parsing metadata: it is no mapping".to_owned()),
        };
        let Some(rate_limit) = descriptor.get("rate_limit") else { return Ok(None) };
        match &rate_limit.kind {
            Kind::Mapping(_) => {}
            _ if scalar::resolve(rate_limit) == Some(Scalar::Null) => return Ok(None),
            _ => return Err(mismatch(rate_limit, "a rate limit")),
        }
        let unlimited = bool_of(rate_limit.get("unlimited"))?;
        let requests = number_of(rate_limit.get("requests_per_unit"))?;
        let unit_name = text_of(rate_limit.get("unit"))?;
        let unit = match (unlimited, Unit::parse(unit_name)) {
            (true, Some(_)) => {
                return Err("should not specify rate limit unit when unlimited".to_owned());
            }
            (true, None) => Unit::Second,
            (false, Some(unit)) => unit,
            (false, None) => return Err(format!("invalid rate limit unit '{unit_name}'")),
        };
        let name = text_of(rate_limit.get("name"))?;
        let mut replaces: Vec<Arc<str>> = Vec::new();
        for replaced in items_of(rate_limit.get("replaces"))? {
            match text_of(replaced.get("name"))? {
                "" => return Err("should not have an empty replaces entry".to_owned()),
                other if other == name => {
                    return Err("replaces should not contain name of same descriptor".to_owned());
                }
                other => replaces.push(other.into()),
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        let quota = extended(rate_limit, requests, unit)?;
        let limit = Limit { id, name: name.into(), quota, shadow, is_quota };
        let by_value = by_value || detailed;
        Ok(Some(TreeLimit { limit, unlimited, replaces, metadata, detailed, by_value }))
    }
}

/// With what envoyproxy/ratelimit does not have.
fn extended(rate_limit: &Yaml, requests: u32, unit: Unit) -> Result<Quota, String> {
    let number = |key| match rate_limit.get(key) {
        None => Ok(None),
        some => number_of(some).map(|n| Some(i64::from(n))),
    };
    let name = |key| text_of(rate_limit.get(key)).map(|name| Some(name).filter(|n| !n.is_empty()));
    let written = Written {
        unit_multiplier: number("unit_multiplier")?,
        algorithm: name("algorithm")?,
        burst_factor: number("burst_factor")?,
        on_store_error: name("on_store_error")?,
        lease: number("lease")?,
    };
    written.read(requests, unit).map_err(|faults| {
        let word = |fault: &Fault| {
            let key = match fault.part {
                Part::UnitMultiplier => "unit_multiplier",
                Part::Algorithm => "algorithm",
                Part::BurstFactor => "burst_factor",
                Part::OnStoreError => "on_store_error",
                Part::Lease => "lease",
            };
            format!("{key}: {} ({})", fault.words, fault.hint)
        };
        faults.iter().map(word).collect::<Vec<_>>().join("; ")
    })
}

#[cfg(test)]
#[path = "read/tests.rs"]
mod tests;
