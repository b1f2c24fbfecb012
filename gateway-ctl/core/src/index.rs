//! Who could fit whom: objects by hostname and by label, so that a change looks only at those it
//! may concern.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::ObjectRef;

use crate::syntax::Hostname;

/// Objects by what they are found by.
#[derive(Debug, Default)]
pub struct Index {
    names: BTreeMap<String, BTreeSet<ObjectRef>>,
    globs: BTreeMap<Hostname, BTreeSet<ObjectRef>>,
    any_host: BTreeSet<ObjectRef>,
    labels: BTreeMap<(String, String), BTreeSet<ObjectRef>>,
}

/// What an object is found by.
#[derive(Debug, Default)]
pub struct Keys<'a> {
    /// Its hostname.
    pub hostname: Option<&'a Hostname>,
    /// Whether it fits every hostname in a way that globs cannot say.
    pub any_host: bool,
    /// Its labels.
    pub labels: Vec<(&'a String, &'a String)>,
}

impl Index {
    /// Adds an object.
    pub fn insert(&mut self, object: &ObjectRef, keys: &Keys<'_>) {
        match keys.hostname {
            Some(Hostname::Exact(name)) => {
                self.names.entry(name.clone()).or_default().insert(object.clone());
            }
            Some(glob) => {
                self.globs.entry(glob.clone()).or_default().insert(object.clone());
            }
            None => {}
        }
        if keys.any_host {
            self.any_host.insert(object.clone());
        }
        for (key, value) in &keys.labels {
            let label = ((*key).clone(), (*value).clone());
            self.labels.entry(label).or_default().insert(object.clone());
        }
    }

    /// Takes an object out that was added with the same keys.
    pub fn remove(&mut self, object: &ObjectRef, keys: &Keys<'_>) {
        match keys.hostname {
            Some(Hostname::Exact(name)) => take(&mut self.names, name, object),
            Some(glob) => take(&mut self.globs, glob, object),
            None => {}
        }
        if keys.any_host {
            self.any_host.remove(object);
        }
        for (key, value) in &keys.labels {
            take(&mut self.labels, &((*key).clone(), (*value).clone()), object);
        }
    }

    /// Objects whose hostname overlaps `hostname`, and those that fit every host.
    pub fn by_hostname<'a>(
        &'a self,
        hostname: &'a Hostname,
    ) -> impl Iterator<Item = &'a ObjectRef> {
        let exact = match hostname {
            Hostname::Exact(name) => self.names.get(name),
            _ => None,
        };
        let scanned = (!matches!(hostname, Hostname::Exact(_))).then_some(&self.names);
        let scanned = scanned
            .into_iter()
            .flatten()
            .filter(move |(name, _)| hostname.covers(&Hostname::Exact((*name).clone())));
        let globs = self.globs.iter().filter(move |(glob, _)| glob.overlaps(hostname));
        exact
            .into_iter()
            .chain(scanned.map(|(_, set)| set))
            .chain(globs.map(|(_, set)| set))
            .flatten()
            .chain(&self.any_host)
    }

    /// How many objects may fit these keys, of which some may be counted twice.
    pub fn count(&self, keys: &Keys<'_>) -> usize {
        let by_hostname = keys.hostname.map_or(0, |hostname| match hostname {
            Hostname::Any => self.all_hosts().count(),
            _ => self.by_hostname(hostname).count(),
        });
        let by_label = keys.labels.iter().map(|(key, value)| {
            let label = ((*key).clone(), (*value).clone());
            self.labels.get(&label).map_or(0, BTreeSet::len)
        });
        by_hostname + by_label.sum::<usize>()
    }

    /// Every object with a hostname.
    pub fn all_hosts(&self) -> impl Iterator<Item = &ObjectRef> {
        self.names.values().chain(self.globs.values()).flatten().chain(&self.any_host)
    }

    /// Objects with a label.
    pub fn by_label(&self, key: &str, value: &str) -> impl Iterator<Item = &ObjectRef> {
        self.labels.get(&(key.to_owned(), value.to_owned())).into_iter().flatten()
    }
}

fn take<K: Ord>(map: &mut BTreeMap<K, BTreeSet<ObjectRef>>, key: &K, object: &ObjectRef) {
    if let Some(set) = map.get_mut(key) {
        set.remove(object);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
