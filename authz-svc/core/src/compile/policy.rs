//! `FilterPolicy` objects to rules.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use gotemplate::{Functions, Template};
use regex::RegexBuilder;
use serde_json::Value as Json;
use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef, Reason, Severity};

use super::memory::Lookup;
use super::{dialect, read_at};
use crate::arguments::{Arguments, Instead, InsteadOfRedirect, SameSite};
use crate::filter::{Filter, arguments_of};
use crate::policy::{Chain, Condition, Glob, Link, Rule, Test, Then};
use crate::spec;

/// Where a rule comes in the order: precedence (high first), namespace, name, index.
pub(super) type Place = (std::cmp::Reverse<i64>, String, String, usize);

/// The rules of a policy. A rule that is broken still matches, and answers 500. Without `filters`
/// references are not resolved.
pub(super) fn compile_policy(
    object: &Object,
    filters: Option<&Lookup<'_>>,
    found: &mut Diagnostics<'_>,
) -> Vec<(Place, Rule)> {
    let object = &*dialect::policy(object, found);
    let ObjectRef { namespace, name, .. } = &object.reference;
    let place = |precedence, i| (std::cmp::Reverse(precedence), namespace.clone(), name.clone(), i);
    let Some(policy) = object.read_spec::<spec::FilterPolicy>(Severity::Error, found) else {
        // What it guards is not known, so it guards everything.
        let rule = Rule {
            name: format!("{name}.{namespace}"),
            host: Glob::any(),
            path: Glob::any(),
            chain: Chain::Broken("the policy cannot be read".to_owned()),
            shadow: false,
            failure_mode_allow: false,
        };
        return vec![(place(i64::MAX, 0), rule)];
    };
    let rules = policy.rules.unwrap_or_default();
    let compiled = rules.iter().enumerate().map(|(i, json)| {
        let (precedence, mut rule) = compile_rule(object, i, json, filters, found);
        rule.shadow = policy.shadow == Some(true);
        rule.failure_mode_allow = policy.failure_mode_allow == Some(true);
        (place(precedence, i), rule)
    });
    compiled.collect()
}

fn compile_rule(
    object: &Object,
    i: usize,
    json: &Json,
    filters: Option<&Lookup<'_>>,
    found: &mut Diagnostics<'_>,
) -> (i64, Rule) {
    let path = format!("spec.rules[{i}]");
    let mut own = Diagnostics::new(object);
    let spec = read_at::<spec::Rule>(json, &path, &mut own);
    let text = |key: &str| json.get(key).and_then(Json::as_str).filter(|t| !t.is_empty());
    let host = glob(text("host").map(str::to_ascii_lowercase), &format!("{path}.host"), &mut own);
    let target = glob(text("path").map(str::to_owned), &format!("{path}.path"), &mut own);
    let precedence = ["precedence", "v3Precedence"].iter().find_map(|k| json.get(k)?.as_i64());
    let links = spec.map(|spec| {
        links(object, &path, spec.filters.as_deref().unwrap_or_default(), filters, &mut own)
    });
    let chain = match links {
        Some(links) if !own.has_errors() => Chain::Links(links),
        _ => Chain::Broken("the rule has errors".to_owned()),
    };
    for d in own.into_vec() {
        let added = match d.severity {
            Severity::Error => found.error(d.path, d.message),
            Severity::Warning => found.warning(d.path, d.message),
            Severity::Notice => found.notice(d.path, d.message),
        };
        added.hint(d.hint).reason(d.reason);
    }
    let name = format!("{}.{}[{i}]", object.reference.name, object.reference.namespace);
    let rule = Rule { name, host, path: target, chain, shadow: false, failure_mode_allow: false };
    (precedence.unwrap_or(0), rule)
}

/// A glob, or what matches everything when it is absent or broken (a broken rule must match).
fn glob(pattern: Option<String>, path: &str, found: &mut Diagnostics<'_>) -> Glob {
    match pattern.map(|p| Glob::new(&p)) {
        None => Glob::any(),
        Some(Ok(glob)) => glob,
        Some(Err(e)) => {
            found
                .error(path, format!("not a glob: {e}"))
                .hint("requests that reach this rule are answered 500");
            Glob::any()
        }
    }
}

