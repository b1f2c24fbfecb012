//! One file to a tree, with envoyproxy/ratelimit's checks and texts.

use std::sync::Arc;

use serde_json::Value;
use service_kit::yaml::{self, Kind, Node as Yaml};

use super::Domains;
use super::tree::{Node, TreeLimit};
use crate::limit::{Limit, Unit};

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
];
/// Deepest nesting of descriptors.
const MAX_DEPTH: usize = 64;

/// Reads `text` into `domains`.
pub(super) fn file(text: &str, merge: bool, domains: &mut Domains) -> Result<(), String> {
    let documents = yaml::parse(text).map_err(|e| loading(&format!("yaml: {e}")))?;
    // Only the first document counts.
    let root = documents.into_iter().next();
    let root = root.unwrap_or(Yaml { line: 1, kind: Kind::Mapping(Vec::new()) });
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
    reader.children(root.get("descriptors"), &domain, tree, 0)?;
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
        let name = match key.to_json() {
            Value::String(name) => name,
            _ => {
                let shown = key.text().unwrap_or("…");
                return Err(format!("config error, key is not of type string: {shown}"));
            }
        };
        if !KEYS.contains(&name.as_str()) {
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
            Kind::Scalar { .. } => check_leaf(&value.to_json())?,
        }
    }
    Ok(())
}

fn check_leaf(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(n) if !n.is_i64() => Err("error checking config".to_owned()),
        _ => Ok(()),
    }
}

fn text_of(node: Option<&Yaml>) -> Result<&str, String> {
    match node.map(|n| (&n.kind, n.line)) {
        None => Ok(""),
        Some((Kind::Scalar { text, plain }, _)) => {
            let null = *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
            Ok(if null { "" } else { text })
        }
        Some((_, line)) => {
            Err(loading(&format!("yaml: line {line}: cannot unmarshal into string")))
        }
    }
}

fn bool_of(node: Option<&Yaml>) -> Result<bool, String> {
    match node.map(|n| (n.to_json(), n.line)) {
        None | Some((Value::Null, _)) => Ok(false),
        Some((Value::Bool(b), _)) => Ok(b),
        Some((_, line)) => Err(loading(&format!("yaml: line {line}: cannot unmarshal into bool"))),
    }
}

fn number_of(node: Option<&Yaml>) -> Result<u32, String> {
    match node.map(|n| (n.to_json(), n.line)) {
        None | Some((Value::Null, _)) => Ok(0),
        Some((value, line)) => value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| loading(&format!("yaml: line {line}: cannot unmarshal into uint32"))),
    }
}

fn items_of(node: Option<&Yaml>) -> Result<&[Yaml], String> {
    match node.map(|n| (&n.kind, n.line)) {
        None => Ok(&[]),
        Some((Kind::Sequence(items), _)) => Ok(items),
        Some((Kind::Scalar { text, plain: true }, _))
            if matches!(text.as_str(), "" | "~" | "null") =>
        {
            Ok(&[])
        }
        Some((_, line)) => {
            Err(loading(&format!("yaml: line {line}: cannot unmarshal into a list")))
        }
    }
}

struct Reader {
    next_id: usize,
}

impl Reader {
    fn children(
        &mut self,
        list: Option<&Yaml>,
        path: &str,
        parent: &mut Node,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(loading("descriptors are nested deeper than 64 levels"));
        }
        for descriptor in items_of(list)? {
            let key = text_of(descriptor.get("key"))?;
            if key.is_empty() {
                return Err("descriptor has empty key".to_owned());
            }
            let value = text_of(descriptor.get("value"))?;
            let name = if value.is_empty() { key.to_owned() } else { format!("{key}_{value}") };
            let path = format!("{path}.{name}");
            if parent.children.contains_key(&name) {
                return Err(format!("duplicate descriptor composite key '{path}'"));
            }
            let limit = self.limit(descriptor)?;
            let share_threshold = bool_of(descriptor.get("share_threshold"))?;
            let wildcard = name.contains('*');
            if share_threshold && !wildcard {
                return Err(format!(
                    "share_threshold can only be used with wildcard values (containing '*'), but found key '{name}'"
                ));
            }
            let mut child = Node { limit, share_threshold, ..Node::default() };
            self.children(descriptor.get("descriptors"), &path, &mut child, depth + 1)?;
            if wildcard {
                parent.wildcards.push(name.clone());
            }
            parent.children.insert(name, child);
        }
        Ok(())
    }

    fn limit(&mut self, descriptor: &Yaml) -> Result<Option<TreeLimit>, String> {
        let (shadow, quota) =
            (bool_of(descriptor.get("shadow_mode"))?, bool_of(descriptor.get("quota_mode"))?);
        // Read for their type only: per-value metrics do not change what is counted.
        bool_of(descriptor.get("detailed_metric"))?;
        bool_of(descriptor.get("value_to_metric"))?;
        let metadata = match descriptor.get("metadata").map(Yaml::to_json) {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(_) => return Err("error parsing metadata: it is no mapping".to_owned()),
        };
        let Some(rate_limit) = descriptor.get("rate_limit") else { return Ok(None) };
        if rate_limit.to_json().is_null() {
            return Ok(None);
        }
        if !matches!(rate_limit.kind, Kind::Mapping(_)) {
            return Err(loading(&format!(
                "yaml: line {}: cannot unmarshal into a rate limit",
                rate_limit.line
            )));
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
        let limit =
            Limit { id, name: name.into(), requests, unit, burst_factor: None, shadow, quota };
        Ok(Some(TreeLimit { limit, unlimited, replaces, metadata }))
    }
}

#[cfg(test)]
#[path = "read/tests.rs"]
mod tests;
