//! What people read: results on standard output, findings and progress on standard error.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

/// Writes `text` to standard output. A reader that went away (`| head`) is no error.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn result(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a file whole: a reader sees all of it or what was there before.
///
/// # Errors
/// When it cannot be written; the text names it.
pub fn file(path: &Path, text: &str) -> Result<(), String> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Writes one line to standard error; without one there is nobody to tell.
pub fn note(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// How `render` and `envoy-bootstrap` write a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

impl Format {
    /// The text of `document`.
    ///
    /// # Errors
    /// The words of the writer.
    pub fn write(self, document: &serde_json::Value) -> Result<String, String> {
        match self {
            Self::Yaml => yaml_serde::to_string(document).map_err(|e| e.to_string()),
            Self::Json => serde_json::to_string_pretty(document)
                .map(|text| text + "\n")
                .map_err(|e| e.to_string()),
        }
    }
}
