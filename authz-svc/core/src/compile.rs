//! Objects to a [`Snapshot`], with everything that is wrong with them.

use std::collections::HashMap;
use std::sync::Arc;

use regex::RegexBuilder;
use serde_json::Value as Json;
use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef, Reason, Severity};

use crate::filter::{Filter, Kind, api_key, jwt};
use crate::flow::{DefaultDecision, Snapshot};
use crate::policy::{Chain, Condition, Glob, Link, Rule, Rules, Test, Then};
use crate::secrets::Secrets;
use crate::spec;

/// Settings of an installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Objects for other ids are left alone; none where somebody else chose the objects.
    pub ambassador_id: Option<String>,
    /// For requests that meet no rule.
    pub default: DefaultDecision,
    /// Remove a client's header where `doNotSet` ran, instead of leaving it.
    pub strip_unset: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ambassador_id: Some("default".to_owned()),
            default: DefaultDecision::Allow,
            strip_unset: false,
        }
    }
}

/// The result of [`compile`].
#[derive(Debug)]
pub struct Compiled {
    /// What is in force now. A broken part of it denies.
    pub snapshot: Snapshot,
    /// Everything that is wrong.
    pub found: Vec<Diagnostic>,
}

/// The Secrets that a `Filter` object names; none when it cannot be read.
pub fn secret_refs(object: &Object) -> Vec<ObjectRef> {
    let mut ignored = Diagnostics::new(object);
    let Some(filter) = object.read_spec::<spec::Filter>(Severity::Notice, &mut ignored) else {
        return Vec::new();
    };
    let own = &object.reference.namespace;
    let keys = filter.APIKey.and_then(|k| k.keys).unwrap_or_default();
    let mut refs: Vec<ObjectRef> =
        keys.iter().map(|k| ObjectRef::new("Secret", own.clone(), &k.secret_name)).collect();
    if let Some(secret) = filter.JWT.and_then(|j| j.jwks_secret) {
        let namespace = secret.namespace.unwrap_or_else(|| own.clone());
        refs.push(ObjectRef::new("Secret", namespace, secret.name));
    }
    refs.retain(|r| !r.name.is_empty());
    refs
}

/// Everything that is wrong with one `Filter` or `FilterPolicy` object by itself; whether what it
/// refers to exists is not looked at.
pub fn check(object: &Object) -> Vec<Diagnostic> {
    let mut found = Diagnostics::new(object);
    match object.reference.kind.as_str() {
        "Filter" => {
            compile_filter(object, None, &mut found);
        }
        "FilterPolicy" => {
            compile_policy(object, None, &mut found);
        }
        _ => {}
    }
    found.into_vec()
}

/// Compiles all objects of the kinds Filter, FilterPolicy and Secret; others are left alone.
pub fn compile<'a>(
    objects: impl IntoIterator<Item = &'a Object> + Clone,
    settings: &Settings,
) -> Compiled {
    let secrets = Secrets::new(objects.clone());
    let mut all = Vec::new();
    let mut filters = HashMap::new();
    let of_kind = |kind: &'static str| {
        objects.clone().into_iter().filter(move |o| {
            o.reference.kind == kind
                && settings.ambassador_id.as_ref().is_none_or(|id| o.is_for(id))
        })
    };
    for object in of_kind("Filter") {
        let mut found = Diagnostics::new(object);
        let filter = Arc::new(compile_filter(object, Some(&secrets), &mut found));
        filters.insert((object.reference.namespace.clone(), object.reference.name.clone()), filter);
        all.extend(found.into_vec());
    }
    let mut rules = Vec::new();
    for object in of_kind("FilterPolicy") {
        let mut found = Diagnostics::new(object);
        rules.extend(compile_policy(object, Some(&filters), &mut found));
        all.extend(found.into_vec());
    }
    rules.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.extend(twins(&rules));
    all.sort();
    let rules = Rules::new(rules.into_iter().map(|(_, rule)| rule).collect());
    let snapshot = Snapshot { rules, default: settings.default, strip_unset: settings.strip_unset };
    Compiled { snapshot, found: all }
}

