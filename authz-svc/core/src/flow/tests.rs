use proptest::prelude::*;
use serde_json::json;
use service_kit::Object;

use super::*;
use crate::compile::{Settings, compile};
use crate::need::{CallError, Document};

const SECRET: &str = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ks", "namespace": "ns"}, "stringData": {"one": "aaa"}}"#;

fn snapshot(
    filters: &[(&str, serde_json::Value)],
    rules: serde_json::Value,
) -> (Arc<Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, spec: &serde_json::Value| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let mut objects = vec![Object::from_json(serde_json::from_str(SECRET).unwrap()).unwrap()];
    objects.extend(filters.iter().map(|(name, spec)| object("Filter", name, spec)));
    objects.push(object("FilterPolicy", "p", &json!({"rules": rules})));
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn request(host: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
    let http = attribute_context::HttpRequest {
        host: host.to_owned(),
        path: path.to_owned(),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    Request::from_check(CheckRequest {
        attributes: Some(AttributeContext { request: Some(request), ..Default::default() }),
    })
    .unwrap()
}

fn run(snapshot: &Arc<Snapshot>, request: Request) -> Outcome {
    match Flow::new(snapshot.clone(), request, Duration::from_secs(1_800_000_000)).step(&()) {
        Step::Done(outcome) => outcome,
        Step::Need(fetch) => panic!("needs {fetch:?}"),
    }
}

fn status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Allow(_) => 200,
        Outcome::Deny(reply) | Outcome::Error(reply) => reply.status,
    }
}

fn key() -> serde_json::Value {
    json!({"APIKey": {"keys": [{"secretName": "ks"}]}})
}

fn unsigned() -> serde_json::Value {
    json!({"JWT": {"validAlgorithms": ["none"], "injectRequestHeaders": [{"name": "X-Sub", "value": "{{.token.Claims.sub}}"}]}})
}

fn token(claims: serde_json::Value) -> String {
    use base64::Engine as _;
    let b64 = |v: &serde_json::Value| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(v.to_string())
    };
    format!("Bearer {}.{}.", b64(&json!({"alg": "none"})), b64(&claims))
}

#[test]
fn the_first_rule_counts_and_no_rule_allows() {
    let rules = json!([
        {"host": "a.test", "path": "/open/*"},
        {"host": "*.test", "path": "*", "filters": [{"name": "k"}]},
    ]);
    let (s, found) = snapshot(&[("k", key())], rules);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(status(run(&s, request("A.test:80", "/open/x?y", &[]))), 200);
    assert_eq!(status(run(&s, request("a.test", "/x", &[]))), 401);
    assert_eq!(status(run(&s, request("a.test", "/x", &[("x-api-key", "aaa")]))), 200);
    assert_eq!(status(run(&s, request("other", "/x", &[]))), 200);
}

#[test]
fn an_allowed_token_sets_headers_that_later_filters_see() {
    let rules = json!([{"filters": [
        {"name": "j"},
        {"name": "k", "ifRequestHeader": {"name": "x-sub", "value": "bob"}},
    ]}]);
    let (s, _) = snapshot(&[("k", key()), ("j", unsigned())], rules);
    let ann = token(json!({"sub": "ann"}));
    let Outcome::Allow(m) =
        run(&s, request("a", "/", &[("authorization", &ann), ("x-sub", "root")]))
    else {
        panic!("denied");
    };
    assert_eq!(m.set, [("x-sub".to_owned(), "ann".to_owned())]);
    let bob = token(json!({"sub": "bob"}));
    assert_eq!(status(run(&s, request("a", "/", &[("authorization", &bob)]))), 401);
}

#[test]
fn what_is_broken_denies_even_where_denials_are_skipped() {
    let skip = json!([{"filters": [{"name": "x", "onDeny": "continue"}]}]);
    for (filter, word) in [
        (json!({"OAuth2": {}}), "the identity provider is missing"),
        (json!({"JWT": {"validAlgorithms": ["none"]}, "APIKey": {"keys": []}}), "exactly one kind"),
        (json!({"JWT": {"validAlgorithms": ["none"], "requireAudiance": true}}), "unknown field"),
        (json!({"APIKey": {"keys": [{"secretName": "nope"}]}}), "no Secret nope.ns"),
        (json!({"JWT": {"jwksURI": "keys"}}), "not an absolute URL"),
        (json!({"JWT": {"jwks": {"keys": []}}}), "no key that can be used"),
    ] {
        let (s, found) = snapshot(&[("x", filter)], skip.clone());
        assert_eq!(status(run(&s, request("a", "/", &[]))), 500);
        assert!(found.iter().any(|f| f.contains(word)), "{word}: {found:?}");
    }
    let (s, found) = snapshot(&[], skip);
    assert_eq!(status(run(&s, request("a", "/", &[]))), 500);
    assert!(found[0].contains("there is no Filter x.ns"));
}

#[test]
fn a_broken_rule_still_matches() {
    for rule in [
        json!({"host": "a.test", "path": "/x[", "filters": []}),
        json!({"host": "a.test", "filters": [{"name": "k", "onDeny": "maybe"}]}),
        json!({"host": "a.test", "filters": [{"name": "k", "arguments": {"scope": ["x"]}}]}),
        json!({"host": "a.test", "filters": [{"name": "k", "ifRequestHeader": {"name": "x", "value": "a", "valueRegex": "b"}}]}),
        json!({"host": "a.test", "filtres": []}),
        json!({"host": "a.test", "filters": "k"}),
    ] {
        let (s, found) = snapshot(&[("k", key())], json!([rule]));
        assert_eq!(
            status(run(&s, request("a.test", "/y", &[("x-api-key", "aaa")]))),
            500,
            "{found:?}"
        );
        assert_eq!(status(run(&s, request("b.test", "/y", &[]))), 200);
    }
}