fn links(
    object: &Object,
    path: &str,
    references: &[spec::FilterRef],
    filters: Option<&Lookup<'_>>,
    found: &mut Diagnostics<'_>,
) -> Vec<Link> {
    let mut links = Vec::new();
    for (i, filter) in references.iter().enumerate() {
        let path = format!("{path}.filters[{i}]");
        if filter.name.is_empty() {
            found.error(format!("{path}.name"), "the filter has no name");
            continue;
        }
        let namespace = filter.namespace.as_deref().unwrap_or(&object.reference.namespace);
        let target = match filters {
            None => None,
            Some(filters) => {
                let key = (namespace.to_owned(), filter.name.clone());
                let known = filters.get(key);
                Some(known.unwrap_or_else(|| missing(filter, namespace, &path, found)))
            }
        };
        let then =
            |text: Option<&str>, default, field: &str, found: &mut Diagnostics<'_>| match text {
                None => default,
                Some("break") => Then::Break,
                Some("continue") => Then::Continue,
                Some(other) => {
                    found
                        .error(
                            format!("{path}.{field}"),
                            format!("`{other}` is neither break nor continue"),
                        )
                        .hint("requests that reach this rule are answered 500");
                    Then::Break
                }
            };
        let on_deny = then(filter.on_deny.as_deref(), Then::Break, "onDeny", found);
        let on_allow = then(filter.on_allow.as_deref(), Then::Continue, "onAllow", found);
        let condition = filter
            .if_request_header
            .as_ref()
            .and_then(|c| condition(c, &format!("{path}.ifRequestHeader"), found));
        let arguments = arguments(object, filter, target.as_deref(), &path, filters, found);
        let metadata = metadata(filter, &path, found);
        if let Some(filter) = target {
            links.push(Link { filter, on_deny, on_allow, condition, arguments, metadata });
        }
    }
    links
}

