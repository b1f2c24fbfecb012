//! Go's `fmt`: verbs, flags, and its words for misuse.

use std::fmt::Write as _;

use crate::value::{Value, duration_text};

/// Widest padding and longest precision, as in Go.
const MAX_WIDTH: usize = 1_000_000;

/// Flags of a verb.
#[derive(Clone, Copy, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprint`: a blank between two operands when neither is a string.
pub(crate) fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    let mut after_string = true;
    for value in values {
        let is_string = matches!(value, Value::String(_));
        if !is_string && !after_string {
            out.push(' ');
        }
        out.push_str(&plain(value));
        after_string = is_string;
    }
    out
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(values: &[Value]) -> String {
    let mut out = values.iter().map(plain).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// `%v`.
pub(crate) fn plain(value: &Value) -> String {
    let mut out = String::new();
    format_value(&mut out, value, 'v', Spec::default(), 0);
    out
}

/// `fmt.Sprintf`; the output is cut near `limit` bytes.
pub(crate) fn sprintf(format: &str, values: &[Value], limit: usize) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    let mut reordered = false;
    while let Some(c) = chars.next() {
        if out.len() > limit {
            return out;
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                ' ' => spec.space = true,
                _ => break,
            }
            chars.next();
        }
        let mut bad_index = false;
        argument_index(&mut chars, values.len(), &mut next, &mut reordered, &mut bad_index);
        spec.width = match width(&mut chars, values, &mut next) {
            Width::None => None,
            Width::Some(n) => Some(n),
            Width::Negative(n) => {
                spec.minus = true;
                Some(n)
            }
            Width::Bad => {
                out.push_str("%!(BADWIDTH)");
                None
            }
        };
        if chars.peek() == Some(&'.') {
            chars.next();
            argument_index(&mut chars, values.len(), &mut next, &mut reordered, &mut bad_index);
            spec.precision = match width(&mut chars, values, &mut next) {
                Width::None => Some(0),
                Width::Some(n) => Some(n),
                Width::Negative(_) | Width::Bad => {
                    out.push_str("%!(BADPREC)");
                    None
                }
            };
        }
        argument_index(&mut chars, values.len(), &mut next, &mut reordered, &mut bad_index);
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        match (verb, values.get(next)) {
            ('%', _) => out.push('%'),
            (_, _) if bad_index => {
                let _ = write!(out, "%!{verb}(BADINDEX)");
            }
            (_, None) => {
                let _ = write!(out, "%!{verb}(MISSING)");
            }
            (_, Some(value)) => {
                next += 1;
                match verb {
                    'T' => pad(&mut out, value.type_name(), spec),
                    verb => format_value(&mut out, value, verb, spec, 0),
                }
            }
        }
    }
    if !reordered && next < values.len() {
        let extra: Vec<_> = values[next..]
            .iter()
            .map(|v| match v {
                Value::Nil | Value::Missing => "<nil>".to_owned(),
                v => format!("{}={}", v.type_name(), plain(v)),
            })
            .collect();
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// `[n]`: the next operand's number.
fn argument_index(
    chars: &mut Chars<'_>,
    count: usize,
    next: &mut usize,
    reordered: &mut bool,
    bad: &mut bool,
) {
    if chars.peek() != Some(&'[') {
        return;
    }
    *reordered = true;
    chars.next();
    let mut text = String::new();
    for c in chars.by_ref() {
        if c == ']' {
            break;
        }
        text.push(c);
    }
    match text.parse::<usize>() {
        Ok(n) if n >= 1 && n <= count => *next = n - 1,
        _ => *bad = true,
    }
}

enum Width {
    None,
    Some(usize),
    Negative(usize),
    Bad,
}

fn width(chars: &mut Chars<'_>, values: &[Value], next: &mut usize) -> Width {
    if chars.peek() == Some(&'*') {
        chars.next();
        let value = values.get(*next);
        *next += 1;
        let size = |n: i64| usize::try_from(n.unsigned_abs()).ok().filter(|n| *n <= MAX_WIDTH);
        return match value {
            Some(Value::Int(n)) if *n < 0 => size(*n).map_or(Width::Bad, Width::Negative),
            Some(Value::Int(n)) => size(*n).map_or(Width::Bad, Width::Some),
            _ => Width::Bad,
        };
    }
    let mut digits = String::new();
    while let Some(c) = chars.peek().filter(|c| c.is_ascii_digit()) {
        digits.push(*c);
        chars.next();
    }
    if digits.is_empty() {
        return Width::None;
    }
    digits.parse().ok().filter(|n| *n <= MAX_WIDTH).map_or(Width::Bad, Width::Some)
}

fn pad(out: &mut String, text: &str, spec: Spec) {
    let length = text.chars().count();
    let fill = spec.width.unwrap_or(0).saturating_sub(length);
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', fill));
    } else {
        let zero = if spec.zero { '0' } else { ' ' };
        out.extend(std::iter::repeat_n(zero, fill));
        out.push_str(text);
    }
}

