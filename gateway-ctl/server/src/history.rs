//! What changed lately, for people: which objects, how they differ from before, and when every
//! client had it. Without secrets, and bounded: the last changes, the first objects of each.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gateway_core::{Engine, redacted};
use serde::Serialize;
use service_kit::{Object, ObjectRef};
use similar::TextDiff;

/// Most changes that are kept.
const CHANGES: usize = 200;
/// Most objects of a change that are told by name.
const OBJECTS: usize = 20;
/// Most bytes of one object's difference.
const DIFFERENCE: usize = 8 << 10;
/// Kinds that change by themselves all the time.
const RESTLESS: [&str; 3] = ["Endpoints", "EndpointSlice", "Service"];

/// One change.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The revision it led to.
    pub revision: u64,
    /// Seconds since the epoch.
    pub at: u64,
    /// What changed, at most 20 objects.
    pub objects: Vec<ObjectChange>,
    /// How many more there were.
    pub more: usize,
    /// How many resources are new or different, and how many are gone.
    pub resources: (usize, usize),
    /// Milliseconds until every client had acknowledged it; none while one has not.
    pub live_ms: Option<u64>,
    #[serde(skip)]
    noticed: Option<Instant>,
}

/// How an object changed.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectChange {
    /// Which.
    pub object: ObjectRef,
    /// `added`, `changed` or `deleted`.
    pub what: &'static str,
    /// The lines of its YAML that differ, with three around them, as `diff -u` writes them.
    pub difference: String,
}

/// The last changes, the newest first; shared.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<VecDeque<Entry>>>);

impl History {
    /// All that is kept.
    pub fn list(&self) -> Vec<Entry> {
        self.lock().iter().cloned().collect()
    }

    /// The newest.
    pub fn last(&self) -> Option<Entry> {
        self.lock().front().cloned()
    }

    /// Keeps a change of which anything is known by name.
    pub(crate) fn add(
        &self,
        revision: u64,
        noticed: Instant,
        (objects, more): (Vec<ObjectChange>, usize),
        resources: (usize, usize),
    ) {
        if objects.is_empty() {
            return;
        }
        let at = SystemTime::now() - noticed.elapsed();
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let noticed = Some(noticed);
        let mut entries = self.lock();
        entries.truncate(CHANGES - 1);
        entries.push_front(Entry {
            revision,
            at,
            objects,
            more,
            resources,
            live_ms: None,
            noticed,
        });
    }

    /// Every client has `revision`.
    pub(crate) fn live(&self, revision: u64) {
        for entry in self.lock().iter_mut().filter(|e| e.revision <= revision) {
            if let Some(noticed) = entry.noticed.take() {
                entry.live_ms = Some(milliseconds(noticed.elapsed()));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // Every edit is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The objects of a change as they were before it.
#[derive(Debug)]
pub(crate) struct Before {
    objects: Vec<(ObjectRef, Option<Arc<Object>>)>,
    more: usize,
}

impl Before {
    /// Of the objects that are about to change.
    pub(crate) fn of(engine: &Engine, touched: &BTreeSet<ObjectRef>) -> Self {
        let told = || touched.iter().filter(|r| !RESTLESS.contains(&r.kind.as_str()));
        let objects = told().take(OBJECTS).map(|r| (r.clone(), engine.latest(r).cloned()));
        Self { objects: objects.collect(), more: told().count().saturating_sub(OBJECTS) }
    }

    /// How they differ now, and how many more changed.
    pub(crate) fn compare(self, engine: &Engine) -> (Vec<ObjectChange>, usize) {
        let changes = self.objects.into_iter().filter_map(|(object, before)| {
            let now = engine.latest(&object);
            let what = match (&before, now) {
                (None, None) => return None,
                (None, Some(_)) => "added",
                (Some(_), None) => "deleted",
                (Some(before), Some(now)) if before == now => return None,
                _ => "changed",
            };
            let difference = difference(&text(before.as_ref()), &text(now));
            Some(ObjectChange { object, what, difference })
        });
        (changes.collect(), self.more)
    }
}

fn text(object: Option<&Arc<Object>>) -> String {
    object.and_then(|o| yaml_serde::to_string(&redacted(o)).ok()).unwrap_or_default()
}

/// The lines that differ. What is hidden on both sides may differ all the same.
fn difference(before: &str, now: &str) -> String {
    if before.len() + now.len() > 64 * DIFFERENCE {
        return "(too large to compare)".to_owned();
    }
    if before == now {
        return "(what differs is hidden)".to_owned();
    }
    let diff = TextDiff::configure().timeout(Duration::from_millis(50)).diff_lines(before, now);
    let mut text = diff.unified_diff().context_radius(3).to_string();
    if text.len() > DIFFERENCE {
        let end = (0..=DIFFERENCE).rev().find(|&i| text.is_char_boundary(i)).unwrap_or_default();
        text.truncate(end);
        text += "\n…";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str) -> (Vec<ObjectChange>, usize) {
        let object = ObjectRef::new("Mapping", "default", name);
        (vec![ObjectChange { object, what: "added", difference: String::new() }], 0)
    }

    #[test]
    fn the_last_changes_are_kept_and_known_to_be_live() {
        let history = History::default();
        for revision in 1..=300 {
            history.add(revision, Instant::now(), change("m"), (1, 0));
        }
        history.add(301, Instant::now(), (Vec::new(), 0), (1, 0));
        let kept = history.list();
        assert_eq!((kept.len(), kept[0].revision, kept[199].revision), (200, 300, 101));
        history.live(299);
        let live = |e: &Entry| e.live_ms.is_some();
        assert_eq!(history.list().iter().position(live), Some(1));
        assert!(!live(&history.last().unwrap()));
    }

    #[test]
    fn a_difference_is_lines_and_bounded() {
        let lines = difference("a: 1\nb: 2\n", "a: 1\nb: 3\n");
        assert!(lines.contains("-b: 2") && lines.contains("+b: 3"), "{lines}");
        let long: String = (0..5_000).map(|i| format!("k{i}: é\n")).collect();
        assert!(difference("", &long).len() < DIFFERENCE + 10);
        assert_eq!(difference("a", "a"), "(what differs is hidden)");
    }
}
