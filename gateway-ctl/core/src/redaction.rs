//! Objects as people may see them: without keys, passwords and other secrets.

use serde_json::Value;
use service_kit::Object;

/// Fields of a login's filter that are a secret themselves, not the name of a Secret.
const LOGIN_FIELDS: [&str; 2] = ["secret", "clientSecret"];
/// Headers whose values are credentials, wherever they are set.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// The copy of a whole object that kubectl keeps in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The JSON of an object, with words in the place of its secrets.
pub fn redacted(object: &Object) -> Value {
    let mut json = object.json.clone();
    if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
    if object.reference.kind == "Secret" {
        for field in ["data", "stringData"] {
            if let Some(values) = json.get_mut(field).and_then(Value::as_object_mut) {
                values.values_mut().for_each(|value| *value = hidden());
            }
        }
    }
    hide(&mut json, false);
    json
}

/// Hides what is in a filter for logins, and credentials everywhere.
fn hide(value: &mut Value, login: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, login)),
        Value::Object(fields) => {
            let is_named = |fields: &serde_json::Map<String, Value>| {
                let name = fields.get("name").or_else(|| fields.get("header_name"));
                name.and_then(Value::as_str).is_some_and(is_credential)
            };
            if is_named(fields) && fields.get("value").is_some_and(Value::is_string) {
                fields.insert("value".to_owned(), hidden());
            }
            for (name, value) in fields {
                let secret = is_credential(name) || login && LOGIN_FIELDS.contains(&name.as_str());
                match value {
                    Value::String(text) if secret && !text.is_empty() => *value = hidden(),
                    Value::Object(entry) if secret && entry.contains_key("value") => {
                        entry.insert("value".to_owned(), hidden());
                    }
                    value => hide(value, login || name.eq_ignore_ascii_case("oauth2")),
                }
            }
        }
        _ => {}
    }
}

fn is_credential(header: &str) -> bool {
    CREDENTIALS.iter().any(|name| header.eq_ignore_ascii_case(name))
}

fn hidden() -> Value {
    Value::String("(hidden)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        let object = |json| redacted(&Object::from_json(json).unwrap());
        let secret = object(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "annotations": {LAST_APPLIED: "open", "a": "b"}},
            "data": {"k": "b3Blbg=="}, "stringData": {"p": "open"}}));
        assert!(!secret.to_string().contains("open") && !secret.to_string().contains("b3Blbg"));
        assert_eq!(secret["metadata"]["annotations"], json!({"a": "b"}));
        let filter = object(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Filter",
            "metadata": {"name": "f"}, "spec": {"OAuth2": {"secret": "open", "clientID": "c"}}}));
        assert_eq!(filter["spec"]["OAuth2"], json!({"secret": "(hidden)", "clientID": "c"}));
        let context = json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "TLSContext",
            "metadata": {"name": "t"}, "spec": {"secret": "the-name-of-a-secret"}});
        assert_eq!(object(context.clone()), context);
        let mapping = object(json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
            "metadata": {"name": "m"}, "spec": {"add_request_headers": {"X-A": "b",
                "Authorization": {"value": "open"}, "X-API-Key": "open"}}}));
        assert!(!mapping.to_string().contains("open"), "{mapping}");
        assert_eq!(mapping["spec"]["add_request_headers"]["X-A"], "b");
    }
}
