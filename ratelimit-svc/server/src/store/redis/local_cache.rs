//! Keys of windows that are over, so that nobody asks Redis for them again: `LOCAL_CACHE_SIZE_IN_BYTES`.
//! The count is kept, not the verdict, so that a limit that is raised counts at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            shard_bytes: bytes.max(SMALLEST) / SHARDS,
        }
    }

    /// Whether `key` is known at `now` to have more hits than `limit`.
    pub(super) fn is_over(&self, key: &[u8], limit: u64, now: u64) -> bool {
        self.shard(key).keys.get(key).is_some_and(|over| over.until > now && over.count > limit)
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
            return;
        }
        if shard.bytes + cost > self.shard_bytes {
            shard.make_room(self.shard_bytes - cost, now);
        }
        shard.bytes += cost;
        shard.keys.insert(key.into(), over);
    }

    /// Forgets `key`: hits were given back.
    pub(super) fn remove(&self, key: &[u8]) {
        self.shard(key).remove(key);
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets until at most `bytes` are used: first what is past, once a second; then anything.
    fn make_room(&mut self, bytes: usize, now: u64) {
        if self.swept != now {
            self.swept = now;
            self.keys.retain(|_, over| over.until > now);
            self.bytes = self.keys.keys().map(|key| key.len() + ENTRY).sum();
        }
        while self.bytes > bytes {
            let Some(key) = self.keys.keys().next().cloned() else { return };
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if self.keys.remove(key).is_some() {
            self.bytes -= key.len() + ENTRY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_key_until_its_time() {
        let cache = LocalCache::new(0);
        cache.insert(b"k", 6, 60, 10);
        assert!(cache.is_over(b"k", 5, 59) && !cache.is_over(b"k", 5, 60));
        assert!(!cache.is_over(b"k", 6, 10) && !cache.is_over(b"x", 0, 0));
        cache.remove(b"k");
        assert!(!cache.is_over(b"k", 5, 10));
    }

    #[test]
    fn stays_within_its_bytes() {
        let cache = LocalCache::new(0);
        for i in 0..100_000 {
            cache.insert(format!("key-{i}").as_bytes(), 1, 60, 1);
        }
        let bytes: usize = cache.shards.iter().map(|s| s.lock().unwrap().bytes).sum();
        assert!(bytes <= SMALLEST && bytes > SMALLEST / 2, "{bytes}");
        assert!(cache.is_over(b"key-99999", 0, 1));
    }
}
