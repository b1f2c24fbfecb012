//! Template text to tokens.

mod literal;

pub(crate) use literal::number;

use std::fmt;

/// A token. Space is one: `.a .b` is two operands and `.a.b` is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    /// Outside of delimiters.
    Text(&'a str),
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    Dot,
    /// `.name`, without the dot.
    Field(&'a str),
    /// `$` or `$name`
    Variable(&'a str),
    /// A word: keyword, constant or function.
    Word(&'a str),
    /// A string or raw string, unquoted.
    String(String),
    /// A character constant's code.
    Char(u32),
    Number(&'a str),
    Pipe,
    Comma,
    Declare,
    Assign,
    LeftParen,
    RightParen,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:.20?}"),
            Self::String(text) => write!(f, "{text:.20?}"),
            Self::Field(name) => write!(f, "<.{name}>"),
            Self::Variable(text) | Self::Word(text) | Self::Number(text) => write!(f, "<{text}>"),
            Self::Open => f.write_str("{{"),
            Self::Close => f.write_str("}}"),
            Self::Space => f.write_str("space"),
            Self::Dot => f.write_str("<.>"),
            Self::Char(_) => f.write_str("character"),
            Self::Pipe => f.write_str("|"),
            Self::Comma => f.write_str(","),
            Self::Declare => f.write_str(":="),
            Self::Assign => f.write_str("="),
            Self::LeftParen => f.write_str("("),
            Self::RightParen => f.write_str(")"),
        }
    }
}

/// What is wrong, and in which line.
pub(crate) type LexError = (usize, String);

/// The tokens of `text`, each with its line.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token<'_>, usize)>, LexError> {
    let mut lexer = Lexer { rest: text, line: 1, parens: 0, out: Vec::new() };
    lexer.run()?;
    Ok(lexer.out)
}

