//! Which rule a request meets, and what its chain consists of.

mod glob;
mod index;
mod paths;

use std::sync::Arc;

use gotemplate::Template;
use regex::Regex;

pub use glob::{Glob, GlobError};

use crate::arguments::Arguments;
use crate::filter::Filter;
use crate::flow::DefaultDecision;
use crate::request::{Changes, Request};
use index::Index;

/// What to do after a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The chain ends with the filter's result.
    Break,
    /// The next filter is asked.
    Continue,
}

/// A filter in a chain.
#[derive(Debug)]
pub struct Link {
    /// The filter.
    pub filter: Arc<Filter>,
    /// After a denial.
    pub on_deny: Then,
    /// After an allowance.
    pub on_allow: Then,
    /// Only for requests with this header.
    pub condition: Option<Condition>,
    /// What is asked besides.
    pub arguments: Arguments,
    /// Dynamic metadata for Envoy when it allows: key and template.
    pub metadata: Vec<(String, Template)>,
}

/// What a rule asks of a request.
#[derive(Debug)]
pub enum Chain {
    /// These filters, in order.
    Links(Vec<Link>),
    /// The rule is broken, so its requests are answered 500; the words are for people.
    Broken(String),
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands, for people: `NAME.NAMESPACE[INDEX]`.
    pub name: String,
    /// On the authority.
    pub host: Glob,
    /// On the path.
    pub path: Glob,
    /// What it asks.
    pub chain: Chain,
    /// It only tries: whatever it says, requests pass unchanged.
    pub shadow: bool,
    /// Requests pass unchanged when a filter cannot decide.
    pub failure_mode_allow: bool,
}

impl Rule {
    /// The policy it is of: `NAME.NAMESPACE`.
    pub fn policy(&self) -> &str {
        self.name.split('[').next().unwrap_or_default()
    }

    /// Whether it lets everything pass; one in shadow does, whatever its filters say.
    fn is_open(&self) -> bool {
        self.shadow || matches!(&self.chain, Chain::Links(links) if links.is_empty())
    }
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The rule at this place.
    Rule(usize),
    /// No rule.
    None,
    /// Its path can be read in several ways, and different rules guard them.
    Ambiguous,
    /// Its path is longer than 64 KiB.
    TooLong,
}

/// All rules in the order in which they are looked at, found by host and path.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
    index: Index,
}

impl Rules {
    /// Takes rules in order.
    pub fn new(rules: Vec<Arc<Rule>>) -> Self {
        Self { index: Index::new(rules.iter().map(|rule| (&rule.host, &rule.path))), rules }
    }

    /// The rule at a place.
    pub fn get(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index).map(|rule| &**rule)
    }

    /// The first rule that a request meets. No other reading of its path gets past a rule that
    /// guards it; `default` says whether a request that meets no rule is guarded.
    pub fn find_index(&self, request: &Request, default: DefaultDecision) -> Found {
        let (hosts, path) = (hosts(request.authority()), request.path());
        if self.rules.is_empty() {
            return Found::None;
        }
        if path.len() > MAX_PATH {
            return Found::TooLong;
        }
        let mut choice = Choice::new(self.first(&hosts, path), |place| self.guard(place, default));
        if paths::is_plain(path) {
            return choice.literal();
        }
        let well_formed = paths::readings(path, |reading| choice.see(self.first(&hosts, reading)));
        choice.conclude(well_formed)
    }

    fn first(&self, hosts: &[Option<&str>], path: &str) -> Option<usize> {
        let hosts = hosts.iter().flatten().copied();
        self.index.first(hosts, path, |i| self.rules.get(i).is_some_and(|r| r.path.matches(path)))
    }

    fn guard(&self, place: Option<usize>, default: DefaultDecision) -> Guard {
        match place.and_then(|i| self.get(i)) {
            None if default == DefaultDecision::Deny => Guard::Guarded,
            None => Guard::Open,
            Some(rule) if rule.shadow => Guard::Shadow,
            Some(rule) if rule.is_open() => Guard::Open,
            Some(_) => Guard::Guarded,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Longest path that is looked up, in bytes: a bound on the time that patterns take.
const MAX_PATH: usize = 64 << 10;

/// The authority as sent and without port, each also without the dot of a full name.
fn hosts(authority: &str) -> [Option<&str>; 4] {
    let bare = authority.rsplit_once(':').and_then(|(host, port)| {
        let is_port = port.bytes().all(|b| b.is_ascii_digit());
        (is_port && (host.ends_with(']') || !host.contains(':'))).then_some(host)
    });
    [Some(authority), without_dot(authority), bare, bare.and_then(without_dot)]
}

fn without_dot(host: &str) -> Option<&str> {
    host.ends_with('.').then(|| host.trim_end_matches('.'))
}

/// How strict what a reading meets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Guard {
    /// Everything passes.
    Open,
    /// Everything passes, and the rule wants to know of it.
    Shadow,
    /// Filters, or a denial.
    Guarded,
}

/// Chooses among what several readings of a path meet.
struct Choice<F> {
    guard: F,
    literal: Option<usize>,
    best: Option<usize>,
    strictness: Guard,
    differs: bool,
    conflict: bool,
}

impl<F: Fn(Option<usize>) -> Guard> Choice<F> {
    fn new(literal: Option<usize>, guard: F) -> Self {
        let strictness = guard(literal);
        Self { guard, literal, best: literal, strictness, differs: false, conflict: false }
    }

    fn see(&mut self, place: Option<usize>) {
        if place == self.best {
            self.differs |= place != self.literal;
            return;
        }
        self.differs = true;
        let strictness = (self.guard)(place);
        if strictness == Guard::Guarded && self.strictness == Guard::Guarded {
            self.conflict = true;
        }
        if strictness > self.strictness {
            (self.best, self.strictness) = (place, strictness);
        }
    }

    fn literal(&self) -> Found {
        self.literal.map_or(Found::None, Found::Rule)
    }

    fn conclude(self, well_formed: bool) -> Found {
        if self.conflict || (self.differs && !well_formed) {
            return Found::Ambiguous;
        }
        self.best.map_or(Found::None, Found::Rule)
    }
}

/// `ifRequestHeader`.
#[derive(Debug)]
pub struct Condition {
    /// Lower-case name.
    pub name: String,
    /// What its value is held against.
    pub test: Test,
    /// Inverts the result.
    pub negate: bool,
}

/// Tests of a header's value.
#[derive(Debug)]
pub enum Test {
    /// There and not empty.
    Present,
    /// Equal; an absent header equals the empty string.
    Equals(String),
    /// Contains a match; an absent header is the empty string.
    Matches(Regex),
}

impl Condition {
    /// Whether it holds for the request as changed so far.
    pub fn holds(&self, request: &Request, changes: &Changes) -> bool {
        let value = changes.header(request, &self.name).unwrap_or_default();
        let result = match &self.test {
            Test::Present => !value.is_empty(),
            Test::Equals(wanted) => value == wanted,
            Test::Matches(regex) => regex.is_match(value),
        };
        result != self.negate
    }
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