/// Pads a number: zeros go between sign and digits.
fn pad_number(out: &mut String, negative: bool, digits: &str, spec: Spec) {
    let sign = match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let length = sign.len() + digits.chars().count();
    let fill = spec.width.unwrap_or(0).saturating_sub(length);
    if spec.zero && !spec.minus {
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', fill));
        out.push_str(digits);
    } else {
        pad(out, &format!("{sign}{digits}"), Spec { zero: false, ..spec });
    }
}

fn bad_verb(out: &mut String, verb: char, value: &Value) {
    let _ = write!(out, "%!{verb}({}={})", value.type_name(), plain(value));
}

fn format_value(out: &mut String, value: &Value, verb: char, spec: Spec, depth: usize) {
    match value {
        Value::Missing | Value::Nil => match verb {
            'v' => pad(out, "<nil>", spec),
            verb => {
                let _ = write!(out, "%!{verb}(<nil>)");
            }
        },
        Value::Bool(b) if matches!(verb, 'v' | 't') => {
            pad(out, if *b { "true" } else { "false" }, Spec { zero: false, ..spec });
        }
        Value::Int(n) => integer(out, value, *n < 0, n.unsigned_abs(), verb, spec),
        Value::Uint(n) => integer(out, value, false, *n, verb, spec),
        Value::Float(f) => float(out, value, *f, verb, spec),
        Value::String(s) => string(out, value, s, verb, spec),
        Value::Duration(n) => match verb {
            'v' | 's' | 'q' => string(out, value, &duration_text(*n), verb, spec),
            _ => integer(out, value, *n < 0, n.unsigned_abs(), verb, spec),
        },
        Value::Error(error) => string(out, value, &error.message, verb, spec),
        Value::List(items) => sequence(out, "[", items.iter(), |out, v| {
            format_value(out, v, verb, spec, depth + 1);
        }),
        Value::Map(map) => sequence(out, "map[", map.entries.iter(), |out, (k, v)| {
            string(out, &Value::from(k.as_str()), k, verb, spec);
            out.push(':');
            format_value(out, v, verb, spec, depth + 1);
        }),
        Value::Header(headers) => sequence(out, "map[", headers.iter(), |out, (k, values)| {
            string(out, value, k, verb, spec);
            out.push(':');
            sequence(out, "[", values.iter(), |out, v| string(out, value, v, verb, spec));
        }),
        Value::Struct(_) if depth > 0 => out.push_str("0xc000000000"),
        Value::Struct(fields) => {
            out.push_str("&{");
            for (i, (name, field)) in fields.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                if spec.plus {
                    let _ = write!(out, "{name}:");
                }
                format_value(out, field, verb, spec, depth + 1);
            }
            out.push('}');
        }
        Value::Bool(_) => bad_verb(out, verb, value),
    }
}

fn sequence<T>(
    out: &mut String,
    open: &str,
    items: impl Iterator<Item = T>,
    mut item: impl FnMut(&mut String, T),
) {
    out.push_str(open);
    for (i, value) in items.enumerate() {
        if i > 0 {
            out.push(' ');
        }
        item(out, value);
    }
    out.push(']');
}

