//! How deep the tree of an expression will be, found without a parser: the parser calls itself for
//! each level, and a stack that is used up ends the program.

/// What a bracket counts: the parser calls itself through all of its grammar.
const BRACKET: usize = 7;

/// What is open at a place: a bracket, with what nests in it so far.
#[derive(Default)]
struct Level {
    /// Operators of one operand of `&&` and `||`, each of which is one level.
    operators: usize,
    /// `?`, whose branches hold all that follows.
    branches: usize,
    /// What opened it.
    bracket: u8,
}

/// The depth, or more.
///
/// # Errors
/// In words, when a text is none: where it ends is then for each reader to guess.
pub(super) fn of(source: &str) -> Result<usize, &'static str> {
    const UNPAIRED: &str = "a bracket has no other one";
    let mut levels: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let (mut depth, mut deepest) = (0, 0);
    let mut rest = source.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let before = &source.as_bytes()[..source.len() - rest.len()];
        rest = match byte {
            b'"' | b'\'' => after_literal(rest, is_raw(before)?)?,
            b'/' if after.first() == Some(&b'/') => after_line(after),
            _ => after,
        };
        match byte {
            b'(' | b'[' | b'{' => {
                depth += BRACKET;
                levels.push(std::mem::take(&mut level));
                level.bracket = byte;
            }
            b')' | b']' | b'}' => {
                let is_pair =
                    matches!((level.bracket, byte), (b'(', b')') | (b'[', b']') | (b'{', b'}'));
                let outer = levels.pop().filter(|_| is_pair).ok_or(UNPAIRED)?;
                depth -= BRACKET + level.operators + level.branches;
                level = outer;
                // What is called, indexed or built nests what comes before it.
                level.operators += 1;
                depth += 1;
            }
            b',' => {
                depth -= level.operators + level.branches;
                level = Level { bracket: level.bracket, ..Level::default() };
            }
            b'&' | b'|' | b':' => {
                depth -= level.operators;
                level.operators = 0;
            }
            b'?' => {
                level.branches += 1;
                depth += 1;
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'.' => {
                level.operators += 1;
                depth += 1;
            }
            // The operator `in`, or a name that ends so.
            b'n' if before.last() == Some(&b'i') && !rest.first().is_some_and(is_name) => {
                level.operators += 1;
                depth += 1;
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if levels.is_empty() { Ok(deepest) } else { Err(UNPAIRED) }
}

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// Whether the text that begins here takes backslashes as they are.
fn is_raw(before: &[u8]) -> Result<bool, &'static str> {
    let length = before.iter().rev().take_while(|b| is_name(b)).count();
    match before[before.len() - length..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => Ok(false),
        b"r" | b"br" => Ok(true),
        _ => Err("a string stands at the end of a name"),
    }
}

/// What comes after the literal that begins here.
fn after_literal(text: &[u8], is_raw: bool) -> Result<&[u8], &'static str> {
    const OPEN: &str = "a string is not closed";
    let quote = text[0];
    let is_long = text.starts_with(&[quote; 3]);
    let mut at = if is_long { 3 } else { 1 };
    loop {
        match *text.get(at).ok_or(OPEN)? {
            b'\\' if !is_raw => at += escape(&text[at + 1..])?,
            b'\n' | b'\r' if !is_long => return Err(OPEN),
            byte if byte == quote && !is_long => return Ok(&text[at + 1..]),
            byte if byte == quote && text[at..].starts_with(&[quote; 3]) => {
                return Ok(&text[at + 3..]);
            }
            _ => {}
        }
        at += 1;
    }
}

/// How long the rest of an escape sequence is.
fn escape(text: &[u8]) -> Result<usize, &'static str> {
    let of = |count: usize, digit: fn(&u8) -> bool| {
        let digits = text.get(1..=count).unwrap_or_default();
        (digits.len() == count && digits.iter().all(digit)).then_some(1 + count)
    };
    let length = match text.first() {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v') => Some(1),
        Some(b'"' | b'\'' | b'\\' | b'?' | b'`') => Some(1),
        Some(b'x' | b'X') => of(2, u8::is_ascii_hexdigit),
        Some(b'u') => of(4, u8::is_ascii_hexdigit),
        Some(b'U') => of(8, u8::is_ascii_hexdigit),
        Some(b'0'..=b'3') => of(2, |b| (b'0'..=b'7').contains(b)),
        _ => None,
    };
    length.ok_or("a string has an unknown escape; write patterns as r'…'")
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
    &text[end..]
}
