//! Groups of Mappings, the Hosts they are on, and the virtual hosts that come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::clusters::Clusters;
use super::host::{HostState, Slice};
use crate::envoy::table::Part;
use crate::index::{Index, Keys};
use crate::ir::RouteKey;
use crate::lower::binding::Mode;
use crate::lower::group::{self, Environment, Member};
use crate::resource::{Host, Mapping, Spec};
use crate::store::Store;

/// A group's routes on its Hosts. Most groups have one member on one Host, and a tree's first node
/// has room for eleven: so their references are boxed.
type Slices = BTreeMap<Box<ObjectRef>, Arc<Slice>>;

/// A group.
#[derive(Debug, Default)]
struct GroupState {
    members: BTreeSet<Box<ObjectRef>>,
    hosts: Slices,
    found: Vec<Diagnostic>,
}

/// Groups and Hosts.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<RouteKey>, GroupState>,
    /// The Hosts in force.
    pub(super) hosts: BTreeMap<ObjectRef, HostState>,
    /// Whether a Host takes what fits its hostname or its selector, not only what fits both.
    pub(super) loose: bool,
    /// Hosts whose selector names no label that could be looked up.
    unlabelled: BTreeSet<ObjectRef>,
    pub(super) host_index: Index,
    pub(super) mapping_index: Index,
    /// Hosts for whose routes there is no room.
    pub(super) crowded_out: BTreeMap<ObjectRef, Diagnostic>,
    mapping_count: usize,
    /// Whether there may be another number of routes than when they were counted last.
    recount: bool,
    dirty: BTreeSet<Arc<RouteKey>>,
    /// Hosts whose virtual hosts changed since the tables were put together.
    pub(super) dirty_hosts: BTreeSet<ObjectRef>,
    /// Whether what is wrong with groups changed.
    pub(super) found_changed: bool,
}

fn mapping_keys(mapping: &Mapping) -> Keys<'_> {
    Keys {
        hostname: mapping.key.hostname.as_ref(),
        any_host: mapping.key.hostname_regex.is_some(),
        labels: mapping.object_labels.iter().collect(),
    }
}

/// A Host with a selector is found by one of its labels (by each, where each is enough), others (and
/// all, where that is enough) by their hostname.
pub(super) fn host_keys(host: &Host, loose: bool) -> Keys<'_> {
    let selector = host.selector.as_ref();
    let most = if loose { usize::MAX } else { 1 };
    Keys {
        labels: selector.iter().flat_map(|s| &s.labels).take(most).collect(),
        hostname: (selector.is_none() || loose).then_some(&host.hostname),
        ..Keys::default()
    }
}

/// Whether only a look at every Mapping tells which ones a Host takes.
pub(super) fn is_unlabelled(host: &Host) -> bool {
    host.selector.as_ref().is_some_and(|s| s.labels.is_empty())
}

impl Groups {
    /// Moves a Mapping from the group it was in to the one it is in now; both are to be lowered.
    pub(super) fn touch_mapping(
        &mut self,
        object: &ObjectRef,
        old: Option<&Mapping>,
        new: Option<&Mapping>,
    ) {
        let hostname = |mapping: Option<&Mapping>| mapping.map(|m| m.key.hostname.clone());
        self.recount |= hostname(old) != hostname(new);
        self.mapping_count += usize::from(new.is_some());
        self.mapping_count -= usize::from(old.is_some());
        if let Some(old) = old {
            self.mapping_index.remove(object, &mapping_keys(old));
            if let Some(state) = self.groups.get_mut(&old.key) {
                state.members.remove(object);
            }
            self.dirty.insert(old.key.clone());
        }
        if let Some(new) = new {
            self.mapping_index.insert(object, &mapping_keys(new));
            self.groups
                .entry(new.key.clone())
                .or_default()
                .members
                .insert(Box::new(object.clone()));
            self.dirty.insert(new.key.clone());
        }
    }

