//! Counters in this process: bounded, in shards, each behind a short lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ratelimit_core::algorithm::token_bucket::Level;
use ratelimit_core::{Count, Counter, CounterKind, Plan};
use service_kit::server::shutdown::Shutdown;

use super::StoreError;

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
    slots: HashMap<Box<str>, Slot, RandomState>,
    /// The second in which it was looked through for counters whose time is over.
    swept: u64,
    /// Where the next sample begins, so that it is not always the same.
    sample: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    value: SlotValue,
    /// Seconds since the Unix epoch.
    expires: u64,
    /// A counter that is over its limit is never dropped before its time: that would forgive.
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum SlotValue {
    Hits(u64),
    Level(Level),
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

    /// See [`super::Store::run`].
    ///
    /// # Errors
    /// When the memory is full of counters that are over their limits.
    pub fn run(&self, plan: &Plan<'_>, now: Duration) -> Result<Vec<Count>, StoreError> {
        let over: Vec<bool> = match plan.stop_when_over {
            true => plan.counters.iter().map(|c| self.would_be_over(plan, c)).collect(),
            false => Vec::new(),
        };
        let any_over = over.contains(&true);
        let mut counts = Vec::with_capacity(plan.counters.len());
        for (i, counter) in plan.counters.iter().enumerate() {
            // Only those that would be over are charged, when there are such.
            let charged = !any_over || counter.refund || over.get(i) == Some(&true);
            let hits = if charged { counter.hits } else { 0 };
            counts.push(self.add(plan.key(counter), counter, hits, now)?);
        }
        Ok(counts)
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        use std::hash::BuildHasher as _;
        // The high bits: the map inside the shard uses the low ones.
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[index])
    }

    fn would_be_over(&self, plan: &Plan<'_>, counter: &Counter) -> bool {
        let CounterKind::Window { limit, .. } = counter.kind else { return false };
        if counter.refund {
            return false;
        }
        let key = plan.key(counter);
        let hits = match self.shard(key).slots.get(key).map(|slot| slot.value) {
            Some(SlotValue::Hits(hits)) => hits,
            _ => 0,
        };
        hits.saturating_add(counter.hits) > limit
    }

    fn add(
        &self,
        key: &str,
        counter: &Counter,
        hits: u64,
        now: Duration,
    ) -> Result<Count, StoreError> {
        let seconds = now.as_secs();
        let mut shard = self.shard(key);
        let known = shard.slots.get(key).copied().filter(|slot| slot.expires > seconds);
        let (slot, count) = next(known, counter, hits, now);
        match shard.slots.get_mut(key) {
            Some(place) => *place = slot,
            // Nothing was counted that could be given back.
            None if counter.refund => {}
            None => {
                if shard.slots.len() >= self.capacity && !shard.make_room(seconds) {
                    return Err(StoreError::Full);
                }
                shard.slots.insert(key.into(), slot);
            }
        }
        Ok(count)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // A panic cannot leave a counter half-written.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A counter after `hits` more.
fn next(known: Option<Slot>, counter: &Counter, hits: u64, now: Duration) -> (Slot, Count) {
    let seconds = now.as_secs();
    match counter.kind {
        CounterKind::Window { limit, seconds: window } => {
            let before = match known.map(|slot| slot.value) {
                Some(SlotValue::Hits(hits)) => hits,
                _ => 0,
            };
            let after = if counter.refund {
                before.saturating_sub(hits)
            } else {
                before.saturating_add(hits)
            };
            let expires = seconds - seconds % window + window;
            let slot = Slot { value: SlotValue::Hits(after), expires, over: after > limit };
            (slot, Count::Window { after })
        }
        CounterKind::Bucket { bucket, .. } => {
            let level = match known.map(|slot| slot.value) {
                Some(SlotValue::Level(level)) => Some(level),
                _ => None,
            };
            let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            let (level, taken) = match counter.refund {
                true => bucket.give(level, micros, hits),
                false => bucket.take(level, micros, hits),
            };
            let expires = seconds.saturating_add(bucket.seconds_to_full());
            let slot = Slot { value: SlotValue::Level(level), expires, over: !taken.allowed };
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
fn first_to_go<'a>(slots: impl Iterator<Item = (&'a Box<str>, &'a Slot)>) -> Option<Box<str>> {
    let open = slots.filter(|(_, slot)| !slot.over);
    open.min_by_key(|(_, slot)| slot.expires).map(|(key, _)| key.clone())
}
