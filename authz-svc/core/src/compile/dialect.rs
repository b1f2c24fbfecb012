//! `gateway.getambassador.io/v1alpha1`: the second spelling of Filter and FilterPolicy, rewritten
//! into the words of `getambassador.io/v3alpha1` before it is read. Findings use those words.
//!
//! What has no place in the new words stays where it is, so that the reader reports it.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};
use service_kit::{Diagnostics, Object, go};

type Fields = Map<String, Json>;

const GROUP: &str = "gateway.getambassador.io/";

/// Kinds by their `type`. `oauth2` has other fields than `OAuth2`, and is not rewritten.
const KINDS: [(&str, &str); 4] =
    [("jwt", "JWT"), ("apikey", "APIKey"), ("external", "External"), ("plugin", "Plugin")];

/// Whether an object is written in it.
pub(super) fn is_used_by(object: &Object) -> bool {
    object.api_version.starts_with(GROUP)
}

/// The kind of filter that `arguments.type` names.
pub(super) fn kind_of(name: &str) -> Option<&'static str> {
    let kinds = KINDS.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind);
    kinds.or_else(|| (name == "oauth2").then_some("OAuth2"))
}

/// A Filter in the words of v3alpha1; none when it has none there.
pub(super) fn filter<'a>(
    object: &'a Object,
    found: &mut Diagnostics<'_>,
) -> Option<Cow<'a, Object>> {
    if !is_used_by(object) {
        return Some(Cow::Borrowed(object));
    }
    let mut object = object.clone();
    let spec = spec_of(&mut object)?;
    let name = spec.remove("type");
    let name = name.as_ref().and_then(Json::as_str).unwrap_or_default();
    let Some((name, kind)) = KINDS.iter().find(|(n, _)| *n == name) else {
        let known = KINDS.map(|(name, _)| name).join(", ");
        found
            .error("spec.type", format!("`{name}` is not supported in this version of the API"))
            .hint(format!("use one of {known}; write others as getambassador.io/v3alpha1"));
        return None;
    };
    let Some(Json::Object(mut body)) = spec.remove(*name) else {
        found.error(format!("spec.{name}"), format!("a filter of type {name} needs this field"));
        return None;
    };
    if *kind == "External" {
        external(&mut body, found);
    }
    spec.insert((*kind).to_owned(), Json::Object(body));
    Some(Cow::Owned(object))
}

/// A FilterPolicy in the words of v3alpha1.
pub(super) fn policy<'a>(object: &'a Object, found: &mut Diagnostics<'_>) -> Cow<'a, Object> {
    if !is_used_by(object) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    let Some(spec) = spec_of(&mut object) else { return Cow::Owned(object) };
    match spec.get_mut("rules").and_then(Json::as_array_mut) {
        Some(rules) if !rules.is_empty() => {
            rules.iter_mut().filter_map(Json::as_object_mut).for_each(references);
        }
        _ => {
            found.error("spec.rules", "there is no rule").hint("write one at least");
        }
    }
    Cow::Owned(object)
}

fn spec_of(object: &mut Object) -> Option<&mut Fields> {
    object.json.get_mut("spec")?.as_object_mut()
}

/// Gives a field another name, unless that is taken.
fn rename(fields: &mut Fields, from: &str, to: &str) {
    if !fields.contains_key(to)
        && let Some(value) = fields.remove(from)
    {
        fields.insert(to.to_owned(), value);
    }
}

/// `filterRefs` of a rule, or of `insteadOfRedirect`.
fn references(of: &mut Fields) {
    rename(of, "filterRefs", "filters");
    let references = of.get_mut("filters").and_then(Json::as_array_mut).into_iter().flatten();
    for reference in references.filter_map(Json::as_object_mut) {
        header_match(reference);
        if let Some(Json::Object(arguments)) = reference.get_mut("arguments") {
            *arguments = arguments_of(std::mem::take(arguments));
        }
    }
}

