use serde_json::json;

use super::*;

fn found(spec: serde_json::Value) -> Vec<String> {
    let object = Object::from_json(json!({"apiVersion": "getambassador.io/v3alpha1",
        "kind": "RateLimit", "metadata": {"name": "o", "namespace": "ns"}, "spec": spec}));
    let (compiled, found) = compile_object(&object.unwrap());
    assert_eq!(compiled.is_none(), found.iter().any(|d| d.severity == Severity::Error));
    found.iter().map(|d| format!("{}: {}: {}", d.severity, d.path, d.message)).collect()
}

fn of_limit(mut limit: serde_json::Value) -> Vec<String> {
    for (field, default) in [("pattern", json!([{"a": "*"}])), ("unit", json!("minute"))] {
        if limit.get(field).is_none() {
            limit[field] = default;
        }
    }
    found(json!({"domain": "d", "limits": [limit]}))
}

#[test]
fn what_is_wrong_is_named_by_field() {
    assert_eq!(found(json!({"limits": []})), ["error: spec.domain: the domain is missing"]);
    for (limit, start) in [
        (json!({"pattern": []}), "error: spec.limits[0].pattern: the pattern is empty"),
        (json!({"pattern": [{"a": "1"}, {}]}), "error: spec.limits[0].pattern[1]: an item without"),
        (json!({"rate": -1}), "error: spec.limits[0].rate: -1 is not a rate"),
        (json!({"rate": 4_294_967_296_i64}), "error: spec.limits[0].rate:"),
        (json!({"rate": "many"}), "error: spec.limits[0].rate: invalid type"),
        (json!({"unit": "unknown"}), "error: spec.limits[0].unit: `unknown` is not a unit"),
        (json!({"unit": ""}), "error: spec.limits[0].unit:"),
        (json!({"burstFactor": -1}), "error: spec.limits[0].burstFactor:"),
        (json!({"action": "Ignore"}), "error: spec.limits[0].action: `Ignore` is not an action"),
        (
            json!({"injectRequestHeaders": [{"name": "x", "value": "{{ if }}"}]}),
            "error: spec.limits[0].injectRequestHeaders[0].value: not a template",
        ),
        (
            json!({"injectResponseHeaders": [{"name": ":path", "value": ""}]}),
            "error: spec.limits[0].injectResponseHeaders[0].name:",
        ),
        (
            json!({"errorResponse": {"bodyTemplate": "{{ nope }}"}}),
            "error: spec.limits[0].errorResponse.bodyTemplate: not a template",
        ),
        (
            json!({"errorResponse": {"realm": "shop"}}),
            "notice: spec.limits[0].errorResponse.realm:",
        ),
        (json!({"brust": 1}), "warning: spec.limits[0].brust: unknown field"),
    ] {
        let found = of_limit(limit.clone());
        assert!(found.len() == 1 && found[0].starts_with(start), "{limit}: {found:?}");
    }
}

#[test]
fn what_people_write_is_read() {
    for limit in [
        json!({"rate": 0, "unit": "MINUTE", "action": "logonly"}),
        json!({"rate": 4_294_967_295_u32, "unit": "year", "action": "ENFORCE", "burstFactor": 1}),
        // The zero values that a conversion webhook writes are "unset".
        json!({"name": "", "action": "", "burstFactor": 0, "injectRequestHeaders": null,
            "errorResponse": {"headers": null, "bodyTemplate": "", "realm": ""}}),
    ] {
        assert_eq!(of_limit(limit), [] as [&str; 0]);
    }
    assert_eq!(found(json!({"domain": "d"})), [] as [&str; 0]);
}
