//! Keys of windows that are over, so that nobody asks Redis for them again: `LOCAL_CACHE_SIZE_IN_BYTES`.
//! The count is kept, not the verdict, so that a limit that is raised counts at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::LocalCacheStats;

/// A power of two.
const SHARDS: usize = 16;
/// What an entry costs beside its key: map slot, allocation.
const ENTRY: usize = 64;
/// The smallest cache, in bytes; as in the original.
const SMALLEST: usize = 512 << 10;

/// Keys and their counts.
#[derive(Debug)]
pub(super) struct LocalCache {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    shard_bytes: usize,
    stats: LocalCacheStats,
    entries: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<Box<[u8]>, Over>,
    bytes: usize,
    swept: u64,
}

#[derive(Clone, Copy, Debug)]
struct Over {
    /// Hits in the window, at least.
    count: u64,
    /// When it is forgotten, in seconds since the Unix epoch.
    until: u64,
}

impl LocalCache {
    /// For about `bytes` bytes of keys.
    pub(super) fn new(bytes: usize, stats: LocalCacheStats) -> Self {
        stats.in_use();
        Self {
            stats,
            entries: AtomicU64::new(0),
            shards: Default::default(),
            hasher: RandomState::new(),
            shard_bytes: bytes.max(SMALLEST) / SHARDS,
        }
    }

    /// Whether `key` is known at `now` to have more hits than `limit`.
    pub(super) fn is_over(&self, key: &[u8], limit: u64, now: u64) -> bool {
        let known = self.shard(key).keys.get(key).copied();
        let is_over = known.is_some_and(|over| over.until > now && over.count > limit);
        self.stats.looked_up(is_over);
        is_over
    }

    /// Remembers until `until` that `key` has `count` hits.
    pub(super) fn insert(&self, key: &[u8], count: u64, until: u64, now: u64) {
        let cost = key.len() + ENTRY;
        let mut shard = self.shard(key);
        if cost > self.shard_bytes {
            return;
        }
        let over = Over { count, until };
        if let Some(known) = shard.keys.get_mut(key) {
            *known = over;
            self.stats.inserted(true, self.entries.load(Relaxed));
            return;
        }
        if shard.bytes + cost > self.shard_bytes {
            let (expired, evicted) = shard.make_room(self.shard_bytes - cost, now);
            let before = self.entries.fetch_sub(expired + evicted, Relaxed);
            self.stats.removed(expired, evicted, before.saturating_sub(expired + evicted));
        }
        shard.bytes += cost;
        shard.keys.insert(key.into(), over);
        self.stats.inserted(false, self.entries.fetch_add(1, Relaxed) + 1);
    }

    /// Forgets `key`: hits were given back.
    pub(super) fn remove(&self, key: &[u8]) {
        if self.shard(key).remove(key) {
            self.entries.fetch_sub(1, Relaxed);
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets until at most `bytes` are used: first what is past, once a second; then anything.
    /// Gives how many of each.
    fn make_room(&mut self, bytes: usize, now: u64) -> (u64, u64) {
        let (mut expired, mut evicted) = (0, 0);
        if self.swept != now {
            self.swept = now;
            let before = self.keys.len();
            self.keys.retain(|_, over| over.until > now);
            expired = (before - self.keys.len()) as u64;
            self.bytes = self.keys.keys().map(|key| key.len() + ENTRY).sum();
        }
        while self.bytes > bytes {
            let Some(key) = self.keys.keys().next().cloned() else { break };
            self.remove(&key);
            evicted += 1;
        }
        (expired, evicted)
    }

    /// Gives whether it was there.
    fn remove(&mut self, key: &[u8]) -> bool {
        let known = self.keys.remove(key).is_some();
        if known {
            self.bytes -= key.len() + ENTRY;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_key_until_its_time() {
        let cache = LocalCache::new(0, LocalCacheStats::default());
        cache.insert(b"k", 6, 60, 10);
        assert!(cache.is_over(b"k", 5, 59) && !cache.is_over(b"k", 5, 60));
        assert!(!cache.is_over(b"k", 6, 10) && !cache.is_over(b"x", 0, 0));
        cache.remove(b"k");
        assert!(!cache.is_over(b"k", 5, 10));
    }

    #[test]
    fn stays_within_its_bytes() {
        let cache = LocalCache::new(0, LocalCacheStats::default());
        for i in 0..100_000 {
            cache.insert(format!("key-{i}").as_bytes(), 1, 60, 1);
        }
        let bytes: usize = cache.shards.iter().map(|s| s.lock().unwrap().bytes).sum();
        assert!(bytes <= SMALLEST && bytes > SMALLEST / 2, "{bytes}");
        assert!(cache.is_over(b"key-99999", 0, 1));
    }
}
