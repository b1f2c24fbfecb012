//! The configuration files of envoyproxy/ratelimit: a tree of descriptors for each domain.
//!
//! Reading refuses what that program refuses, with its words; see `docs` of that project for the
//! meaning of the fields.

mod read;
mod scalar;
mod tree;
mod wildcard;

use std::collections::{BTreeMap, HashMap};

use crate::limit::LimitId;

pub use tree::{Found, LEVEL, Node, TreeLimit};

/// All domains of a set of files.
#[derive(Debug, Default)]
pub struct Domains {
    domains: HashMap<String, Node>,
    /// How many limits there are; their ids are below it.
    limits: LimitId,
}

impl Domains {
    /// Reads files by name. One that is wrong makes all of them wrong.
    ///
    /// # Errors
    /// `FILE: TEXT` with envoyproxy/ratelimit's own text; FILE has a dot for each `/`, as there.
    pub fn read(files: &BTreeMap<String, String>, merge_domains: bool) -> Result<Self, String> {
        let mut domains = Self::default();
        for (name, text) in files {
            read::file(text, merge_domains, &mut domains)
                .map_err(|e| format!("{}: {e}", name.replace('/', ".")))?;
        }
        Ok(domains)
    }

    /// The tree of a domain.
    pub fn get(&self, domain: &str) -> Option<&Node> {
        self.domains.get(domain)
    }

    /// The names of all domains.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(String::as_str)
    }

    /// Whether there is no domain.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// How many limits there are; their ids are below it.
    pub fn limit_count(&self) -> LimitId {
        self.limits
    }

    /// Every limit with its domain and its path: `key_value` or `key` of each level.
    pub fn limits(&self) -> Vec<(&str, Vec<&str>, &TreeLimit)> {
        let mut all = Vec::new();
        for (domain, root) in &self.domains {
            root.collect(&mut Vec::new(), &mut |path, limit| {
                all.push((domain.as_str(), path.to_vec(), limit));
            });
        }
        all.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        all
    }
}
