//! Waits that differ, so that those of one moment do not come in one moment again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// `wait`, times anything from `least` to `most`.
pub fn between(wait: Duration, least: f64, most: f64) -> Duration {
    wait.mul_f64(least + (most - least) * share())
}

/// From 0 to 1.
pub fn share() -> f64 {
    // The keys of a hasher are random; there is no other need for a generator here.
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}
