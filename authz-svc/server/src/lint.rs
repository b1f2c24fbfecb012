//! `authz-svc check`: what the service would say of files, without serving.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use authz_core::Settings;
use authz_core::catalog::Catalog;
use service_kit::server::objects::FileObjects;
use service_kit::{Diagnostic, Reason, Severity};

use crate::configuration::read;

/// What to check.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// Files, and folders with all that is below them, that are read as one configuration.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Secrets that are named must be among the files, too.
    #[arg(long)]
    pub with_secrets: bool,
}

/// Checks, and writes to standard output.
///
/// # Errors
/// When something cannot be read, or is wrong.
pub(crate) fn run(check: &Check, settings: &Settings) -> anyhow::Result<()> {
    let mut catalog = Catalog::default();
    let mut found = Vec::new();
    for path in &check.paths {
        let change =
            read(path, &mut FileObjects::new()).with_context(|| path.display().to_string())?;
        change.applied.into_iter().for_each(|object| catalog.apply(object));
        found.extend(change.found);
    }
    let compiled = catalog.compile(settings);
    found.extend(compiled.found);
    found.sort();
    found.dedup();
    // Files are often a part of what there is, and Secrets are rarely among them.
    let is_elsewhere = |d: &Diagnostic| !check.with_secrets && d.reason == Reason::RefNotResolved;
    found.retain(|d| !is_elsewhere(d));
    let mut out = io::stdout().lock();
    for diagnostic in &found {
        writeln!(out, "{}", diagnostic.to_string().replace(['\n', '\r'], " "))?;
    }
    let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
    if errors > 0 {
        bail!("{errors} problem{}", if errors == 1 { "" } else { "s" });
    }
    writeln!(out, "ok: {} rules", compiled.snapshot.rules.len())?;
    Ok(())
}
