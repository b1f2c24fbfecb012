//! The functions of a template at work.

use super::arguments::check_count;
use super::budget::MAX_TEXT;
use super::{Result, State, compare, element, fail};
use crate::ast::Expr;
use crate::functions::{Function, Type};
use crate::value::Value;
use crate::{escape, fmt, json};

impl<'t> State<'t> {
    /// `function arguments…`, with `last` (of the pipeline) as one more argument.
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let name = function.name();
        let signature = function.signature();
        if matches!(function, Function::And | Function::Or) {
            check_count(name, &signature, arguments.len() + usize::from(last.is_some()))?;
            return self.short_circuit(function == Function::Or, arguments, dot, last);
        }
        let values = self.arguments(name, &signature, arguments, dot, last)?;
        self.apply(function, &values)
    }

    /// `and` ends at the first value that is false, `or` at the first that is true.
    fn short_circuit(
        &mut self,
        until: bool,
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let mut value = Value::Missing;
        for argument in arguments {
            value = self.argument(argument, Type::Value, dot)?;
            if value.truth() == until {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// Calls a function with arguments of its types.
    fn apply(&mut self, function: Function, values: &[Value]) -> Result<Value> {
        let bool = |truth: Result<bool>| truth.map(Value::Bool);
        match (function, values) {
            (Function::Not, [value]) => Ok(Value::Bool(!value.truth())),
            (Function::Len, [value]) => element::length(value),
            (Function::Index, [value, indexes @ ..]) => element::index(value, indexes),
            (Function::Slice, [value, bounds @ ..]) => {
                let part = element::slice(value, bounds)?;
                self.budget.work(element::size(&part))?;
                Ok(part)
            }
            (Function::Eq, [first, others @ ..]) => bool(compare::equal(first, others)),
            (Function::Ne, [a, b]) => {
                bool(compare::equal(a, std::slice::from_ref(b)).map(|equal| !equal))
            }
            (Function::Lt, [a, b]) => bool(compare::less(a, b)),
            (Function::Le, [a, b]) => bool(compare::less_or_equal(a, b)),
            (Function::Gt, [a, b]) => bool(compare::less_or_equal(a, b).map(|found| !found)),
            (Function::Ge, [a, b]) => bool(compare::less(a, b).map(|found| !found)),
            (Function::Call, _) => fail("error calling call: the value is not a function"),
            (Function::HasKey, [map, Value::String(key)]) => {
                let found = matches!(map, Value::Map(map) if map.get(key).is_some());
                Ok(Value::Bool(found))
            }
            (Function::DoNotSet, _) => {
                self.set = false;
                Ok(Value::from(""))
            }
            (function, values) => self.text(function, values).map(Value::from),
        }
    }

    /// The functions that make a text.
    fn text(&mut self, function: Function, values: &[Value]) -> Result<String> {
        let text = match (function, values) {
            (Function::Print, values) => fmt::sprint(values, MAX_TEXT)?,
            (Function::Println, values) => fmt::sprintln(values, MAX_TEXT)?,
            (Function::Printf, [Value::String(format), values @ ..]) => {
                self.budget.work(format.len())?;
                fmt::sprintf(format, values, MAX_TEXT)?
            }
            (Function::Html, values) => escape::html(&self.joined(values)?),
            (Function::Js, values) => escape::js(&self.joined(values)?),
            (Function::Urlquery, values) => escape::urlquery(&self.joined(values)?),
            (Function::Json, [Value::String(prefix), value]) => {
                json::indent(prefix, value, MAX_TEXT).or_else(fail)?
            }
            (function, _) => return fail(format!("wrong arguments for {}", function.name())),
        };
        if text.len() > MAX_TEXT {
            return fail("a text is longer than 64 KiB");
        }
        self.budget.work(text.len())?;
        Ok(text)
    }

    /// The operands of `html`, `js` and `urlquery` as one text.
    fn joined(&mut self, values: &[Value]) -> Result<String> {
        let text = fmt::sprint_actions(values, MAX_TEXT)?;
        self.budget.work(text.len())?;
        Ok(text)
    }
}
