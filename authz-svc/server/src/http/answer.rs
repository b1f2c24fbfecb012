//! A decision as a response: 200 with what the request gets, anything else instead of the backend's.
//! What HTTP has no words for is never left out in silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use authz_core::{Mutations, Outcome, Reply};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::answer::Style;

/// Envoy removes the headers that are named in it.
const REMOVE: &str = "x-envoy-auth-headers-to-remove";
/// Before the names of dynamic metadata.
const METADATA: &str = "x-authz-";
/// What HTTP itself says with headers of the answer.
const OF_THE_ANSWER: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What of decisions could not be said over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Unexpressed {
    query: What,
    header: What,
    metadata: What,
    status: What,
}

#[derive(Clone, Debug)]
struct What {
    count: Counter,
    told: Arc<AtomicBool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    what: &'static str,
}

impl Unexpressed {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let all = Family::<Label, Counter>::default();
        registry.register(
            "authz_http_unexpressed",
            "What of decisions could not be said over HTTP",
            all.clone(),
        );
        let of =
            |what| What { count: all.get_or_create(&Label { what }).clone(), told: Arc::default() };
        Self {
            query: of("query"),
            header: of("header"),
            metadata: of("metadata"),
            status: of("status"),
        }
    }
}

impl What {
    /// Counts it, and tells it once.
    fn note(&self, words: &str) {
        self.count.inc();
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!("--http-addr: {words}; told once, counted as authz_http_unexpressed");
        }
    }
}

/// The response.
pub(super) fn response(outcome: Outcome, style: Style, cannot: &Unexpressed) -> Response<Bytes> {
    match outcome {
        Outcome::Allow(mutations) => {
            allowed(*mutations, cannot).unwrap_or_else(|reply| denied(reply, style, cannot))
        }
        Outcome::Deny(reply) | Outcome::Error(reply) => denied(reply, style, cannot),
    }
}

fn allowed(mutations: Mutations, cannot: &Unexpressed) -> Result<Response<Bytes>, Reply> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    let refuse = |why: &'static str| Reply::json(500, why, "");
    if !mutations.query_set.is_empty() || !mutations.query_remove.is_empty() {
        cannot
            .query
            .note("a filter changes the query, which only gRPC can say; such requests are refused");
        return Err(refuse("the query of this request cannot be changed over HTTP"));
    }
    let set = mutations.set.iter().map(|(name, value)| (name, value, true));
    let for_client = mutations.response_headers.iter().map(|h| (&h.name, &h.value, !h.append));
    for (name, value, overwrites) in set.chain(for_client) {
        let Some((name, value)) = pair(name, value) else {
            cannot.header.note(
                "a filter sets a header that HTTP itself uses, or that is none; such requests are refused",
            );
            return Err(refuse("a header of this request cannot be set over HTTP"));
        };
        if overwrites {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    for (key, value) in &mutations.metadata {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match pair(&format!("{METADATA}{key}"), &text) {
            Some((name, value)) => {
                headers.entry(name).or_insert(value);
            }
            None => cannot.metadata.note("a key or a value of dynamic metadata is no header"),
        }
    }
    if !mutations.remove.is_empty() {
        // Names were checked to be such.
        let names = HeaderValue::try_from(mutations.remove.join(","));
        headers.insert(REMOVE, names.map_err(|_| refuse("a header cannot be removed"))?);
    }
    Ok(response)
}

fn denied(reply: Reply, style: Style, cannot: &Unexpressed) -> Response<Bytes> {
    let Reply { status, headers, body, .. } = reply;
    let mut response = Response::new(Bytes::from(body));
    for (name, value) in &headers {
        if let Some((name, value)) = pair(name, value) {
            response.headers_mut().append(name, value);
        }
    }
    *response.status_mut() = match StatusCode::from_u16(status) {
        // Envoy takes it for an error, which its failure_mode_allow may let pass.
        Ok(code) if code.is_server_error() && style == Style::Denied => StatusCode::FORBIDDEN,
        Ok(code) if code.as_u16() >= 300 => code,
        // Callers let pass what is answered so.
        _ => {
            cannot
                .status
                .note("a filter refuses with a status that means success; it is sent as 403");
            StatusCode::FORBIDDEN
        }
    };
    response
}

/// A header that may be in an answer.
fn pair(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::try_from(name).ok()?;
    if OF_THE_ANSWER.contains(&name.as_str()) || name.as_str() == REMOVE {
        return None;
    }
    Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests {
    use authz_core::filter::ResponseHeader;

    use super::*;

    fn cannot() -> Unexpressed {
        Unexpressed::register(&mut Registry::default())
    }

    fn texts(response: &Response<Bytes>, name: &str) -> Vec<String> {
        let values = response.headers().get_all(name).iter();
        values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn what_a_request_gets_is_in_the_answer() {
        let mut mutations = Mutations {
            set: vec![("x-user".into(), "ann".into()), ("x-name".into(), "Ünal".into())],
            remove: vec!["authorization".into(), "x-key".into()],
            ..Mutations::default()
        };
        for value in ["a=1", "b=2"] {
            let (name, value) = ("set-cookie".to_owned(), value.to_owned());
            mutations.response_headers.push(ResponseHeader { name, value, append: true });
        }
        mutations.metadata.insert("plan".into(), "gold".into());
        mutations.metadata.insert("roles".into(), serde_json::json!(["a", 1]));
        mutations.metadata.insert("no header".into(), "x".into());
        let cannot = cannot();
        let response = response(Outcome::Allow(Box::new(mutations)), Style::Denied, &cannot);
        assert_eq!(response.status(), 200);
        for (name, values) in [
            ("x-user", &["ann"] as &[&str]),
            ("x-name", &["Ünal"]),
            ("set-cookie", &["a=1", "b=2"]),
            ("x-envoy-auth-headers-to-remove", &["authorization,x-key"]),
            ("x-authz-plan", &["gold"]),
            ("x-authz-roles", &["[\"a\",1]"]),
        ] {
            assert_eq!(texts(&response, name), values, "{name}");
        }
        assert_eq!(cannot.metadata.count.get(), 1);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let pair = || vec![("q".to_owned(), "1".to_owned())];
        let set = |name: &str| vec![(name.to_owned(), "1".to_owned())];
        for mutations in [
            Mutations { query_set: pair(), ..Mutations::default() },
            Mutations { query_remove: vec!["q".into()], ..Mutations::default() },
            Mutations { set: set("content-length"), ..Mutations::default() },
            Mutations { set: set("x-envoy-auth-headers-to-remove"), ..Mutations::default() },
            Mutations { set: set("Transfer-Encoding"), ..Mutations::default() },
        ] {
            let cannot = cannot();
            let outcome = Outcome::Allow(Box::new(mutations.clone()));
            let answer = response(outcome, Style::Denied, &cannot);
            assert_eq!(answer.status(), 403, "{mutations:?}");
            assert_eq!(cannot.query.count.get() + cannot.header.count.get(), 1);
        }
    }

    #[test]
    fn no_refusal_looks_like_a_permission() {
        let status = |status, style| {
            let reply = Reply::json(status, "no", "").with_header("content-length", "7");
            let response = response(Outcome::Deny(reply), style, &cannot());
            assert!(texts(&response, "content-length").is_empty());
            response.status().as_u16()
        };
        for (given, sent) in [(200, 403), (204, 403), (99, 403), (302, 302), (401, 401), (503, 403)]
        {
            assert_eq!(status(given, Style::Denied), sent, "{given}");
        }
        assert_eq!(status(503, Style::Error), 503);
    }
}
