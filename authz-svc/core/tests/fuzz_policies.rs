//! Fuzz targets of CEL and Rego: of what policies see of a request, and of expressions and policies
//! themselves. Whatever comes in, nothing panics, hangs or uses up the stack, and nobody passes whom
//! the policy does not let. `cargo test` runs each for two seconds on new inputs; `cargo bolero test
//! NAME` searches with libFuzzer for as long as one likes.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use authz_core::need::{Answer, Need};
use authz_core::{Flow, Outcome, Request, Settings, Snapshot, Step, compile};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::{Value, json};
use service_kit::Object;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);

fn snapshot(filter: &Value) -> Arc<Snapshot> {
    let object = |kind: &str, spec: &Value| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": "x", "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let rules = json!({"rules": [{"filters": [{"name": "x"}]}]});
    let objects = [object("Filter", filter), object("FilterPolicy", &rules)];
    Arc::new(compile(&objects, &Settings::default()).snapshot)
}

fn run(snapshot: Arc<Snapshot>, http: attribute_context::HttpRequest) -> Outcome {
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    let request = Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap();
    let mut flow = Flow::new(snapshot, request, Duration::from_secs(1_800_000_000));
    loop {
        match flow.step(&()) {
            Step::Done(outcome) => return outcome,
            Step::Need(Need::Compute(job)) => flow.answer(Answer::Computed(Some(job.run()))),
            Step::Need(need) => panic!("{need}"),
        }
    }
}

/// Both say of a request what it is, and let only `GET /open` pass.
static REGO: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let policy = "package envoy.authz\n\
        allow := {\"allowed\": open, \"body\": json.marshal(input)}\n\
        default open := false\n\
        open if { input.parsed_path == [\"open\"]; input.attributes.request.http.method == \"GET\" }";
    snapshot(&json!({"Rego": {"policies": {"a": policy}}}))
});
static CEL: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let expression = "request.path == '/open' && request.method == 'GET' \
        && size(request.query) + size(request.headers) >= 0";
    snapshot(&json!({"CEL": {"rules": [{"expression": expression}]}}))
});

#[test]
fn requests() {
    type Input = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, bool);
    bolero::check!().with_test_time(TIME).with_type::<Input>().for_each(|input| {
        let (method, path, kind, body, is_json) = input;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let kind = if *is_json { "application/json".to_owned() } else { text(kind) };
        let http = attribute_context::HttpRequest {
            method: text(method),
            path: format!("/{}", text(path)),
            headers: [("content-type".to_owned(), kind)].into(),
            raw_body: body.clone().into(),
            ..Default::default()
        };
        let is_open = http.method == "GET";
        for snapshot in [&REGO, &CEL] {
            match run(Arc::clone(snapshot), http.clone()) {
                Outcome::Allow(_) => assert!(is_open && http.path.contains("open"), "{http:?}"),
                Outcome::Deny(reply) => {
                    assert!(matches!(reply.status, 400 | 403), "{reply:?}");
                    if reply.body.starts_with("{\"attributes\"") {
                        assert!(serde_json::from_str::<Value>(&reply.body).is_ok());
                    }
                }
                Outcome::Error(reply) => panic!("{reply:?}"),
            }
        }
    });
}

/// Pieces of both languages.
const PIECES: &[&str] = &[
    "request",
    ".headers",
    ".path",
    "['a']",
    "'a'",
    "r'\\'",
    "\"",
    "'",
    "'''",
    "\\",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "&&",
    "||",
    "!",
    "==",
    "<",
    "+",
    "-",
    " in ",
    "1",
    "0x",
    "1.5e",
    "true",
    ".all(x, x",
    ".map(y, y)",
    ".exists_one(",
    "has(",
    ".matches('a*')",
    "//",
    "\n",
    "#",
    "`",
    "allow",
    " if ",
    ":= ",
    " some x ",
    " every x in ",
    "input",
    ".parsed_body",
    "f(x)",
    "not ",
    "with ",
    " as ",
    "data.",
    "package ",
    "import ",
    "default ",
    "count(",
    "|",
    "\u{e9}",
    "b'",
    "-",
];

fn text(pieces: &[u8]) -> String {
    pieces.iter().map(|piece| PIECES[usize::from(*piece) % PIECES.len()]).collect()
}

#[test]
fn expressions_and_policies() {
    bolero::check!().with_test_time(TIME).with_type::<Vec<u8>>().for_each(|pieces| {
        let text = text(pieces);
        let start = Instant::now();
        let policy = format!("package envoy.authz\nimport rego.v1\n{text}\nallow if input.x\n");
        for filter in [
            json!({"CEL": {"rules": [{"expression": text}]}}),
            json!({"Rego": {"policies": {"a": policy}}}),
        ] {
            run(snapshot(&filter), Default::default());
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{text}");
    });
}
