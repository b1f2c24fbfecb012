//! Headers that tell clients of the tightest limit.

use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;

use super::{Decided, Options, StandardHeaders, header, seconds_up};
use crate::limit::Limit;

pub(super) fn add(response: &mut RateLimitResponse, decided: &[Decided<'_>], options: &Options) {
    let standard = options.standard_headers;
    if options.limit_headers.is_none() && standard == StandardHeaders::Off {
        return;
    }
    let Some((tightest, own)) = tightest(decided, options) else { return };
    let headers = &mut response.response_headers_to_add;
    let [requests, remaining] = [own.quota.requests, tightest.remaining].map(|n| n.to_string());
    let reset = seconds_up(tightest.reset);
    if let Some([limit_name, remaining_name, reset_name]) = &options.limit_headers {
        headers.push(header(limit_name, requests.clone()));
        headers.push(header(remaining_name, remaining.clone()));
        headers.push(header(reset_name, reset.to_string()));
    }
    match standard {
        StandardHeaders::Off => {}
        StandardHeaders::Draft03 => {
            let quotas: String = limits(decided).map(|l| format!(", {}", draft03(l))).collect();
            headers.push(header("x-ratelimit-limit", format!("{requests}{quotas}")));
            headers.push(header("x-ratelimit-remaining", remaining));
            headers.push(header("x-ratelimit-reset", reset.to_string()));
        }
        StandardHeaders::Ietf => {
            let policies: Vec<String> =
                limits(decided).enumerate().map(|(i, l)| ietf_policy(i, l)).collect();
            let at = limits(decided).position(|l| std::ptr::eq(l, own)).unwrap_or_default();
            headers.push(header("ratelimit-policy", policies.join(", ")));
            let shown = format!("{};r={remaining};t={reset}", ietf_name(at, own));
            headers.push(header("ratelimit", shown));
        }
    }
}

fn limits<'a, 'p>(decided: &'a [Decided<'p>]) -> impl Iterator<Item = &'p Limit> + use<'a, 'p> {
    decided.iter().filter_map(Decided::limit)
}

/// As Envoy writes it.
fn draft03(limit: &Limit) -> String {
    let name = plain(&limit.name);
    let name = if name.is_empty() { String::new() } else { format!(";name=\"{name}\"") };
    format!("{};w={}{name}", limit.quota.requests, limit.quota.seconds())
}

/// A policy's name is a structured field's string; one that has none is named by its place.
fn ietf_name(at: usize, limit: &Limit) -> String {
    match plain(&limit.name) {
        name if name.is_empty() => format!("\"limit-{}\"", at + 1),
        name => format!("\"{name}\""),
    }
}

fn ietf_policy(at: usize, limit: &Limit) -> String {
    format!("{};q={};w={}", ietf_name(at, limit), limit.quota.requests, limit.quota.seconds())
}

/// What may stand between quotes in a header: printable ASCII without quote and backslash.
fn plain(name: &str) -> String {
    name.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
}

/// The limit with the least remaining, the first of equals; but the last that refuses the request
/// goes before all.
fn tightest<'a, 'p>(
    decided: &'a [Decided<'p>],
    options: &Options,
) -> Option<(&'a Decided<'p>, &'p Limit)> {
    let limited = || decided.iter().filter_map(|d| d.limit().map(|limit| (d, limit)));
    limited()
        .rfind(|(d, _)| d.code == Code::OverLimit && !d.is_quota(options))
        .or_else(|| limited().min_by_key(|(d, _)| d.remaining))
}
