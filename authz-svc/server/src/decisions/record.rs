//! What people may see of a request and its decision.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authz_core::policy::Chain;
use authz_core::{Flow, JudgementResult, Outcome, Request};
use serde::Serialize;

use super::Ending;

/// Longest text that is kept of a request, in bytes; more is cut.
const MAX_TEXT: usize = 512;
/// Most header names that are kept.
const MAX_HEADERS: usize = 64;
/// Headers whose values say nothing secret; of all others only the names are kept.
const PLAIN: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "content-length",
    "content-type",
    "sec-fetch-mode",
    "sec-fetch-site",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-requested-with",
];

/// A request and what became of it. The query and the values of most headers are left out, for
/// they hold credentials.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    /// Milliseconds since the Unix epoch.
    pub time_ms: u128,
    /// Quoted to clients in errors.
    pub request_id: String,
    pub method: String,
    pub host: String,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub headers: Vec<HeaderShown>,
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `NAME.NAMESPACE[INDEX]`; none: the request meets no rule.
    pub rule: Option<String>,
    /// Why the rule cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    pub filters: Vec<FilterShown>,
    /// Who the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Names of headers that the backend gets set or removed.
    pub changed_headers: Vec<String>,
    pub took_us: u128,
}

/// A header's name, and its value when it says nothing secret.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HeaderShown {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A filter of the chain and what it said.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FilterShown {
    pub filter: String,
    pub kind: &'static str,
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record {
    pub(crate) fn of(flow: &Flow, outcome: &Outcome, ending: Ending, took: Duration) -> Self {
        let request = flow.request();
        let decided = flow.shadowed().unwrap_or(outcome);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let broken = flow.rule().and_then(|rule| match &rule.chain {
            Chain::Broken(why) => Some(why.clone()),
            Chain::Links(_) => None,
        });
        Self {
            time_ms: now.as_millis(),
            request_id: cut(request.id()),
            method: cut(request.method()),
            host: cut(request.authority()),
            path: cut(request.path()),
            client: request.source().address.map(|a| a.to_string()),
            headers: headers(request),
            result: ending.name(),
            status: match decided {
                Outcome::Allow(_) => None,
                Outcome::Deny(reply) | Outcome::Error(reply) => Some(reply.status),
            },
            rule: flow.rule().map(|rule| rule.name.clone()),
            broken,
            filters: filters(flow),
            identity: flow.identity().map(|i| cut(&i.subject)),
            changed_headers: changed(decided),
            took_us: took.as_micros(),
        }
    }
}

fn headers(request: &Request) -> Vec<HeaderShown> {
    let shown = |(name, value): (&str, &str)| HeaderShown {
        name: cut(name),
        value: PLAIN.contains(&name).then(|| cut(value)),
    };
    let real = request.headers().filter(|(name, _)| !name.starts_with(':'));
    real.take(MAX_HEADERS).map(shown).collect()
}

fn filters(flow: &Flow) -> Vec<FilterShown> {
    let shown = |judgement: &authz_core::Judgement| {
        let filter = flow.filter(judgement.index)?;
        let (result, status, reason) = match &judgement.result {
            JudgementResult::Skipped => ("skipped", None, None),
            JudgementResult::Allowed => ("allowed", None, None),
            JudgementResult::Denied(status, why) => ("denied", Some(*status), Some(cut(why))),
            JudgementResult::Failed(status, why) => ("failed", Some(*status), Some(cut(why))),
            JudgementResult::Broken => ("misconfigured", Some(500), None),
        };
        Some(FilterShown { filter: filter.name.clone(), kind: filter.kind, result, status, reason })
    };
    flow.judgements().iter().filter_map(shown).collect()
}

fn changed(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Allow(mutations) => {
            mutations.set.iter().map(|(name, _)| name).chain(&mutations.remove).cloned().collect()
        }
        Outcome::Deny(_) | Outcome::Error(_) => Vec::new(),
    }
}

/// The beginning of a text, without control characters.
fn cut(text: &str) -> String {
    let mut cut: String = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    cut.truncate(cut.floor_char_boundary(MAX_TEXT));
    cut
}