fn missing(
    filter: &spec::FilterRef,
    namespace: &str,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Arc<Filter> {
    let name = format!("{}.{namespace}", filter.name);
    found
        .error(format!("{path}.name"), format!("there is no Filter {name}"))
        .hint("create it, or correct name and namespace; until then requests are answered 500")
        .reason(Reason::RefNotResolved);
    Arc::new(Filter::broken(name))
}

pub(crate) fn condition(
    spec: &spec::IfRequestHeader,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Condition> {
    if spec.name.is_empty() {
        found.error(format!("{path}.name"), "the header has no name");
        return None;
    }
    if spec.name.starts_with(':') {
        found.error(format!("{path}.name"), "pseudo headers cannot be looked at");
        return None;
    }
    let test = match (&spec.value, &spec.value_regex) {
        (Some(value), Some(_)) if !value.is_empty() => {
            found.error(path, "value and valueRegex exclude each other").hint("keep one of them");
            return None;
        }
        (_, Some(regex)) => match RegexBuilder::new(regex).size_limit(1 << 20).build() {
            Ok(regex) => Test::Matches(regex),
            Err(e) => {
                found.error(format!("{path}.valueRegex"), format!("not a regular expression: {e}"));
                return None;
            }
        },
        (Some(value), None) => Test::Equals(value.clone()),
        (None, None) => Test::Present,
    };
    let negate = spec.negate == Some(true);
    Some(Condition { name: spec.name.to_ascii_lowercase(), test, negate })
}

/// The arguments, checked against the kind of the filter when that is known.
fn arguments(
    object: &Object,
    filter: &spec::FilterRef,
    target: Option<&Filter>,
    path: &str,
    filters: Option<&Lookup<'_>>,
    found: &mut Diagnostics<'_>,
) -> Arguments {
    let Some(json) = filter.arguments.as_ref().filter(|a| !a.is_null()) else {
        return Arguments::default();
    };
    let path = format!("{path}.arguments");
    let json = &*without_type(object, json, target, &path, found);
    let Some(spec) = read_at::<spec::Arguments>(json, &path, found) else {
        return Arguments::default();
    };
    let names = json.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    if let Some(filter) = target.filter(|f| f.judge.is_some()) {
        let taken = arguments_of(filter.kind);
        for name in names.filter(|name| !taken.contains(name)) {
            found
                .error(
                    format!("{path}.{name}"),
                    format!("a filter of kind {} does not take this argument", filter.kind),
                )
                .hint("remove it");
        }
    }
    let mut scope = spec.scope.unwrap_or_default();
    scope.extend(spec.scopes.unwrap_or_default());
    Arguments {
        scope,
        instead_of_redirect: spec
            .instead_of_redirect
            .as_ref()
            .and_then(|i| instead(object, i, &format!("{path}.insteadOfRedirect"), filters, found)),
        same_site: spec.same_site.as_deref().and_then(|text| same_site(text, &path, found)),
    }
}

/// Without `type` (v1alpha1), which must be the filter's.
fn without_type<'a>(
    object: &Object,
    json: &'a Json,
    target: Option<&Filter>,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Cow<'a, Json> {
    let mut json = Cow::Borrowed(json);
    if !dialect::is_used_by(object) || !json.is_object() {
        return json;
    }
    let named = json.to_mut().as_object_mut().and_then(|fields| fields.remove("type"));
    let named = named.as_ref().and_then(Json::as_str).unwrap_or_default();
    let path = format!("{path}.type");
    match (dialect::kind_of(named), target.filter(|f| f.judge.is_some())) {
        (None, _) => {
            found
                .error(path, format!("`{named}` is not a type of filter"))
                .hint("use jwt or oauth2");
        }
        (Some(kind), Some(filter)) if filter.kind != kind => {
            let message = format!(
                "these are arguments for a filter of kind {kind}, this one is {}",
                filter.kind
            );
            found.error(path, message).hint("name the type of the filter");
        }
        (Some(_), _) => {}
    }
    json
}

fn same_site(text: &str, path: &str, found: &mut Diagnostics<'_>) -> Option<SameSite> {
    match text.to_ascii_lowercase().as_str() {
        "lax" => Some(SameSite::Lax),
        "strict" => Some(SameSite::Strict),
        "none" => Some(SameSite::None),
        _ => {
            found
                .error(format!("{path}.sameSite"), format!("`{text}` is not a value of SameSite"))
                .hint("use lax, strict or none");
            None
        }
    }
}

fn instead(
    object: &Object,
    spec: &spec::InsteadOfRedirect,
    path: &str,
    filters: Option<&Lookup<'_>>,
    found: &mut Diagnostics<'_>,
) -> Option<InsteadOfRedirect> {
    let condition = match &spec.if_request_header {
        None => None,
        Some(c) => Some(condition(c, &format!("{path}.ifRequestHeader"), found)?),
    };
    let status = spec.http_status_code.filter(|code| *code != 0);
    let then = match (status, spec.filters.as_deref().filter(|f| !f.is_empty())) {
        (Some(_), Some(_)) => {
            found
                .error(path, "httpStatusCode and filters exclude each other")
                .hint("keep httpStatusCode; filters is deprecated");
            return None;
        }
        (None, Some(references)) => {
            found
                .warning(format!("{path}.filters"), "deprecated")
                .hint("put the other filter first, with onDeny: continue and onAllow: break");
            let links = links(object, path, references, filters, found);
            if links.iter().any(|link| link.filter.kind == "OAuth2") {
                found
                    .error(format!("{path}.filters"), "an OAuth2 filter cannot be in there")
                    .hint("use a filter of another kind");
                return None;
            }
            Instead::Filters(links)
        }
        (status, None) => match u16::try_from(status.unwrap_or(403)) {
            Ok(code @ 200..=599) => Instead::Status(code),
            _ => {
                found
                    .error(format!("{path}.httpStatusCode"), "not an HTTP status")
                    .hint("use one like 401 or 403");
                return None;
            }
        },
    };
    Some(InsteadOfRedirect { condition, then })
}

/// `dynamicMetadata`.
fn metadata(
    filter: &spec::FilterRef,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Vec<(String, Template)> {
    let mut compiled = Vec::new();
    for (i, entry) in filter.dynamic_metadata.iter().flatten().enumerate() {
        let path = format!("{path}.dynamicMetadata[{i}]");
        if entry.key.is_empty() {
            found.error(format!("{path}.key"), "the key is empty");
            continue;
        }
        match Template::parse(&entry.value, &Functions::header()) {
            Ok(template) => compiled.push((entry.key.clone(), template)),
            Err(e) => {
                found
                    .error(format!("{path}.value"), format!("not a template: {e}"))
                    .hint("templates are Go's text/template with hasKey and doNotSet");
            }
        }
    }
    compiled
}

/// Warns of rules of different policies that only their names put in order.
pub(super) fn twins(rules: &[(Place, Arc<Rule>)]) -> Vec<Diagnostic> {
    let mut first: HashMap<(i64, &Glob, &Glob), &Place> = HashMap::new();
    let mut found = Vec::new();
    for (place, rule) in rules {
        let key = (place.0.0, &rule.host, &rule.path);
        let Some(other) = first.get(&key) else {
            first.insert(key, place);
            continue;
        };
        if (&other.1, &other.2) == (&place.1, &place.2) {
            continue;
        }
        let object = ObjectRef::new("FilterPolicy", &place.1, &place.2);
        let message = format!(
            "never reached: {}.{} has a rule with the same host, path and precedence",
            other.2, other.1
        );
        let mut d =
            Diagnostic::new(Severity::Warning, object, format!("spec.rules[{}]", place.3), message);
        d.hint("say by precedence which of them counts");
        found.push(d);
    }
    found
}
