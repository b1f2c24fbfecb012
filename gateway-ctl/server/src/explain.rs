//! What would happen to a request, and why; and what was behind what somebody saw. The same order of
//! questions as Envoy's, asked of what is in force. Facts in, causes out: no IO but for
//! [`explain_files`], and the parts for callers that ask elsewhere.

mod causes;
mod counters;
mod endpoints_of;
mod facts;
mod guards;
mod limits;
mod matching;
mod policies;
mod request;
mod symptom;
#[cfg(test)]
mod tests;
mod way;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_core::Settings;
use serde::{Deserialize, Serialize};
use service_kit::ObjectRef;

use crate::check;
pub use causes::{Cause, Found, all as all_causes, markdown};
pub use counters::{Asking, Counters, Usage, asking};
pub use facts::{Decision, EnvoyHost, EnvoyHosts, Judged, Live, Material};
pub use guards::{Guard, Guards, State};
pub use request::Request;
pub use symptom::Symptom;
pub use way::Line;

/// Causes that are told at most when what is known shows them, and when they only may be.
const MOST_CERTAIN: usize = 5;
const MOST_POSSIBLE: usize = 5;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The request, if it is known.
    pub request: Option<Request>,
    /// What was seen.
    pub symptom: Symptom,
}

/// What was asked for, as people write it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The method; empty is GET.
    pub method: String,
    /// The URL; empty: no request, unless the text names one.
    pub url: String,
    /// `name: value`.
    pub headers: Vec<String>,
    /// A line of an access log, a body, a status, flags, or anything that was seen.
    pub text: String,
    /// The status that was seen.
    pub status: Option<u16>,
    /// Flags of Envoy that were seen.
    pub flags: Vec<String>,
    /// The address of the client, as limits and address lists see it; empty: not known.
    pub client: String,
}

impl Question {
    /// Reads what was asked for.
    ///
    /// # Errors
    /// Which part cannot be read, and how it is written.
    pub fn read(asked: &Asked) -> Result<Self, String> {
        let (symptom, logged) = Symptom::read(&asked.text, asked.status, &asked.flags)?;
        let request = match asked.url.trim() {
            "" => logged,
            url => {
                let method = if asked.method.is_empty() { "GET" } else { &asked.method };
                Some(Request::parse(method, url, &asked.headers)?)
            }
        };
        let mut request = request;
        if let (Some(request), client) = (&mut request, asked.client.trim())
            && !client.is_empty()
        {
            let wrong = |_| format!("`{client}` is no address of a client, as 203.0.113.7 is");
            client.parse::<std::net::IpAddr>().map_err(wrong)?;
            request.client = Some(client.to_owned());
        }
        if request.is_none() && symptom.is_empty() {
            return Err("nothing is asked: give a method and a URL, a status, flags, or a line of the access log".to_owned());
        }
        Ok(Self { request, symptom })
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was understood of what was seen; empty when nothing was told.
    pub seen: String,
    /// The way of the request; empty when it is not known.
    pub way: Vec<Line>,
    /// The causes, the likeliest first.
    pub causes: Vec<Answer>,
    /// How the limits stand that the request counts against.
    #[serde(default)]
    pub limits: Vec<Usage>,
    /// What limits the answer.
    pub notes: Vec<String>,
}

/// A cause of what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its name.
    pub id: String,
    /// What it is.
    pub title: String,
    /// Whether what is known shows it; otherwise it may be.
    pub is_certain: bool,
    /// Why that is.
    pub why: String,
    /// What to do.
    pub next: String,
    /// What is so here.
    pub found: Vec<Found>,
}

