//! A count that slides with time: the hits of the window that the clock is in, and of the window
//! before it the share that the sliding one still covers. Hits that are refused are not counted.
//!
//! Within the window before hits are taken to be even, which is the one inexactness: a client that
//! sent all of them at the end of it is let through a little early, never more than the limit in a
//! window of the clock.

use std::time::Duration;

/// Length and size of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// Most hits.
    pub limit: u64,
    /// Length in seconds; at least 1.
    pub seconds: u64,
}

/// What is kept of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Number of the window that `current` is of, from the Unix epoch on.
    pub window: u64,
    /// Hits in that window.
    pub current: u64,
    /// Hits in the one before.
    pub previous: u64,
}

impl Sliding {
    /// `hits` more at `now` (microseconds since the Unix epoch), counted if there is room for all of
    /// them. Gives what is kept, and whether they were counted.
    pub fn take(self, kept: Option<Hits>, now: u64, hits: u64) -> (Hits, bool) {
        let mut kept = self.at(kept, now);
        #[allow(clippy::cast_precision_loss)] // beyond 2^53 hits a few more do not matter
        let allowed = self.used(kept, now) + hits as f64 <= self.limit as f64;
        if allowed {
            kept.current = kept.current.saturating_add(hits);
        }
        (kept, allowed)
    }

    /// Takes `hits` back, first those of the window that the clock is in.
    pub fn give(self, kept: Option<Hits>, now: u64, hits: u64) -> Hits {
        let mut kept = self.at(kept, now);
        let rest = hits.saturating_sub(kept.current);
        kept.current = kept.current.saturating_sub(hits);
        kept.previous = kept.previous.saturating_sub(rest);
        kept
    }

    /// Hits that may still come at `now`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn remaining(self, kept: Hits, now: u64) -> u64 {
        (self.limit as f64 - self.used(kept, now)).max(0.0).floor() as u64
    }

    /// From `now` until one more hit has room; none when it has.
    #[allow(clippy::cast_precision_loss)]
    pub fn to_next(self, kept: Hits, now: u64) -> Duration {
        let missing = self.used(kept, now) + 1.0 - self.limit as f64;
        let left = 1.0 - self.share_gone(now);
        let to_end = Duration::from_secs_f64(left * self.seconds as f64);
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        // Only what was before fades in this window; then this window fades in the next.
        if kept.previous > 0 && missing <= kept.previous as f64 * left {
            return self.part(missing / kept.previous as f64);
        }
        let over = kept.current as f64 + 1.0 - self.limit as f64;
        match kept.current {
            0 => to_end,
            current => to_end.saturating_add(self.part((over / current as f64).clamp(0.0, 1.0))),
        }
    }

    /// From `now` until no hit counts any more.
    #[allow(clippy::cast_precision_loss)]
    pub fn to_unused(self, kept: Hits, now: u64) -> Duration {
        let kept = self.at(Some(kept), now);
        let windows = match (kept.current, kept.previous) {
            (0, 0) => return Duration::ZERO,
            (0, _) => 1.0,
            _ => 2.0,
        };
        self.part(windows - self.share_gone(now))
    }

    fn part(self, share: f64) -> Duration {
        #[allow(clippy::cast_precision_loss)]
        Duration::try_from_secs_f64(share * self.seconds as f64).unwrap_or(Duration::MAX)
    }

    /// What is kept, seen from the window of `now`. A clock that is behind does not turn it back.
    fn at(self, kept: Option<Hits>, now: u64) -> Hits {
        let window = now / self.micros();
        match kept {
            Some(kept) if kept.window >= window => kept,
            Some(kept) if kept.window + 1 == window => {
                Hits { window, current: 0, previous: kept.current }
            }
            _ => Hits { window, current: 0, previous: 0 },
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn used(self, kept: Hits, now: u64) -> f64 {
        let kept = self.at(Some(kept), now);
        kept.current as f64 + kept.previous as f64 * (1.0 - self.share_gone(now))
    }

    #[allow(clippy::cast_precision_loss)]
    fn share_gone(self, now: u64) -> f64 {
        (now % self.micros()) as f64 / self.micros() as f64
    }

    fn micros(self) -> u64 {
        self.seconds.saturating_mul(1_000_000).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEN: Sliding = Sliding { limit: 10, seconds: 60 };
    const SECOND: u64 = 1_000_000;

    #[test]
    fn what_was_before_fades() {
        let (full, allowed) = TEN.take(None, 30 * SECOND, 10);
        assert!(allowed && !TEN.take(Some(full), 59 * SECOND, 1).1);
        // A quarter into the next window three quarters of the ten still count.
        let (kept, allowed) = TEN.take(Some(full), 75 * SECOND, 2);
        assert!(allowed && !TEN.take(Some(kept), 75 * SECOND, 1).1);
        assert_eq!(TEN.remaining(kept, 75 * SECOND), 0);
        assert_eq!(TEN.take(Some(kept), 180 * SECOND, 10).0.previous, 0);
    }

    #[test]
    fn says_when_there_is_room_again() {
        let (full, _) = TEN.take(None, 30 * SECOND, 10);
        assert_eq!(TEN.to_next(full, 30 * SECOND), Duration::from_secs(36));
        let (kept, _) = TEN.take(Some(full), 66 * SECOND, 1);
        assert_eq!(TEN.to_next(kept, 66 * SECOND), Duration::from_secs(6));
        assert_eq!(TEN.to_next(kept, 119 * SECOND), Duration::ZERO);
        let none = Sliding { limit: 0, seconds: 1 };
        assert!(none.to_next(Hits::default(), 0) <= Duration::from_secs(1));
    }

    #[test]
    fn hits_that_are_given_back_have_room_again() {
        let (full, _) = TEN.take(None, 0, 10);
        let kept = TEN.give(Some(full), 0, 4);
        assert_eq!(TEN.remaining(kept, 0), 4);
        assert_eq!(TEN.give(Some(kept), 60 * SECOND, 99), Hits { window: 1, ..Hits::default() });
    }

    proptest! {
        #[test]
        fn a_window_of_the_clock_never_has_more_than_the_limit(
            steps in prop::collection::vec((0_u64..2_000_000, 0_u64..5), 1..80), limit in 0_u64..12,
        ) {
            let sliding = Sliding { limit, seconds: 1 };
            let (mut now, mut kept) = (0, None);
            let mut admitted = std::collections::HashMap::<u64, u64>::new();
            for (wait, hits) in steps {
                now += wait;
                let (next, allowed) = sliding.take(kept, now, hits);
                kept = Some(next);
                if allowed { *admitted.entry(now / SECOND).or_default() += hits; }
                prop_assert!(sliding.remaining(next, now) <= limit);
            }
            prop_assert!(admitted.values().all(|hits| *hits <= limit));
        }

        #[test]
        fn after_the_time_it_says_a_hit_has_room(
            hits in 1_u64..20, at in 0_u64..1_000_000, later in 0_u64..1_000_000,
        ) {
            let sliding = Sliding { limit: 20, seconds: 1 };
            let (kept, _) = sliding.take(None, at, hits);
            let (kept, _) = sliding.take(Some(kept), SECOND + later, 20 - hits);
            let now = SECOND + later;
            let wait = u64::try_from(sliding.to_next(kept, now).as_micros()).unwrap();
            prop_assert!(sliding.take(Some(kept), now + wait + 1, 1).1);
        }
    }
}
