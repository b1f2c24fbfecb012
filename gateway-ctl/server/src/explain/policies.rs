//! Who decides about a request: the AuthService, the first FilterPolicy rule that fits, and what
//! its filters say. The same code decides as in authz-svc; only keys are not fetched here.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use authz_core::policy::Found;
use authz_core::{DefaultDecision, Flow, Outcome, Step};
use gateway_core::Overview;
use gateway_core::overview::RouteOverview;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Attributes};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::Value;
use service_kit::{Object, ObjectRef};

use super::{Lines, Request};

/// What authorization makes of the request.
pub(super) enum Decision {
    /// It goes on with these headers, too.
    GoesOn(Vec<(String, String)>),
    /// It is answered.
    Denied,
}

pub(super) fn explain(
    request: &Request,
    route: &RouteOverview,
    overview: &Overview,
    objects: &[Arc<Object>],
    ambassador_id: &str,
    out: &mut Lines,
) -> Decision {
    let Some(service) = overview.services.iter().find(|s| s.service.kind == "AuthService") else {
        out.say("Authorization", "none: there is no AuthService");
        return Decision::GoesOn(Vec::new());
    };
    if !route.authorized {
        out.say("Authorization", format!("not asked for {}", route.mapping));
        return Decision::GoesOn(Vec::new());
    }
    let otherwise = if service.fails_open { "pass" } else { "are refused" };
    out.say(
        "Authorization",
        format!(
            "{} ({}) is asked; after {} ms without an answer requests {otherwise}",
            service.service, service.state, service.timeout_ms
        ),
    );
    let settings = authz_core::Settings {
        ambassador_id: Some(ambassador_id.to_owned()),
        ..Default::default()
    };
    let compiled = authz_core::compile(objects.iter().map(|o| &**o), &settings);
    let snapshot = Arc::new(compiled.snapshot);
    let Ok(check) = authz_core::Request::from_check(check_request(request)) else {
        return Decision::GoesOn(Vec::new());
    };
    let found = snapshot.rules.find_index(&check, snapshot.default);
    let rule = match found {
        Found::Rule(place) => snapshot.rules.get(place),
        _ => None,
    };
    match rule {
        None if matches!(found, Found::Ambiguous | Found::TooLong) => {
            out.more("the path is too long, or different FilterPolicy rules guard its readings");
        }
        None => {
            let default = match snapshot.default {
                DefaultDecision::Allow => "it passes untouched",
                DefaultDecision::Deny => "it is denied",
            };
            out.more(format!("no FilterPolicy rule fits: {default}"));
        }
        Some(rule) => {
            out.more(format!("the first FilterPolicy rule that fits: {}", rule.name));
            for filter in filters(&rule.name, objects) {
                out.more(format!("  {filter}"));
            }
        }
    }
    decide(snapshot, check, out)
}

fn decide(
    snapshot: Arc<authz_core::Snapshot>,
    check: authz_core::Request,
    out: &mut Lines,
) -> Decision {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match Flow::new(snapshot, check, now).step(&()) {
        Step::Need(need) => {
            out.more(format!("the answer depends on {need}, which is not asked here"));
            Decision::GoesOn(Vec::new())
        }
        Step::Done(Outcome::Deny(reply) | Outcome::Error(reply)) => {
            out.more(format!("denied with status {}", reply.status));
            Decision::Denied
        }
        Step::Done(Outcome::Allow(mutations)) => {
            let names: Vec<&str> = mutations.set.iter().map(|(name, _)| name.as_str()).collect();
            match names.as_slice() {
                [] => out.more("allowed"),
                names => out.more(format!("allowed; sets {}", names.join(", "))),
            }
            Decision::GoesOn(mutations.set)
        }
    }
}

fn check_request(request: &Request) -> CheckRequest {
    let http = HttpRequest {
        method: request.method.clone(),
        host: format!("{}:{}", request.host, request.port),
        path: request.path_and_query(),
        scheme: if request.is_https { "https" } else { "http" }.to_owned(),
        headers: request.headers.iter().cloned().collect(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Attributes { http: Some(http), ..Attributes::default() }),
            ..AttributeContext::default()
        }),
    }
}

/// The filters of the rule `NAME.NAMESPACE[INDEX]`, as in `Filter default/login (JWT)`.
fn filters(rule: &str, objects: &[Arc<Object>]) -> Vec<String> {
    for policy in objects.iter().filter(|o| o.reference.kind == "FilterPolicy") {
        let prefix = format!("{}.{}[", policy.reference.name, policy.reference.namespace);
        let index = rule.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(']'));
        if let Some(index) = index {
            let links = policy.json.pointer(&format!("/spec/rules/{index}/filters"));
            let links = links.and_then(Value::as_array).into_iter().flatten();
            return links.map(|link| describe(link, &policy.reference, objects)).collect();
        }
    }
    Vec::new()
}

fn describe(link: &Value, policy: &ObjectRef, objects: &[Arc<Object>]) -> String {
    let text = |key: &str| link.get(key).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or(&policy.namespace);
    let reference = ObjectRef::new("Filter", namespace, text("name").unwrap_or_default());
    let kind = objects
        .iter()
        .find(|o| o.reference == reference)
        .and_then(|o| o.json.get("spec")?.as_object())
        .and_then(|spec| spec.keys().find(|key| key.starts_with(char::is_uppercase)))
        .map_or("there is none", String::as_str);
    let then = format!(
        "denied: {}, allowed: {}",
        text("onDeny").unwrap_or("break"),
        text("onAllow").unwrap_or("continue")
    );
    match link.get("ifRequestHeader") {
        Some(condition) => format!("{reference} ({kind}), {then}, only if {condition}"),
        None => format!("{reference} ({kind}), {then}"),
    }
}
