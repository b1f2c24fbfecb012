//! The function `json`: Go's `json.Indent(json.Marshal(value), prefix, "\t")`.

use std::fmt::Write as _;

use crate::value::Value;

/// `value` as JSON of at most `limit` bytes; each line but the first begins with `prefix`.
///
/// # Errors
/// When it would be longer, or holds a number that JSON does not have.
pub(crate) fn indent(prefix: &str, value: &Value, limit: usize) -> Result<String, String> {
    let mut writer = Writer { out: String::new(), prefix, limit };
    writer.value(0, value)?;
    writer.check()?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: String,
    prefix: &'a str,
    limit: usize,
}

impl Writer<'_> {
    fn check(&self) -> Result<(), String> {
        if self.out.len() > self.limit { Err("the JSON is too long".to_owned()) } else { Ok(()) }
    }

    fn value(&mut self, depth: usize, value: &Value) -> Result<(), String> {
        match value {
            Value::Missing | Value::Nil | Value::NilPointer => self.out.push_str("null"),
            Value::Strings(items) if items.is_empty() => self.out.push_str("null"),
            Value::Bool(b) => self.out.push_str(if *b { "true" } else { "false" }),
            Value::Int(n) | Value::Duration(n) => self.out.push_str(&n.to_string()),
            Value::Uint(n) => self.out.push_str(&n.to_string()),
            Value::Byte(n) => self.out.push_str(&n.to_string()),
            Value::Float(f) => self.out.push_str(&float(*f)?),
            Value::String(text) => self.string(text),
            Value::Error(_) => self.out.push_str("{}"),
            Value::List(items) => {
                self.sequence(depth, ('[', ']'), items.iter(), |writer, item| {
                    writer.value(depth + 1, item)
                })?;
            }
            Value::Strings(items) => {
                self.sequence(depth, ('[', ']'), items.iter(), |writer, item| {
                    writer.string(item);
                    Ok(())
                })?;
            }
            Value::Map(map) => {
                self.object(depth, map.entries.iter().map(|(k, v)| (k, v.clone())))?;
            }
            Value::Struct(fields) => {
                self.object(depth, fields.iter().map(|(k, v)| (k, v.clone())))?;
            }
            Value::Header(headers) => {
                self.object(depth, headers.iter().map(|(k, v)| (k, Value::Strings(v.clone()))))?;
            }
        }
        self.check()
    }

    fn object<'v>(
        &mut self,
        depth: usize,
        entries: impl Iterator<Item = (&'v String, Value)>,
    ) -> Result<(), String> {
        self.sequence(depth, ('{', '}'), entries, |writer, (key, value)| {
            writer.string(key);
            writer.out.push_str(": ");
            writer.value(depth + 1, &value)
        })
    }

    fn sequence<T>(
        &mut self,
        depth: usize,
        (open, close): (char, char),
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), String>,
    ) -> Result<(), String> {
        self.out.push(open);
        let mut empty = true;
        for item in items {
            if !empty {
                self.out.push(',');
            }
            empty = false;
            self.line(depth + 1);
            write(self, item)?;
            self.check()?;
        }
        if !empty {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        self.out.push('\n');
        self.out.push_str(self.prefix);
        self.out.extend(std::iter::repeat_n('\t', depth));
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(c));
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// Go's encoding: an exponent only below 1e-6 and from 1e21 on.
fn float(f: f64) -> Result<String, String> {
    if !f.is_finite() {
        return Err(format!("json: unsupported value: {f}"));
    }
    let magnitude = f.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return Ok(format!("{f}"));
    }
    let text = format!("{f:e}");
    Ok(if text.contains("e-") { text } else { text.replace('e', "e+") })
}
