//! Finds the first of many rules by host and path without looking at each.
//!
//! Hosts are found by name, or by the suffix of a pattern such as `*.example.org`; under each host
//! paths are found by the literal text that their patterns begin with. Only what a pattern asks
//! besides is left to the pattern itself.

use std::collections::{BTreeMap, HashMap};

use super::glob::{Glob, Shape};

/// The rules of all hosts.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the only host they are for.
    exact: HashMap<Box<str>, usize>,
    /// By the suffix of their hosts, which begins with a dot.
    suffixes: HashMap<Box<str>, usize>,
    longest_suffix: usize,
    /// For all hosts.
    any: Option<usize>,
    /// For hosts of other patterns.
    others: Vec<(Glob, usize)>,
    /// What the numbers above mean.
    hosts: Vec<Paths>,
}

/// Which list of rules a pattern of hosts adds to.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Exact(String),
    Suffix(String),
    Any,
    Other(usize),
}

impl Index {
    /// Takes the patterns of host and path of each rule, in order.
    pub(super) fn new<'a>(rules: impl Iterator<Item = (&'a Glob, &'a Glob)>) -> Self {
        let mut lists: BTreeMap<Key, Vec<(usize, &Glob)>> = BTreeMap::new();
        let mut others: HashMap<&Glob, usize> = HashMap::new();
        for (place, (host, path)) in rules.enumerate() {
            for shape in host.shapes() {
                let key = match shape {
                    Shape::Exact(host) => Key::Exact(host),
                    Shape::Prefix(head) if head.is_empty() => Key::Any,
                    Shape::Suffix(tail) if tail.starts_with('.') => Key::Suffix(tail),
                    _ => {
                        let next = others.len();
                        Key::Other(*others.entry(host).or_insert(next))
                    }
                };
                lists.entry(key).or_default().push((place, path));
            }
        }
        let mut patterns: Vec<(&Glob, usize)> = others.into_iter().collect();
        patterns.sort_by_key(|(_, n)| *n);
        let mut index = Self::default();
        for (key, rules) in lists {
            let host = index.hosts.len();
            index.hosts.push(Paths::new(&rules));
            match key {
                Key::Exact(name) => {
                    index.exact.insert(name.into(), host);
                }
                Key::Suffix(tail) => {
                    index.longest_suffix = index.longest_suffix.max(tail.len());
                    index.suffixes.insert(tail.into(), host);
                }
                Key::Any => index.any = Some(host),
                Key::Other(n) => {
                    if let Some((glob, _)) = patterns.get(n) {
                        index.others.push((Glob::clone(glob), host));
                    }
                }
            }
        }
        index
    }

    /// The first rule for one of `hosts` and `path`; `matches` says whether the path of the rule
    /// at a place does.
    pub(super) fn first<'a>(
        &self,
        hosts: impl Iterator<Item = &'a str>,
        path: &str,
        matches: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best = None;
        let mut look = |host: usize| {
            if let Some(paths) = self.hosts.get(host) {
                best = paths.first(path, best, &matches);
            }
        };
        for host in hosts {
            self.exact.get(host).copied().into_iter().for_each(&mut look);
            self.each_suffix(host, &mut look);
            self.others.iter().filter(|(g, _)| g.matches(host)).for_each(|(_, n)| look(*n));
        }
        self.any.into_iter().for_each(&mut look);
        best
    }

    fn each_suffix(&self, host: &str, mut look: impl FnMut(usize)) {
        for (at, _) in host.rmatch_indices('.') {
            let suffix = host.get(at..).unwrap_or_default();
            if suffix.len() > self.longest_suffix {
                return;
            }
            self.suffixes.get(suffix).copied().into_iter().for_each(&mut look);
        }
    }
}

/// The rules of one host: a node for each literal beginning of a pattern, in the order of text.
#[derive(Debug)]
struct Paths(Vec<Node>);

#[derive(Debug, Default)]
struct Node {
    head: Box<str>,
    /// The longest other head that this one begins with.
    parent: Option<usize>,
    /// The first rule for exactly this path.
    exact: Option<usize>,
    /// The first rule for all paths that begin so.
    prefix: Option<usize>,
    /// Rules that also ask something else.
    others: Vec<usize>,
}

impl Paths {
    /// Takes rules in order.
    fn new(rules: &[(usize, &Glob)]) -> Self {
        let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
        for (place, path) in rules {
            for shape in path.shapes() {
                match shape {
                    Shape::Exact(head) => {
                        nodes.entry(head).or_default().exact.get_or_insert(*place);
                    }
                    Shape::Prefix(head) => {
                        nodes.entry(head).or_default().prefix.get_or_insert(*place);
                    }
                    Shape::Suffix(_) => nodes.entry(String::new()).or_default().others.push(*place),
                    Shape::Other(head) => nodes.entry(head).or_default().others.push(*place),
                }
            }
        }
        let mut all: Vec<Node> = Vec::with_capacity(nodes.len());
        let mut open: Vec<usize> = Vec::new();
        for (i, (head, node)) in nodes.into_iter().enumerate() {
            while open.last().and_then(|p| all.get(*p)).is_some_and(|p| !head.starts_with(&*p.head))
            {
                open.pop();
            }
            let parent = open.last().copied();
            all.push(Node { head: head.into(), parent, ..node });
            open.push(i);
        }
        Self(all)
    }

    /// The first rule for `path`, or `best` when that comes first. All heads that `path` begins
    /// with are above the last head that is not after it.
    fn first(
        &self,
        path: &str,
        mut best: Option<usize>,
        matches: &impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut take = |place: usize| {
            if best.is_none_or(|b| place < b) {
                best = Some(place);
            }
        };
        let mut at = self.0.partition_point(|n| *n.head <= *path).checked_sub(1);
        let mut others: Option<usize> = None;
        while let Some(node) = at.and_then(|i| self.0.get(i)) {
            if path.starts_with(&*node.head) {
                if node.head.len() == path.len() {
                    node.exact.into_iter().for_each(&mut take);
                }
                node.prefix.into_iter().for_each(&mut take);
                let before = |place: &usize| others.is_none_or(|o| *place < o);
                let found = node.others.iter().copied().take_while(before).find(|i| matches(*i));
                others = found.or(others);
            }
            at = node.parent;
        }
        others.into_iter().for_each(&mut take);
        best
    }
}
