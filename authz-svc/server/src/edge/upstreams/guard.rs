//! What protects others from a server that does not work, and us from waiting for it: a bound on
//! calls at a time, and a breaker. Pure but for its clock, which is an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// From there to the first probe; doubled by each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The breaker of one server.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// No call before; none while it is closed.
    closed_until: Option<Instant>,
    pause: Duration,
    /// A call is out that decides whether the next may follow.
    probing: bool,
}

impl Breaker {
    /// Whether a call may be made now; its end is for [`Self::ended`].
    pub(super) fn may_call(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.closed_until {
            None => true,
            Some(until) if now < until || state.probing => false,
            Some(_) => {
                state.probing = true;
                true
            }
        }
    }

    /// Takes the end of a call. Whether the breaker changed: `Some(true)` when it let go.
    pub(super) fn ended(&self, good: bool, now: Instant) -> Option<bool> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = state.closed_until.is_some();
        state.probing = false;
        if good {
            *state = State::default();
            return was_open.then_some(true);
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures < FAILURES {
            return None;
        }
        state.pause = if was_open { (state.pause * 2).min(LAST_PAUSE) } else { FIRST_PAUSE };
        state.closed_until = Some(now + state.pause);
        (!was_open).then_some(false)
    }

    /// Takes a call that was given up before its end.
    pub(super) fn abandoned(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).probing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_probe_closes_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for i in 1..=FAILURES {
            assert!(breaker.may_call(start));
            assert_eq!(breaker.ended(false, start), (i == FAILURES).then_some(false));
        }
        assert!(!breaker.may_call(start));
        let later = start + FIRST_PAUSE;
        assert!(breaker.may_call(later));
        assert!(!breaker.may_call(later), "one probe at a time");
        assert_eq!(breaker.ended(false, later), None);
        assert!(!breaker.may_call(later + FIRST_PAUSE), "the pause is longer now");
        let later = later + 2 * FIRST_PAUSE;
        assert!(breaker.may_call(later));
        breaker.abandoned();
        assert!(breaker.may_call(later), "a probe that was given up leaves room for another");
        assert_eq!(breaker.ended(true, later), Some(true));
        assert!(breaker.may_call(later) && breaker.may_call(later));
    }

    #[test]
    fn a_good_call_in_between_begins_anew() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for good in [false, false, false, false, true, false, false, false, false] {
            breaker.ended(good, now);
        }
        assert!(breaker.may_call(now));
    }
}
