//! Runs a tree on data, as Go's `text/template` does.

mod arguments;
mod budget;
mod call;
mod compare;
mod element;
mod field;
mod range;

use thiserror::Error;

use crate::ast::{Branch, Command, Expr, Node, Pipeline, Tree};
use crate::fmt;
use crate::value::Value;
use budget::{Budget, MAX_TEXT};

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

type Result<T> = std::result::Result<T, ExecError>;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(ExecError(message.into()))
}

pub(crate) fn execute(tree: &Tree, data: &Value) -> Result<Output> {
    let data = settled(data.clone());
    let mut state = State {
        tree,
        variables: vec![("$", data.clone())],
        text: String::new(),
        set: true,
        budget: Budget::default(),
    };
    state.walk(&tree.root, &data)?;
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
    /// Variables in scope, inner last.
    variables: Vec<(&'t str, Value)>,
    text: String,
    set: bool,
    budget: Budget,
}

impl<'t> State<'t> {
    fn walk(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            self.budget.step()?;
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        let text = fmt::sprint_action(&value, MAX_TEXT)?;
                        self.write(&text)?;
                    }
                }
                Node::If(branch) | Node::With(branch) => {
                    let flow = self.conditional(branch, dot, matches!(node, Node::With(_)))?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let flow = self.range(branch, dot)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Template { name, argument } => self.template(name, argument.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        if self.text.len() + text.len() > MAX_TEXT {
            return fail("the output is longer than 64 KiB");
        }
        self.text.push_str(text);
        Ok(())
    }

    fn conditional(&mut self, branch: &'t Branch, dot: &Value, rebind: bool) -> Result<Flow> {
        self.budget.enter()?;
        let scope = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if value.truth() {
            self.walk(&branch.then, if rebind { &value } else { dot })?
        } else {
            self.walk(&branch.otherwise, dot)?
        };
        self.variables.truncate(scope);
        self.budget.leave();
        Ok(flow)
    }

    fn template(&mut self, name: &str, argument: Option<&'t Pipeline>, dot: &Value) -> Result<()> {
        let Some(nodes) = self.tree.defined.get(name) else {
            return fail(format!("template {name:?} not defined"));
        };
        let data = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Missing,
        };
        self.budget.enter()?;
        let variables = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        self.walk(nodes, &data)?;
        self.variables = variables;
        self.budget.leave();
        Ok(())
    }

    fn set_variable(&mut self, name: &str, value: Value) -> Result<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(variable) => {
                variable.1 = value;
                Ok(())
            }
            None => fail(format!("undefined variable: {name}")),
        }
    }

    fn variable(&self, name: &str) -> Result<Value> {
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => fail(format!("undefined variable: {name}")),
        }
    }

    /// A pipeline's value; its variables take it.
    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value> {
        self.budget.enter()?;
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(settled(self.command(command, dot, last)?));
        }
        let value = last.unwrap_or(Value::Missing);
        for name in &pipeline.variables {
            if pipeline.assign {
                self.set_variable(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        self.budget.leave();
        Ok(value)
    }

    /// Runs a command; `last` is what the command before it in the pipeline gave.
    fn command(&mut self, command: &'t Command, dot: &Value, last: Option<Value>) -> Result<Value> {
        self.budget.step()?;
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
            _ if !arguments.is_empty() || last.is_some() => {
                fail("can't give argument to non-function")
            }
            Expr::Nil => fail("nil is not a command"),
            head => self.operand(head, dot),
        }
    }

    /// The value of an operand that no type is asked of.
    fn operand(&mut self, expr: &'t Expr, dot: &Value) -> Result<Value> {
        Ok(match expr {
            Expr::Dot => dot.clone(),
            Expr::Nil => Value::Missing,
            Expr::Bool(truth) => Value::Bool(*truth),
            Expr::Int(n) => Value::Int(*n),
            Expr::Uint(n) => return fail(format!("{n} overflows int")),
            Expr::Float(f) => Value::Float(*f),
            Expr::String(text) => Value::String(text.clone()),
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
            value = self.field(&value, name, &[], dot, None)?;
        }
        self.field(&value, end, arguments, dot, last)
    }
}

/// What a pipeline makes of an interface: what is in it, or nothing.
fn settled(value: Value) -> Value {
    match value {
        Value::Nil => Value::Missing,
        value => value,
    }
}
