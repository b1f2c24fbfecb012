//! Counters in this process: bounded, in shards, each behind a short lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ratelimit_core::{Count, Counter, CounterKind, Kept, Plan};
use service_kit::server::shutdown::Shutdown;

use super::{Found, Results, StoreError, Want};

/// Most counters of all shards together.
const CAPACITY: usize = 1_000_000;
/// A power of two.
const SHARDS: usize = 64;
/// How many counters of a full shard are looked at for one that may go.
const SAMPLE: usize = 64;
/// How often counters whose time is over are dropped.
const SWEEP: Duration = Duration::from_secs(10);

/// The store.
#[derive(Debug)]
pub struct Memory {
    shards: Arc<[Mutex<Shard>]>,
    hasher: RandomState,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<Box<[u8]>, Slot, RandomState>,
    /// The second in which it was looked through for counters whose time is over.
    swept: u64,
    /// Where the next sample begins, so that it is not always the same.
    sample: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    value: Kept,
    /// Seconds since the Unix epoch.
    expires: u64,
    /// A counter that is over its limit is never dropped before its time: that would forgive.
    over: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Memory {
    /// For at most `capacity` counters.
    pub fn with_capacity(capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::default(), capacity: capacity.div_ceil(SHARDS).max(1) }
    }

    pub(super) fn with_sweeper(shutdown: Shutdown) -> Self {
        let memory = Self::default();
        let shards = memory.shards.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(SWEEP);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = shutdown.wait() => return,
                }
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let now = now.unwrap_or_default().as_secs();
                for shard in shards.iter() {
                    lock(shard).slots.retain(|_, slot| slot.expires > now);
                }
            }
        });
        memory
    }

    /// Counts what is wanted; results are in the order of `wants`.
    pub(super) fn count(&self, plan: &Plan<'_>, wants: &[Want], now: Duration) -> Results {
        let count = |want: &Want| {
            let counter = plan.counters.get(want.index).ok_or(StoreError::Unanswered)?;
            self.add(plan.key(counter), counter, want.hits, want.refund, now)
        };
        wants.iter().map(count).collect()
    }

    /// The hits of windows, without counting.
    pub(super) fn peek(&self, plan: &Plan<'_>, indices: &[usize]) -> Results {
        let peek = |index: &usize| {
            let counter = plan.counters.get(*index).ok_or(StoreError::Unanswered)?;
            let key = plan.key(counter);
            let after = match self.shard(key).slots.get(key).map(|slot| slot.value) {
                Some(Kept::Hits(hits)) => hits,
                _ => 0,
            };
            Ok(Count::Window { after })
        };
        indices.iter().map(peek).collect()
    }

    /// Counts `hits` of one counter or, with `refund`, takes them off.
    ///
    /// # Errors
    /// When the memory is full of counters that are over their limits.
    pub(super) fn add(
        &self,
        key: &[u8],
        counter: &Counter,
        hits: u64,
        refund: bool,
        now: Duration,
    ) -> Result<Count, StoreError> {
        let seconds = now.as_secs();
        let mut shard = self.shard(key);
        let known = shard.slots.get(key).copied().filter(|slot| slot.expires > seconds);
        let (slot, count) = next(known, counter, hits, refund, now);
        match shard.slots.get_mut(key) {
            Some(place) => *place = slot,
            // Nothing was counted that could be given back.
            None if refund => {}
            None => {
                if shard.slots.len() >= self.capacity && !shard.make_room(seconds) {
                    return Err(StoreError::Full);
                }
                shard.slots.insert(key.into(), slot);
            }
        }
        Ok(count)
    }

    /// Counters whose keys begin with `prefix`, at most `most`.
    pub(super) fn list(&self, prefix: &[u8], most: usize, now: Duration) -> Vec<Found> {
        let now = now.as_secs();
        let mut found = Vec::new();
        for shard in self.shards.iter() {
            let shard = lock(shard);
            let fits = |key: &[u8], slot: &Slot| key.starts_with(prefix) && slot.expires > now;
            let room = most.saturating_sub(found.len());
            found.extend(shard.slots.iter().filter(|(key, slot)| fits(key, slot)).take(room).map(
                |(key, slot)| Found {
                    key: String::from_utf8_lossy(key).into_owned(),
                    stored: slot.value,
                    seconds: Some(slot.expires.saturating_sub(now)),
                },
            ));
        }
        found
    }

    /// What is kept of each counter of `plan`, in its order.
    pub(super) fn read(&self, plan: &Plan<'_>, now: Duration) -> Vec<Option<Kept>> {
        let now = now.as_secs();
        let read = |counter: &Counter| {
            let key = plan.key(counter);
            self.shard(key).slots.get(key).filter(|slot| slot.expires > now).map(|slot| slot.value)
        };
        plan.counters.iter().map(read).collect()
    }

    /// Forgets a counter; gives whether there was one.
    pub(super) fn forget(&self, key: &[u8]) -> bool {
        self.shard(key).slots.remove(key).is_some()
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        use std::hash::BuildHasher as _;
        // The high bits: the map inside the shard uses the low ones.
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[index])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic cannot leave a counter half-written.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A counter after `hits` more.
fn next(
    known: Option<Slot>,
    counter: &Counter,
    hits: u64,
    refund: bool,
    now: Duration,
) -> (Slot, Count) {
    let seconds = now.as_secs();
    let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    match counter.kind {
        CounterKind::Window { limit, seconds: window } => {
            let before = match known.map(|slot| slot.value) {
                Some(Kept::Hits(hits)) => hits,
                _ => 0,
            };
            let after =
                if refund { before.saturating_sub(hits) } else { before.saturating_add(hits) };
            let expires = seconds - seconds % window + window;
            let slot = Slot { value: Kept::Hits(after), expires, over: after > limit };
            (slot, Count::Window { after })
        }
        CounterKind::Sliding(sliding) => {
            let kept = match known.map(|slot| slot.value) {
                Some(Kept::Sliding(hits)) => Some(hits),
                _ => None,
            };
            let (kept, allowed) = match refund {
                true => (sliding.give(kept, micros, hits), true),
                false => sliding.take(kept, micros, hits),
            };
            // The window counts in the next one, too.
            let expires = (kept.window + 2).saturating_mul(sliding.seconds);
            let slot = Slot { value: Kept::Sliding(kept), expires, over: !allowed };
            (slot, Count::Sliding { allowed, hits: kept })
        }
        CounterKind::Bucket { bucket, .. } => {
            let level = match known.map(|slot| slot.value) {
                Some(Kept::Bucket(level)) => Some(level),
                _ => None,
            };
            let (level, taken) = match refund {
                true => bucket.give(level, micros, hits),
                false => bucket.take(level, micros, hits),
            };
            let expires = seconds.saturating_add(bucket.seconds_to_full());
            let slot = Slot { value: Kept::Bucket(level), expires, over: !taken.allowed };
            (slot, Count::Bucket { allowed: taken.allowed, tokens: taken.tokens })
        }
    }
}

impl Shard {
    /// Drops counters whose time is over, or else one that is not over its limit. Looks through
    /// all of them at most once a second, and again when a sample has only such as must stay.
    fn make_room(&mut self, now: u64) -> bool {
        let full = self.slots.len();
        if self.swept != now {
            self.swept = now;
            self.slots.retain(|_, slot| slot.expires > now);
            if self.slots.len() < full {
                return true;
            }
        }
        self.sample = (self.sample + SAMPLE) % full.max(1);
        let sample = self.slots.iter().skip(self.sample).take(SAMPLE);
        let key = first_to_go(sample).or_else(|| first_to_go(self.slots.iter()));
        key.is_some_and(|key| self.slots.remove(&key).is_some())
    }
}

/// The counter that ends soonest, of those that may go.
fn first_to_go<'a>(slots: impl Iterator<Item = (&'a Box<[u8]>, &'a Slot)>) -> Option<Box<[u8]>> {
    let open = slots.filter(|(_, slot)| !slot.over);
    open.min_by_key(|(_, slot)| slot.expires).map(|(key, _)| key.clone())
}
