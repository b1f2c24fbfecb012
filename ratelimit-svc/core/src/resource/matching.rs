//! Which limit a descriptor meets: at most one.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Domain, ResourceLimit};
use crate::request::Entry;

/// How much of a descriptor a pattern must cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatchRule {
    /// Its first entries.
    #[default]
    Prefix,
    /// All of them.
    Exact,
}

impl Domain {
    /// The limit for a descriptor: of those that match, the one with the longest pattern, then
    /// with an exact value where the other has a wildcard, then the strictest, then an enforced
    /// one, then by place.
    pub fn find(&self, entries: &[Entry<'_>], rule: MatchRule) -> Option<&Arc<ResourceLimit>> {
        let first = entries.first()?;
        let candidates = self.by_key.get(first.key)?;
        let exact = candidates.exact.get(first.value).into_iter().flatten();
        exact
            .chain(&candidates.any)
            .filter(|limit| matches(limit, entries, rule))
            .min_by(|a, b| order(a, b, entries))
    }
}

fn matches(limit: &ResourceLimit, entries: &[Entry<'_>], rule: MatchRule) -> bool {
    let long_enough = match rule {
        MatchRule::Prefix => limit.pattern.len() <= entries.len(),
        MatchRule::Exact => limit.pattern.len() == entries.len(),
    };
    let fits = |(pairs, entry): (&Vec<super::Pair>, &Entry<'_>)| {
        pairs
            .iter()
            .any(|p| p.key == entry.key && p.value.as_ref().is_none_or(|v| *v == entry.value))
    };
    long_enough && limit.pattern.iter().zip(entries).all(fits)
}

/// Less is the one that counts.
fn order(a: &ResourceLimit, b: &ResourceLimit, entries: &[Entry<'_>]) -> Ordering {
    let wildcards = |limit: &'_ ResourceLimit, at: usize| -> bool {
        let (Some(pairs), Some(entry)) = (limit.pattern.get(at), entries.get(at)) else {
            return false;
        };
        pairs.iter().any(|p| p.key == entry.key && p.value.is_none())
    };
    let exact_first = || {
        (0..entries.len()).map(|i| wildcards(a, i)).cmp((0..entries.len()).map(|i| wildcards(b, i)))
    };
    // Rates are compared by their share of a second, without division.
    let pace = |this: &ResourceLimit, other: &ResourceLimit| {
        u128::from(this.limit.quota.requests) * u128::from(other.limit.quota.seconds())
    };
    b.pattern
        .len()
        .cmp(&a.pattern.len())
        .then_with(exact_first)
        .then_with(|| pace(a, b).cmp(&pace(b, a)))
        .then_with(|| a.action.cmp(&b.action))
        .then_with(|| a.place.cmp(&b.place))
}
