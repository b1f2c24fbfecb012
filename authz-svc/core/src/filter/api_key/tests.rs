use std::time::Instant;

use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, attribute_context};
use service_kit::Object;

use super::*;
use crate::{Flow, Mutations, Outcome, Request, Settings, Snapshot, Step, compile};

fn object(kind: &str, name: &str, field: &str, value: &Json) -> Object {
    Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns"}, field: value}))
    .unwrap()
}

fn setting(filter: &Json, secrets: &[(&str, Json)]) -> (Arc<Snapshot>, Vec<String>) {
    let mut objects = vec![
        object("Filter", "k", "spec", &json!({ "APIKey": filter })),
        object("FilterPolicy", "p", "spec", &json!({"rules": [{"filters": [{"name": "k"}]}]})),
    ];
    objects.extend(secrets.iter().map(|(name, data)| object("Secret", name, "stringData", data)));
    let compiled = compile(&objects, &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn request(key: &str) -> Request {
    let headers = [("x-api-key".to_owned(), key.to_owned())].into();
    let http = attribute_context::HttpRequest { headers, ..Default::default() };
    let request = attribute_context::Request { http: Some(http), time: None };
    let attributes = AttributeContext { request: Some(request), ..Default::default() };
    Request::from_check(CheckRequest { attributes: Some(attributes) }).unwrap()
}

fn ask(snapshot: &Arc<Snapshot>, key: &str, now: u64) -> Result<Mutations, String> {
    let mut flow = Flow::new(snapshot.clone(), request(key), Duration::from_secs(now));
    match flow.step(&()) {
        Step::Done(Outcome::Allow(mutations)) => Ok(*mutations),
        Step::Done(Outcome::Deny(reply) | Outcome::Error(reply)) => Err(reply.reason.into()),
        Step::Need(need) => panic!("{need}"),
    }
}

#[test]
fn a_key_says_who_comes_with_which_plan_and_until_when() {
    let filter = json!({"stripHeader": true, "keys": [
        {"secretName": "gold", "plan": "gold", "expires": "2030-01-01T00:00:00Z"},
        {"secretName": "partner", "identity": "acme"},
    ]});
    let secrets = [("gold", json!({"ann": "k1", "bob": "k2"})), ("partner", json!({"x": "k3"}))];
    let (s, found) = setting(&filter, &secrets);
    assert!(found.is_empty(), "{found:?}");
    let bob = ask(&s, "k2", 0).unwrap();
    assert_eq!((&bob.metadata["identity"], &bob.metadata["plan"]), (&json!("bob"), &json!("gold")));
    assert_eq!(bob.remove, ["x-api-key"]);
    let partner = ask(&s, "k3", 4_000_000_000).unwrap();
    assert_eq!(partner.metadata["identity"], "acme");
    assert!(!partner.metadata.contains_key("plan"));
    assert!(ask(&s, "k1", 1_893_455_999).is_ok());
    assert_eq!(ask(&s, "k1", 1_893_456_000).unwrap_err(), "the API key is expired");
    assert_eq!(ask(&s, "K1", 0).unwrap_err(), "the API key is not valid");
    assert_eq!(ask(&s, "", 0).unwrap_err(), "an API key is missing");
}

#[test]
fn what_is_wrong_is_told_without_the_keys() {
    let filter = json!({"keys": [{"secretName": "a", "expires": "tomorrow"}, {"secretName": "b"}]});
    let (s, found) =
        setting(&filter, &[("a", json!({"x": "s3cret"})), ("b", json!({"y": "s3cret"}))]);
    assert!(found.iter().any(|f| f.contains("`tomorrow` is not a time")), "{found:?}");
    assert!(found.iter().any(|f| f.contains("1 of its keys stand more than once")), "{found:?}");
    assert!(!format!("{found:?} {s:?}").contains("s3cret"));
    assert!(ask(&s, "s3cret", 0).is_err(), "broken, so nobody passes");
    assert!(
        ask(&setting(&json!({"keys": [{"secretName": "a"}]}), &[("a", json!({"x": ""}))]).0, "", 0)
            .is_err()
    );
}

#[test]
fn many_keys_cost_as_one() {
    let data: Json = (0..100_000).map(|i| (format!("c{i}"), json!(format!("key-{i}")))).collect();
    let (many, _) = setting(&json!({"keys": [{"secretName": "a"}]}), &[("a", data)]);
    let (one, _) =
        setting(&json!({"keys": [{"secretName": "a"}]}), &[("a", json!({"c": "key-1"}))]);
    let time = |s: &Arc<Snapshot>| {
        let run = || {
            let begun = Instant::now();
            (0..2_000).for_each(|_| assert!(ask(s, "key-1", 0).is_ok()));
            begun.elapsed()
        };
        (0..5).map(|_| run()).min().unwrap()
    };
    assert!(time(&many) < time(&one) * 10, "a search through all would cost thousands of times");
}
