//! What a store says of itself, for the statistics of envoyproxy/ratelimit. A store sets; this
//! module knows none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Value;

/// Handles for a store; cheap to clone. A part that is not in use is not reported.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Connections to Redis.
    pub pool: PoolStats,
    /// Connections to the Redis for limits of a second.
    pub per_second_pool: PoolStats,
    /// What is known to be over.
    pub local_cache: LocalCacheStats,
}

/// Connections to a server.
#[derive(Clone, Debug, Default)]
pub struct PoolStats(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    in_use: AtomicU64,
    active: AtomicU64,
    total: AtomicU64,
    closed: AtomicU64,
}

impl PoolStats {
    /// There is such a pool.
    pub fn in_use(&self) {
        self.0.in_use.store(1, Relaxed);
    }

    /// A connection was made.
    pub fn opened(&self) {
        self.0.active.fetch_add(1, Relaxed);
        self.0.total.fetch_add(1, Relaxed);
    }

    /// A connection ended.
    pub fn closed(&self) {
        // A close that was never opened must not become 2^64 connections.
        let _ = self.0.active.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
        self.0.closed.fetch_add(1, Relaxed);
    }

    fn visit(&self, name: &str, each: &mut dyn FnMut(&str, Value)) {
        let Pool { in_use, active, total, closed } = &*self.0;
        if in_use.load(Relaxed) == 0 {
            return;
        }
        each(&format!("ratelimit.{name}.cx_active"), Value::Gauge(active.load(Relaxed)));
        each(&format!("ratelimit.{name}.cx_total"), Value::Counter(total.load(Relaxed)));
        each(&format!("ratelimit.{name}.cx_local_close"), Value::Counter(closed.load(Relaxed)));
    }
}

/// The cache of counters that are over. All of them are gauges, as in the original.
#[derive(Clone, Debug, Default)]
pub struct LocalCacheStats(Arc<Cache>);

#[derive(Debug, Default)]
struct Cache {
    in_use: AtomicU64,
    entries: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    overwritten: AtomicU64,
}

impl LocalCacheStats {
    /// There is such a cache.
    pub fn in_use(&self) {
        self.0.in_use.store(1, Relaxed);
    }

    /// A counter was asked for.
    pub fn looked_up(&self, found: bool) {
        if found { &self.0.hits } else { &self.0.misses }.fetch_add(1, Relaxed);
    }

    /// A counter was put in, in the place of itself if `overwritten`; so many are there now.
    pub fn inserted(&self, overwritten: bool, entries: u64) {
        self.0.overwritten.fetch_add(u64::from(overwritten), Relaxed);
        self.0.entries.store(entries, Relaxed);
    }

    /// Counters went: because their time was over, or to make room; so many are there now.
    pub fn removed(&self, expired: u64, evicted: u64, entries: u64) {
        self.0.expired.fetch_add(expired, Relaxed);
        self.0.evicted.fetch_add(evicted, Relaxed);
        self.0.entries.store(entries, Relaxed);
    }

    fn visit(&self, each: &mut dyn FnMut(&str, Value)) {
        let Cache { in_use, entries, hits, misses, expired, evicted, overwritten } = &*self.0;
        if in_use.load(Relaxed) == 0 {
            return;
        }
        let get = |n: &AtomicU64| n.load(Relaxed);
        for (name, value) in [
            ("evacuateCount", get(evicted)),
            ("expiredCount", get(expired)),
            ("entryCount", get(entries)),
            ("hitCount", get(hits)),
            ("missCount", get(misses)),
            ("lookupCount", get(hits).wrapping_add(get(misses))),
            ("overwriteCount", get(overwritten)),
        ] {
            each(&format!("ratelimit.localcache.{name}"), Value::Gauge(value));
        }
    }
}

impl StoreStats {
    pub(super) fn visit(&self, each: &mut dyn FnMut(&str, Value)) {
        self.pool.visit("redis_pool", each);
        self.per_second_pool.visit("redis_per_second_pool", each);
        self.local_cache.visit(each);
    }
}

/// Reading of files; cheap to clone. Reported once files were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileStats(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    attempts: AtomicU64,
    failures: AtomicU64,
    values: AtomicU64,
}

impl FileStats {
    /// So many files were read.
    pub(crate) fn read(&self, files: usize) {
        self.0.attempts.fetch_add(1, Relaxed);
        self.0.values.store(files as u64, Relaxed);
    }

    /// They could not be read.
    pub(crate) fn failed(&self) {
        self.0.attempts.fetch_add(1, Relaxed);
        self.0.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn visit(&self, each: &mut dyn FnMut(&str, Value)) {
        let Files { attempts, failures, values } = &*self.0;
        if attempts.load(Relaxed) == 0 {
            return;
        }
        each("runtime.load_attempts", Value::Counter(attempts.load(Relaxed)));
        each("runtime.load_failures", Value::Counter(failures.load(Relaxed)));
        each("runtime.num_values", Value::Gauge(values.load(Relaxed)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(stats: &StoreStats) -> Vec<String> {
        let mut lines = Vec::new();
        stats.visit(&mut |name, value| lines.push(format!("{name}: {}", value.number())));
        lines
    }

    #[test]
    fn only_what_is_in_use_is_reported() {
        let stats = StoreStats::default();
        assert_eq!(lines(&stats), [] as [&str; 0]);
        stats.per_second_pool.in_use();
        stats.per_second_pool.opened();
        stats.per_second_pool.opened();
        stats.per_second_pool.closed();
        let pool = [
            "ratelimit.redis_per_second_pool.cx_active: 1",
            "ratelimit.redis_per_second_pool.cx_total: 2",
            "ratelimit.redis_per_second_pool.cx_local_close: 1",
        ];
        assert_eq!(lines(&stats), pool);
    }

    #[test]
    fn lookups_are_hits_and_misses() {
        let stats = StoreStats::default();
        stats.local_cache.in_use();
        stats.local_cache.looked_up(true);
        stats.local_cache.looked_up(false);
        stats.local_cache.inserted(false, 1);
        let lines = lines(&stats);
        assert!(lines.contains(&"ratelimit.localcache.lookupCount: 2".to_owned()), "{lines:?}");
        assert!(lines.contains(&"ratelimit.localcache.entryCount: 1".to_owned()));
    }
}
