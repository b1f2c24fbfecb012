//! Which limits a request meets, and which counters they have.

use std::ops::Range;
use std::sync::Arc;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use smallvec::SmallVec;

use crate::algorithm::fixed_window::window_start;
use crate::algorithm::token_bucket::Bucket;
use crate::limit::{Limit, Unit};
use crate::ratelimit_file::{Domains, TreeLimit};
use crate::resource::{MatchRule, ResourceLimit, Resources};

/// Most descriptors of a request.
const MAX_DESCRIPTORS: usize = 256;
/// Longest counter key, in bytes.
const MAX_KEY: usize = 8 << 10;

/// The limits in force. A domain may have both dialects: of a descriptor the objects' limits are
/// looked at first, then the tree of the files.
#[derive(Debug, Default)]
pub struct Limits {
    /// envoyproxy/ratelimit's files.
    pub files: Arc<Domains>,
    /// `RateLimit` objects.
    pub resources: Resources,
}

/// Settings of an installation that a plan depends on.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// Before every counter key.
    pub key_prefix: String,
    /// How patterns of `RateLimit` objects match.
    pub match_rule: MatchRule,
    /// Every limit is a quota.
    pub quota_mode: bool,
    /// Do not charge the other counters of a request of which one is over.
    pub stop_when_over: bool,
}

/// Why a request has no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// No domain.
    EmptyDomain,
    /// No descriptors.
    NoDescriptors,
    /// More descriptors than a request may have.
    TooManyDescriptors,
    /// A counter key would be longer than one may be.
    KeyTooLong,
    /// A descriptor's own limit has no unit.
    OverrideUnit,
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EmptyDomain => "rate limit domain must not be empty",
            Self::NoDescriptors => "rate limit descriptor list must not be empty",
            Self::TooManyDescriptors => "a request has at most 256 descriptors",
            Self::KeyTooLong => "the entries of a descriptor are longer than 8 KiB",
            Self::OverrideUnit => "the limit of a descriptor has an unknown unit",
        })
    }
}

/// Which limit a descriptor meets.
#[derive(Debug)]
pub enum Matched<'l> {
    /// One of the files.
    Tree(&'l TreeLimit),
    /// One of an object.
    Resource(&'l ResourceLimit),
    /// The descriptor's own.
    Override(Limit),
}

impl Matched<'_> {
    /// The limit itself.
    pub fn limit(&self) -> &Limit {
        match self {
            Self::Tree(tree) => &tree.limit,
            Self::Resource(resource) => &resource.limit,
            Self::Override(limit) => limit,
        }
    }
}

/// What becomes of a descriptor.
#[derive(Debug)]
pub enum Planned<'l> {
    /// It meets no limit.
    NoLimit,
    /// It meets one that never ends.
    Unlimited,
    /// It meets this one, counted by the counter of that index.
    Limited(Matched<'l>, usize),
}

/// What to count.
#[derive(Clone, Debug)]
pub struct Counter {
    key: Range<usize>,
    /// Hits to add; 0 asks without counting.
    pub hits: u64,
    /// Take the hits off instead, down to 0.
    pub refund: bool,
    /// How.
    pub kind: CounterKind,
}

/// How a counter counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CounterKind {
    /// Hits in a window; the window is part of the key.
    Window {
        /// Over from here on.
        limit: u64,
        /// Length in seconds.
        seconds: u64,
    },
    /// Tokens.
    Bucket(Bucket),
}

/// What a store says of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// Hits in the window, these included.
    Window {
        /// The sum.
        after: u64,
    },
    /// Of a bucket.
    Bucket {
        /// Whether the hits were taken.
        allowed: bool,
        /// Tokens left.
        tokens: f64,
    },
}

/// What a request needs of the store.
#[derive(Debug)]
pub struct Plan<'l> {
    /// In the order of the request.
    pub descriptors: SmallVec<[Planned<'l>; 4]>,
    /// In the order of the request.
    pub counters: SmallVec<[Counter; 4]>,
    /// See [`PlanOptions::stop_when_over`].
    pub stop_when_over: bool,
    keys: String,
}

impl Plan<'_> {
    /// The key of a counter.
    pub fn key(&self, counter: &Counter) -> &str {
        self.keys.get(counter.key.clone()).unwrap_or_default()
    }
}

