//! Callers that mean harm, on the gRPC port: each has a clear refusal, costs little, and the next
//! caller is answered as if nothing had been.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tokio::runtime::Runtime;
use tonic::Code as GrpcCode;

use crate::calls::{Caller, request};
use crate::service::Service;

const LIMITS: &str = "
domain: edge
descriptors:
- key: any
  rate_limit: {unit: day, requests_per_unit: 4000000000}
";
const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Memory that one attack may leave behind, in KiB.
const MOST_GROWTH: u64 = 64 << 10;

/// A service under attack.
struct Target {
    service: Service,
    before: u64,
}

impl Target {
    fn start() -> Self {
        let service = Service::start(&[("limits.yaml", LIMITS)], &[]);
        let mut caller = Caller::of(&service);
        for _ in 0..100 {
            caller.ask(request("edge", &["any=warm"])).unwrap();
        }
        let before = service.resident();
        Self { service, before }
    }

    /// It answers a new caller, and has not grown.
    fn expect_well(&self, after: &str) {
        let mut caller = Caller::of(&self.service);
        let answer = caller.ask(request("edge", &["any=x"]));
        let answer = answer.unwrap_or_else(|e| panic!("after {after}: {e}"));
        assert_eq!(answer.overall_code, i32::from(Code::Ok), "after {after}");
        let now = self.service.resident();
        assert!(now < self.before + MOST_GROWTH, "after {after}: {} KiB, now {now}", self.before);
        let log = self.service.process.log();
        assert!(!log.contains("panicked"), "after {after}:\n{log}");
    }
}

/// A connection that sends what it likes.
struct Raw {
    runtime: Runtime,
    http: SendRequest<Bytes>,
}

/// How a call ended.
#[derive(Debug)]
enum End {
    Grpc(GrpcCode, String),
    Http(u16),
    Reset,
}

impl Raw {
    fn of(target: &Target) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let http = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(target.service.grpc).await.unwrap();
            let mut builder = h2::client::Builder::new();
            builder.initial_max_send_streams(4096);
            let (http, connection) = builder.handshake(socket).await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            http
        });
        Self { runtime, http }
    }

    fn head(path: &str) -> http::request::Builder {
        http::Request::post(format!("http://ratelimit{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    /// A call with `body` as it is.
    fn send(&self, head: http::request::Builder, body: Bytes) -> End {
        let http = self.http.clone();
        self.runtime.block_on(async move {
            let called = async {
                let mut http = http.ready().await?;
                let (response, mut stream) = http.send_request(head.body(()).unwrap(), false)?;
                // Refused before it is all sent: the answer says why.
                let _ = stream.send_data(body, true);
                let (parts, mut body) = response.await?.into_parts();
                while let Some(data) = body.data().await {
                    data?;
                }
                let trailers = body.trailers().await?.unwrap_or_default();
                let value = |name: &str| trailers.get(name).or(parts.headers.get(name)).cloned();
                let Some(code) = value("grpc-status") else {
                    return Ok(End::Http(parts.status.as_u16()));
                };
                let words = value("grpc-message").unwrap_or(http::HeaderValue::from_static(""));
                let words = words.to_str().unwrap().replace("%20", " ");
                Ok::<_, h2::Error>(End::Grpc(GrpcCode::from_bytes(code.as_bytes()), words))
            };
            called.await.unwrap_or(End::Reset)
        })
    }

    fn call(&self, body: impl Into<Bytes>) -> End {
        self.send(Self::head(PATH), body.into())
    }
}

/// A message with gRPC's head.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

fn message(descriptors: Vec<RateLimitDescriptor>) -> Vec<u8> {
    let request = RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 0 };
    framed(&request.encode_to_vec())
}

fn descriptor(entries: Vec<(&str, String)>) -> RateLimitDescriptor {
    let entry = |(key, value): (&str, String)| Entry { key: key.to_owned(), value };
    let entries = entries.into_iter().map(entry).collect();
    RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }
}

fn any(value: String) -> RateLimitDescriptor {
    descriptor(vec![("any", value)])
}

