//! Which keys a file may have, and where each of them means something.

use service_kit::yaml::{Kind, Node as Yaml};
use service_kit::{Diagnostic, spelling};

use super::problem::{at, problem};
use super::scalar::{self, Scalar};

/// Keys of the file itself.
pub(super) const FILE: &[&str] = &["domain", "descriptors"];
/// Keys of a descriptor.
pub(super) const DESCRIPTOR: &[&str] = &[
    "key",
    "value",
    "descriptors",
    "rate_limit",
    "shadow_mode",
    "quota_mode",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "metadata",
];
/// Keys of `rate_limit`.
pub(super) const RATE_LIMIT: &[&str] = &[
    "unit",
    "requests_per_unit",
    "unlimited",
    "name",
    "replaces",
    // What envoyproxy/ratelimit does not have.
    "unit_multiplier",
    "algorithm",
    "burst_factor",
    "on_store_error",
    "lease",
];
/// Keys of an entry of `replaces`.
pub(super) const REPLACES: &[&str] = &["name"];

/// All keys. As in the original any of them may stand anywhere.
fn known() -> impl Iterator<Item = &'static str> {
    [FILE, DESCRIPTOR, RATE_LIMIT].into_iter().flatten().copied()
}

/// Everything that is wrong with the shape that every level must have.
pub(super) fn check(root: &Yaml) -> Vec<Diagnostic> {
    let mut check = Check { root, found: Vec::new() };
    check.mapping(root, "");
    check.found
}

struct Check<'y> {
    root: &'y Yaml,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn mapping(&mut self, node: &Yaml, field: &str) {
        let Kind::Mapping(entries) = &node.kind else { return };
        for (key, value) in entries {
            let name = match key_name(key) {
                Ok(name) => name,
                Err(words) => {
                    self.note(key, field, words);
                    continue;
                }
            };
            let field = at(field, name);
            if !known().any(|known| known == name) {
                self.note(key, &field, format!("config error, unknown key '{name}'"));
                let meant = spelling::meant(name, known());
                if let (Some(meant), Some(found)) = (meant, self.found.last_mut()) {
                    found.hint(format!("did you mean `{meant}`?"));
                }
            } else if name != "metadata" {
                self.value(value, &field);
            }
        }
    }

    fn value(&mut self, value: &Yaml, field: &str) {
        match &value.kind {
            Kind::Mapping(_) => self.mapping(value, field),
            Kind::Sequence(items) => {
                for (i, item) in items.iter().enumerate() {
                    let field = format!("{field}[{i}]");
                    if matches!(item.kind, Kind::Mapping(_)) {
                        self.mapping(item, &field);
                        continue;
                    }
                    let shown = item.text().unwrap_or("…");
                    self.note(
                        item,
                        &field,
                        format!(
                            "config error, yaml file contains list of type other than map: {shown}"
                        ),
                    );
                }
            }
            Kind::Scalar { .. } => {
                if let Some(Scalar::Float(_) | Scalar::BigInt(_)) = scalar::resolve(value) {
                    self.note(value, field, "error checking config".to_owned());
                }
            }
        }
    }

    fn note(&mut self, node: &Yaml, field: &str, words: String) {
        let mut problem = problem(self.root, field, words);
        problem.line = Some(node.line).filter(|line| *line > 0);
        self.found.push(problem);
    }
}

/// A key as text, or the words that it is none, with the value as Go prints it.
fn key_name(key: &Yaml) -> Result<&str, String> {
    let text = key.text().unwrap_or("…");
    let shown = match scalar::resolve(key) {
        Some(Scalar::Text) => return Ok(text),
        Some(Scalar::Null) => "<nil>".to_owned(),
        Some(Scalar::Bool(b)) => b.to_string(),
        Some(Scalar::Int(n)) => n.to_string(),
        _ => text.to_owned(),
    };
    Err(format!("config error, key is not of type string: {shown}"))
}
