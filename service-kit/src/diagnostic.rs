//! What is wrong with which field of which object, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::object::{Object, ObjectRef, write_plain};

/// How much a [`Diagnostic`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object, or the named part of it, is not in force.
    Error,
    /// In force, but probably not as meant.
    Warning,
    /// Worth knowing.
    Notice,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        })
    }
}

/// What kind of thing is wrong. As a word it is the `reason` of a status condition.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Reason {
    /// The object says something that cannot be.
    #[default]
    Invalid,
    /// It asks for something that this version does not do.
    NotSupported,
    /// What it refers to is not there, or may not be used.
    RefNotResolved,
    /// Envoy refused what it became.
    RefusedByEnvoy,
}

impl Reason {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::NotSupported => "NotSupported",
            Self::RefNotResolved => "RefNotResolved",
            Self::RefusedByEnvoy => "RefusedByEnvoy",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One finding. Its JSON form is the row of `gateway-ctl render --diagnostics`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// The object it is about; all parts empty when it is about none.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// The field, as in `spec.limits[0].rate`; empty for the whole object.
    pub path: String,
    /// What is wrong, without a full stop.
    pub message: String,
    /// The next step; may be empty.
    pub hint: String,
    /// What kind of thing it is.
    #[serde(skip_serializing_if = "Reason::is_default", default)]
    pub reason: Reason,
    /// The file the object was read from, if it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// The line of the field in [`Self::file`], from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<usize>,
}

impl Diagnostic {
    /// A finding without hint or place.
    pub fn new(
        severity: Severity,
        object: ObjectRef,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            object,
            path: path.into(),
            message: message.into(),
            hint: String::new(),
            reason: Reason::default(),
            file: None,
            line: None,
        }
    }

    /// Sets the next step.
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = hint.into();
        self
    }

    /// `path: message; hint`, leaving out what is empty: the words in a status, and at admission.
    pub fn words(&self) -> String {
        let mut words = String::new();
        if !self.path.is_empty() {
            words += &format!("{}: ", self.path);
        }
        words += &self.message;
        if !self.hint.is_empty() {
            words += &format!("; {}", self.hint);
        }
        words
    }

    /// Sets what kind of thing it is.
    pub fn reason(&mut self, reason: Reason) -> &mut Self {
        self.reason = reason;
        self
    }

    /// Adds to the next step.
    pub fn add_hint(&mut self, more: &str) -> &mut Self {
        if !self.hint.is_empty() {
            self.hint.push_str("; ");
        }
        self.hint.push_str(more);
        self
    }

    /// Fills in file and line from the object that this finding is about.
    pub fn locate(&mut self, object: &Object) {
        if let Some(source) = &object.source {
            self.file = Some(source.file.to_string());
            self.line = source.line_of(&self.path);
        }
    }
}

/// `file:line: severity: Kind namespace/name: path: message; hint`, leaving out what is unknown.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: ", self.severity)?;
        if self.object != ObjectRef::default() {
            write!(f, "{}: ", self.object)?;
        }
        // Some words of others, as of a compiler, have lines.
        write_plain(f, &self.words(), |c| c == '\n')
    }
}

/// Collects all findings about one object while it is read.
#[derive(Debug)]
pub struct Diagnostics<'a> {
    object: &'a Object,
    found: Vec<Diagnostic>,
}

impl<'a> Diagnostics<'a> {
    /// An empty collection about `object`.
    pub const fn new(object: &'a Object) -> Self {
        Self { object, found: Vec::new() }
    }

    /// Adds an error at `path` (as in `spec.rules[1].host`); chain `.hint(…)` for the next step.
    pub fn error(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, path, message)
    }

    /// Adds a warning at `path`.
    pub fn warning(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, path, message)
    }

    /// Adds a notice at `path`.
    pub fn notice(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Notice, path, message)
    }

    fn add(
        &mut self,
        severity: Severity,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let index = self.found.len();
        let mut diagnostic =
            Diagnostic::new(severity, self.object.reference.clone(), path, message);
        diagnostic.locate(self.object);
        self.found.push(diagnostic);
        &mut self.found[index]
    }

    /// Whether an error was added.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|d| d.severity == Severity::Error)
    }

    /// Everything that was added, in order.
    pub fn into_vec(self) -> Vec<Diagnostic> {
        self.found
    }
}
