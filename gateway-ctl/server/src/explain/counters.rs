//! How near a request is to its limits: what ratelimit-svc is asked, and its answer in words. The
//! asking itself is done elsewhere.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::limits::{Fate, Fates};
use super::{Line, Material, Question};

/// Descriptors of a request whose counters are asked for at most.
const MOST: usize = 16;

/// What to ask ratelimit-svc.
#[derive(Clone, Debug)]
pub struct Asking {
    /// A request as its `/counters/read` takes it.
    pub body: Value,
    /// Its descriptors in words, in its order.
    descriptors: Vec<String>,
}

/// A limit that a request counts against, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// As in `user=alice`.
    pub descriptor: String,
    /// Its name; may be empty.
    pub limit: String,
    /// The RateLimit it is of, as `NAME.NAMESPACE`; none: of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// So many requests …
    pub requests: u64,
    /// … in so many …
    pub units: u64,
    /// … units, as in `minute`.
    pub unit: String,
    /// Whether a request over it is refused, not only told.
    pub enforced: bool,
    /// Hits that count now.
    pub used: u64,
    /// Hits that would still pass.
    pub remaining: u64,
    /// Seconds until one more passes; 0 when it would now.
    pub next_in_seconds: u64,
    /// Seconds until nothing of it is used any more.
    pub reset_in_seconds: u64,
}

/// What came of asking.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Each limit, in the order of the descriptors.
    pub usages: Vec<Usage>,
    /// Why it is not known.
    pub unknown: Option<String>,
}

/// What to ask about the counters of a request; none when it meets no limit whose counter is known.
pub fn asking(question: &Question, material: &Material) -> Option<Asking> {
    let refused = material.refused();
    let way = super::way_of(question, material, &refused)?;
    of(way.fates.as_ref()?)
}

fn of(fates: &Fates) -> Option<Asking> {
    let counted = fates.descriptors.iter().filter(|d| matches!(d.fate, Fate::Counted(_)));
    let known: Vec<_> = counted.filter_map(|d| d.entries.as_ref()).take(MOST).collect();
    if known.is_empty() {
        return None;
    }
    let entries = |all: &Vec<(String, String)>| -> Vec<Value> {
        all.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
    };
    let descriptors: Vec<Value> =
        known.iter().map(|all| json!({"entries": entries(all)})).collect();
    Some(Asking {
        body: json!({"domain": fates.domain, "descriptors": descriptors}),
        descriptors: known.iter().map(|all| words_of(all)).collect(),
    })
}

