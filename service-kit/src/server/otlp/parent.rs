//! The caller's place in a trace, as its headers tell it: W3C Trace Context, else B3 (one header or
//! several). Pure. Baggage is not read: nothing is sent on that could carry it, and it is not ours
//! to record.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Longest header that is read, in bytes; W3C asks for 512 of `tracestate`. It is kept as long as
/// the span waits to be sent.
const MAX_HEADER: usize = 512;

/// What a caller says.
#[derive(Debug, PartialEq)]
pub(super) enum Parent {
    /// Nothing, or nothing that can be read.
    None,
    /// Its span, and whether it is recorded.
    Is(SpanContext),
    /// Its span; whether it is recorded is left to us.
    Undecided(SpanContext),
    /// That there is to be no record.
    Unsampled,
}

/// Reads the headers of a request.
pub(super) fn of(headers: &HeaderMap) -> Parent {
    let headers = Headers(headers);
    if headers.get("traceparent").is_some() {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
        let span = context.span();
        if span.span_context().is_valid() {
            return Parent::Is(span.span_context().clone());
        }
    }
    match headers.get("b3") {
        Some(text) => one_header(text),
        None => several_headers(&headers),
    }
}

/// `TRACE-SPAN[-SAMPLED[-PARENT]]`, or SAMPLED alone.
fn one_header(text: &str) -> Parent {
    let mut parts = text.split('-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("0"), None, None) => Parent::Unsampled,
        (Some(trace), Some(span), sampled) => parent(trace, span, sampled),
        _ => Parent::None,
    }
}

/// `x-b3-traceid` and others.
fn several_headers(headers: &Headers<'_>) -> Parent {
    let is_debug = headers.get("x-b3-flags") == Some("1");
    let sampled = if is_debug { Some("d") } else { headers.get("x-b3-sampled") };
    match (headers.get("x-b3-traceid"), headers.get("x-b3-spanid")) {
        (Some(trace), Some(span)) => parent(trace, span, sampled),
        _ if matches!(sampled, Some("0" | "false")) => Parent::Unsampled,
        _ => Parent::None,
    }
}

fn parent(trace: &str, span: &str, sampled: Option<&str>) -> Parent {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let of = |flags| {
        // Ids of 64 bits are those of 128 with zeros before them.
        let fit = matches!(trace.len(), 16 | 32) && span.len() == 16;
        let trace = TraceId::from_hex(trace).ok().filter(|_| fit && is_hex(trace))?;
        let span = SpanId::from_hex(span).ok().filter(|_| is_hex(span))?;
        let context = SpanContext::new(trace, span, flags, true, TraceState::default());
        context.is_valid().then_some(context)
    };
    match sampled {
        Some("1" | "true" | "d") => of(TraceFlags::SAMPLED).map_or(Parent::None, Parent::Is),
        Some("0" | "false") => of(TraceFlags::default()).map_or(Parent::None, Parent::Is),
        None => of(TraceFlags::default()).map_or(Parent::None, Parent::Undecided),
        Some(_) => Parent::None,
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok().filter(|text| text.len() <= MAX_HEADER)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(headers: &[(&'static str, &str)]) -> Parent {
        of(&headers
            .iter()
            .map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_str(v).unwrap()))
            .collect())
    }

    /// Trace, span, sampled (none when left to us).
    fn seen(parent: Parent) -> Option<(String, String, Option<bool>)> {
        let shown = |c: &SpanContext| (c.trace_id().to_string(), c.span_id().to_string());
        match parent {
            Parent::Is(c) => Some((shown(&c).0, shown(&c).1, Some(c.is_sampled()))),
            Parent::Undecided(c) => Some((shown(&c).0, shown(&c).1, None)),
            Parent::None | Parent::Unsampled => None,
        }
    }

    fn wanted(sampled: Option<bool>) -> Option<(String, String, Option<bool>)> {
        Some((TRACE.to_owned(), SPAN.to_owned(), sampled))
    }

    #[test]
    fn w3c_goes_before_b3() {
        let other = format!("{}-{}-0", "a".repeat(32), "b".repeat(16));
        for (flags, sampled) in [("01", true), ("00", false)] {
            let traceparent = format!("00-{TRACE}-{SPAN}-{flags}");
            let found = read(&[("traceparent", &traceparent), ("b3", &other)]);
            assert_eq!(seen(found), wanted(Some(sampled)));
        }
        let found = read(&[("traceparent", "nonsense"), ("b3", &format!("{TRACE}-{SPAN}-1"))]);
        assert_eq!(seen(found), wanted(Some(true)));
    }

    #[test]
    fn tracestate_is_kept_while_it_is_short() {
        let traceparent = format!("00-{TRACE}-{SPAN}-01");
        for (state, kept) in [("a=b".to_owned(), "a=b"), (format!("a={}", "b".repeat(600)), "")] {
            let found = read(&[("traceparent", &traceparent), ("tracestate", &state)]);
            let Parent::Is(context) = found else { panic!("{found:?}") };
            assert_eq!(context.trace_state().header(), kept);
        }
    }

    #[test]
    fn b3_is_read_from_one_header() {
        for (text, sampled) in [
            (format!("{TRACE}-{SPAN}-1"), Some(true)),
            (format!("{TRACE}-{SPAN}-d"), Some(true)),
            (format!("{TRACE}-{SPAN}-0"), Some(false)),
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), Some(true)),
            (format!("{TRACE}-{SPAN}"), None),
        ] {
            assert_eq!(seen(read(&[("b3", &text)])), wanted(sampled), "{text}");
        }
        assert_eq!(read(&[("b3", "0")]), Parent::Unsampled);
        let short = read(&[("b3", &format!("{SPAN}-{SPAN}-1"))]);
        assert_eq!(seen(short).unwrap().0, format!("{}{SPAN}", "0".repeat(16)));
    }

    #[test]
    fn b3_is_read_from_several_headers() {
        let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        for (more, sampled) in [
            (Some(("x-b3-sampled", "1")), Some(true)),
            (Some(("x-b3-sampled", "true")), Some(true)),
            (Some(("x-b3-sampled", "0")), Some(false)),
            (Some(("x-b3-flags", "1")), Some(true)),
            (None, None),
        ] {
            let headers: Vec<_> = ids.into_iter().chain(more).collect();
            assert_eq!(seen(read(&headers)), wanted(sampled), "{more:?}");
        }
        assert_eq!(read(&[("x-b3-sampled", "0")]), Parent::Unsampled);
        assert_eq!(read(&[("x-b3-sampled", "1")]), Parent::None);
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        assert_eq!(read(&[]), Parent::None);
        for text in [
            "",
            "1",
            "-",
            "zzf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902-1",
            "00000000000000000000000000000000-00f067aa0ba902b7-1",
            "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-x",
        ] {
            assert_eq!(read(&[("b3", text)]), Parent::None, "{text}");
        }
    }
}
