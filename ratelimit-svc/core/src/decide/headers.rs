//! Headers that tell clients of the tightest limit.

use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;

use super::{Decided, Options, header, seconds_up};

pub(super) fn add(response: &mut RateLimitResponse, decided: &[Decided<'_>], options: &Options) {
    let headers = &mut response.response_headers_to_add;
    if let Some([limit, remaining, reset]) = &options.limit_headers
        && let Some((tightest, own)) = tightest(decided, options)
    {
        headers.push(header(limit, own.requests.to_string()));
        headers.push(header(remaining, tightest.remaining.to_string()));
        headers.push(header(reset, seconds_up(tightest.reset).to_string()));
    }
    if options.draft03_headers
        && let Some((tightest, own)) = tightest(decided, options)
    {
        let quotas: String = decided
            .iter()
            .filter_map(Decided::limit)
            .map(|l| {
                let name = l.name.replace(['"', '\\'], "");
                let name =
                    if name.is_empty() { String::new() } else { format!(";name=\"{name}\"") };
                format!(", {};w={}{name}", l.requests, l.unit.seconds())
            })
            .collect();
        headers.push(header("x-ratelimit-limit", format!("{}{quotas}", own.requests)));
        headers.push(header("x-ratelimit-remaining", tightest.remaining.to_string()));
        headers.push(header("x-ratelimit-reset", seconds_up(tightest.reset).to_string()));
    }
}

/// The limit with the least remaining, the first of equals; but the last that refuses the request
/// goes before all.
fn tightest<'a, 'p>(
    decided: &'a [Decided<'p>],
    options: &Options,
) -> Option<(&'a Decided<'p>, &'p crate::limit::Limit)> {
    let limited = || decided.iter().filter_map(|d| d.limit().map(|limit| (d, limit)));
    limited()
        .rfind(|(d, _)| d.code == Code::OverLimit && !d.is_quota(options))
        .or_else(|| limited().min_by_key(|(d, _)| d.remaining))
}
