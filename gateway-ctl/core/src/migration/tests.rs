use serde_json::{Value, json};

use super::*;
use crate::{Engine, Settings};

/// The report on these objects, with what the engine says of them.
fn report(objects: &[Value]) -> Report {
    let objects: Vec<Arc<Object>> =
        objects.iter().map(|o| Arc::new(Object::from_json(o.clone()).unwrap())).collect();
    let mut engine = Engine::new(Settings::default());
    engine.apply(objects.clone(), Vec::new());
    assess(&objects, engine.diagnostics(), Vec::new(), "default", &Addresses::default())
}

fn object(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("getambassador.io/{version}"), "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": "1", "resourceVersion": "7"}, "spec": spec})
}

fn entry<'a>(report: &'a Report, name: &str) -> &'a Entry {
    report.objects.iter().find(|e| e.object.name == name).unwrap()
}

fn listener() -> Value {
    object(
        "v3alpha1",
        "Listener",
        "http",
        json!({"port": 8080, "protocol": "HTTP", "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}}}),
    )
}

#[test]
fn what_works_unchanged_is_told_from_what_differs_and_what_is_not_taken() {
    let report = report(&[
        listener(),
        object(
            "v3alpha1",
            "Mapping",
            "plain",
            json!({"hostname": "*", "prefix": "/a/", "service": "a"}),
        ),
        object(
            "v3alpha1",
            "Mapping",
            "differs",
            json!({"hostname": "*", "prefix": "/b/", "service": "b",
            "keepalive": {"idle_time": 5}}),
        ),
        object(
            "v3alpha1",
            "Mapping",
            "wrong",
            json!({"hostname": "*", "prefix": "/c/", "service": "c",
            "timeout_ms": "soon"}),
        ),
        object(
            "v3alpha1",
            "Mapping",
            "elsewhere",
            json!({"ambassador_id": ["b"], "hostname": "*",
            "prefix": "/d/", "service": "d"}),
        ),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "other"}}),
    ]);
    let outcome = |name: &str| entry(&report, name).outcome;
    assert_eq!(outcome("plain"), Outcome::Unchanged);
    assert_eq!(outcome("differs"), Outcome::Differs);
    assert_eq!(outcome("wrong"), Outcome::NotTaken);
    assert_eq!(outcome("elsewhere"), Outcome::OtherInstallation);
    assert_eq!((report.others, report.added.len(), report.has_faults()), (1, 0, true));
    let met = &entry(&report, "differs").differences;
    assert_eq!(met.len(), 1);
    assert_eq!(met[0].path, "spec.keepalive.idle_time");
    assert!(met[0].difference.what.contains("idle_time"), "{met:?}");
}

#[test]
fn older_versions_are_written_in_the_words_of_today() {
    let report = report(&[object(
        "v2",
        "Mapping",
        "old",
        json!({"prefix": "/a/", "service": "a", "tls": true, "host": "a.test"}),
    )]);
    let rewrite = entry(&report, "old").rewrite.as_ref().unwrap();
    let written = rewrite.object.as_ref().unwrap();
    assert_eq!(written["apiVersion"], "getambassador.io/v3alpha1");
    assert_eq!(
        written["spec"],
        json!({"prefix": "/a/", "service": "https://a", "hostname": "a.test"})
    );
    assert_eq!(written["metadata"], json!({"name": "old", "namespace": "shop"}));
    // There is no Listener: two are added, and they are good.
    let ports: Vec<_> =
        report.added.iter().map(|r| r.object.as_ref().unwrap()["spec"]["port"].clone()).collect();
    assert_eq!(ports, [8080, 8443]);
}

#[test]
fn parts_of_edge_stack_go_and_acme_becomes_a_certificate() {
    let auth = json!({"auth_service": "127.0.0.1:8500", "proto": "grpc"});
    let objects = [
        listener(),
        object("v2", "AuthService", "edge-stack-auth", auth),
        object("v2", "Mapping", "portal", json!({"prefix": "/docs/", "service": "127.0.0.1:8500"})),
        object(
            "v2",
            "Host",
            "shop",
            json!({"hostname": "shop.test", "acmeProvider": {"email": "a@b.c"}}),
        ),
    ];
    let report = report(&objects);
    for name in ["edge-stack-auth", "portal"] {
        let rewrite = entry(&report, name).rewrite.as_ref().unwrap();
        assert!(
            rewrite.object.is_none() && rewrite.changes[0].starts_with("delete it"),
            "{rewrite:?}"
        );
    }
    assert_eq!(report.count(Outcome::Replaced), 2);
    let host = entry(&report, "shop").rewrite.as_ref().unwrap();
    assert_eq!(host.object.as_ref().unwrap()["spec"]["tlsSecret"]["name"], "shop");
    assert_eq!(host.beside.as_ref().unwrap()["spec"]["dnsNames"], json!(["shop.test"]));
    let addresses = Addresses { authz: "authz.edge:9001".to_owned(), ratelimit: String::new() };
    let kept =
        rewrite::rewrite(&Object::from_json(objects[1].clone()).unwrap(), &addresses).unwrap();
    let spec = &kept.object.unwrap()["spec"];
    assert_eq!(
        (&spec["auth_service"], &spec["protocol_version"]),
        (&json!("authz.edge:9001"), &json!("v3"))
    );
}
