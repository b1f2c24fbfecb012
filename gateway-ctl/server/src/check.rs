//! One look at a set of files: what is in force and what is wrong.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_core::{Engine, Settings};
use service_kit::server::objects::FileObjects;
use service_kit::{Diagnostic, Object, Reason, Severity};

use crate::{controller, folder};

/// The engine after reading `paths` once, and everything that is wrong, sorted.
///
/// # Errors
/// When a path cannot be read; the text names it.
pub fn load(paths: &[PathBuf], settings: Settings) -> io::Result<(Engine, Vec<Diagnostic>)> {
    let (engine, _, found) = load_texts(folder::read(paths)?, settings);
    Ok((engine, found))
}

/// As [`load`], of texts by the names of their files; with all objects that are in them.
pub fn load_texts(
    files: BTreeMap<String, String>,
    settings: Settings,
) -> (Engine, Vec<Arc<Object>>, Vec<Diagnostic>) {
    let change = FileObjects::new().update(files);
    let mut engine = Engine::new(settings);
    engine.set_time(controller::now());
    engine.apply(change.applied.clone(), change.deleted);
    let mut found = engine.diagnostics();
    found.extend(change.found);
    found.sort();
    found.dedup();
    (engine, change.applied, found)
}

/// Whether something of what was asked for cannot be in force. What is referred to may be
/// elsewhere: files are often a part of what there is, and Secrets are rarely among them.
pub fn has_errors(found: &[Diagnostic]) -> bool {
    found.iter().any(|d| d.severity == Severity::Error && d.reason != Reason::RefNotResolved)
}