/// What Go's templates trim and take as space between operands.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    /// Parentheses open in this action.
    parens: usize,
    out: Vec<(Token<'a>, usize)>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), LexError> {
        let mut trim = false;
        loop {
            let open = self.rest.find("{{");
            let text = self.take(open.unwrap_or(self.rest.len()));
            let trims_before = starts_with_trim(self.rest.strip_prefix("{{").unwrap_or(""));
            self.text(text, trim, trims_before);
            if open.is_none() {
                return Ok(());
            }
            let line = self.line;
            self.take(2);
            if trims_before {
                self.take(2);
            }
            trim = match self.comment()? {
                Some(trim) => trim,
                None => {
                    self.out.push((Token::Open, line));
                    self.action()?
                }
            };
        }
    }

    /// Takes `bytes` of the rest; counts lines.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|b| *b == b'\n').count();
        self.rest = rest;
        taken
    }

    fn push(&mut self, token: Token<'a>) {
        self.out.push((token, self.line));
    }

    fn text(&mut self, text: &'a str, trim_start: bool, trim_end: bool) {
        let text = if trim_start { text.trim_start_matches(is_space) } else { text };
        let text = if trim_end { text.trim_end_matches(is_space) } else { text };
        if !text.is_empty() {
            self.push(Token::Text(text));
        }
    }

    /// Skips a comment, which must fill its delimiters; whether it trims what follows.
    fn comment(&mut self) -> Result<Option<bool>, LexError> {
        if !self.rest.starts_with("/*") {
            return Ok(None);
        }
        let Some(end) = self.rest.find("*/") else {
            return self.fail("unclosed comment");
        };
        self.take(end + 2);
        match self.close() {
            Some(trim) => Ok(Some(trim)),
            None => self.fail("comment ends before closing delimiter"),
        }
    }

    /// Takes `}}` or ` -}}`; whether it trims.
    fn close(&mut self) -> Option<bool> {
        if self.rest.starts_with("}}") {
            self.take(2);
            return Some(false);
        }
        if ends_with_trim(self.rest) {
            self.take(4);
            return Some(true);
        }
        None
    }

    /// The tokens up to the closing delimiter; whether that trims.
    fn action(&mut self) -> Result<bool, LexError> {
        self.parens = 0;
        loop {
            if let Some(trim) = self.close() {
                if self.parens > 0 {
                    return self.fail("unclosed left paren");
                }
                self.push(Token::Close);
                return Ok(trim);
            }
            let Some(c) = self.rest.chars().next() else {
                return self.fail("unclosed action");
            };
            match c {
                c if is_space(c) => self.space(),
                '"' => self.string()?,
                '`' => self.raw_string()?,
                '\'' => self.char()?,
                '|' => self.one(Token::Pipe),
                ',' => self.one(Token::Comma),
                '=' => self.one(Token::Assign),
                ':' if self.rest.starts_with(":=") => {
                    self.take(2);
                    self.push(Token::Declare);
                }
                '(' => {
                    self.parens += 1;
                    self.one(Token::LeftParen);
                }
                ')' => {
                    let Some(parens) = self.parens.checked_sub(1) else {
                        return self.fail("unexpected right paren");
                    };
                    self.parens = parens;
                    self.one(Token::RightParen);
                }
                '0'..='9' | '+' | '-' => self.number()?,
                '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
                '.' | '$' => self.name(c)?,
                c if is_word(c) => {
                    let word = self.word(0)?;
                    self.push(Token::Word(word));
                }
                c => return self.fail(format!("unexpected {c:?} in command")),
            }
        }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, LexError> {
        Err((self.line, message.into()))
    }

    fn one(&mut self, token: Token<'a>) {
        self.take(1);
        self.push(token);
    }

    /// A run of blanks; the last one stays when it belongs to ` -}}`.
    fn space(&mut self) {
        let run = self.rest.len() - self.rest.trim_start_matches(is_space).len();
        let keep = usize::from(ends_with_trim(&self.rest[run - 1..]));
        if run > keep {
            self.push(Token::Space);
            self.take(run - keep);
        }
    }

    /// `prefix` bytes and the letters and digits after them; a space, an operator or a delimiter
    /// must follow.
    fn word(&mut self, prefix: usize) -> Result<&'a str, LexError> {
        let letters = &self.rest[prefix..];
        let length = letters.find(|c| !is_word(c)).unwrap_or(letters.len());
        let word = self.take(prefix + length);
        match self.rest.chars().next() {
            Some(c) if !is_space(c) && !".,|:)(".contains(c) && !self.rest.starts_with("}}") => {
                self.fail(format!("bad character {c:?} after {word:?}"))
            }
            _ => Ok(word),
        }
    }

    /// `.`, `.name`, `$` or `$name`.
    fn name(&mut self, first: char) -> Result<(), LexError> {
        let name = self.word(1)?;
        self.push(match (first, &name[1..]) {
            ('$', _) => Token::Variable(name),
            (_, "") => Token::Dot,
            (_, field) => Token::Field(field),
        });
        Ok(())
    }

    fn number(&mut self) -> Result<(), LexError> {
        let length = literal::number_length(self.rest);
        let text = self.take(length);
        if text.ends_with('i') || self.rest.starts_with(['+', '-']) {
            return self.fail(format!("not supported yet: complex number {text}"));
        }
        if self.rest.starts_with(is_word) {
            return self.fail(format!("bad number syntax: {text:?}"));
        }
        self.push(Token::Number(text));
        Ok(())
    }

    fn string(&mut self) -> Result<(), LexError> {
        let mut escaped = false;
        let mut end = None;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else { return self.fail("unterminated quoted string") };
        let inside = &self.rest[1..end];
        let Some(text) = literal::unquote(inside) else {
            return self.fail(format!("invalid escape in \"{inside}\""));
        };
        self.take(end + 1);
        self.push(Token::String(text));
        Ok(())
    }

    fn raw_string(&mut self) -> Result<(), LexError> {
        let Some(end) = self.rest[1..].find('`') else {
            return self.fail("unterminated raw quoted string");
        };
        let token = Token::String(self.rest[1..=end].replace('\r', ""));
        self.push(token);
        self.take(end + 2);
        Ok(())
    }

    fn char(&mut self) -> Result<(), LexError> {
        let mut chars = self.rest[1..].chars();
        let Some(code) = literal::unquote_char(&mut chars) else {
            return self.fail("malformed character constant");
        };
        if chars.next() != Some('\'') {
            return self.fail("malformed character constant");
        }
        let length = self.rest.len() - chars.as_str().len();
        self.take(length);
        self.push(Token::Char(code));
        Ok(())
    }
}

/// Whether `text`, right after `{{`, begins with a trim marker: `-` and a space.
fn starts_with_trim(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|t| t.starts_with(is_space))
}

/// Whether `text` begins with ` -}}`.
fn ends_with_trim(text: &str) -> bool {
    text.strip_prefix(is_space).is_some_and(|t| t.starts_with("-}}"))
}
