//! A bucket that fills at the rate of the limit and holds several units of it: `burstFactor`.
//! An idle client may spend all of it at once, a steady one gets the rate.

use std::time::Duration;

/// A bucket's size and speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Most tokens it holds.
    pub capacity: f64,
    /// Tokens that come in a second.
    pub per_second: f64,
}

/// What is kept of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Tokens at that moment.
    pub tokens: f64,
    /// The moment, in microseconds since the Unix epoch.
    pub at: u64,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// Whether there were enough tokens; otherwise none was taken.
    pub allowed: bool,
    /// Tokens afterwards.
    pub tokens: f64,
}

impl Bucket {
    /// `rate` requests in `unit_seconds`, holding `burst_factor` units of it.
    pub fn new(rate: u32, unit_seconds: u64, burst_factor: u32) -> Self {
        #[allow(clippy::cast_precision_loss)] // a unit has at most 25 bits
        let per_second = f64::from(rate) / unit_seconds as f64;
        Self { capacity: f64::from(rate) * f64::from(burst_factor), per_second }
    }

    /// Takes `hits` tokens at `now` (microseconds). A bucket that was never used is full.
    pub fn take(&self, level: Option<Level>, now: u64, hits: u64) -> (Level, Taken) {
        let filled = level.map_or(self.capacity, |level| self.filled(level, now));
        #[allow(clippy::cast_precision_loss)] // beyond 2^53 hits a few more do not matter
        let wanted = hits as f64;
        let allowed = filled >= wanted;
        let tokens = if allowed { filled - wanted } else { filled };
        (Level { tokens, at: now.max(level.map_or(0, |l| l.at)) }, Taken { allowed, tokens })
    }

    /// Gives back `hits` tokens that were taken; what does not fit is lost.
    pub fn give(&self, level: Option<Level>, now: u64, hits: u64) -> (Level, Taken) {
        let filled = level.map_or(self.capacity, |level| self.filled(level, now));
        #[allow(clippy::cast_precision_loss)]
        let tokens = (filled + hits as f64).min(self.capacity);
        let level = Level { tokens, at: now.max(level.map_or(0, |l| l.at)) };
        (level, Taken { allowed: true, tokens })
    }

    fn filled(&self, level: Level, now: u64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let elapsed = now.saturating_sub(level.at) as f64 / 1e6;
        (level.tokens + elapsed * self.per_second).min(self.capacity)
    }

    /// From a bucket with `tokens` to the next whole one; none when one is there.
    pub fn to_next(&self, tokens: f64) -> Duration {
        if tokens >= 1.0 || self.per_second <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64((1.0 - tokens) / self.per_second).unwrap_or(Duration::MAX)
    }

    /// From a bucket with `tokens` to a full one; one that never fills is as good as full.
    pub fn to_full(&self, tokens: f64) -> Duration {
        if tokens >= self.capacity || self.per_second <= 0.0 {
            return Duration::ZERO;
        }
        let seconds = (self.capacity - tokens) / self.per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// After this long without requests a bucket is full, and so need not be kept; in seconds.
    pub fn seconds_to_full(&self) -> u64 {
        if self.per_second <= 0.0 {
            return 1;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let seconds = (self.capacity / self.per_second).ceil() as u64;
        seconds.max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spends_at_once_and_refills_at_the_rate() {
        let bucket = Bucket::new(5, 60, 5);
        let mut level = None;
        let mut take = |now| {
            let (next, taken) = bucket.take(level, now, 1);
            level = Some(next);
            taken.allowed
        };
        assert_eq!((0..26).filter(|_| take(0)).count(), 25);
        assert!(!take(11_999_999) && take(12_000_000) && !take(12_000_001));
    }

    #[test]
    fn says_when_the_next_token_comes() {
        let bucket = Bucket::new(5, 60, 1);
        assert_eq!(bucket.to_next(0.5), Duration::from_secs(6));
        assert_eq!(bucket.to_next(1.0), Duration::ZERO);
        assert_eq!(bucket.seconds_to_full(), 60);
        assert_eq!(Bucket::new(0, 1, 1).to_next(0.0), Duration::ZERO);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let bucket = Bucket::new(2, 60, 1);
        let (empty, _) = bucket.take(None, 0, 2);
        let (level, given) = bucket.give(Some(empty), 0, 9);
        assert_eq!((given.allowed, given.tokens), (true, 2.0));
        assert!(bucket.take(Some(level), 0, 2).1.allowed);
    }

    proptest! {
        #[test]
        fn never_admits_more_than_the_bucket_and_what_came(
            steps in prop::collection::vec((0_u64..3_000_000, 0_u64..4), 1..60),
            rate in 0_u32..10, factor in 1_u32..4,
        ) {
            let bucket = Bucket::new(rate, 1, factor);
            let (mut now, mut level, mut admitted) = (0, None, 0);
            for (wait, hits) in steps {
                now += wait;
                let (next, taken) = bucket.take(level, now, hits);
                level = Some(next);
                if taken.allowed { admitted += hits; }
                prop_assert!(taken.tokens >= 0.0 && taken.tokens <= bucket.capacity);
            }
            let bound = bucket.capacity + now as f64 / 1e6 * bucket.per_second;
            prop_assert!(admitted as f64 <= bound + 1e-6);
        }
    }
}
