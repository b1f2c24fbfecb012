//! How long to wait before a stream is opened anew, by the settings of envoyproxy/ratelimit.

use std::time::Duration;

use super::super::jitter::{between, share};

/// `initial` × `factor`ⁿ after n tries that failed, between `initial` and `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait, and the shortest; 0 is 100 ms.
    pub initial: Duration,
    /// The longest wait; 0 is 10 s.
    pub max: Duration,
    /// 0 and less is 2; below 1 no wait is longer than the first.
    pub factor: f64,
    /// Anything from the shortest wait on, so that clients of a server that came back do not come
    /// at once.
    pub jitter: bool,
}

impl Backoff {
    /// The wait after `failed` tries in a row.
    pub(super) fn wait(&self, failed: u32) -> Duration {
        let or = |set: Duration, default| if set.is_zero() { default } else { set };
        let initial = or(self.initial, Duration::from_millis(100));
        let max = or(self.max, Duration::from_secs(10));
        if initial >= max {
            return max;
        }
        let factor = if self.factor > 0.0 { self.factor } else { 2.0 };
        let exponent = i32::try_from(failed).unwrap_or(i32::MAX);
        let grown = initial.as_secs_f64() * factor.powi(exponent);
        let grown = grown.clamp(initial.as_secs_f64(), max.as_secs_f64());
        let share = if self.jitter { share() } else { 1.0 };
        initial + (Duration::from_secs_f64(grown).saturating_sub(initial)).mul_f64(share)
    }
}

/// `wait` and up to half of it more or less.
pub(super) fn around(wait: Duration) -> Duration {
    between(wait, 0.5, 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn grows_between_its_bounds() {
        let backoff = Backoff { initial: S(1), max: S(5), factor: 2.0, jitter: false };
        let waits: Vec<_> = (0..4).map(|n| backoff.wait(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5]);
        assert_eq!(backoff.wait(u32::MAX), S(5));
        let jittered = Backoff { jitter: true, ..backoff };
        assert!((0..100).all(|_| (S(1)..=S(4)).contains(&jittered.wait(2))));
        let short = Backoff { max: S(1), initial: S(9), ..backoff };
        assert_eq!(short.wait(3), S(1));
        let unset = Backoff { initial: S(0), max: S(0), factor: 0.0, jitter: false };
        assert_eq!(unset.wait(1), Duration::from_millis(200));
    }

    #[test]
    fn the_defaults_of_the_original_wait_the_same_each_time() {
        let backoff = Backoff { initial: S(10), max: S(60), factor: 0.5, jitter: true };
        assert!((0..20).all(|n| backoff.wait(n) == S(10)));
    }

    #[test]
    fn around_is_half_to_one_and_a_half() {
        assert!((0..100).all(|_| (S(2)..=S(6)).contains(&around(S(4)))));
    }
}
