//! `.name` on a value: map keys, struct fields and the methods of Go's types.

use super::{Result, State, fail};
use crate::ast::Expr;
use crate::functions::{Signature, Type};
use crate::value::{Value, canonical, duration};

const NO_PARAMETERS: Signature = Signature { fixed: &[], variadic: None };
const ONE_STRING: Signature = Signature { fixed: &[Type::String], variadic: None };
const ONE_DURATION: Signature = Signature { fixed: &[Type::Duration], variadic: None };

impl<'t> State<'t> {
    /// `value.name arguments…`, with `last` (of the pipeline) as one more argument.
    pub(super) fn field(
        &mut self,
        value: &Value,
        name: &str,
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        match value {
            Value::Missing => return Ok(Value::Missing),
            Value::Nil => return fail(format!("nil pointer evaluating interface {{}}.{name}")),
            Value::NilPointer => return fail(format!("nil pointer evaluating a struct's .{name}")),
            _ => {}
        }
        if let Some(signature) = method(value, name)? {
            let values = self.arguments(name, &signature, arguments, dot, last)?;
            return Ok(run(value, name, &values));
        }
        let found = match value {
            Value::Map(map) => map.get(name).cloned().unwrap_or(Value::Missing),
            Value::Header(headers) => {
                headers.get(name).map_or(Value::Missing, |v| Value::Strings(v.clone()))
            }
            Value::Struct(fields) => of_struct(fields, name, value)?,
            Value::Error(error) => of_struct(&error.fields, name, value)?,
            other => return unknown(name, other),
        };
        if arguments.is_empty() && last.is_none() {
            Ok(found)
        } else {
            fail(format!("{name} is not a method but has arguments"))
        }
    }
}

fn of_struct(fields: &[(String, Value)], name: &str, value: &Value) -> Result<Value> {
    match fields.iter().find(|(known, _)| known == name) {
        Some((_, Value::Nil)) => Ok(Value::NilPointer),
        Some((_, field)) => Ok(field.clone()),
        None => unknown(name, value),
    }
}

fn unknown<T>(name: &str, value: &Value) -> Result<T> {
    fail(format!("can't evaluate field {name} in type {}", value.type_name()))
}

/// The parameters of a method, when the value has it.
fn method(value: &Value, name: &str) -> Result<Option<Signature>> {
    Ok(Some(match (value, name) {
        (Value::Header(_), "Get" | "Values") => ONE_STRING,
        (Value::Header(_), "Add" | "Set" | "Del" | "Write" | "WriteSubset") => {
            return fail(format!("can't call method {name:?}: a template only reads headers"));
        }
        (Value::Duration(_), "Round" | "Truncate") => ONE_DURATION,
        (Value::Header(_), "Clone")
        | (Value::Error(_), "Error")
        | (
            Value::Duration(_),
            "Abs" | "Hours" | "Microseconds" | "Milliseconds" | "Minutes" | "Nanoseconds"
            | "Seconds" | "String",
        ) => NO_PARAMETERS,
        _ => return Ok(None),
    }))
}

/// Calls a method that [`method`] knows, with arguments of its types.
fn run(value: &Value, name: &str, arguments: &[Value]) -> Value {
    match (value, name, arguments) {
        (Value::Header(headers), name, [Value::String(header)]) => {
            let values = headers.get(&canonical(header)).cloned().unwrap_or_default();
            match name {
                "Get" => values.first().map_or(Value::from(""), |v| Value::String(v.clone())),
                _ => Value::Strings(values),
            }
        }
        (Value::Error(error), ..) => Value::from(error.message.as_str()),
        (Value::Duration(nanos), name, [Value::Duration(unit)]) => Value::Duration(match name {
            "Round" => duration::round(*nanos, *unit),
            _ => duration::truncate(*nanos, *unit),
        }),
        (Value::Duration(nanos), name, _) => match name {
            "Abs" => Value::Duration(nanos.saturating_abs()),
            "Hours" => Value::Float(duration::hours(*nanos)),
            "Minutes" => Value::Float(duration::minutes(*nanos)),
            "Seconds" => Value::Float(duration::seconds(*nanos)),
            "Milliseconds" => Value::Int(duration::milliseconds(*nanos)),
            "Microseconds" => Value::Int(duration::microseconds(*nanos)),
            "Nanoseconds" => Value::Int(*nanos),
            _ => Value::from(duration::text(*nanos)),
        },
        (value, ..) => value.clone(),
    }
}
