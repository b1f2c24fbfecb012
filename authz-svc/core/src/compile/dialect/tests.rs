use super::*;
use crate::compile::check;

fn object(kind: &str, spec: &Json) -> Object {
    Object::from_json(json!({"apiVersion": "gateway.getambassador.io/v1alpha1", "kind": kind,
        "metadata": {"name": "x", "namespace": "ns"}, "spec": spec}))
    .unwrap()
}

fn rewritten(kind: &str, spec: &Json) -> Json {
    let object = object(kind, spec);
    let mut found = Diagnostics::new(&object);
    let new = match kind {
        "Filter" => filter(&object, &mut found).unwrap(),
        _ => policy(&object, &mut found),
    };
    let new = new.json["spec"].clone();
    assert!(!found.has_errors(), "{:?}", found.into_vec());
    new
}

fn errors(kind: &str, spec: &Json) -> Vec<String> {
    check(&object(kind, spec)).iter().map(ToString::to_string).collect()
}

#[test]
fn filters_get_their_kind() {
    assert_eq!(
        rewritten("Filter", &json!({"type": "jwt", "jwt": {"jwksURI": "https://a/k"}})),
        json!({"JWT": {"jwksURI": "https://a/k"}})
    );
    assert_eq!(
        rewritten("Filter", &json!({"type": "apikey", "apikey": {"keys": [{"secretName": "s"}]}})),
        json!({"APIKey": {"keys": [{"secretName": "s"}]}})
    );
    assert_eq!(
        errors("Filter", &json!({"type": "jwt", "jwt": {"jwksURI": "https://a/k"}})),
        [""; 0]
    );
    for (spec, words) in [
        (json!({"type": "oauth2", "oauth2": {}}), "`oauth2` is not supported"),
        (json!({"jwt": {}}), "`` is not supported"),
        (json!({"type": "jwt"}), "needs this field"),
        (json!({"type": "jwt", "jwt": {"jwksURI": "https://a/k"}, "apikey": {}}), "unknown field"),
        (json!({"type": "jwt", "jwt": {"jwks_uri": "https://a/k"}}), "unknown field"),
    ] {
        let found = errors("Filter", &spec);
        assert!(found.iter().any(|f| f.contains(words)), "{spec}: {found:?}");
    }
}

#[test]
fn an_external_filter_is_rewritten_whole() {
    let spec = json!({"type": "external", "external": {
        "protocol": "http", "authServiceURL": "https://a:1", "statusOnError": 503,
        "failureModeAllow": true, "timeout": "1.5s", "include_body": {"maxBytes": 7},
        "httpSettings": {"pathPrefix": "/p", "allowedRequestHeaders": ["a"],
            "allowedAuthorizationHeaders": ["b"], "addLinkerdHeaders": true}}});
    assert_eq!(
        rewritten("Filter", &spec),
        json!({"External": {"proto": "http", "auth_service": "https://a:1",
            "status_on_error": {"code": 503}, "failure_mode_allow": true, "timeout_ms": 1500,
            "include_body": {"max_bytes": 7, "allow_partial": true}, "path_prefix": "/p",
            "allowed_request_headers": ["a"], "allowed_authorization_headers": ["b"],
            "add_linkerd_headers": true}})
    );
    let spec =
        json!({"type": "external", "external": {"timeout": "soon", "authServiceURL": "a:1"}});
    let found = errors("Filter", &spec).join("\n");
    for words in ["the protocol is missing", "not an absolute URL", "is not a duration"] {
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn policies_are_rewritten() {
    let spec = json!({"rules": [{"host": "a", "filterRefs": [
        {"name": "j", "ifRequestHeader": {"type": "RegularExpression", "name": "x", "value": "a+"},
            "arguments": {"type": "jwt", "jwt": {"scope": ["s"]}}},
        {"name": "o", "ifRequestHeader": {"type": "Exact", "name": "x", "value": "a"},
            "arguments": {"type": "oauth2", "oauth2": {"insteadOfRedirect": {"statusCode": 401}}}},
    ]}]});
    assert_eq!(
        rewritten("FilterPolicy", &spec),
        json!({"rules": [{"host": "a", "filters": [
            {"name": "j", "ifRequestHeader": {"name": "x", "valueRegex": "a+"},
                "arguments": {"type": "jwt", "scope": ["s"]}},
            {"name": "o", "ifRequestHeader": {"name": "x", "value": "a"}, "arguments": {
                "type": "oauth2", "insteadOfRedirect": {"httpStatusCode": 401}, "sameSite": "lax"}},
        ]}]})
    );
    assert_eq!(errors("FilterPolicy", &spec), [""; 0]);
    for (rules, words) in [
        (json!([]), "there is no rule"),
        (json!([{"filterRefs": [], "filters": []}]), "unknown field"),
        (
            json!([{"filterRefs": [{"name": "j", "ifRequestHeader": {"name": "x", "type": "Glob"}}]}]),
            "unknown field",
        ),
        (
            json!([{"filterRefs": [{"name": "j", "ifRequestHeader": {"name": "x", "type": "RegularExpression"}}]}]),
            "unknown field",
        ),
    ] {
        let found = errors("FilterPolicy", &json!({ "rules": rules }));
        assert!(found.iter().any(|f| f.contains(words)), "{rules}: {found:?}");
    }
}

#[test]
fn arguments_are_held_against_the_kind_of_the_filter() {
    let jwt = object("Filter", &json!({"type": "jwt", "jwt": {"validAlgorithms": ["none"]}}));
    let policy = |name: &str| {
        let arguments = json!({"type": name, name: {"scope": ["s"]}});
        let mut policy = object(
            "FilterPolicy",
            &json!({"rules": [
            {"filterRefs": [{"name": "x", "arguments": arguments}]}]}),
        );
        policy.reference.name = "p".to_owned();
        policy
    };
    let found = |name| {
        let compiled = crate::compile(&[jwt.clone(), policy(name)], &crate::Settings::default());
        compiled.found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found("jwt"), [""; 0]);
    for (name, words) in [
        ("oauth2", "for a filter of kind OAuth2, this one is JWT"),
        ("magic", "`magic` is not a type of filter"),
    ] {
        assert!(found(name).iter().any(|f| f.contains(words)), "{:?}", found(name));
    }
}
