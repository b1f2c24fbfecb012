//! Real servers, and how a store here is told of them.

use std::time::Duration;

use ratelimit_svc::store::{RedisServer, RedisSettings};

pub use service_kit::server::redis::testing::*;

pub fn settings(main: RedisServer) -> RedisSettings {
    RedisSettings {
        main,
        per_second: None,
        jitter_seconds: 10,
        local_cache_bytes: 0,
        ping_interval: Duration::from_millis(200),
    }
}
