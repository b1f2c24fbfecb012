//! Globs of hosts and paths: `*` and `**` match any run of characters, separators included, `?`
//! one character, `[a-c]` and `[!abc]` one of a class, `{a,b}` alternatives; a backslash takes the
//! next character as it is. Anchored at both ends, case-sensitive.

use thiserror::Error;

/// Most alternatives that `{…}` may multiply to.
const MAX_ALTERNATIVES: usize = 256;
/// Longest pattern, in bytes.
const MAX_LEN: usize = 4096;

/// Why a pattern is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GlobError {
    /// `[` without `]`.
    #[error("`[` is not closed")]
    Class,
    /// `{` without `}`, or the other way round.
    #[error("`{{` and `}}` do not pair")]
    Braces,
    /// A backslash at the end.
    #[error("nothing follows the last backslash")]
    Escape,
    /// Too long, or too many alternatives.
    #[error("longer than 4096 bytes or more than 256 alternatives")]
    TooLarge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Char(char),
    One,
    Any,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Part {
    fn char(&self) -> Option<char> {
        match self {
            Self::Char(c) => Some(*c),
            _ => None,
        }
    }

    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One => true,
            Self::Any => false,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// What an alternative of a pattern asks of a text, as far as an index can use it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// To be this text.
    Exact(String),
    /// To begin with this.
    Prefix(String),
    /// To end with this.
    Suffix(String),
    /// To begin with this, and more that only the pattern itself can say.
    Other(String),
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    /// Without braces: the pattern matches when one of these does.
    alternatives: Vec<Vec<Part>>,
    literal: Option<String>,
}

impl Glob {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// When a bracket, brace or backslash lacks its other half, or it is too large.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        if pattern.len() > MAX_LEN {
            return Err(GlobError::TooLarge);
        }
        let mut chars = pattern.chars();
        let alternatives = alternatives(&mut chars, 0)?;
        if chars.next().is_some() {
            return Err(GlobError::Braces);
        }
        let literal = match alternatives.as_slice() {
            [parts] => parts.iter().map(Part::char).collect(),
            _ => None,
        };
        Ok(Self { alternatives, literal })
    }

    /// What matches everything.
    pub fn any() -> Self {
        Self { alternatives: vec![vec![Part::Any]], literal: None }
    }

    /// The only text it matches, when there is only one.
    pub fn literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    /// One for each alternative.
    pub(super) fn shapes(&self) -> impl Iterator<Item = Shape> {
        let text = |parts: &[Part]| parts.iter().map(Part::char).collect::<Option<String>>();
        self.alternatives.iter().map(move |parts| {
            let head: String = parts.iter().map_while(Part::char).collect();
            match parts.as_slice() {
                [Part::Any, tail @ ..] if !tail.is_empty() => {
                    text(tail).map_or(Shape::Other(head), Shape::Suffix)
                }
                [.., Part::Any] if head.chars().count() + 1 == parts.len() => Shape::Prefix(head),
                _ if head.chars().count() == parts.len() => Shape::Exact(head),
                _ => Shape::Other(head),
            }
        })
    }

    /// Whether it matches some text that begins with `start`.
    pub fn may_match_below(&self, start: &str) -> bool {
        self.alternatives.iter().any(|parts| places(parts, start).contains(&true))
    }

    /// Whether it matches every text that begins with `start`. That several alternatives do so together
    /// is not seen.
    pub fn matches_all_below(&self, start: &str) -> bool {
        let ends = |parts: &Vec<Part>| parts.last() == Some(&Part::Any);
        let at_end = |parts: &Vec<Part>| places(parts, start).last() == Some(&true);
        self.alternatives.iter().any(|parts| ends(parts) && at_end(parts))
    }

    /// Whether it matches the whole of `text`. At most pattern times text steps.
    pub fn matches(&self, text: &str) -> bool {
        self.alternatives.iter().any(|parts| matches(parts, text))
    }
}

