//! Which rule a request meets, and what its chain consists of.

mod glob;

use std::collections::HashMap;
use std::sync::Arc;

use gotemplate::Template;
use regex::Regex;

pub use glob::{Glob, GlobError};

use crate::arguments::Arguments;
use crate::filter::Filter;
use crate::request::{Changes, Request};

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

    fn matches(&self, request: &Request) -> bool {
        let host = self.host.matches(request.authority())
            || request.host_without_port().is_some_and(|host| self.host.matches(host));
        host && self.path.matches(request.path())
    }
}

/// All rules in the order in which they are looked at, found by host.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Rules with a host that is no pattern, by that host.
    exact: HashMap<String, Vec<usize>>,
    /// All other rules.
    patterns: Vec<usize>,
}

impl Rules {
    /// Takes rules in order.
    pub fn new(rules: Vec<Rule>) -> Self {
        let (mut exact, mut patterns) = (HashMap::<String, Vec<usize>>::new(), Vec::new());
        for (i, rule) in rules.iter().enumerate() {
            match rule.host.literal() {
                Some(host) => exact.entry(host.to_owned()).or_default().push(i),
                None => patterns.push(i),
            }
        }
        Self { rules, exact, patterns }
    }

    /// The first rule that a request meets.
    pub fn find(&self, request: &Request) -> Option<&Rule> {
        self.get(self.find_index(request)?)
    }

    /// The rule at a place.
    pub fn get(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// The place of the first rule that a request meets.
    pub fn find_index(&self, request: &Request) -> Option<usize> {
        let of = |host: &str| self.exact.get(host).map_or(&[][..], Vec::as_slice);
        let bare = request.host_without_port().map_or(&[][..], of);
        let lists = [of(request.authority()), bare, &self.patterns];
        let first = |list: &[usize]| {
            list.iter().copied().find(|i| self.rules.get(*i).is_some_and(|r| r.matches(request)))
        };
        lists.into_iter().filter_map(first).min()
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
