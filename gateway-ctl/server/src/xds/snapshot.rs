//! Everything in force at one moment, immutable and shared by all streams.
//!
//! A change copies only the parts of the types that it touches. This module knows no client.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use gateway_core::{Output, Resource, ResourceType};

/// Clusters and what they need before they can be used: an Envoy learns of it first.
pub const WARMING: [ResourceType; 3] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Secret];

/// What uses them, in the order in which an Envoy learns of additions.
pub const USING: [ResourceType; 3] =
    [ResourceType::Extension, ResourceType::Listener, ResourceType::Route];

/// Types of which nothing is taken away before what used it is gone.
pub const USED: [ResourceType; 4] =
    [ResourceType::Cluster, ResourceType::Endpoint, ResourceType::Secret, ResourceType::Extension];

/// Types of the two services; nothing else depends on them.
pub const INDEPENDENT: [ResourceType; 2] =
    [ResourceType::RateLimitObject, ResourceType::AuthorizationObject];

/// A short name for logs, metrics and pages.
pub const fn word(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Cluster => "cluster",
        ResourceType::Endpoint => "endpoint",
        ResourceType::Secret => "secret",
        ResourceType::Extension => "extension",
        ResourceType::Listener => "listener",
        ResourceType::Route => "route",
        ResourceType::RateLimitObject => "rate_limit",
        ResourceType::AuthorizationObject => "authorization",
    }
}

/// Parts that the resources of a type are divided into.
const PARTS: usize = 256;

type Part = BTreeMap<Arc<str>, Arc<Resource>>;

/// All resources of one type, divided by their names, so that a change copies one part and
/// comparing with what was before skips the others.
#[derive(Clone, Debug)]
pub struct Resources {
    parts: Vec<Arc<Part>>,
    count: usize,
    digest: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS], count: 0, digest: 0 }
    }
}

impl Resources {
    /// The resource of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        self.parts.get(part_of(name))?.get(name)
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Resource>)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Equal for equal sets of names and versions, whichever controller made them. For people:
    /// clients compare the versions of single resources.
    pub fn version(&self) -> String {
        format!("{:016x}", self.digest)
    }

    /// The names of what is not the same in both.
    pub(super) fn differing(&self, other: &Self) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        let parts = self.parts.iter().zip(&other.parts);
        for (one, two) in parts.filter(|(one, two)| !Arc::ptr_eq(one, two)) {
            let mut note = |of: &Part, than: &Part| {
                let differs = |name: &str, resource| {
                    than.get(name).is_none_or(|other| !Arc::ptr_eq(other, resource))
                };
                names.extend(of.iter().filter(|(n, r)| differs(n, r)).map(|(n, _)| n.clone()));
            };
            note(one, two);
            note(two, one);
        }
        names
    }

    fn insert(&mut self, resource: Resource) {
        let Some(part) = self.parts.get_mut(part_of(&resource.name)) else { return };
        self.digest ^= digest(&resource);
        let resource = Arc::new(resource);
        match Arc::make_mut(part).insert(resource.name.as_str().into(), resource) {
            Some(old) => self.digest ^= digest(&old),
            None => self.count += 1,
        }
    }

    fn remove(&mut self, name: &str) {
        let Some(part) = self.parts.get_mut(part_of(name)) else { return };
        if let Some(old) = Arc::make_mut(part).remove(name) {
            self.digest ^= digest(&old);
            self.count -= 1;
        }
    }
}

fn part_of(name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish() as usize % PARTS
}

/// Only ever compared by eye, so the standard library's fixed-key hasher will do.
fn digest(resource: &Resource) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&resource.name, &resource.version).hash(&mut hasher);
    hasher.finish()
}

/// Everything in force.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts changes since the start of this process.
    pub revision: u64,
    /// When the change that led here was noticed.
    pub changed_at: Instant,
    types: BTreeMap<ResourceType, Arc<Resources>>,
}

impl Snapshot {
    /// A snapshot of nothing.
    pub fn empty(changed_at: Instant) -> Self {
        let types =
            ResourceType::ALL.into_iter().map(|t| (t, Arc::new(Resources::default()))).collect();
        Self { revision: 0, changed_at, types }
    }

    /// The resources of one type.
    pub fn of(&self, resource_type: ResourceType) -> Arc<Resources> {
        self.types.get(&resource_type).cloned().unwrap_or_default()
    }

    /// This snapshot with `output` applied.
    #[must_use]
    pub fn with(&self, output: Output, changed_at: Instant) -> Self {
        let mut next = Self { revision: self.revision + 1, changed_at, types: self.types.clone() };
        for resource in output.changed {
            next.edit(resource.resource_type).insert(resource);
        }
        for (resource_type, name) in output.removed {
            next.edit(resource_type).remove(&name);
        }
        next
    }

    fn edit(&mut self, resource_type: ResourceType) -> &mut Resources {
        Arc::make_mut(self.types.entry(resource_type).or_default())
    }
}
