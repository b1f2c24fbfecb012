//! Which limits a request meets, and which counters they have.

use std::ops::Range;
use std::sync::Arc;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use smallvec::SmallVec;

use crate::algorithm::fixed_window::window_start;
use crate::algorithm::token_bucket::Bucket;
use crate::limit::{Limit, Unit};
use crate::ratelimit_file::{Domains, Node, TreeLimit};
use crate::resource::{self, MatchRule, ResourceLimit, Resources};

/// Most descriptors of a request.
const MAX_DESCRIPTORS: usize = 256;
/// Longest counter key, in bytes.
const MAX_KEY: usize = 8 << 10;
/// Most hits of a descriptor: above the highest limit, so that the answer does not change, and far
/// below what a counter holds, so that it cannot overflow.
const MAX_HITS: u64 = 1 << 33;

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
    /// The name for metrics when it depends on the request (`value_to_metric`,
    /// `detailed_metric`).
    pub metric: Option<Box<str>>,
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
    Bucket {
        /// Size and speed.
        bucket: Bucket,
        /// The unit of the limit, in seconds.
        unit_seconds: u64,
    },
}

impl CounterKind {
    /// The unit of the limit, in seconds.
    pub fn unit_seconds(&self) -> u64 {
        match self {
            Self::Window { seconds, .. } => *seconds,
            Self::Bucket { unit_seconds, .. } => *unit_seconds,
        }
    }
}

/// What a store says of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Count {
    /// It was over before, and nothing changes that in its window: nothing was counted.
    Over,
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
    /// Whether there are limits of the domain.
    pub domain_is_known: bool,
    /// Whether `RateLimit` objects have limits of the domain, so that a refusal is of their dialect.
    pub has_objects: bool,
    keys: String,
}

impl Plan<'_> {
    /// The key of a counter.
    pub fn key(&self, counter: &Counter) -> &str {
        self.keys.get(counter.key.clone()).unwrap_or_default()
    }
}

impl Limits {
    /// Whether no domain has limits.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.resources.is_empty()
    }

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
        let domain = Domain {
            tree: self.files.get(&request.domain),
            objects: self.resources.get(&request.domain),
            match_rule: options.match_rule,
        };
        let mut plan = Plan {
            descriptors: SmallVec::new(),
            counters: SmallVec::new(),
            stop_when_over: options.stop_when_over,
            domain_is_known: domain.tree.is_some() || domain.objects.is_some(),
            has_objects: domain.objects.is_some(),
            keys: String::new(),
        };
        let mut found: SmallVec<[(Option<Found<'l>>, Range<usize>); 4]> = SmallVec::new();
        for descriptor in &request.descriptors {
            let start = plan.keys.len();
            plan.keys.extend([options.key_prefix.as_str(), request.domain.as_str(), "_"]);
            let next = domain.find(descriptor, &mut plan.keys)?;
            match &next {
                Some(found) => push_suffix(&mut plan.keys, found.matched.limit(), now),
                None => plan.keys.truncate(start),
            }
            if plan.keys.len() - start > MAX_KEY {
                return Err(PlanError::KeyTooLong);
            }
            found.push((next, start..plan.keys.len()));
        }
        let replaced = replaced(found.iter().filter_map(|(f, _)| Some(&f.as_ref()?.matched)));
        for ((found, key), descriptor) in found.into_iter().zip(&request.descriptors) {
            let planned = match found {
                None => Planned::NoLimit,
                Some(Found { matched: Matched::Tree(tree), .. }) if tree.unlimited => {
                    Planned::Unlimited
                }
                Some(f) if replaced.iter().any(|name| ***name == *f.matched.limit().name) => {
                    Planned::NoLimit
                }
                Some(Found { matched, metric }) => {
                    let hits = hits(descriptor, request.hits_addend);
                    let refund = descriptor.is_negative_hits;
                    let kind = kind(matched.limit());
                    plan.counters.push(Counter { key, hits, refund, kind, metric });
                    Planned::Limited(matched, plan.counters.len() - 1)
                }
            };
            plan.descriptors.push(planned);
        }
        Ok(plan)
    }
}

/// What a descriptor meets, before it is known whether another limit takes its place.
struct Found<'l> {
    matched: Matched<'l>,
    /// See [`Counter::metric`].
    metric: Option<Box<str>>,
}

/// The limits of a request's domain.
struct Domain<'l> {
    tree: Option<&'l Node>,
    objects: Option<&'l resource::Domain>,
    match_rule: MatchRule,
}

impl<'l> Domain<'l> {
    /// The limit of a descriptor; its counter's entries are added to `key`.
    fn find(
        &self,
        descriptor: &RateLimitDescriptor,
        key: &mut String,
    ) -> Result<Option<Found<'l>>, PlanError> {
        let entries = &descriptor.entries;
        if self.tree.is_none() && self.objects.is_none() {
            return Ok(None);
        }
        if let Some(own) = &descriptor.limit {
            push_entries(key, entries);
            let matched = Matched::Override(limit_of_override(own)?);
            return Ok(Some(Found { matched, metric: None }));
        }
        if let Some(limit) = self.objects.and_then(|o| o.find(entries, self.match_rule)) {
            // Entries after the pattern's end do not split the counter.
            push_entries(key, entries.iter().take(limit.pattern.len()));
            return Ok(Some(Found { matched: Matched::Resource(limit), metric: None }));
        }
        let found = self.tree.and_then(|t| t.find(entries, key));
        Ok(found.map(|found| Found { matched: Matched::Tree(found.limit), metric: found.metric }))
    }
}

fn limit_of_override(own: &RateLimitOverride) -> Result<Limit, PlanError> {
    let unit = Unit::from_number(own.unit).ok_or(PlanError::OverrideUnit)?;
    Ok(Limit {
        id: usize::MAX,
        name: Arc::from(""),
        requests: own.requests_per_unit,
        unit,
        burst_factor: None,
        shadow: false,
        quota: false,
    })
}

fn push_entries<'a>(key: &mut String, entries: impl IntoIterator<Item = &'a Entry>) {
    for entry in entries {
        key.extend([entry.key.as_str(), "_", entry.value.as_str(), "_"]);
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

/// A descriptor's own hits, which may be 0, go before the request's, of which 0 means 1.
fn hits(descriptor: &RateLimitDescriptor, request_hits: u32) -> u64 {
    let hits = descriptor.hits_addend.unwrap_or_else(|| u64::from(request_hits.max(1)));
    hits.min(MAX_HITS)
}

fn kind(limit: &Limit) -> CounterKind {
    let seconds = limit.unit.seconds();
    match limit.burst_factor {
        None => CounterKind::Window { limit: u64::from(limit.requests), seconds },
        Some(factor) => CounterKind::Bucket {
            bucket: Bucket::new(limit.requests, seconds, factor),
            unit_seconds: seconds,
        },
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
