//! The table of causes: why a request is answered otherwise than somebody wanted. Each cause says how
//! it is seen, why that is, what to do, and how to tell from what is known whether it is the one. The
//! documentation is made of this table.

mod access;
mod hosts;
mod limits;
mod protocol;
mod routing;
mod upstream;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use service_kit::ObjectRef;

use super::facts::Facts;
use super::symptom::{Symptom, grpc_of};

/// A cause.
pub struct Cause {
    /// Its name for programs and links.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Statuses that are seen; none: any.
    pub statuses: &'static [u16],
    /// Flags of Envoy, one of which is seen, `-` for no flag; none: no flag.
    pub flags: &'static [&'static str],
    /// Words of details and bodies that go with it.
    pub words: &'static [&'static str],
    /// Words that go with nothing else.
    pub proof: &'static [&'static str],
    /// What else is seen.
    pub sees: &'static str,
    /// Why it comes to that.
    pub why: &'static str,
    /// What to do.
    pub next: &'static str,
    /// Looks for it in what is known; none: it is not that.
    look: fn(&Facts<'_>) -> Option<Look>,
}

/// What looking came to.
struct Look {
    /// Whether what is known shows it; otherwise it may be.
    is_certain: bool,
    found: Vec<Found>,
}

/// What was found, of this configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What is so.
    pub words: String,
    /// The next step here; empty: the usual one.
    #[serde(default)]
    pub next: String,
    /// The object that is to be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectRef>,
}

impl Found {
    pub(super) fn new(
        words: impl Into<String>,
        next: impl Into<String>,
        object: Option<&ObjectRef>,
    ) -> Self {
        Self { words: words.into(), next: next.into(), object: object.cloned() }
    }
}

/// Certain, if anything was found.
fn certain(found: Vec<Found>) -> Option<Look> {
    (!found.is_empty()).then_some(Look { is_certain: true, found })
}

/// Possible.
#[allow(clippy::unnecessary_wraps)] // the type of a look
fn possible(found: Vec<Found>) -> Option<Look> {
    Some(Look { is_certain: false, found })
}

/// The groups of causes, in the order of a request's way.
const GROUPS: &[(&str, &[Cause])] = &[
    ("Before routing", protocol::CAUSES),
    ("No route, or another one", routing::CAUSES),
    ("Authorization", access::CAUSES),
    ("Rate limits", limits::CAUSES),
    ("Hosts of the service", hosts::CAUSES),
    ("The service", upstream::CAUSES),
];

/// All causes.
pub fn all() -> impl Iterator<Item = &'static Cause> {
    GROUPS.iter().flat_map(|(_, causes)| causes.iter())
}

/// A cause that fits.
pub(super) struct Fitting {
    pub(super) cause: &'static Cause,
    pub(super) is_certain: bool,
    pub(super) found: Vec<Found>,
}

/// The causes that fit, the likeliest first: those that what is known shows, then by how much of what
/// was seen goes with them. Without a symptom only those that are certain.
pub(super) fn find(facts: &Facts<'_>) -> Vec<Fitting> {
    let asked = !facts.symptom.is_empty();
    let mut fitting: Vec<(u32, Fitting)> = all()
        .filter_map(|cause| {
            let (score, is_proven) = cause.fit(facts.symptom)?;
            let look = (cause.look)(facts)?;
            let is_certain = look.is_certain || is_proven;
            (is_certain || asked).then_some(())?;
            let score =
                score + if look.is_certain { 64 } else { 0 } + if is_proven { 32 } else { 0 };
            Some((score, Fitting { cause, is_certain, found: look.found }))
        })
        .collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    fitting.into_iter().map(|(_, f)| f).collect()
}

/// The causes that go with a symptom, whatever is known.
pub(super) fn usual(symptom: &Symptom) -> Vec<Fitting> {
    let fitting = all().filter_map(|cause| Some((cause.fit(symptom)?.0, cause)));
    let mut fitting: Vec<_> = fitting.collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let one = |(_, cause)| Fitting { cause, is_certain: false, found: Vec::new() };
    fitting.into_iter().map(one).collect()
}

