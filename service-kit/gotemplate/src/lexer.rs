//! Template text to tokens.

/// A token; `space` tokens matter because `.a .b` is two operands and `.a.b` is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Outside of delimiters.
    Text(String),
    Open,
    Close,
    Space,
    Dot,
    /// `.name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    Identifier(String),
    /// A string or raw string, unquoted.
    String(String),
    Char(char),
    Number(String),
    Pipe,
    Comma,
    Declare,
    Assign,
    LeftParen,
    RightParen,
}

/// The tokens of `text`, each with its line.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, (usize, String)> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let line = 1 + text[..text.len() - rest.len()].matches('\n').count();
        let Some(open) = rest.find("{{") else {
            push_text(&mut out, rest, trim_next, false, line);
            return Ok(out);
        };
        let mut inside = &rest[open + 2..];
        let trims = inside.strip_prefix('-').filter(|r| r.starts_with(is_space));
        push_text(&mut out, &rest[..open], trim_next, trims.is_some(), line);
        if let Some(after) = trims {
            inside = after;
        }
        let line = 1 + text[..text.len() - inside.len()].matches('\n').count();
        let trimmed = inside.trim_start_matches(is_space);
        let lead = if trims.is_some() { trimmed } else { inside };
        if let Some(comment) = lead.strip_prefix("/*") {
            let Some(end) = comment.find("*/") else {
                return Err((line, "unclosed comment".to_owned()));
            };
            let after = &comment[end + 2..];
            (rest, trim_next) = close(after)
                .ok_or_else(|| (line, "comment ends before closing delimiter".to_owned()))?;
            continue;
        }
        let mut lexer = Action { text: inside, line, out: &mut out };
        (rest, trim_next) = lexer.run()?;
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn push_text(
    out: &mut Vec<(Token, usize)>,
    text: &str,
    trim_start: bool,
    trim_end: bool,
    line: usize,
) {
    let text = if trim_start { text.trim_start_matches(is_space) } else { text };
    let text = if trim_end { text.trim_end_matches(is_space) } else { text };
    if !text.is_empty() {
        out.push((Token::Text(text.to_owned()), line));
    }
}

/// What follows `}}` or ` -}}` at the start of `text`, and whether it trims.
fn close(text: &str) -> Option<(&str, bool)> {
    if let Some(rest) = text.strip_prefix("}}") {
        return Some((rest, false));
    }
    text.strip_prefix(is_space).and_then(|t| t.strip_prefix("-}}")).map(|rest| (rest, true))
}

/// The tokens between delimiters.
struct Action<'a, 'b> {
    text: &'a str,
    line: usize,
    out: &'b mut Vec<(Token, usize)>,
}