#[test]
fn messages_that_ask_for_too_much_or_are_none_are_refused() {
    use GrpcCode::{InvalidArgument, ResourceExhausted, Unknown};
    let target = Target::start();
    let own = |unit| {
        let limit = RateLimitOverride { requests_per_unit: 1, unit, unit_multiplier: None };
        RateLimitDescriptor { limit: Some(limit), ..any("x".to_owned()) }
    };
    let many_entries = descriptor(vec![("any", String::new()); 10_000]);
    let not_text = [&[0x0a, 4][..], b"e\xff\xfee"].concat();
    let mut cut = message(vec![any("x".to_owned())]);
    cut.truncate(cut.len() - 3);
    for (what, body, code, words) in [
        ("noise", framed(&[0xff; 64]), InvalidArgument, "not a RateLimitRequest"),
        ("a number for a text", framed(&[0x08, 1]), InvalidArgument, "not a RateLimitRequest"),
        (
            "a length beyond the end",
            framed(&[0x0a, 0x7f, b'e']),
            InvalidArgument,
            "not a RateLimit",
        ),
        ("groups in groups", framed(&[0x23; 100_000]), InvalidArgument, "not a RateLimitRequest"),
        ("a text that is none", framed(&not_text), InvalidArgument, "not UTF-8"),
        ("a value of 1 MiB", message(vec![any("v".repeat(1 << 20))]), InvalidArgument, "8 KiB"),
        ("a key over 8 KiB", message(vec![any("v".repeat(8 << 10))]), InvalidArgument, "8 KiB"),
        ("10,000 descriptors", message(vec![any(String::new()); 10_000]), InvalidArgument, "256"),
        ("10,000 entries", message(vec![many_entries]), InvalidArgument, "4,096 entries"),
        ("an unknown unit", message(vec![own(99)]), InvalidArgument, "unknown unit"),
        ("no unit", message(vec![own(0)]), InvalidArgument, "unknown unit"),
        ("5 MiB", framed(&vec![0; 5 << 20]), ResourceExhausted, "4194304 are allowed"),
        ("no domain", framed(&[]), Unknown, "domain must not be empty"),
        ("no descriptors", message(Vec::new()), Unknown, "descriptor list must not be empty"),
        ("a message that is cut off", cut, GrpcCode::Internal, "cut off"),
        ("half a head", vec![0, 0], GrpcCode::Internal, "cut off"),
        ("a length of 4 GiB", vec![0, 255, 255, 255, 255], ResourceExhausted, "are allowed"),
        ("no message", Vec::new(), GrpcCode::Unimplemented, "no message"),
        ("a compressed message", vec![1, 0, 0, 0, 0], GrpcCode::Unimplemented, "not supported"),
    ] {
        match Raw::of(&target).call(body) {
            End::Grpc(got, said) => {
                assert!(got == code && said.contains(words), "{what}: {got:?} {said}");
            }
            other => panic!("{what}: {other:?}"),
        }
        target.expect_well(what);
    }
}

#[test]
fn texts_of_any_kind_are_only_texts() {
    let target = Target::start();
    let raw = Raw::of(&target);
    for value in ["\0\0\0", "a\r\nINCRBY x 1\r\n", "\u{202e}%s%n{{.}}", "_", ""] {
        let end = raw.call(message(vec![any(value.to_owned())]));
        assert!(matches!(end, End::Grpc(GrpcCode::Ok, _)), "{value:?}: {end:?}");
    }
    target.expect_well("odd texts");
}

#[test]
fn calls_that_are_not_grpc_or_have_no_method_are_told_so() {
    let target = Target::start();
    let raw = Raw::of(&target);
    let json = http::Request::post(format!("http://ratelimit{PATH}"))
        .header("content-type", "application/json");
    assert!(matches!(raw.send(json, Bytes::from_static(b"{}")), End::Http(415)));
    let end = raw.send(Raw::head("/no.Such/Method"), Bytes::new());
    assert!(matches!(end, End::Grpc(GrpcCode::Unimplemented, _)), "{end:?}");
    target.expect_well("calls of nothing");
}

