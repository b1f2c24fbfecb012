//! Which limits a request meets, and which counters they have.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use smallvec::SmallVec;

use crate::algorithm::Algorithm;
use crate::algorithm::fixed_window::{is_over, window_start};
use crate::algorithm::sliding_window::{Hits, Sliding};
use crate::algorithm::token_bucket::Bucket;
use crate::key::KeyBuffer;
use crate::limit::{Limit, Unit};
use crate::quota::{OnStoreError, Quota};
use crate::ratelimit_file::{Domains, Node, TreeLimit};
use crate::request::{Descriptor, Entry, MAX_DESCRIPTORS, Override, Request};
use crate::resource::{self, MatchRule, ResourceLimit, Resources};

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
    /// Which counters of a request are charged when one of them is over.
    pub charge: Charge,
    /// What happens while the store fails, for limits that do not say.
    pub on_store_error: OnStoreError,
}

/// Which counters of a request are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charge {
    /// Each one, whatever becomes of the others.
    #[default]
    Each,
    /// When some would be over, only those: `STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT`.
    OnlyOver,
    /// All of them, or, when one is over, none.
    AllOrNone,
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
    /// What happens while the store fails.
    pub on_store_error: OnStoreError,
    /// Hits that may be taken ahead; see [`Quota::lease`].
    pub lease: u32,
    /// The name for metrics when it depends on the request (`value_to_metric`,
    /// `detailed_metric`).
    pub metric: Option<Box<str>>,
}

impl Counter {
    /// Whether a count of it is over the limit. Giving hits back never is.
    pub fn is_over(&self, count: Count) -> bool {
        let over = match (self.kind, count) {
            (CounterKind::Window { limit, .. }, Count::Window { after }) => is_over(after, limit),
            (CounterKind::Sliding(_), Count::Sliding { allowed, .. })
            | (CounterKind::Bucket { .. }, Count::Bucket { allowed, .. })
            | (_, Count::Uncounted { allowed }) => !allowed,
            // It was over before; or the store answers with what was not asked, which is a fault, and
            // the limit counts as over.
            _ => return true,
        };
        over && !self.refund
    }
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
    /// Hits in the window before now.
    Sliding(Sliding),
    /// Tokens.
    Bucket {
        /// Size and speed.
        bucket: Bucket,
        /// The window of the limit, in seconds.
        seconds: u64,
    },
}

impl CounterKind {
    /// The window of the limit, in seconds.
    pub fn seconds(&self) -> u64 {
        match self {
            Self::Window { seconds, .. } | Self::Bucket { seconds, .. } => *seconds,
            Self::Sliding(sliding) => sliding.seconds,
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
    /// Of a sliding window.
    Sliding {
        /// Whether the hits were counted.
        allowed: bool,
        /// What is kept.
        hits: Hits,
    },
    /// Of a bucket.
    Bucket {
        /// Whether the hits were taken.
        allowed: bool,
        /// Tokens left.
        tokens: f64,
    },
    /// The store did not count it; the limit says what then.
    Uncounted {
        /// Whether the hits pass.
        allowed: bool,
    },
}

/// The counts of a plan, in the order of its counters.
pub type Counts = SmallVec<[Count; 4]>;

/// What a request needs of the store.
#[derive(Debug)]
pub struct Plan<'l> {
    /// In the order of the request.
    pub descriptors: SmallVec<[Planned<'l>; 4]>,
    /// In the order of the request.
    pub counters: SmallVec<[Counter; 4]>,
    /// See [`PlanOptions::charge`].
    pub charge: Charge,
    /// Whether there are limits of the domain.
    pub domain_is_known: bool,
    /// Whether `RateLimit` objects have limits of the domain, so that a refusal is of their dialect.
    pub has_objects: bool,
    keys: KeyBuffer,
}

impl Plan<'_> {
    /// The key of a counter; UTF-8.
    pub fn key(&self, counter: &Counter) -> &[u8] {
        self.keys.get(counter.key.clone()).unwrap_or_default()
    }
}

impl Limits {
    /// Whether no domain has limits.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.resources.is_empty()
    }

