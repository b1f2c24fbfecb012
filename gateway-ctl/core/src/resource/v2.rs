//! `getambassador.io/v2` as stored in clusters: rewritten into the words of v3alpha1 before it is
//! read. What cannot be rewritten is left as it is and refused like any other wrong field.

use serde_json::{Map, Value, json};

/// Rewrites the `spec` of a v2 object of kind `kind`.
pub fn convert(kind: &str, spec: &mut Value) {
    let Some(map) = spec.as_object_mut() else { return };
    match kind {
        "Mapping" => convert_mapping(map),
        "Host" => {
            if let Some(selector) = map.remove("selector") {
                map.entry("mappingSelector").or_insert(selector);
            }
        }
        "AuthService" | "RateLimitService" => {
            convert_tls(map, if kind == "AuthService" { "auth_service" } else { "service" });
        }
        "TCPMapping" => convert_tls(map, "service"),
        _ => {}
    }
    // What a controller of v3alpha1 kept for itself when it stored the object.
    for (kept, field) in [
        ("v3StatsName", "stats_name"),
        ("v3GRPC", "grpc"),
        ("v3FailureModeDeny", "failure_mode_deny"),
        ("v3StatusOnError", "status_on_error"),
        ("v3health_checks", "health_checks"),
    ] {
        if let Some(value) = map.remove(kept) {
            map.entry(field).or_insert(value);
        }
    }
}

fn convert_mapping(map: &mut Map<String, Value>) {
    convert_tls(map, "service");
    for (field, pattern) in
        [("headers", "regex_headers"), ("query_parameters", "regex_query_parameters")]
    {
        present_to_pattern(map, field, pattern);
    }
    let host = map.get("host").and_then(Value::as_str).unwrap_or_default();
    let is_regex = map.get("host_regex").and_then(Value::as_bool).unwrap_or(false);
    if host.is_empty() {
        map.entry("hostname").or_insert(json!("*"));
    } else if !is_regex {
        let host = host.to_owned();
        map.remove("host");
        map.entry("hostname").or_insert(json!(host));
    }
    if let Some(Value::Object(cors)) = map.get_mut("cors") {
        for field in ["methods", "headers", "exposed_headers"] {
            if let Some(Value::String(text)) = cors.get(field) {
                let list: Vec<&str> = text.split(',').map(str::trim).collect();
                let list = json!(list);
                cors.insert(field.to_owned(), list);
            }
        }
    }
}

/// `tls: true` is https, `tls: false` or null nothing; a name stays.
fn convert_tls(map: &mut Map<String, Value>, service: &str) {
    match map.get("tls") {
        Some(Value::Bool(true)) => {
            map.remove("tls");
            if let Some(Value::String(text)) = map.get_mut(service) {
                let bare = text.strip_prefix("http://").unwrap_or(text);
                if !bare.starts_with("https://") {
                    *text = format!("https://{bare}");
                }
            }
        }
        Some(Value::Bool(false) | Value::Null) => {
            map.remove("tls");
        }
        _ => {}
    }
}

/// `true` as a value means that presence is enough.
fn present_to_pattern(map: &mut Map<String, Value>, field: &str, pattern: &str) {
    let Some(Value::Object(values)) = map.get_mut(field) else { return };
    let present: Vec<String> =
        values.iter().filter(|(_, v)| **v == Value::Bool(true)).map(|(k, _)| k.clone()).collect();
    for name in &present {
        values.remove(name);
    }
    if present.is_empty() {
        return;
    }
    let patterns = map.entry(pattern).or_insert_with(|| json!({}));
    if let Some(patterns) = patterns.as_object_mut() {
        for name in present {
            patterns.entry(name).or_insert(json!(".*"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_become_v3alpha1() {
        let mut spec = json!({
            "prefix": "/a/", "service": "a:1", "tls": true, "host": "x.test",
            "headers": {"x-a": true, "x-b": "1"},
        });
        convert("Mapping", &mut spec);
        assert_eq!(
            spec,
            json!({
                "prefix": "/a/", "service": "https://a:1", "hostname": "x.test",
                "headers": {"x-b": "1"}, "regex_headers": {"x-a": ".*"},
            })
        );
    }
}