fn integer(out: &mut String, value: &Value, negative: bool, n: u64, verb: char, spec: Spec) {
    let mut digits = match verb {
        'v' | 'd' => n.to_string(),
        'b' => format!("{n:b}"),
        'o' | 'O' => format!("{n:o}"),
        'x' => format!("{n:x}"),
        'X' => format!("{n:X}"),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(n).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            let text = match verb {
                'c' => c.to_string(),
                'q' => format!("'{}'", quoted(&c.to_string(), '\'')),
                _ => format!("U+{n:04X}"),
            };
            return pad(out, &text, Spec { zero: false, ..spec });
        }
        verb => return bad_verb(out, verb, value),
    };
    let mut spec = spec;
    if let Some(precision) = spec.precision {
        let fill = precision.saturating_sub(digits.len());
        digits.insert_str(0, &"0".repeat(fill));
        spec.zero = false;
    }
    match verb {
        'x' if spec.sharp => digits.insert_str(0, "0x"),
        'X' if spec.sharp => digits.insert_str(0, "0X"),
        'b' if spec.sharp => digits.insert_str(0, "0b"),
        'o' if spec.sharp => digits.insert(0, '0'),
        'O' => digits.insert_str(0, "0o"),
        _ => {}
    }
    pad_number(out, negative, &digits, spec);
}

fn float(out: &mut String, value: &Value, f: f64, verb: char, spec: Spec) {
    if !matches!(verb, 'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F') {
        return bad_verb(out, verb, value);
    }
    if !f.is_finite() {
        let text = if f.is_nan() { "NaN" } else { "Inf" };
        let spec = Spec { zero: false, plus: spec.plus || (f > 0.0 && verb != 'v'), ..spec };
        return pad_number(out, f < 0.0, text, spec);
    }
    let magnitude = f.abs();
    let text = match verb {
        'f' | 'F' => format!("{magnitude:.*}", spec.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{magnitude:.*e}", spec.precision.unwrap_or(6))),
        _ => general(magnitude, spec.precision),
    };
    let text = if matches!(verb, 'G' | 'E') { text.to_uppercase() } else { text };
    pad_number(out, f.is_sign_negative(), &text, spec);
}

/// Rust's `1.5e9` as Go's `1.5e+09`.
fn exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text.to_owned() };
    match exponent.strip_prefix('-') {
        Some(e) => format!("{digits}e-{e:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// `%g`: the shortest text that reads back equal, or `precision` digits; with an exponent when it
/// is below -4 or not below the precision (6 when the shortest is asked for).
fn general(f: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        Some(p) => format!("{f:.*e}", p.max(1) - 1),
        None => format!("{f:e}"),
    };
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i64 = power.parse().unwrap_or(0);
    let mut significant: String = digits.chars().filter(|c| *c != '.').collect();
    significant.truncate(significant.trim_end_matches('0').len().max(1));
    let count = i64::try_from(significant.len()).unwrap_or(i64::MAX);
    let limit = match precision.map(|p| i64::try_from(p.max(1)).unwrap_or(i64::MAX)) {
        None => 6,
        Some(p) if p > count && count > power => count,
        Some(p) => p,
    };
    if power < -4 || power >= limit {
        let mut text = significant[..1].to_owned();
        if significant.len() > 1 {
            text.push('.');
            text.push_str(&significant[1..]);
        }
        return exponent(&format!("{text}e{power}"));
    }
    fixed(&significant, power)
}

/// `significant` digits with the point after `power + 1` of them.
fn fixed(significant: &str, power: i64) -> String {
    if power < 0 {
        let zeros = usize::try_from(-power - 1).unwrap_or(0);
        return format!("0.{}{significant}", "0".repeat(zeros));
    }
    let whole = usize::try_from(power).unwrap_or(0) + 1;
    if significant.len() <= whole {
        return format!("{significant}{}", "0".repeat(whole - significant.len()));
    }
    format!("{}.{}", &significant[..whole], &significant[whole..])
}

fn string(out: &mut String, value: &Value, text: &str, verb: char, spec: Spec) {
    let cut: String;
    let text = match spec.precision {
        Some(p) if matches!(verb, 'v' | 's' | 'q') => {
            cut = text.chars().take(p).collect();
            &cut
        }
        _ => text,
    };
    let spec = Spec { precision: None, ..spec };
    match verb {
        'v' | 's' => pad(out, text, spec),
        'q' => pad(out, &format!("\"{}\"", quoted(text, '"')), spec),
        'x' => pad(out, &text.bytes().map(|b| format!("{b:02x}")).collect::<String>(), spec),
        'X' => pad(out, &text.bytes().map(|b| format!("{b:02X}")).collect::<String>(), spec),
        verb => bad_verb(out, verb, value),
    }
}

/// Go's `strconv.Quote` without the quotes.
fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c == quote || c == '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
