//! What operators see of authz-svc: trials by shadow, passing when nothing can be decided,
//! explanations, the audit log and counters.

#![allow(clippy::unwrap_used)]

use e2e::authorizer::{Authorizer, check};
use e2e::collector::{Collector, Protocol};
use e2e::{TempDir, free_addr, http};
use serde_json::{Value, json};

const KEYS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: edge}
stringData: {ann: open-sesame}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: key, namespace: edge}
spec: {APIKey: {keys: [{secretName: keys}]}}
"#;

fn policy(name: &str, host: &str, filter: &str, more: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy\n\
         metadata: {{name: {name}, namespace: edge}}\n\
         spec:\n  {more}\n  rules: [{{host: {host}, filters: [{{name: {filter}}}]}}]\n"
    )
}

fn explain(service: &Authorizer, wanted: &Value) -> Value {
    let request = http::Request {
        method: "POST".to_owned(),
        path: "/explain".to_owned(),
        headers: vec![
            ("host".to_owned(), "admin".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        body: wanted.to_string(),
    };
    http::send(service.admin, &request).unwrap().json()
}

#[test]
fn a_policy_in_shadow_lets_pass_and_counts_what_it_had_refused() {
    let folder = TempDir::new("shadow");
    let trial = policy("trial", "trial.test", "key", "shadow: true");
    folder.write("a.yaml", &format!("{KEYS}{trial}{}", policy("real", "real.test", "key", "")));
    let mut service = Authorizer::start(&folder, &[], &[]);
    assert!(service.get("trial.test", "/", &[]).allow);
    assert!(service.get("trial.test", "/", &[("x-api-key", "open-sesame")]).allow);
    assert_eq!(service.get("real.test", "/", &[]).status, 401);
    let count = |policy, result| {
        service.metric(&format!(
            "authz_decisions_total{{policy=\"{policy}.edge\",result=\"{result}\"}}"
        ))
    };
    assert_eq!(count("trial", "shadow_denied"), Some(1.0));
    assert_eq!(count("trial", "allowed"), Some(1.0));
    assert_eq!(count("real", "denied"), Some(1.0));
}

#[test]
fn only_a_policy_that_says_so_lets_pass_what_cannot_be_decided() {
    let folder = TempDir::new("failure-mode");
    let dead = free_addr();
    let jwt = format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
         metadata: {{name: jwt, namespace: edge}}\nspec: {{JWT: {{jwksURI: 'http://{dead}/keys'}}}}\n"
    );
    let broken = "---\napiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
                  metadata: {name: bad, namespace: edge}\nspec: {JWT: {}}\n";
    folder.write(
        "a.yaml",
        &[
            jwt.as_str(),
            broken,
            &policy("open", "open.test", "jwt", "failureModeAllow: true"),
            &policy("closed", "closed.test", "jwt", ""),
            &policy("broken", "broken.test", "bad", "failureModeAllow: true"),
        ]
        .concat(),
    );
    let mut service = Authorizer::start(&folder, &[], &[]);
    let token = [("authorization", "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im4ifQ.e30.AA")];
    assert!(service.get("open.test", "/", &token).allow);
    assert_eq!(service.get("open.test", "/", &[]).status, 401);
    assert_eq!(service.get("closed.test", "/", &token).status, 500);
    assert_eq!(service.get("broken.test", "/", &token).status, 500);
    let passed = "authz_decisions_total{policy=\"open.edge\",result=\"failed_open\"}";
    assert_eq!(service.metric(passed), Some(1.0));
}

#[test]
fn a_refusal_is_explained_and_no_credential_is_told() {
    let folder = TempDir::new("explain");
    folder.write("a.yaml", &format!("{KEYS}{}", policy("shop", "shop.test", "key", "")));
    let log = folder.path().join("audit.log");
    let arguments = ["--audit-log", log.to_str().unwrap()];
    let mut service = Authorizer::start(&folder, &arguments, &[]);
    let wrong = [("x-api-key", "swordfish"), ("x-request-id", "r-1"), ("user-agent", "curl")];
    assert_eq!(service.get("shop.test", "/basket?token=swordfish", &wrong).status, 401);
    assert!(service.get("shop.test", "/", &[("x-api-key", "open-sesame")]).allow);

    let kept = http::get(service.admin, "/decisions/r-1").unwrap();
    let record = kept.json();
    assert_eq!(record["rule"], "shop.edge[0]");
    assert_eq!(record["result"], "denied");
    assert_eq!(record["status"], 401);
    assert_eq!(record["path"], "/basket");
    let filter = &record["filters"][0];
    assert_eq!(
        (filter["filter"].as_str(), filter["kind"].as_str()),
        (Some("key.edge"), Some("APIKey"))
    );
    assert_eq!(filter["reason"], "the API key is not valid");
    let all = http::get(service.admin, "/decisions").unwrap();
    assert!(!all.json()["decisions"].as_array().unwrap().is_empty());
    assert_eq!(http::get(service.admin, "/decisions/nope").unwrap().status, 404);

    let good = json!({"host": "shop.test", "headers": {"X-API-Key": "open-sesame"}});
    assert_eq!(explain(&service, &good)["result"], "allowed");
    let other = explain(&service, &json!({"host": "other.test"}));
    assert_eq!((other["result"].as_str(), &other["rule"]), (Some("allowed"), &Value::Null));

    service.process.wait("the audit log", |_| {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= 2)
    });
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let results: Vec<_> = lines.iter().map(|l| l["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["denied", "allowed"]);
    for told in [text, kept.body, all.body, service.process.log()] {
        assert!(!told.contains("swordfish") && !told.contains("open-sesame"), "{told}");
    }
}

#[test]
fn a_check_is_a_span_of_its_callers_trace() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CALLER: &str = "00f067aa0ba902b7";
    let (addr, dead) = (free_addr(), free_addr());
    let collector = Collector::start(Protocol::Grpc, addr);
    let folder = TempDir::new("spans");
    let external = format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: Filter\n\
         metadata: {{name: other, namespace: edge}}\nspec: {{External: {{auth_service: '{dead}'}}}}\n"
    );
    folder.write("a.yaml", &format!("{external}{}", policy("shop", "shop.test", "other", "")));
    let variables = [
        ("TRACING_ENABLED", "true"),
        ("TRACING_EXPORTER_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}")),
    ];
    let mut service = Authorizer::start(&folder, &[], &variables);
    let mut request = tonic::Request::new(check("shop.test", "/", &[]));
    let parent = format!("00-{TRACE}-{CALLER}-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    service.call(request).unwrap();
    let span = collector.wait(|span| span.name == "Authorization/Check");
    assert_eq!((span.trace.as_str(), span.parent.as_str(), span.kind), (TRACE, CALLER, 2));
    assert_eq!(
        json!(span.attributes),
        json!({
            "authz.policy": "shop.edge", "authz.rule": "shop.edge[0]", "authz.result": "failed",
            "authz.filters": ["other.edge: failed"], "http.response.status_code": 403,
        })
    );
    assert!(span.error.is_some_and(|e| e.contains("did not answer")));
    let call = collector.wait(|span| span.name == "HTTP call");
    assert_eq!((&call.parent, call.kind), (&span.id, 3));
    assert_eq!(json!(call.attributes), json!({"server.address": dead.to_string()}));
}

#[test]
fn a_check_tells_what_is_wrong_and_where() {
    let folder = TempDir::new("authz-check");
    let run = || {
        let program = e2e::process::program("authz-svc");
        let run = std::process::Command::new(program).arg("check").arg(folder.path()).output();
        let run = run.unwrap();
        (run.status.code(), String::from_utf8(run.stdout).unwrap())
    };
    folder.write("a.yaml", &policy("shop", "shop.test", "key", ""));
    folder.write("b.yaml", KEYS);
    assert_eq!(run(), (Some(0), "ok: 1 rules\n".to_owned()));
    folder.write("c.yaml", &KEYS.replace("name: key,", "name: bad,").replace("keys: [", "kees: ["));
    let (code, said) = run();
    assert_eq!(code, Some(1));
    assert!(
        said.contains("c.yaml:10: error: Filter edge/bad") && said.contains("unknown field"),
        "{said}"
    );
}
