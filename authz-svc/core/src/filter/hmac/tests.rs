use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac as mac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::{Value as Json, json};
use service_kit::Object;
use sha2::{Digest as _, Sha256, Sha512};

use super::*;
use crate::compile::{Settings, compile};
use crate::need::{Answer, Need, StoreError};
use crate::{Flow, Outcome, Snapshot, Step};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

// RFC 9421, appendix B.1 and B.2: keys, request and signatures.
const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----
";
const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
";
const ED: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";
const SHARED: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const DIGEST: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
const B21: [&str; 2] = [
    r#"();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd""#,
    "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==",
];
const B22: [&str; 2] = [
    r#"("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example""#,
    "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==",
];
const B23: [&str; 2] = [
    r#"("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
    "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==",
];
const B25: [&str; 2] = [
    r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
];
const B26: [&str; 2] = [
    r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
];

#[derive(Clone, Debug)]
struct Message {
    method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn get(target: &str) -> Self {
        let (method, host) = ("GET", "api.example");
        Self { method, host, target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn post(body: &[u8]) -> Self {
        let own = Self { method: "POST", body: body.to_vec(), ..Self::get("/") };
        own.with("content-length", &body.len().to_string())
    }

    fn request(&self) -> Request {
        let http = HttpRequest {
            method: self.method.to_owned(),
            host: self.host.to_owned(),
            scheme: "https".to_owned(),
            path: self.target.clone(),
            headers: self.headers.iter().cloned().collect(),
            raw_body: self.body.clone().into(),
            ..HttpRequest::default()
        };
        let request = attribute_context::Request { http: Some(http), time: None };
        let attributes = AttributeContext { request: Some(request), ..Default::default() };
        Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap()
    }

    /// Signed with [`SECRET`]; `list` as in `("@method");created=1;keyid="k"`.
    fn signed(self, list: &str) -> Self {
        let draft = message::read(&format!("s={list}"), "s=:AAAA:").unwrap();
        let base = draft[0].base(&self.request()).unwrap();
        let tag = mac::sign(&mac::Key::new(mac::HMAC_SHA256, SECRET), base.as_bytes());
        self.with("signature-input", &format!("s={list}"))
            .with("signature", &format!("s=:{}:", STANDARD.encode(tag)))
    }

    fn signed_now(self) -> Self {
        self.signed(&covering("\"@method\" \"@authority\" \"@path\" \"@query\""))
    }
}

fn covering(names: &str) -> String {
    format!("({names});created={NOW};keyid=\"k\"")
}

fn of_rfc() -> Message {
    Message {
        method: "POST",
        host: "example.com",
        target: "/foo?param=Value&Pet=dog".to_owned(),
        headers: Vec::new(),
        body: br#"{"hello": "world"}"#.to_vec(),
    }
    .with("date", "Tue, 20 Apr 2021 02:07:55 GMT")
    .with("content-type", "application/json")
    .with("content-digest", DIGEST)
    .with("content-length", "18")
}

#[test]
fn vectors_of_the_rfc_verify() {
    let shared = STANDARD.decode(SHARED).unwrap();
    for (algorithm, key, [list, signature]) in [
        ("rsa-pss-sha512", RSA.as_bytes(), B21),
        ("rsa-pss-sha512", RSA.as_bytes(), B22),
        ("rsa-pss-sha512", RSA.as_bytes(), B23),
        ("hmac-sha256", &shared, B25),
        ("ed25519", ED.as_bytes(), B26),
    ] {
        let key = Key::read(algorithm, key).unwrap();
        let (input, field) = (format!("sig={list}"), format!("sig=:{signature}:"));
        let own = message::read(&input, &field).unwrap().remove(0);
        let base = own.base(&of_rfc().request()).unwrap();
        assert!(key.verify(base.as_bytes(), &own.bytes), "{list}");
        assert!(!key.verify(base.to_uppercase().as_bytes(), &own.bytes), "{list}");
        assert!(body::has_digest(DIGEST, &of_rfc().body));
    }
    // B.2.4 is of a response: its base by hand.
    let base = "\"@status\": 200\n\"content-type\": application/json\n\"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n\"content-length\": 23\n\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\"";
    let signature =
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
    let key = Key::read("ecdsa-p256-sha256", P256.as_bytes()).unwrap();
    assert!(key.verify(base.as_bytes(), &STANDARD.decode(signature).unwrap()));
}

#[test]
fn the_old_rsa_algorithm_verifies_too() {
    let own = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; own.public_modulus_len()];
    own.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"text", &mut signature).unwrap();
    let der = own.public_key().as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let key = Key::read("rsa-v1_5-sha256", pem.as_bytes()).unwrap();
    assert!(key.verify(b"text", &signature) && !key.verify(b"other", &signature));
}

