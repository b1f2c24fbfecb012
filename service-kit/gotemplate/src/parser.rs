//! Tokens to a tree, as Go's `text/template/parse` does.

mod pipeline;

use std::collections::HashMap;

use thiserror::Error;

use crate::ast::{Branch, Node, Tree};
use crate::functions::Functions;
use crate::lexer::{Token, tokens};

/// Deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 100;

/// Why a text is no template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("template line {line}: {message}")]
pub struct ParseError {
    /// Line in the template, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

type Result<T> = std::result::Result<T, ParseError>;

pub(crate) fn parse(text: &str, functions: &Functions) -> Result<Tree> {
    if text.len() > crate::Template::MAX_LEN {
        return Err(ParseError { line: 1, message: "longer than 64 KiB".to_owned() });
    }
    let tokens = tokens(text).map_err(|(line, message)| ParseError { line, message })?;
    let mut parser = Parser {
        tokens,
        at: 0,
        functions: *functions,
        variables: vec!["$"],
        defined: HashMap::new(),
        depth: 0,
        loops: 0,
    };
    let (root, end) = parser.list(true)?;
    match end {
        End::OfText => Ok(Tree { root, defined: parser.defined }),
        End::Closed => Err(parser.error("unexpected {{end}}")),
        End::Else => Err(parser.error("unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum End {
    OfText,
    Closed,
    /// The word was read, what follows it was not.
    Else,
}

/// An error ends the parse: what the fields hold after one does not matter.
struct Parser<'a> {
    tokens: Vec<(Token<'a>, usize)>,
    at: usize,
    functions: Functions,
    /// Names in scope, inner last.
    variables: Vec<&'a str>,
    defined: HashMap<String, Vec<Node>>,
    depth: usize,
    /// Bodies of `range` around here.
    loops: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        let read = self.at.saturating_sub(1).min(self.tokens.len().saturating_sub(1));
        let line = self.tokens.get(read).map_or(1, |(_, line)| *line);
        ParseError { line, message: message.into() }
    }

    fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn next_after_space(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        self.next()
    }

    fn expect_close(&mut self, what: &str) -> Result<()> {
        match self.next_after_space() {
            Some(Token::Close) => Ok(()),
            other => Err(self.unexpected(other.as_ref(), what)),
        }
    }

    fn unexpected(&self, token: Option<&Token<'_>>, what: &str) -> ParseError {
        match token {
            None => self.error(format!("the template ends in {what}")),
            Some(token) => self.error(format!("unexpected {token} in {what}")),
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(self.error("nested deeper than 100 levels"))
        } else {
            Ok(())
        }
    }

    /// Nodes up to `{{end}}`, `{{else` or the end of the text.
    fn list(&mut self, top: bool) -> Result<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            match token {
                Token::Text(text) => nodes.push(Node::Text(text.to_owned())),
                Token::Open => {
                    self.skip_space();
                    let word = match self.peek() {
                        Some(Token::Word(word)) => *word,
                        _ => "",
                    };
                    self.at += 1;
                    match word {
                        "end" => {
                            self.expect_close("end")?;
                            return Ok((nodes, End::Closed));
                        }
                        "else" => return Ok((nodes, End::Else)),
                        "define" if top => self.define()?,
                        word => nodes.push(self.action(word)?),
                    }
                }
                other => return Err(self.unexpected(Some(&other), "input")),
            }
        }
        Ok((nodes, End::OfText))
    }

    /// The action that begins with `word` (already read).
    fn action(&mut self, word: &str) -> Result<Node> {
        match word {
            "if" => Ok(Node::If(self.branch("if")?)),
            "with" => Ok(Node::With(self.branch("with")?)),
            "range" => Ok(Node::Range(self.branch("range")?)),
            "break" | "continue" => {
                self.expect_close(word)?;
                if self.loops == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            "template" => self.template(),
            "block" => self.block(),
            _ => {
                self.at -= 1;
                Ok(Node::Action(self.pipeline("command", &Token::Close)?))
            }
        }
    }

    /// Pipeline, then, `else …`, `end` of if, with and range.
    fn branch(&mut self, what: &str) -> Result<Branch> {
        self.enter()?;
        let scope = self.variables.len();
        let pipeline = self.pipeline(what, &Token::Close)?;
        let in_loop = usize::from(what == "range");
        self.loops += in_loop;
        let (then, end) = self.list(false)?;
        self.loops -= in_loop;
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Else => self.otherwise(what)?,
            End::OfText => return Err(self.error(format!("{{{{{what}}}}} has no {{{{end}}}}"))),
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch { pipeline, then, otherwise })
    }

    /// What follows `{{else`. `{{else if …}}` and `{{else with …}}` share the `{{end}}`.
    fn otherwise(&mut self, what: &str) -> Result<Vec<Node>> {
        self.skip_space();
        match self.peek() {
            Some(Token::Word("if")) if what == "if" => {
                self.at += 1;
                Ok(vec![Node::If(self.branch("if")?)])
            }
            Some(Token::Word("with")) if what == "with" => {
                self.at += 1;
                Ok(vec![Node::With(self.branch("with")?)])
            }
            _ => {
                self.expect_close("else")?;
                match self.list(false)? {
                    (nodes, End::Closed) => Ok(nodes),
                    (_, End::Else) => Err(self.error("expected {{end}}; found {{else}}")),
                    (_, End::OfText) => {
                        Err(self.error(format!("{{{{{what}}}}} has no {{{{end}}}}")))
                    }
                }
            }
        }
    }

    fn name(&mut self, what: &str) -> Result<String> {
        match self.next_after_space() {
            Some(Token::String(name)) => Ok(name),
            other => Err(self.unexpected(other.as_ref(), what)),
        }
    }

    fn template(&mut self) -> Result<Node> {
        let name = self.name("template clause")?;
        self.skip_space();
        if self.peek() == Some(&Token::Close) {
            self.at += 1;
            return Ok(Node::Template { name, argument: None });
        }
        let argument = self.pipeline("template clause", &Token::Close)?;
        Ok(Node::Template { name, argument: Some(argument) })
    }

    fn define(&mut self) -> Result<()> {
        let name = self.name("define clause")?;
        self.expect_close("define clause")?;
        self.body_of(name)
    }

    fn block(&mut self) -> Result<Node> {
        let name = self.name("block clause")?;
        let argument = self.pipeline("block clause", &Token::Close)?;
        self.body_of(name.clone())?;
        Ok(Node::Template { name, argument: Some(argument) })
    }

    /// The body of a definition: it sees only its own variables. One without text gives way to
    /// another of its name; two with text contradict each other.
    fn body_of(&mut self, name: String) -> Result<()> {
        self.enter()?;
        let variables = std::mem::replace(&mut self.variables, vec!["$"]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list(false)?;
        if end != End::Closed {
            return Err(self.error(format!("template {name:?} has no {{{{end}}}}")));
        }
        (self.variables, self.loops) = (variables, loops);
        self.depth -= 1;
        match self.defined.get(&name) {
            Some(other) if !is_blank(other) => {
                if !is_blank(&nodes) {
                    return Err(self.error(format!("multiple definition of template {name:?}")));
                }
            }
            _ => {
                self.defined.insert(name, nodes);
            }
        }
        Ok(())
    }
}

fn is_blank(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}
