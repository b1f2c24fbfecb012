//! Counts to a response.

mod encode;
mod headers;
mod metadata;
mod resource;

use std::time::Duration;

use proto::envoy::config::core::v3::HeaderValue;
use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use smallvec::SmallVec;

use crate::algorithm::fixed_window::seconds_to_reset;
use crate::limit::Limit;
use crate::plan::{Count, Counter, CounterKind, Matched, Plan, Planned};
use crate::request::Request;
use crate::resource::Action;

/// Settings of an installation that a response depends on.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `SHADOW_MODE`: no request is over.
    pub shadow_mode: bool,
    /// `QUOTA_MODE`: every descriptor is a quota.
    pub quota_mode: bool,
    /// `LIMIT_RESPONSE_HEADERS_ENABLED`: names of the headers for limit, remaining and reset.
    pub limit_headers: Option<[String; 3]>,
    /// `RESPONSE_DYNAMIC_METADATA`
    pub dynamic_metadata: bool,
    /// `RATELIMIT_HEADERS`
    pub standard_headers: StandardHeaders,
}

/// Headers of a standard that tell clients of the tightest limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StandardHeaders {
    /// None.
    #[default]
    Off,
    /// `X-RateLimit-…`, as Envoy would add them.
    Draft03,
    /// `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers.
    Ietf,
}

/// What came of a descriptor.
#[derive(Debug)]
pub(crate) struct Decided<'p> {
    pub planned: &'p Planned<'p>,
    /// Over the limit, whether or not that refuses the request.
    pub exceeded: bool,
    /// What Envoy is told.
    pub code: Code,
    pub remaining: u32,
    pub reset: Duration,
}

impl<'p> Decided<'p> {
    pub(crate) fn limit(&self) -> Option<&'p Limit> {
        match self.planned {
            Planned::Limited(matched, _) => Some(matched.limit()),
            _ => None,
        }
    }

    pub(crate) fn matched(&self) -> Option<&'p Matched<'p>> {
        match self.planned {
            Planned::Limited(matched, _) => Some(matched),
            _ => None,
        }
    }

    /// At least 1.
    pub(crate) fn retry_seconds(&self) -> i64 {
        seconds_up(self.reset).max(1)
    }

    fn is_quota(&self, options: &Options) -> bool {
        match self.planned {
            Planned::NoLimit => options.quota_mode,
            Planned::Unlimited => false,
            Planned::Limited(m, _) => m.limit().is_quota || options.quota_mode,
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Decision<'p> {
    /// Of the whole request.
    pub code: Code,
    decided: SmallVec<[Decided<'p>; 4]>,
    /// Headers, metadata and body; its code and statuses are empty.
    additions: RateLimitResponse,
    /// Templates that could not be executed; their headers are left out, their body is empty.
    pub failed_templates: u64,
    /// The request is over, and `SHADOW_MODE` lets it pass.
    pub shadowed: bool,
}

/// Decides by `counts`, one for each of the plan's counters; `now` is since the Unix epoch.
pub fn decide<'p>(
    request: &Request<'_>,
    plan: &'p Plan<'_>,
    counts: &[Count],
    options: &Options,
    now: Duration,
) -> Decision<'p> {
    let decided: SmallVec<[Decided<'_>; 4]> =
        plan.descriptors.iter().map(|planned| decide_one(planned, plan, counts, now)).collect();
    let is_over = is_request_over(&decided, options);
    let over = is_over && !options.shadow_mode;
    let code = if over { Code::OverLimit } else { Code::Ok };
    let mut additions = RateLimitResponse::default();
    headers::add(&mut additions, &decided, options);
    if over && plan.has_objects {
        add_retry_after(&mut additions, &decided);
    }
    let failed_templates = resource::add(&mut additions, &decided, code);
    if options.dynamic_metadata {
        metadata::add(&mut additions, request, &decided);
    }
    Decision { code, decided, additions, failed_templates, shadowed: is_over && !over }
}

/// Where `RateLimit` objects have limits of the domain, every refusal says when to come back.
fn add_retry_after(additions: &mut RateLimitResponse, decided: &[Decided<'_>]) {
    let refuses = |d: &&Decided<'_>| d.code == Code::OverLimit;
    if let Some(seconds) = decided.iter().filter(refuses).map(Decided::retry_seconds).max() {
        set(&mut additions.response_headers_to_add, "retry-after".to_owned(), seconds.to_string());
    }
}

fn decide_one<'p>(
    planned: &'p Planned<'p>,
    plan: &Plan<'_>,
    counts: &[Count],
    now: Duration,
) -> Decided<'p> {
    let ok = |remaining| Decided {
        planned,
        exceeded: false,
        code: Code::Ok,
        remaining,
        reset: Duration::ZERO,
    };
    match planned {
        Planned::NoLimit => ok(0),
        Planned::Unlimited => ok(u32::MAX),
        Planned::Limited(matched, index) => match (plan.counters.get(*index), counts.get(*index)) {
            (Some(counter), Some(count)) => {
                let exceeded = counter.is_over(*count);
                let (remaining, reset) = judge(counter, *count, now);
                let log_only =
                    matches!(matched, Matched::Resource(r) if r.action == Action::LogOnly);
                let passes = matched.limit().shadow || log_only;
                let code = if exceeded && !passes { Code::OverLimit } else { Code::Ok };
                Decided { planned, exceeded, code, remaining, reset }
            }
            // A store that answers too little is a fault; the limit counts as over.
            _ => Decided { exceeded: true, code: Code::OverLimit, ..ok(0) },
        },
    }
}

