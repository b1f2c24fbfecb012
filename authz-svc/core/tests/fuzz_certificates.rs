//! Fuzz target of headers with certificates: whatever comes in, nothing panics, and nobody passes
//! whose certificate no authority signed. `cargo test` runs it for two seconds on new inputs.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use authz_core::filter::mtls::xfcc;
use authz_core::{Flow, Outcome, Request, Settings, Snapshot, Step, compile};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use serde_json::json;
use service_kit::Object;

/// How long new inputs are tried under `cargo test`.
const TIME: Duration = Duration::from_secs(2);

static SNAPSHOTS: LazyLock<[Arc<Snapshot>; 3]> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&key).unwrap().pem();
    let object = |kind: &str, rest: (&str, serde_json::Value)| {
        let version = if kind == "Secret" { "v1" } else { "getambassador.io/v3alpha1" };
        let mut json = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": "x", "namespace": "ns"}});
        json[rest.0] = rest.1;
        Object::from_json(json).unwrap()
    };
    ["connection", "xfcc", "clientCert"].map(|source| {
        let spec = json!({"source": source, "authorities": [{"secretName": "x"}]});
        let rules = json!({"rules": [{"filters": [{"name": "x"}]}]});
        let objects = [
            object("Secret", ("stringData", json!({"ca.crt": pem}))),
            object("Filter", ("spec", json!({"MTLS": spec}))),
            object("FilterPolicy", ("spec", rules)),
        ];
        let compiled = compile(&objects, &Settings::default());
        assert!(compiled.found.is_empty(), "{:?}", compiled.found);
        Arc::new(compiled.snapshot)
    })
});

fn passes(snapshot: &Arc<Snapshot>, text: &str) -> bool {
    let names = ["x-forwarded-client-cert", "client-cert", "client-cert-chain"];
    let http = attribute_context::HttpRequest {
        headers: names.map(|n| (n.to_owned(), text.to_owned())).into(),
        ..Default::default()
    };
    let source = attribute_context::Peer { certificate: text.to_owned(), ..Default::default() };
    let attributes = AttributeContext {
        source: Some(source),
        request: Some(attribute_context::Request { http: Some(http), time: None }),
        ..Default::default()
    };
    let request = Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap();
    match Flow::new(snapshot.clone(), request, Duration::from_secs(1_800_000_000)).step(&()) {
        Step::Done(outcome) => matches!(outcome, Outcome::Allow(_)),
        Step::Need(need) => panic!("{need}"),
    }
}

#[test]
fn forged_certificates_pass_nowhere() {
    bolero::check!().with_test_time(TIME).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let _ = xfcc::last(&text);
        for snapshot in SNAPSHOTS.iter() {
            for text in [text.to_string(), format!("Cert=\"{text}\""), format!(":{text}:")] {
                assert!(!passes(snapshot, &text));
            }
        }
    });
}
