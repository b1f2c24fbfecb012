//! The functions of a template at work.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{MAX_OUTPUT, Result, State, fail};
use crate::ast::Expr;
use crate::functions::Function;
use crate::value::Value;
use crate::{escape, json, verbs};

impl<'t> State<'t> {
    /// `function arguments…`, with `last` (of the pipeline) as one more argument.
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        if matches!(function, Function::And | Function::Or) {
            return self.short_circuit(function == Function::Or, arguments, dot, last);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        if function == Function::DoNotSet {
            self.set = false;
        }
        apply(function, &values)
    }

    /// `and` ends at the first value that is false, `or` at the first that is true.
    fn short_circuit(
        &mut self,
        until: bool,
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = None;
        for argument in arguments {
            let found = self.operand(argument, dot)?;
            if found.truth() == until {
                return Ok(found);
            }
            value = Some(found);
        }
        match last.or(value) {
            Some(value) => Ok(value),
            None => fail("wrong number of args for and/or: want at least 1 got 0"),
        }
    }
}

fn apply(function: Function, values: &[Value]) -> Result<Value> {
    let text = |values: &[Value]| match values {
        [Value::String(text)] => text.to_string(),
        values => verbs::sprint(values),
    };
    match (function, values) {
        (Function::Not, [value]) => Ok(Value::Bool(!value.truth())),
        (Function::Len, [value]) => len(value),
        (Function::Index, [value, indexes @ ..]) => {
            indexes.iter().try_fold(value.clone(), |value, i| index(&value, i))
        }
        (Function::Slice, [value, bounds @ ..]) => slice(value, bounds),
        (Function::Print, values) => Ok(Value::from(verbs::sprint(values))),
        (Function::Println, values) => Ok(Value::from(verbs::sprintln(values))),
        (Function::Printf, [Value::String(format), rest @ ..]) => {
            Ok(Value::from(verbs::sprintf(format, rest, MAX_OUTPUT)))
        }
        (Function::Html, values) => Ok(Value::from(escape::html(&text(values)))),
        (Function::Js, values) => Ok(Value::from(escape::js(&text(values)))),
        (Function::Urlquery, values) => Ok(Value::from(escape::urlquery(&text(values)))),
        (Function::Eq, [_, _, ..]) => equal(&values[0], &values[1..]),
        (Function::Ne, [a, b]) => {
            equal(a, std::slice::from_ref(b)).map(|v| Value::Bool(!v.truth()))
        }
        (Function::Lt, [a, b]) => order(a, b).map(|o| Value::Bool(o == Some(Ordering::Less))),
        (Function::Le, [a, b]) => order(a, b).map(|o| Value::Bool(o.is_some_and(Ordering::is_le))),
        (Function::Gt, [a, b]) => order(a, b).map(|o| Value::Bool(o == Some(Ordering::Greater))),
        (Function::Ge, [a, b]) => order(a, b).map(|o| Value::Bool(o.is_some_and(Ordering::is_ge))),
        (Function::Call, _) => fail("error calling call: the value is not a function"),
        (Function::HasKey, [Value::Map(map), Value::String(key)]) => {
            Ok(Value::Bool(map.entries.contains_key(&**key) || map.hidden.contains_key(&**key)))
        }
        (Function::HasKey, [Value::Missing | Value::Nil, Value::String(_)]) => {
            Ok(Value::Bool(false))
        }
        (Function::DoNotSet, []) => Ok(Value::from("")),
        (Function::Json, [Value::String(prefix), value]) => {
            Ok(Value::from(json::indent(prefix, value)))
        }
        (function, values) => fail(format!("wrong arguments for {function:?}: {}", kinds(values))),
    }
}

fn kinds(values: &[Value]) -> String {
    values.iter().map(Value::type_name).collect::<Vec<_>>().join(", ")
}

fn len(value: &Value) -> Result<Value> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Header(headers) => headers.len(),
        other => return fail(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn position(value: &Value, length: usize) -> Result<usize> {
    let n = match value {
        Value::Int(n) => usize::try_from(*n).ok(),
        Value::Uint(n) => usize::try_from(*n).ok(),
        Value::Missing | Value::Nil => return fail("cannot index slice/array with nil"),
        other => {
            return fail(format!("cannot index slice/array with type {}", other.type_name()));
        }
    };
    match n {
        Some(n) if n <= length => Ok(n),
        _ => fail(format!("index out of range: {}", verbs::plain(value))),
    }
}

fn index(value: &Value, at: &Value) -> Result<Value> {
    let out_of_range = || super::ExecError(format!("index out of range: {}", verbs::plain(at)));
    match (value, at) {
        (Value::Map(map), Value::String(key)) => Ok(map
            .entries
            .get(&**key)
            .or_else(|| map.hidden.get(&**key))
            .cloned()
            .unwrap_or(Value::Missing)),
        (Value::Header(headers), Value::String(key)) => {
            Ok(Value::list(headers.get(&**key).into_iter().flatten().cloned().map(Value::String)))
        }
        (Value::List(items), at) => {
            items.get(position(at, items.len())?).cloned().ok_or_else(out_of_range)
        }
        (Value::String(text), at) => text
            .as_bytes()
            .get(position(at, text.len())?)
            .map(|b| Value::Int(i64::from(*b)))
            .ok_or_else(out_of_range),
        (Value::Missing | Value::Nil, _) => fail("index of untyped nil"),
        (Value::Map(_) | Value::Header(_), at) => {
            fail(format!("value has type {}; should be string", at.type_name()))
        }
        (other, _) => fail(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value> {
    let length = match value {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Missing | Value::Nil => return fail("slice of untyped nil"),
        other => return fail(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 2 {
        return fail("too many slice indexes");
    }
    let from = bounds.first().map_or(Ok(0), |b| position(b, length))?;
    let to = bounds.get(1).map_or(Ok(length), |b| position(b, length))?;
    if from > to {
        return fail(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match value {
        Value::String(text) => {
            Value::from(String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned())
        }
        Value::List(items) => Value::List(Arc::from(&items[from..to])),
        _ => Value::Nil,
    })
}

/// Whether `first` equals one of `others`; Go compares basic kinds only, and only equal ones
/// (whole numbers signed or not).
fn equal(first: &Value, others: &[Value]) -> Result<Value> {
    for other in others {
        let same = match (first, other) {
            (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
            (Value::Missing | Value::Nil, _) | (_, Value::Missing | Value::Nil) => false,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (a, b) => match order(a, b)? {
                Some(order) => order == Ordering::Equal,
                None => false,
            },
        };
        if same {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// How two values of one kind are ordered; none for NaN.
fn order(a: &Value, b: &Value) -> Result<Option<Ordering>> {
    let whole = |v: &Value| match v {
        Value::Int(n) | Value::Duration(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (a, b) => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Ok(Some(a.cmp(&b))),
            _ if basic(a) && basic(b) => fail("incompatible types for comparison"),
            _ => fail("invalid type for comparison"),
        },
    }
}

fn basic(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Duration(_)
    )
}
