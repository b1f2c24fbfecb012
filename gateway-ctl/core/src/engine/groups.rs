//! Groups of Mappings, the Hosts they are on, and the virtual hosts that come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::clusters::Clusters;
use crate::envoy::{self, table::Part};
use crate::index::{Index, Keys};
use crate::ir::{PathKind, RouteKey};
use crate::lower::binding::Mode;
use crate::lower::group::{self, Environment, Group, Member};
use crate::lower::paths::{self, Reach};
use crate::resource::{Host, Mapping, Spec};
use crate::store::Store;
use crate::syntax::Hostname;

/// A group's routes on one set of Hosts, and their encodings as they were needed.
#[derive(Debug)]
pub(super) struct Slice {
    key: Arc<RouteKey>,
    group: Group,
    /// By way of serving; on Hosts that have names which the Mappings have not, and on others.
    parts: [[OnceLock<Part>; 5]; 2],
}

impl Slice {
    /// The key and the routes.
    pub(super) fn routes(&self) -> (&RouteKey, &Group) {
        (&self.key, &self.group)
    }

    /// Whether the Host has names that the Mappings have not.
    fn is_narrow(&self, host: &Hostname) -> bool {
        self.key.hostname.as_ref().is_none_or(|hostname| !hostname.covers(host))
    }

    fn part(&self, host: &Hostname, mode: Mode) -> Option<&Part> {
        let narrow = self.is_narrow(host);
        let cell = self.parts.get(usize::from(narrow))?.get(mode as usize)?;
        Some(cell.get_or_init(|| {
            let routes = &self.group.routes;
            envoy::table::routes(&envoy::route::encode(&self.key, routes, mode, narrow))
        }))
    }

    /// Which paths its routes can match on a Host.
    fn reach(&self, host: &Hostname, mode: Mode) -> Reach<'_> {
        let key = &self.key;
        let located = key.case_sensitive && key.path_kind != PathKind::Regex;
        let last = self.group.routes.last();
        let any_host = matches!(key.hostname, None | Some(Hostname::Any))
            && key.hostname_regex.is_none()
            || !self.is_narrow(host);
        let unconditional = any_host
            && key.headers.is_empty()
            && key.query_parameters.is_empty()
            && last.is_some_and(|r| r.below >= 100);
        Reach {
            path: located.then_some(key.path.as_str()),
            exact: key.path_kind == PathKind::Exact,
            always: key.path_kind == PathKind::Prefix
                && unconditional
                && matches!(mode, Mode::Route | Mode::Redirect | Mode::RouteHttpsElseRedirect),
        }
    }
}

/// A group.
#[derive(Debug, Default)]
struct GroupState {
    members: BTreeSet<ObjectRef>,
    hosts: BTreeMap<ObjectRef, Arc<Slice>>,
    found: Vec<Diagnostic>,
}

/// A Host with its routes, last first.
#[derive(Debug)]
pub(super) struct HostState {
    /// What it says.
    pub(super) host: Host,
    /// Its routes; Envoy tries the last first.
    pub(super) routes: BTreeMap<Arc<RouteKey>, Arc<Slice>>,
    parts: BTreeMap<Mode, Part>,
}

/// Groups and Hosts.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<RouteKey>, GroupState>,
    /// The Hosts in force.
    pub(super) hosts: BTreeMap<ObjectRef, HostState>,
    /// Whether a Host takes what fits its hostname or its selector, not only what fits both.
    pub(super) loose: bool,
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

