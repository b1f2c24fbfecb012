//! Fuzz targets of tokens and of the search for rules: whatever comes in, nothing panics, and nobody
//! passes who should not. `cargo test` runs each for two seconds on new inputs; `cargo bolero test
//! NAME` searches with libFuzzer for as long as one likes.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authz_core::policy::{Chain, Found, Glob, Rule, Rules};
use authz_core::{
    DefaultDecision, Flow, Outcome, Request, Settings, Snapshot, Step, TokenCache, compile,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::json;
use service_kit::Object;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let jwks = json!({"keys": [{"kty": "oct", "kid": "k", "k": B64.encode(SECRET)}]});
    let jwt = json!({"JWT": {"jwks": jwks, "audience": "a", "injectRequestHeaders":
        [{"name": "x-claims", "value": "{{.token.Claims}} {{.token.Header.kid}}"}]}});
    let object = |kind: &str, spec| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": "j", "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let rules = json!({"rules": [{"filters": [{"name": "j", "arguments": {"scope": ["s"]}}]}]});
    let settings = Settings { token_cache: TokenCache::new(100), ..Settings::default() };
    let compiled = compile(&[object("Filter", jwt), object("FilterPolicy", rules)], &settings);
    assert!(compiled.found.is_empty(), "{:?}", compiled.found);
    Arc::new(compiled.snapshot)
});

fn request(path: &str, authorization: &str) -> Request {
    let http = attribute_context::HttpRequest {
        host: "a.test".to_owned(),
        path: path.to_owned(),
        headers: [("authorization".to_owned(), authorization.to_owned())].into(),
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap()
}

/// Asks twice, so that what is remembered says the same.
fn ask(authorization: &str) -> bool {
    let ask = || {
        let now = Duration::from_secs(1_800_000_000);
        let request = request("/", authorization);
        match Flow::new(SNAPSHOT.clone(), request, now).step(&()) {
            Step::Done(outcome) => outcome,
            Step::Need(need) => panic!("{need}"),
        }
    };
    let outcome = ask();
    assert_eq!(outcome, ask());
    let headers = match &outcome {
        Outcome::Allow(mutations) => &mutations.set,
        Outcome::Deny(reply) | Outcome::Error(reply) => {
            assert!(matches!(reply.status, 400 | 401 | 403 | 500), "{reply:?}");
            &reply.headers
        }
    };
    assert!(headers.iter().all(|(_, value)| !value.contains(['\r', '\n', '\0'])), "{headers:?}");
    matches!(outcome, Outcome::Allow(_))
}

/// What no key signed does not pass.
#[test]
fn tokens() {
    bolero::check!().with_test_time(TIME).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        assert!(!ask(&text));
        assert!(!ask(&format!("Bearer {text}")));
        let header = B64.encode(r#"{"alg":"HS256","kid":"k"}"#);
        assert!(!ask(&format!("Bearer {header}.{}.{}", B64.encode(bytes), B64.encode(bytes))));
        assert!(!ask(&format!("Bearer {}.{header}.", B64.encode(bytes))));
    });
}

/// Signed tokens with any header and claims.
#[test]
fn signed_tokens() {
    let key = EncodingKey::from_secret(SECRET);
    bolero::check!().with_test_time(TIME).with_type::<(Vec<u8>, Vec<u8>, bool)>().for_each(
        |(header, claims, fixed)| {
            let header = if *fixed { br#"{"alg":"HS256"}"#.as_slice() } else { header.as_slice() };
            let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
            let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
            let claims = serde_json::from_slice::<serde_json::Value>(claims).unwrap_or_default();
            let has_scope = claims.get("scope").is_some() || claims.get("scp").is_some();
            assert!(!ask(&format!("Bearer {signed}.{signature}")) || has_scope);
        },
    );
}

fn rule(host: &str, path: &str, open: bool) -> Option<Arc<Rule>> {
    Some(Arc::new(Rule {
        name: String::new(),
        host: Glob::new(host).ok()?,
        path: Glob::new(path).ok()?,
        chain: if open { Chain::Links(Vec::new()) } else { Chain::Broken(String::new()) },
        shadow: false,
        failure_mode_allow: false,
    }))
}

/// Any patterns and paths: a path that meets a guard as it came never gets past it, and a plain one
/// meets the first rule that matches.
#[test]
fn paths() {
    type Input = (Vec<(String, String, bool)>, String);
    bolero::check!().with_test_time(TIME).with_type::<Input>().for_each(|(patterns, path)| {
        let guard = ("*".to_owned(), "/admin/*".to_owned(), false);
        let patterns = patterns.iter().take(8).chain([&guard]);
        let list: Vec<_> = patterns.filter_map(|(h, p, open)| rule(h, p, *open)).collect();
        let rules = Rules::new(list.clone());
        for path in [format!("/{path}"), path.clone(), format!("/admin/{path}")] {
            let request = request(&path, "");
            let meets = |r: &Arc<Rule>| r.host.matches("a.test") && r.path.matches(request.path());
            let literal = list.iter().position(meets);
            let found = rules.find_index(&request, DefaultDecision::Allow);
            let guarded = |i: usize| matches!(list[i].chain, Chain::Broken(_));
            match found {
                Found::Rule(i) if !guarded(i) => assert!(literal.is_none_or(|l| !guarded(l))),
                Found::Rule(_) | Found::Ambiguous | Found::TooLong => {}
                Found::None => assert!(literal.is_none_or(|l| !guarded(l))),
            }
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'/';
            if path.starts_with('/') && path.bytes().all(plain) && !path.contains("//") {
                assert_eq!(found, literal.map_or(Found::None, Found::Rule), "{path}");
            }
        }
    });
}