impl Cause {
    /// How much of a symptom goes with it, and whether that alone proves it; none when it
    /// contradicts.
    fn fit(&self, symptom: &Symptom) -> Option<(u32, bool)> {
        if symptom.is_empty() {
            return Some((0, false));
        }
        let is_said = |all: &[&str]| all.iter().any(|words| symptom.says(words));
        let is_proven = is_said(self.proof);
        let is_told = is_proven || is_said(self.words);
        let mut score = if is_told { 8 } else { 0 };
        if symptom.details.is_some() && !is_told {
            return None;
        }
        if let Some(flags) = &symptom.flags {
            let none_is_seen = flags.is_empty() && self.flags.contains(&"-");
            match none_is_seen || self.flags.iter().any(|f| flags.iter().any(|have| have == f)) {
                true => score += 4,
                false if is_proven => {}
                false if self.flags.is_empty() && (is_told || flags.is_empty()) => {}
                false => return None,
            }
        }
        let statuses_fit = match (symptom.status, symptom.grpc_status) {
            (None, None) => None,
            _ if self.statuses.is_empty() => Some(is_told || score > 0),
            // Envoy answers gRPC calls with 200 and a status of gRPC.
            (Some(200) | None, Some(code)) => {
                Some(self.statuses.iter().any(|s| grpc_of(*s).contains(&code)))
            }
            (Some(status), _) => Some(self.statuses.contains(&status)),
        };
        match statuses_fit {
            Some(true) => score += 2,
            Some(false) if !is_told => return None,
            _ => {}
        }
        (score > 0).then_some((score, is_proven))
    }

    /// How it is seen, as Markdown.
    fn seen(&self) -> String {
        let mut parts = Vec::new();
        let statuses: Vec<String> = self.statuses.iter().map(ToString::to_string).collect();
        if !statuses.is_empty() {
            parts.push(statuses.join(" or "));
        }
        parts.extend(self.flags.iter().filter(|f| **f != "-").map(|f| format!("`{f}`")));
        let mut grpc: Vec<u32> = self
            .statuses
            .iter()
            .filter(|s| **s >= 400)
            .filter_map(|s| grpc_of(*s).first().copied())
            .collect();
        grpc.sort_unstable();
        grpc.dedup();
        if !grpc.is_empty() {
            let grpc: Vec<String> = grpc.iter().map(ToString::to_string).collect();
            parts.push(format!("gRPC {}", grpc.join(", ")));
        }
        if !self.sees.is_empty() {
            parts.push(self.sees.to_owned());
        }
        parts.join(" · ")
    }
}

/// The table as Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for (group, causes) in GROUPS {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "### {group}\n\n| cause | what is seen | why | next step |\n|---|---|---|---|"
        );
        for c in *causes {
            let _ = writeln!(
                text,
                "| **{}**<br>`{}` | {} | {} | {} |",
                c.title,
                c.id,
                c.seen(),
                c.why,
                c.next
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_whole() {
        let ids: BTreeSet<&str> = all().map(|c| c.id).collect();
        assert_eq!(ids.len(), all().count(), "each has an id of its own");
        for c in all() {
            assert!(!c.title.is_empty() && !c.why.is_empty() && !c.next.is_empty(), "{}", c.id);
            assert!(!c.seen().is_empty(), "{}: nothing is seen", c.id);
            for text in [c.title, c.sees, c.why, c.next] {
                assert!(!text.contains(['|', '\n']), "{}: {text}", c.id);
            }
            // What proves a cause must not be told of another.
            for proof in c.proof {
                let others = all().filter(|o| o.id != c.id);
                let also: Vec<_> = others.filter(|o| o.proof.contains(proof)).collect();
                assert!(also.is_empty(), "{}: {proof}", c.id);
            }
        }
    }
}
