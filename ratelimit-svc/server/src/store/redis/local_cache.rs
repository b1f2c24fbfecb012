//! Keys of windows that are over, so that nobody asks Redis for them again: `LOCAL_CACHE_SIZE_IN_BYTES`.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A power of two.
const SHARDS: usize = 16;
/// What an entry costs beside its key: map slot, allocation.
const ENTRY: usize = 64;
/// The smallest cache, in bytes; as in the original.
const SMALLEST: usize = 512 << 10;

/// Keys and the moment (seconds since the Unix epoch) they are forgotten at.
#[derive(Debug)]
pub(super) struct LocalCache {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    shard_bytes: usize,
}

#[derive(Debug, Default)]
struct Shard {
    keys: HashMap<Box<str>, u64>,
    bytes: usize,
    swept: u64,
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

    /// Whether `key` is known to be over at `now`.
    pub(super) fn contains(&self, key: &str, now: u64) -> bool {
        self.shard(key).keys.get(key).is_some_and(|until| *until > now)
    }

    /// Remembers `key` until `until`.
    pub(super) fn insert(&self, key: &str, until: u64, now: u64) {
        let cost = key.len() + ENTRY;
        let mut shard = self.shard(key);
        if cost > self.shard_bytes {
            return;
        }
        if let Some(known) = shard.keys.get_mut(key) {
            *known = until;
            return;
        }
        if shard.bytes + cost > self.shard_bytes {
            shard.make_room(self.shard_bytes - cost, now);
        }
        shard.bytes += cost;
        shard.keys.insert(key.into(), until);
    }

    /// Forgets `key`: hits were given back.
    pub(super) fn remove(&self, key: &str) {
        self.shard(key).remove(key);
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets until at most `bytes` are used: first what is past, once a second; then anything.
    fn make_room(&mut self, bytes: usize, now: u64) {
        if self.swept != now {
            self.swept = now;
            self.keys.retain(|_, until| *until > now);
            self.bytes = self.keys.keys().map(|key| key.len() + ENTRY).sum();
        }
        while self.bytes > bytes {
            let Some(key) = self.keys.keys().next().cloned() else { return };
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &str) {
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
        cache.insert("k", 60, 10);
        assert!(cache.contains("k", 59) && !cache.contains("k", 60) && !cache.contains("x", 0));
        cache.remove("k");
        assert!(!cache.contains("k", 10));
    }

    #[test]
    fn stays_within_its_bytes() {
        let cache = LocalCache::new(0);
        for i in 0..100_000 {
            cache.insert(&format!("key-{i}"), 60, 1);
        }
        let bytes: usize = cache.shards.iter().map(|s| s.lock().unwrap().bytes).sum();
        assert!(bytes <= SMALLEST && bytes > SMALLEST / 2, "{bytes}");
        assert!(cache.contains("key-99999", 1));
    }
}
