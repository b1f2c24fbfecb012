//! Who decides about a request: the AuthService, and the first FilterPolicy rule that fits.

use std::sync::Arc;

use gateway_core::Overview;
use gateway_core::overview::RouteOverview;
use serde_json::Value;
use service_kit::{Object, ObjectRef};

use super::{Lines, Request};

pub(super) fn explain(
    request: &Request,
    route: &RouteOverview,
    overview: &Overview,
    objects: &[Arc<Object>],
    refused: &[ObjectRef],
    out: &mut Lines,
) {
    let Some(service) = overview.services.iter().find(|s| s.service.kind == "AuthService") else {
        out.say("Authorization", "none: there is no AuthService");
        return;
    };
    if !route.authorized {
        out.say("Authorization", format!("not asked: {} has bypass_auth", route.mapping));
        return;
    }
    let otherwise = if service.fails_open { "pass" } else { "are refused" };
    out.say(
        "Authorization",
        format!(
            "{} ({}) is asked; after {} ms without an answer requests {otherwise}",
            service.service, service.state, service.timeout_ms
        ),
    );
    let mut rules = rules(objects, refused);
    // Higher precedence first, then by object and place: the order that authz-svc tries them in.
    rules.sort_by_key(|r| std::cmp::Reverse(r.precedence));
    let Some(rule) = rules.iter().find(|r| r.fits(request)) else {
        out.more("no FilterPolicy rule fits: authz-svc lets it through");
        return;
    };
    out.more(format!(
        "FilterPolicy {}/{} rule {}: host `{}`, path `{}` fits first",
        rule.policy.namespace, rule.policy.name, rule.index, rule.host, rule.path
    ));
    if rule.filters.is_empty() {
        out.more("the rule has no filters: authz-svc lets it through");
    }
    for filter in &rule.filters {
        out.more(describe(filter, rule.policy, objects));
    }
}

struct Rule<'a> {
    policy: &'a ObjectRef,
    index: usize,
    host: &'a str,
    path: &'a str,
    precedence: i64,
    filters: Vec<&'a Value>,
}

impl Rule<'_> {
    fn fits(&self, request: &Request) -> bool {
        let host = self.host.to_ascii_lowercase();
        let authority = format!("{}:{}", request.host, request.port);
        (is_glob_match(&host, &request.host) || is_glob_match(&host, &authority))
            && is_glob_match(self.path, &request.path)
    }
}

fn rules<'a>(objects: &'a [Arc<Object>], refused: &[ObjectRef]) -> Vec<Rule<'a>> {
    let mut policies: Vec<&Object> = objects
        .iter()
        .map(|o| &**o)
        .filter(|o| o.reference.kind == "FilterPolicy" && !refused.contains(&o.reference))
        .collect();
    policies.sort_by(|a, b| a.reference.cmp(&b.reference));
    let text = |v: Option<&'a Value>| v.and_then(Value::as_str).unwrap_or("*");
    policies
        .into_iter()
        .flat_map(|policy| {
            let rules = policy.json.pointer("/spec/rules").and_then(Value::as_array);
            rules.into_iter().flatten().enumerate().map(|(index, rule)| Rule {
                policy: &policy.reference,
                index,
                host: text(rule.get("host")),
                path: text(rule.get("path")),
                precedence: rule.get("precedence").and_then(Value::as_i64).unwrap_or_default(),
                filters: rule
                    .get("filters")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .collect(),
            })
        })
        .collect()
}

/// `Filter default/login (JWT); when denied: break; ...`.
fn describe(filter: &Value, policy: &ObjectRef, objects: &[Arc<Object>]) -> String {
    let text = |key: &str| filter.get(key).and_then(Value::as_str);
    let name = text("name").unwrap_or_default();
    let namespace = text("namespace").unwrap_or(&policy.namespace);
    let reference = ObjectRef::new("Filter", namespace, name);
    let object = objects.iter().find(|o| o.reference == reference);
    let kind = object
        .and_then(|o| o.json.get("spec")?.as_object())
        .and_then(|spec| spec.keys().find(|key| key.starts_with(char::is_uppercase)))
        .map_or("there is no such Filter: 500", String::as_str);
    let mut line = format!(
        "{reference} ({kind}); denied: {}, allowed: {}",
        text("onDeny").unwrap_or("break"),
        text("onAllow").unwrap_or("continue")
    );
    if let Some(condition) = filter.get("ifRequestHeader") {
        line += &format!("; only if {condition}");
    }
    line
}

/// `*` is any run of characters, `?` any one, `[…]` a set, `{a,b}` alternatives, `\` takes the
/// next as it is.
fn is_glob_match(glob: &str, text: &str) -> bool {
    glob_to_regex(glob).is_some_and(|pattern| super::matching::is_full_match(&pattern, text))
}

fn glob_to_regex(glob: &str) -> Option<String> {
    let mut pattern = String::from("(?s)");
    let mut depth = 0_u32;
    let mut chars = glob.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '\\' => pattern.push_str(&regex::escape(&chars.next()?.to_string())),
            '{' => {
                depth += 1;
                pattern.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                pattern.push(')');
            }
            ',' if depth > 0 => pattern.push('|'),
            '[' => {
                let set: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let (not, set) = match set.strip_prefix('!') {
                    Some(rest) => ("^", rest.to_owned()),
                    None => ("", set),
                };
                let set = set.replace('\\', "\\\\").replace('[', "\\[").replace('^', "\\^");
                pattern.push_str(&format!("[{not}{set}]"));
            }
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    Some(pattern)
}
