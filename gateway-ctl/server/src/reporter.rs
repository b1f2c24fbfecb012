//! Tells people on standard error what became wrong and what was mended.

use std::collections::BTreeMap;

use service_kit::{Diagnostic, ObjectRef, Severity};

use crate::output::note;

/// What makes a finding the same one after its file was edited: all but its place.
type Key = (Severity, ObjectRef, String, String);

/// Remembers what was said.
#[derive(Debug, Default)]
pub struct Reporter {
    said: BTreeMap<Key, Diagnostic>,
}

impl Reporter {
    /// Says what of `found` is new, and what is there no longer.
    pub fn report(&mut self, found: &[Diagnostic]) {
        for line in self.lines(found) {
            note(line);
        }
    }

    fn lines(&mut self, found: &[Diagnostic]) -> Vec<String> {
        let now: BTreeMap<Key, Diagnostic> = found.iter().map(|d| (key(d), d.clone())).collect();
        let mut lines: Vec<String> = now
            .iter()
            .filter(|(key, _)| !self.said.contains_key(*key))
            .map(|(_, d)| d.to_string())
            .collect();
        lines.extend(
            self.said.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, d)| cured(d)),
        );
        self.said = now;
        lines
    }
}

fn key(d: &Diagnostic) -> Key {
    (d.severity, d.object.clone(), d.path.clone(), d.message.clone())
}

fn cured(d: &Diagnostic) -> String {
    let mut brief = d.clone();
    brief.hint = String::new();
    brief.line = None;
    format!("cured: {brief}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_each_finding_once_and_its_cure() {
        let object = ObjectRef::new("Mapping", "default", "a");
        let mut d = Diagnostic::new(Severity::Error, object, "spec.prefix", "needs a prefix");
        d.file = Some("x.yaml".to_owned());
        d.line = Some(3);
        let mut reporter = Reporter::default();
        let said = reporter.lines(std::slice::from_ref(&d));
        assert_eq!(said, ["x.yaml:3: error: Mapping default/a: spec.prefix: needs a prefix"]);
        d.line = Some(4);
        assert!(reporter.lines(&[d]).is_empty(), "the same finding, moved by an edit above it");
        let said = reporter.lines(&[]);
        assert_eq!(said, ["cured: x.yaml: error: Mapping default/a: spec.prefix: needs a prefix"]);
    }
}
