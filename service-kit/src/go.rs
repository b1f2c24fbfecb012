//! Notations of Go's standard library that appear in settings and resources.

use std::time::Duration;

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a duration that is not negative as Go's `time.ParseDuration` does: `1h30m`, `1.5s`,
/// `300ms`, `0`.
///
/// # Errors
/// The text for the user: what is wrong and how a duration is written.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration (write it like 300ms, 5s or 1h30m)");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err(format!("`{text}` is negative; a duration here is 0 or more"));
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let scale = unit_nanos(unit).ok_or_else(wrong)?;
        nanos = nanos
            .checked_add(scaled(number, scale).ok_or_else(wrong)?)
            .filter(|n| *n <= i64::MAX as u128)
            .ok_or_else(|| format!("`{text}` is longer than a duration can be (290 years)"))?;
        rest = next;
    }
    Ok(Duration::from_nanos(u64::try_from(nanos).map_err(|_| wrong())?))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number` (digits with at most one dot) times `scale`, rounded down.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than nanoseconds in an hour cannot change the result.
    let fraction = &fraction[..fraction.len().min(16)];
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let digits = u32::try_from(fraction.len()).ok()?;
    whole.checked_mul(scale)?.checked_add(part * scale / 10_u128.pow(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_like_go() {
        for (text, nanos) in [
            ("0", 0),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("10us", 10_000),
            ("0.1ns", 0),
            ("+5s", 5_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "3", "s", ".s", "1.2.3s", "-5s", "5 s", "1d", "9999999999h", "+"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_booleans_like_go() {
        assert_eq!(parse_bool("T"), Some(true));
        assert_eq!(parse_bool("False"), Some(false));
        assert_eq!(parse_bool("yes"), None);
    }
}
