//! What a template is made of.

use std::collections::HashMap;
use std::sync::Arc;

use crate::functions::Function;

/// A parsed text: its own nodes, and the templates it defines by name.
#[derive(Debug)]
pub(crate) struct Tree {
    pub root: Vec<Node>,
    pub defined: HashMap<String, Vec<Node>>,
}

#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { name: String, argument: Option<Pipeline> },
    Break,
    Continue,
}

/// `if`, `with` and `range`: what is looked at, and what follows.
#[derive(Debug)]
pub(crate) struct Branch {
    pub pipeline: Pipeline,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Variables that take the value.
    pub variables: Vec<String>,
    /// `=` instead of `:=`.
    pub assign: bool,
    pub commands: Vec<Command>,
}

/// An operand and what it is called with.
#[derive(Debug)]
pub(crate) struct Command {
    pub head: Expr,
    pub arguments: Vec<Expr>,
}

#[derive(Debug)]
pub(crate) enum Expr {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    /// A whole number above `i64`: parsed, but it has no type that it could take.
    Uint(u64),
    Float(f64),
    String(Arc<str>),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    /// `(…).a.b`
    Chain(Box<Expr>, Vec<String>),
    Function(Function),
    Pipeline(Box<Pipeline>),
}
