//! `ratelimit-svc check`: what the service would say of files, without serving.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ratelimit_core::resource::{Resources, compile_object};
use service_kit::server::files as folder;
use service_kit::{Diagnostic, ObjectRef, Severity};

use crate::configuration::files::Files;

/// What to check.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// Files, and folders with all that is below them, that are read as one configuration.
    #[arg(required = true, value_name = "DIR")]
    pub paths: Vec<PathBuf>,
    /// Files of one domain add to each other, as with MERGE_DOMAIN_CONFIG=true.
    #[arg(long)]
    pub merge_domain_configs: bool,
}

/// Checks, and writes to standard output.
///
/// # Errors
/// When something cannot be read, or is wrong.
pub(crate) fn run(check: &Check) -> anyhow::Result<()> {
    let mut texts = BTreeMap::new();
    for path in &check.paths {
        texts.extend(read(path)?);
    }
    let count = texts.len();
    let report = Report::of(texts, check.merge_domain_configs);
    let mut out = io::stdout().lock();
    for found in &report.found {
        // A value may have line breaks; a problem is one line.
        writeln!(out, "{}", found.to_string().replace(['\n', '\r'], " "))?;
    }
    let errors = report.errors();
    if errors > 0 {
        bail!("{} in {}", counted(errors, "problem"), counted(count, "file"));
    }
    let (limits, files) = (counted(report.limits, "limit"), counted(count, "file"));
    writeln!(out, "all rate limit configs ok: {limits} in {files}")?;
    Ok(())
}

fn counted(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

fn read(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let is_folder = std::fs::metadata(path).with_context(|| path.display().to_string())?.is_dir();
    let texts = folder::read(path)?;
    let named = |name: String| if is_folder { path.join(name) } else { path.to_owned() };
    Ok(texts.into_iter().map(|(name, text)| (named(name).display().to_string(), text)).collect())
}

/// What there is to say of a set of files.
struct Report {
    /// In the order of files and lines.
    found: Vec<Diagnostic>,
    /// Of what is good.
    limits: usize,
}

impl Report {
    fn of(texts: BTreeMap<String, String>, merge_domains: bool) -> Self {
        let mut found = Vec::new();
        if texts.is_empty() {
            let words = "no files: there are no limits";
            found.push(Diagnostic::new(Severity::Warning, ObjectRef::default(), "", words));
        }
        let said = Files::default().take(texts, merge_domains);
        found.extend(said.objects.found);
        found.extend(said.warnings);
        let in_files = said.domains.map_or_else(
            |wrong| {
                found.extend(wrong);
                0
            },
            |domains| domains.limit_count(),
        );
        let mut compiled = Vec::new();
        for object in said.objects.applied.iter().filter(|o| o.reference.kind == "RateLimit") {
            let (good, words) = compile_object(object);
            compiled.extend(good);
            found.extend(words);
        }
        found.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Self { found, limits: Resources::new(compiled.iter(), in_files).limit_count() }
    }

    fn errors(&self) -> usize {
        self.found.iter().filter(|found| found.severity == Severity::Error).count()
    }
}

#[cfg(test)]
#[path = "check/tests.rs"]
mod tests;
