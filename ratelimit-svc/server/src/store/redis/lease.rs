//! Hits taken from the store ahead of need, so that a hot key is asked for once per many requests.
//!
//! Each hit that is admitted here was counted in the store before, within the limit: a lease never
//! lets more pass. What it costs: hits that one replica has taken and does not use are lost for the
//! others until the window ends, at most the size of the lease for each other replica. Near the end
//! of the limit leases shrink to nothing, so the last hits go to whoever asks.

use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// A power of two.
const SHARDS: usize = 16;
/// Most keys with a lease in a shard; others are asked for one by one.
const MAX_KEYS: usize = 4_096;
/// A lease is at most this part of what the limit has left.
const SHARE: u64 = 8;

/// The leases of this replica.
#[derive(Debug, Default)]
pub(super) struct Leases {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

type Shard = HashMap<Box<[u8]>, Lease, RandomState>;

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    /// Hits that are still ours.
    left: u64,
    /// The store's count up to which hits are ours or were.
    top: u64,
    /// Somebody is asking for more.
    pending: bool,
    /// When the window ends, in seconds since the Unix epoch.
    until: u64,
}

/// What to do for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is counted, and this is the count with it.
    Here { after: u64 },
    /// The store is to be asked, and for so many hits more.
    Ask { ahead: u64 },
}

impl Leases {
    /// Takes `hits` of `key`, whose window ends at `until`; a lease has `size` hits.
    pub(super) fn take(&self, key: &[u8], hits: u64, limit: u64, size: u32, until: u64) -> Taken {
        let mut shard = self.shard(key);
        let size = |top: u64| u64::from(size).min(limit.saturating_sub(top) / SHARE);
        if let Some(lease) = shard.get_mut(key) {
            if lease.left >= hits && lease.top > 0 {
                lease.left -= hits;
                return Taken::Here { after: lease.top - lease.left };
            }
            if lease.pending {
                return Taken::Ask { ahead: 0 };
            }
            lease.pending = true;
            return Taken::Ask { ahead: size(lease.top) };
        }
        if shard.len() >= MAX_KEYS {
            return Taken::Ask { ahead: 0 };
        }
        shard.insert(key.into(), Lease { pending: true, until, ..Lease::default() });
        Taken::Ask { ahead: size(0) }
    }

    /// The store counted `ahead` hits for us, the last of them as number `after`.
    pub(super) fn settle(&self, key: &[u8], ahead: u64, after: u64, limit: u64) {
        let mut shard = self.shard(key);
        let Some(lease) = shard.get_mut(key) else { return };
        lease.pending = false;
        let top = after.min(limit);
        lease.left += top.saturating_sub(after.saturating_sub(ahead));
        lease.top = lease.top.max(top);
    }

    /// Nobody knows whether the store counted anything.
    pub(super) fn give_up(&self, key: &[u8]) {
        if let Some(lease) = self.shard(key).get_mut(key) {
            lease.pending = false;
        }
    }

    /// Forgets a lease: its counter was reset.
    pub(super) fn forget(&self, key: &[u8]) {
        self.shard(key).remove(key);
    }

    /// Forgets windows that are over.
    pub(super) fn sweep(&self, now: u64) {
        for shard in &self.shards {
            lock(shard).retain(|_, lease| lease.until > now);
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[index])
    }
}

fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_asks_ahead_and_the_others_take() {
        let leases = Leases::default();
        let take = || leases.take(b"k", 1, 1_000, 10, 60);
        assert_eq!(take(), Taken::Ask { ahead: 10 });
        assert_eq!(take(), Taken::Ask { ahead: 0 });
        leases.settle(b"k", 10, 111, 1_000);
        assert_eq!(take(), Taken::Here { after: 102 });
        for after in 103..112 {
            assert_eq!(take(), Taken::Here { after });
        }
        assert_eq!(take(), Taken::Ask { ahead: 10 });
        leases.sweep(60);
        assert_eq!(take(), Taken::Ask { ahead: 10 });
    }

    #[test]
    fn near_the_end_nothing_is_taken_ahead() {
        let leases = Leases::default();
        assert_eq!(leases.take(b"k", 1, 20, 10, 60), Taken::Ask { ahead: 2 });
        leases.settle(b"k", 2, 21, 20);
        // Number 20 is ours, number 21 is over.
        assert_eq!(leases.take(b"k", 1, 20, 10, 60), Taken::Here { after: 20 });
        assert_eq!(leases.take(b"k", 1, 20, 10, 60), Taken::Ask { ahead: 0 });
    }

    proptest! {
        /// Several replicas, one count: never more than the limit, and no hit is lost but those that
        /// are still leased.
        #[test]
        fn replicas_never_admit_more_than_the_limit(
            limit in 0_u64..60, size in 1_u32..20, asks in prop::collection::vec(0_usize..3, 1..200),
        ) {
            let replicas: [Leases; 3] = Default::default();
            let (mut count, mut admitted) = (0_u64, 0_u64);
            for replica in &asks {
                let leases = &replicas[*replica];
                let after = match leases.take(b"k", 1, limit, size, 60) {
                    Taken::Here { after } => after,
                    Taken::Ask { ahead } => {
                        count += 1 + ahead;
                        leases.settle(b"k", ahead, count, limit);
                        count - ahead
                    }
                };
                admitted += u64::from(after <= limit);
            }
            prop_assert!(admitted <= limit);
            let held: u64 = replicas.iter().map(|l| l.shard(b"k").get(&b"k"[..]).map_or(0, |l| l.left)).sum();
            prop_assert_eq!(admitted + held, limit.min(count));
            prop_assert!(held <= 3 * u64::from(size).min(limit / SHARE));
        }
    }
}
