//! Fuzz targets of what browsers send to an OAuth2 filter: cookies, states, queries and forms.
//! Whatever comes in, nothing panics, nobody passes without a session, and nobody is sent to a place
//! that is not the provider's or one of the protected origins. `cargo test` runs each for two seconds
//! on new inputs; `cargo bolero test NAME` searches with libFuzzer for as long as one likes.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authz_core::need::{Answer, CallError, Document, Need, StoreAnswer, StoreCommand};
use authz_core::provider::Provider;
use authz_core::{Flow, Outcome, Request, Settings, Snapshot, Step, compile};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::json;
use service_kit::Object;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);
const HOSTS: [&str; 2] = ["a.test", "b.test"];
const PATHS: [&str; 5] =
    ["redirection-endpoint", "logout", "multicookie", "post-logout-redirect", ""];

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let oauth = json!({"OAuth2": {"authorizationURL": "http://idp.test", "clientID": "cl",
        "secret": "s3", "pkce": {}, "postLogoutRedirectURI": "https://a.test/bye",
        "protectedOrigins": [{"origin": "https://a.test"}, {"origin": "https://b.test"}]}});
    let object = |kind: &str, spec| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": "o", "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let rules =
        json!({"rules": [{"filters": [{"name": "o", "arguments": {"sameSite": "strict"}}]}]});
    let compiled =
        compile(&[object("Filter", oauth), object("FilterPolicy", rules)], &Settings::default());
    assert!(compiled.found.is_empty(), "{:?}", compiled.found);
    Arc::new(compiled.snapshot)
});

/// A store whose values are `value`, and a provider that is down but for what it says of itself.
fn perform(need: &Need, value: Option<&[u8]>) -> Answer {
    match need {
        Need::Random => Answer::Random([7; 32]),
        Need::Wait(_) => Answer::Waited,
        Need::Document(_) => Answer::Document(Ok(Document::Provider(Arc::new(Provider {
            issuer: "http://idp.test".to_owned(),
            authorization_endpoint: Some("http://idp.test/auth".to_owned()),
            token_endpoint: Some("http://idp.test/token".to_owned()),
            end_session_endpoint: Some("http://idp.test/bye".to_owned()),
            ..Provider::default()
        })))),
        Need::Store(StoreCommand::Get(_) | StoreCommand::Take(_)) => {
            Answer::Store(Ok(StoreAnswer::Value(value.map(<[u8]>::to_vec))))
        }
        Need::Store(_) => Answer::Store(Ok(StoreAnswer::Done)),
        _ => Answer::Http(Err(CallError::Unavailable)),
    }
}

fn run(http: attribute_context::HttpRequest, value: Option<&[u8]>) {
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    let request = Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap();
    let mut flow = Flow::new(SNAPSHOT.clone(), request, Duration::from_secs(1_800_000_000));
    let outcome = loop {
        match flow.step(&()) {
            Step::Done(outcome) => break outcome,
            Step::Need(need) => flow.answer(perform(&need, value)),
        }
    };
    let (Outcome::Deny(reply) | Outcome::Error(reply)) = outcome else { panic!("allowed") };
    let known =
        ["https://a.test/", "https://b.test/", "http://idp.test/auth?", "http://idp.test/bye?"];
    for (name, value) in &reply.headers {
        if name == "location" {
            assert!(known.iter().any(|k| value.starts_with(k)), "{value}");
        }
    }
    if reply.headers.iter().any(|(_, v)| v.starts_with("text/html")) {
        assert!(reply.body.contains("0;url=https://"), "{}", reply.body);
        assert!(!reply.body.contains("<script"), "{}", reply.body);
    }
}

/// A request to one of the paths; `bits` choose what of a good request stays.
fn ask(bits: u8, text: &[u8], value: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let id = "B".repeat(42) + "A";
    let state = format!("{id}.{}-1s.o.ns", bits & 3);
    let cookie = if bits & 4 == 0 {
        format!("ambassador_session.o.ns={text}; ambassador_xsrf.o.ns={text}")
    } else {
        format!("ambassador_session.o.ns={id}.1.1; ambassador_xsrf.o.ns=x; {text}")
    };
    let query = match bits >> 3 & 3 {
        0 => text.to_string(),
        1 => format!("state={state}&code=c&{text}"),
        2 => format!("state={text}&step=ask&at=1&code=c"),
        _ => format!("state={state}&step=take&at=1&ticket={text}"),
    };
    let path = PATHS[usize::from(bits) % PATHS.len()];
    let http = attribute_context::HttpRequest {
        method: if path == "logout" { "POST" } else { "GET" }.to_owned(),
        host: HOSTS[usize::from(bits >> 7)].to_owned(),
        path: format!("/.ambassador/oauth2/{path}?{query}"),
        headers: [
            ("cookie".to_owned(), cookie),
            ("x-forwarded-proto".to_owned(), "https".to_owned()),
        ]
        .into(),
        body: format!("realm=o.ns&_xsrf=x&{text}"),
        ..Default::default()
    };
    run(http, (bits & 0x40 != 0).then_some(value));
}

#[test]
fn what_a_browser_sends() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(u8, Vec<u8>, Vec<u8>)>()
        .for_each(|(bits, text, value)| ask(*bits, text, value));
}

#[test]
fn long_and_strange() {
    let long = "a=b;&".repeat(14_000);
    for text in [long.as_str(), "", ";;;===", "%", "%ff%00", "=\"", "a&state=x", "\"><script>x"] {
        for bits in 0..=255 {
            ask(bits, text.as_bytes(), text.as_bytes());
        }
    }
}