impl<'a> Action<'a, '_> {
    fn run(&mut self) -> Result<(&'a str, bool), (usize, String)> {
        self.push(Token::Open);
        loop {
            if let Some(end) = close(self.text) {
                self.push(Token::Close);
                return Ok(end);
            }
            let Some(c) = self.text.chars().next() else {
                return Err((self.line, "unclosed action".to_owned()));
            };
            match c {
                c if is_space(c) => self.space(),
                '"' => self.string()?,
                '`' => self.raw_string()?,
                '\'' => self.char()?,
                '|' => self.one(Token::Pipe),
                ',' => self.one(Token::Comma),
                '(' => self.one(Token::LeftParen),
                ')' => self.one(Token::RightParen),
                '=' => self.one(Token::Assign),
                ':' if self.text.starts_with(":=") => {
                    self.skip(2);
                    self.push(Token::Declare);
                }
                '$' => {
                    self.skip(1);
                    let name = format!("${}", self.word());
                    self.push(Token::Variable(name));
                }
                '.' if !self.digit_at(1) => {
                    self.skip(1);
                    let name = self.word();
                    self.push(if name.is_empty() { Token::Dot } else { Token::Field(name) });
                }
                '0'..='9' | '.' | '+' | '-' => self.number()?,
                c if c == '_' || c.is_alphabetic() => {
                    let name = self.word();
                    self.push(Token::Identifier(name));
                }
                c => return Err((self.line, format!("unexpected {c:?} in action"))),
            }
        }
    }

    fn push(&mut self, token: Token) {
        self.out.push((token, self.line));
    }

    fn skip(&mut self, bytes: usize) {
        self.text = &self.text[bytes..];
    }

    fn one(&mut self, token: Token) {
        self.skip(1);
        self.push(token);
    }

    fn digit_at(&self, index: usize) -> bool {
        self.text.as_bytes().get(index).is_some_and(u8::is_ascii_digit)
    }

    /// A run of blanks; the last one stays when it belongs to ` -}}`.
    fn space(&mut self) {
        let rest = self.text.trim_start_matches(is_space);
        let run = self.text.len() - rest.len();
        self.line += self.text[..run].matches('\n').count();
        let keep = usize::from(rest.starts_with("-}}"));
        if run > keep {
            self.push(Token::Space);
        }
        self.skip(run - keep);
    }

    fn word(&mut self) -> String {
        let end =
            self.text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.text.len());
        let word = self.text[..end].to_owned();
        self.skip(end);
        word
    }

    fn number(&mut self) -> Result<(), (usize, String)> {
        let mut end = usize::from(self.text.starts_with(['+', '-']));
        let bytes = self.text.as_bytes();
        let hex = self.text[end..].starts_with("0x") || self.text[end..].starts_with("0X");
        while let Some(b) = bytes.get(end) {
            let exponent_sign = b"+-".contains(b)
                && end > 0
                && (if hex {
                    b"pP".contains(&bytes[end - 1])
                } else {
                    b"eE".contains(&bytes[end - 1])
                });
            if !(b.is_ascii_alphanumeric() || *b == b'.' || *b == b'_' || exponent_sign) {
                break;
            }
            end += 1;
        }
        let text = self.text[..end].to_owned();
        if !text.bytes().any(|b| b.is_ascii_digit()) {
            return Err((self.line, format!("bad number syntax: {text:?}")));
        }
        self.skip(end);
        self.push(Token::Number(text));
        Ok(())
    }

    fn string(&mut self) -> Result<(), (usize, String)> {
        let mut out = String::new();
        let mut chars = self.text[1..].chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => out.push(
                    unescape(&mut chars, '"')
                        .ok_or_else(|| (self.line, "bad escape in quoted string".to_owned()))?,
                ),
                None | Some('\n') => {
                    return Err((self.line, "unterminated quoted string".to_owned()));
                }
                Some(c) => out.push(c),
            }
        }
        self.text = chars.as_str();
        self.push(Token::String(out));
        Ok(())
    }

    fn raw_string(&mut self) -> Result<(), (usize, String)> {
        let inside = &self.text[1..];
        let end = inside
            .find('`')
            .ok_or_else(|| (self.line, "unterminated raw quoted string".to_owned()))?;
        let text = inside[..end].to_owned();
        self.push(Token::String(text));
        self.line += inside[..end].matches('\n').count();
        self.text = &inside[end + 1..];
        Ok(())
    }

    fn char(&mut self) -> Result<(), (usize, String)> {
        let bad = || (self.line, "malformed character constant".to_owned());
        let mut chars = self.text[1..].chars();
        let c = match chars.next() {
            Some('\\') => unescape(&mut chars, '\'').ok_or_else(bad)?,
            Some('\'' | '\n') | None => return Err(bad()),
            Some(c) => c,
        };
        if chars.next() != Some('\'') {
            return Err(bad());
        }
        self.text = chars.as_str();
        self.push(Token::Char(c));
        Ok(())
    }
}

/// The character of an escape whose backslash was read. Bytes above 0x7f (`\xff`) have no place in
/// Rust's strings and are refused.
fn unescape(chars: &mut std::str::Chars<'_>, quote: char) -> Option<char> {
    let hex = |chars: &mut std::str::Chars<'_>, digits: usize| {
        let text: String = chars.by_ref().take(digits).collect();
        if text.len() != digits {
            return None;
        }
        u32::from_str_radix(&text, 16).ok()
    };
    Some(match chars.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        c if c == quote => c,
        'x' => hex(chars, 2).filter(|n| *n < 0x80).and_then(char::from_u32)?,
        'u' => hex(chars, 4).and_then(char::from_u32)?,
        'U' => hex(chars, 8).and_then(char::from_u32)?,
        c @ '0'..='7' => {
            let text: String = std::iter::once(c).chain(chars.by_ref().take(2)).collect();
            let code = u32::from_str_radix(&text, 8).ok().filter(|n| text.len() == 3 && *n < 0x80);
            code.and_then(char::from_u32)?
        }
        _ => return None,
    })
}
