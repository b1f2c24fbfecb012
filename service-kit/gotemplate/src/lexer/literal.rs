//! Go's notation of numbers, strings and characters.

use std::str::Chars;

use crate::ast::Expr;

/// How long the number at the start of `text` is; what follows decides whether it is one.
pub(super) fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, allowed: &dyn Fn(u8) -> bool| {
        from + bytes.iter().skip(from).take_while(|b| allowed(**b)).count()
    };
    let one = |at: usize, of: &[u8]| usize::from(bytes.get(at).is_some_and(|b| of.contains(b)));
    let decimal = |b: u8| b.is_ascii_digit() || b == b'_';
    let mut at = one(0, b"+-");
    let mut radix = 10;
    if bytes.get(at) == Some(&b'0') {
        at += 1;
        radix = match bytes.get(at) {
            Some(b'x' | b'X') => 16,
            Some(b'o' | b'O') => 8,
            Some(b'b' | b'B') => 2,
            _ => 10,
        };
        at += usize::from(radix != 10);
    }
    let digit = move |b: u8| b == b'_' || char::from(b).is_digit(radix);
    at = run(at, &digit);
    if one(at, b".") == 1 {
        at = run(at + 1, &digit);
    }
    let exponent: &[u8] = match radix {
        10 => b"eE",
        16 => b"pP",
        _ => b"",
    };
    if one(at, exponent) == 1 {
        at += 1;
        at += one(at, b"+-");
        at = run(at, &decimal);
    }
    at + one(at, b"i")
}

/// A number constant with the kind that Go gives it: a float when it looks like one.
pub(crate) fn number(text: &str) -> Option<Expr> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(magnitude) = whole(digits) {
        let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
        if let Ok(n) = i64::try_from(signed) {
            return Some(Expr::Int(n));
        }
        if !negative && digits.len() == text.len() {
            return Some(Expr::Uint(magnitude));
        }
    }
    if !digits.contains(['.', 'e', 'E', 'p', 'P']) {
        return None;
    }
    let magnitude = float(digits)?;
    Some(Expr::Float(if negative { -magnitude } else { magnitude }))
}

/// A whole number in Go's notation: `0x`, `0o`, `0b` or a mere `0` before octal digits.
fn whole(digits: &str) -> Option<u64> {
    let (radix, rest) = split_radix(digits);
    let (radix, rest) = match rest.strip_prefix('0') {
        Some(octal) if radix == 10 && !octal.is_empty() => (8, octal),
        _ => (radix, rest),
    };
    if !separates_digits(digits) {
        return None;
    }
    let plain = rest.replace('_', "");
    if plain.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(&plain, radix).ok()
}

fn split_radix(digits: &str) -> (u32, &str) {
    let rest = digits.get(2..).unwrap_or("");
    match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, rest),
        [b'0', b'o' | b'O', ..] => (8, rest),
        [b'0', b'b' | b'B', ..] => (2, rest),
        _ => (10, digits),
    }
}

/// Whether each `_` stands between digits or between a prefix and a digit.
fn separates_digits(digits: &str) -> bool {
    let (radix, rest) = split_radix(digits);
    let mut last = if radix == 10 { '!' } else { '0' };
    for c in rest.chars() {
        let kind = match c {
            '_' => '_',
            c if c.is_digit(radix.max(10)) => '0',
            _ => '!',
        };
        if (kind == '_' && last != '0') || (last == '_' && kind != '0') {
            return false;
        }
        last = kind;
    }
    last != '_'
}

fn float(digits: &str) -> Option<f64> {
    let (radix, rest) = split_radix(digits);
    let value = match radix {
        16 if separates_digits(digits) => hex_float(&rest.replace('_', ""))?,
        10 if separates_digits(digits) => digits.replace('_', "").parse::<f64>().ok()?,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// `1.8p3`: hexadecimal mantissa, binary exponent.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut exponent = exponent.parse::<i64>().ok()?.clamp(-1_000_000, 1_000_000);
    exponent -= i64::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let mut bits: u64 = 0;
    for c in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(c.to_digit(16)?);
        if bits >> 59 == 0 {
            bits = (bits << 4) | digit;
        } else {
            exponent += 4;
            bits |= u64::from(digit != 0); // only for rounding
        }
    }
    scale(bits, exponent)
}

/// `bits × 2^exponent`, rounded half to even once.
#[allow(clippy::cast_precision_loss)] // the bits that are kept fit
fn scale(bits: u64, exponent: i64) -> Option<f64> {
    if bits == 0 {
        return Some(0.0);
    }
    let top = i64::from(bits.ilog2()) + exponent;
    if top > 1023 {
        return None;
    }
    // Bits that a float of this size keeps; fewer for those near zero.
    let kept = if top >= -1022 { 53 } else { 53 - (-1022 - top) };
    let drop = i64::from(bits.ilog2()) + 1 - kept;
    let (mut bits, mut exponent) = (bits, exponent);
    if drop > 63 {
        return Some(0.0);
    }
    if drop > 0 {
        let half = 1_u64 << (drop - 1);
        let (quotient, rest) = (bits >> drop, bits & ((half << 1) - 1));
        let up = rest > half || (rest == half && quotient & 1 == 1);
        bits = quotient + u64::from(up);
        exponent += drop;
    }
    let mut value = bits as f64;
    while exponent != 0 && value != 0.0 {
        let step = exponent.clamp(-1000, 1000);
        value *= 2_f64.powi(i32::try_from(step).ok()?);
        exponent -= step;
    }
    value.is_finite().then_some(value)
}

/// The text of a double-quoted string. Bytes that are no UTF-8 (`"\xff"`) become U+FFFD.
pub(super) fn unquote(inside: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match escape(&mut chars, '"')? {
            Escape::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Escape::Byte(b) => bytes.push(b),
        }
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// The code of one character up to the closing quote.
pub(super) fn unquote_char(chars: &mut Chars<'_>) -> Option<u32> {
    match chars.next()? {
        '\'' | '\n' => None,
        '\\' => Some(match escape(chars, '\'')? {
            Escape::Char(c) => u32::from(c),
            Escape::Byte(b) => u32::from(b),
        }),
        c => Some(u32::from(c)),
    }
}

enum Escape {
    Char(char),
    Byte(u8),
}

/// An escape whose backslash was read; only the own quote may be escaped.
fn escape(chars: &mut Chars<'_>, quote: char) -> Option<Escape> {
    let first = chars.next()?;
    let mut code = |start: u32, digits: usize, radix: u32| {
        (0..digits).try_fold(start, |n, _| {
            n.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)
        })
    };
    Some(match first {
        'a' => Escape::Char('\u{7}'),
        'b' => Escape::Char('\u{8}'),
        'f' => Escape::Char('\u{c}'),
        'n' => Escape::Char('\n'),
        'r' => Escape::Char('\r'),
        't' => Escape::Char('\t'),
        'v' => Escape::Char('\u{b}'),
        '\\' => Escape::Char('\\'),
        c if c == quote => Escape::Char(c),
        'x' => Escape::Byte(u8::try_from(code(0, 2, 16)?).ok()?),
        'u' => Escape::Char(char::from_u32(code(0, 4, 16)?)?),
        'U' => Escape::Char(char::from_u32(code(0, 8, 16)?)?),
        c => Escape::Byte(u8::try_from(code(c.to_digit(8)?, 2, 8)?).ok()?),
    })
}
