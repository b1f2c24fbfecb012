//! Tokens to a tree, as Go's `text/template/parse` does.

use std::collections::HashMap;

use thiserror::Error;

use crate::ast::{Branch, Command, Expr, Node, Pipeline, Tree};
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

pub(crate) fn parse(text: &str, functions: &Functions) -> Result<Tree, ParseError> {
    if text.len() > crate::Template::MAX_LEN {
        return Err(ParseError { line: 1, message: "longer than 64 KiB".to_owned() });
    }
    let tokens = tokens(text).map_err(|(line, message)| ParseError { line, message })?;
    let mut parser = Parser {
        tokens,
        at: 0,
        functions: *functions,
        variables: vec!["$".to_owned()],
        defined: HashMap::new(),
        depth: 0,
        loops: 0,
    };
    let (root, end) = parser.list(true)?;
    match end {
        End::Text => Ok(Tree { root, defined: parser.defined }),
        End::End => Err(parser.error("unexpected {{end}}")),
        End::Else => Err(parser.error("unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum End {
    Text,
    End,
    Else,
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    functions: Functions,
    /// Names in scope, inner last.
    variables: Vec<String>,
    defined: HashMap<String, Vec<Node>>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn error(&self, message: impl Into<String>) -> ParseError {
        let line = self.tokens.get(self.at.min(self.tokens.len().saturating_sub(1)));
        ParseError { line: line.map_or(1, |(_, l)| *l), message: message.into() }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(t, _)| t)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn spaces(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn expect_close(&mut self, what: &str) -> Result<(), ParseError> {
        self.spaces();
        match self.next() {
            Some(Token::Close) => Ok(()),
            other => Err(self.unexpected(other.as_ref(), what)),
        }
    }

    fn unexpected(&self, token: Option<&Token>, what: &str) -> ParseError {
        match token {
            None => self.error(format!("unexpected end of the template in {what}")),
            Some(token) => self.error(format!("unexpected {token:?} in {what}")),
        }
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(self.error("nested deeper than 100 levels"))
        } else {
            Ok(())
        }
    }

    /// Nodes up to `{{end}}`, `{{else…` (left right after the word) or the end of the text.
    fn list(&mut self, top: bool) -> Result<(Vec<Node>, End), ParseError> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Token::Text(text) = token {
                nodes.push(Node::Text(text));
                continue;
            }
            self.spaces();
            if let Some(Token::Identifier(word)) = self.peek() {
                let word = word.clone();
                match word.as_str() {
                    "end" => {
                        self.at += 1;
                        self.expect_close("end")?;
                        return Ok((nodes, End::End));
                    }
                    "else" => {
                        self.at += 1;
                        return Ok((nodes, End::Else));
                    }
                    _ => {}
                }
                if let Some(node) = self.keyword(&word, top)? {
                    nodes.extend(node);
                    continue;
                }
            }
            let pipeline = self.pipeline("command", &Token::Close)?;
            nodes.push(Node::Action(pipeline));
        }
        Ok((nodes, End::Text))
    }

    /// The node of a keyword (`Some(None)` for a definition); `None` when `word` is no keyword.
    fn keyword(&mut self, word: &str, top: bool) -> Result<Option<Option<Node>>, ParseError> {
        let before = self.at;
        self.at += 1;
        let node = match word {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => {
                self.loops += 1;
                let branch = self.branch("range");
                self.loops -= 1;
                Node::Range(branch?)
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.expect_close(word)?;
                if word == "break" { Node::Break } else { Node::Continue }
            }
            "template" => self.template()?,
            "define" if top => {
                self.define()?;
                return Ok(Some(None));
            }
            "block" => self.block()?,
            _ => {
                self.at = before;
                return Ok(None);
            }
        };
        Ok(Some(Some(node)))
    }

    /// Pipeline, then, `else …`, `end` of if, with and range.
    fn branch(&mut self, what: &str) -> Result<Branch, ParseError> {
        self.enter()?;
        let scope = self.variables.len();
        let pipeline = self.pipeline(what, &Token::Close)?;
        let (then, end) = self.list(false)?;
        let otherwise = if end == End::Else { self.otherwise(what)? } else { Vec::new() };
        if end == End::Text {
            return Err(self.error(format!("{what} has no {{{{end}}}}")));
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch { pipeline, then, otherwise })
    }

    fn otherwise(&mut self, what: &str) -> Result<Vec<Node>, ParseError> {
        self.spaces();
        match self.peek() {
            // `{{else if …}}` and `{{else with …}}` share the `{{end}}`.
            Some(Token::Identifier(word)) if word == what && what != "range" => {
                self.at += 1;
                let branch = self.branch(what)?;
                Ok(vec![if what == "if" { Node::If(branch) } else { Node::With(branch) }])
            }
            _ => {
                self.expect_close("else")?;
                let (nodes, end) = self.list(false)?;
                match end {
                    End::End => Ok(nodes),
                    End::Else => Err(self.error("expected {{end}}, found {{else}}")),
                    End::Text => Err(self.error(format!("{what} has no {{{{end}}}}"))),
                }
            }
        }
    }

    fn name(&mut self, what: &str) -> Result<String, ParseError> {
        self.spaces();
        match self.next() {
            Some(Token::String(name)) => Ok(name),
            other => Err(self.unexpected(other.as_ref(), what)),
        }
    }

    fn template(&mut self) -> Result<Node, ParseError> {
        let name = self.name("template clause")?;
        self.spaces();
        if self.peek() == Some(&Token::Close) {
            self.at += 1;
            return Ok(Node::Template { name, argument: None });
        }
        let argument = self.pipeline("template clause", &Token::Close)?;
        Ok(Node::Template { name, argument: Some(argument) })
    }

    fn define(&mut self) -> Result<(), ParseError> {
        let name = self.name("define clause")?;
        self.expect_close("define clause")?;
        self.body_of(name)
    }

    fn block(&mut self) -> Result<Node, ParseError> {
        let name = self.name("block clause")?;
        let argument = self.pipeline("block clause", &Token::Close)?;
        self.body_of(name.clone())?;
        Ok(Node::Template { name, argument: Some(argument) })
    }

    /// The body of a definition: it sees only its own variables.
    fn body_of(&mut self, name: String) -> Result<(), ParseError> {
        self.enter()?;
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list(false)?;
        if end != End::End {
            return Err(self.error(format!("template {name:?} has no {{{{end}}}}")));
        }
        (self.variables, self.loops) = (variables, loops);
        self.depth -= 1;
        self.defined.insert(name, nodes);
        Ok(())
    }

    /// `[$a[, $b] :=|=] command {| command}` up to and with `end`.
    fn pipeline(&mut self, what: &str, end: &Token) -> Result<Pipeline, ParseError> {
        self.enter()?;
        self.spaces();
        let (variables, assign) = self.declaration(what)?;
        let mut commands = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                Some(token) if token == end => {
                    self.at += 1;
                    break;
                }
                Some(Token::Pipe) if !commands.is_empty() => self.at += 1,
                _ if commands.is_empty() => {}
                other => return Err(self.unexpected(other, what)),
            }
            commands.push(self.command(what)?);
        }
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {what}")));
        }
        let literal = |e: &Expr| {
            matches!(
                e,
                Expr::Bool(_)
                    | Expr::Int(_)
                    | Expr::Uint(_)
                    | Expr::Float(_)
                    | Expr::String(_)
                    | Expr::Nil
                    | Expr::Dot
            )
        };
        if commands.iter().skip(1).any(|c| literal(&c.head)) {
            return Err(self.error("non executable command in pipeline"));
        }
        if !assign {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipeline { variables, assign, commands })
    }

    fn declaration(&mut self, what: &str) -> Result<(Vec<String>, bool), ParseError> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            self.spaces();
            let Some(Token::Variable(name)) = self.next() else { break };
            names.push(name);
            self.spaces();
            match self.next() {
                Some(Token::Comma) if what == "range" && names.len() == 1 => {}
                Some(Token::Comma) => {
                    return Err(self.error(format!("too many declarations in {what}")));
                }
                Some(Token::Declare) => return Ok((names, false)),
                Some(Token::Assign) => {
                    if let Some(name) = names.iter().find(|n| !self.variables.contains(n)) {
                        return Err(self.error(format!("undefined variable {name:?}")));
                    }
                    return Ok((names, true));
                }
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, what: &str) -> Result<Command, ParseError> {
        let mut operands = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                None | Some(Token::Close | Token::RightParen | Token::Pipe) => break,
                _ => operands.push(self.operand(what)?),
            }
            match self.peek() {
                Some(Token::Space | Token::Close | Token::RightParen | Token::Pipe) => {}
                other => return Err(self.unexpected(other, "operand")),
            }
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            Some(head) => Ok(Command { head, arguments: operands.collect() }),
            None => Err(self.error(format!("missing value for {what}"))),
        }
    }

    fn operand(&mut self, what: &str) -> Result<Expr, ParseError> {
        let term = self.term(what)?;
        let mut fields = Vec::new();
        while let Some(Token::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.at += 1;
        }
        if fields.is_empty() {
            return Ok(term);
        }
        match term {
            Expr::Field(mut names) => {
                names.append(&mut fields);
                Ok(Expr::Field(names))
            }
            Expr::Variable(name, _) => Ok(Expr::Variable(name, fields)),
            Expr::Bool(_)
            | Expr::Int(_)
            | Expr::Uint(_)
            | Expr::Float(_)
            | Expr::String(_)
            | Expr::Nil
            | Expr::Dot => Err(self.error("unexpected . after term")),
            term => Ok(Expr::Chain(Box::new(term), fields)),
        }
    }

    fn term(&mut self, what: &str) -> Result<Expr, ParseError> {
        match self.next() {
            Some(Token::Identifier(name)) => match name.as_str() {
                "true" => Ok(Expr::Bool(true)),
                "false" => Ok(Expr::Bool(false)),
                "nil" => Ok(Expr::Nil),
                name => match self.functions.find(name) {
                    Some(function) => Ok(Expr::Function(function)),
                    None => Err(self.error(format!("function {name:?} not defined"))),
                },
            },
            Some(Token::Dot) => Ok(Expr::Dot),
            Some(Token::Field(name)) => Ok(Expr::Field(vec![name])),
            Some(Token::Variable(name)) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(format!("undefined variable {name:?}")));
                }
                Ok(Expr::Variable(name, Vec::new()))
            }
            Some(Token::String(text)) => Ok(Expr::String(text)),
            Some(Token::Char(c)) => Ok(Expr::Int(i64::from(u32::from(c)))),
            Some(Token::Number(text)) => {
                number(&text).ok_or_else(|| self.error(format!("bad number syntax: {text:?}")))
            }
            Some(Token::LeftParen) => {
                let pipeline = self.pipeline("parenthesized pipeline", &Token::RightParen)?;
                if !pipeline.variables.is_empty() && !pipeline.assign {
                    let keep = self.variables.len() - pipeline.variables.len();
                    self.variables.truncate(keep);
                }
                Ok(Expr::Pipeline(Box::new(pipeline)))
            }
            other => Err(self.unexpected(other.as_ref(), what)),
        }
    }
}

/// A number constant with the kind that Go gives it: a float when it looks like one.
fn number(text: &str) -> Option<Expr> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.replace('_', "").to_ascii_lowercase();
    let radix = match plain.get(..2) {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let integer = match radix {
        10 if plain.len() > 1 && plain.starts_with('0') => u64::from_str_radix(&plain, 8).ok(),
        10 => plain.parse().ok(),
        _ => u64::from_str_radix(plain.get(2..)?, radix).ok(),
    };
    match integer {
        Some(n) if negative => 0_i64.checked_sub_unsigned(n).map(Expr::Int),
        Some(n) => Some(i64::try_from(n).map_or(Expr::Uint(n), Expr::Int)),
        None if radix != 10 => None,
        None => {
            let float: f64 = plain.parse().ok().filter(|f: &f64| f.is_finite())?;
            plain.bytes().all(|b| b.is_ascii_digit() || b".e+-".contains(&b)).then_some(())?;
            Some(Expr::Float(if negative { -float } else { float }))
        }
    }
}
