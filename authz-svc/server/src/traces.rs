//! What a trace tells of a check: names of the configuration and what they decided; of what a user
//! sent, nothing. Everything here is one branch while there are no traces.

use authz_core::need::Need;
use authz_core::{Flow, JudgementResult, Outcome};
use axum::http::HeaderMap;
use prometheus_client::registry::Registry;
use service_kit::server::otlp::{self, Array, Sending, Settings, Tracer, Value, text};

use crate::decisions::Ending;

/// Span of a check.
const CHECK: &str = "Authorization/Check";
/// Most filters in a span.
const MAX_FILTERS: usize = 16;

/// Begins spans, when there are traces.
#[derive(Debug)]
pub(crate) struct Traces(Option<Tracer>);

/// The span of a check, when it is recorded. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Span<'t>(Option<otlp::Span<'t>>);

impl Traces {
    /// Starts to send spans, when there are settings. Needs a tokio runtime.
    pub(crate) fn start(
        settings: Option<&Settings>,
        registry: &mut Registry,
    ) -> anyhow::Result<(Self, Option<Sending>)> {
        let Some(settings) = settings else { return Ok((Self(None), None)) };
        let (tracer, sending) =
            otlp::start(settings, "authz-svc", registry).map_err(anyhow::Error::msg)?;
        tracing::info!(
            "spans go to {} ({}), of {} of the traces that begin here",
            settings.shown(),
            settings.protocol,
            settings.sampling
        );
        Ok((Self(Some(tracer)), Some(sending)))
    }

    /// Begins the span of a check; `headers` are those that the check came with.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Span<'_> {
        Span(self.0.as_ref().and_then(|tracer| tracer.request(CHECK, headers)))
    }
}

impl Span<'_> {
    /// Begins the span of a need, as of a call to an identity provider.
    pub(crate) fn need(&self, need: &Need) -> Option<otlp::Span<'_>> {
        let (name, server) = match need {
            Need::Document(fetch) => ("Document", Some(origin(&fetch.url))),
            Need::Http(call) => ("HTTP call", Some(origin(&call.url))),
            Need::Grpc(call) => ("gRPC call", Some(call.origin.as_str())),
            Need::Store(_) => ("Session store", None),
            Need::Compute(_) => ("Computation", None),
            Need::Random | Need::Wait(_) => return None,
        };
        let span = self.0.as_ref()?.call(name)?;
        if let Some(server) = server {
            span.set("server.address", text(server));
        }
        Some(span)
    }

    /// Tells what was decided.
    pub(crate) fn decided(&self, flow: &Flow, outcome: &Outcome) {
        let Some(span) = &self.0 else { return };
        let ending = Ending::of(flow, outcome);
        span.set("authz.result", ending.name());
        if let Some(rule) = flow.rule() {
            span.set("authz.policy", text(rule.policy()));
            span.set("authz.rule", text(&rule.name));
        }
        let filters = flow.judgements().iter().take(MAX_FILTERS).map(|judgement| {
            let said = match &judgement.result {
                JudgementResult::Skipped => "skipped",
                JudgementResult::Allowed => "allowed",
                JudgementResult::Denied(..) => "denied",
                JudgementResult::Failed(..) => "failed",
                JudgementResult::Broken => "misconfigured",
            };
            let filter = flow.filter(judgement.index).map_or("", |f| f.name.as_str());
            text(&format!("{filter}: {said}"))
        });
        span.set("authz.filters", Value::Array(Array::String(filters.collect())));
        match flow.shadowed().unwrap_or(outcome) {
            Outcome::Allow(_) => {}
            Outcome::Deny(reply) => {
                span.set("http.response.status_code", i64::from(reply.status));
            }
            Outcome::Error(reply) => {
                span.set("http.response.status_code", i64::from(reply.status));
                span.fail(&reply.reason);
            }
        }
    }
}

/// The beginning of a URL, up to its path: the rest may have credentials.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |i| i + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |i| host + i);
    let user = url[host..end].rfind('@').map_or(host, |i| host + i + 1);
    &url[user..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_told() {
        assert_eq!(origin("https://idp.test:8443/token?secret=1"), "idp.test:8443");
        assert_eq!(origin("https://user:word@idp.test#x"), "idp.test");
        assert_eq!(origin("idp.test/x"), "idp.test");
    }
}