/// Explains by what is in `material`, and by what others say.
pub fn explain(question: &Question, material: &Material, live: &Live) -> Explanation {
    let Question { request, symptom } = question;
    let refused = material.refused();
    let way = way_of(question, material, &refused);
    let facts =
        facts::Facts { material, live, request: request.as_ref(), symptom, way: way.as_ref() };
    let mut found = causes::find(&facts);
    let nothing_here = found.is_empty() && !symptom.is_empty();
    if nothing_here {
        found = causes::usual(symptom);
    }
    let (sure, maybe): (Vec<_>, Vec<_>) = found.into_iter().partition(|f| f.is_certain);
    let maybe = maybe.into_iter().take(MOST_POSSIBLE);
    let causes = sure.into_iter().take(MOST_CERTAIN).chain(maybe).map(|f| Answer {
        id: f.cause.id.to_owned(),
        title: f.cause.title.to_owned(),
        is_certain: f.is_certain,
        why: f.cause.why.to_owned(),
        next: f.cause.next.to_owned(),
        found: f.found,
    });
    let mut explanation = Explanation {
        seen: symptom.describe(),
        causes: causes.collect(),
        ..Explanation::default()
    };
    if request.as_ref().is_some_and(|r| !r.has_headers) {
        explanation.notes.push(
            "A line of a log does not have the headers of the request: what depends on them may be otherwise."
                .to_owned(),
        );
    }
    if nothing_here {
        let words = match explanation.causes.is_empty() {
            true => {
                "No cause is known that goes with this. Give a whole line of the access log, or method and URL."
            }
            false => "Nothing that is known here is like that; these are the usual causes.",
        };
        explanation.notes.push(words.to_owned());
    }
    if !refused.is_empty() {
        explanation.notes.push(
            "Some objects have errors and are not in force; see `gateway-ctl check`.".to_owned(),
        );
    }
    explanation.way = way.map(|w| w.lines.0).unwrap_or_default();
    explanation.way.extend(live.decision.as_ref().map(said));
    explanation.way.extend(live.counters.lines());
    explanation.limits.clone_from(&live.counters.usages);
    explanation
}

/// Goes the way of a request through what is in force.
fn way_of<'a>(
    question: &Question,
    material: &'a Material,
    refused: &[ObjectRef],
) -> Option<way::Way<'a>> {
    let request = question.request.as_ref()?;
    let symptom = &question.symptom;
    // A log says how it ended, and not with which headers it came.
    let is_answered = symptom.status.is_some_and(|status| status > 0);
    let is_refused = |flags: &Vec<String>| flags.iter().any(|flag| flag == "UAEX");
    let passed = !request.has_headers
        && is_answered
        && symptom.flags.as_ref().is_some_and(|flags| !is_refused(flags));
    let Material { overview, objects, ambassador_id, .. } = material;
    Some(way::follow(request, overview, objects, refused, ambassador_id, passed))
}

/// What authz-svc said.
fn said(decision: &Decision) -> Line {
    let mut text = decision.result.clone();
    if let Some(status) = decision.status {
        let _ = write!(text, ", {status}");
    }
    if let Some(rule) = &decision.rule {
        let _ = write!(text, ", by rule {rule}");
    }
    if let Some(last) = decision.last() {
        let _ = write!(text, ", {} ({})", last.object(), last.kind);
        let _ = write!(text, ": {}", last.reason.as_deref().unwrap_or(&last.result));
    }
    Line { part: "authz-svc".to_owned(), text }
}

/// Explains by the resources in `paths`.
///
/// # Errors
/// When a path cannot be read; the text names it.
pub fn explain_files(
    question: &Question,
    paths: &[PathBuf],
    settings: Settings,
    live: &Live,
) -> io::Result<Explanation> {
    let (engine, diagnostics) = check::load(paths, settings)?;
    Ok(explain(question, &Material::of(&engine, Arc::new(diagnostics)), live))
}

impl Explanation {
    /// For people: two columns.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |part: &str, text: &str| {
            // Writing to a text cannot fail.
            let _ = writeln!(out, "{part:<14} {text}");
        };
        if !self.seen.is_empty() {
            line("Seen", &self.seen);
        }
        for l in &self.way {
            line(&l.part, &l.text);
        }
        for cause in &self.causes {
            line("", "");
            let part = if cause.is_certain { "Cause" } else { "Maybe" };
            line(part, &format!("{} ({})", cause.title, cause.id));
            for found in &cause.found {
                line("", &found.words);
            }
            line("  why", &cause.why);
            let mut nexts: Vec<&str> =
                cause.found.iter().map(|f| f.next.as_str()).filter(|n| !n.is_empty()).collect();
            if nexts.is_empty() {
                nexts.push(&cause.next);
            }
            nexts.dedup();
            for next in nexts {
                line("  next step", next);
            }
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out.lines().map(|l| l.trim_end().to_owned() + "\n").collect()
    }
}
