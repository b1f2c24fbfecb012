//! Objects to a [`Snapshot`], with everything that is wrong with them.

mod filter;
mod policy;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;
use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef};

use crate::filter::Filter;
use crate::flow::{DefaultDecision, Snapshot};
use crate::policy::Rules;
use crate::secrets::Secrets;

pub(crate) use filter::Compiling;
use filter::compile_filter;
use policy::{compile_policy, twins};

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

/// Filters by namespace and name.
pub(crate) type Filters = HashMap<(String, String), Arc<Filter>>;

/// The Secrets that a `Filter` object names; none when it cannot be read.
pub fn secret_refs(object: &Object) -> Vec<ObjectRef> {
    let mut ignored = Diagnostics::new(object);
    compile_filter(object, None, &mut ignored).1
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
    let mut filters = Filters::new();
    let of_kind = |kind: &'static str| {
        objects.clone().into_iter().filter(move |o| {
            o.reference.kind == kind
                && settings.ambassador_id.as_ref().is_none_or(|id| o.is_for(id))
        })
    };
    for object in of_kind("Filter") {
        let mut found = Diagnostics::new(object);
        let (filter, _) = compile_filter(object, Some(&secrets), &mut found);
        let ObjectRef { namespace, name, .. } = &object.reference;
        filters.insert((namespace.clone(), name.clone()), Arc::new(filter));
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
    let rules = Rules::new(rules.into_iter().map(|(_, rule)| Arc::new(rule)).collect());
    let snapshot =
        Snapshot { rules, filters, default: settings.default, strip_unset: settings.strip_unset };
    Compiled { snapshot, found: all }
}

/// Reads a part of a spec at `path`; unknown fields are errors.
pub(crate) fn read_at<T: serde::de::DeserializeOwned>(
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
