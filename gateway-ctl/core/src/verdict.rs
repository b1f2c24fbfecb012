//! What became of an object: the part of its status that the engine knows.

use serde_json::Value;
use service_kit::{Diagnostic, ObjectRef, Reason, Severity};

use crate::kinds::GROUP;
use crate::resource::Spec;
use crate::store::Entry;

/// Longest text of a condition; an API server takes 32768 bytes.
const MAX_TEXT: usize = 4096;

/// Who must take an object before it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Envoys.
    Envoy,
    /// ratelimit-svc.
    RateLimit,
    /// authz-svc.
    Authorization,
}

/// Whether something holds, with reason and words as in a status condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it holds.
    pub holds: bool,
    /// One word.
    pub reason: &'static str,
    /// For people; may be empty.
    pub message: String,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which.
    pub reference: ObjectRef,
    /// The version it was written in, as in `getambassador.io/v3alpha1`.
    pub api_version: String,
    /// `metadata.uid`.
    pub uid: String,
    /// The `metadata.generation` that was judged.
    pub generation: i64,
    /// Whether what it says can be.
    pub accepted: State,
    /// Whether what it refers to is there.
    pub resolved_refs: State,
    /// Whether this generation is what is sent to [`Self::audience`].
    pub in_force: bool,
    /// Who must take it.
    pub audience: Audience,
    /// Its status as it was read.
    pub status: Value,
}

impl Verdict {
    /// The verdict on an object, given all that was `found` about it. None for objects of other
    /// groups, whose status is not ours, but for an Ingress.
    pub(crate) fn of(entry: &Entry, found: &[&Diagnostic]) -> Option<Self> {
        let object = &entry.latest;
        let group = object.api_version.split('/').next();
        if group != Some(GROUP) && !matches!(entry.good.as_ref()?.spec, Spec::Ingress) {
            return None;
        }
        let about_refs = |d: &&&Diagnostic| d.reason == Reason::RefNotResolved;
        let refs: Vec<_> = found.iter().copied().filter(|d| about_refs(&d)).collect();
        let others: Vec<_> = found.iter().copied().filter(|d| !about_refs(&d)).collect();
        let is_error = |d: &&&Diagnostic| d.severity == Severity::Error;
        // What other objects make impossible is found later than what the object itself does.
        let lowered = found
            .iter()
            .filter(is_error)
            .any(|d| !entry.found.iter().any(|own| own.message == d.message));
        let first = others.iter().find(is_error);
        let audience = match object.reference.kind.as_str() {
            "RateLimit" => Audience::RateLimit,
            "Filter" | "FilterPolicy" => Audience::Authorization,
            _ => Audience::Envoy,
        };
        Some(Self {
            reference: object.reference.clone(),
            api_version: object.api_version.clone(),
            uid: object.uid.clone(),
            generation: object.generation,
            accepted: State {
                holds: first.is_none(),
                reason: first.map_or("Accepted", |d| d.reason.as_str()),
                message: text(&others),
            },
            resolved_refs: State {
                holds: refs.is_empty(),
                reason: if refs.is_empty() { "ResolvedRefs" } else { "RefNotResolved" },
                message: text(&refs),
            },
            // A policy whose filters are missing is in force, and denies.
            in_force: entry.is_newest && (!lowered || audience == Audience::Authorization),
            audience,
            status: object.status.clone(),
        })
    }
}

/// Findings as the text of a condition, errors first.
fn text(found: &[&Diagnostic]) -> String {
    let mut lines: Vec<_> = found.iter().map(|d| (d.severity, line(d))).collect();
    lines.sort();
    let mut text = String::new();
    for (_, line) in lines {
        if text.len() + line.len() > MAX_TEXT {
            text += " …";
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &line;
    }
    text
}

/// The words of a finding, its message cut, with how much it matters where it is no error.
fn line(d: &Diagnostic) -> String {
    let mut brief = d.clone();
    brief.message = d.message.chars().take(MAX_TEXT / 4).collect();
    match d.severity {
        Severity::Error => brief.words(),
        severity => format!("{severity}: {}", brief.words()),
    }
}