/// Which parts may follow when `start` is taken: true at the place of each, and at the end when none
/// needs to.
fn places(parts: &[Part], start: &str) -> Vec<bool> {
    let mut places = vec![false; parts.len() + 1];
    places[0] = true;
    pass_stars(parts, &mut places);
    for c in start.chars() {
        let mut next = vec![false; parts.len() + 1];
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| places[*at]) {
            match part {
                Part::Any => next[at] = true,
                part if part.takes(c) => next[at + 1] = true,
                _ => {}
            }
        }
        places = next;
        pass_stars(parts, &mut places);
    }
    places
}

/// A `*` may take nothing.
fn pass_stars(parts: &[Part], places: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        places[at + 1] |= places[at] && *part == Part::Any;
    }
}

/// Backtracks to the last `*` only, which is enough: an earlier one could take no more than it.
fn matches(parts: &[Part], text: &str) -> bool {
    let (mut at, mut rest) = (0, text.chars());
    let mut star: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let here = rest.clone();
        match (parts.get(at), rest.next()) {
            (Some(Part::Any), _) => {
                star = Some((at + 1, here.clone()));
                (at, rest) = (at + 1, here);
                if at == parts.len() {
                    return true;
                }
            }
            (None, None) => return true,
            (Some(part), Some(c)) if part.takes(c) => at += 1,
            _ => {
                let Some((after, from)) = &mut star else { return false };
                if from.next().is_none() {
                    return false;
                }
                (at, rest) = (*after, from.clone());
            }
        }
    }
}

/// Everything up to the end, or up to the `,` or `}` that ends a brace's alternative.
fn alternatives(
    chars: &mut std::str::Chars<'_>,
    depth: usize,
) -> Result<Vec<Vec<Part>>, GlobError> {
    let mut found: Vec<Vec<Part>> = vec![Vec::new()];
    loop {
        let before = chars.clone();
        let Some(c) = chars.next() else {
            return if depth == 0 { Ok(found) } else { Err(GlobError::Braces) };
        };
        let part = match c {
            '\\' => Part::Char(chars.next().ok_or(GlobError::Escape)?),
            '?' => Part::One,
            '*' => Part::Any,
            '[' => class(chars)?,
            '{' if depth >= 8 => return Err(GlobError::TooLarge),
            '{' => {
                found = product(&found, &braces(chars, depth + 1)?)?;
                continue;
            }
            ',' | '}' if depth > 0 => {
                *chars = before;
                return Ok(found);
            }
            c => Part::Char(c),
        };
        for parts in &mut found {
            // `**` is `*`.
            if part != Part::Any || parts.last() != Some(&Part::Any) {
                parts.push(part.clone());
            }
        }
    }
}

/// `a,b}` after the brace.
fn braces(chars: &mut std::str::Chars<'_>, depth: usize) -> Result<Vec<Vec<Part>>, GlobError> {
    let mut found = Vec::new();
    loop {
        found.extend(alternatives(chars, depth)?);
        match chars.next() {
            Some('}') => return Ok(found),
            Some(',') => {}
            _ => return Err(GlobError::Braces),
        }
    }
}

fn product(heads: &[Vec<Part>], tails: &[Vec<Part>]) -> Result<Vec<Vec<Part>>, GlobError> {
    if heads.len().saturating_mul(tails.len()) > MAX_ALTERNATIVES {
        return Err(GlobError::TooLarge);
    }
    let join = |head: &Vec<Part>, tail: &Vec<Part>| head.iter().chain(tail).cloned().collect();
    Ok(heads.iter().flat_map(|head| tails.iter().map(move |tail| join(head, tail))).collect())
}

/// `a-c]`, `!abc]` after the bracket.
fn class(chars: &mut std::str::Chars<'_>) -> Result<Part, GlobError> {
    let mut rest = chars.clone();
    let negated = matches!(rest.next(), Some('!' | '^'));
    if negated {
        *chars = rest;
    }
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next().ok_or(GlobError::Class)? {
            ']' if !ranges.is_empty() => return Ok(Part::Class { negated, ranges }),
            ']' => return Err(GlobError::Class),
            '\\' => chars.next().ok_or(GlobError::Class)?,
            c => c,
        };
        let mut ahead = chars.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                *chars = ahead;
                ranges.push((low, high));
            }
            _ => ranges.push((low, low)),
        }
    }
}

#[cfg(test)]
#[path = "glob/tests.rs"]
mod tests;