/// As in `plan=gold, user=alice`.
pub(super) fn words_of(entries: &[(String, String)]) -> String {
    entries.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

impl Asking {
    /// Reads the answers of the replicas. Where each counts for itself, the fullest is told.
    pub fn read(&self, replicas: &[Result<Value, String>]) -> Counters {
        let mut counters = Counters::default();
        let answers = replicas.iter().filter_map(|r| match r {
            Ok(answer) => Some(answer),
            Err(why) => {
                counters.unknown = Some(why.clone());
                None
            }
        });
        let answers: Vec<&Value> = answers.collect();
        for (index, descriptor) in self.descriptors.iter().enumerate() {
            let read = answers.iter().filter_map(|answer| usage(descriptor, answer, index));
            counters.usages.extend(read.min_by_key(|u| (u.remaining, std::cmp::Reverse(u.used))));
        }
        if !answers.is_empty() {
            counters.unknown = None;
        }
        counters
    }
}

fn usage(descriptor: &str, answer: &Value, index: usize) -> Option<Usage> {
    let read = answer["descriptors"].get(index)?;
    let limit = &read["limit"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    limit.is_object().then(|| Usage {
        descriptor: descriptor.to_owned(),
        limit: text(&limit["name"]),
        object: limit["object"].as_str().map(str::to_owned),
        requests: number(&limit["requests"]),
        units: number(&limit["units"]),
        unit: text(&limit["unit"]),
        enforced: limit["enforced"] != false,
        used: number(&read["used"]),
        remaining: number(&read["remaining"]),
        next_in_seconds: number(&read["next_in_seconds"]),
        reset_in_seconds: number(&read["reset_in_seconds"]),
    })
}

impl Usage {
    /// Whether the next request is refused.
    pub(super) fn refuses(&self) -> bool {
        self.enforced && self.remaining == 0
    }

    /// As in ``limit `per-user` of RateLimit default/users, 10 per minute``.
    pub fn of(&self) -> String {
        let mut words = match (self.limit.as_str(), &self.object) {
            ("", Some(_)) => "a limit".to_owned(),
            ("", None) => "a limit of the files".to_owned(),
            (name, _) => format!("limit `{name}`"),
        };
        if let Some((name, namespace)) = self.object.as_ref().and_then(|o| o.rsplit_once('.')) {
            // Writing to a text cannot fail.
            let _ = write!(words, " of RateLimit {namespace}/{name}");
        }
        let _ = match self.units {
            0 | 1 => write!(words, ", {} per {}", self.requests, self.unit),
            units => write!(words, ", {} per {units} {}s", self.requests, self.unit),
        };
        words
    }

    /// As in `3 used, 7 left, all of it again in 41 s`.
    pub fn stands(&self) -> String {
        let mut words = format!("{} used, {} left", self.used, self.remaining);
        let (next, reset) = (time(self.next_in_seconds), time(self.reset_in_seconds));
        let _ = match (self.next_in_seconds, self.reset_in_seconds) {
            (_, 0) => Ok(()),
            (0, _) => write!(words, ", all of it again in {reset}"),
            (n, r) if n == r => write!(words, ", and it begins anew in {reset}"),
            _ => write!(words, ", room for one more in {next}, all of it again in {reset}"),
        };
        if !self.enforced {
            words += " (requests over it pass, and are only told)";
        }
        words
    }
}

/// The parts that matter.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min {} s", seconds / 60, seconds % 60),
        7_200..172_800 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Counters {
    /// For the way of a request.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .usages
            .iter()
            .map(|u| format!("{} counts against {}: {}", u.descriptor, u.of(), u.stands()))
            .chain(self.unknown.iter().map(|why| format!("its counters cannot be seen: {why}")))
            .map(|text| Line { part: String::new(), text })
            .collect();
        if let Some(first) = lines.first_mut() {
            "ratelimit-svc".clone_into(&mut first.part);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(used: u64, remaining: u64) -> Value {
        json!({"descriptors": [{"limit": null}, {
            "limit": {"name": "per-user", "object": "users.default", "requests": 10, "unit": "minute", "units": 5, "enforced": true},
            "used": used, "remaining": remaining, "next_in_seconds": 0, "reset_in_seconds": 150}]})
    }

    #[test]
    fn the_fullest_of_replicas_is_told() {
        let asking =
            Asking { body: Value::Null, descriptors: vec!["a=1".into(), "user=alice".into()] };
        let counters = asking.read(&[
            Ok(answer(3, 7)),
            Err("no answer within 1 s".to_owned()),
            Ok(answer(4, 6)),
        ]);
        assert_eq!((counters.usages.len(), &counters.unknown), (1, &None));
        assert_eq!(
            counters.lines()[0].text,
            "user=alice counts against limit `per-user` of RateLimit default/users, 10 per 5 minutes: 4 used, 6 left, all of it again in 2 min 30 s"
        );
        let counters = asking.read(&[Err("no answer within 1 s".to_owned())]);
        assert!(counters.lines()[0].text.ends_with("no answer within 1 s"));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let asking = Asking { body: Value::Null, descriptors: vec!["a=1".into(); 3] };
        for wrong in
            [json!(null), json!({"descriptors": 3}), json!({"descriptors": [{"limit": []}]})]
        {
            assert_eq!(asking.read(&[Ok(wrong)]).usages, []);
        }
    }
}