impl Limits {
    /// Plans `request` at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// When the request itself is wrong.
    pub fn plan<'l>(
        &'l self,
        request: &RateLimitRequest,
        options: &PlanOptions,
        now: u64,
    ) -> Result<Plan<'l>, PlanError> {
        if request.domain.is_empty() {
            return Err(PlanError::EmptyDomain);
        }
        match request.descriptors.len() {
            0 => return Err(PlanError::NoDescriptors),
            n if n > MAX_DESCRIPTORS => return Err(PlanError::TooManyDescriptors),
            _ => {}
        }
        let mut plan = Plan {
            descriptors: SmallVec::new(),
            counters: SmallVec::new(),
            stop_when_over: options.stop_when_over,
            keys: String::new(),
        };
        let mut matched: SmallVec<[(Option<Matched<'l>>, Range<usize>); 4]> = SmallVec::new();
        for descriptor in &request.descriptors {
            let start = plan.keys.len();
            plan.keys.extend([options.key_prefix.as_str(), request.domain.as_str(), "_"]);
            let found = self.find(&request.domain, descriptor, options, &mut plan.keys)?;
            match &found {
                Some(found) => push_suffix(&mut plan.keys, found.limit(), now),
                None => plan.keys.truncate(start),
            }
            if plan.keys.len() - start > MAX_KEY {
                return Err(PlanError::KeyTooLong);
            }
            matched.push((found, start..plan.keys.len()));
        }
        let replaced = replaced(matched.iter().filter_map(|(m, _)| m.as_ref()));
        for ((found, key), descriptor) in matched.into_iter().zip(&request.descriptors) {
            let planned = match found {
                None => Planned::NoLimit,
                Some(Matched::Tree(tree)) if tree.unlimited => Planned::Unlimited,
                Some(m) if replaced.iter().any(|name| ***name == *m.limit().name) => {
                    Planned::NoLimit
                }
                Some(m) => {
                    plan.counters.push(counter(m.limit(), key, descriptor, request.hits_addend));
                    Planned::Limited(m, plan.counters.len() - 1)
                }
            };
            plan.descriptors.push(planned);
        }
        Ok(plan)
    }

    /// The limit of a descriptor; its counter's entries are added to `key`.
    fn find<'l>(
        &'l self,
        domain: &str,
        descriptor: &RateLimitDescriptor,
        options: &PlanOptions,
        key: &mut String,
    ) -> Result<Option<Matched<'l>>, PlanError> {
        let entries = &descriptor.entries;
        let (tree, objects) = (self.files.get(domain), self.resources.get(domain));
        if tree.is_none() && objects.is_none() {
            return Ok(None);
        }
        if let Some(own) = &descriptor.limit {
            let unit = Unit::from_number(own.unit).ok_or(PlanError::OverrideUnit)?;
            push_entries(key, entries.iter().map(|e| (&e.key, &e.value)));
            return Ok(Some(Matched::Override(Limit {
                id: usize::MAX,
                name: Arc::from(""),
                requests: own.requests_per_unit,
                unit,
                burst_factor: None,
                shadow: false,
                quota: false,
            })));
        }
        if let Some(limit) = objects.and_then(|o| o.find(entries, options.match_rule)) {
            let counted = entries.iter().take(limit.pattern.len());
            push_entries(key, counted.map(|e| (&e.key, &e.value)));
            return Ok(Some(Matched::Resource(limit)));
        }
        Ok(tree.and_then(|t| t.find(entries, key)).map(|found| Matched::Tree(found.limit)))
    }
}

fn push_entries<'a>(key: &mut String, entries: impl Iterator<Item = (&'a String, &'a String)>) {
    for (name, value) in entries {
        key.extend([name.as_str(), "_", value.as_str(), "_"]);
    }
}

/// The names of limits that others of the same request take the place of.
fn replaced<'a, 'l: 'a>(
    matched: impl Iterator<Item = &'a Matched<'l>>,
) -> SmallVec<[&'l Arc<str>; 4]> {
    matched
        .flat_map(|m| match m {
            Matched::Tree(tree) => tree.replaces.as_slice(),
            _ => &[],
        })
        .collect()
}

/// What tells the counters of one descriptor apart: the window, or the bucket's shape.
fn push_suffix(keys: &mut String, limit: &Limit, now: u64) {
    use std::fmt::Write as _;
    let seconds = limit.unit.seconds();
    // Writing to a string cannot fail.
    let _ = match limit.burst_factor {
        None => write!(keys, "{}", window_start(now, seconds)),
        Some(factor) => write!(keys, "bucket_{}_{seconds}_{factor}", limit.requests),
    };
}

fn counter(
    limit: &Limit,
    key: Range<usize>,
    descriptor: &RateLimitDescriptor,
    request_hits: u32,
) -> Counter {
    let seconds = limit.unit.seconds();
    let kind = match limit.burst_factor {
        None => CounterKind::Window { limit: u64::from(limit.requests), seconds },
        Some(factor) => CounterKind::Bucket(Bucket::new(limit.requests, seconds, factor)),
    };
    let hits = descriptor.hits_addend.unwrap_or_else(|| u64::from(request_hits.max(1)));
    Counter { key, hits, refund: descriptor.is_negative_hits, kind }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
