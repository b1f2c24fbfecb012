//! YAML as a tree that remembers lines and the text of scalars.
//!
//! Kubernetes and envoyproxy/ratelimit read YAML 1.1: `yes` is a boolean where a value is
//! untyped, yet the text `yes` where a string is wanted. So scalars keep their text, and each
//! reader decides. This module knows no resource.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// Most nodes a text may have, aliases expanded: a bound against alias bombs.
const MAX_NODES: usize = 2_000_000;
/// Deepest nesting of a text.
const MAX_DEPTH: usize = 128;
const TOO_DEEP: &str = "nested deeper than 128 levels";

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line of its first character, from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of value.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A scalar's text after unescaping.
    Scalar {
        /// The text.
        text: String,
        /// Written without quotes and without a `!!str` tag, so that it may be more than a string.
        plain: bool,
    },
    /// Items in order.
    Sequence(Vec<Node>),
    /// Entries in order; a key may stand twice.
    Mapping(Vec<(Node, Node)>),
}

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What the parser met.
    pub message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Reads all documents of `text`; a document without content is left out.
///
/// # Errors
/// The first place where `text` is no YAML, is nested deeper than 128 levels, or (with aliases
/// expanded) has more than two million nodes.
pub fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| SyntaxError {
            line: e.marker().line(),
            column: e.marker().col() + 1,
            message: match e.info() {
                // The parser's own bound, met before ours in a line of brackets.
                "recursion limit exceeded" => TOO_DEEP.to_owned(),
                other => other.to_owned(),
            },
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// A collection that is still open.
struct Open {
    line: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>, Option<Node>),
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let string = tag.is_some_and(|t| t.is_yaml_core_schema() && t.suffix == "str");
                let plain = style == ScalarStyle::Plain && !string;
                let node = Node { line, kind: Kind::Scalar { text: text.into_owned(), plain } };
                self.add(node, anchor, 1, span)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.start(line, anchor, Items::Sequence(Vec::new()), span)?;
            }
            Event::MappingStart(anchor, _) => {
                self.start(line, anchor, Items::Mapping(Vec::new(), None), span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
            Event::Alias(anchor) => {
                let (node, size) = self.anchors.get(&anchor).ok_or_else(|| {
                    refuse(span, "an alias stands before (or inside) what it names")
                })?;
                // Before it is copied.
                bound(self.nodes + size, span)?;
                let (node, size) = (Node { line, kind: node.kind.clone() }, *size);
                self.add(node, 0, size, span)?;
            }
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        line: usize,
        anchor: usize,
        items: Items,
        span: Span,
    ) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(refuse(span, TOO_DEEP));
        }
        self.open.push(Open { line, anchor, items });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = match open.items {
            Items::Sequence(items) => Kind::Sequence(items),
            Items::Mapping(entries, _) => Kind::Mapping(entries),
        };
        let node = Node { line: open.line, kind };
        let size = if open.anchor > 0 { node.size() } else { 1 };
        self.add(node, open.anchor, size, span)
    }

    /// Puts a finished node where it belongs. `size` counts it for the bound: nodes inside a
    /// collection have been counted one by one, so more than 1 is for copies, of an alias and of
    /// what has an anchor.
    fn add(
        &mut self,
        node: Node,
        anchor: usize,
        size: usize,
        span: Span,
    ) -> Result<(), SyntaxError> {
        self.nodes += size;
        bound(self.nodes, span)?;
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut() {
            None => {
                let empty = matches!(&node.kind, Kind::Scalar { text, plain: true } if text.is_empty() || text == "~");
                if !empty {
                    self.documents.push(node);
                }
            }
            Some(Open { items: Items::Sequence(items), .. }) => items.push(node),
            Some(Open { items: Items::Mapping(entries, key), .. }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

fn bound(nodes: usize, span: Span) -> Result<(), SyntaxError> {
    if nodes <= MAX_NODES {
        return Ok(());
    }
    Err(refuse(span, "more than two million values (aliases counted expanded)"))
}

fn refuse(span: Span, message: &str) -> SyntaxError {
    SyntaxError {
        line: span.start.line(),
        column: span.start.col() + 1,
        message: message.to_owned(),
    }
}

impl Node {
    fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::Sequence(items) => items.iter().map(Self::size).sum(),
            Kind::Mapping(entries) => entries.iter().map(|(k, v)| k.size() + v.size()).sum(),
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value of `key` in a mapping; of keys that stand twice the last one.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Mapping(entries) => {
                entries.iter().rev().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
            }
            _ => None,
        }
    }

    /// The value as JSON: plain scalars by the YAML 1.1 rules of null, booleans and decimal
    /// numbers that Kubernetes uses; keys by their text; of equal keys the last.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar { text, plain: false } => Value::String(text.clone()),
            Kind::Scalar { text, plain: true } => resolve(text),
            Kind::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Kind::Mapping(entries) => {
                let mut map = Map::new();
                merge(entries, &mut map);
                for (key, value) in entries {
                    if !key.is_merge() {
                        map.insert(key.text().unwrap_or_default().to_owned(), value.to_json());
                    }
                }
                Value::Object(map)
            }
        }
    }

    fn is_merge(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if text == "<<")
    }

    /// The line of the field `path` (as in `spec.limits[0].rate`), or of the nearest enclosing
    /// value that is written down.
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        for step in steps(path) {
            let next = match (&node.kind, step) {
                (Kind::Sequence(items), Step::Index(i)) => items.get(i).map(|n| (n.line, n)),
                (Kind::Mapping(entries), Step::Key(key)) => entries
                    .iter()
                    .rev()
                    .find(|(k, _)| k.text() == Some(key))
                    .map(|(k, v)| (k.line, v)),
                _ => None,
            };
            let Some((at, found)) = next else { break };
            (line, node) = (at, found);
        }
        line
    }
}

