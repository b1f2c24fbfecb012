use serde_json::{Value as Json, json};

use super::*;
use crate::filter::FilterRef;

fn object(kind: &str, name: &str, spec: Json) -> Arc<Object> {
    let field = if kind == "Secret" { "stringData" } else { "spec" };
    let json = json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "ns"}, field: spec});
    Arc::new(Object::from_json(json).unwrap())
}

fn filter(compiled: &Compiled, name: &str) -> FilterRef {
    compiled.snapshot.filters[&("ns".to_owned(), name.to_owned())].clone()
}

fn rule(compiled: &Compiled, place: usize) -> *const crate::policy::Rule {
    compiled.snapshot.rules.get(place).unwrap()
}

#[test]
fn what_did_not_change_keeps_its_compiled_form() {
    let mut catalog = Catalog::default();
    let key = |secret: &str| json!({"APIKey": {"keys": [{"secretName": secret}]}});
    let policy = |filter: &str| json!({"rules": [{"filters": [{"name": filter}]}]});
    for (kind, name, spec) in [
        ("Secret", "one", json!({"k": "1"})),
        ("Secret", "two", json!({"k": "2"})),
        ("Filter", "a", key("one")),
        ("Filter", "b", key("two")),
        ("FilterPolicy", "p", policy("a")),
        ("FilterPolicy", "q", policy("b")),
    ] {
        catalog.apply(object(kind, name, spec));
    }
    let settings = Settings::default();
    let first = catalog.compile(&settings);
    catalog.apply(object("Secret", "two", json!({"k": "3"})));
    let second = catalog.compile(&settings);
    assert!(Arc::ptr_eq(&filter(&first, "a"), &filter(&second, "a")), "its Secret is the same");
    assert!(!Arc::ptr_eq(&filter(&first, "b"), &filter(&second, "b")), "its Secret is new");
    assert_eq!(rule(&first, 0), rule(&second, 0));
    assert_ne!(rule(&first, 1), rule(&second, 1), "its filter is new");

    catalog.delete(&ObjectRef::new("Filter", "ns", "a"));
    let third = catalog.compile(&settings);
    assert!(third.found.iter().any(|d| d.message.contains("there is no Filter a.ns")));
    assert_ne!(rule(&second, 0), rule(&third, 0));
    catalog.delete(&ObjectRef::new("Secret", "ns", "two"));
    let fourth = catalog.compile(&settings);
    assert!(fourth.found.iter().any(|d| d.message.contains("there is no Secret two.ns")));
    assert!(filter(&fourth, "b").judge.is_none(), "it breaks its requests");
}
