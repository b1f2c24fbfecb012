use std::time::Duration;

use serde_json::json;
use service_kit::Object;

use super::*;
use crate::compile::{Settings, compile};
use crate::need::{Answer, HttpAnswer, Need};
use crate::{Flow, Outcome, Request, Snapshot, Step};

fn snapshot(spec: &Json) -> (Arc<Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, rest: (&str, Json)| {
        let version = if kind == "Secret" { "v1" } else { "getambassador.io/v3alpha1" };
        let mut json = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}});
        json[rest.0] = rest.1;
        Object::from_json(json).unwrap()
    };
    let filters = json!([{"name": "x", "arguments": {"scope": ["read"]}}]);
    let objects = [
        object("Secret", "c", ("stringData", json!({"oauth2-client-secret": "s&s"}))),
        object("Filter", "x", ("spec", json!({"Introspection": spec}))),
        object("FilterPolicy", "p", ("spec", json!({"rules": [{"filters": filters}]}))),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn good(more: &[(&str, Json)]) -> Arc<Snapshot> {
    let mut spec = json!({"introspectionURL": "https://idp.test/i", "clientID": "gate",
        "secretName": "c", "injectRequestHeaders": [{"name": "x-user", "value": "{{ .token.Claims.sub }}"}]});
    for (name, value) in more {
        spec[*name] = value.clone();
    }
    let (snapshot, found) = snapshot(&spec);
    assert!(found.is_empty(), "{found:?}");
    snapshot
}

fn flow(snapshot: &Arc<Snapshot>, now: u64) -> Flow {
    use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
    use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    let headers = [("authorization".to_owned(), "Bearer t0k.en".to_owned())];
    let http = HttpRequest { headers: headers.into(), ..HttpRequest::default() };
    let request = Request::from_check(CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(attribute_context::Request { http: Some(http), time: None }),
            ..AttributeContext::default()
        }),
    });
    Flow::new(snapshot.clone(), request.unwrap(), Duration::from_secs(now))
}

fn answer(status: u16, body: &str) -> Answer {
    let body = body.as_bytes().to_vec();
    Answer::Http(Ok(Arc::new(HttpAnswer { status, headers: Vec::new(), body })))
}

/// The outcome when the server answers so.
fn ask(snapshot: &Arc<Snapshot>, now: u64, said: Answer) -> Outcome {
    let mut flow = flow(snapshot, now);
    let Step::Need(Need::Http(_)) = flow.step(&()) else { panic!("it is not asked") };
    flow.answer(said);
    let Step::Done(outcome) = flow.step(&()) else { panic!("it is asked twice") };
    outcome
}

fn status(outcome: &Outcome) -> u16 {
    match outcome {
        Outcome::Allow(_) => 200,
        Outcome::Deny(reply) | Outcome::Error(reply) => reply.status,
    }
}

#[test]
fn the_server_is_asked_as_rfc_7662_says() {
    let Step::Need(Need::Http(call)) = flow(&good(&[]), 0).step(&()) else { panic!("not asked") };
    assert_eq!((call.method.as_str(), call.url.as_str()), ("POST", "https://idp.test/i"));
    let form = String::from_utf8(call.body.clone()).unwrap();
    assert_eq!(form, "token=t0k%2Een&token_type_hint=access%5Ftoken");
    let basic = ("authorization".to_owned(), "Basic Z2F0ZTpzJTI2cw==".to_owned());
    assert!(call.headers.contains(&basic), "{:?}", call.headers);
    assert!(!format!("{call:?}").contains("t0k"));

    let body = good(&[("clientAuthentication", "BodyPassword".into())]);
    let Step::Need(Need::Http(call)) = flow(&body, 0).step(&()) else { panic!("not asked") };
    let form = String::from_utf8(call.body.clone()).unwrap();
    assert!(form.ends_with("&client_id=gate&client_secret=s%26s"), "{form}");
}

