use std::time::Duration;

use serde_json::{Value, json};
use service_kit::Object;

use super::*;
use crate::compile::{Settings, compile};
use crate::need::{Answer, Need};
use crate::{Flow, Outcome, Request, Snapshot, Step};

fn snapshot(file: &str, spec: &Value) -> (Arc<Snapshot>, Vec<String>) {
    let object = |kind: &str, name: &str, rest: (&str, Value)| {
        let version = if kind == "Secret" { "v1" } else { "getambassador.io/v3alpha1" };
        let mut json = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": name, "namespace": "ns"}});
        json[rest.0] = rest.1;
        Object::from_json(json).unwrap()
    };
    let objects = [
        object("Secret", "users", ("stringData", json!({"auth": file}))),
        object("Filter", "x", ("spec", json!({"Basic": spec}))),
        object("FilterPolicy", "p", ("spec", json!({"rules": [{"filters": [{"name": "x"}]}]}))),
    ];
    let compiled = compile(objects.iter(), &Settings::default());
    (Arc::new(compiled.snapshot), compiled.found.iter().map(ToString::to_string).collect())
}

fn good() -> Arc<Snapshot> {
    let file = format!("# staff\nann:{}\n", bcrypt::hash("sesame", 4).unwrap());
    let spec = json!({"users": [{"secretName": "users"}],
        "injectRequestHeaders": [{"name": "x-user", "value": "{{ .user }}"}]});
    let (snapshot, found) = snapshot(&file, &spec);
    assert!(found.is_empty(), "{found:?}");
    snapshot
}

/// The outcome, and how many hashes were looked at.
fn ask(snapshot: &Arc<Snapshot>, header: Option<&str>, now: u64) -> (Outcome, usize) {
    use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
    use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    let headers = header.map(|h| ("authorization".to_owned(), h.to_owned()));
    let http = HttpRequest { headers: headers.into_iter().collect(), ..HttpRequest::default() };
    let request = Request::from_check(CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(attribute_context::Request { http: Some(http), time: None }),
            ..AttributeContext::default()
        }),
    });
    let mut flow = Flow::new(snapshot.clone(), request.unwrap(), Duration::from_secs(now));
    let mut looks = 0;
    loop {
        match flow.step(&()) {
            Step::Done(outcome) => return (outcome, looks),
            Step::Need(Need::Compute(job)) => {
                looks += 1;
                flow.answer(Answer::Computed(Some(job.run())));
            }
            Step::Need(need) => panic!("needs {need}"),
        }
    }
}

fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

fn status(outcome: &Outcome) -> u16 {
    match outcome {
        Outcome::Allow(_) => 200,
        Outcome::Deny(reply) | Outcome::Error(reply) => reply.status,
    }
}

#[test]
fn the_right_password_passes_and_is_known_from_then_on() {
    let snapshot = good();
    let header = basic("ann:sesame");
    let (outcome, looks) = ask(&snapshot, Some(&header), 100);
    let Outcome::Allow(mutations) = outcome else { panic!("denied") };
    assert_eq!(mutations.set, [("x-user".to_owned(), "ann".to_owned())]);
    assert_eq!(mutations.remove, ["authorization"]);
    assert_eq!(mutations.metadata["identity"], "ann");
    assert_eq!(looks, 1);
    assert_eq!(ask(&snapshot, Some(&header), 399).1, 0);
    let (outcome, looks) = ask(&snapshot, Some(&header), 400);
    assert_eq!((status(&outcome), looks), (200, 1), "after a while it is looked at again");
}

#[test]
fn all_else_is_challenged() {
    let snapshot = good();
    let wrong = [
        None,
        Some("Bearer x".to_owned()),
        Some("Basic".to_owned()),
        Some("Basic !!!".to_owned()),
        Some(basic("ann")),
        Some(basic("ann:Sesame")),
        Some(basic("bob:sesame")),
        Some(basic(":sesame")),
        Some(basic(&format!("ann:{}", "x".repeat(2000)))),
        Some(basic("a\nn:sesame")),
    ];
    for header in wrong {
        let (outcome, _) = ask(&snapshot, header.as_deref(), 0);
        let Outcome::Deny(reply) = outcome else { panic!("{header:?} passes") };
        assert_eq!(reply.status, 401, "{header:?}");
        let challenge =
            ("www-authenticate".to_owned(), "Basic realm=\"x.ns\", charset=\"UTF-8\"".to_owned());
        assert!(reply.headers.contains(&challenge), "{:?}", reply.headers);
    }
}

#[test]
fn somebody_unknown_takes_as_long_as_somebody_known() {
    let snapshot = good();
    for text in ["ann:wrong", "bob:wrong"] {
        assert_eq!(ask(&snapshot, Some(&basic(text)), 0).1, 1, "{text}");
    }
}

#[test]
fn who_tries_too_often_waits_and_the_right_password_was_not_forgotten() {
    let snapshot = good();
    let right = basic("ann:sesame");
    ask(&snapshot, Some(&right), 0);
    let mut looks = 0;
    for i in 0..30 {
        looks += ask(&snapshot, Some(&basic(&format!("ann:wrong{i}"))), 1).1;
    }
    assert_eq!(looks, 10);
    let (outcome, _) = ask(&snapshot, Some(&basic("ann:wrong99")), 2);
    assert_eq!(status(&outcome), 429);
    assert_eq!(status(&ask(&snapshot, Some(&right), 2).0), 200);
    assert_eq!(ask(&snapshot, Some(&basic("ann:wrong99")), 62).1, 1);
}

#[test]
fn what_is_wrong_is_told_without_the_hash() {
    let users = json!({"users": [{"secretName": "users"}]});
    for (file, spec, words) in [
        ("ann:sesame", &users, "line 1 of the file, user ann: its hash is of no kind"),
        ("\nann", &users, "line 2 of the file is not like user:hash"),
        ("", &json!({"users": []}), "nobody could pass"),
        ("", &json!({"users": [{"secretName": "nope"}]}), "no Secret nope.ns"),
        ("", &json!({"users": [{"secretName": "users", "key": "k"}]}), "no key `k`"),
    ] {
        let (_, found) = snapshot(file, spec);
        assert!(found.iter().any(|f| f.contains(words)), "{words}: {found:?}");
        assert!(!found.iter().any(|f| f.contains("sesame")), "{found:?}");
    }
}
