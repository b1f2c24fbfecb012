//! Checks that mean harm, or are none: each is refused in an answer, so that no setting of Envoy
//! takes it for a reason to let the request pass, and the next is answered as if nothing had been.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use e2e::TempDir;
use e2e::authorizer::{Answer, Authorizer, check};
use e2e::process::resident_kib;
use prost::Message as _;
use proto::envoy::service::auth::v3::{CheckRequest, CheckResponse};

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
const OBJECTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: edge}
stringData: {ann: open-sesame}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: key, namespace: edge}
spec: {APIKey: {keys: [{secretName: keys}]}}
---
apiVersion: getambassador.io/v3alpha1
kind: FilterPolicy
metadata: {name: shop, namespace: edge}
spec: {rules: [{host: shop.test, filters: [{name: key}]}]}
"#;
/// Memory that all of it may leave behind, in KiB.
const MOST_GROWTH: u64 = 64 << 10;

/// What the service answers to these bytes: an answer, or gRPC's status.
fn ask(service: &Authorizer, message: &[u8]) -> Result<CheckResponse, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(service.grpc).await.unwrap();
        let (mut http, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://authz{PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut body) = http.send_request(request, false).unwrap();
        let mut framed = vec![0];
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(message);
        // An answer may come before the whole was sent.
        let _ = body.send_data(Bytes::from(framed), true);
        let response = response.await.map_err(|e| e.to_string())?;
        if let Some(status) = response.headers().get("grpc-status") {
            return Err(status.to_str().unwrap().to_owned());
        }
        let mut answer = Vec::new();
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let data = data.map_err(|e| e.to_string())?;
            let _ = body.flow_control().release_capacity(data.len());
            answer.extend_from_slice(&data);
        }
        CheckResponse::decode(&answer[5..]).map_err(|e| e.to_string())
    })
}

fn good() -> CheckRequest {
    check("shop.test", "/", &[("x-api-key", "open-sesame"), ("x-name", "plain-text")])
}

#[test]
fn what_is_no_check_is_refused() {
    let folder = TempDir::new("hostile");
    folder.write("a.yaml", OBJECTS);
    let service = Authorizer::start(&folder, &[], &[]);
    let whole = good().encode_to_vec();
    assert!(Answer::of(ask(&service, &whole).unwrap()).allow);
    let mut not_text = whole.clone();
    let at = whole.windows(10).position(|w| w == b"plain-text").unwrap();
    not_text[at] = 0xff;
    let truncated = &whole[..whole.len() - 3];
    let other = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f];
    for (what, bytes) in [
        ("nothing", &[][..]),
        ("a cut message", truncated),
        ("a header that is no text", &not_text),
        ("garbage", b"GET / HTTP/1.1\r\n\r\n"),
        ("a length beyond the end", &other),
        ("no HTTP request", &CheckRequest::default().encode_to_vec()),
    ] {
        let answer = Answer::of(ask(&service, bytes).unwrap_or_else(|e| panic!("{what}: {e}")));
        assert_eq!((answer.allow, answer.status), (false, 400), "{what}");
    }
    assert!(!service.process.log().contains("panicked"));
}

#[test]
fn what_is_too_much_costs_little() {
    let folder = TempDir::new("hostile-much");
    folder.write("a.yaml", OBJECTS);
    let service = Authorizer::start(&folder, &[], &[]);
    let before = resident_kib(service.process.id()).unwrap();
    let long = "x".repeat(1 << 20);
    let keys = [("x-api-key", long.as_str()), ("cookie", long.as_str())];
    let names: Vec<String> = (0..20_000).map(|i| format!("x-{i}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let dots = "/..".repeat(100_000);
    for (what, request, status) in [
        ("a header of 1 MiB", check("shop.test", "/", &keys), 401),
        ("20,000 headers", check("shop.test", "/", &many), 401),
        ("a path of 300 KB", check("shop.test", &dots, &[]), 414),
        ("a host of 1 MiB", check(&long, "/", &[]), 200),
    ] {
        for _ in 0..5 {
            let answer = Answer::of(ask(&service, &request.encode_to_vec()).unwrap());
            assert_eq!(answer.status, status, "{what}");
        }
    }
    assert_eq!(ask(&service, &vec![0; 17 << 20]).unwrap_err(), "8", "RESOURCE_EXHAUSTED");
    assert!(Answer::of(ask(&service, &good().encode_to_vec()).unwrap()).allow);
    let after = resident_kib(service.process.id()).unwrap();
    assert!(after < before + MOST_GROWTH, "{before} KiB, then {after}");
    assert!(!service.process.log().contains("panicked"));
}

/// A good token with its end cut off, a part left out, a byte changed: never good.
#[test]
fn no_part_of_a_token_passes() {
    let folder = TempDir::new("hostile-tokens");
    let read = |name: &str| std::fs::read_to_string(e2e::root().join("..").join(name)).unwrap();
    folder.write("a.yaml", &read("deploy/examples/plain-envoy-policies.yaml"));
    let mut service = Authorizer::start(&folder, &[], &[]);
    let token = read("docs/examples/tokens/alice.jwt").trim().to_owned();
    let mut ask = |token: &str| {
        let header = format!("Bearer {token}");
        service.get("shop.test", "/basket", &[("authorization", &header)]).status
    };
    assert_eq!(ask(&token), 200);
    for end in (0..token.len()).step_by(7).chain([token.len() - 1]) {
        // 400: not a token at all.
        assert!(matches!(ask(&token[..end]), 400 | 401), "cut at {end}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    for bad in [
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        format!("{token} {token}"),
        format!("{token},{token}"),
        token.replacen('.', "..", 1),
        token.to_uppercase(),
        "x".repeat(1 << 20),
        format!("{}.{}.{}", parts[0], "e30".repeat(100_000), parts[2]),
    ] {
        let status = ask(&bad);
        assert!(matches!(status, 400 | 401), "{status}: {}", &bad[..bad.len().min(200)]);
    }
    assert!(!service.process.log().contains("panicked"));
}

/// With `encode_raw_headers` Envoy sends bytes that are no text.
#[test]
fn headers_that_are_no_text_are_not_the_key() {
    use proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
    let folder = TempDir::new("hostile-raw");
    folder.write("a.yaml", OBJECTS);
    let mut service = Authorizer::start(&folder, &[], &[]);
    let mut ask = |values: &[&[u8]]| {
        let mut request = check("shop.test", "/", &[]);
        let list = values.iter().map(|value| HeaderValue {
            key: "X-Api-Key".to_owned(),
            raw_value: Bytes::copy_from_slice(value),
            ..HeaderValue::default()
        });
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        http.http.as_mut().unwrap().header_map = Some(HeaderMap { headers: list.collect() });
        Answer::of(service.call(request).unwrap()).status
    };
    assert_eq!(ask(&[b"open-sesame"]), 200);
    for bad in [&[&b"open-sesame\xff"[..]][..], &[b"\xff"], &[b""], &[b"open-sesame", b"\0"]] {
        assert_eq!(ask(bad), 401, "{bad:?}");
    }
    assert!(!service.process.log().contains("panicked"));
}
