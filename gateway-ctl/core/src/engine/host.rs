//! A Host with its routes, and the virtual hosts that are put together of them, one for each way of
//! serving it. A route that says something else costs the part of the virtual host that it is in, not
//! the whole.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::envoy::{self, table::Part};
use crate::ir::{PathKind, RouteKey};
use crate::lower::binding::Mode;
use crate::lower::group::Group;
use crate::lower::paths::{self, Reach};
use crate::resource::Host;
use crate::syntax::Hostname;

/// A group's routes on one set of Hosts, and their encodings as they were needed.
#[derive(Debug)]
pub(super) struct Slice {
    key: Arc<RouteKey>,
    group: Group,
    /// By way of serving; on Hosts that have names which the Mappings have not, and on others.
    parts: [[OnceLock<Box<Part>>; 5]; 2],
}

impl Slice {
    /// Routes that no Host has asked for yet.
    pub(super) fn new(key: Arc<RouteKey>, group: Group) -> Self {
        Self { key, group, parts: Default::default() }
    }

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
        Some(&**cell.get_or_init(|| {
            let routes = &self.group.routes;
            let encoded = envoy::route::encode(&self.key, routes, mode, narrow);
            Box::new(envoy::table::routes(&encoded))
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

/// A Host.
#[derive(Debug)]
pub(super) struct HostState {
    host: Host,
    /// Its routes; Envoy tries the last first.
    routes: BTreeMap<Arc<RouteKey>, Arc<Slice>>,
    built: BTreeMap<Mode, VirtualHost>,
}

impl HostState {
    /// A Host without routes.
    pub(super) const fn new(host: Host) -> Self {
        Self { host, routes: BTreeMap::new(), built: BTreeMap::new() }
    }

    /// Replaces what it says.
    pub(super) fn set(&mut self, host: Host) {
        self.host = host;
        self.built.clear();
    }

    /// What it says.
    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// Its routes, in the order in which Envoy tries them.
    pub(super) fn slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        self.routes.values().rev()
    }

    /// Adds routes, or replaces those of the same key; gives whether they are others.
    pub(super) fn put(&mut self, slice: &Arc<Slice>) -> bool {
        match self.routes.insert(slice.key.clone(), slice.clone()) {
            Some(old) if Arc::ptr_eq(&old, slice) => return false,
            Some(_) => {
                let hostname = &self.host.hostname;
                self.built.retain(|mode, built| built.replace(slice, hostname, *mode));
            }
            None => self.built.clear(),
        }
        true
    }

    /// Takes routes away; gives whether it had them.
    pub(super) fn remove(&mut self, key: &RouteKey) -> bool {
        let had = self.routes.remove(key).is_some();
        if had {
            self.built.clear();
        }
        had
    }

    /// Its virtual host in one way of serving it.
    pub(super) fn virtual_host(&mut self, name: &str, mode: Mode) -> Part {
        let hostname = &self.host.hostname;
        let built = self.built.entry(mode).or_insert_with(|| {
            VirtualHost::new(self.routes.values().rev().cloned().collect(), hostname, mode)
        });
        built.part(name, hostname, mode)
    }
}

/// A virtual host as it was put together last.
#[derive(Debug)]
struct VirtualHost {
    /// The routes, in the order in which they are tried.
    slices: Vec<Arc<Slice>>,
    /// The lists that they are divided into; none for a virtual host that is not divided.
    lists: Vec<List>,
    part: Option<Part>,
}

/// Routes that are tried for some paths.
#[derive(Debug)]
struct List {
    /// What the paths begin with; none: the paths of no other list.
    prefix: Option<String>,
    /// Places of its routes among the slices, ascending.
    places: Vec<usize>,
    part: Option<Part>,
}

impl VirtualHost {
    fn new(slices: Vec<Arc<Slice>>, hostname: &Hostname, mode: Mode) -> Self {
        let reaches: Vec<_> = slices.iter().map(|s| s.reach(hostname, mode)).collect();
        let mut lists = Vec::new();
        if let Some(division) = paths::divide(&reaches) {
            let list = |prefix, places| List { prefix, places, part: None };
            let buckets = division.buckets.into_iter().map(|b| list(Some(b.prefix), b.routes));
            lists.extend(buckets);
            if !division.rest.is_empty() {
                lists.push(list(None, division.rest));
            }
        }
        Self { slices, lists, part: None }
    }

    /// Takes other routes of a key that it has; gives whether it is divided as before.
    fn replace(&mut self, slice: &Arc<Slice>, hostname: &Hostname, mode: Mode) -> bool {
        let place = self.slices.binary_search_by(|s| slice.key.cmp(&s.key));
        let Some((place, old)) = place.ok().and_then(|at| Some((at, self.slices.get_mut(at)?)))
        else {
            return false;
        };
        if old.reach(hostname, mode) != slice.reach(hostname, mode) {
            return false;
        }
        *old = slice.clone();
        self.part = None;
        for list in &mut self.lists {
            if list.places.binary_search(&place).is_ok() {
                list.part = None;
            }
        }
        true
    }

    fn part(&mut self, name: &str, hostname: &Hostname, mode: Mode) -> Part {
        if let Some(part) = &self.part {
            return part.clone();
        }
        let domain = hostname.to_string();
        let part = if self.lists.is_empty() {
            let parts = self.slices.iter().filter_map(|s| s.part(hostname, mode));
            envoy::table::virtual_host(name, &domain, parts)
        } else {
            let slices = &self.slices;
            for list in self.lists.iter_mut().filter(|list| list.part.is_none()) {
                let places = list.places.iter();
                let parts: Vec<_> =
                    places.filter_map(|at| slices.get(*at)?.part(hostname, mode)).collect();
                list.part = Some(match &list.prefix {
                    Some(prefix) => envoy::table::bucket(prefix, &parts),
                    None => envoy::table::other_routes(&parts),
                });
            }
            let of = |bucket: bool| {
                let lists = self.lists.iter().filter(move |l| l.prefix.is_some() == bucket);
                lists.filter_map(|l| l.part.as_ref())
            };
            envoy::table::divided_virtual_host(name, &domain, of(true), of(false).next())
        };
        self.part = Some(part.clone());
        part
    }
}
