//! What resources of Emissary and Edge Stack, and files of envoyproxy/ratelimit, become here: what
//! works unchanged, what works with a difference, what is not taken, what can be written anew. Knows
//! objects and texts, no files and no cluster.

pub mod difference;
pub mod limits;
pub mod rewrite;
mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use service_kit::{Diagnostic, Object, ObjectRef, Reason, Severity};

pub use self::difference::Difference;
pub use self::limits::LimitsFile;
pub use self::rewrite::{Addresses, Rewrite};
use self::survey::Survey;
use crate::kinds::{GATEWAY_GROUP, GROUP};

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It, or a part of it, is not in force.
    NotTaken,
    /// It was a part of Edge Stack and is to be deleted: something else takes its place.
    Replaced,
    /// It works, with what [`Entry::differences`] and [`Entry::found`] say.
    Differs,
    /// It works as it is.
    Unchanged,
    /// It is for an installation with another `ambassador_id`.
    OtherInstallation,
}

/// An object and what becomes of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Where it does something else than in Emissary.
    pub differences: Vec<Met>,
    /// What is wrong with it.
    pub found: Vec<Diagnostic>,
    /// What can be written anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
}

/// A difference that an object meets.
#[derive(Debug, Serialize)]
pub struct Met {
    /// The difference.
    #[serde(flatten)]
    pub difference: &'static Difference,
    /// The field that meets it, as in `spec.keepalive.idle_time`.
    pub path: String,
}

/// What becomes of a set of resources.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The gateway's objects, those first that are not taken.
    pub objects: Vec<Entry>,
    /// Files of envoyproxy/ratelimit.
    pub limits: Vec<LimitsFile>,
    /// How many objects are for other programs.
    pub others: usize,
    /// Objects that are not there and should be, written out.
    pub added: Vec<Rewrite>,
    /// What is wrong with texts that are no objects.
    pub unread: Vec<Diagnostic>,
    /// Differences that no object shows.
    pub of_the_gateway: Vec<&'static Difference>,
}

impl Report {
    /// Whether something is not taken.
    pub fn has_faults(&self) -> bool {
        let of_objects = self.objects.iter().any(|e| e.outcome == Outcome::NotTaken);
        of_objects || !self.unread.is_empty() || self.limits.iter().any(|l| !l.found.is_empty())
    }

    /// How many objects have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.objects.iter().filter(|e| e.outcome == outcome).count()
    }
}

/// Says what becomes of `objects`, of which `found` is known to be wrong, in the installation
/// `ambassador_id`; `addresses` are those of the services that take Edge Stack's place.
pub fn assess(
    objects: &[Arc<Object>],
    found: Vec<Diagnostic>,
    limits: Vec<LimitsFile>,
    ambassador_id: &str,
    addresses: &Addresses,
) -> Report {
    let survey = Survey::of(objects);
    let mut by_object: BTreeMap<ObjectRef, Vec<Diagnostic>> = BTreeMap::new();
    for d in found {
        by_object.entry(d.object.clone()).or_default().push(d);
    }
    let (ours, others): (Vec<_>, Vec<_>) = objects.iter().partition(|o| is_read(o));
    let mut entries: Vec<Entry> = ours
        .into_iter()
        .map(|object| {
            let found = by_object.remove(&object.reference).unwrap_or_default();
            entry(object, found, &survey, ambassador_id, addresses)
        })
        .collect();
    entries.sort_by(|a, b| (a.outcome, &a.object).cmp(&(b.outcome, &b.object)));
    // A Secret or a Service is another program's, until something is wrong with it.
    let unread = by_object.into_values().flatten().filter(is_fault);
    Report {
        added: rewrite::additions(&survey, ambassador_id),
        objects: entries,
        limits,
        others: others.len(),
        unread: unread.collect(),
        of_the_gateway: difference::of_the_gateway().collect(),
    }
}

/// Whether something is not in force. What is referred to may be elsewhere: Secrets are rarely among
/// what people migrate.
pub fn is_fault(d: &Diagnostic) -> bool {
    d.severity == Severity::Error && d.reason != Reason::RefNotResolved
}

/// Whether an object is one of those that people migrate.
fn is_read(object: &Object) -> bool {
    let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
    let annotated = matches!(object.reference.kind.as_str(), "Service" | "Ingress")
        && object.annotations.contains_key("getambassador.io/config");
    let ingress = matches!(object.reference.kind.as_str(), "Ingress" | "IngressClass")
        && matches!(group, "networking.k8s.io" | "extensions");
    [GROUP, GATEWAY_GROUP].contains(&group) || ingress || annotated
}

fn entry(
    object: &Arc<Object>,
    found: Vec<Diagnostic>,
    survey: &Survey,
    ambassador_id: &str,
    addresses: &Addresses,
) -> Entry {
    let reference = object.reference.clone();
    let is_ours = object.api_version.starts_with(GROUP);
    if is_ours && !object.is_for(ambassador_id) {
        let outcome = Outcome::OtherInstallation;
        return Entry { object: reference, outcome, differences: vec![], found, rewrite: None };
    }
    let rewrite = rewrite::rewrite(object, addresses);
    // What is to be deleted has no differences worth reading.
    let goes = rewrite.as_ref().is_some_and(|r| r.object.is_none());
    let differences = if goes { Vec::new() } else { difference::met_by(object, survey) };
    let outcome = match () {
        () if goes => Outcome::Replaced,
        () if found.iter().any(is_fault) => Outcome::NotTaken,
        () if found.is_empty() && differences.is_empty() => Outcome::Unchanged,
        () => Outcome::Differs,
    };
    let found = if goes { Vec::new() } else { found };
    Entry { object: reference, outcome, differences, found, rewrite }
}

#[cfg(test)]
mod tests;
