//! Where counters are kept, and what happens when they cannot be had.

mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use ratelimit_core::{Charge, Count, Counter, CounterKind, Counts, Kept, OnStoreError, Plan};
use service_kit::server::shutdown::Shutdown;
use smallvec::SmallVec;
use thiserror::Error;

use crate::health::Health;
use crate::metrics::StoreStats;

pub use memory::Memory;
pub use redis::{
    Address, Credentials, Redis, RedisServer, RedisSettings, Sentinels, Tls, Topology, Trust,
};

/// Which store, and how to reach it.
#[allow(clippy::large_enum_variant)] // there is one in a process
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory,
    /// In Redis (or Valkey).
    Redis(RedisSettings),
}

/// Why counters could not be had.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// Redis took too long.
    #[error(
        "Redis {url} did not answer within {after:?} (is it reachable? is REDIS_TIMEOUT too short?)"
    )]
    Timeout {
        /// Without credentials.
        url: Arc<str>,
        /// The deadline.
        after: Duration,
    },
    /// Redis refused, or the connection broke.
    #[error("Redis {url}: {reason}")]
    Redis {
        /// Without credentials.
        url: Arc<str>,
        /// Of the server or the library.
        reason: Arc<str>,
    },
    /// Too many requests wait for Redis already.
    #[error("Redis {url}: too many requests wait for it")]
    Busy {
        /// Without credentials.
        url: Arc<str>,
    },
    /// Memory is full of counters that are over their limits.
    #[error("the memory for counters is full")]
    Full,
    /// A fault of this program.
    #[error("the store gave no answer")]
    Unanswered,
}

/// What is wanted of a counter of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// Its index.
    pub index: usize,
    /// Hits to count; 0 asks.
    pub hits: u64,
    /// Take them off instead.
    pub refund: bool,
}

/// What is wanted of a store.
type Wants = SmallVec<[Want; 4]>;

/// What became of it, in the same order.
type Results = SmallVec<[Result<Count, StoreError>; 4]>;

/// A counter, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// What is kept of it.
    pub stored: Kept,
    /// How much longer it is kept; none for ever.
    pub seconds: Option<u64>,
}

/// A store.
#[derive(Debug)]
pub struct Store {
    kind: Kind,
    /// For limits that are counted here while Redis fails.
    fallback: Memory,
}

#[allow(clippy::large_enum_variant)] // there is one in a process, and each request reads it
#[derive(Debug)]
enum Kind {
    Memory(Memory),
    Redis(Redis),
}

impl From<Memory> for Store {
    fn from(memory: Memory) -> Self {
        Self { kind: Kind::Memory(memory), fallback: Memory::with_capacity(1) }
    }
}

impl From<Redis> for Store {
    fn from(redis: Redis) -> Self {
        Self { kind: Kind::Redis(redis), fallback: Memory::with_capacity(FALLBACK_CAPACITY) }
    }
}

/// Most counters that are kept here while Redis fails.
const FALLBACK_CAPACITY: usize = 100_000;

impl StoreSettings {
    /// For people: which store, without credentials.
    pub fn describe(&self) -> String {
        match self {
            Self::Memory => {
                "the memory of this process: limits hold for one replica, until it ends".to_owned()
            }
            Self::Redis(RedisSettings { main, per_second: None, .. }) => {
                format!("Redis {}", main.shown())
            }
            Self::Redis(RedisSettings { main, per_second: Some(second), .. }) => {
                format!("Redis {}, those of seconds in Redis {}", main.shown(), second.shown())
            }
        }
    }
}

impl Store {
    /// Opens the store. A Redis that is down is no error: it is tried again for ever.
    pub(crate) fn open(
        settings: &StoreSettings,
        stats: &StoreStats,
        health: &Health,
        shutdown: &Shutdown,
    ) -> Self {
        tracing::info!("counters are in {}", settings.describe());
        match settings {
            StoreSettings::Memory => {
                health.set_store("store", Ok(()));
                Memory::with_sweeper(shutdown.clone()).into()
            }
            StoreSettings::Redis(settings) => {
                let redis = Redis::open(settings, stats);
                redis.watch(health, shutdown);
                redis.into()
            }
        }
    }

    /// Counts for each counter of `plan`, in its order, at `now` (since the Unix epoch).
    ///
    /// # Errors
    /// When the store cannot say, and a limit does not say what happens then. Nothing may have been
    /// counted, or all.
    pub async fn run(&self, plan: &Plan<'_>, now: Duration) -> Result<Counts, StoreError> {
        if plan.counters.is_empty() {
            return Ok(Counts::new());
        }
        let wants = match plan.charge {
            Charge::OnlyOver => self.only_over(plan, now).await,
            Charge::Each | Charge::AllOrNone => all(plan),
        };
        let mut results = self.count(plan, &wants, now).await;
        if plan.charge == Charge::AllOrNone {
            self.give_back(plan, &mut results, now).await;
        }
        let counters = plan.counters.iter().zip(results);
        counters.map(|(counter, result)| self.settle(plan, counter, result, now)).collect()
    }

    /// Counters whose keys begin with `prefix`, at most `most` of each server; in order.
    ///
    /// # Errors
    /// When a server does not say.
    pub async fn list(
        &self,
        prefix: &[u8],
        most: usize,
        now: Duration,
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = match &self.kind {
            Kind::Memory(memory) => memory.list(prefix, most, now),
            Kind::Redis(redis) => redis.list(prefix, most).await?,
        };
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(most);
        Ok(found)
    }

