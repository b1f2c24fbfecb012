//! `index`, `slice` and `len`.

use std::sync::Arc;

use super::{Result, fail};
use crate::value::Value;

pub(super) fn length(value: &Value) -> Result<Value> {
    match value {
        Value::Missing | Value::Nil | Value::NilPointer => fail("len of nil pointer"),
        value => match count(value) {
            Some(length) => Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX))),
            None => fail(format!("len of type {}", value.type_name())),
        },
    }
}

fn count(value: &Value) -> Option<usize> {
    Some(match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Strings(items) => items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Header(headers) => headers.len(),
        _ => return None,
    })
}

/// About how many bytes a part that was copied has.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        value => count(value).unwrap_or(0) * 16,
    }
}

/// A position between 0 and `length`, both included.
fn position(value: &Value, length: usize) -> Result<usize> {
    let at = match value {
        Value::Int(n) | Value::Duration(n) => usize::try_from(*n).ok(),
        Value::Uint(n) => usize::try_from(*n).ok(),
        Value::Byte(n) => Some(usize::from(*n)),
        Value::Missing | Value::Nil => return fail("cannot index slice/array with nil"),
        other => {
            return fail(format!("cannot index slice/array with type {}", other.type_name()));
        }
    };
    match at {
        Some(at) if at <= length => Ok(at),
        _ => fail("index out of range"),
    }
}

/// `value[first][second]…`
pub(super) fn index(value: &Value, indexes: &[Value]) -> Result<Value> {
    if matches!(value, Value::Missing | Value::Nil) {
        return fail("index of untyped nil");
    }
    indexes.iter().try_fold(value.clone(), |value, at| index_one(&value, at))
}

fn index_one(value: &Value, at: &Value) -> Result<Value> {
    let element = match (value, at) {
        (Value::Map(map), Value::String(key)) => {
            return Ok(map.get(key).cloned().unwrap_or(Value::Nil));
        }
        (Value::Header(headers), Value::String(key)) => {
            return Ok(Value::Strings(headers.get(&**key).cloned().unwrap_or_default()));
        }
        (Value::Map(_) | Value::Header(_), Value::Missing | Value::Nil) => {
            return fail("value is nil; should be of type string");
        }
        (Value::Map(_) | Value::Header(_), at) => {
            return fail(format!("value has type {}; should be string", at.type_name()));
        }
        (Value::List(items), at) => items.get(position(at, items.len())?).cloned(),
        (Value::Strings(items), at) => {
            items.get(position(at, items.len())?).cloned().map(Value::String)
        }
        (Value::String(text), at) => {
            text.as_bytes().get(position(at, text.len())?).copied().map(Value::Byte)
        }
        (Value::Missing | Value::Nil | Value::NilPointer, _) => {
            return fail("index of nil pointer");
        }
        (other, _) => return fail(format!("can't index item of type {}", other.type_name())),
    };
    match element {
        Some(element) => Ok(element),
        None => fail("index out of range"),
    }
}

/// `value[from:to:capacity]`. A text cut within a character gets U+FFFD there.
pub(super) fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let length = match value {
        Value::String(_) if bounds.len() == 3 => return fail("cannot 3-index slice a string"),
        Value::String(_) | Value::List(_) | Value::Strings(_) => count(value).unwrap_or(0),
        Value::Missing | Value::Nil | Value::NilPointer => return fail("slice of untyped nil"),
        other => return fail(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 3 {
        return fail(format!("too many slice indexes: {}", bounds.len()));
    }
    let mut limits = [0, length, length];
    for (limit, bound) in limits.iter_mut().zip(bounds) {
        *limit = position(bound, length)?;
    }
    let [from, to, capacity] = limits;
    if from > to || to > capacity {
        return fail(format!("invalid slice index: {from}, {to}, {capacity}"));
    }
    let part = match value {
        Value::List(items) => items.get(from..to).map(|part| Value::List(Arc::from(part))),
        Value::Strings(items) => items.get(from..to).map(|part| Value::Strings(Arc::from(part))),
        Value::String(text) => text.as_bytes().get(from..to).map(|part| {
            let text: &str = &String::from_utf8_lossy(part);
            Value::from(text)
        }),
        _ => None,
    };
    match part {
        Some(part) => Ok(part),
        None => fail("index out of range"),
    }
}
