//! Which limit a descriptor meets: at most one.

use std::cmp::Ordering;
use std::sync::Arc;

use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;

use super::{Domain, ResourceLimit};

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
    pub fn find(&self, entries: &[Entry], rule: MatchRule) -> Option<&Arc<ResourceLimit>> {
        let first = entries.first()?;
        let candidates = self.by_key.get(&first.key)?;
        let exact = candidates.exact.get(&first.value).into_iter().flatten();
        exact
            .chain(&candidates.any)
            .filter(|limit| matches(limit, entries, rule))
            .min_by(|a, b| order(a, b, entries))
    }
}

fn matches(limit: &ResourceLimit, entries: &[Entry], rule: MatchRule) -> bool {
    let long_enough = match rule {
        MatchRule::Prefix => limit.pattern.len() <= entries.len(),
        MatchRule::Exact => limit.pattern.len() == entries.len(),
    };
    let fits = |(pairs, entry): (&Vec<super::Pair>, &Entry)| {
        pairs
            .iter()
            .any(|p| p.key == entry.key && p.value.as_ref().is_none_or(|v| *v == entry.value))
    };
    long_enough && limit.pattern.iter().zip(entries).all(fits)
}

/// Less is the one that counts.
fn order(a: &ResourceLimit, b: &ResourceLimit, entries: &[Entry]) -> Ordering {
    let wildcards = |limit: &ResourceLimit| -> Vec<bool> {
        let wildcard = |(pairs, entry): (&Vec<super::Pair>, &Entry)| {
            pairs.iter().any(|p| p.key == entry.key && p.value.is_none())
        };
        limit.pattern.iter().zip(entries).map(wildcard).collect()
    };
    // Rates are compared by their share of a second, without division.
    let pace = |this: &ResourceLimit, other: &ResourceLimit| {
        u64::from(this.limit.requests) * other.limit.unit.seconds()
    };
    b.pattern
        .len()
        .cmp(&a.pattern.len())
        .then_with(|| wildcards(a).cmp(&wildcards(b)))
        .then_with(|| pace(a, b).cmp(&pace(b, a)))
        .then_with(|| a.action.cmp(&b.action))
        .then_with(|| a.place.cmp(&b.place))
}
