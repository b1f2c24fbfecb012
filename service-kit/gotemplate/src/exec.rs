//! Runs a tree on data, as Go's `text/template` does.

mod call;
mod field;

use std::sync::Arc;

use thiserror::Error;

use crate::ast::{Branch, Command, Expr, Node, Pipeline, Tree};
use crate::value::Value;
use crate::verbs;

/// Most loop steps of one execution.
const MAX_STEPS: usize = 10_000;
/// Longest output, in bytes.
pub(crate) const MAX_OUTPUT: usize = 64 << 10;
/// Deepest `{{template}}` in `{{template}}`.
const MAX_CALLS: usize = 100;

/// What a template made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The text.
    pub text: String,
    /// False when `doNotSet` ran: the header this is for stays as it is.
    pub set: bool,
}

/// Why an execution ended early.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ExecError(pub(crate) String);

pub(crate) type Result<T> = std::result::Result<T, ExecError>;

pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(ExecError(message.into()))
}

pub(crate) fn execute(tree: &Tree, data: &Value) -> Result<Output> {
    let mut state = State {
        tree,
        variables: vec![("$", data.clone())],
        text: String::new(),
        set: true,
        steps: 0,
        calls: 0,
    };
    state.walk(&tree.root, data)?;
    Ok(Output { text: state.text, set: state.set })
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct State<'t> {
    tree: &'t Tree,
    variables: Vec<(&'t str, Value)>,
    text: String,
    set: bool,
    steps: usize,
    calls: usize,
}

impl<'t> State<'t> {
    fn walk(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        match value {
                            Value::Missing | Value::Nil => self.write("<no value>")?,
                            value => self.write(&verbs::plain(&value))?,
                        }
                    }
                }
                Node::If(branch) | Node::With(branch) => {
                    let flow = self.conditional(branch, dot, matches!(node, Node::With(_)))?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template { name, argument } => self.template(name, argument.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.text.len() + text.len() > MAX_OUTPUT {
            return fail("the output is longer than 64 KiB");
        }
        self.text.push_str(text);
        Ok(())
    }

    fn conditional(&mut self, branch: &'t Branch, dot: &Value, rebind: bool) -> Result<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if value.truth() {
            self.walk(&branch.then, if rebind { &value } else { dot })?
        } else {
            self.walk(&branch.otherwise, dot)?
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn template(&mut self, name: &str, argument: Option<&'t Pipeline>, dot: &Value) -> Result<()> {
        let Some(nodes) = self.tree.defined.get(name) else {
            return fail(format!("template {name:?} not defined"));
        };
        if self.calls >= MAX_CALLS {
            return fail("templates call each other deeper than 100 levels");
        }
        let data = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        self.calls += 1;
        let variables = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        self.walk(nodes, &data)?;
        self.variables = variables;
        self.calls -= 1;
        Ok(())
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value) -> Result<()> {
        let scope = self.variables.len();
        let value = self.value_of(&branch.pipeline, dot)?;
        let mut any = false;
        for (key, item) in elements(&value)? {
            any = true;
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return fail("more than 10,000 loop steps");
            }
            let inner = self.variables.len();
            self.bind(&branch.pipeline, key, &item)?;
            let flow = self.walk(&branch.then, &item)?;
            self.variables.truncate(inner);
            if flow == Flow::Break {
                break;
            }
        }
        if !any {
            self.walk(&branch.otherwise, dot)?;
        }
        self.variables.truncate(scope);
        Ok(())
    }

    /// Gives a range's variables their values: one takes the item, two take key and item.
    fn bind(&mut self, pipeline: &'t Pipeline, key: Value, item: &Value) -> Result<()> {
        let values = match pipeline.variables.len() {
            1 => vec![item.clone()],
            _ => vec![key, item.clone()],
        };
        for (name, value) in pipeline.variables.iter().zip(values) {
            self.set_variable(pipeline, name, value)?;
        }
        Ok(())
    }

    fn set_variable(&mut self, pipeline: &'t Pipeline, name: &'t str, value: Value) -> Result<()> {
        if !pipeline.assign {
            self.variables.push((name, value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(n, _)| *n == name) {
            Some(variable) => {
                variable.1 = value;
                Ok(())
            }
            None => fail(format!("undefined variable: {name}")),
        }
    }

    fn variable(&self, name: &str) -> Result<Value> {
        match self.variables.iter().rev().find(|(n, _)| *n == name) {
            Some((_, value)) => Ok(value.clone()),
            None => fail(format!("undefined variable: {name}")),
        }
    }

    /// A pipeline's value; its variables take it.
    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value> {
        let value = self.value_of(pipeline, dot)?;
        if let [name] = pipeline.variables.as_slice() {
            self.set_variable(pipeline, name, value.clone())?;
        }
        Ok(value)
    }

    fn value_of(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// Runs a command; `last` is what the command before it in the pipeline gave.
    fn command(&mut self, command: &'t Command, dot: &Value, last: Option<Value>) -> Result<Value> {
        let arguments = &command.arguments;
        match &command.head {
            Expr::Function(function) => self.call(*function, arguments, dot, last),
            Expr::Field(names) => self.fields(dot.clone(), names, arguments, dot, last),
            Expr::Variable(name, names) if !names.is_empty() => {
                let value = self.variable(name)?;
                self.fields(value, names, arguments, dot, last)
            }
            Expr::Chain(head, names) => {
                let value = self.operand(head, dot)?;
                self.fields(value, names, arguments, dot, last)
            }
            head if !arguments.is_empty() || last.is_some() => {
                fail(format!("can't give argument to non-function {head:?}"))
            }
            Expr::Nil => fail("nil is not a command"),
            head => self.operand(head, dot),
        }
    }

    fn operand(&mut self, expr: &'t Expr, dot: &Value) -> Result<Value> {
        Ok(match expr {
            Expr::Dot => dot.clone(),
            Expr::Nil => Value::Nil,
            Expr::Bool(b) => Value::Bool(*b),
            Expr::Int(n) => Value::Int(*n),
            Expr::Uint(n) => Value::Uint(*n),
            Expr::Float(f) => Value::Float(*f),
            Expr::String(text) => Value::String(Arc::from(text.as_str())),
            Expr::Field(names) => self.fields(dot.clone(), names, &[], dot, None)?,
            Expr::Variable(name, names) => {
                let value = self.variable(name)?;
                self.fields(value, names, &[], dot, None)?
            }
            Expr::Chain(head, names) => {
                let value = self.operand(head, dot)?;
                self.fields(value, names, &[], dot, None)?
            }
            Expr::Function(function) => self.call(*function, &[], dot, None)?,
            Expr::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        })
    }

    /// `value.a.b …`; only the last name may be called with arguments.
    fn fields(
        &mut self,
        mut value: Value,
        names: &'t [String],
        arguments: &'t [Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value> {
        let Some((end, path)) = names.split_last() else { return Ok(value) };
        for name in path {
            value = field::get(&value, name, &[])?;
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        field::get(&value, end, &values)
    }
}

/// Key and item of everything that can be ranged over.
fn elements(value: &Value) -> Result<Vec<(Value, Value)>> {
    let index = |i: usize| Value::Int(i64::try_from(i).unwrap_or(i64::MAX));
    Ok(match value {
        Value::Missing | Value::Nil => Vec::new(),
        Value::List(items) => {
            items.iter().enumerate().map(|(i, v)| (index(i), v.clone())).collect()
        }
        Value::Map(map) => {
            map.entries.iter().map(|(k, v)| (Value::from(k.as_str()), v.clone())).collect()
        }
        Value::Header(headers) => {
            let list = |v: &Vec<Arc<str>>| Value::list(v.iter().cloned().map(Value::String));
            headers.iter().map(|(k, v)| (Value::from(k.as_str()), list(v))).collect()
        }
        Value::Int(n) => {
            let count = usize::try_from(*n).unwrap_or(0);
            if count > MAX_STEPS {
                return fail("more than 10,000 loop steps");
            }
            (0..count).map(|i| (index(i), index(i))).collect()
        }
        other => return fail(format!("range can't iterate over {}", verbs::plain(other))),
    })
}
