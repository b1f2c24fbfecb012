//! `RateLimit` objects: compiled, and matched against descriptors.

mod compile;
mod matching;
mod template;

use std::collections::HashMap;
use std::sync::Arc;

use service_kit::{Diagnostic, Object};

use crate::limit::{Limit, LimitId};

pub use compile::{CompiledObject, compile_object};
pub use matching::MatchRule;
pub use template::{HeaderTemplates, Templates};

/// Everything that is wrong with one `RateLimit` object.
pub fn check(object: &Object) -> Vec<Diagnostic> {
    compile_object(object).1
}

/// What to do with a request that is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Refuse it.
    Enforce,
    /// Let it pass, and say so in metadata.
    LogOnly,
}

impl Action {
    /// As in the resource.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::LogOnly => "LogOnly",
        }
    }
}

/// One limit of an object.
#[derive(Debug)]
pub struct ResourceLimit {
    /// The limit itself.
    pub limit: Limit,
    /// What happens over it.
    pub action: Action,
    /// Which descriptors it is for.
    pub pattern: Vec<Vec<Pair>>,
    /// Headers and bodies.
    pub templates: Templates,
    /// Object namespace, object name, index: the last word where limits are equal.
    pub place: (String, String, usize),
}

/// A key and the value it must have.
#[derive(Debug)]
pub struct Pair {
    /// Equal to the entry's.
    pub key: String,
    /// Any when none.
    pub value: Option<String>,
}

/// The limits of all objects, by domain.
#[derive(Debug, Default)]
pub struct Resources {
    domains: HashMap<String, Domain>,
    limits: LimitId,
}

/// The limits of a domain, found by the first pair of their patterns.
#[derive(Debug, Default)]
pub struct Domain {
    by_key: HashMap<String, ByValue>,
}

/// Limits by the value of their first pair.
#[derive(Debug, Default)]
struct ByValue {
    exact: HashMap<String, Vec<Arc<ResourceLimit>>>,
    any: Vec<Arc<ResourceLimit>>,
}

impl ByValue {
    fn of(&mut self, value: Option<&String>) -> &mut Vec<Arc<ResourceLimit>> {
        match value {
            Some(value) => self.exact.entry(value.clone()).or_default(),
            None => &mut self.any,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ResourceLimit>> {
        self.exact.values().flatten().chain(&self.any)
    }
}

impl Resources {
    /// Puts the limits of objects together; ids go up from `first_id`.
    pub fn new<'a>(
        objects: impl IntoIterator<Item = &'a CompiledObject>,
        first_id: LimitId,
    ) -> Self {
        let mut resources = Self { limits: first_id, ..Self::default() };
        for object in objects {
            let domain = resources.domains.entry(object.domain.clone()).or_default();
            for parts in &object.limits {
                let limit = Arc::new(parts.with_id(resources.limits));
                resources.limits += 1;
                for pair in limit.pattern.first().into_iter().flatten() {
                    let by_value = domain.by_key.entry(pair.key.clone()).or_default();
                    by_value.of(pair.value.as_ref()).push(limit.clone());
                }
            }
        }
        resources
    }

    /// The limits of a domain.
    pub fn get(&self, domain: &str) -> Option<&Domain> {
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

    /// All ids, those of other dialects before them, are below this.
    pub fn limit_count(&self) -> LimitId {
        self.limits
    }

    /// Every limit with its domain.
    pub fn limits(&self) -> Vec<(&str, &Arc<ResourceLimit>)> {
        let mut all: Vec<_> = self
            .domains
            .iter()
            .flat_map(|(name, d)| {
                let all = d.by_key.values().flat_map(ByValue::all);
                all.map(move |l| (name.as_str(), l))
            })
            .collect();
        all.sort_by_key(|(_, l)| l.limit.id);
        all.dedup_by_key(|(_, l)| l.limit.id);
        all
    }
}
