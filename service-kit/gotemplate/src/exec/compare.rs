//! `eq`, `ne`, `lt`, `le`, `gt` and `ge`: only values of one kind compare, whole numbers signed or
//! not.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Result, fail};
use crate::value::Value;

/// The kinds of values that compare with `<`, and `bool`, which has only `==`.
enum Basic<'v> {
    Bool(bool),
    Whole(i128),
    Float(f64),
    String(&'v str),
}

fn basic(value: &Value) -> Option<Basic<'_>> {
    Some(match value {
        Value::Bool(truth) => Basic::Bool(*truth),
        Value::Int(n) | Value::Duration(n) => Basic::Whole(i128::from(*n)),
        Value::Uint(n) => Basic::Whole(i128::from(*n)),
        Value::Byte(n) => Basic::Whole(i128::from(*n)),
        Value::Float(f) => Basic::Float(*f),
        Value::String(text) => Basic::String(text),
        _ => return None,
    })
}

fn incompatible<T>(a: &Value, b: &Value) -> Result<T> {
    let (a, b) = (a.type_name(), b.type_name());
    fail(format!("incompatible types for comparison: {a} and {b}"))
}

/// Whether `first` equals one of `others`.
pub(super) fn equal(first: &Value, others: &[Value]) -> Result<bool> {
    if others.is_empty() {
        return fail("missing argument for comparison");
    }
    for other in others {
        let same = match (basic(first), basic(other)) {
            (Some(Basic::Bool(a)), Some(Basic::Bool(b))) => a == b,
            (Some(Basic::Whole(a)), Some(Basic::Whole(b))) => a == b,
            (Some(Basic::Float(a)), Some(Basic::Float(b))) => a == b,
            (Some(Basic::String(a)), Some(Basic::String(b))) => a == b,
            (None, None) => same_reference(first, other)?,
            _ if absent(first) || absent(other) => false,
            _ => return incompatible(first, other),
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

/// No value at all: what Go's `reflect` calls invalid.
fn absent(value: &Value) -> bool {
    matches!(value, Value::Missing | Value::Nil)
}

fn nil(value: &Value) -> bool {
    absent(value)
        || matches!(value, Value::NilPointer)
        || matches!(value, Value::Strings(items) if items.is_empty())
}

/// Values without a basic kind: nil equals nil, a pointer equals itself, lists and maps are refused.
fn same_reference(a: &Value, b: &Value) -> Result<bool> {
    if !absent(a) && !absent(b) && kind(a) != kind(b) {
        return fail(format!("non-comparable types {}, {}", a.type_name(), b.type_name()));
    }
    if nil(a) || nil(b) {
        return Ok(nil(a) == nil(b));
    }
    match (a, b) {
        (Value::Struct(a), Value::Struct(b)) => Ok(Arc::ptr_eq(a, b)),
        (Value::Error(a), Value::Error(b)) => Ok(Arc::ptr_eq(a, b)),
        (Value::Struct(_), _) | (Value::Error(_), _) => Ok(false),
        _ => fail(format!("non-comparable type {}", b.type_name())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::List(_) | Value::Strings(_) => "slice",
        Value::Map(_) | Value::Header(_) => "map",
        _ => "pointer",
    }
}

pub(super) fn less(a: &Value, b: &Value) -> Result<bool> {
    Ok(order(a, b)? == Some(Ordering::Less))
}

pub(super) fn less_or_equal(a: &Value, b: &Value) -> Result<bool> {
    Ok(order(a, b)?.is_some_and(Ordering::is_le))
}

/// How two values of one kind are ordered; not at all when one is NaN.
fn order(a: &Value, b: &Value) -> Result<Option<Ordering>> {
    match (basic(a), basic(b)) {
        (None, _) | (_, None) => fail("invalid type for comparison"),
        (Some(Basic::Whole(a)), Some(Basic::Whole(b))) => Ok(Some(a.cmp(&b))),
        (Some(Basic::Float(a)), Some(Basic::Float(b))) => Ok(a.partial_cmp(&b)),
        (Some(Basic::String(a)), Some(Basic::String(b))) => Ok(Some(a.cmp(b))),
        (Some(Basic::Bool(_)), Some(Basic::Bool(_))) => fail("invalid type for comparison"),
        _ => incompatible(a, b),
    }
}
