//! `range`.

use super::{Flow, Result, State, fail};
use crate::ast::Branch;
use crate::value::Value;

impl<'t> State<'t> {
    pub(super) fn range(&mut self, branch: &'t Branch, dot: &Value) -> Result<Flow> {
        self.budget.enter()?;
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let turned = self.turns(branch, &value)?;
        // `break` and `continue` after `else` belong to a loop around this one.
        let flow = if turned { Flow::Next } else { self.walk(&branch.otherwise, dot)? };
        self.variables.truncate(scope);
        self.budget.leave();
        Ok(flow)
    }

    /// Whether there was anything to range over.
    fn turns(&mut self, branch: &'t Branch, value: &Value) -> Result<bool> {
        match value {
            Value::Missing | Value::Nil | Value::NilPointer => Ok(false),
            Value::List(items) => self.each(branch, numbered(items.iter().cloned())),
            Value::Strings(items) => {
                self.each(branch, numbered(items.iter().cloned().map(Value::String)))
            }
            Value::Map(map) => {
                let entries = map.entries.iter();
                self.each(branch, entries.map(|(k, v)| (Value::from(k.as_str()), v.clone())))
            }
            Value::Header(headers) => self.each(
                branch,
                headers.iter().map(|(k, v)| (Value::from(k.as_str()), Value::Strings(v.clone()))),
            ),
            Value::Int(n) => self.count(branch, 0..*n, Value::Int),
            Value::Duration(n) => self.count(branch, 0..*n, Value::Duration),
            Value::Uint(n) => self.count(branch, 0..*n, Value::Uint),
            Value::Byte(n) => self.count(branch, 0..*n, Value::Byte),
            other => {
                fail(format!("range can't iterate over a value of type {}", other.type_name()))
            }
        }
    }

    fn count<N>(
        &mut self,
        branch: &'t Branch,
        numbers: impl Iterator<Item = N>,
        value: impl Fn(N) -> Value,
    ) -> Result<bool> {
        if branch.pipeline.variables.len() > 1 {
            return fail("can't use a number to iterate over more than one variable");
        }
        self.each(branch, numbers.map(|n| (Value::Missing, value(n))))
    }

    fn each(
        &mut self,
        branch: &'t Branch,
        entries: impl Iterator<Item = (Value, Value)>,
    ) -> Result<bool> {
        let scope = self.variables.len();
        let mut turned = false;
        for (key, item) in entries {
            turned = true;
            self.budget.turn()?;
            self.bind(branch, key, &item)?;
            let flow = self.walk(&branch.then, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(turned)
    }

    /// Gives a loop's variables their values: one takes the item, two take key and item. The
    /// pipeline declared them already.
    fn bind(&mut self, branch: &'t Branch, key: Value, item: &Value) -> Result<()> {
        match branch.pipeline.variables.as_slice() {
            [] => Ok(()),
            [one] => self.set_variable(one, item.clone()),
            [first, second, ..] => {
                self.set_variable(first, key)?;
                self.set_variable(second, item.clone())
            }
        }
    }
}

fn numbered(items: impl Iterator<Item = Value>) -> impl Iterator<Item = (Value, Value)> {
    (0..).map(Value::Int).zip(items)
}
