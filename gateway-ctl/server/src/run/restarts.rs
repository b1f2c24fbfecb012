//! When a child that ended by itself is started again: soon the first time, later each time after,
//! so that a crash loop costs little and its log can be read.

use std::time::Duration;

/// Until the first start after an end, and the longest wait.
const WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A child that lived this long is well again.
const WELL: Duration = Duration::from_secs(60);
/// Ends in a row that are a crash loop.
const LOOP: u32 = 3;

/// How often a child ended without having been well.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    ends: u32,
}

impl Restarts {
    /// Counts an end after a life so long; gives the wait until the next start.
    pub(super) fn ended(&mut self, lived: Duration) -> Duration {
        if lived >= WELL {
            self.ends = 0;
        }
        self.ends = self.ends.saturating_add(1);
        WAIT.0.saturating_mul(1 << (self.ends - 1).min(10)).min(WAIT.1)
    }

    /// What people are told, given how the child ended and how long the wait is.
    pub(super) fn words(&self, end: &str, wait: Duration) -> String {
        let next = format!(
            "it is started again in {} s with the configuration as it was",
            wait.as_secs_f64()
        );
        if self.ends < LOOP {
            format!("{end}; {next}")
        } else {
            format!(
                "{end}; that was {} times in a row, each within a minute of its start; {next}",
                self.ends
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_it_was_well() {
        let mut restarts = Restarts::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..9).map(|_| restarts.ended(short).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!(restarts.words("envoy ended", WAIT.1).contains("9 times in a row"));
        assert_eq!(restarts.ended(WELL), WAIT.0);
        assert!(!restarts.words("envoy ended", WAIT.0).contains("in a row"));
    }
}
