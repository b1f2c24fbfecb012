//! One file, or one message, checked on its own.

use proto::ratelimit::config::ratelimit::v3::RateLimitConfig;
use service_kit::yaml::{self, Kind, Node as Yaml};
use service_kit::{Diagnostic, ObjectRef, Severity};

use super::tree::Node;
use super::{keys, lint, message, read, scalar};

/// What a file says. Does not depend on other files, so that it is read again only when it changes.
#[derive(Debug)]
pub struct File {
    pub(super) domain: String,
    /// Its limits are numbered from 0.
    pub(super) tree: Node,
    /// How many limits there are.
    pub(super) limits: usize,
    warnings: Vec<Diagnostic>,
}

impl File {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Everything that is wrong with it, at least one thing; the messages are
    /// envoyproxy/ratelimit's own texts, the first is the one that it says.
    pub fn from_yaml(text: &str) -> Result<Self, Vec<Diagnostic>> {
        // What could not be read as UTF-8 was replaced by this character; a name that is not the
        // one that was written must not come into force.
        if let Some(line) = text.lines().position(|l| l.contains(char::REPLACEMENT_CHARACTER)) {
            let words = "yaml: invalid leading UTF-8 octet".to_owned();
            let mut problem = unreadable(line + 1, words);
            problem.hint("save the file as UTF-8");
            return Err(vec![problem]);
        }
        let documents =
            yaml::parse(text).map_err(|e| vec![unreadable(e.line, format!("yaml: {e}"))])?;
        let mut documents = documents.into_iter();
        let root = documents.next();
        let mut root = root.unwrap_or(Yaml { line: 1, kind: Kind::Mapping(Vec::new()) });
        scalar::merge_keys(&mut root);
        if !matches!(root.kind, Kind::Mapping(_)) {
            let words = format!("yaml: line {}: the file is no mapping", root.line);
            return Err(vec![unreadable(root.line, words)]);
        }
        let mut warnings = lint::warnings(&root);
        warnings.extend(documents.next().map(|next| lint::another_document(next.line)));
        Self::of(&root, warnings)
    }

    /// Takes a control plane's message.
    ///
    /// # Errors
    /// As [`Self::from_yaml`].
    pub fn from_message(message: &RateLimitConfig) -> Result<Self, Vec<Diagnostic>> {
        Self::of(&message::file(message), Vec::new())
    }

    fn of(root: &Yaml, warnings: Vec<Diagnostic>) -> Result<Self, Vec<Diagnostic>> {
        let found = keys::check(root);
        if !found.is_empty() {
            return Err(found);
        }
        let read::Read { domain, tree, limits } = read::root(root)?;
        Ok(Self { domain, tree, limits, warnings })
    }

    /// What is allowed, but probably not meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

fn unreadable(line: usize, words: String) -> Diagnostic {
    let message = read::loading(&words);
    let mut problem = Diagnostic::new(Severity::Error, ObjectRef::default(), "", message);
    problem.line = Some(line);
    problem
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
