//! Which servers have the counters, and how to use them.

use std::time::Duration;

use service_kit::server::redis::RedisServer;

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
    /// How often an idle server is asked whether it lives.
    pub ping_interval: Duration,
}
