//! `getambassador.io/v1` and `v2` as stored in clusters: rewritten into the words of v3alpha1
//! before they are read, as there is no webhook that does it. What cannot be rewritten is left as
//! it is and refused like any other wrong field.

use serde_json::{Map, Value, json};

/// Rewrites the `spec` of a v1 or v2 object of kind `kind`.
pub fn convert(kind: &str, spec: &mut Value) {
    let Some(map) = spec.as_object_mut() else { return };
    match kind {
        "Mapping" => convert_mapping(map),
        "Host" => {
            if let Some(selector) = map.remove("selector") {
                map.entry("mappingSelector").or_insert(selector);
            }
        }
        "AuthService" => convert_tls(map, "auth_service"),
        "RateLimitService" | "TCPMapping" => convert_tls(map, "service"),
        "TracingService" => convert_tags(map),
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

/// Rewrites `true` as the value of a Mapping's header or query parameter. v3alpha1 has texts only, but
/// its documentation shows this form, too.
pub fn convert_presence(spec: &mut Value) {
    if let Some(map) = spec.as_object_mut() {
        present_to_pattern(map, "headers", "regex_headers");
        present_to_pattern(map, "query_parameters", "regex_query_parameters");
    }
}

fn convert_mapping(map: &mut Map<String, Value>) {
    convert_tls(map, "service");
    present_to_pattern(map, "headers", "regex_headers");
    present_to_pattern(map, "query_parameters", "regex_query_parameters");
    let host = map.get("host").and_then(Value::as_str).unwrap_or_default();
    let is_regex = map.get("host_regex").and_then(Value::as_bool).unwrap_or(false);
    if host.is_empty() {
        map.entry("hostname").or_insert(json!("*"));
    } else if !is_regex {
        let host = host.to_owned();
        map.remove("host");
        map.entry("hostname").or_insert(json!(host));
    }
}

/// Headers that become tags: the name is the tag's, too.
fn convert_tags(map: &mut Map<String, Value>) {
    let Some(Value::Array(headers)) = map.remove("tag_headers") else { return };
    let Value::Array(tags) = map.entry("custom_tags").or_insert_with(|| json!([])) else { return };
    if tags.is_empty() {
        let tag = |name: &str| json!({"tag": name, "request_header": {"name": name}});
        tags.extend(headers.iter().filter_map(Value::as_str).map(tag));
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

    #[test]
    fn tls_that_is_no_name_goes_into_the_service() {
        for (tls, service, expected) in [
            (json!(true), "a", json!({"service": "https://a"})),
            (json!(true), "http://a:1", json!({"service": "https://a:1"})),
            (json!(false), "https://a", json!({"service": "https://a"})),
            (json!(null), "a", json!({"service": "a"})),
            (json!("context"), "a", json!({"service": "a", "tls": "context"})),
        ] {
            let mut spec = json!({"service": service, "tls": tls});
            convert("TCPMapping", &mut spec);
            assert_eq!(spec, expected);
        }
    }

    #[test]
    fn hosts_are_names_unless_they_are_regular_expressions() {
        let converted = |mut spec: Value| {
            convert("Mapping", &mut spec);
            spec
        };
        assert_eq!(converted(json!({})), json!({"hostname": "*"}));
        let regex = json!({"host": "x.*", "host_regex": true});
        assert_eq!(converted(regex.clone()), regex);
        let both = json!({"host": "x", "hostname": "y"});
        assert_eq!(converted(both), json!({"hostname": "y"}));
    }

    #[test]
    fn tag_headers_become_tags() {
        let mut spec = json!({"tag_headers": [":path"]});
        convert("TracingService", &mut spec);
        let tag = json!({"tag": ":path", "request_header": {"name": ":path"}});
        assert_eq!(spec, json!({"custom_tags": [tag]}));
    }
}
