//! How a counter stands, without counting: what a store keeps of it, and the moment. Answers people who
//! ask how near they are; what is decided about requests is not here.

use std::time::Duration;

use crate::algorithm::fixed_window::seconds_to_reset;
use crate::algorithm::sliding_window::Hits;
use crate::algorithm::token_bucket::Level;
use crate::plan::CounterKind;

/// What a store keeps of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kept {
    /// Hits in the window of the clock.
    Hits(u64),
    /// Of a sliding window.
    Sliding(Hits),
    /// Of a bucket.
    Bucket(Level),
}

/// How a counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Hits that count now; those above the limit, too, where a window counts them.
    pub used: u64,
    /// Hits that would still pass.
    pub remaining: u64,
    /// Until one hit would pass; zero when it would now.
    pub next: Duration,
    /// Until nothing of it is used any more.
    pub reset: Duration,
}

impl CounterKind {
    /// How a counter of this kind stands at `now` (since the Unix epoch); a counter that is not kept is unused.
    pub fn reading(self, kept: Option<Kept>, now: Duration) -> Reading {
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        match self {
            Self::Window { limit, seconds } => {
                let used = match kept {
                    Some(Kept::Hits(hits)) => hits,
                    _ => 0,
                };
                let to_end = Duration::from_secs(seconds_to_reset(now.as_secs(), seconds));
                let unless = |is_free: bool| if is_free { Duration::ZERO } else { to_end };
                Reading {
                    used,
                    remaining: limit.saturating_sub(used),
                    next: unless(used < limit),
                    reset: unless(used == 0),
                }
            }
            Self::Sliding(sliding) => {
                let hits = match kept {
                    Some(Kept::Sliding(hits)) => hits,
                    _ => Hits::default(),
                };
                let remaining = sliding.remaining(hits, micros);
                Reading {
                    used: sliding.limit.saturating_sub(remaining),
                    remaining,
                    next: sliding.to_next(hits, micros),
                    reset: sliding.to_unused(hits, micros),
                }
            }
            Self::Bucket { bucket, .. } => {
                let level = match kept {
                    Some(Kept::Bucket(level)) => Some(level),
                    _ => None,
                };
                let tokens = bucket.take(level, micros, 0).1.tokens;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
                let whole = |number: f64| number.max(0.0) as u64;
                Reading {
                    used: whole((bucket.capacity - tokens).ceil()),
                    remaining: whole(tokens.floor()),
                    next: bucket.to_next(tokens),
                    reset: bucket.to_full(tokens),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::sliding_window::Sliding;
    use crate::algorithm::token_bucket::Bucket;

    const MICROS: u64 = 1_000_000;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_window_begins_anew_with_the_clock() {
        let kind = CounterKind::Window { limit: 10, seconds: 60 };
        let unused = kind.reading(None, at(75));
        assert_eq!((unused.used, unused.remaining, unused.reset), (0, 10, Duration::ZERO));
        let some = kind.reading(Some(Kept::Hits(3)), at(75));
        assert_eq!((some.used, some.remaining), (3, 7));
        assert_eq!((some.next, some.reset), (Duration::ZERO, at(45)));
        let over = kind.reading(Some(Kept::Hits(12)), at(75));
        assert_eq!((over.used, over.remaining, over.next), (12, 0, at(45)));
    }

    #[test]
    fn a_sliding_window_has_room_again_before_it_is_unused() {
        let sliding = Sliding { limit: 10, seconds: 60 };
        let kind = CounterKind::Sliding(sliding);
        let (full, _) = sliding.take(None, 30 * MICROS, 10);
        let reading = kind.reading(Some(Kept::Sliding(full)), at(30));
        assert_eq!((reading.used, reading.remaining), (10, 0));
        assert_eq!((reading.next, reading.reset), (at(36), at(90)));
        let later = kind.reading(Some(Kept::Sliding(full)), at(90));
        assert_eq!((later.used, later.remaining, later.reset), (5, 5, at(30)));
        assert_eq!(kind.reading(Some(Kept::Sliding(full)), at(120)).reset, Duration::ZERO);
    }

    #[test]
    fn a_bucket_is_full_again_in_the_end() {
        let kind = CounterKind::Bucket { bucket: Bucket::new(6, 60, 2), seconds: 60 };
        let level = Level { tokens: 0.5, at: 0 };
        let reading = kind.reading(Some(Kept::Bucket(level)), at(0));
        assert_eq!((reading.used, reading.remaining), (12, 0));
        assert_eq!((reading.next, reading.reset), (at(5), at(115)));
        assert_eq!(kind.reading(Some(Kept::Bucket(level)), at(15)).remaining, 2);
        assert_eq!(kind.reading(None, at(0)).remaining, 12);
        let never = CounterKind::Bucket { bucket: Bucket::new(0, 60, 1), seconds: 60 };
        assert_eq!(never.reading(None, at(0)).remaining, 0);
    }

    proptest! {
        #[test]
        fn nothing_that_is_kept_breaks_it(
            limit in any::<u32>(), seconds in 1_u64..400_000_000, now in any::<u32>(),
            hits in any::<u64>(), tokens in any::<f64>(), moment in any::<u64>(),
        ) {
            let kept = [
                None,
                Some(Kept::Hits(hits)),
                Some(Kept::Sliding(Hits { window: moment, current: hits, previous: moment })),
                Some(Kept::Bucket(Level { tokens, at: moment })),
            ];
            let kinds = [
                CounterKind::Window { limit: limit.into(), seconds },
                CounterKind::Sliding(Sliding { limit: limit.into(), seconds }),
                CounterKind::Bucket { bucket: Bucket::new(limit, seconds, 3), seconds },
            ];
            for kind in kinds {
                for kept in kept {
                    let reading = kind.reading(kept, at(now.into()));
                    prop_assert!(reading.remaining <= 3 * u64::from(limit), "{kind:?} {kept:?} {reading:?}");
                }
            }
        }
    }
}
