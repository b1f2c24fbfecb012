//! What `RateLimit` objects add to a response: Retry-After, their headers and bodies, metadata.

use std::cmp::Reverse;
use std::time::Duration;

use gotemplate::Value;
use proto::envoy::service::ratelimit::v3::RateLimitResponse;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use smallvec::SmallVec;

use super::metadata::{number, text};
use super::{Decided, set};
use crate::plan::Matched;
use crate::resource::{Action, ResourceLimit};

/// Gives how many templates failed.
pub(super) fn add(response: &mut RateLimitResponse, decided: &[Decided<'_>], code: Code) -> u64 {
    let selected: SmallVec<[(&Decided<'_>, &ResourceLimit); 4]> = decided
        .iter()
        .filter_map(|d| match d.matched()? {
            Matched::Resource(limit) => Some((d, *limit)),
            _ => None,
        })
        .collect();
    if selected.is_empty() {
        return 0;
    }
    let reported = reported(&selected);
    if let Some((d, limit)) = reported {
        report(response, d, limit);
    }
    if selected.iter().all(|(_, limit)| limit.templates.is_empty()) {
        return 0;
    }
    let refusing = decided.iter().filter(|d| d.code == Code::OverLimit);
    let retry_after = refusing.map(Decided::retry_seconds).max().unwrap_or(0);
    let refused_by = reported.filter(|_| code == Code::OverLimit);
    let answer = RateLimitResponse {
        overall_code: code.into(),
        statuses: decided.iter().map(Decided::status).collect(),
        ..RateLimitResponse::default()
    };
    render(response, &answer, &selected, refused_by, retry_after)
}

/// The exceeded limit that is told of: an enforced one before every other, then the one that takes
/// longest.
fn reported<'a>(
    selected: &[(&'a Decided<'a>, &'a ResourceLimit)],
) -> Option<(&'a Decided<'a>, &'a ResourceLimit)> {
    selected
        .iter()
        .filter(|(d, _)| d.exceeded)
        .min_by_key(|(d, limit)| (limit.action, Reverse(d.retry_seconds())))
        .copied()
}

fn report(response: &mut RateLimitResponse, decided: &Decided<'_>, limit: &ResourceLimit) {
    let metadata = &mut response.dynamic_metadata.get_or_insert_default().fields;
    #[allow(clippy::cast_precision_loss)] // seconds of a year are far below 2^53
    let seconds = decided.retry_seconds() as f64;
    metadata.insert("aes.ratelimit.name".to_owned(), text(&limit.limit.name));
    metadata.insert("aes.ratelimit.action".to_owned(), text(limit.action.name()));
    metadata.insert("aes.ratelimit.retry_after".to_owned(), number(seconds));
}

fn render(
    response: &mut RateLimitResponse,
    answer: &RateLimitResponse,
    selected: &[(&Decided<'_>, &ResourceLimit)],
    refused_by: Option<(&Decided<'_>, &ResourceLimit)>,
    retry_after: i64,
) -> u64 {
    let mut failed = 0;
    let mut fields = vec![
        ("RateLimitResponse", response_value(answer)),
        ("RetryAfter", Value::Duration(retry_after.saturating_mul(1_000_000_000))),
    ];
    let data = Value::map(fields.iter().cloned());
    for (_, limit) in selected {
        for (name, value) in limit.templates.request_headers.render(&data, &mut failed) {
            set(&mut response.request_headers_to_add, name, value);
        }
        for (name, value) in limit.templates.response_headers.render(&data, &mut failed) {
            set(&mut response.response_headers_to_add, name, value);
        }
    }
    if let Some((_, limit)) = refused_by.filter(|(_, l)| l.action == Action::Enforce) {
        fields.push(("httpStatus", Value::Int(429)));
        fields.push(("request_id", Value::from("")));
        let shown =
            [("status_code", Value::Int(429)), ("message", Value::from("too many requests"))];
        let data = Value::map_with_hidden(shown, fields);
        for (name, value) in limit.templates.error_headers.render(&data, &mut failed) {
            set(&mut response.response_headers_to_add, name, value);
        }
        if let Some(body) = &limit.templates.error_body {
            response.raw_body = body
                .execute(&data)
                .map_or_else(
                    |_| {
                        failed += 1;
                        String::new()
                    },
                    |output| output.text,
                )
                .into();
        }
    }
    failed
}

/// `.RateLimitResponse` of a template.
fn response_value(response: &RateLimitResponse) -> Value {
    let statuses = response.statuses.iter().map(|status| {
        let limit = status.current_limit.as_ref().map_or(Value::Nil, |limit| {
            Value::structure([
                ("Name", Value::from(limit.name.as_str())),
                ("RequestsPerUnit", Value::Uint(u64::from(limit.requests_per_unit))),
                ("Unit", Value::Int(i64::from(limit.unit))),
            ])
        });
        let reset = status.duration_until_reset.as_ref().map_or(Duration::ZERO, |d| {
            Duration::from_secs(u64::try_from(d.seconds).unwrap_or_default())
        });
        Value::structure([
            ("Code", Value::Int(i64::from(status.code))),
            ("CurrentLimit", limit),
            ("LimitRemaining", Value::Uint(u64::from(status.limit_remaining))),
            (
                "DurationUntilReset",
                Value::Duration(i64::try_from(reset.as_nanos()).unwrap_or(i64::MAX)),
            ),
        ])
    });
    Value::structure([
        ("OverallCode", Value::Int(i64::from(response.overall_code))),
        ("Statuses", Value::list(statuses.collect::<Vec<_>>())),
    ])
}
