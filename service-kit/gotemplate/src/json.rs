//! The function `json`: Go's `json.Indent(json.Marshal(value), prefix, "\t")`.

use std::fmt::Write as _;

use crate::value::Value;

/// `value` as JSON; each line but the first begins with `prefix`.
pub(crate) fn indent(prefix: &str, value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, prefix, 0, value);
    out
}

fn write(out: &mut String, prefix: &str, depth: usize, value: &Value) {
    match value {
        Value::Missing | Value::Nil => out.push_str("null"),
        Value::Bool(b) => {
            let _ = write!(out, "{b}");
        }
        Value::Int(n) | Value::Duration(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Uint(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Float(f) => out.push_str(&float(*f)),
        Value::String(s) => string(out, s),
        Value::Error(_) => out.push_str("{}"),
        Value::List(items) => {
            sequence(out, prefix, depth, '[', ']', items.iter(), |out, item| {
                write(out, prefix, depth + 1, item);
            });
        }
        Value::Map(map) => object(out, prefix, depth, map.entries.iter()),
        Value::Struct(fields) => object(out, prefix, depth, fields.iter().map(|(k, v)| (k, v))),
        Value::Header(headers) => {
            let lists: Vec<_> = headers
                .iter()
                .map(|(k, v)| (k, Value::list(v.iter().map(|s| Value::String(s.clone())))))
                .collect();
            object(out, prefix, depth, lists.iter().map(|(k, v)| (*k, v)));
        }
    }
}

fn object<'a>(
    out: &mut String,
    prefix: &str,
    depth: usize,
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
) {
    sequence(out, prefix, depth, '{', '}', entries, |out, (key, value)| {
        string(out, key);
        out.push_str(": ");
        write(out, prefix, depth + 1, value);
    });
}

fn sequence<T>(
    out: &mut String,
    prefix: &str,
    depth: usize,
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    mut item: impl FnMut(&mut String, T),
) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(prefix);
        out.extend(std::iter::repeat_n('\t', depth));
    };
    out.push(open);
    let mut empty = true;
    for value in items {
        if !empty {
            out.push(',');
        }
        empty = false;
        line(out, depth + 1);
        item(out, value);
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
}

/// Go's encoding: an exponent only below 1e-6 and from 1e21 on.
fn float(f: f64) -> String {
    if !f.is_finite() {
        return "null".to_owned();
    }
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{f:e}");
        return text.replace("e-", "e~").replace('e', "e+").replace("e+~", "e-");
    }
    format!("{f}")
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
