//! Objects to a [`Snapshot`], with everything that is wrong with them.

mod dialect;
mod filter;
mod memory;
mod policy;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;
use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef, Reason, spelling};

use crate::filter::Filter;
use crate::filter::jwt::TokenCache;
use crate::flow::{DefaultDecision, Snapshot};
use crate::policy::{Rule, Rules};
use crate::secrets::Secrets;

pub(crate) use filter::Compiling;
use filter::compile_filter;
use memory::{FilterUnit, Lookup, PolicyUnit};
pub(crate) use memory::{Memory, Version};
pub(crate) use policy::condition;
use policy::{Place, compile_policy, twins};

/// Settings of an installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Objects for other ids are left alone; none where somebody else chose the objects.
    pub ambassador_id: Option<String>,
    /// For requests that meet no rule.
    pub default: DefaultDecision,
    /// Remove a client's header where `doNotSet` ran, instead of leaving it.
    pub strip_unset: bool,
    /// What is known of tokens.
    pub token_cache: TokenCache,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ambassador_id: Some("default".to_owned()),
            default: DefaultDecision::Allow,
            strip_unset: false,
            token_cache: TokenCache::default(),
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

/// Filters by namespace and name.
pub(crate) type Filters = HashMap<(String, String), Arc<Filter>>;

/// The Secrets that a `Filter` object names; none when it cannot be read.
pub fn secret_refs(object: &Object) -> Vec<ObjectRef> {
    let mut ignored = Diagnostics::new(object);
    compile_filter(object, None, &Settings::default(), &mut ignored).1
}

/// Everything that is wrong with one `Filter` or `FilterPolicy` object by itself; whether what it
/// refers to exists is not looked at.
pub fn check(object: &Object) -> Vec<Diagnostic> {
    let mut found = Diagnostics::new(object);
    match object.reference.kind.as_str() {
        "Filter" => {
            compile_filter(object, None, &Settings::default(), &mut found);
        }
        "FilterPolicy" => {
            compile_policy(object, None, &mut found);
        }
        _ => {}
    }
    found.into_vec()
}

/// Compiles all objects of the kinds Filter, FilterPolicy and Secret; others are left alone.
pub fn compile<'a>(objects: impl IntoIterator<Item = &'a Object>, settings: &Settings) -> Compiled {
    let objects: Vec<(&Object, Version)> = objects.into_iter().map(|o| (o, 0)).collect();
    compile_changes(&objects, settings, &mut Memory::default())
}

/// As [`compile`]; what `memory` has of objects that are the same keeps its compiled form.
pub(crate) fn compile_changes(
    objects: &[(&Object, Version)],
    settings: &Settings,
    memory: &mut Memory,
) -> Compiled {
    let of_kind = |kind: &'static str| {
        let ours = |o: &Object| settings.ambassador_id.as_ref().is_none_or(|id| o.is_for(id));
        objects.iter().copied().filter(move |(o, _)| o.reference.kind == kind && ours(o))
    };
    let mut all = Vec::new();
    let filters = compile_filters(objects, of_kind("Filter"), settings, memory, &mut all);
    for (object, _) in of_kind("Filter") {
        all.extend(check_reference(object, &filters));
    }
    let rules = compile_policies(of_kind("FilterPolicy"), &filters, memory, &mut all);
    all.extend(twins(&rules));
    all.sort();
    let rules = Rules::new(rules.into_iter().map(|(_, rule)| rule).collect());
    let snapshot =
        Snapshot { rules, filters, default: settings.default, strip_unset: settings.strip_unset };
    Compiled { snapshot, found: all }
}

