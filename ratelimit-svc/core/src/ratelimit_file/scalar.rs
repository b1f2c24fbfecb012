//! What a scalar means by YAML 1.1 as Go's yaml.v2 reads it: the reader of envoyproxy/ratelimit.
//! `yes` and `y` are booleans, `007` is octal, `08` and `1e3` are floating-point numbers.

use serde_json::{Map, Number, Value};
use service_kit::yaml::{Kind, Node};

/// The value of a scalar; of one that is a string, the text is the node's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// Above the range of `i64`.
    BigInt(u64),
    Float(f64),
    Text,
}

/// Resolves a scalar; none for a collection.
pub(super) fn resolve(node: &Node) -> Option<Scalar> {
    match &node.kind {
        Kind::Scalar { plain: false, .. } => Some(Scalar::Text),
        Kind::Scalar { text, plain: true } => Some(plain(text)),
        _ => None,
    }
}

fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => number(text),
        _ => Scalar::Text,
    }
}

fn number(text: &str) -> Scalar {
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    if let Some(magnitude) = whole(digits) {
        let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
        if let Ok(int) = i64::try_from(signed) {
            return Scalar::Int(int);
        }
        if !negative {
            return Scalar::BigInt(magnitude);
        }
    }
    if is_float(digits) { text.parse().map_or(Scalar::Text, Scalar::Float) } else { Scalar::Text }
}

/// Digits with Go's prefixes: `0x`, `0b`, `0o` and, for octal too, `0`.
fn whole(digits: &str) -> Option<u64> {
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if let Some(octal) = lower.strip_prefix('0').filter(|o| !o.is_empty()) {
        (8, octal)
    } else {
        (10, lower.as_str())
    };
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// `.5`, `1.`, `1.5`, `1e3`, `08`; nothing that only looks like it, as an address does.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && all_digits(e)
    });
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction) && mantissa.len() > 1,
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    exponent_fits && mantissa_fits
}

/// A value of `metadata` as JSON.
///
/// # Errors
/// The text for the user when JSON cannot hold it.
pub(super) fn to_json(node: &Node) -> Result<Value, String> {
    Ok(match &node.kind {
        Kind::Sequence(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Kind::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(key.text().unwrap_or_default().to_owned(), to_json(value)?);
            }
            Value::Object(map)
        }
        Kind::Scalar { text, .. } => match resolve(node) {
            None | Some(Scalar::Text) => Value::String(text.clone()),
            Some(Scalar::Null) => Value::Null,
            Some(Scalar::Bool(b)) => Value::Bool(b),
            Some(Scalar::Int(n)) => Value::Number(n.into()),
            Some(Scalar::BigInt(n)) => Value::Number(n.into()),
            Some(Scalar::Float(x)) => Number::from_f64(x)
                .map(Value::Number)
                .ok_or_else(|| format!("error parsing metadata: {text} has no JSON"))?,
        },
    })
}

/// Puts what merge keys (`<<`) bring into the mappings that have them; a mapping's own keys win.
pub(super) fn merge_keys(node: &mut Node) {
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter_mut().for_each(merge_keys),
        Kind::Mapping(entries) => {
            for (_, value) in entries.iter_mut() {
                merge_keys(value);
            }
            if !entries.iter().any(|(key, _)| is_merge(key)) {
                return;
            }
            let (merges, own): (Vec<_>, Vec<_>) =
                std::mem::take(entries).into_iter().partition(|(key, _)| is_merge(key));
            for (_, value) in merges {
                let sources = match value.kind {
                    Kind::Sequence(items) => items,
                    kind => vec![Node { line: value.line, kind }],
                };
                // Of keys that stand twice the last counts; of sources the first.
                for source in sources.into_iter().rev() {
                    if let Kind::Mapping(more) = source.kind {
                        entries.extend(more);
                    }
                }
            }
            entries.extend(own);
        }
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar { text, plain: true } if text == "<<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_they_mean_in_yaml_1_1() {
        for (text, meaning) in [
            ("~", Scalar::Null),
            ("y", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("5", Scalar::Int(5)),
            ("-5", Scalar::Int(-5)),
            ("007", Scalar::Int(7)),
            ("0x10", Scalar::Int(16)),
            ("0b11", Scalar::Int(3)),
            ("1_000", Scalar::Int(1000)),
            ("18446744073709551615", Scalar::BigInt(u64::MAX)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("1.5", Scalar::Float(1.5)),
            ("08", Scalar::Float(8.0)),
            ("1e3", Scalar::Float(1000.0)),
            (".inf", Scalar::Float(f64::INFINITY)),
            ("50.0.0.5", Scalar::Text),
            ("2001-01-01", Scalar::Text),
            (".", Scalar::Text),
            ("-", Scalar::Text),
            ("1e", Scalar::Text),
            ("true-ish", Scalar::Text),
        ] {
            assert_eq!(plain(text), meaning, "{text}");
        }
    }
}