fn compile_filter(
    object: &Object,
    secrets: Option<&Secrets<'_>>,
    found: &mut Diagnostics<'_>,
) -> Filter {
    let ObjectRef { namespace, name, .. } = &object.reference;
    let full_name = format!("{name}.{namespace}");
    let invalid = |why: &str| Filter { name: full_name.clone(), kind: Kind::Invalid(why.into()) };
    let Some(spec) = object.read_spec::<spec::Filter>(Severity::Error, found) else {
        return invalid("its spec cannot be read");
    };
    let unsupported = [
        ("External", spec.External.is_some()),
        ("OAuth2", spec.OAuth2.is_some()),
        ("Plugin", spec.Plugin.is_some()),
    ];
    let given = unsupported.iter().filter(|(_, given)| *given).count()
        + usize::from(spec.JWT.is_some())
        + usize::from(spec.APIKey.is_some());
    if given != 1 {
        let message = format!("a Filter has exactly one kind, this one has {given}");
        found.error("spec", message).hint("keep one of JWT, APIKey, External, OAuth2, Plugin");
        return invalid("it does not have exactly one kind");
    }
    if let Some((kind, _)) = unsupported.iter().find(|(_, given)| *given) {
        found
            .error(format!("spec.{kind}"), format!("not supported yet: Filter.{kind}"))
            .hint("requests that need this filter are answered 500");
        return invalid("its kind is not supported yet");
    }
    let kind = match (&spec.JWT, &spec.APIKey) {
        (Some(jwt), _) => Kind::Jwt(Box::new(jwt::compile(jwt, name, namespace, secrets, found))),
        (None, Some(key)) => Kind::ApiKey(compile_api_key(key, namespace, secrets, found)),
        (None, None) => return invalid("it has no kind"),
    };
    if found.has_errors() {
        return invalid("it has errors");
    }
    Filter { name: full_name, kind }
}

fn compile_api_key(
    spec: &spec::ApiKey,
    namespace: &str,
    secrets: Option<&Secrets<'_>>,
    found: &mut Diagnostics<'_>,
) -> api_key::ApiKey {
    let header = spec.http_header.as_deref().unwrap_or(api_key::DEFAULT_HEADER);
    if !crate::request::is_settable(&header.to_ascii_lowercase()) {
        found.error("spec.APIKey.httpHeader", format!("`{header}` is not a header name"));
    }
    let names = spec.keys.as_deref().unwrap_or_default();
    if names.is_empty() {
        found
            .error("spec.APIKey.keys", "no keys are named, so nobody could pass")
            .hint("name at least one Secret: keys: [{secretName: …}]");
    }
    let mut keys: Vec<&[u8]> = Vec::new();
    for (i, key) in names.iter().enumerate() {
        let path = format!("spec.APIKey.keys[{i}].secretName");
        if key.secret_name.is_empty() {
            found.error(path, "the Secret has no name");
            continue;
        }
        let Some(secrets) = secrets else { continue };
        match secrets.get(namespace, &key.secret_name) {
            Some(data) => keys.extend(data.values().map(|v| v.expose().as_slice())),
            None => {
                found
                    .error(path, format!("there is no Secret {}.{namespace}", key.secret_name))
                    .hint("create it in the Filter's namespace, or correct the name")
                    .reason(Reason::RefNotResolved);
            }
        }
    }
    api_key::ApiKey::new(header, keys)
}

type Filters = HashMap<(String, String), Arc<Filter>>;

/// Where a rule comes in the order: precedence (high first), namespace, name, index.
type Place = (std::cmp::Reverse<i64>, String, String, usize);

