//! `.name` on a value: map keys, struct fields and the methods of Go's types.

use super::{Result, fail};
use crate::value::{Value, canonical, duration_text};

/// `value.name(arguments…)`.
pub(super) fn get(value: &Value, name: &str, arguments: &[Value]) -> Result<Value> {
    let found = match value {
        Value::Header(headers) => match name {
            "Get" | "Values" => {
                let [Value::String(header)] = arguments else {
                    return fail(format!("{name} wants one header name"));
                };
                let values = headers.get(&canonical(header)).map_or(&[][..], Vec::as_slice);
                return Ok(match name {
                    "Get" => values.first().map_or(Value::from(""), |v| Value::String(v.clone())),
                    _ => Value::list(values.iter().cloned().map(Value::String)),
                });
            }
            name => headers
                .get(name)
                .map_or(Value::Missing, |v| Value::list(v.iter().cloned().map(Value::String))),
        },
        Value::Duration(nanos) => return duration(*nanos, name, arguments),
        Value::Map(map) => map
            .entries
            .get(name)
            .or_else(|| map.hidden.get(name))
            .cloned()
            .unwrap_or(Value::Missing),
        Value::Struct(fields) => match fields.iter().find(|(n, _)| n == name) {
            Some((_, field)) => field.clone(),
            None => {
                return fail(format!("can't evaluate field {name} in type {}", value.type_name()));
            }
        },
        Value::Error(error) if name == "Error" && arguments.is_empty() => {
            Value::from(error.message.as_str())
        }
        Value::Error(error) => match error.fields.iter().find(|(n, _)| n == name) {
            Some((_, field)) => field.clone(),
            None => return fail(format!("can't evaluate field {name} in type error")),
        },
        Value::Missing => Value::Missing,
        Value::Nil => return fail(format!("nil pointer evaluating interface {{}}.{name}")),
        other => {
            return fail(format!("can't evaluate field {name} in type {}", other.type_name()));
        }
    };
    if arguments.is_empty() {
        Ok(found)
    } else {
        fail(format!("{name} has arguments but cannot be invoked as function"))
    }
}

#[allow(clippy::cast_precision_loss)] // as in Go: a duration is shown as a float
fn duration(nanos: i64, name: &str, arguments: &[Value]) -> Result<Value> {
    let units = |unit: i64| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        Value::Float(whole as f64 + rest as f64 / unit as f64)
    };
    Ok(match (name, arguments) {
        ("Seconds", []) => units(1_000_000_000),
        ("Minutes", []) => units(60_000_000_000),
        ("Hours", []) => units(3_600_000_000_000),
        ("Milliseconds", []) => Value::Int(nanos / 1_000_000),
        ("Microseconds", []) => Value::Int(nanos / 1_000),
        ("Nanoseconds", []) => Value::Int(nanos),
        ("Abs", []) => Value::Duration(nanos.saturating_abs()),
        ("String", []) => Value::from(duration_text(nanos)),
        ("Truncate" | "Round", [Value::Duration(unit) | Value::Int(unit)]) if *unit <= 0 => {
            Value::Duration(nanos)
        }
        ("Truncate", [Value::Duration(unit) | Value::Int(unit)]) => {
            Value::Duration(nanos - nanos % unit)
        }
        ("Round", [Value::Duration(unit) | Value::Int(unit)]) => {
            let rest = nanos % unit;
            let down = nanos - rest;
            let up = rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
            let step = if nanos < 0 { -unit } else { *unit };
            Value::Duration(if up { down.saturating_add(step) } else { down })
        }
        _ => return fail(format!("can't evaluate field {name} in type time.Duration")),
    })
}
