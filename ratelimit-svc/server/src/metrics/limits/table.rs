//! The counters by name. Read with a shared lock on a request's way, and only for names that depend
//! on the request; written when a name is new, when limits are loaded and when idle names are
//! forgotten.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap};
use ratelimit_core::LimitId;
use ratelimit_core::ratelimit_file::LEVEL;

use super::super::name::{self, Naming};
use super::{LimitMetrics, Series};

/// Most names that depend on requests.
pub(super) const MAX_BY_VALUE: usize = 10_000;
/// Most domains without limits that are counted by name.
const MAX_DOMAINS: usize = 1_000;
/// Names of requests are forgotten when nothing was counted for this long.
pub(super) const IDLE: Duration = Duration::from_secs(3_600);

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

#[derive(Debug)]
pub(super) struct Table {
    naming: Naming,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the limits in force.
    of_limits: Map<Key, LimitMetrics>,
    /// Named after requests.
    by_value: Map<Key, Kept<LimitMetrics>>,
    /// Of limits that are gone: what they counted last may not have been sent yet.
    gone: Map<Key, Kept<LimitMetrics>>,
    unknown_domains: Map<Box<str>, Kept<Arc<Unknown>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    domain: Arc<str>,
    /// Levels are divided by [`LEVEL`].
    path: Arc<str>,
}

/// A [`Key`] to look up without making one.
#[derive(Hash)]
struct Wanted<'a> {
    domain: &'a str,
    path: &'a str,
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *key.path == *self.path && *key.domain == *self.domain
    }
}

/// Something that is forgotten when it is idle.
#[derive(Debug)]
struct Kept<T> {
    what: T,
    /// Its activity when that was looked at last, and since when it is so.
    seen: Option<(u64, Instant)>,
}

/// Requests of a domain without limits.
#[derive(Debug)]
struct Unknown {
    name: Box<str>,
    count: AtomicU64,
}

impl<T> Kept<T> {
    fn new(what: T) -> Self {
        Self { what, seen: None }
    }

    /// Whether `activity` changed within [`IDLE`] of `now`.
    fn is_busy(&mut self, activity: u64, now: Instant) -> bool {
        match self.seen {
            Some((seen, since)) if seen == activity => now.saturating_duration_since(since) < IDLE,
            _ => {
                self.seen = Some((activity, now));
                true
            }
        }
    }
}

impl Table {
    pub(super) fn new(naming: Naming) -> Self {
        Self { naming, state: RwLock::default() }
    }

    /// Makes the counters of all limits anew, those there are already as they are.
    pub(super) fn load<'a>(
        &self,
        limits: impl Iterator<Item = (LimitId, &'a str, String)>,
        mut each: impl FnMut(LimitId, LimitMetrics),
    ) {
        let mut state = self.write();
        let mut now: Map<Key, LimitMetrics> = Map::default();
        for (id, domain, path) in limits {
            let wanted = Wanted { domain, path: &path };
            let of_gone = || state.gone.get(&wanted).map(|kept| kept.what.clone());
            let twin = now.get(&wanted).cloned();
            let known = twin.or_else(|| state.find(&wanted)).or_else(of_gone);
            let metrics = known.unwrap_or_else(|| self.series(domain, &path));
            now.insert(Key { domain: domain.into(), path: path.into() }, metrics.clone());
            each(id, metrics);
        }
        let before = std::mem::replace(&mut state.of_limits, now);
        let State { of_limits, by_value, gone, .. } = &mut *state;
        gone.retain(|key, _| !of_limits.contains_key(key));
        // A limit's own name is no longer one of requests.
        by_value.retain(|key, _| !of_limits.contains_key(key));
        for (key, metrics) in before {
            if !of_limits.contains_key(&key) && gone.len() < MAX_BY_VALUE {
                gone.insert(key, Kept::new(metrics));
            }
        }
    }

    /// The counters of that name; none when there are too many names.
    pub(super) fn by_value(&self, domain: &str, path: &str) -> Option<LimitMetrics> {
        let wanted = Wanted { domain, path };
        if let Some(known) = self.read().find(&wanted) {
            return Some(known);
        }
        let mut state = self.write();
        if let Some(known) = state.find(&wanted) {
            return Some(known);
        }
        if state.by_value.len() >= MAX_BY_VALUE {
            return None;
        }
        let metrics = self.series(domain, path);
        let key = Key { domain: metrics.0.domain.clone(), path: path.into() };
        state.by_value.insert(key, Kept::new(metrics.clone()));
        Some(metrics)
    }

    /// Counts descriptors of a domain without limits; false when there are too many such domains.
    pub(super) fn domain_not_found(&self, domain: &str, descriptors: u64) -> bool {
        let add = |unknown: &Unknown| {
            unknown.count.fetch_add(descriptors, Relaxed);
            true
        };
        if let Some(known) = self.read().unknown_domains.get(domain) {
            return add(&known.what);
        }
        let mut state = self.write();
        if state.unknown_domains.len() >= MAX_DOMAINS || domain.len() > super::MAX_NAME {
            return false;
        }
        let new = || Unknown { name: name::domain_not_found(domain), count: AtomicU64::default() };
        let entry = state.unknown_domains.entry(domain.into());
        add(&entry.or_insert_with(|| Kept::new(Arc::new(new()))).what)
    }

    /// Forgets names of requests, and of limits that are gone, that were idle for [`IDLE`].
    pub(super) fn sweep(&self, now: Instant) {
        let mut state = self.write();
        let State { by_value, gone, unknown_domains, .. } = &mut *state;
        for kept in [by_value, gone] {
            kept.retain(|_, kept| kept.is_busy(kept.what.0.activity(), now));
            kept.shrink_to(kept.len().saturating_mul(2));
        }
        unknown_domains.retain(|_, kept| kept.is_busy(kept.what.count.load(Relaxed), now));
    }

    /// The counters of limits in force and of requests.
    pub(super) fn in_force(&self) -> Vec<LimitMetrics> {
        let state = self.read();
        let by_value = state.by_value.values().map(|kept| &kept.what);
        let mut all: Vec<LimitMetrics> =
            state.of_limits.values().chain(by_value).cloned().collect();
        drop(state);
        all.sort_by(|a, b| (&a.0.domain, &a.0.limit).cmp(&(&b.0.domain, &b.0.limit)));
        all
    }

    /// All counters, also of limits that are gone; and the domains without limits.
    pub(super) fn all(&self) -> (Vec<LimitMetrics>, Vec<(Box<str>, u64)>) {
        let state = self.read();
        let kept = state.by_value.values().chain(state.gone.values()).map(|kept| &kept.what);
        let all = state.of_limits.values().chain(kept).cloned().collect();
        let domains = state.unknown_domains.values();
        let domains = domains.map(|k| (k.what.name.clone(), k.what.count.load(Relaxed)));
        (all, domains.collect())
    }

    fn series(&self, domain: &str, path: &str) -> LimitMetrics {
        LimitMetrics(Arc::new(Series {
            domain: domain.into(),
            limit: path.replace(LEVEL, ".").into(),
            name: self.naming.limit(domain, path),
            ..Series::default()
        }))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, wanted: &Wanted<'_>) -> Option<LimitMetrics> {
        let of_value = || self.by_value.get(wanted).map(|kept| &kept.what);
        self.of_limits.get(wanted).or_else(of_value).cloned()
    }
}