    /// Sets a Host; the groups that it took or takes are to be lowered.
    pub(super) fn touch_host(&mut self, store: &Store, object: &ObjectRef, new: Option<&Host>) {
        self.recount = true;
        let old = self.hosts.get(object).map(|state| state.host().clone());
        for host in old.iter().chain(new) {
            self.dirty_mappings_of(store, host);
        }
        if let Some(old) = &old {
            self.host_index.remove(object, &host_keys(old, self.loose));
        }
        if new.is_some_and(is_unlabelled) {
            self.unlabelled.insert(object.clone());
        } else {
            self.unlabelled.remove(object);
        }
        match new {
            Some(new) => {
                self.host_index.insert(object, &host_keys(new, self.loose));
                match self.hosts.get_mut(object) {
                    Some(state) => state.set(new.clone()),
                    None => drop(self.hosts.insert(object.clone(), HostState::new(new.clone()))),
                }
            }
            None => {
                self.hosts.remove(object);
                // What a group knows of a Host that is gone must not be taken for current.
                for state in self.groups.values_mut() {
                    state.hosts.remove(object);
                }
            }
        }
        self.dirty_hosts.insert(object.clone());
    }

    pub(super) fn dirty_mappings_of(&mut self, store: &Store, host: &Host) {
        if self.dirty.len() == self.groups.len() {
            return;
        }
        if is_unlabelled(host) {
            return self.dirty_all();
        }
        let keys = host_keys(host, self.loose);
        let mut mappings: Vec<&ObjectRef> = Vec::new();
        for (key, value) in keys.labels {
            mappings.extend(self.mapping_index.by_label(key, value));
        }
        if let Some(hostname) = keys.hostname {
            mappings.extend(self.mapping_index.by_hostname(hostname));
        }
        for mapping in mappings {
            if let Some(mapping) = mapping_of(store, mapping) {
                self.dirty.insert(mapping.key.clone());
            }
        }
    }

    /// Marks the group of a Mapping.
    pub(super) fn dirty_group_of(&mut self, mapping: &Mapping) {
        self.dirty.insert(mapping.key.clone());
    }

    /// Marks every group.
    pub(super) fn dirty_all(&mut self) {
        self.dirty.extend(self.groups.keys().cloned());
    }

    /// Lowers what is to be lowered; gives how many groups that were.
    pub(super) fn settle(
        &mut self,
        store: &Store,
        clusters: &Clusters,
        env: &Environment,
    ) -> usize {
        if std::mem::take(&mut self.recount) {
            self.keep_bound(store, super::bound::MOST_ROUTES);
        }
        let mut lowered = 0;
        for key in std::mem::take(&mut self.dirty) {
            let Some(state) = self.groups.get(&key) else { continue };
            let (hosts, found, count) = self.lower(store, clusters, env, &key, state);
            lowered += count;
            let mut old = Slices::new();
            if let Some(state) = self.groups.get_mut(&key) {
                self.found_changed |= state.found != found;
                state.found = found;
                old = std::mem::replace(&mut state.hosts, hosts.clone());
                if state.members.is_empty() {
                    self.groups.remove(&key);
                }
            }
            self.assign(&key, old, &hosts);
        }
        lowered
    }

    /// Tells Hosts which routes of a group they have now.
    fn assign(&mut self, key: &RouteKey, mut old: Slices, new: &Slices) {
        for (host, slice) in new {
            let before = old.remove(host);
            let Some(state) = self.hosts.get_mut(&**host) else { continue };
            if state.put(slice) || before.is_none() {
                self.dirty_hosts.insert(ObjectRef::clone(host));
            }
        }
        for host in old.into_keys() {
            if let Some(state) = self.hosts.get_mut(&*host)
                && state.remove(key)
            {
                self.dirty_hosts.insert(*host);
            }
        }
    }

