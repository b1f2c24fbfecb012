//! A `RateLimit` object to limits. One bad limit makes the whole object bad.

use std::sync::Arc;

use service_kit::{Diagnostic, Diagnostics, Object, ObjectRef, Severity};

use super::template::Templates;
use super::{Action, Pair, ResourceLimit};
use crate::limit::{Limit, LimitId, Unit};
use crate::quota::{Part, Quota, Written};
use crate::spec;

/// Most limits of an object.
const MAX_LIMITS: usize = 10_000;

/// The limits of an object.
#[derive(Debug)]
pub struct CompiledObject {
    /// Which requests they are for.
    pub domain: String,
    pub(super) limits: Vec<LimitParts>,
}

/// A limit before it has an id.
#[derive(Debug)]
pub(super) struct LimitParts {
    name: Arc<str>,
    quota: Quota,
    action: Action,
    pattern: Vec<Vec<(String, Option<String>)>>,
    templates: Templates,
    place: (String, String, usize),
}

impl LimitParts {
    pub(super) fn with_id(&self, id: LimitId) -> ResourceLimit {
        let pair = |(key, value): &(String, Option<String>)| Pair {
            key: key.clone(),
            value: value.clone(),
        };
        ResourceLimit {
            limit: Limit {
                id,
                name: self.name.clone(),
                quota: self.quota,
                shadow: false,
                is_quota: false,
            },
            action: self.action,
            pattern: self.pattern.iter().map(|item| item.iter().map(pair).collect()).collect(),
            templates: self.templates.clone(),
            place: self.place.clone(),
        }
    }
}

/// Compiles an object. With an error there is no result.
pub fn compile_object(object: &Object) -> (Option<CompiledObject>, Vec<Diagnostic>) {
    let mut found = Diagnostics::new(object);
    let compiled = compile(object, &mut found);
    let good = !found.has_errors();
    (compiled.filter(|_| good), found.into_vec())
}

fn compile(object: &Object, found: &mut Diagnostics<'_>) -> Option<CompiledObject> {
    let spec: spec::RateLimit = object.read_spec(Severity::Warning, found)?;
    if spec.domain.is_empty() {
        found
            .error("spec.domain", "the domain is missing")
            .hint("set it to the domain of the RateLimitService, usually ambassador");
    }
    let limits = spec.limits.unwrap_or_default();
    if limits.len() > MAX_LIMITS {
        found
            .error("spec.limits", "more than 10,000 limits")
            .hint("split them over several objects");
        return None;
    }
    let compiled = limits
        .iter()
        .enumerate()
        .filter_map(|(i, limit)| compile_limit(&object.reference, i, limit, found))
        .collect();
    Some(CompiledObject { domain: spec.domain, limits: compiled })
}

fn compile_limit(
    object: &ObjectRef,
    i: usize,
    spec: &spec::Limit,
    found: &mut Diagnostics<'_>,
) -> Option<LimitParts> {
    let path = format!("spec.limits[{i}]");
    let pattern = pattern(spec, &path, found);
    let requests = u32::try_from(spec.rate).ok();
    if requests.is_none() {
        found
            .error(format!("{path}.rate"), format!("{} is not a rate", spec.rate))
            .hint("use a whole number from 0 to 4294967295");
    }
    let unit = Unit::parse(&spec.unit);
    if unit.is_none() {
        found
            .error(format!("{path}.unit"), format!("`{}` is not a unit", spec.unit))
            .hint("use second, minute, hour, day, week, month or year");
    }
    let action = match spec.action.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "enforce") => Some(Action::Enforce),
        Some("logonly") => Some(Action::LogOnly),
        Some(_) => {
            let shown = spec.action.as_deref().unwrap_or_default();
            found
                .error(format!("{path}.action"), format!("`{shown}` is not an action"))
                .hint("use Enforce or LogOnly");
            None
        }
    };
    let templates = Templates::compile(spec, &path, found);
    let default_name = format!("{}.{}-{i}", object.name, object.namespace);
    let name = spec.name.clone().filter(|n| !n.is_empty()).unwrap_or(default_name);
    Some(LimitParts {
        name: name.into(),
        quota: quota(spec, requests?, unit?, &path, found)?,
        action: action?,
        pattern: pattern?,
        templates,
        place: (object.namespace.clone(), object.name.clone(), i),
    })
}

fn quota(
    spec: &spec::Limit,
    requests: u32,
    unit: Unit,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Quota> {
    let written = Written {
        unit_multiplier: spec.unit_multiplier,
        algorithm: spec.algorithm.as_deref(),
        burst_factor: spec.burst_factor,
        on_store_error: spec.on_store_error.as_deref(),
        lease: spec.lease,
    };
    let faults = match written.read(requests, unit) {
        Ok(quota) => return Some(quota),
        Err(faults) => faults,
    };
    for fault in faults {
        let field = match fault.part {
            Part::UnitMultiplier => "unitMultiplier",
            Part::Algorithm => "algorithm",
            Part::BurstFactor => "burstFactor",
            Part::OnStoreError => "onStoreError",
            Part::Lease => "lease",
        };
        found.error(format!("{path}.{field}"), fault.words).hint(fault.hint);
    }
    None
}

type Pattern = Vec<Vec<(String, Option<String>)>>;

fn pattern(spec: &spec::Limit, path: &str, found: &mut Diagnostics<'_>) -> Option<Pattern> {
    let items = spec.pattern.as_deref().unwrap_or_default();
    if items.is_empty() {
        found
            .error(
                format!("{path}.pattern"),
                "the pattern is empty, so the limit would be for everything",
            )
            .hint("say which label it is for, as in [{remote_address: \"*\"}]");
        return None;
    }
    let mut good = true;
    for (k, _) in items.iter().enumerate().filter(|(_, item)| item.is_empty()) {
        found
            .error(format!("{path}.pattern[{k}]"), "an item without a key")
            .hint("each item names at least one key, as in {user: \"*\"}");
        good = false;
    }
    let any = |value: &String| (!value.is_empty() && value != "*").then(|| value.clone());
    let pairs = |item: &std::collections::BTreeMap<String, String>| {
        item.iter().map(|(key, value)| (key.clone(), any(value))).collect()
    };
    good.then(|| items.iter().map(pairs).collect())
}

#[cfg(test)]
#[path = "compile/tests.rs"]
mod tests;