/// What remains of the counter, and the time to more.
fn judge(counter: &Counter, count: Count, now: Duration) -> (u32, Duration) {
    let seconds = now.as_secs();
    let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let to_end = |window| Duration::from_secs(seconds_to_reset(seconds, window));
    let fit = |number| u32::try_from(number).unwrap_or(u32::MAX);
    match (counter.kind, count) {
        (CounterKind::Window { limit, seconds }, Count::Window { after }) => {
            (fit(limit.saturating_sub(after)), to_end(seconds))
        }
        (CounterKind::Sliding(sliding), Count::Sliding { allowed, hits }) => {
            let next = || sliding.to_next(hits, micros);
            let reset = if allowed { to_end(sliding.seconds) } else { next() };
            (fit(sliding.remaining(hits, micros)), reset)
        }
        (CounterKind::Bucket { bucket, .. }, Count::Bucket { tokens, .. }) => {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
            let remaining = tokens.floor().max(0.0) as u32;
            (remaining, bucket.to_next(tokens))
        }
        (CounterKind::Window { limit, seconds }, Count::Uncounted { allowed: true }) => {
            (fit(limit), to_end(seconds))
        }
        (CounterKind::Sliding(sliding), Count::Uncounted { allowed: true }) => {
            (fit(sliding.limit), to_end(sliding.seconds))
        }
        (kind, Count::Over | Count::Uncounted { .. }) => (0, to_end(kind.seconds())),
        // See `Counter::is_over`.
        _ => (0, Duration::ZERO),
    }
}

/// A plain limit that is over decides alone; quotas only together.
fn is_request_over(decided: &[Decided<'_>], options: &Options) -> bool {
    let over = |d: &Decided<'_>| d.code == Code::OverLimit;
    let plain = decided.iter().any(|d| !d.is_quota(options) && over(d));
    let mut quotas = decided.iter().filter(|d| d.is_quota(options)).peekable();
    plain || (quotas.peek().is_some() && quotas.all(over))
}

/// Whole seconds, rounded up: nobody may come back too early.
fn seconds_up(duration: Duration) -> i64 {
    let up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i64::try_from(up).unwrap_or(i64::MAX)
}

fn header(key: impl Into<String>, value: impl Into<String>) -> HeaderValue {
    HeaderValue { key: key.into(), value: value.into(), ..HeaderValue::default() }
}

/// Sets a header; of equal names the later value counts.
fn set(headers: &mut Vec<HeaderValue>, name: String, value: String) {
    match headers.iter_mut().find(|h| h.key.eq_ignore_ascii_case(&name)) {
        Some(known) => known.value = value,
        None => headers.push(header(name, value)),
    }
}

#[cfg(test)]
#[path = "decide/tests.rs"]
mod tests;