    /// What is kept of each counter of `plan`, in its order; nothing is counted.
    ///
    /// # Errors
    /// When a server does not say.
    pub async fn read(
        &self,
        plan: &Plan<'_>,
        now: Duration,
    ) -> Result<Vec<Option<Kept>>, StoreError> {
        match &self.kind {
            Kind::Memory(memory) => Ok(memory.read(plan, now)),
            Kind::Redis(redis) => redis.read(plan).await,
        }
    }

    /// Forgets a counter, so that it begins anew; gives whether there was one. Other replicas may
    /// hold it for over, or a lease of it, until its window ends.
    ///
    /// # Errors
    /// When a server does not say.
    pub async fn forget(&self, key: &[u8]) -> Result<bool, StoreError> {
        self.fallback.forget(key);
        match &self.kind {
            Kind::Memory(memory) => Ok(memory.forget(key)),
            Kind::Redis(redis) => redis.forget(key).await,
        }
    }

    async fn count(&self, plan: &Plan<'_>, wants: &[Want], now: Duration) -> Results {
        match &self.kind {
            Kind::Memory(memory) => memory.count(plan, wants, now),
            Kind::Redis(redis) => redis.count(plan, wants, now).await,
        }
    }

    /// When there are counters that would be over, only those get their hits.
    async fn only_over(&self, plan: &Plan<'_>, now: Duration) -> Wants {
        let is_window = |c: &Counter| !c.refund && matches!(c.kind, CounterKind::Window { .. });
        let windows: SmallVec<[usize; 4]> = (0..plan.counters.len())
            .filter(|i| plan.counters.get(*i).is_some_and(is_window))
            .collect();
        let known_over = match &self.kind {
            Kind::Redis(redis) => plan.counters.iter().any(|c| redis.is_known_over(plan, c, now)),
            Kind::Memory(_) => false,
        };
        let mut over: SmallVec<[usize; 4]> = SmallVec::new();
        if !known_over {
            let hits = match &self.kind {
                Kind::Memory(memory) => memory.peek(plan, &windows),
                Kind::Redis(redis) => redis.peek(plan, &windows).await,
            };
            for (index, hits) in windows.iter().zip(hits) {
                if let (Some(counter), Ok(Count::Window { after })) =
                    (plan.counters.get(*index), hits)
                    && let CounterKind::Window { limit, .. } = counter.kind
                    && after.saturating_add(counter.hits) > limit
                {
                    over.push(*index);
                }
            }
        }
        let mut wants = all(plan);
        if known_over || !over.is_empty() {
            for want in wants.iter_mut().filter(|w| !w.refund && !over.contains(&w.index)) {
                want.hits = 0;
            }
        }
        wants
    }

    /// When one counter is over, no counter keeps the hits of the request.
    async fn give_back(&self, plan: &Plan<'_>, results: &mut Results, now: Duration) {
        let counted =
            |(index, (counter, result)): (usize, (&Counter, &Result<Count, StoreError>))| {
                let hits =
                    matches!(result, Ok(count) if holds_hits(*count)).then_some(counter.hits)?;
                (!counter.refund).then_some(Want { index, hits, refund: true })
            };
        let is_over = |counter: &Counter, result: &Result<Count, StoreError>| {
            result.as_ref().is_ok_and(|count| counter.is_over(*count))
        };
        let pairs = || plan.counters.iter().zip(results.iter());
        if !pairs().any(|(counter, result)| is_over(counter, result)) {
            return;
        }
        let wants: Wants = pairs().enumerate().filter_map(counted).collect();
        let given = self.count(plan, &wants, now).await;
        for (want, given) in wants.iter().zip(given) {
            let (Some(result), Some(counter)) =
                (results.get_mut(want.index), plan.counters.get(want.index))
            else {
                continue;
            };
            // Who was over stays so; the others have their room again.
            if given.is_ok() && !is_over(counter, result) {
                *result = given;
            }
        }
    }

    /// What a limit says for when its counter cannot be had.
    fn settle(
        &self,
        plan: &Plan<'_>,
        counter: &Counter,
        result: Result<Count, StoreError>,
        now: Duration,
    ) -> Result<Count, StoreError> {
        let error = match result {
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        match counter.on_store_error {
            OnStoreError::Error => Err(error),
            OnStoreError::Allow => Ok(Count::Uncounted { allowed: true }),
            OnStoreError::Deny => Ok(Count::Uncounted { allowed: false }),
            OnStoreError::Local => {
                self.fallback.add(plan.key(counter), counter, counter.hits, counter.refund, now)
            }
        }
    }
}

/// Everything that a plan asks for.
fn all(plan: &Plan<'_>) -> Wants {
    let want = |(index, c): (usize, &Counter)| Want { index, hits: c.hits, refund: c.refund };
    plan.counters.iter().enumerate().map(want).collect()
}

/// Whether the hits are in the counter now.
fn holds_hits(count: Count) -> bool {
    match count {
        Count::Window { .. } => true,
        Count::Sliding { allowed, .. } | Count::Bucket { allowed, .. } => allowed,
        Count::Over | Count::Uncounted { .. } => false,
    }
}
