//! Where counters are kept.

mod memory;
mod redis;

use std::time::Duration;

use ratelimit_core::{Count, Plan};
use service_kit::Secret;
use service_kit::server::shutdown::Shutdown;
use thiserror::Error;

use crate::health::Health;

pub use memory::Memory;
pub use redis::Redis;

/// Which store, and how to reach it.
#[allow(clippy::large_enum_variant)] // there is one in a process
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory,
    /// In Redis (or Valkey).
    Redis(RedisSettings),
}

/// Counters in Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// For all counters, or all but those of [`Self::per_second`].
    pub main: RedisServer,
    /// For limits of a second.
    pub per_second: Option<RedisServer>,
    /// Up to this many seconds are added to the life of a key, so that keys do not all end at once.
    pub jitter_seconds: u64,
    /// Bytes for keys that are over, of which Redis is not asked again; 0 for none.
    pub local_cache_bytes: usize,
    /// How often the server is asked whether it lives.
    pub ping_interval: Duration,
}

/// One server.
#[derive(Clone, Debug)]
pub struct RedisServer {
    /// As the client library reads it.
    pub url: Secret<String>,
    /// The same without credentials.
    pub shown: String,
    /// User, if any, and password.
    pub credentials: Option<(Option<String>, Secret<String>)>,
    /// Deadline of a call.
    pub timeout: Duration,
    /// How many connections; requests in flight share each.
    pub connections: usize,
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
#[allow(clippy::large_enum_variant)] // there is one in a process, and each request reads it
#[derive(Debug)]
pub enum Store {
    /// In this process.
    Memory(Memory),
    /// In Redis.
    Redis(Redis),
}

impl StoreSettings {
    /// For people: which store, without credentials.
    pub fn describe(&self) -> String {
        match self {
            Self::Memory => {
                "the memory of this process: limits hold for one replica, until it ends".to_owned()
            }
            Self::Redis(RedisSettings { main, per_second: None, .. }) => {
                format!("Redis {}", main.shown)
            }
            Self::Redis(RedisSettings { main, per_second: Some(second), .. }) => {
                format!("Redis {}, those of seconds in Redis {}", main.shown, second.shown)
            }
        }
    }
}

impl Store {
    /// Opens the store. A Redis that is down is no error: it is tried again for ever.
    ///
    /// # Errors
    /// When its URL is none.
    pub(crate) fn open(
        settings: &StoreSettings,
        health: &Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        tracing::info!("counters are in {}", settings.describe());
        match settings {
            StoreSettings::Memory => {
                health.set_store("store", Ok(()));
                Ok(Self::Memory(Memory::with_sweeper(shutdown.clone())))
            }
            StoreSettings::Redis(settings) => {
                let redis = Redis::open(settings)?;
                redis.watch(settings.ping_interval, health, shutdown);
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
