//! The configuration files of envoyproxy/ratelimit: a tree of descriptors for each domain.
//!
//! Reading refuses what that program refuses, with its words; see `docs` of that project for the
//! meaning of the fields.

mod file;
mod keys;
mod lint;
mod message;
mod problem;
mod read;
mod scalar;
mod tree;
mod wildcard;

use std::collections::{BTreeMap, HashMap};

use service_kit::Diagnostic;

use crate::limit::LimitId;

pub use file::File;
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
        let files = files.iter();
        let read = files.map(|(name, text)| (name.replace('/', "."), File::from_yaml(text)));
        Self::whole(read, merge_domains)
    }

    /// Puts together what was read under each name. One that is wrong makes all of them wrong.
    ///
    /// # Errors
    /// `NAME: TEXT` with envoyproxy/ratelimit's own text of the first thing that is wrong.
    pub fn whole(
        read: impl IntoIterator<Item = (String, Result<File, Vec<Diagnostic>>)>,
        merge_domains: bool,
    ) -> Result<Self, String> {
        let said = |name: &str, found: &[Diagnostic]| {
            let text = found.first().map_or("", |problem| &problem.message);
            format!("{name}: {text}")
        };
        let mut files = Vec::new();
        for (name, file) in read {
            let file = file.map_err(|found| said(&name, &found))?;
            files.push((name, file));
        }
        let files = files.iter().map(|(name, file)| (name.as_str(), file));
        Self::of(files, merge_domains).map_err(|found| {
            let file = found.first().and_then(|problem| problem.file.as_deref());
            said(file.unwrap_or_default(), &found)
        })
    }

    /// Puts files together, in the order given. Files of one domain add to each other when
    /// `merge_domains` says so.
    ///
    /// # Errors
    /// Each file (as [`Diagnostic::file`]) that does not go with those before it; at least one.
    pub fn of<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f File)>,
        merge_domains: bool,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (mut this, mut found) = (Self::default(), Vec::new());
        for (name, file) in files {
            if let Err((field, words)) = this.add(file, merge_domains) {
                let mut problem = problem::between(field, words);
                problem.file = Some(name.to_owned());
                found.push(problem);
            }
        }
        if found.is_empty() { Ok(this) } else { Err(found) }
    }

    fn add(&mut self, file: &File, merge_domains: bool) -> Result<(), (&'static str, String)> {
        let domain = &file.domain;
        if !merge_domains && self.domains.contains_key(domain) {
            return Err(("domain", format!("duplicate domain '{domain}' in config file")));
        }
        let tree = self.domains.entry(domain.clone()).or_default();
        tree.adopt(&file.tree, self.limits).map_err(|name| {
            let words = format!("duplicate descriptor composite key '{domain}.{name}'");
            ("descriptors", words)
        })?;
        self.limits += file.limits;
        Ok(())
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
