//! Fuzz target of signatures: whatever comes in, nothing panics, and nobody passes without a key.
//! `cargo test` runs it for two seconds on new inputs.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authz_core::{Flow, Outcome, Request, Settings, Snapshot, Step, compile};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::json;
use service_kit::Object;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);
const NOW: u64 = 1_800_000_000;

static SNAPSHOTS: LazyLock<[Arc<Snapshot>; 2]> = LazyLock::new(|| {
    let object = |kind: &str, rest: (&str, serde_json::Value)| {
        let version = if kind == "Secret" { "v1" } else { "getambassador.io/v3alpha1" };
        let mut json = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": "x", "namespace": "ns"}});
        json[rest.0] = rest.1;
        Object::from_json(json).unwrap()
    };
    ["httpSignatures", "simple"].map(|profile| {
        let spec = json!({"profile": profile, "keys": [{"secretName": "x"}]});
        let rules = json!({"rules": [{"filters": [{"name": "x"}]}]});
        let objects = [
            object("Secret", ("stringData", json!({"k": "0123456789abcdef"}))),
            object("Filter", ("spec", json!({"HMAC": spec}))),
            object("FilterPolicy", ("spec", rules)),
        ];
        let compiled = compile(&objects, &Settings::default());
        assert!(compiled.found.is_empty(), "{:?}", compiled.found);
        Arc::new(compiled.snapshot)
    })
});

fn passes(snapshot: &Arc<Snapshot>, input: &str, text: &str) -> bool {
    let names = ["signature", "content-digest", "authorization", "x-date", "x-text"];
    let mut headers: std::collections::BTreeMap<String, String> =
        names.iter().map(|n| ((*n).to_owned(), text.to_owned())).collect();
    headers.insert("signature-input".to_owned(), input.to_owned());
    let http = attribute_context::HttpRequest {
        method: "GET".to_owned(),
        host: "a.test".to_owned(),
        path: format!("/?{text}"),
        headers,
        ..Default::default()
    };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    let request = Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap();
    match Flow::new(snapshot.clone(), request, Duration::from_secs(NOW)).step(&()) {
        Step::Done(outcome) => matches!(outcome, Outcome::Allow(_)),
        // To ask the store is to believe the signature.
        Step::Need(_) => true,
    }
}

#[test]
fn forged_signatures_pass_nowhere() {
    bolero::check!().with_test_time(TIME).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        let (first, second) = text.split_at(half);
        let known = format!(
            "s=(\"@method\" \"@authority\" \"@path\" \"@query\" {first});created={NOW};keyid=\"k\""
        );
        for snapshot in SNAPSHOTS.iter() {
            assert!(!passes(snapshot, first, second));
            assert!(!passes(snapshot, &known, &format!("s=:{second}:")));
            assert!(!passes(snapshot, &known, "s=:AAAA:"));
        }
    });
}
