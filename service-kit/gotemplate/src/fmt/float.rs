//! Floating-point numbers.

use super::Printer;
use crate::value::Value;

/// Digits that a float can have at most: what is asked for beyond them is zeros. Also the most that
/// the standard library's formatting is asked for.
const MAX_DIGITS: usize = 1100;

impl Printer {
    pub(super) fn float(&mut self, value: &Value, f: f64, verb: char) {
        let precision = self.flags.precision;
        let digits = match verb {
            'v' | 'g' | 'G' => general(f.abs(), precision),
            'e' | 'E' => scientific(f.abs(), precision.unwrap_or(6)),
            'f' | 'F' => fixed(f.abs(), precision.unwrap_or(6)),
            'x' | 'X' => hexadecimal(f.abs(), precision),
            'b' => binary(f.abs()),
            verb => return self.complain(value, verb),
        };
        if digits.len() > self.limit {
            self.too_long = true;
            return;
        }
        let digits = if matches!(verb, 'E' | 'G' | 'X') { digits.to_uppercase() } else { digits };
        let sign = match (f.is_sign_negative() && !f.is_nan(), self.flags.plus, self.flags.space) {
            (true, _, _) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        };
        if !f.is_finite() {
            let (text, sign) = match (f.is_nan(), sign) {
                (true, sign) => ("NaN", sign),
                (false, sign) => ("Inf", if sign.is_empty() { "+" } else { sign }),
            };
            return self.padded_with_spaces(&format!("{sign}{text}"));
        }
        let digits = if self.flags.sharp && verb != 'b' {
            with_point(&digits, verb, precision)
        } else {
            digits
        };
        let length = sign.len() + digits.len();
        if !sign.is_empty() && self.flags.zero && !self.flags.minus {
            self.push(sign);
            self.repeat('0', self.flags.width.unwrap_or(0).saturating_sub(length));
            return self.push(&digits);
        }
        self.padded(&format!("{sign}{digits}"));
    }
}

/// `1.5e+09`.
fn scientific(f: f64, precision: usize) -> String {
    let text = format!("{f:.*e}", precision.min(MAX_DIGITS));
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let zeros = "0".repeat(precision.saturating_sub(MAX_DIGITS));
    format!("{digits}{zeros}{}", exponent_text(exponent))
}

fn fixed(f: f64, precision: usize) -> String {
    let zeros = "0".repeat(precision.saturating_sub(MAX_DIGITS));
    format!("{f:.*}{zeros}", precision.min(MAX_DIGITS))
}

/// `e+09`, with at least two digits.
fn exponent_text(exponent: &str) -> String {
    match exponent.strip_prefix('-') {
        Some(digits) => format!("e-{digits:0>2}"),
        None => format!("e+{exponent:0>2}"),
    }
}

/// `%g`: the shortest text that reads back equal, or `precision` digits; with an exponent when it
/// is below -4 or not below the number of digits (6 for the shortest text).
fn general(f: f64, precision: Option<usize>) -> String {
    if !f.is_finite() {
        return String::new();
    }
    let precision = precision.map(|p| p.clamp(1, MAX_DIGITS));
    let text = match precision {
        Some(precision) => format!("{f:.*e}", precision - 1),
        None => format!("{f:e}"),
    };
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i64 = exponent.parse().unwrap_or(0);
    let mut significant: String = digits.chars().filter(char::is_ascii_digit).collect();
    significant.truncate(significant.trim_end_matches('0').len().max(1));
    let count = i64::try_from(significant.len()).unwrap_or(i64::MAX);
    let limit = match precision.map(|p| i64::try_from(p).unwrap_or(i64::MAX)) {
        None => 6,
        Some(p) if p > count && count > power => count,
        Some(p) => p,
    };
    if power < -4 || power >= limit {
        let (first, rest) = significant.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{first}{point}{rest}{}", exponent_text(exponent));
    }
    place_point(&significant, power)
}

/// `significant` digits with the point after `power + 1` of them.
fn place_point(significant: &str, power: i64) -> String {
    if power < 0 {
        let zeros = usize::try_from(-power - 1).unwrap_or(0);
        return format!("0.{}{significant}", "0".repeat(zeros));
    }
    let whole = usize::try_from(power).unwrap_or(0) + 1;
    match significant.split_at_checked(whole) {
        Some((whole, "")) => whole.to_owned(),
        Some((whole, fraction)) => format!("{whole}.{fraction}"),
        None => format!("{significant}{}", "0".repeat(whole - significant.len())),
    }
}

/// Mantissa (53 bits, the first of them set but for 0 and the smallest) and binary exponent.
fn parts(f: f64) -> (u64, i64) {
    let bits = f.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match i64::try_from((bits >> 52) & 0x7ff).unwrap_or(0) {
        0 => (fraction, -1074),
        exponent => (fraction | (1 << 52), exponent - 1075),
    }
}

/// `%b`: `4503599627370496p-52`.
fn binary(f: f64) -> String {
    let (mantissa, exponent) = parts(f);
    format!("{mantissa}p{exponent:+}")
}

/// `%x`: `0x1.8p+00`.
fn hexadecimal(f: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(f);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // 60 bits after the first one.
        let shift = mantissa.leading_zeros() - 3;
        mantissa <<= shift;
        exponent += 60 - i64::from(shift);
    }
    if let Some(precision) = precision.filter(|p| *p < 15) {
        let drop = 60 - 4 * precision;
        let (kept, rest) = (mantissa >> drop, mantissa & ((1 << drop) - 1));
        let half = 1 << (drop - 1);
        mantissa = (kept + u64::from(rest > half || (rest == half && kept & 1 == 1))) << drop;
        if mantissa >> 61 == 1 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let fraction = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let fraction = match precision {
        None => fraction.trim_end_matches('0').to_owned(),
        Some(precision) => {
            let kept = fraction.get(..precision).unwrap_or(&fraction);
            format!("{kept}{}", "0".repeat(precision.saturating_sub(15)))
        }
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{fraction}p{sign}{:02}", mantissa >> 60, exponent.abs())
}

/// With `#`: always a point, and for `%g` the zeros that it drops.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let exponent: &[char] = if matches!(verb, 'x' | 'X') { &['p', 'P'] } else { &['e', 'E'] };
    let (number, tail) = text.split_at(text.find(exponent).unwrap_or(text.len()));
    let wanted = match verb {
        'v' | 'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let shown = number.chars().filter(|c| *c != '.').skip_while(|c| *c == '0').count();
    let has_point = number.contains('.');
    let shown = shown + usize::from(!has_point && number == "0");
    let point = if has_point { "" } else { "." };
    format!("{number}{point}{}{tail}", "0".repeat(wanted.min(MAX_DIGITS).saturating_sub(shown)))
}
