//! A tree of descriptors and the walk through it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::wildcard;
use crate::key::KeyBuffer;
use crate::limit::{Limit, LimitId};
use crate::request::Entry;

/// Between the levels of [`Found::metric`]: no dot, since keys and values have dots of their own.
pub const LEVEL: char = '\u{1f}';

/// A descriptor of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Children by `key` or `key_value`.
    pub(super) children: HashMap<String, Node>,
    /// The names among them that have a `*`, in the order of the file.
    pub(super) wildcards: Vec<String>,
    /// What a request that ends here meets.
    pub(super) limit: Option<TreeLimit>,
    /// All values that match this wildcard share one counter.
    pub(super) share_threshold: bool,
    /// Metrics name the request's value instead of this descriptor's.
    pub(super) value_to_metric: bool,
}

/// A limit in a tree.
#[derive(Clone, Debug)]
pub struct TreeLimit {
    /// The limit; its number of requests has no meaning when it is unlimited.
    pub limit: Limit,
    /// There is none: never counted.
    pub unlimited: bool,
    /// Names of limits that this one takes the place of.
    pub replaces: Vec<Arc<str>>,
    /// Sent as dynamic metadata.
    pub metadata: Option<Map<String, Value>>,
    /// Metrics name the values of the request on every level.
    pub(super) detailed: bool,
    /// Metrics name values of the request on some level.
    pub by_value: bool,
}

/// What a descriptor meets.
#[derive(Debug)]
pub struct Found<'t> {
    /// The limit.
    pub limit: &'t TreeLimit,
    /// The name for metrics when it depends on the request: `key_value` of each level, with
    /// [`LEVEL`] between them.
    pub metric: Option<Box<str>>,
}

/// One level down.
struct Step<'t> {
    /// The child's name in the configuration.
    name: &'t str,
    child: &'t Node,
    /// The text that stands for the request's value, when all that match share a counter.
    shared: Option<&'t str>,
}

impl Node {
    /// Walks `entries` down; `key` gets `key_value_` of each, which is the counter's name. None
    /// when the walk does not end at a limit.
    pub fn find<'t>(&'t self, entries: &[Entry<'_>], key: &mut KeyBuffer) -> Option<Found<'t>> {
        if entries.is_empty() {
            return None;
        }
        let mut node = self;
        for entry in entries {
            let start = key.len();
            let step = node.step(entry, key)?;
            if let Some(shared) = step.shared {
                key.truncate(start);
                key.push(entry.key).push("_").push(shared);
            }
            key.push("_");
            node = step.child;
        }
        let limit = node.limit.as_ref()?;
        let metric = limit.by_value.then(|| self.metric(entries, limit.detailed));
        Some(Found { limit, metric })
    }

    /// The child for `key_value`, which is added to `key`: itself, or the first wildcard that
    /// matches it, or the one for any value of the key.
    fn step<'t>(&'t self, entry: &Entry<'_>, key: &mut KeyBuffer) -> Option<Step<'t>> {
        let start = key.len();
        key.push(entry.key).push("_").push(entry.value);
        // Of two texts, so it is one.
        let name = key.get(start..).and_then(|name| std::str::from_utf8(name).ok())?;
        let known = |name: &str| self.children.get_key_value(name);
        if let Some((name, child)) = known(name) {
            return Some(Step { name, child, shared: None });
        }
        if let Some(pattern) = self.wildcards.iter().find(|p| wildcard::matches(p, name)) {
            let (name, child) = known(pattern)?;
            let value = name.strip_prefix(entry.key).and_then(|p| p.strip_prefix('_'));
            let shared = child.share_threshold.then(|| value.unwrap_or(name));
            return Some(Step { name, child, shared });
        }
        known(entry.key).map(|(name, child)| Step { name, child, shared: None })
    }

    /// The path of `entries` with the request's values where metrics are to have them.
    fn metric(&self, entries: &[Entry<'_>], detailed: bool) -> Box<str> {
        let (mut node, mut name, mut path) = (self, KeyBuffer::new(), String::new());
        for entry in entries {
            name.truncate(0);
            let Some(step) = node.step(entry, &mut name) else { break };
            if !path.is_empty() {
                path.push(LEVEL);
            }
            let value = step.shared.unwrap_or(entry.value);
            match detailed || step.child.value_to_metric {
                // The original writes `key_` here, and `key` there.
                true if value.is_empty() && !detailed => path.push_str(entry.key),
                true => path.extend([entry.key, "_", value]),
                false => path.push_str(step.name),
            }
            node = step.child;
        }
        path.into()
    }

    /// Takes a copy of the children of `other`, the ids of their limits `first_id` higher.
    ///
    /// # Errors
    /// The name of a child that is here already.
    pub(super) fn adopt<'o>(&mut self, other: &'o Self, first_id: LimitId) -> Result<(), &'o str> {
        if let Some(twice) = other.children.keys().filter(|n| self.children.contains_key(*n)).min()
        {
            return Err(twice);
        }
        let copies = other.children.iter().map(|(n, c)| (n.clone(), c.renumbered(first_id)));
        self.children.extend(copies);
        self.wildcards.extend(other.wildcards.iter().cloned());
        Ok(())
    }

    fn renumbered(&self, first_id: LimitId) -> Self {
        let mut limit = self.limit.clone();
        if let Some(limit) = &mut limit {
            limit.limit.id += first_id;
        }
        let children = self.children.iter();
        Self {
            children: children.map(|(n, c)| (n.clone(), c.renumbered(first_id))).collect(),
            wildcards: self.wildcards.clone(),
            limit,
            share_threshold: self.share_threshold,
            value_to_metric: self.value_to_metric,
        }
    }

    pub(super) fn collect<'t>(
        &'t self,
        path: &mut Vec<&'t str>,
        each: &mut impl FnMut(&[&'t str], &'t TreeLimit),
    ) {
        if let Some(limit) = &self.limit {
            each(path, limit);
        }
        for (name, child) in &self.children {
            path.push(name);
            child.collect(path, each);
            path.pop();
        }
    }
}
