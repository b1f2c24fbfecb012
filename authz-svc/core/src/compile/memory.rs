//! What was compiled before, so that what did not change keeps its compiled form, and with it what
//! it knows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use service_kit::{Diagnostic, ObjectRef};

use super::Filters;
use super::policy::Place;
use crate::filter::Filter;
use crate::policy::Rule;

/// A version of an object; no two versions have the same number.
pub(crate) type Version = u64;

/// Compiled objects.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(super) filters: HashMap<ObjectRef, FilterUnit>,
    pub(super) policies: HashMap<ObjectRef, PolicyUnit>,
}

/// A compiled Filter and what it was made of.
#[derive(Debug)]
pub(super) struct FilterUnit {
    pub(super) version: Version,
    /// The Secrets it names; none: they were not there.
    pub(super) secrets: Vec<(ObjectRef, Option<Version>)>,
    pub(super) filter: Arc<Filter>,
    pub(super) found: Vec<Diagnostic>,
}

/// A compiled FilterPolicy and what it was made of.
#[derive(Debug)]
pub(super) struct PolicyUnit {
    pub(super) version: Version,
    pub(super) filters: Vec<(FilterName, Option<Arc<Filter>>)>,
    pub(super) rules: Vec<(Place, Arc<Rule>)>,
    pub(super) found: Vec<Diagnostic>,
}

/// Namespace and name.
pub(super) type FilterName = (String, String);

/// Filters, with a note of which were asked for.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    filters: &'a Filters,
    asked: RefCell<Vec<(FilterName, Option<Arc<Filter>>)>>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(filters: &'a Filters) -> Self {
        Self { filters, asked: RefCell::default() }
    }

    pub(super) fn get(&self, name: FilterName) -> Option<Arc<Filter>> {
        let filter = self.filters.get(&name).cloned();
        self.asked.borrow_mut().push((name, filter.clone()));
        filter
    }

    pub(super) fn into_asked(self) -> Vec<(FilterName, Option<Arc<Filter>>)> {
        self.asked.into_inner()
    }
}

impl PolicyUnit {
    /// Whether it would be compiled to the same.
    pub(super) fn is_current(&self, version: Version, filters: &Filters) -> bool {
        let same = |(name, filter): &(FilterName, Option<Arc<Filter>>)| match filter {
            None => !filters.contains_key(name),
            Some(filter) => filters.get(name).is_some_and(|now| Arc::ptr_eq(now, filter)),
        };
        self.version == version && self.filters.iter().all(same)
    }
}