fn compile_filters<'a>(
    objects: &[(&Object, Version)],
    filters: impl Iterator<Item = (&'a Object, Version)>,
    settings: &Settings,
    memory: &mut Memory,
    all: &mut Vec<Diagnostic>,
) -> Filters {
    let secrets = Secrets::new(objects.iter().map(|(o, _)| *o));
    let versions: HashMap<&ObjectRef, Version> = objects
        .iter()
        .filter(|(o, _)| o.reference.kind == "Secret")
        .map(|(o, version)| (&o.reference, *version))
        .collect();
    let mut known = std::mem::take(&mut memory.filters);
    let mut compiled = Filters::new();
    for (object, version) in filters {
        let same = |unit: &FilterUnit| {
            let secret = |(r, v): &(ObjectRef, Option<Version>)| versions.get(r).copied() == *v;
            unit.version == version && unit.secrets.iter().all(secret)
        };
        let unit = known.remove(&object.reference).filter(same).unwrap_or_else(|| {
            let mut found = Diagnostics::new(object);
            let (filter, refs) = compile_filter(object, Some(&secrets), settings, &mut found);
            let secrets = refs.into_iter().map(|r| (versions.get(&r).copied(), r));
            FilterUnit {
                version,
                secrets: secrets.map(|(version, r)| (r, version)).collect(),
                filter: Arc::new(filter),
                found: found.into_vec(),
            }
        });
        all.extend(unit.found.iter().cloned());
        let ObjectRef { namespace, name, .. } = &object.reference;
        compiled.insert((namespace.clone(), name.clone()), unit.filter.clone());
        memory.filters.insert(object.reference.clone(), unit);
    }
    compiled
}

/// Whether the JWT filter that an OAuth2 filter names is there. Without it requests are answered
/// 500: it is looked for with each of them.
fn check_reference(object: &Object, filters: &Filters) -> Vec<Diagnostic> {
    let ObjectRef { namespace, name, .. } = &object.reference;
    let judge = |key: &(String, String)| filters.get(key).and_then(|f| f.judge.as_ref());
    let own = judge(&(namespace.clone(), name.clone()));
    let Some(key) = own.and_then(|j| j.as_oauth2()).and_then(|o| o.jwt_filter()) else {
        return Vec::new();
    };
    if judge(key).is_some_and(|j| j.as_jwt().is_some()) {
        return Vec::new();
    }
    let mut found = Diagnostics::new(object);
    let (namespace, name) = key;
    let message = match filters.get(key) {
        None => format!("there is no Filter {name}.{namespace}"),
        Some(filter) if filter.judge.is_none() => format!("Filter {name}.{namespace} is broken"),
        Some(filter) => format!("Filter {name}.{namespace} is of kind {}, not JWT", filter.kind),
    };
    found
        .error("spec.OAuth2.accessTokenJWTFilter", message)
        .hint("name a JWT Filter; until then requests are answered 500")
        .reason(Reason::RefNotResolved);
    found.into_vec()
}

/// All rules in their order.
fn compile_policies<'a>(
    policies: impl Iterator<Item = (&'a Object, Version)>,
    filters: &Filters,
    memory: &mut Memory,
    all: &mut Vec<Diagnostic>,
) -> Vec<(Place, Arc<Rule>)> {
    let mut known = std::mem::take(&mut memory.policies);
    let mut rules = Vec::new();
    for (object, version) in policies {
        let same = |unit: &PolicyUnit| unit.is_current(version, filters);
        let unit = known.remove(&object.reference).filter(same).unwrap_or_else(|| {
            let mut found = Diagnostics::new(object);
            let lookup = Lookup::new(filters);
            let rules = compile_policy(object, Some(&lookup), &mut found);
            PolicyUnit {
                version,
                filters: lookup.into_asked(),
                rules: rules.into_iter().map(|(place, rule)| (place, Arc::new(rule))).collect(),
                found: found.into_vec(),
            }
        });
        all.extend(unit.found.iter().cloned());
        rules.extend(unit.rules.iter().cloned());
        memory.policies.insert(object.reference.clone(), unit);
    }
    rules.sort_by(|(a, _), (b, _)| a.cmp(b));
    rules
}

/// Reads a part of a spec at `path`; unknown fields are errors.
pub(crate) fn read_at<T: serde::de::DeserializeOwned + schemars::JsonSchema + 'static>(
    json: &Json,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<T> {
    let mut unknown = Vec::new();
    let result = serde_ignored::deserialize(json, |p| unknown.push(p.to_string()));
    for field in unknown {
        found
            .error(format!("{path}.{}", field.replace(".?", "")), "unknown field")
            .hint(spelling::hint::<T>(&field, "check its spelling"));
    }
    match result {
        Ok(value) => Some(value),
        Err(e) => {
            found.error(path, e.to_string());
            None
        }
    }
}