/// A Host with a selector is found by one of its labels, others (and all, where that is enough) by
/// their hostname.
pub(super) fn host_keys(host: &Host, loose: bool) -> Keys<'_> {
    let selector = host.selector.as_ref();
    Keys {
        labels: selector.into_iter().flatten().take(1).collect(),
        hostname: (selector.is_none() || loose).then_some(&host.hostname),
        ..Keys::default()
    }
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
            self.groups.entry(new.key.clone()).or_default().members.insert(object.clone());
            self.dirty.insert(new.key.clone());
        }
    }

    /// Sets a Host; the groups that it took or takes are to be lowered.
    pub(super) fn touch_host(&mut self, store: &Store, object: &ObjectRef, new: Option<&Host>) {
        self.recount = true;
        let old = self.hosts.get(object).map(|state| state.host.clone());
        for host in old.iter().chain(new) {
            self.dirty_mappings_of(store, host);
        }
        if let Some(old) = &old {
            self.host_index.remove(object, &host_keys(old, self.loose));
        }
        match new {
            Some(new) => {
                self.host_index.insert(object, &host_keys(new, self.loose));
                let state = self.hosts.entry(object.clone()).or_insert_with(|| HostState {
                    host: new.clone(),
                    routes: BTreeMap::new(),
                    parts: BTreeMap::new(),
                });
                state.host = new.clone();
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
        let label = host.selector.as_ref().and_then(|s| s.iter().next());
        let mut mappings: Vec<&ObjectRef> = Vec::new();
        if let Some((key, value)) = label {
            mappings.extend(self.mapping_index.by_label(key, value));
        }
        if label.is_none() || self.loose {
            mappings.extend(self.mapping_index.by_hostname(&host.hostname));
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
            let mut old = BTreeMap::new();
            if let Some(state) = self.groups.get_mut(&key) {
                self.found_changed |= state.found != found;
                state.found = found;
                old = std::mem::replace(&mut state.hosts, hosts.clone());
                if state.members.is_empty() {
                    self.groups.remove(&key);
                }
            }
            self.assign(&key, old, hosts);
        }
        lowered
    }

    /// Tells Hosts which routes of a group they have now.
    fn assign(
        &mut self,
        key: &Arc<RouteKey>,
        mut old: BTreeMap<ObjectRef, Arc<Slice>>,
        new: BTreeMap<ObjectRef, Arc<Slice>>,
    ) {
        for (host, slice) in new {
            let before = old.remove(&host);
            let Some(state) = self.hosts.get_mut(&host) else { continue };
            let known = state.routes.get(key).is_some_and(|s| Arc::ptr_eq(s, &slice));
            if !known || before.is_none() {
                state.routes.insert(key.clone(), slice);
                self.dirty_hosts.insert(host);
            }
        }
        for host in old.into_keys() {
            if let Some(state) = self.hosts.get_mut(&host)
                && state.routes.remove(key).is_some()
            {
                self.dirty_hosts.insert(host);
            }
        }
    }

    /// The Hosts of a group and its routes on each. Hosts that take the same members share them.
    #[allow(clippy::type_complexity)]
    fn lower(
        &self,
        store: &Store,
        clusters: &Clusters,
        env: &Environment,
        key: &Arc<RouteKey>,
        state: &GroupState,
    ) -> (BTreeMap<ObjectRef, Arc<Slice>>, Vec<Diagnostic>, usize) {
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
        let mut result = BTreeMap::new();
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
            let known = hosts.iter().find_map(|h| state.hosts.get(*h).filter(|s| s.group == group));
            let slice = known.cloned().unwrap_or_else(|| {
                Arc::new(Slice { key: key.clone(), group, parts: Default::default() })
            });
            result.extend(hosts.into_iter().map(|h| (h.clone(), slice.clone())));
        }
        found.sort();
        found.dedup();
        (result, found, lowered.max(1))
    }

    /// The Hosts that take a Mapping.
    fn hosts_of<'a>(&'a self, mapping: &'a Mapping) -> BTreeSet<&'a ObjectRef> {
        let hostname = mapping.key.hostname.as_ref();
        let any_host = mapping.key.hostname_regex.is_some();
        let mut candidates: Vec<&ObjectRef> = Vec::new();
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
                    state.host.takes(hostname, any_host, &mapping.object_labels, self.loose)
                })
            })
            .collect()
    }

    /// The virtual host of a Host in one way of serving it.
    pub(super) fn virtual_host(&mut self, host: &ObjectRef, mode: Mode) -> Option<Part> {
        let state = self.hosts.get_mut(host)?;
        if let Some(part) = state.parts.get(&mode) {
            return Some(part.clone());
        }
        let name = format!("{}/{}", host.namespace, host.name);
        let domain = state.host.hostname.to_string();
        let hostname = &state.host.hostname;
        let (reaches, parts): (Vec<_>, Vec<_>) = state
            .routes
            .values()
            .rev()
            .filter_map(|s| Some((s.reach(hostname, mode), s.part(hostname, mode)?)))
            .unzip();
        let part = match paths::divide(&reaches) {
            None => envoy::table::virtual_host(&name, &domain, parts.into_iter()),
            Some(division) => {
                let list = |places: &[usize]| {
                    places.iter().filter_map(|at| parts.get(*at).copied()).collect::<Vec<_>>()
                };
                let buckets = division.buckets.iter().map(|b| (&*b.prefix, list(&b.routes)));
                let rest = list(&division.rest);
                envoy::table::divided_virtual_host(&name, &domain, buckets, &rest)
            }
        };
        state.parts.insert(mode, part.clone());
        Some(part)
    }

    /// Forgets the virtual hosts of a Host, so that they are put together anew.
    pub(super) fn forget_parts(&mut self, host: &ObjectRef) {
        if let Some(state) = self.hosts.get_mut(host) {
            state.parts.clear();
        }
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