    /// The names of all domains that have limits; one may come twice.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.files.names().chain(self.resources.names())
    }

    /// Plans `request` at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// When the request itself is wrong.
    pub fn plan<'l>(
        &'l self,
        request: &Request<'_>,
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
            tree: self.files.get(request.domain),
            objects: self.resources.get(request.domain),
            match_rule: options.match_rule,
        };
        let mut plan = Plan {
            descriptors: SmallVec::new(),
            counters: SmallVec::new(),
            charge: options.charge,
            domain_is_known: domain.tree.is_some() || domain.objects.is_some(),
            has_objects: domain.objects.is_some(),
            keys: KeyBuffer::new(),
        };
        let mut found: SmallVec<[(Option<Found<'l>>, Range<usize>); 4]> = SmallVec::new();
        for descriptor in &request.descriptors {
            let start = plan.keys.len();
            plan.keys.push(&options.key_prefix).push(request.domain).push("_");
            let next = domain.find(descriptor, request.entries(descriptor), &mut plan.keys)?;
            match &next {
                Some(found) => push_suffix(&mut plan.keys, &found.matched.limit().quota, now),
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
                    let quota = &matched.limit().quota;
                    plan.counters.push(Counter {
                        key,
                        hits: hits(descriptor, request.hits_addend),
                        refund: descriptor.is_negative_hits,
                        kind: kind(quota),
                        on_store_error: quota.on_store_error.unwrap_or(options.on_store_error),
                        lease: quota.lease,
                        metric,
                    });
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
    /// The limit of a descriptor with `entries`; its counter's entries are added to `key`.
    fn find(
        &self,
        descriptor: &Descriptor,
        entries: &[Entry<'_>],
        key: &mut KeyBuffer,
    ) -> Result<Option<Found<'l>>, PlanError> {
        if self.tree.is_none() && self.objects.is_none() {
            return Ok(None);
        }
        if let Some(own) = &descriptor.limit {
            key.push_entries(entries);
            let matched = Matched::Override(limit_of_override(own)?);
            return Ok(Some(Found { matched, metric: None }));
        }
        if let Some(limit) = self.objects.and_then(|o| o.find(entries, self.match_rule)) {
            // Entries after the pattern's end do not split the counter.
            key.push_entries(entries.get(..limit.pattern.len()).unwrap_or(entries));
            return Ok(Some(Found { matched: Matched::Resource(limit), metric: None }));
        }
        let found = self.tree.and_then(|t| t.find(entries, key));
        Ok(found.map(|found| Found { matched: Matched::Tree(found.limit), metric: found.metric }))
    }
}

fn limit_of_override(own: &Override) -> Result<Limit, PlanError> {
    // Shared, so that a request allocates nothing.
    static NO_NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));
    let unit = Unit::from_number(own.unit).ok_or(PlanError::OverrideUnit)?;
    let multiplier = own.unit_multiplier.unwrap_or(1).max(1);
    Ok(Limit {
        id: usize::MAX,
        name: NO_NAME.clone(),
        quota: Quota { multiplier, ..Quota::plain(own.requests_per_unit, unit) },
        shadow: false,
        is_quota: false,
    })
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

/// What tells the counters of one descriptor apart: the window of the clock, or the algorithm and
/// its shape.
fn push_suffix(keys: &mut KeyBuffer, quota: &Quota, now: u64) {
    let seconds = quota.seconds();
    match quota.algorithm {
        Algorithm::FixedWindow => keys.push_number(window_start(now, seconds)),
        Algorithm::SlidingWindow => keys.push("sliding_").push_number(seconds),
        Algorithm::TokenBucket { burst_factor } => keys
            .push("bucket_")
            .push_number(u64::from(quota.requests))
            .push("_")
            .push_number(seconds)
            .push("_")
            .push_number(u64::from(burst_factor)),
    };
}

/// A descriptor's own hits, which may be 0, go before the request's, of which 0 means 1.
fn hits(descriptor: &Descriptor, request_hits: u32) -> u64 {
    let hits = descriptor.hits_addend.unwrap_or_else(|| u64::from(request_hits.max(1)));
    hits.min(MAX_HITS)
}

fn kind(quota: &Quota) -> CounterKind {
    let (limit, seconds) = (u64::from(quota.requests), quota.seconds());
    match quota.algorithm {
        Algorithm::FixedWindow => CounterKind::Window { limit, seconds },
        Algorithm::SlidingWindow => CounterKind::Sliding(Sliding { limit, seconds }),
        Algorithm::TokenBucket { burst_factor } => CounterKind::Bucket {
            bucket: Bucket::new(quota.requests, seconds, burst_factor),
            seconds,
        },
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
