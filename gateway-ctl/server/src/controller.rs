//! The one task that owns the engine: files and refusals in, snapshots and findings out.
//!
//! Nobody else changes anything, so there is no lock and no order to get wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gateway_core::{Engine, Output, Overview, Settings};
use service_kit::server::files::Watch;
use service_kit::server::objects::FileObjects;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, ObjectRef, Severity};
use tokio::sync::{mpsc, oneshot, watch};

use crate::folder;
use crate::metrics::Metrics;
use crate::reporter::Reporter;
use crate::xds::{Rejection, Snapshot};

/// An editor that writes in place empties the file first; an empty file is looked at again after
/// this long before it is believed.
const SECOND_LOOK: Duration = Duration::from_millis(150);

/// What is wrong now, and since when the rest is in force.
#[derive(Clone, Debug)]
pub struct Findings {
    /// All findings, sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// Counts changes of the resources.
    pub revision: u64,
    /// When the last change was taken.
    pub changed_at: SystemTime,
}

/// Asks the controller for what is in force; the answer costs work in proportion to all of it.
pub type Question = oneshot::Sender<Overview>;

/// The owner of the engine.
pub struct Controller {
    paths: Vec<PathBuf>,
    engine: Engine,
    objects: FileObjects,
    /// What the files themselves (not the objects) suffer from.
    file_findings: Vec<Diagnostic>,
    /// Why the files could not be read last time.
    unreadable: Option<Diagnostic>,
    empty_files: Vec<String>,
    reporter: Reporter,
    metrics: Metrics,
    snapshots: watch::Sender<Arc<Snapshot>>,
    findings: watch::Sender<Arc<Findings>>,
}

impl Controller {
    /// A controller of the objects in `paths`, which are not read yet.
    pub fn new(paths: Vec<PathBuf>, settings: Settings, metrics: Metrics) -> Self {
        let findings =
            Findings { diagnostics: Vec::new(), revision: 0, changed_at: SystemTime::now() };
        Self {
            paths,
            engine: Engine::new(settings),
            objects: FileObjects::new(),
            file_findings: Vec::new(),
            unreadable: None,
            empty_files: Vec::new(),
            reporter: Reporter::default(),
            metrics,
            snapshots: watch::channel(Arc::new(Snapshot::empty(Instant::now()))).0,
            findings: watch::channel(Arc::new(findings)).0,
        }
    }

    /// Follows what is in force.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Follows what is wrong.
    pub fn findings(&self) -> watch::Receiver<Arc<Findings>> {
        self.findings.subscribe()
    }

    /// Takes files as they are now; the change was noticed at `changed_at`.
    pub fn load(&mut self, files: BTreeMap<String, String>, changed_at: Instant) {
        self.empty_files = empty(&files);
        let change = self.objects.update(files);
        let counts = (change.applied.len(), change.deleted.len());
        let files_differ = self.file_findings != change.found;
        self.file_findings = change.found;
        let was_unreadable = self.unreadable.take().is_some();
        if counts == (0, 0) && !files_differ && !was_unreadable {
            return;
        }
        let output = self.engine.apply(change.applied, change.deleted);
        let took = changed_at.elapsed();
        tracing::info!(
            applied = counts.0,
            deleted = counts.1,
            changed = output.changed.len(),
            removed = output.removed.len(),
            lowered = output.lowered,
            ?took,
            "configuration"
        );
        self.metrics.applied(took);
        self.publish(output, changed_at);
    }

    fn reject(&mut self, rejection: &Rejection) {
        let in_force = self.snapshots.borrow().of(rejection.resource_type);
        // Refused too late: something newer is on its way already.
        if in_force.get(&rejection.name).is_none_or(|r| r.version != rejection.version) {
            return;
        }
        let output =
            self.engine.reject(rejection.resource_type, &rejection.name, &rejection.message);
        self.publish(output, Instant::now());
    }

    fn publish(&mut self, output: Output, changed_at: Instant) {
        if !output.changed.is_empty() || !output.removed.is_empty() {
            let next = Arc::new(self.snapshots.borrow().with(output, changed_at));
            self.metrics.in_force(&next);
            self.snapshots.send_replace(next);
        }
        self.say();
    }

    fn say(&mut self) {
        let mut diagnostics = self.engine.diagnostics();
        diagnostics.extend(self.file_findings.iter().chain(&self.unreadable).cloned());
        diagnostics.sort();
        diagnostics.dedup();
        self.reporter.report(&diagnostics);
        self.metrics.found(&diagnostics);
        let revision = self.snapshots.borrow().revision;
        let changed_at = SystemTime::now();
        self.findings.send_replace(Arc::new(Findings { diagnostics, revision, changed_at }));
    }

    /// Follows the files, what clients refuse, and questions, until `shutdown`.
    pub async fn run(
        mut self,
        mut watch: Watch,
        mut rejections: mpsc::Receiver<Rejection>,
        mut questions: mpsc::Receiver<Question>,
        shutdown: Shutdown,
    ) {
        loop {
            tokio::select! {
                () = watch.changed() => self.reload(Instant::now()).await,
                Some(rejection) = rejections.recv() => self.reject(&rejection),
                Some(question) = questions.recv() => {
                    // Whoever asked may be gone.
                    let _ = question.send(self.engine.overview());
                }
                () = shutdown.wait() => return,
            }
        }
    }

    async fn reload(&mut self, changed_at: Instant) {
        let mut files = read(&self.paths).await;
        if let Ok(now) = &files
            && empty(now).iter().any(|name| !self.empty_files.contains(name))
        {
            tokio::time::sleep(SECOND_LOOK).await;
            files = read(&self.paths).await;
        }
        match files {
            Ok(files) => self.load(files, changed_at),
            Err(e) => {
                let mut found = Diagnostic::new(
                    Severity::Error,
                    ObjectRef::default(),
                    "",
                    format!("cannot be read: {e}"),
                );
                found.hint("what was read before stays in force");
                self.unreadable = Some(found);
                self.say();
            }
        }
    }
}

async fn read(paths: &[PathBuf]) -> std::io::Result<BTreeMap<String, String>> {
    let paths = paths.to_vec();
    tokio::task::spawn_blocking(move || folder::read(&paths))
        .await
        .map_err(std::io::Error::other)?
}

fn empty(files: &BTreeMap<String, String>) -> Vec<String> {
    files.iter().filter(|(_, text)| text.is_empty()).map(|(name, _)| name.clone()).collect()
}