fn snapshot(spec: &Json, keys: &Json) -> (Arc<Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, rest: (&str, Json)| {
        let version = if kind == "Secret" { "v1" } else { "getambassador.io/v3alpha1" };
        let mut json = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}});
        json[rest.0] = rest.1;
        Object::from_json(json).unwrap()
    };
    let objects = [
        object("Secret", "keys", ("stringData", keys.clone())),
        object("Filter", "x", ("spec", json!({"HMAC": spec}))),
        object("FilterPolicy", "p", ("spec", json!({"rules": [{"filters": [{"name": "x"}]}]}))),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn filter(more: &Json) -> Arc<Snapshot> {
    let mut spec = json!({"keys": [{"secretName": "keys"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let keys = json!({"k": String::from_utf8_lossy(SECRET), "other": "another secret of bytes"});
    let (snapshot, found) = snapshot(&spec, &keys);
    assert!(found.is_empty(), "{found:?}");
    snapshot
}

/// The outcome, with a store that answers so.
fn outcome(
    snapshot: &Arc<Snapshot>,
    message: &Message,
    now: u64,
    store: &mut dyn FnMut(String, Duration) -> Result<StoreAnswer, StoreError>,
) -> Outcome {
    let mut flow = Flow::new(snapshot.clone(), message.request(), Duration::from_secs(now));
    loop {
        match flow.step(&()) {
            Step::Done(outcome) => return outcome,
            Step::Need(Need::Store(StoreCommand::Add(key, _, life))) => {
                flow.answer(Answer::Store(store(key, life)));
            }
            Step::Need(need) => panic!("needs {need}"),
        }
    }
}

fn asked(snapshot: &Arc<Snapshot>, message: &Message, now: u64) -> (u16, String) {
    match outcome(snapshot, message, now, &mut |_, _| Ok(StoreAnswer::Done)) {
        Outcome::Allow(_) => (200, String::new()),
        Outcome::Deny(reply) | Outcome::Error(reply) => (reply.status, reply.reason.into_owned()),
    }
}

fn status(snapshot: &Arc<Snapshot>, message: &Message) -> u16 {
    asked(snapshot, message, NOW).0
}

#[test]
fn what_was_signed_passes_and_nothing_else_does() {
    let s = filter(&json!({}));
    let good = Message::get("/a?b=1").signed_now();
    assert_eq!(status(&s, &good), 200);
    for bad in [
        Message { method: "DELETE", ..good.clone() },
        Message { host: "other.example", ..good.clone() },
        Message { target: "/b?b=1".to_owned(), ..good.clone() },
        Message { target: "/a?b=2".to_owned(), ..good.clone() },
        Message { target: "/a".to_owned(), ..good.clone() },
        Message::get("/a?b=1"),
        good.clone().with("signature", "s=:AAAA:"),
        good.clone().with("signature", "t=:AAAA:"),
        good.clone().with("signature-input", "s=1"),
        good.clone().with("signature-input", &format!("s={}", covering("\"@method\""))),
    ] {
        assert_eq!(status(&s, &bad), 401, "{bad:?}");
    }
    // Another signature, as a proxy may add, is not looked at.
    let both = good.headers.iter().cloned().map(|(n, v)| match n.as_str() {
        "signature" => (n, format!("proxy=:AAAA:, {v}")),
        _ => (n, format!("proxy=();created=1;keyid=\"theirs\", {v}")),
    });
    assert_eq!(status(&s, &Message { headers: both.collect(), ..good }), 200);
}

#[test]
fn enough_must_be_covered() {
    let s = filter(&json!({}));
    let ask = |target: &str, names: &str| {
        asked(&s, &Message::get(target).signed(&covering(names)), NOW).0
    };
    assert_eq!(ask("/a", "\"@method\" \"@authority\" \"@path\""), 200);
    assert_eq!(ask("/a?q", "\"@method\" \"@authority\" \"@path\""), 401);
    assert_eq!(ask("/a?q", "\"@method\" \"@target-uri\""), 200);
    assert_eq!(ask("/a?q", "\"@method\" \"@authority\" \"@request-target\""), 200);
    assert_eq!(ask("/a", "\"@authority\" \"@path\""), 401);
    let s = filter(&json!({"components": ["X-Tenant"]}));
    let of = |names: &str| {
        let message = Message::get("/").with("x-tenant", " a=1, b=2 ");
        asked(&s, &message.signed(&covering(names)), NOW).0
    };
    assert_eq!(of("\"x-tenant\""), 200);
    assert_eq!(of("\"x-tenant\";bs"), 200);
    assert_eq!(of("\"x-tenant\";key=\"a\""), 401);
    assert_eq!(of("\"@method\""), 401);
}

#[test]
fn components_that_cannot_be_had_are_refused_in_words() {
    let request = Message::get("/?a=1&a=2&b=x+y%2Fz").with("x-d", "a=1, b=(1 2);c").request();
    let base = |names: &str| {
        message::read(&format!("s={}", covering(names)), "s=:AA==:").unwrap()[0].base(&request)
    };
    let value = |names: &str| base(names).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(value("\"@query-param\";name=\"b\""), "\"@query-param\";name=\"b\": x%20y%2Fz");
    assert_eq!(value("\"x-d\";key=\"b\""), "\"x-d\";key=\"b\": (1 2);c");
    assert_eq!(value("\"@target-uri\""), "\"@target-uri\": https://api.example/?a=1&a=2&b=x+y%2Fz");
    for bad in [
        "\"@query-param\";name=\"a\"",
        "\"@query-param\";name=\"none\"",
        "\"@query-param\"",
        "\"@status\"",
        "\"@method\";req",
        "\"x-d\";sf",
        "\"x-d\";key=\"z\"",
        "\"X-D\"",
        "\"none\"",
        "\"@method\" \"@method\"",
        "method",
    ] {
        assert!(base(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_signature_has_its_time() {
    let s = filter(&json!({"maxAge": "2m", "clockSkew": "10s"}));
    let good = Message::get("/").signed_now();
    for (now, expected) in
        [(NOW - 11, 401), (NOW - 10, 200), (NOW, 200), (NOW + 120, 200), (NOW + 121, 401)]
    {
        assert_eq!(asked(&s, &good, now).0, expected, "{now}");
    }
    let names = "\"@method\" \"@authority\" \"@path\"";
    let with = |parameters: &str| {
        asked(&s, &Message::get("/").signed(&format!("({names});keyid=\"k\"{parameters}")), NOW)
    };
    assert_eq!(with("").0, 401);
    assert_eq!(with(";created=\"1\"").0, 401);
    assert_eq!(with(";created=-1").0, 401);
    assert_eq!(with(&format!(";created={NOW};expires={}", NOW - 10)).0, 200);
    assert_eq!(with(&format!(";created={NOW};expires={}", NOW - 11)).1, "the signature expired");
    assert_eq!(with(&format!(";created={NOW};alg=\"hmac-sha256\"")).0, 200);
    assert_eq!(with(&format!(";created={NOW};alg=\"ed25519\"")).0, 401);
}

#[test]
fn a_signature_passes_once_and_without_a_store_never() {
    let s = filter(&json!({}));
    let good = Message::get("/").signed_now();
    let mut keys = Vec::new();
    let mut store = |key: String, life: Duration| {
        let known = keys.contains(&key);
        keys.push(key);
        // Not a moment shorter than the signature's own life.
        assert_eq!(life, Duration::from_secs(300 - 7 + 1));
        Ok(if known { StoreAnswer::Exists } else { StoreAnswer::Done })
    };
    let mut ask = |m: &Message| outcome(&s, m, NOW + 7, &mut store);
    assert!(matches!(ask(&good), Outcome::Allow(_)));
    assert!(matches!(ask(&good), Outcome::Deny(r) if r.reason == "the signature was used before"));
    let list = covering("\"@method\" \"@authority\" \"@path\"");
    let nonce = |nonce: &str| Message::get("/").signed(&format!("{list};nonce=\"{nonce}\""));
    assert!(matches!(ask(&nonce("1")), Outcome::Allow(_)));
    assert!(matches!(ask(&nonce("2")), Outcome::Allow(_)));
    assert!(matches!(ask(&nonce("1")), Outcome::Deny(_)));
    let down = outcome(&s, &good, NOW, &mut |_, _| Err(StoreError));
    assert!(matches!(down, Outcome::Error(r) if r.status == 503));
    // Who is not known does not reach the store.
    let bad = Message { method: "PUT", ..good.clone() }.with("content-length", "0");
    assert!(matches!(outcome(&s, &bad, NOW, &mut |_, _| panic!()), Outcome::Deny(_)));
    let s = filter(&json!({"replayProtection": false, "requireNonce": true}));
    assert!(matches!(outcome(&s, &nonce("1"), NOW, &mut |_, _| panic!()), Outcome::Allow(_)));
    assert_eq!(asked(&s, &good, NOW).1, "the signature has no nonce");
}

fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

#[test]
fn a_body_is_the_one_that_was_signed() {
    let s = filter(&json!({}));
    let names = "\"@method\" \"@authority\" \"@path\" \"content-digest\"";
    let good = Message::post(b"hello").with("content-digest", &digest(b"hello"));
    let good = good.signed(&covering(names));
    assert_eq!(status(&s, &good), 200);
    let other = Message { body: b"hullo".to_vec(), ..good.clone() };
    assert_eq!(asked(&s, &other, NOW).1, "the body is not the one that was signed");
    let cut = Message { body: b"hel".to_vec(), ..good.clone() };
    assert_eq!(status(&s, &cut), 413);
    assert_eq!(status(&s, &Message { body: Vec::new(), ..good.clone() }), 413);
    // Without a length, Envoy says whether it is whole.
    let mut without = good.clone();
    without.headers.retain(|(n, _)| n != "content-length");
    assert_eq!(status(&s, &without), 413);
    assert_eq!(status(&s, &without.clone().with("x-envoy-auth-partial-body", "true")), 413);
    assert_eq!(status(&s, &without.with("x-envoy-auth-partial-body", "false")), 200);
    // A body that nobody signed.
    assert_eq!(status(&s, &Message::post(b"hello").signed_now()), 401);
    assert_eq!(status(&s, &Message::post(b"").signed_now()), 200);
    let hidden = Message { method: "POST", ..Message::get("/") }.signed_now();
    assert_eq!(status(&s, &hidden), 401);
    assert_eq!(status(&filter(&json!({"contentDigest": "never"})), &hidden), 200);
    let always = filter(&json!({"contentDigest": "always"}));
    assert_eq!(status(&always, &Message::get("/").signed_now()), 401);
    let empty = Message::get("/").with("content-digest", &digest(b"")).signed(&covering(names));
    assert_eq!(status(&always, &empty), 200);
}

#[test]
fn every_digest_that_is_known_must_be_right() {
    let long = STANDARD.encode(Sha512::digest(b"a"));
    let good = digest(b"a");
    assert!(body::has_digest(&good, b"a"));
    assert!(body::has_digest(&format!("{good}, sha-512=:{long}:, md5=:AAAA:"), b"a"));
    for bad in [
        "",
        "x",
        "md5=:AAAA:",
        "sha-256=1",
        "sha-256=:AAAA:",
        &format!("{good}, sha-512=:AAAA:"),
        &digest(b"b"),
    ] {
        assert!(!body::has_digest(bad, b"a"), "{bad}");
    }
}

/// `Authorization` of the profile `simple`, made as its description says.
fn simply(message: &Message, id: &str, date: &str, last: &str) -> String {
    let text = format!("{}\n{}\n{}\n{date}\n{last}", message.method, message.host, message.target);
    let tag = mac::sign(&mac::Key::new(mac::HMAC_SHA256, SECRET), text.as_bytes());
    format!("HMAC {id}:{}", STANDARD.encode(tag))
}

#[test]
fn the_simple_profile_signs_five_lines() {
    const DATE: &str = "Fri, 15 Jan 2027 08:00:00 GMT";
    let s = filter(&json!({"profile": "simple", "stripSignature": true,
        "injectRequestHeaders": [{"name": "x-key", "value": "{{ .keyID }}"}]}));
    let empty = hexadecimal(&Sha256::digest(b""));
    let plain = Message::get("/a?b=1").with("x-date", DATE);
    let good = plain.clone().with("authorization", &simply(&plain, "k", DATE, &empty));
    let passed = outcome(&s, &good, NOW, &mut |_, _| Ok(StoreAnswer::Done));
    let Outcome::Allow(changes) = passed else { panic!("{passed:?}") };
    assert_eq!(changes.set, [("x-key".to_owned(), "k".to_owned())]);
    assert_eq!(changes.remove, ["authorization"]);
    assert_eq!(changes.metadata["identity"], "k");
    let body = Message::post(b"hello").with("date", DATE);
    let hash = hexadecimal(&Sha256::digest(b"hello"));
    let signed = body.clone().with("authorization", &simply(&body, "k", DATE, &hash));
    assert_eq!(status(&s, &signed), 200);
    assert_eq!(status(&s, &Message { body: b"hel".to_vec(), ..signed.clone() }), 413);
    for bad in [
        Message { body: b"hullo".to_vec(), ..signed },
        Message { target: "/a?b=2".to_owned(), ..good.clone() },
        good.clone().with("x-date", "Fri, 15 Jan 2027 08:00:01 GMT"),
        good.clone().with("x-date", "now"),
        good.clone().with("authorization", &simply(&plain, "other", DATE, &empty)),
        good.clone().with("authorization", &simply(&plain, "unknown", DATE, &empty)),
        good.clone().with("authorization", "HMAC k"),
        good.clone().with("authorization", "HMAC k:%"),
        good.clone().with("authorization", "Bearer k:AAAA"),
        plain.clone(),
    ] {
        assert_eq!(status(&s, &bad), 401, "{bad:?}");
    }
    assert_eq!(asked(&s, &good, NOW + 301).0, 401);
    let never = filter(&json!({"profile": "simple", "contentDigest": "never"}));
    let dash = body.clone().with("authorization", &simply(&body, "k", DATE, "-"));
    assert_eq!(status(&never, &dash), 200);
    assert_eq!(status(&s, &dash), 401);
}

#[test]
fn a_refusal_says_what_is_wanted() {
    let of = |more: &Json| {
        let refused = outcome(&filter(more), &Message::get("/"), NOW, &mut |_, _| panic!());
        let Outcome::Deny(reply) = refused else { panic!("{refused:?}") };
        let header = |name: &str| {
            reply
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
                .unwrap_or_default()
        };
        [header("www-authenticate"), header("accept-signature")]
    };
    assert_eq!(
        of(&json!({"components": ["@method", "Date"], "tag": "app"})),
        ["Signature realm=\"x.ns\"", "sig=(\"@method\" \"date\");created;keyid;tag=\"app\"",]
    );
    assert_eq!(of(&json!({"profile": "simple", "realm": "a\"b"})), ["HMAC realm=\"a\\\"b\"", ""]);
}

#[test]
fn what_is_wrong_is_told() {
    let keys = json!({"k": String::from_utf8_lossy(SECRET), "short": "abc", "pem": ED});
    let all = json!([{"secretName": "keys", "key": "k"}]);
    for (spec, words) in [
        (json!({}), "nobody could pass"),
        (json!({"keys": [{"secretName": "none"}]}), "there is no Secret"),
        (json!({"keys": [{"secretName": "keys"}]}), "shorter than 16 bytes"),
        (json!({"keys": [{"secretName": "keys", "key": "x"}]}), "has no key `x`"),
        (json!({"keys": [{"secretName": "keys", "keyID": "x"}]}), "for one key"),
        (
            json!({"keys": [{"secretName": "keys", "key": "k", "algorithm": "ed25519"}]}),
            "no public key",
        ),
        (
            json!({"keys": [{"secretName": "keys", "key": "pem", "algorithm": "rsa-pss-sha512"}]}),
            "not one for",
        ),
        (json!({"keys": [{"secretName": "keys", "key": "k", "algorithm": "md5"}]}), "none of hmac"),
        (json!({"keys": [{"secretName": "keys", "key": "pem"}]}), "ends with a line break"),
        (json!({"keys": all.clone(), "profile": "aws"}), "not a profile"),
        (json!({"keys": all.clone(), "components": []}), "signature of nothing"),
        (json!({"keys": all.clone(), "components": ["@status"]}), "no component"),
        (json!({"keys": all.clone(), "maxAge": "25h"}), "longer than 24h"),
        (json!({"keys": all.clone(), "clockSkew": "2h"}), "longer than 1h"),
        (json!({"keys": all.clone(), "contentDigest": "maybe"}), "not a choice"),
        (json!({"keys": all.clone(), "profile": "simple", "tag": "x"}), "no such thing"),
        (
            json!({"keys": [{"secretName": "keys", "key": "pem", "algorithm": "ed25519"}], "profile": "simple"}),
            "profile simple is",
        ),
    ] {
        let (_, found) = snapshot(&spec, &keys);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
        assert!(!found.iter().any(|f| f.contains("0123456789abcdef")));
    }
}

proptest! {
    /// Whatever a request is, it passes when signed, and not when anything of it is changed then.
    #[test]
    fn signed_requests_pass_as_they_are(
        path in "/[a-zA-Z0-9%.;/~-]{0,20}", query in proptest::option::of("[a-z=&%+0-9]{0,20}"),
        header in "[ -~]{0,20}", at in any::<proptest::sample::Index>(),
    ) {
        let target = query.map_or(path.clone(), |q| format!("{path}?{q}"));
        let s = filter(&json!({"components": ["@method", "@authority", "@path", "@query", "x-a"]}));
        let names = "\"@method\" \"@authority\" \"@path\" \"@query\" \"x-a\"";
        let good = Message::get(&target).with("x-a", &header).signed(&covering(names));
        prop_assert_eq!(status(&s, &good), 200);
        let mut bytes = good.target.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        let changed = Message { target: String::from_utf8(bytes).unwrap(), ..good.clone() };
        prop_assert_eq!(status(&s, &changed), 401);
        let changed = good.with("x-a", &format!("{header}."));
        prop_assert_eq!(status(&s, &changed), 401);
    }
}
