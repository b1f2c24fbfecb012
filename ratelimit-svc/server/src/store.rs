//! Where counters are kept.

mod memory;
mod redis;

use std::time::Duration;

use ratelimit_core::{Count, Plan};
use service_kit::Secret;
use service_kit::server::admin::Readiness;
use service_kit::server::shutdown::Shutdown;
use thiserror::Error;

pub use memory::Memory;
pub use redis::Redis;

/// Which store, and how to reach it.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory,
    /// One Redis (or Valkey) server.
    Redis {
        /// As the client library reads it.
        url: Secret<String>,
        /// The same without credentials.
        shown: String,
        /// User, if any, and password.
        credentials: Option<(Option<String>, Secret<String>)>,
        /// Deadline of a call.
        timeout: Duration,
        /// How many connections; requests in flight share each.
        connections: usize,
        /// Up to this many seconds are added to the life of a key, so that keys do not all end at
        /// once.
        jitter_seconds: u64,
    },
}

/// Why counters could not be had.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Redis took too long.
    #[error(
        "Redis {url} did not answer within {after:?} (is it reachable? is REDIS_TIMEOUT too short?)"
    )]
    Timeout {
        /// Without credentials.
        url: String,
        /// The deadline.
        after: Duration,
    },
    /// Redis refused, or the connection broke.
    #[error("Redis {url}: {reason}")]
    Redis {
        /// Without credentials.
        url: String,
        /// Of the server or the library.
        reason: String,
    },
    /// Memory is full of counters that are over their limits.
    #[error("the memory for counters is full")]
    Full,
}

/// A store.
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Memory),
    /// One Redis server.
    Redis(Redis),
}

impl Store {
    /// Opens the store. A Redis that is down is no error: it is tried again for ever.
    ///
    /// # Errors
    /// When its URL is none.
    pub(crate) fn open(
        settings: &StoreSettings,
        key_prefix: &str,
        ready: Readiness,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        match settings {
            StoreSettings::Memory => {
                tracing::info!(
                    "counters are in the memory of this process (no REDIS_URL): limits hold for one replica"
                );
                ready.set("store", Ok(()));
                Ok(Self::Memory(Memory::with_sweeper(shutdown)))
            }
            StoreSettings::Redis { .. } => {
                let redis = Redis::open(settings)?;
                redis.watch(ready, format!("{key_prefix}__health"), shutdown);
                Ok(Self::Redis(redis))
            }
        }
    }

    /// Counts for each counter of `plan`, in its order, at `now` (since the Unix epoch).
    ///
    /// # Errors
    /// When the store cannot say; then nothing may have been counted, or all.
    pub async fn run(&self, plan: &Plan<'_>, now: Duration) -> Result<Vec<Count>, StoreError> {
        if plan.counters.is_empty() {
            return Ok(Vec::new());
        }
        match self {
            Self::Memory(memory) => memory.run(plan, now),
            Self::Redis(redis) => redis.run(plan, now).await,
        }
    }
}