/// `ifRequestHeader` with its `type`.
fn header_match(of: &mut Fields) {
    let Some(Json::Object(header)) = of.get_mut("ifRequestHeader") else { return };
    match header.get("type").and_then(Json::as_str) {
        Some("Exact" | "") => {
            header.remove("type");
        }
        // Without a value the type stays, and is reported.
        Some("RegularExpression") if header.get("value").is_some_and(|v| v != "") => {
            header.remove("type");
            rename(header, "value", "valueRegex");
        }
        _ => {}
    }
}

/// What `type` names, and `type` itself, which is held against the filter.
fn arguments_of(mut arguments: Fields) -> Fields {
    let name = arguments.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
    let Some(Json::Object(body)) = arguments.remove(&name) else { return arguments };
    arguments.extend(body);
    if let Some(Json::Object(instead)) = arguments.get_mut("insteadOfRedirect") {
        rename(instead, "statusCode", "httpStatusCode");
        header_match(instead);
        references(instead);
    }
    if name == "oauth2" {
        match arguments.get("sameSite").and_then(Json::as_str) {
            Some("default") => {
                arguments.remove("sameSite");
            }
            None | Some("") => {
                arguments.insert("sameSite".to_owned(), json!("lax"));
            }
            Some(_) => {}
        }
    }
    arguments
}

/// `external`.
fn external(body: &mut Fields, found: &mut Diagnostics<'_>) {
    const PATH: &str = "spec.external";
    let protocol = body.get("protocol").and_then(Json::as_str).unwrap_or_default().to_owned();
    if protocol.is_empty() {
        found.error(format!("{PATH}.protocol"), "the protocol is missing").hint("use grpc or http");
    }
    let url = body.get("authServiceURL").and_then(Json::as_str).unwrap_or_default();
    if !url.contains("://") {
        found
            .error(format!("{PATH}.authServiceURL"), format!("`{url}` is not an absolute URL"))
            .hint("write it like https://authorizer.example:8443");
    }
    for (from, to) in [
        ("protocol", "proto"),
        ("authServiceURL", "auth_service"),
        ("failureModeAllow", "failure_mode_allow"),
    ] {
        rename(body, from, to);
    }
    if let Some(code) = body.remove("statusOnError") {
        body.insert("status_on_error".to_owned(), json!({ "code": code }));
    }
    if let Some(timeout) = body.remove("timeout").filter(|t| !t.is_null() && *t != "") {
        match timeout.as_str().map(go::parse_duration) {
            Some(Ok(time)) => {
                body.insert("timeout_ms".to_owned(), json!(time.as_millis().max(1)));
            }
            _ => {
                let message = format!("`{timeout}` is not a duration");
                found.error(format!("{PATH}.timeout"), message).hint("write it like 5s");
            }
        }
    }
    let http = [
        ("pathPrefix", "path_prefix"),
        ("allowedRequestHeaders", "allowed_request_headers"),
        ("allowedAuthorizationHeaders", "allowed_authorization_headers"),
        ("addLinkerdHeaders", "add_linkerd_headers"),
    ];
    if protocol == "http" {
        lift(body, "httpSettings", &http);
    }
    if protocol == "grpc" {
        lift(body, "grpcSettings", &[("protocolVersion", "protocol_version")]);
    }
    if let Some(Json::Object(include)) = body.get_mut("include_body") {
        rename(include, "maxBytes", "max_bytes");
        rename(include, "allowPartial", "allow_partial");
        include.entry("max_bytes").or_insert(json!(4096));
        include.entry("allow_partial").or_insert(json!(true));
    }
}

/// Puts the fields of `group` one level up, under their new names.
fn lift(body: &mut Fields, group: &str, names: &[(&str, &str)]) {
    let Some(Json::Object(mut fields)) = body.remove(group) else { return };
    for (from, to) in names {
        rename(&mut fields, from, to);
    }
    for (name, value) in fields {
        body.entry(name).or_insert(value);
    }
}

#[cfg(test)]
#[path = "dialect/tests.rs"]
mod tests;
