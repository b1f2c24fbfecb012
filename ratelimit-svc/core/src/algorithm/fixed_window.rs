//! A count that starts at zero with each window of the clock: the algorithm of envoyproxy/ratelimit.

/// When the window around `now` began, both in seconds since the Unix epoch.
pub const fn window_start(now: u64, window: u64) -> u64 {
    now - now % window
}

/// Whole seconds from `now` to the end of its window: 1 to `window`.
pub const fn seconds_to_reset(now: u64, window: u64) -> u64 {
    window - now % window
}

/// Whether a count `after` a request is over the limit. A request without hits at a limit of zero
/// is not.
pub const fn is_over(after: u64, limit: u64) -> bool {
    after > limit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn windows_cover_time_without_gap(now in 0_u64..4_000_000_000, window in 1_u64..40_000_000) {
            let (start, left) = (window_start(now, window), seconds_to_reset(now, window));
            prop_assert!(start <= now && start % window == 0);
            prop_assert_eq!(start + window, now + left);
            prop_assert!((1..=window).contains(&left));
        }
    }
}
