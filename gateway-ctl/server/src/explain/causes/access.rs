//! Authorization and what else refuses.

use service_kit::ObjectRef;

use super::{Cause, Found, Look, certain, possible};
use crate::explain::facts::{Facts, MOST};
use crate::explain::policies::Denial;

const DENIED: &[&str] = &["ext_authz_denied"];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "token-refused",
        title: "A JWT filter refuses the token, or there is none",
        statuses: &[401, 403],
        flags: &["UAEX"],
        words: DENIED,
        proof: &[],
        sees: "`www-authenticate: Bearer …`",
        why: "The FilterPolicy rule that fits asks a JWT Filter: there is no token, it has expired, is of another issuer or audience, or its signature is of no known key.",
        next: "send `authorization: Bearer TOKEN`; compare `iss`, `aud` and `exp` of the token with the Filter; authz-svc logs why",
        look: |facts| denied_by(facts, |kind| kind == "JWT"),
    },
    Cause {
        id: "filter-denies",
        title: "A filter denies the request",
        statuses: &[401, 403, 302, 415],
        flags: &["UAEX"],
        words: DENIED,
        proof: &[],
        sees: "`ext_authz_denied`",
        why: "The first FilterPolicy rule that fits host and path has a Filter that says no: a key, password, signature, address or rule of one's own.",
        next: "`gateway-ctl explain METHOD URL -H …` names rule and filter; add what it wants, or correct the FilterPolicy",
        look: |facts| denied_by(facts, |kind| kind != "JWT"),
    },
    Cause {
        id: "no-policy-allows",
        title: "No policy allows the request",
        statuses: &[400, 403, 414],
        flags: &["UAEX"],
        words: DENIED,
        proof: &["no policy allows this request", "different rules guard"],
        sees: "",
        why: "No FilterPolicy rule fits and authz-svc denies by default (`DEFAULT_DECISION`), or the path can be read in two ways that different rules guard.",
        next: "add a rule for host and path; send paths without `//`, `/../` and escaped slashes",
        look: |facts| match facts.way.and_then(|w| w.denial.as_ref()) {
            Some(d) if d.policy.is_none() && facts.overview().closed.is_none() => {
                certain(vec![Found::new(
                    format!("authz-svc answers {}: {}", d.status, d.reason),
                    "",
                    None,
                )])
            }
            Some(_) => None,
            None if facts.way.is_some_and(|w| w.fates.is_some()) => None,
            None => possible(Vec::new()),
        },
    },
    Cause {
        id: "filter-broken",
        title: "A Filter or FilterPolicy is broken",
        statuses: &[500],
        flags: &["UAEX"],
        words: DENIED,
        proof: &["the authorization of this request is misconfigured"],
        sees: "`the authorization of this request is misconfigured`",
        why: "A rule names a Filter that is not there or has an error. Its requests are refused until it is right.",
        next: "`gateway-ctl check`, or the diagnostics page: mend what it says",
        look: |facts| {
            let denial = facts
                .way
                .and_then(|w| w.denial.as_ref())
                .filter(|_| facts.overview().closed.is_none());
            match denial {
                Some(Denial { broken: Some(why), .. }) => {
                    let denial = denial?;
                    let object = denial.filter.as_ref().map(|(f, _)| f).or(denial.policy.as_ref());
                    let mut found = errors(facts, object.into_iter().chain(&denial.policy));
                    if found.is_empty() {
                        found.push(Found::new(format!("rule {}: {why}", denial.rule), "", object));
                    }
                    certain(found)
                }
                Some(_) => None,
                None if facts.way.is_some_and(|w| w.fates.is_some()) => None,
                None => {
                    let kinds = ["Filter", "FilterPolicy"];
                    let objects = facts.material.objects.iter().map(|o| &o.reference);
                    let found = errors(facts, objects.filter(|o| kinds.contains(&o.kind.as_str())));
                    (!found.is_empty()).then_some(Look { is_certain: false, found })
                }
            }
        },
    },
    Cause {
        id: "authorizer-unreachable",
        title: "The authorization service does not answer",
        statuses: &[],
        flags: &["UAEX"],
        words: &[],
        proof: &["ext_authz_error"],
        sees: "`ext_authz_error`, with 403 or the AuthService's `status_on_error`",
        why: "The AuthService cannot be reached, or does not answer within its `timeout_ms`. Requests are refused unless `failure_mode_allow` is true.",
        next: "`kubectl get pods,endpoints` of the service that `spec.auth_service` names; raise `timeout_ms` for filters that ask others",
        look: |facts| {
            let (service, object) = facts.service("AuthService")?;
            let status = object
                .and_then(|o| o.json.pointer("/spec/status_on_error/code")?.as_u64())
                .unwrap_or(403);
            if facts.symptom.status.is_some_and(|s| u64::from(s) != status) {
                return None;
            }
            let cluster = facts
                .overview()
                .clusters
                .iter()
                .find(|c| Some(&c.name) == service.cluster.as_ref());
            let address = cluster.map_or("", |c| c.address.as_str());
            let words = format!(
                "{} ({address}) is given up after {} ms; requests are then answered {status}",
                service.service, service.timeout_ms
            );
            possible(vec![Found::new(words, "", Some(&service.service))])
        },
    },
    Cause {
        id: "authorization-closed",
        title: "The AuthService is misconfigured, so all is refused",
        statuses: &[500],
        flags: &[],
        words: &["lua_response"],
        proof: &["see the diagnostics of the gateway"],
        sees: "`…; see the diagnostics of the gateway`",
        why: "An AuthService (or an address list of the Module) that cannot be read must not open what it guards, so every request is refused until it is right.",
        next: "`gateway-ctl check`, or the diagnostics page: mend the AuthService",
        look: |facts| {
            let reason = facts.overview().closed.as_ref()?;
            let kinds = ["AuthService", "Module"];
            let objects = facts.material.objects.iter().map(|o| &o.reference);
            let mut found = errors(facts, objects.filter(|o| kinds.contains(&o.kind.as_str())));
            if found.is_empty() {
                found.push(Found::new(reason.as_str(), "", None));
            }
            certain(found)
        },
    },
    Cause {
        id: "address-denied",
        title: "The client's address may not come in",
        statuses: &[403],
        flags: &[],
        words: &[],
        proof: &["rbac: access denied", "rbac_access_denied"],
        sees: "`RBAC: access denied`",
        why: "The Module's `ip_allow` or `ip_deny` refuses the address. `peer:` is the other end of the connection, `remote:` the client behind trusted proxies (`l7Depth`).",
        next: "compare `x-forwarded-for` in the access log with `ip_allow` or `ip_deny` of the Module",
        look: |facts| {
            let (name, list) =
                ["ip_allow", "ip_deny"].into_iter().find_map(|k| Some((k, facts.module(k)?)))?;
            let module = facts.of_kind("Module").find(|o| o.reference.name == "ambassador")?;
            possible(vec![Found::new(
                format!("{} has {name}: {list}", module.reference),
                "",
                Some(&module.reference),
            )])
        },
    },
    Cause {
        id: "body-too-large-for-authorization",
        title: "The body is too large to be authorized",
        statuses: &[413],
        flags: &[],
        words: &["request_payload_too_large", "payload too large"],
        proof: &[],
        sees: "`Payload Too Large`",
        why: "The AuthService wants bodies (`include_body`), and this one is longer than `max_bytes`.",
        next: "raise `include_body.max_bytes`, or set `allow_partial: true`",
        look: |facts| {
            let (service, object) = facts.service("AuthService")?;
            let body = object?.json.pointer("/spec/include_body")?;
            let fits = facts.symptom.bytes_received.zip(body["max_bytes"].as_u64());
            if body["allow_partial"] == true || fits.is_some_and(|(got, most)| got <= most) {
                return None;
            }
            let words = format!("{} takes bodies of {} bytes", service.service, body["max_bytes"]);
            possible(vec![Found::new(words, "", Some(&service.service))])
        },
    },
];

