//! Who decides about a request: the AuthService, the first FilterPolicy rule that fits, and what
//! its filters say. The same code decides as in authz-svc; only keys are not fetched here.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use authz_core::policy::{Chain, Found};
use authz_core::{DefaultDecision, Flow, JudgementResult, Outcome, Step};
use gateway_core::Overview;
use gateway_core::overview::RouteOverview;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Attributes};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::{Map, Value};
use service_kit::{Object, ObjectRef};

use super::Request;
use super::way::Lines;

/// What authorization makes of the request.
pub(super) enum Decision {
    /// It goes on.
    GoesOn(Passed),
    /// It is answered.
    Denied(Box<Denial>),
}

/// What a request that goes on has besides.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    /// Headers that are set.
    pub(super) headers: Vec<(String, String)>,
    /// What Envoy is told of it; none: not known.
    pub(super) metadata: Option<Map<String, Value>>,
}

impl Passed {
    /// Nobody was asked, so nothing is added.
    fn untouched() -> Decision {
        Decision::GoesOn(Self { headers: Vec::new(), metadata: Some(Map::new()) })
    }
}

/// Why a request is answered instead of passed on.
#[derive(Clone, Debug, Default)]
pub(super) struct Denial {
    /// The status.
    pub(super) status: u16,
    /// In the words of the service.
    pub(super) reason: String,
    /// The FilterPolicy; none: no rule fits.
    pub(super) policy: Option<ObjectRef>,
    /// The rule, as in `login.default[0]`.
    pub(super) rule: String,
    /// The filter that said no, with its kind.
    pub(super) filter: Option<(ObjectRef, String)>,
    /// What is wrong with the rule or the filter, if it could not be used.
    pub(super) broken: Option<String>,
}

pub(super) fn explain(
    request: &Request,
    route: &RouteOverview,
    overview: &Overview,
    objects: &[Arc<Object>],
    ambassador_id: &str,
    out: &mut Lines,
) -> Decision {
    if let Some(reason) = &overview.closed {
        out.say("Authorization", format!("every request is refused: {reason}"));
        let reason = reason.clone();
        return Decision::Denied(Box::new(Denial { status: 500, reason, ..Denial::default() }));
    }
    let Some(service) = overview.services.iter().find(|s| s.service.kind == "AuthService") else {
        out.say("Authorization", "none: there is no AuthService");
        return Passed::untouched();
    };
    if !route.authorized {
        out.say("Authorization", format!("not asked for {}", route.mapping));
        return Passed::untouched();
    }
    let otherwise = if service.fails_open { "pass" } else { "are refused" };
    out.say(
        "Authorization",
        format!(
            "{} ({}) is asked; after {} ms without an answer requests {otherwise}",
            service.service, service.state, service.timeout_ms
        ),
    );
    let snapshot = compiled(objects, ambassador_id);
    let Ok(check) = authz_core::Request::from_check(check_request(request)) else {
        return Decision::GoesOn(Passed::default());
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
                out.more(format!("  {}", filter.words));
            }
        }
    }
    decide(&snapshot, check, objects, out)
}

/// What authz-svc makes of the objects.
pub(super) fn compiled(objects: &[Arc<Object>], ambassador_id: &str) -> Arc<authz_core::Snapshot> {
    let settings = authz_core::Settings {
        ambassador_id: Some(ambassador_id.to_owned()),
        ..Default::default()
    };
    Arc::new(authz_core::compile(objects.iter().map(|o| &**o), &settings).snapshot)
}

fn decide(
    snapshot: &Arc<authz_core::Snapshot>,
    check: authz_core::Request,
    objects: &[Arc<Object>],
    out: &mut Lines,
) -> Decision {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut flow = Flow::new(snapshot.clone(), check, now);
    match flow.step(&()) {
        Step::Need(need) => {
            out.more(format!("the answer depends on {need}, which is not asked here"));
            Decision::GoesOn(Passed::default())
        }
        Step::Done(Outcome::Deny(reply) | Outcome::Error(reply)) => {
            out.more(format!("denied with status {}: {}", reply.status, reply.reason));
            Decision::Denied(Box::new(denial(&flow, &reply, objects)))
        }
        Step::Done(Outcome::Allow(mutations)) => {
            let names: Vec<&str> = mutations.set.iter().map(|(name, _)| name.as_str()).collect();
            match names.as_slice() {
                [] => out.more("allowed"),
                names => out.more(format!("allowed; sets {}", names.join(", "))),
            }
            Decision::GoesOn(Passed { headers: mutations.set, metadata: Some(mutations.metadata) })
        }
    }
}

fn denial(flow: &Flow, reply: &authz_core::Reply, objects: &[Arc<Object>]) -> Denial {
    let mut denial =
        Denial { status: reply.status, reason: reply.reason.to_string(), ..Denial::default() };
    let Some(rule) = flow.rule() else { return denial };
    denial.rule.clone_from(&rule.name);
    if let Some((name, namespace)) = rule.policy().rsplit_once('.') {
        denial.policy = Some(ObjectRef::new("FilterPolicy", namespace, name));
    }
    if let Chain::Broken(why) = &rule.chain {
        denial.broken = Some(why.clone());
        return denial;
    }
    let Some(last) = flow.judgements().last() else { return denial };
    let link = filters(&rule.name, objects).into_iter().nth(last.index);
    denial.filter = link.map(|l| (l.filter, l.kind));
    if last.result == JudgementResult::Broken {
        denial.broken = Some("it cannot be used".to_owned());
    }
    denial
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

/// A filter as a rule names it.
pub(super) struct Link {
    pub(super) filter: ObjectRef,
    /// As in `JWT`.
    pub(super) kind: String,
    words: String,
}

/// The filters of the rule `NAME.NAMESPACE[INDEX]`.
pub(super) fn filters(rule: &str, objects: &[Arc<Object>]) -> Vec<Link> {
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

fn describe(link: &Value, policy: &ObjectRef, objects: &[Arc<Object>]) -> Link {
    let text = |key: &str| link.get(key).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or(&policy.namespace);
    let filter = ObjectRef::new("Filter", namespace, text("name").unwrap_or_default());
    let kind = objects
        .iter()
        .find(|o| o.reference == filter)
        .and_then(|o| o.json.get("spec")?.as_object())
        .and_then(|spec| spec.keys().find(|key| key.starts_with(char::is_uppercase)))
        .map_or("there is none", String::as_str)
        .to_owned();
    let then = format!(
        "denied: {}, allowed: {}",
        text("onDeny").unwrap_or("break"),
        text("onAllow").unwrap_or("continue")
    );
    let words = match link.get("ifRequestHeader") {
        Some(condition) => format!("{filter} ({kind}), {then}, only if {condition}"),
        None => format!("{filter} ({kind}), {then}"),
    };
    Link { filter, kind, words }
}