/// YAML 1.1 merge keys: what they bring is overridden by the mapping's own keys.
fn merge(entries: &[(Node, Node)], map: &mut Map<String, Value>) {
    for (_, value) in entries.iter().filter(|(key, _)| key.is_merge()) {
        let sources = match &value.kind {
            Kind::Sequence(items) => items.iter().collect(),
            _ => vec![value],
        };
        for source in sources.into_iter().rev() {
            if let Value::Object(source) = source.to_json() {
                map.extend(source);
            }
        }
    }
}

fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        if let Ok(n) = text.parse::<i64>() {
            return Some(n.into());
        }
        if let Ok(n) = text.parse::<u64>() {
            return Some(n.into());
        }
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    let decimal = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if decimal { text.parse::<f64>().ok().and_then(Number::from_f64) } else { None }
}

/// Where the fields of a value stand, without what they say: 12 bytes for each.
#[derive(Clone, Debug)]
pub struct Lines(Arc<[Place]>);

/// A value, before those that are in it.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Hash of its step from the value that it is in.
    step: u32,
    line: u32,
    /// Place of the first value that is not in it.
    end: u32,
}

impl Lines {
    /// Those of a value.
    pub fn of(node: &Node) -> Self {
        let mut places = Vec::new();
        note(&mut places, 0, node.line, node);
        Self(places.into())
    }

    /// As [`Node::line_of`].
    pub fn line_of(&self, path: &str) -> usize {
        let mut at = 0;
        for step in steps(path) {
            let wanted = hash(&step);
            let found =
                self.inside(at).filter(|i| self.0.get(*i).is_some_and(|p| p.step == wanted));
            let Some(found) = found.last() else { break };
            at = found;
        }
        self.0.get(at).map_or(0, |place| place.line as usize)
    }

    /// The values that are in one, without those that are in them.
    fn inside(&self, at: usize) -> impl Iterator<Item = usize> {
        let end = |at: usize| self.0.get(at).map_or(0, |place| place.end as usize);
        let last = end(at);
        std::iter::successors(Some(at + 1), move |at| Some(end(*at)))
            .take_while(move |at| *at < last)
    }
}

