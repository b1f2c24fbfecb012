//! What works is not refused: every resource of the examples, the golden files and the conformance
//! cases that the programs take fits the schema of its kind.

#![allow(clippy::unwrap_used)]

#[path = "support/schema.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_core::crd::DEFINITIONS;
use gateway_core::kinds::{self, GROUP};
use serde_json::{Value, json};
use service_kit::{Object, Severity, yaml};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The YAML files below a folder, with their texts.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    fn add(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
            if path.is_dir() {
                add(&path, found);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    add(folder, &mut found);
    assert!(!found.is_empty(), "nothing in {}", folder.display());
    found
}

fn objects(text: &str, file: &Path) -> Vec<Object> {
    let (objects, _) = Object::from_yaml(text, &file.display().to_string()).unwrap();
    objects
}

/// What an API server would say of an object of ours; nothing of others.
fn refusals(object: &Object) -> Vec<String> {
    let Some((GROUP, version)) = object.api_version.split_once('/') else { return Vec::new() };
    let Some(definition) = DEFINITIONS.iter().find(|d| d.kind == object.reference.kind) else {
        return Vec::new();
    };
    let crd = definition.to_json();
    let versions = crd["spec"]["versions"].as_array().unwrap();
    let Some(version) = versions.iter().find(|v| v["name"] == version) else {
        return vec![format!("{} is not served", object.api_version)];
    };
    let mut found = Vec::new();
    support::faults(&version["schema"]["openAPIV3Schema"], &object.json, "", &mut found);
    found
}

/// Whether something else is wrong with an object than that it cannot be done yet.
fn is_wrong(object: &Object) -> bool {
    let (_, found) = kinds::read(&Arc::new(object.clone()), "default");
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    errors.filter(|d| !d.message.contains("not supported yet")).count() > 0
}

#[track_caller]
fn assert_taken(object: &Object, from: &str) {
    let refused = refusals(object);
    assert!(refused.is_empty() || is_wrong(object), "{from}: {}: {refused:#?}", object.reference);
}

#[test]
fn examples_fit_their_schemas() {
    for (path, text) in files(&top().join("docs/examples")) {
        for object in objects(&text, &path) {
            assert_eq!(refusals(&object), Vec::<String>::new(), "{}", path.display());
        }
    }
}

#[test]
fn golden_files_fit_their_schemas() {
    for (path, text) in files(&top().join("gateway-ctl/core/tests/golden")) {
        objects(&text, &path).iter().for_each(|o| assert_taken(o, &path.display().to_string()));
    }
}

#[test]
fn resources_of_the_gateway_cases_fit_their_schemas() {
    for (path, text) in files(&top().join("tests/cases/gateway")) {
        for case in yaml::parse(&text).unwrap() {
            let case = case.to_json();
            let resources = case["resources"].as_str().unwrap_or_default();
            objects(resources, &path)
                .iter()
                .for_each(|o| assert_taken(o, &format!("{}", case["id"])));
        }
    }
}

#[test]
fn specs_of_the_policy_cases_fit_their_schemas() {
    let text = std::fs::read_to_string(top().join("tests/cases/policy.yaml")).unwrap();
    let cases = yaml::parse(&text).unwrap()[0].to_json();
    let mut count = 0;
    let mut take = |id: &Value, kind: &str, spec: Value| {
        let json = json!({
            "apiVersion": format!("{GROUP}/v3alpha1"), "kind": kind,
            "metadata": {"name": "x", "namespace": "ns"}, "spec": spec,
        });
        assert_taken(&Object::from_json(json).unwrap(), &id.to_string());
        count += 1;
    };
    for case in cases["cases"].as_array().unwrap() {
        for limit in case["limits"].as_array().into_iter().flatten() {
            take(&case["id"], "RateLimit", json!({"domain": "d", "limits": [limit]}));
        }
        for spec in case["filters"].as_object().into_iter().flatten().map(|(_, spec)| spec) {
            take(&case["id"], "Filter", spec.clone());
        }
        if case["rules"].is_array() {
            take(&case["id"], "FilterPolicy", json!({"rules": case["rules"]}));
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn what_can_never_work_is_refused() {
    let fault = |kind: &str, spec: Value| {
        let json = json!({
            "apiVersion": format!("{GROUP}/v3alpha1"), "kind": kind,
            "metadata": {"name": "x"}, "spec": spec,
        });
        refusals(&Object::from_json(json).unwrap()).join("; ")
    };
    assert_eq!(fault("Mapping", json!({"prefix": "/a/", "service": "a", "cors": null})), "");
    for (kind, spec, why) in [
        ("Mapping", json!({"service": "a"}), ".spec: needs prefix"),
        ("Mapping", json!({"prefix": "/", "service": ""}), ".spec.service: minLength 1"),
        ("Listener", json!({"port": 70000}), ".spec.port: at most 65535"),
        ("Listener", json!({"protocol": "HTTPX"}), ".spec.protocol: must match"),
        ("RateLimit", json!({"domain": "d", "limits": [{"rate": 1, "unit": "fortnight"}]}), "unit"),
        ("RateLimit", json!({"domain": "d", "limits": [{"rate": 1}]}), "needs unit"),
        ("FilterPolicy", json!({"rules": [{"filters": [{}]}]}), "needs name"),
        ("Filter", json!({"JWT": {"maxStale": "5 minutes"}}), "maxStale: must match"),
    ] {
        let found = fault(kind, spec);
        assert!(found.contains(why), "{kind}, {why}: {found}");
    }
}
