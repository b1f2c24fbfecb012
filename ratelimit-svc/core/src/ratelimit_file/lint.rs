//! What a file says that is allowed, but probably not meant.

use std::collections::HashSet;

use service_kit::yaml::{Kind, Node as Yaml};
use service_kit::{Diagnostic, ObjectRef, Severity};

use super::keys::{DESCRIPTOR, FILE, RATE_LIMIT, REPLACES};
use super::problem::at;
use super::scalar::{self, Scalar};

/// Most warnings of a file.
const MAX_WARNINGS: usize = 100;

/// Looks at a file that can be read.
pub(super) fn warnings(root: &Yaml) -> Vec<Diagnostic> {
    let mut lint = Lint { found: Vec::new() };
    lint.keys(root, "", "the file", FILE);
    lint.descriptors(root, "");
    lint.found
}

/// The warning for what stands after the first document, from `line` on.
pub(super) fn another_document(line: usize) -> Diagnostic {
    let mut lint = Lint { found: Vec::new() };
    let hint = "put what follows `---` into a file of its own";
    lint.warn(line, "", "only the first document of a file is read", hint);
    lint.found.remove(0)
}

struct Lint {
    found: Vec<Diagnostic>,
}

impl Lint {
    fn descriptors(&mut self, parent: &Yaml, field: &str) {
        let Some(Kind::Sequence(items)) = parent.get("descriptors").map(|list| &list.kind) else {
            return;
        };
        for (i, descriptor) in items.iter().enumerate() {
            let field = at(field, &format!("descriptors[{i}]"));
            self.keys(descriptor, &field, "a descriptor", DESCRIPTOR);
            if let Some(limit) = descriptor.get("rate_limit") {
                self.rate_limit(limit, &at(&field, "rate_limit"));
            }
            self.descriptors(descriptor, &field);
        }
    }

    fn rate_limit(&mut self, limit: &Yaml, field: &str) {
        self.keys(limit, field, "rate_limit", RATE_LIMIT);
        if let Some(Kind::Sequence(items)) = limit.get("replaces").map(|list| &list.kind) {
            for (i, item) in items.iter().enumerate() {
                self.keys(item, &format!("{field}.replaces[{i}]"), "replaces", REPLACES);
            }
        }
        let is_unlimited =
            limit.get("unlimited").and_then(scalar::resolve) == Some(Scalar::Bool(true));
        let is_limit = matches!(limit.kind, Kind::Mapping(_)) && !is_unlimited;
        if is_limit && limit.get("requests_per_unit").is_none() {
            let hint = "write `requests_per_unit: NUMBER`; 0 is said better aloud";
            self.warn(limit.line, field, "no requests_per_unit: every request is over it", hint);
        }
    }

    /// Keys that have no effect in `place`, and such that stand twice.
    fn keys(&mut self, node: &Yaml, field: &str, place: &str, known: &[&str]) {
        let Kind::Mapping(entries) = &node.kind else { return };
        let mut seen = HashSet::new();
        for (key, _) in entries {
            let Some(name) = key.text() else { continue };
            let field = at(field, name);
            if !known.contains(&name) {
                let words = format!("`{name}` has no effect in {place}");
                self.warn(key.line, &field, &words, belongs(name));
            } else if !seen.insert(name) {
                let words = format!("`{name}` stands twice; the last one counts");
                self.warn(key.line, &field, &words, "delete one of them");
            }
        }
    }

    fn warn(&mut self, line: usize, field: &str, words: &str, hint: &str) {
        if self.found.len() < MAX_WARNINGS {
            let object = ObjectRef::default();
            let mut warning = Diagnostic::new(Severity::Warning, object, field, words);
            warning.hint(hint);
            warning.line = Some(line);
            self.found.push(warning);
        }
    }
}

fn belongs(name: &str) -> &'static str {
    match name {
        _ if RATE_LIMIT.contains(&name) => "it belongs into `rate_limit`",
        _ if DESCRIPTOR.contains(&name) => "it belongs into an item of `descriptors`",
        _ => "it belongs at the top of the file",
    }
}