fn note(places: &mut Vec<Place>, step: u32, line: usize, node: &Node) {
    let at = places.len();
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    places.push(Place { step, line, end: 0 });
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                note(places, hash(&Step::Index(index)), item.line, item);
            }
        }
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                let step = key.text().map_or(0, |text| hash(&Step::Key(text)));
                note(places, step, key.line, value);
            }
        }
    }
    let end = u32::try_from(places.len()).unwrap_or(u32::MAX);
    if let Some(place) = places.get_mut(at) {
        place.end = end;
    }
}

/// Two steps of one hash would only be told the line of the other.
fn hash(step: &Step<'_>) -> u32 {
    let mut hasher = DefaultHasher::new();
    step.hash(&mut hasher);
    hasher.finish() as u32
}

/// A step of a field path.
#[derive(Hash)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '[']).filter(|s| !s.is_empty()).map(|step| {
        step.strip_suffix(']')
            .and_then(|i| i.parse().ok())
            .map_or(Step::Key(step.trim_end_matches(']')), Step::Index)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_lines_and_texts() {
        let docs = parse("a: 1\nb:\n- x\n- y: 007\n---\n# none\n---\nc: yes\n").unwrap();
        assert_eq!(docs.len(), 2);
        assert_eq!(docs[0].line_of("b[1].y"), 4);
        assert_eq!(docs[0].line_of("b[9].y"), 2);
        let y = docs[0].get("b").map(|b| match &b.kind {
            Kind::Sequence(items) => items[1].get("y").and_then(Node::text).map(str::to_owned),
            _ => None,
        });
        assert_eq!(y, Some(Some("007".to_owned())));
        assert_eq!(docs[1].to_json(), json!({"c": true}));
    }

    #[test]
    fn lines_are_those_of_the_value() {
        let text = "a: 1\nb:\n- x\n- y: 007\n  z:\n  - - 1\n    - {k: v,\n       l: w}\na: 2\n? [k]\n: c\n";
        let node = parse(text).unwrap().remove(0);
        let lines = Lines::of(&node);
        let paths = [
            "",
            "a",
            "b",
            "b[0]",
            "b[1]",
            "b[1].y",
            "b[1].z[0][0]",
            "b[1].z[0][1].l",
            "b[1].z[0][1].m",
            "b[9].y",
            "b.y",
            "c",
            "a.b[3]",
        ];
        for path in paths {
            assert_eq!(lines.line_of(path), node.line_of(path), "{path}");
        }
        assert_eq!((lines.line_of("b[1].z[0][1].l"), lines.line_of("a")), (8, 9));
    }

    #[test]
    fn resolves_scalars_as_kubernetes_does() {
        let doc =
            "[1, -2, 1.5, '1', no, null, ~, 1e3, 0x10, 1.2.3, a, !!str 5, 18446744073709551615]";
        assert_eq!(
            parse(doc).unwrap()[0].to_json(),
            json!([1, -2, 1.5, "1", false, null, null, 1000.0, 16, "1.2.3", "a", "5", u64::MAX])
        );
    }

    #[test]
    fn anchors_and_merge_keys() {
        let doc = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x\n";
        assert_eq!(
            parse(doc).unwrap()[0].to_json(),
            json!({"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2}})
        );
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let p = i - 1;
            text += &format!(
                "a{i}: &a{i} [*a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}, *a{p}]\n"
            );
        }
        assert!(parse(&text).unwrap_err().message.contains("two million"));
    }

    #[test]
    fn deep_nesting_is_refused_in_the_same_words() {
        let blocks = (0..200).fold(String::new(), |text, i| text + &" ".repeat(i) + "a:\n");
        for text in ["[".repeat(1000), "{a: ".repeat(1000), blocks] {
            assert_eq!(parse(&text).unwrap_err().message, TOO_DEEP);
        }
    }

    #[test]
    fn says_where_it_is_broken() {
        assert_eq!(parse("a: 1\nb: [1\nc: 2\n").unwrap_err().line, 3);
    }
}
