//! Counters in Redis (or Valkey), under envoyproxy/ratelimit's keys.

mod local_cache;
mod pool;
mod script;

use std::time::Duration;

use ratelimit_core::{Count, Counter, CounterKind, Plan};
use service_kit::server::shutdown::Shutdown;

use super::{RedisSettings, StoreError};
use crate::health::Health;
use local_cache::LocalCache;
use pool::Pool;

/// The store.
#[derive(Debug)]
pub struct Redis {
    main: Pool,
    /// For counters of a second.
    per_second: Option<Pool>,
    cache: Option<LocalCache>,
}

/// A counter of a plan, by its index, and the hits to add now.
#[derive(Clone, Copy, Debug)]
struct Task {
    index: usize,
    hits: u64,
}

impl Redis {
    /// Prepares connections; they are made at the first use. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn open(settings: &RedisSettings) -> anyhow::Result<Self> {
        let pool = |server| Pool::open(server, settings.jitter_seconds);
        Ok(Self {
            main: pool(&settings.main)?,
            per_second: settings.per_second.as_ref().map(pool).transpose()?,
            cache: Some(settings.local_cache_bytes).filter(|b| *b > 0).map(LocalCache::new),
        })
    }

    /// Keeps health true: asks the servers now and then.
    pub(super) fn watch(&self, every: Duration, health: &Health, shutdown: &Shutdown) {
        self.main.watch("store", every, health, shutdown);
        if let Some(pool) = &self.per_second {
            pool.watch("store for seconds", every, health, shutdown);
        }
    }

    /// See [`super::Store::run`].
    ///
    /// # Errors
    /// When a server does not answer in time or with what was asked.
    pub async fn run(&self, plan: &Plan<'_>, now: Duration) -> Result<Vec<Count>, StoreError> {
        // What the local cache knows to be over is not asked for.
        let known: Vec<bool> =
            plan.counters.iter().map(|c| self.is_known_over(plan.key(c), c, now)).collect();
        let tasks = self.tasks(plan, &known).await?;
        let (seconds, others): (Vec<Task>, Vec<Task>) =
            tasks.into_iter().partition(|task| self.is_per_second(plan, task.index));
        let done = match &self.per_second {
            Some(pool) => {
                let (mut a, b) = tokio::try_join!(
                    self.main.count(plan, &others, now),
                    pool.count(plan, &seconds, now)
                )?;
                a.extend(b);
                a
            }
            None => self.main.count(plan, &others, now).await?,
        };
        let mut counts = vec![Count::Over; plan.counters.len()];
        for (index, count) in done {
            if let (Some(place), Some(counter)) = (counts.get_mut(index), plan.counters.get(index))
            {
                *place = count;
                self.remember(plan.key(counter), counter, count, now);
            }
        }
        Ok(counts)
    }

    fn is_per_second(&self, plan: &Plan<'_>, index: usize) -> bool {
        self.per_second.is_some()
            && plan.counters.get(index).is_some_and(|c| c.kind.unit_seconds() == 1)
    }

    fn is_known_over(&self, key: &str, counter: &Counter, now: Duration) -> bool {
        let is_window = matches!(counter.kind, CounterKind::Window { .. });
        let cache = self.cache.as_ref().filter(|_| is_window && !counter.refund);
        cache.is_some_and(|cache| cache.contains(key, now.as_secs()))
    }

    fn remember(&self, key: &str, counter: &Counter, count: Count, now: Duration) {
        let (Some(cache), CounterKind::Window { limit, seconds }, Count::Window { after }) =
            (&self.cache, counter.kind, count)
        else {
            return;
        };
        let now = now.as_secs();
        if counter.refund {
            cache.remove(key);
        } else if after > limit {
            cache.insert(key, now.saturating_add(seconds), now);
        }
    }

    /// What to ask for. With `stop_when_over`, only counters that would be over get their hits when
    /// there are such.
    async fn tasks(&self, plan: &Plan<'_>, known: &[bool]) -> Result<Vec<Task>, StoreError> {
        let charged = |over: &dyn Fn(usize) -> bool| -> Vec<Task> {
            let open =
                plan.counters.iter().enumerate().filter(|(i, _)| known.get(*i) != Some(&true));
            open.map(|(index, c)| Task {
                index,
                hits: if c.refund || over(index) { c.hits } else { 0 },
            })
            .collect()
        };
        if !plan.stop_when_over {
            return Ok(charged(&|_| true));
        }
        if known.contains(&true) {
            return Ok(charged(&|_| false));
        }
        let windows = |per_second: bool| -> Vec<usize> {
            let is_window = |i: &usize| {
                plan.counters
                    .get(*i)
                    .is_some_and(|c| !c.refund && matches!(c.kind, CounterKind::Window { .. }))
                    && self.is_per_second(plan, *i) == per_second
            };
            (0..plan.counters.len()).filter(is_window).collect()
        };
        let mut over = self.main.would_be_over(plan, &windows(false)).await?;
        if let Some(pool) = &self.per_second {
            over.extend(pool.would_be_over(plan, &windows(true)).await?);
        }
        let none = over.is_empty();
        Ok(charged(&|index| none || over.contains(&index)))
    }
}
