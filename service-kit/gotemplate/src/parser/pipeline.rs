//! Pipelines, commands and operands.

use super::{Parser, Result};
use crate::ast::{Command, Expr, Pipeline};
use crate::lexer::{Token, number};

/// Words that begin an action and so are no functions.
const KEYWORDS: &[&str] =
    &["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

impl Parser<'_> {
    /// `[$a[, $b] :=|=] command {| command}` up to and with `end`.
    pub(super) fn pipeline(&mut self, what: &str, end: &Token<'_>) -> Result<Pipeline> {
        self.enter()?;
        let (variables, assign) = self.declaration(what)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(token) if token == end => {
                    self.at += 1;
                    break;
                }
                Some(
                    Token::Dot
                    | Token::Field(_)
                    | Token::Variable(_)
                    | Token::String(_)
                    | Token::Char(_)
                    | Token::Number(_)
                    | Token::LeftParen,
                ) => {}
                Some(Token::Word(word)) if !KEYWORDS.contains(word) => {}
                _ => {
                    let token = self.next();
                    return Err(self.unexpected(token.as_ref(), what));
                }
            }
            commands.push(self.command()?);
        }
        self.check(&commands, what)?;
        self.depth -= 1;
        Ok(Pipeline { variables, assign, commands })
    }

    /// Only the first command may be a mere value.
    fn check(&self, commands: &[Command], what: &str) -> Result<()> {
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {what}")));
        }
        match commands.iter().skip(1).position(|command| is_literal(&command.head)) {
            Some(at) => {
                let stage = at + 2;
                Err(self.error(format!("non executable command in pipeline stage {stage}")))
            }
            None => Ok(()),
        }
    }

    /// The variables that a pipeline declares or sets. As in Go they are in scope at once, to the
    /// end of the block; whether a variable that is set exists shows when the template runs.
    fn declaration(&mut self, what: &str) -> Result<(Vec<String>, bool)> {
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let Some(Token::Variable(name)) = self.peek() else { return Ok((names, false)) };
            let (name, start) = (*name, self.at);
            self.at += 1;
            match self.next_after_space() {
                Some(token @ (Token::Declare | Token::Assign)) => {
                    names.push(name.to_owned());
                    self.variables.push(name);
                    return Ok((names, token == Token::Assign));
                }
                Some(Token::Comma) => {
                    names.push(name.to_owned());
                    self.variables.push(name);
                    if what != "range" || names.len() > 1 {
                        return Err(self.error(format!("too many declarations in {what}")));
                    }
                    self.skip_space();
                    match self.peek() {
                        Some(Token::Variable(_) | Token::Close | Token::RightParen) => {}
                        _ => return Err(self.error("range can only initialize variables")),
                    }
                }
                _ => {
                    self.at = start;
                    return Ok((names, false));
                }
            }
        }
    }

    /// Operands up to `|` (taken), `)` or `}}`.
    fn command(&mut self) -> Result<Command> {
        let mut head = None;
        let mut arguments = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                match head {
                    None => head = Some(operand),
                    Some(_) => arguments.push(operand),
                }
            }
            match self.next() {
                Some(Token::Space) => {}
                Some(Token::Close | Token::RightParen) => {
                    self.at -= 1;
                    break;
                }
                Some(Token::Pipe) => break,
                other => return Err(self.unexpected(other.as_ref(), "operand")),
            }
        }
        match head {
            Some(head) => Ok(Command { head, arguments }),
            None => Err(self.error("empty command")),
        }
    }

    /// A term and the fields that hang on it.
    fn operand(&mut self) -> Result<Option<Expr>> {
        let Some(term) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        while let Some(Token::Field(name)) = self.peek() {
            fields.push((*name).to_owned());
            self.at += 1;
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        match term {
            Expr::Field(mut names) => {
                names.append(&mut fields);
                Ok(Some(Expr::Field(names)))
            }
            Expr::Variable(name, _) => Ok(Some(Expr::Variable(name, fields))),
            term if is_literal(&term) => Err(self.error("unexpected . after term")),
            term => Ok(Some(Expr::Chain(Box::new(term), fields))),
        }
    }

    fn term(&mut self) -> Result<Option<Expr>> {
        Ok(Some(match self.next() {
            Some(Token::Word("true")) => Expr::Bool(true),
            Some(Token::Word("false")) => Expr::Bool(false),
            Some(Token::Word("nil")) => Expr::Nil,
            Some(Token::Word(word)) if !KEYWORDS.contains(&word) => {
                match self.functions.find(word) {
                    Some(function) => Expr::Function(function),
                    None => return Err(self.error(format!("function {word:?} not defined"))),
                }
            }
            Some(Token::Dot) => Expr::Dot,
            Some(Token::Field(name)) => Expr::Field(vec![name.to_owned()]),
            Some(Token::Variable(name)) if self.variables.contains(&name) => {
                Expr::Variable(name.to_owned(), Vec::new())
            }
            Some(Token::Variable(name)) => {
                return Err(self.error(format!("undefined variable {name:?}")));
            }
            Some(Token::String(text)) => Expr::String(text.into()),
            Some(Token::Char(code)) => Expr::Int(i64::from(code)),
            Some(Token::Number(text)) => match number(text) {
                Some(number) => number,
                None => return Err(self.error(format!("bad number syntax: {text:?}"))),
            },
            Some(Token::LeftParen) => {
                let pipeline = self.pipeline("parenthesized pipeline", &Token::RightParen)?;
                Expr::Pipeline(Box::new(pipeline))
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        }))
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Bool(_)
            | Expr::Int(_)
            | Expr::Uint(_)
            | Expr::Float(_)
            | Expr::String(_)
            | Expr::Nil
            | Expr::Dot
    )
}