    /// The Hosts of a group and its routes on each. Hosts that take the same members share them.
    fn lower(
        &self,
        store: &Store,
        clusters: &Clusters,
        env: &Environment,
        key: &Arc<RouteKey>,
        state: &GroupState,
    ) -> (Slices, Vec<Diagnostic>, usize) {
        let mut found = Vec::new();
        let mut by_host: BTreeMap<&ObjectRef, Vec<&ObjectRef>> = BTreeMap::new();
        for member in &state.members {
            let Some(mapping) = mapping_of(store, member) else { continue };
            let hosts = self.hosts_of(mapping);
            if hosts.is_empty() {
                found.push(orphan(member, mapping));
            }
            for host in hosts {
                by_host.entry(host).or_default().push(member);
            }
        }
        let mut by_members: BTreeMap<Vec<&ObjectRef>, Vec<&ObjectRef>> = BTreeMap::new();
        for (host, members) in by_host {
            by_members.entry(members).or_default().push(host);
        }
        let mut result = Slices::new();
        let lowered = by_members.len();
        for (members, hosts) in by_members {
            let members = members.into_iter().filter_map(|reference| {
                let mapping = mapping_of(store, reference)?;
                let (cluster, claim) = (clusters.name_of(reference), clusters.claim_of(reference));
                Some(Member { reference, mapping, cluster, claim })
            });
            let group = group::lower(members.collect(), env);
            found.extend(group.found.iter().cloned());
            // Equality firewall: routes that are the same stay the same slice.
            let known =
                hosts.iter().find_map(|h| state.hosts.get(*h).filter(|s| *s.routes().1 == group));
            let slice = known.cloned().unwrap_or_else(|| Arc::new(Slice::new(key.clone(), group)));
            result.extend(hosts.into_iter().map(|h| (Box::new(h.clone()), slice.clone())));
        }
        found.sort();
        found.dedup();
        (result, found, lowered.max(1))
    }

    /// The Hosts that take a Mapping.
    fn hosts_of<'a>(&'a self, mapping: &'a Mapping) -> BTreeSet<&'a ObjectRef> {
        let hostname = mapping.key.hostname.as_ref();
        let any_host = mapping.key.hostname_regex.is_some();
        let has_room = |host: &&ObjectRef| !self.crowded_out.contains_key(*host);
        let mut candidates: Vec<&ObjectRef> = self.unlabelled.iter().filter(has_room).collect();
        if any_host {
            candidates.extend(self.host_index.all_hosts());
        } else if let Some(hostname) = hostname {
            candidates.extend(self.host_index.by_hostname(hostname));
        }
        for (key, value) in &mapping.object_labels {
            candidates.extend(self.host_index.by_label(key, value));
        }
        candidates
            .into_iter()
            .filter(|reference| {
                self.hosts.get(*reference).is_some_and(|state| {
                    state.host().takes(hostname, any_host, &mapping.object_labels, self.loose)
                })
            })
            .collect()
    }

    /// The virtual host of a Host in one way of serving it.
    pub(super) fn virtual_host(&mut self, host: &ObjectRef, mode: Mode) -> Option<Part> {
        let name = format!("{}/{}", host.namespace, host.name);
        Some(self.hosts.get_mut(host)?.virtual_host(&name, mode))
    }

    /// How many Mappings there are.
    pub(super) const fn mapping_count(&self) -> usize {
        self.mapping_count
    }

    /// What is wrong with groups, and with Hosts that have no room.
    pub(super) fn found(&self) -> impl Iterator<Item = &Diagnostic> {
        self.groups.values().flat_map(|state| &state.found).chain(self.crowded_out.values())
    }
}

/// A Mapping in force.
pub(super) fn mapping_of<'a>(store: &'a Store, object: &ObjectRef) -> Option<&'a Mapping> {
    match &store.good(object)?.spec {
        Spec::Mapping(mapping) => Some(mapping),
        _ => None,
    }
}

fn orphan(object: &ObjectRef, mapping: &Mapping) -> Diagnostic {
    let (path, text) = match (&mapping.key.hostname, &mapping.key.hostname_regex) {
        (Some(hostname), _) => ("spec.hostname", format!("hostname `{hostname}` fits no Host")),
        (None, Some(regex)) => ("spec.host", format!("host `{regex}`: there is no Host")),
        (None, None) => {
            ("spec", "it has no hostname, and no Host's mappingSelector takes it".to_owned())
        }
    };
    let text = format!("{text}, so no request gets here");
    let mut d = Diagnostic::new(Severity::Notice, object.clone(), path, text);
    d.hint("give it the hostname (and the labels) that a Host takes");
    d
}