/// A denial that the filters themselves say, of these kinds.
fn denied_by(facts: &Facts<'_>, kind: impl Fn(&str) -> bool) -> Option<Look> {
    facts.service("AuthService")?;
    if let Some(decision) = &facts.live.decision {
        let last = decision.last().filter(|last| kind(&last.kind))?;
        let words = format!(
            "{} ({}) of rule {} answered {}: {}",
            last.object(),
            last.kind,
            decision.rule.as_deref().unwrap_or_default(),
            decision.status.unwrap_or_default(),
            last.reason.as_deref().unwrap_or("misconfigured"),
        );
        return certain(vec![Found::new(words, "", Some(&last.object()))]);
    }
    let Some(way) = facts.way else {
        let kinds = |o: &&service_kit::Object| {
            let spec = o.json.get("spec").and_then(serde_json::Value::as_object);
            spec.is_some_and(|s| s.keys().any(|k| k.starts_with(char::is_uppercase) && kind(k)))
        };
        let filters = facts.of_kind("Filter").filter(kinds).take(MOST);
        let found: Vec<Found> = filters
            .map(|o| Found::new(format!("{} may be asked", o.reference), "", Some(&o.reference)))
            .collect();
        return (!found.is_empty()).then_some(Look { is_certain: false, found });
    };
    let denial = way.denial.as_ref()?;
    if denial.broken.is_some() {
        return None;
    }
    let (filter, its_kind) = denial.filter.as_ref().filter(|(_, k)| kind(k))?;
    let words = format!(
        "{filter} ({its_kind}) of rule {} answers {}: {}",
        denial.rule, denial.status, denial.reason
    );
    let found = vec![Found::new(words, "", Some(filter))];
    // Without the headers a filter cannot be asked.
    Some(Look { is_certain: facts.request.is_some_and(|r| r.has_headers), found })
}

/// The errors of these objects.
fn errors<'a>(facts: &Facts<'_>, objects: impl Iterator<Item = &'a ObjectRef>) -> Vec<Found> {
    let mut found = Vec::new();
    for object in objects {
        for d in facts.found(object).filter(|d| d.severity == service_kit::Severity::Error) {
            let words = format!("{object}: {}: {}", d.path, d.message);
            let new = Found::new(words, d.hint.as_str(), Some(object));
            if found.len() < MOST && !found.contains(&new) {
                found.push(new);
            }
        }
    }
    found
}
