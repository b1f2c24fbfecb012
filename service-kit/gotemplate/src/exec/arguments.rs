//! Arguments of functions and methods: how many, and of which types.

use super::{Result, State, fail};
use crate::ast::Expr;
use crate::functions::{Signature, Type};
use crate::value::Value;

impl<'t> State<'t> {
    /// The values of `arguments` and of `last` (the last one, from the pipeline) for `name`.
    pub(super) fn arguments(
        &mut self,
        name: &str,
        signature: &Signature,
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Vec<Value>> {
        check_count(name, signature, arguments.len() + usize::from(last.is_some()))?;
        let wanted = |at: usize| {
            signature.fixed.get(at).copied().or(signature.variadic).unwrap_or(Type::Any)
        };
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for (at, argument) in arguments.iter().enumerate() {
            values.push(self.argument(argument, wanted(at), dot)?);
        }
        if let Some(last) = last {
            values.push(fit(last, wanted(arguments.len()))?);
        }
        Ok(values)
    }

    pub(super) fn argument(&mut self, expr: &'t Expr, wanted: Type, dot: &Value) -> Result<Value> {
        self.budget.step()?;
        match (expr, wanted) {
            (Expr::Nil, Type::Value | Type::Any | Type::Map) => fit(Value::Missing, wanted),
            (Expr::Nil, wanted) => fail(format!("cannot assign nil to {}", wanted.name())),
            // A constant takes the type that is wanted, if it can.
            (Expr::Int(n), Type::Duration) => Ok(Value::Duration(*n)),
            (Expr::Float(f), Type::Duration) => match whole(*f) {
                Some(n) => Ok(Value::Duration(n)),
                None => fail(format!("expected integer; found {f}")),
            },
            (expr, wanted) => {
                let value = self.operand(expr, dot)?;
                fit(value, wanted)
            }
        }
    }
}

pub(super) fn check_count(name: &str, signature: &Signature, count: usize) -> Result<()> {
    let want = signature.fixed.len();
    match signature.variadic {
        Some(_) if count < want => {
            fail(format!("wrong number of args for {name}: want at least {want} got {count}"))
        }
        None if count != want => {
            fail(format!("wrong number of args for {name}: want {want} got {count}"))
        }
        _ => Ok(()),
    }
}

/// The float as a whole number, when it is one.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // compared right after
fn whole(f: f64) -> Option<i64> {
    let n = f as i64;
    (n as f64 == f && n != i64::MAX).then_some(n)
}

/// A value as a parameter of a type takes it.
fn fit(value: Value, wanted: Type) -> Result<Value> {
    match (wanted, value) {
        (Type::Any | Type::Map, Value::Missing) => Ok(Value::Nil),
        (Type::Value | Type::Any, value)
        | (Type::String, value @ Value::String(_))
        | (Type::Map, value @ Value::Map(_))
        | (Type::Duration, value @ Value::Duration(_)) => Ok(value),
        (wanted, Value::Missing) => fail(format!("invalid value; expected {}", wanted.name())),
        (wanted, other) => fail(format!(
            "wrong type for value; expected {}; got {}",
            wanted.name(),
            other.type_name()
        )),
    }
}
