//! Go's `time.Duration`: its text and its methods, on whole nanoseconds.

use std::fmt::Write as _;

const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000_000_000;

/// As `String()` prints it: `1m30s`, `1.5s`, `2µs`, `0s`.
pub(crate) fn text(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    match magnitude {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{sign}{n}ns"),
        n if n < 1_000_000 => format!("{sign}{}µs", fraction(n, 1_000)),
        n if n < 1_000_000_000 => format!("{sign}{}ms", fraction(n, 1_000_000)),
        n => {
            let seconds = n / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = fraction(n % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}s"),
                (0, _) => format!("{sign}{minutes}m{rest}s"),
                _ => format!("{sign}{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// `value / unit` with all of its decimals, without trailing zeros.
fn fraction(value: u64, unit: u64) -> String {
    let mut text = (value / unit).to_string();
    let rest = value % unit;
    if rest > 0 {
        let digits = unit.ilog10() as usize;
        let _ = write!(text, ".{rest:0digits$}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

pub(crate) fn seconds(nanos: i64) -> f64 {
    in_units(nanos, SECOND)
}

pub(crate) fn minutes(nanos: i64) -> f64 {
    in_units(nanos, 60 * SECOND)
}

pub(crate) fn hours(nanos: i64) -> f64 {
    in_units(nanos, 3600 * SECOND)
}

pub(crate) fn milliseconds(nanos: i64) -> i64 {
    nanos / MILLISECOND
}

pub(crate) fn microseconds(nanos: i64) -> i64 {
    nanos / MICROSECOND
}

/// Whole units and the rest apart, as Go does it, so that the last digits are the same.
#[allow(clippy::cast_precision_loss)] // a duration shown as a float, as in Go
fn in_units(nanos: i64, unit: i64) -> f64 {
    (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64
}

/// Towards zero to a multiple of `unit`; as it is when `unit` is not above 0.
pub(crate) fn truncate(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 { nanos } else { nanos - nanos % unit }
}

/// To the nearest multiple of `unit`, halves away from zero; the largest duration on overflow.
pub(crate) fn round(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let rest = nanos % unit;
    let down = nanos - rest;
    let far = rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
    match (far, nanos < 0) {
        (false, _) => down,
        (true, false) => down.saturating_add(unit),
        (true, true) => down.saturating_sub(unit),
    }
}

#[cfg(test)]
mod tests {
    use super::{round, text, truncate};

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (3_600_000_000_000, "1h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(text(nanos), expected);
        }
    }

    #[test]
    fn halves_round_away_from_zero() {
        assert_eq!((round(15, 10), round(-15, 10), round(14, 10)), (20, -20, 10));
        assert_eq!((truncate(19, 10), truncate(-19, 10), truncate(7, 0)), (10, -10, 7));
        assert_eq!((round(i64::MAX, 10), round(i64::MIN, i64::MAX)), (i64::MAX, -i64::MAX));
    }
}