/// The rules of a policy. A rule that is broken still matches, and answers 500. Without `filters`
/// references are not resolved.
fn compile_policy(
    object: &Object,
    filters: Option<&Filters>,
    found: &mut Diagnostics<'_>,
) -> Vec<(Place, Rule)> {
    let ObjectRef { namespace, name, .. } = &object.reference;
    let place = |precedence, i| (std::cmp::Reverse(precedence), namespace.clone(), name.clone(), i);
    let Some(policy) = object.read_spec::<spec::FilterPolicy>(Severity::Error, found) else {
        // What it guards is not known, so it guards everything.
        let rule = Rule {
            name: format!("{name}.{namespace}"),
            host: Glob::any(),
            path: Glob::any(),
            chain: Chain::Broken("the policy cannot be read".to_owned()),
        };
        return vec![(place(i64::MAX, 0), rule)];
    };
    let rules = policy.rules.unwrap_or_default();
    let compiled = rules.iter().enumerate().map(|(i, json)| {
        let (precedence, rule) = compile_rule(object, i, json, filters, found);
        (place(precedence, i), rule)
    });
    compiled.collect()
}

fn compile_rule(
    object: &Object,
    i: usize,
    json: &Json,
    filters: Option<&Filters>,
    found: &mut Diagnostics<'_>,
) -> (i64, Rule) {
    let path = format!("spec.rules[{i}]");
    let mut own = Diagnostics::new(object);
    let spec = read_at::<spec::Rule>(json, &path, &mut own);
    let text = |key: &str| json.get(key).and_then(Json::as_str).filter(|t| !t.is_empty());
    let host = glob(text("host").map(str::to_ascii_lowercase), &format!("{path}.host"), &mut own);
    let target = glob(text("path").map(str::to_owned), &format!("{path}.path"), &mut own);
    let precedence = ["precedence", "v3Precedence"].iter().find_map(|k| json.get(k)?.as_i64());
    let links = spec.map(|spec| links(object, &path, &spec, filters, &mut own));
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
    (precedence.unwrap_or(0), Rule { name, host, path: target, chain })
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
    spec: &spec::Rule,
    filters: Option<&Filters>,
    found: &mut Diagnostics<'_>,
) -> Vec<Link> {
    let mut links = Vec::new();
    for (i, filter) in spec.filters.iter().flatten().enumerate() {
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
                Some(
                    filters
                        .get(&key)
                        .cloned()
                        .unwrap_or_else(|| missing(filter, namespace, &path, found)),
                )
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
        let scope = scope(
            filter.arguments.as_ref(),
            target.as_deref(),
            &format!("{path}.arguments"),
            found,
        );
        if let Some(filter) = target {
            links.push(Link { filter, on_deny, on_allow, condition, scope });
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
    Arc::new(Filter { name, kind: Kind::Invalid("it does not exist".to_owned()) })
}

fn condition(
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
fn scope(
    arguments: Option<&Json>,
    filter: Option<&Filter>,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Vec<String> {
    let Some(arguments) = arguments.filter(|a| !a.is_null()) else { return Vec::new() };
    match filter.map(|f| &f.kind) {
        Some(Kind::ApiKey(_)) if arguments.as_object().is_none_or(|a| !a.is_empty()) => {
            found.error(path, "a filter of kind APIKey takes no arguments").hint("remove them");
            Vec::new()
        }
        Some(Kind::Jwt(_)) => read_at::<spec::JwtArguments>(arguments, path, found)
            .and_then(|a| a.scope)
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Reads a part of a spec at `path`; unknown fields are errors.
fn read_at<T: serde::de::DeserializeOwned>(
    json: &Json,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<T> {
    let mut unknown = Vec::new();
    let result = serde_ignored::deserialize(json, |p| unknown.push(p.to_string()));
    for field in unknown {
        found
            .error(format!("{path}.{}", field.replace(".?", "")), "unknown field")
            .hint("check its spelling");
    }
    match result {
        Ok(value) => Some(value),
        Err(e) => {
            found.error(path, e.to_string());
            None
        }
    }
}

/// Warns of rules of different policies that only their names put in order.
fn twins(rules: &[(Place, Rule)]) -> Vec<Diagnostic> {
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
