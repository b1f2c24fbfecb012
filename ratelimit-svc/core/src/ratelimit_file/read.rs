//! One file to a tree, with envoyproxy/ratelimit's checks and texts.

use std::sync::Arc;

use serde_json::Value;
use service_kit::Diagnostic;
use service_kit::yaml::{Kind, Node as Yaml};

use super::problem::problem;
use super::scalar::{self, Scalar};
use super::tree::{Node, TreeLimit};
use crate::limit::{Limit, Unit};
use crate::quota::{Fault, Part, Quota, Written};

/// Deepest nesting of descriptors.
const MAX_DEPTH: usize = 64;
const LOADING: &str = "error loading config file: ";

/// What a file says, its limits numbered from 0.
pub(super) struct Read {
    pub domain: String,
    pub tree: Node,
    pub limits: usize,
}

/// Reads a file whose keys are [checked](super::keys::check).
///
/// # Errors
/// Everything that is wrong; the first is what the original says.
pub(super) fn root(root: &Yaml) -> Result<Read, Vec<Diagnostic>> {
    let domain = match text_of(root.get("domain")) {
        Ok(domain) => domain.to_owned(),
        Err(words) => return Err(vec![problem(root, "", words)]),
    };
    let mut reader = Reader { root, next_id: 0, found: Vec::new() };
    if domain.is_empty() {
        reader.note("", "config file cannot have empty domain".to_owned());
    }
    let mut tree = Node::default();
    let descriptors = root.get("descriptors");
    if let Err(words) = reader.children(descriptors, &Place::top(&domain), &mut tree) {
        reader.note("descriptors", words);
    }
    if reader.found.is_empty() {
        return Ok(Read { domain, tree, limits: reader.next_id });
    }
    // The original reads all of a file before it looks at what is in it.
    reader.found.sort_by_key(|problem| !problem.message.starts_with(LOADING));
    Err(reader.found)
}

pub(super) fn loading(error: &str) -> String {
    format!("{LOADING}{error}")
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
    /// As in `descriptors[0].`; empty at the top.
    field: String,
    depth: usize,
    /// A descriptor on the way has `value_to_metric`.
    by_value: bool,
}

impl Place {
    fn top(domain: &str) -> Self {
        Self { path: domain.to_owned(), field: String::new(), depth: 0, by_value: false }
    }
}

struct Reader<'y> {
    root: &'y Yaml,
    next_id: usize,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn note(&mut self, field: &str, words: String) {
        self.found.push(problem(self.root, field, words));
    }

    /// Reads a list of descriptors. What is wrong with one of them is noted, so that all that is
    /// wrong is told at once.
    ///
    /// # Errors
    /// When there is no list to read.
    fn children(
        &mut self,
        list: Option<&Yaml>,
        place: &Place,
        parent: &mut Node,
    ) -> Result<(), String> {
        if place.depth > MAX_DEPTH {
            return Err(loading("descriptors are nested deeper than 64 levels"));
        }
        for (i, descriptor) in items_of(list)?.iter().enumerate() {
            let field = format!("{}descriptors[{i}]", place.field);
            if let Err(words) = self.descriptor(descriptor, &field, place, parent) {
                self.note(&field, words);
            }
        }
        Ok(())
    }

    fn descriptor(
        &mut self,
        descriptor: &Yaml,
        field: &str,
        place: &Place,
        parent: &mut Node,
    ) -> Result<(), String> {
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
        let below = Place { path, field: format!("{field}."), depth: place.depth + 1, by_value };
        self.children(descriptor.get("descriptors"), &below, &mut child)?;
        if wildcard {
            parent.wildcards.push(name.clone());
        }
        parent.children.insert(name, child);
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
