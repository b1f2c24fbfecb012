//! Fuzz target of the bytes that come from Envoy: whatever they are, nothing panics, protobuf reads the
//! same, and nobody passes a guard. `cargo test` runs it for two seconds on new inputs; `cargo bolero
//! test NAME` searches with libFuzzer for as long as one likes.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authz_core::{Flow, Outcome, Request, Settings, Snapshot, Step, compile};
use prost::Message as _;
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::json;
use service_kit::Object;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);

/// Everything is guarded by an API key that nobody has.
static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let object = |kind: &str, spec| {
        Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
            "metadata": {"name": "g", "namespace": "ns"}, "spec": spec}))
        .unwrap()
    };
    let secret = Object::from_json(json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "namespace": "ns"},
        "stringData": {"k": "c1f0b3a2-nobody-has-it"}}))
    .unwrap();
    let filter = object("Filter", json!({"APIKey": {"keys": [{"secretName": "s"}]}}));
    let rules = json!({"rules": [{"host": "*.test", "path": "/a/*", "filters": [{"name": "g"}]},
        {"filters": [{"name": "g"}]}]});
    let objects = [secret, filter, object("FilterPolicy", rules)];
    let compiled = compile(&objects, &Settings::default());
    assert!(compiled.found.is_empty(), "{:?}", compiled.found);
    Arc::new(compiled.snapshot)
});

/// Whether the bytes are a request that was judged; it is never let pass.
fn judge(bytes: &[u8]) -> bool {
    let own = Request::decode(bytes.to_vec().into());
    let theirs = CheckRequest::decode(bytes).map_err(|_| "the check cannot be read");
    let theirs = theirs.and_then(Request::from_check);
    let (request, theirs) = match (own, theirs) {
        (Ok(own), Ok(theirs)) => (own, theirs),
        (own, theirs) => {
            assert_eq!(own.err(), theirs.err());
            return false;
        }
    };
    assert!(request.headers().eq(theirs.headers()));
    assert!(request.context_extensions().eq(theirs.context_extensions()));
    assert_eq!(request.check(), theirs.check());
    assert_eq!(request.body(), theirs.body());
    for read in [Request::authority, Request::path_and_query, Request::method, Request::scheme] {
        assert_eq!(read(&request), read(&theirs));
    }
    let now = Duration::from_secs(1_800_000_000);
    match Flow::new(SNAPSHOT.clone(), request, now).step(&()) {
        Step::Done(Outcome::Deny(_)) => true,
        other => panic!("{other:?}"),
    }
}

/// Bytes as they are.
#[test]
fn bytes() {
    bolero::check!().with_test_time(TIME).for_each(|bytes: &[u8]| {
        judge(bytes);
    });
}

/// Bytes within the messages that have HTTP requests.
#[test]
fn requests() {
    let wrap = |number: u8, bytes: &[u8]| {
        let mut message = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut message);
        message.extend_from_slice(bytes);
        message
    };
    bolero::check!().with_test_time(TIME).for_each(|bytes: &[u8]| {
        judge(&wrap(1, &wrap(4, &wrap(2, bytes))));
    });
}

/// Texts in their places.
#[test]
fn texts() {
    type Input = (String, String, Vec<(String, String)>, Vec<u8>);
    bolero::check!().with_test_time(TIME).with_type::<Input>().for_each(
        |(host, path, headers, body)| {
            let http = attribute_context::HttpRequest {
                host: host.clone(),
                path: path.clone(),
                headers: headers.iter().cloned().collect(),
                raw_body: body.clone().into(),
                ..Default::default()
            };
            let request = attribute_context::Request { http: Some(http), time: None };
            let attributes = AttributeContext { request: Some(request), ..Default::default() };
            let check = CheckRequest { attributes: Some(attributes) };
            assert!(judge(&check.encode_to_vec()));
        },
    );
}