#[test]
fn keys_are_asked_for_once_and_again_for_an_unknown_id() {
    let (s, found) = snapshot(
        &[("j", json!({"JWT": {"jwksURI": "https://idp.test/k"}}))],
        json!([{"filters": [{"name": "j"}]}]),
    );
    assert!(found.is_empty());
    let text = "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im4ifQ.e30.AA";
    let mut flow = Flow::new(s, request("a", "/", &[("authorization", text)]), Duration::ZERO);
    let Step::Need(Need::Document(first)) = flow.step(&()) else { panic!("no fetch") };
    assert!(!first.refresh);
    flow.answer(Answer::Document(Ok(Document::KeySet(Arc::default()))));
    let Step::Need(Need::Document(second)) = flow.step(&()) else { panic!("no second fetch") };
    assert!(second.refresh);
    flow.answer(Answer::Document(Err(CallError::Unavailable)));
    let Step::Done(Outcome::Deny(reply)) = flow.step(&()) else { panic!("not denied") };
    assert_eq!(reply.status, 401);
}

#[test]
fn no_keys_is_our_fault() {
    let (s, _) = snapshot(
        &[("j", json!({"JWT": {"jwksURI": "https://idp.test/k"}}))],
        json!([{"filters": [{"name": "j"}]}]),
    );
    let text = "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im4ifQ.e30.AA";
    let mut flow = Flow::new(s, request("a", "/", &[("authorization", text)]), Duration::ZERO);
    let Step::Need(_) = flow.step(&()) else { panic!("no fetch") };
    flow.answer(Answer::Document(Err(CallError::Unavailable)));
    let Step::Done(Outcome::Error(reply)) = flow.step(&()) else { panic!("not denied") };
    assert_eq!(reply.status, 500);
    assert!(reply.headers.iter().all(|(name, _)| name != "www-authenticate"));
}

#[test]
fn refusals_follow_rfc_6750() {
    let (s, _) = snapshot(
        &[("j", unsigned())],
        json!([{"filters": [{"name": "j", "arguments": {"scope": ["a", "b"]}}]}]),
    );
    let good = token(json!({"scope": "b c a"}));
    let poor = token(json!({"scp": ["a"]}));
    for (header, status, challenge) in [
        ("", 401, "Bearer realm=\"j.ns\""),
        ("Basic x", 401, "Bearer realm=\"j.ns\""),
        ("a.b.c", 401, "Bearer realm=\"j.ns\""),
        ("Bearer", 400, "error=\"invalid_request\""),
        ("Bearer a b", 400, "error=\"invalid_request\""),
        ("Bearer junk", 401, "error=\"invalid_token\""),
        (poor.as_str(), 403, "error=\"insufficient_scope\""),
        (good.as_str(), 200, ""),
    ] {
        match run(&s, request("a", "/", &[("authorization", header)])) {
            Outcome::Allow(_) => assert_eq!(status, 200, "{header}"),
            Outcome::Deny(reply) | Outcome::Error(reply) => {
                assert_eq!(reply.status, status, "{header}");
                let value = &reply.headers.iter().find(|(n, _)| n == "www-authenticate").unwrap().1;
                assert!(value.contains(challenge), "{value}");
                assert!(
                    reply.body.contains(&format!("\n\t\"status_code\": {status}")),
                    "{}",
                    reply.body
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn no_garbage_passes(header in "(Bearer )?[A-Za-z0-9._=-]{0,60}|\\PC{0,40}") {
        let (s, _) = snapshot(&[("j", unsigned())], json!([{"filters": [{"name": "j"}]}]));
        prop_assert_ne!(status(run(&s, request("a", "/", &[("authorization", &header)]))), 200);
    }

    #[test]
    fn a_changed_token_does_not_pass(at in 0usize..400, to in any::<u8>()) {
        const JWKS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "demo", "alg": "ES256", "use": "sig", "x": "pUrMXSS2owyA_4vqrEBeU_vHTZU5WnxkDz4aVPrvpNY", "y": "tyqUQGuaTyY_oNAgzVZ4xGCRi2WUNsnl9ntZTNFf3gg"}]}"#;
        const GOOD: &str = include_str!("../../../../docs/examples/tokens/alice.jwt");
        let (s, _) = snapshot(&[("j", json!({"JWT": {"jwks": JWKS}}))], json!([{"filters": [{"name": "j"}]}]));
        let good = GOOD.trim();
        prop_assert_eq!(status(run(&s, request("a", "/", &[("authorization", &format!("Bearer {good}"))]))), 200);
        let mut bytes = good.as_bytes().to_vec();
        let at = at % bytes.len();
        // The last character carries bits that decoding drops; all others count.
        prop_assume!(at + 1 < bytes.len() && bytes[at] != to && to.is_ascii_graphic());
        bytes[at] = to;
        let bad = format!("Bearer {}", String::from_utf8(bytes).unwrap());
        prop_assert_ne!(status(run(&s, request("a", "/", &[("authorization", &bad)]))), 200);
    }
}