#[test]
fn an_active_token_passes_and_is_known_for_a_while() {
    let snapshot = good(&[]);
    let said = answer(200, r#"{"active": true, "sub": "ann", "scope": "read write", "exp": 1000}"#);
    let Outcome::Allow(mutations) = ask(&snapshot, 100, said) else { panic!("denied") };
    assert_eq!(mutations.set, [("x-user".to_owned(), "ann".to_owned())]);
    assert_eq!(mutations.metadata["identity"], "ann");
    let Step::Done(Outcome::Allow(_)) = flow(&snapshot, 159).step(&()) else { panic!("asked") };
    let Step::Need(_) = flow(&snapshot, 160).step(&()) else { panic!("believed for too long") };
}

#[test]
fn a_token_does_not_outlive_what_is_known_of_it() {
    let snapshot = good(&[("cacheTTL", "1h".into())]);
    let said = answer(200, r#"{"active": true, "scope": "read", "exp": 110}"#);
    assert_eq!(status(&ask(&snapshot, 100, said)), 200);
    let Step::Done(outcome) = flow(&snapshot, 110).step(&()) else { panic!("asked") };
    assert_eq!(status(&outcome), 401);
}

#[test]
fn nothing_but_an_active_token_for_us_passes() {
    let snapshot = || good(&[("audience", "shop".into()), ("issuer", "https://idp.test".into())]);
    let whole =
        json!({"active": true, "scope": "read", "aud": ["shop"], "iss": "https://idp.test"});
    let with = |name: &str, value: Json| {
        let mut said = whole.clone();
        said[name] = value;
        said.to_string()
    };
    assert_eq!(status(&ask(&snapshot(), 100, answer(200, &whole.to_string()))), 200);
    for (said, wanted) in [
        (with("active", json!(false)), 401),
        (with("active", json!("true")), 401),
        (with("active", Json::Null), 401),
        (with("aud", json!("other")), 401),
        (with("aud", Json::Null), 401),
        (with("iss", json!("https://evil.test")), 401),
        (with("exp", json!(99)), 401),
        (with("nbf", json!(101)), 401),
        (with("exp", json!("tomorrow")), 503),
        (with("scope", json!("write")), 403),
        ("[]".to_owned(), 503),
        ("active".to_owned(), 503),
    ] {
        assert_eq!(status(&ask(&snapshot(), 100, answer(200, &said))), wanted, "{said}");
    }
    for code in [201, 302, 401, 500] {
        assert_eq!(status(&ask(&snapshot(), 100, answer(code, &whole.to_string()))), 503, "{code}");
    }
    let down = Answer::Http(Err(CallError::Unavailable));
    assert!(matches!(ask(&snapshot(), 100, down), Outcome::Error(_)));
}

#[test]
fn an_inactive_token_costs_one_question() {
    let snapshot = good(&[]);
    assert_eq!(status(&ask(&snapshot, 100, answer(200, r#"{"active": false}"#))), 401);
    let Step::Done(outcome) = flow(&snapshot, 104).step(&()) else { panic!("asked") };
    assert_eq!(status(&outcome), 401);
    let Step::Need(_) = flow(&snapshot, 105).step(&()) else { panic!("believed for too long") };
}

#[test]
fn what_is_wrong_is_told() {
    let url = "https://idp.test/i";
    for (spec, words) in [
        (json!({"clientID": "g", "secretName": "c"}), "where tokens are asked about"),
        (json!({"introspectionURL": "idp", "clientID": "g", "secretName": "c"}), "absolute URL"),
        (json!({"introspectionURL": url, "secretName": "c"}), "no id"),
        (json!({"introspectionURL": url, "clientID": "g"}), "the Secret has no name"),
        (json!({"introspectionURL": url, "clientID": "g", "secretName": "n"}), "no Secret n.ns"),
        (
            json!({"introspectionURL": url, "clientID": "g", "secretName": "c", "cacheTTL": "2h"}),
            "longer than an hour",
        ),
        (
            json!({"introspectionURL": url, "clientID": "g", "secretName": "c",
                "clientAuthentication": "None"}),
            "is not known",
        ),
    ] {
        let (_, found) = snapshot(&spec);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
    }
}