#[test]
fn headers_without_measure_end_the_request_or_the_connection() {
    let target = Target::start();
    let raw = Raw::of(&target);
    let mut head = Raw::head(PATH);
    for i in 0..20_000 {
        head = head.header(format!("x-flood-{i}"), "0123456789abcdef0123456789abcdef");
    }
    match raw.send(head, message(vec![any("x".to_owned())]).into()) {
        End::Http(431) | End::Reset => {}
        other => panic!("{other:?}"),
    }
    target.expect_well("a flood of headers");

    // HEADERS without END_HEADERS, then CONTINUATION upon CONTINUATION, each with a good header of
    // 16,256 bytes.
    let mut block = vec![0x00, 0x03, b'x', b'-', b'a', 0x7f, 0x81, 0x7e];
    block.resize(8 + 16_256, b'v');
    let endless = std::iter::once(frame(1, 0, 1, &[0x83, 0x86]))
        .chain(std::iter::repeat(frame(9, 0, 1, &block)));
    assert!(is_ended(&target, endless), "headers without end are taken for ever");
    target.expect_well("headers without end");
}

/// The attack of CVE-2023-44487. A server that is quick enough takes each reset as it comes; one that
/// falls behind ends the connection. In neither case do they pile up.
#[test]
fn streams_that_are_reset_at_once_do_not_pile_up() {
    let target = Target::start();
    let block = header_block();
    let resets = (0_u32..).flat_map(|i| {
        let id = i * 2 + 1;
        let cancel = 8_u32.to_be_bytes();
        [frame(1, 4, id, &block), frame(3, 0, id, &cancel)]
    });
    is_ended(&target, resets);
    target.expect_well("rapid resets");
}

#[test]
fn frames_that_cost_the_sender_nothing_end_the_connection_or_are_cheap() {
    let target = Target::start();
    let noise = std::iter::repeat(vec![0x55; 9_000]);
    assert!(is_ended(&target, noise), "noise is taken for HTTP/2");
    for (what, frame) in [
        ("pings", frame(6, 0, 0, &[0; 8])),
        ("settings", frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("empty data", frame(0, 0, 1, &[])),
    ] {
        // Some servers end this, some bear it; what counts is what it costs the others.
        let _ = is_ended(&target, std::iter::repeat_n(frame, 100_000));
        target.expect_well(what);
    }
}

/// Each call announces 4 MiB and sends a part of it: together they may not hold more than the
/// connection's budget.
#[test]
fn messages_that_never_end_are_bounded_together() {
    let target = Target::start();
    let raw = Raw::of(&target);
    let mut part = vec![0, 0, 0x40, 0, 0];
    part.resize(200 << 10, 7);
    let part = Bytes::from(part);
    let refused = raw.runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..200 {
            let mut http = raw.http.clone().ready().await.unwrap();
            let head = Raw::head(PATH).body(()).unwrap();
            let (response, mut stream) = http.send_request(head, false).unwrap();
            stream.send_data(part.clone(), false).unwrap();
            open.push((response, stream));
        }
        // The streams stay open; those over the budget are answered all the same.
        let (responses, _streams): (Vec<_>, Vec<_>) = open.into_iter().unzip();
        let (first, ..) = futures::future::select_ok(responses).await.unwrap();
        first.headers().get("grpc-status").cloned()
    });
    assert_eq!(refused.unwrap(), "8", "RESOURCE_EXHAUSTED");
    target.expect_well("messages that never end");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A call's `:method`, `:scheme`, `:path` and `:authority`, in HPACK.
fn header_block() -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04];
    block.push(u8::try_from(PATH.len()).unwrap());
    block.extend(PATH.bytes());
    block.extend([0x01, 9]);
    block.extend(b"ratelimit");
    block
}

/// Whether the server ends a connection that sends these frames.
fn is_ended(target: &Target, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    /// A server that takes so much bears it.
    const MOST: usize = 64 << 20;
    let mut socket = TcpStream::connect(target.service.grpc).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = socket.try_clone().unwrap();
    // What it says is not of interest; but a full buffer would hold the sender up.
    let drain = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while reader.read(&mut buffer).is_ok_and(|n| n > 0) {}
    });
    let mut sent = 0;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(4, 0, 0, &[]));
    let mut is_ended = false;
    for frame in frames {
        out.extend(frame);
        if out.len() < 64 << 10 {
            continue;
        }
        sent += out.len();
        if let Err(e) = socket.write_all(&out) {
            let held_up = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!held_up, "the server neither reads nor ends the connection");
            is_ended = true;
            break;
        }
        out.clear();
        if sent > MOST {
            break;
        }
    }
    let _ = socket.shutdown(std::net::Shutdown::Both);
    drain.join().unwrap();
    is_ended
}
