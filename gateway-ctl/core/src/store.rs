//! The objects: the newest version of each, and the last one that can be in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use service_kit::{Diagnostic, Object, ObjectRef, Severity};

use crate::kinds::{self, Outcome};
use crate::resource::Spec;

/// A version of an object that is in force.
#[derive(Clone, Debug)]
pub struct Good {
    /// The object.
    pub object: Arc<Object>,
    /// What it says.
    pub spec: Spec,
    /// Whether it was read without errors that would keep it out of force.
    pub sound: bool,
}

/// An object as it is known.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The newest version.
    pub latest: Arc<Object>,
    /// What is in force.
    pub good: Option<Arc<Good>>,
    /// Whether the newest version is what is in force.
    pub is_newest: bool,
    /// What is wrong with the newest version.
    pub found: Vec<Diagnostic>,
}

/// What an event did: what was in force and what is.
#[derive(Debug)]
pub struct Change {
    /// Which object.
    pub reference: ObjectRef,
    /// In force before.
    pub old: Option<Arc<Good>>,
    /// In force now.
    pub new: Option<Arc<Good>>,
    /// Whether the object was or is broken without a version in force, which some kinds heed.
    pub missing: bool,
    /// Whether other things are wrong with it now.
    pub found_changed: bool,
}

/// An object that is for other installations: just enough to say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Its `ambassador_id`.
    pub ids: Vec<String>,
    /// Its `hostname`; `*` when it has none.
    pub hostname: String,
    /// Its `prefix`.
    pub prefix: String,
}

/// The objects, by kind, namespace and name.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<ObjectRef, Entry>,
    /// Mappings and Hosts of other installations.
    foreign: BTreeMap<ObjectRef, Foreign>,
}

impl Foreign {
    fn of(object: &Object) -> Self {
        let text = |name: &str| object.json.pointer(&format!("/spec/{name}"))?.as_str();
        let ids = match object.json.pointer("/spec/ambassador_id") {
            Some(Value::String(id)) => vec![id.clone()],
            Some(Value::Array(ids)) => {
                ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => vec!["default".to_owned()],
        };
        Self {
            ids,
            hostname: text("hostname").or_else(|| text("host")).unwrap_or("*").to_owned(),
            prefix: text("prefix").unwrap_or_default().to_owned(),
        }
    }
}

impl Store {
    /// Takes a new version of an object. `None` when it changes nothing.
    pub fn put(&mut self, object: Arc<Object>, ambassador_id: &str) -> Option<Change> {
        let reference = object.reference.clone();
        if let Some(entry) = self.entries.get_mut(&reference)
            && *entry.latest == *object
        {
            // The same text at another place: findings take the place from the newest version.
            entry.latest = object;
            return None;
        }
        let (outcome, mut found) = kinds::read(&object, ambassador_id);
        let is_newest = matches!(outcome, Outcome::Good(_));
        let previous = self.entries.get(&reference).and_then(|e| e.good.clone());
        let good = match outcome {
            Outcome::Foreign => {
                let change = self.remove(&reference);
                if ["Host", "Mapping"].contains(&reference.kind.as_str()) {
                    self.foreign.insert(reference, Foreign::of(&object));
                }
                return change;
            }
            Outcome::Good(spec) => Some(Good { object: object.clone(), spec, sound: true }),
            Outcome::Broken(fallback) => match &previous {
                Some(good) if good.sound => {
                    for d in found.iter_mut().filter(|d| d.severity == Severity::Error) {
                        d.message += "; the previous version stays in force";
                    }
                    Some(Good::clone(good))
                }
                _ => fallback.map(|spec| Good { object: object.clone(), spec, sound: false }),
            },
        };
        let good = match (good, &previous) {
            // Equality firewall: what says the same is the same.
            (Some(new), Some(old)) if same(&new, old) => Some(Arc::clone(old)),
            (good, _) => good.map(Arc::new),
        };
        let entry = Entry { latest: object, good: good.clone(), is_newest, found };
        self.foreign.remove(&reference);
        let before = self.entries.insert(reference.clone(), entry);
        let now = self.entries.get(&reference)?;
        Some(Change {
            missing: before.as_ref().is_some_and(|e| e.good.is_none()) || good.is_none(),
            found_changed: before.map_or(!now.found.is_empty(), |e| e.found != now.found),
            reference,
            old: previous,
            new: good,
        })
    }

    /// Forgets an object. `None` when it was not known.
    pub fn remove(&mut self, reference: &ObjectRef) -> Option<Change> {
        self.foreign.remove(reference);
        let entry = self.entries.remove(reference)?;
        Some(Change {
            reference: reference.clone(),
            missing: entry.good.is_none(),
            found_changed: !entry.found.is_empty(),
            old: entry.good,
            new: None,
        })
    }

    /// What is known of an object.
    pub fn get(&self, reference: &ObjectRef) -> Option<&Entry> {
        self.entries.get(reference)
    }

    /// What is in force of an object.
    pub fn good(&self, reference: &ObjectRef) -> Option<&Arc<Good>> {
        self.entries.get(reference)?.good.as_ref()
    }

    /// Every object of a kind, sorted by namespace and name.
    pub fn of_kind<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a Entry)> {
        let first = ObjectRef::new(kind, "", "");
        self.entries.range(first..).take_while(move |(reference, _)| reference.kind == kind)
    }

    /// The Mappings and Hosts that are for other installations.
    pub const fn foreign(&self) -> &BTreeMap<ObjectRef, Foreign> {
        &self.foreign
    }

    /// Every object.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &Entry)> {
        self.entries.iter()
    }
}

/// Whether two versions mean the same. Objects that are passed on whole are compared whole.
fn same(a: &Good, b: &Good) -> bool {
    let whole = matches!(a.spec, Spec::RateLimit | Spec::Authorization { .. } | Spec::Secret(_));
    a.sound == b.sound && a.spec == b.spec && (!whole || a.object == b.object)
}
