//! A tree of descriptors and the walk through it.

use std::collections::HashMap;
use std::sync::Arc;

use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use serde_json::{Map, Value};

use super::wildcard;
use crate::limit::Limit;

/// A descriptor of the configuration.
#[derive(Debug, Default)]
pub struct Node {
    /// Children by `key` or `key_value`.
    pub(super) children: HashMap<String, Node>,
    /// The names among them that have a `*`, in the order of the file.
    pub(super) wildcards: Vec<String>,
    /// What a request that ends here meets.
    pub(super) limit: Option<TreeLimit>,
    /// All values that match this wildcard share one counter.
    pub(super) share_threshold: bool,
}

/// A limit in a tree.
#[derive(Debug)]
pub struct TreeLimit {
    /// The limit; its number of requests has no meaning when it is unlimited.
    pub limit: Limit,
    /// There is none: never counted.
    pub unlimited: bool,
    /// Names of limits that this one takes the place of.
    pub replaces: Vec<Arc<str>>,
    /// Sent as dynamic metadata.
    pub metadata: Option<Map<String, Value>>,
}

/// What a descriptor meets.
#[derive(Debug)]
pub struct Found<'t> {
    /// The limit.
    pub limit: &'t TreeLimit,
}

impl Node {
    /// Walks `entries` down; `key` gets `key_value_` of each, which is the counter's name. None
    /// when the walk does not end at a limit.
    pub fn find<'t>(&'t self, entries: &[Entry], key: &mut String) -> Option<Found<'t>> {
        let mut node = self;
        let mut name = String::new();
        for entry in entries {
            name.clear();
            name.extend([entry.key.as_str(), "_", entry.value.as_str()]);
            let (child, shared) = node.child(&entry.key, &name)?;
            key.push_str(&entry.key);
            key.push('_');
            key.push_str(shared.unwrap_or(&entry.value));
            key.push('_');
            node = child;
        }
        if entries.is_empty() {
            return None;
        }
        node.limit.as_ref().map(|limit| Found { limit })
    }

    /// The child for `key_value` (`name`): itself, or the first wildcard that matches it, or the
    /// one for any value of `key`. With the text that stands for the value when it is shared.
    fn child<'t>(&'t self, key: &str, name: &str) -> Option<(&'t Node, Option<&'t str>)> {
        if let Some(child) = self.children.get(name) {
            return Some((child, None));
        }
        if let Some(pattern) = self.wildcards.iter().find(|p| wildcard::matches(p, name)) {
            let child = self.children.get(pattern)?;
            let value = pattern.strip_prefix(key).and_then(|p| p.strip_prefix('_'));
            return Some((child, child.share_threshold.then(|| value.unwrap_or(pattern))));
        }
        self.children.get(key).map(|child| (child, None))
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
