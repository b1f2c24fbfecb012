//! Bodies that mean harm, on the HTTP port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use e2e::http::{self, Request};

use crate::service::Service;

const LIMITS: &str = "
domain: edge
descriptors:
- key: any
  rate_limit: {unit: day, requests_per_unit: 1000000}
";
const GOOD: &str =
    r#"{"domain": "edge", "descriptors": [{"entries": [{"key": "any", "value": "x"}]}]}"#;
/// Memory that one body may leave behind, in KiB.
const MOST_GROWTH: u64 = 64 << 10;

fn post(service: &Service, body: &str) -> http::Response {
    let request = Request {
        method: "POST".to_owned(),
        body: body.to_owned(),
        ..Request::get("/json", "test")
    };
    http::send(service.http, &request).unwrap()
}

#[test]
fn bodies_that_are_no_request_are_bad_requests() {
    let service = Service::start(&[("limits.yaml", LIMITS)], &[]);
    assert_eq!(post(&service, GOOD).status, 200);
    let before = service.resident();
    let nested =
        |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let many = r#"{"entries": [{"key": "any"}]},"#.repeat(8_000);
    for (what, body) in [
        ("nothing", String::new()),
        ("noise", "\u{1}\u{2}{]".to_owned()),
        ("half of it", GOOD[..40].to_owned()),
        ("more than one", format!("{GOOD}{GOOD}")),
        ("an unknown field", r#"{"domain": "edge", "evil": 1}"#.to_owned()),
        ("deep lists", nested("[", "]")),
        ("deep objects", nested(r#"{"descriptors":["#, "]}")),
        ("deep unknown objects", format!(r#"{{"domain": {}}}"#, nested("[", "]"))),
        ("a huge number", r#"{"domain": "edge", "hitsAddend": 1e999}"#.to_owned()),
        ("a negative number", r#"{"domain": "edge", "hitsAddend": -1}"#.to_owned()),
        ("half a surrogate", r#"{"domain": "\ud800"}"#.to_owned()),
        (
            "8,000 descriptors",
            format!(r#"{{"domain": "edge", "descriptors": [{}]}}"#, many.trim_end_matches(',')),
        ),
        ("a value of 200 KiB", GOOD.replace("\"x\"", &format!("\"{}\"", "v".repeat(200 << 10)))),
    ] {
        assert_eq!(post(&service, &body).status, 400, "{what}");
        assert_eq!(post(&service, GOOD).status, 200, "after {what}");
        let now = service.resident();
        assert!(now < before + MOST_GROWTH, "after {what}: {before} KiB, now {now}");
    }
    assert!(!service.process.log().contains("panicked"));
}

#[test]
fn a_body_of_ten_mebibytes_is_not_taken() {
    let service = Service::start(&[("limits.yaml", LIMITS)], &[]);
    let before = service.resident();
    let head = format!("POST /json HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", 10 << 20);
    let chunked =
        "POST /json HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\na00000\r\n";
    for head in [&head, chunked] {
        assert_eq!(status(&service, head, &vec![b'x'; 10 << 20]), Some(413));
        assert_eq!(post(&service, GOOD).status, 200);
        let now = service.resident();
        assert!(now < before + MOST_GROWTH, "{before} KiB, now {now}");
    }
}

/// The status of a request that is read while it is sent, as it may be refused before its end.
fn status(service: &Service, head: &str, body: &[u8]) -> Option<u16> {
    let mut socket = TcpStream::connect(service.http).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = socket.try_clone().unwrap();
    let answer = std::thread::spawn(move || {
        let mut bytes = [0; 12];
        reader.read_exact(&mut bytes).ok()?;
        std::str::from_utf8(&bytes).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
    });
    let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body));
    answer.join().unwrap()
}
