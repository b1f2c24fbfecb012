//! The one task that owns the engine: changes and refusals in, snapshots, findings and verdicts
//! out.
//!
//! Nobody else changes anything, so there is no lock and no order to get wrong.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gateway_core::{Engine, ObjectOverview, ObjectRow, Output, Overview, Settings, Verdict};
use service_kit::server::admin::Readiness;
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, ObjectRef};
use tokio::sync::{mpsc, oneshot, watch};

use crate::history::{Before, History};
use crate::metrics::Metrics;
use crate::reporter::Reporter;
use crate::source::Noticed;
use crate::xds::{Rejection, Snapshot};

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

/// Asks the controller; the answer costs work in proportion to all that is in force.
#[derive(Debug)]
pub enum Question {
    /// What is in force.
    Overview(oneshot::Sender<Overview>),
    /// Which objects there are.
    Objects(oneshot::Sender<Vec<ObjectRow>>),
    /// All that is known of one.
    Object(ObjectRef, oneshot::Sender<Option<Box<ObjectOverview>>>),
}

/// What became of objects that changed, or whose findings did, for whoever writes it down.
#[derive(Debug)]
pub struct Judged {
    /// The revision in which they are in force.
    pub revision: u64,
    /// What became of each; none for an object that is gone.
    pub verdicts: Vec<(ObjectRef, Option<Verdict>)>,
}

/// The owner of the engine.
pub struct Controller {
    engine: Engine,
    /// What the source itself (not its objects) suffers from.
    source_findings: Vec<Diagnostic>,
    /// All that was wrong when it was looked at last.
    found: Vec<Diagnostic>,
    reporter: Reporter,
    metrics: Metrics,
    ready: Readiness,
    snapshots: watch::Sender<Arc<Snapshot>>,
    findings: watch::Sender<Arc<Findings>>,
    configured: watch::Sender<bool>,
    judged: Option<mpsc::UnboundedSender<Judged>>,
    history: History,
}

impl Controller {
    /// A controller that knows no object. Its first change makes `configuration` of `ready`.
    pub fn new(settings: Settings, metrics: Metrics, ready: Readiness) -> Self {
        let findings =
            Findings { diagnostics: Vec::new(), revision: 0, changed_at: SystemTime::now() };
        Self {
            engine: Engine::new(settings),
            source_findings: Vec::new(),
            found: Vec::new(),
            reporter: Reporter::default(),
            metrics,
            ready,
            snapshots: watch::channel(Arc::new(Snapshot::empty(Instant::now()))).0,
            findings: watch::channel(Arc::new(findings)).0,
            configured: watch::channel(false).0,
            judged: None,
            history: History::default(),
        }
    }

    /// What changed lately.
    pub fn history(&self) -> History {
        self.history.clone()
    }

    /// Whether the first change was taken: before that nobody must be told that there is nothing.
    pub fn configured(&self) -> watch::Receiver<bool> {
        self.configured.subscribe()
    }

    /// From now on tells what becomes of objects.
    // Unbounded: at most one row for each change that the source was told to send, and the
    // receiver only files it.
    pub fn judge(&mut self) -> mpsc::UnboundedReceiver<Judged> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.judged = Some(sender);
        receiver
    }

    /// Follows what is in force.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    /// Follows what is wrong.
    pub fn findings(&self) -> watch::Receiver<Arc<Findings>> {
        self.findings.subscribe()
    }

    /// Takes a change.
    pub fn apply(&mut self, noticed: Noticed) {
        let Noticed { change: Change { applied, deleted, found }, at } = noticed;
        if !self.configured.send_replace(true) {
            self.ready.set("configuration", Ok(()));
        }
        let counts = (applied.len(), deleted.len());
        let found_differ = self.source_findings != found;
        self.source_findings = found;
        if counts == (0, 0) && !found_differ {
            return;
        }
        let touched: BTreeSet<ObjectRef> =
            applied.iter().map(|o| o.reference.clone()).chain(deleted.iter().cloned()).collect();
        let moved = applied.iter().any(|o| o.source.is_some());
        let before = Before::of(&self.engine, &touched);
        let output = self.engine.apply(applied, deleted);
        let took = at.elapsed();
        if output.lowered == 0 && !output.diagnostics_changed && !found_differ && !moved {
            // Only a status was written.
            let revision = self.snapshots.borrow().revision;
            return self.tell_verdicts(revision, touched);
        }
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
        let sent = (output.changed.len(), output.removed.len());
        self.publish(output, at, touched);
        let objects = before.compare(&self.engine);
        self.history.add(self.snapshots.borrow().revision, at, objects, sent);
    }

    fn answer(&self, question: Question) {
        // Whoever asked may be gone.
        match question {
            Question::Overview(answer) => drop(answer.send(self.engine.overview())),
            Question::Objects(answer) => drop(answer.send(self.engine.objects())),
            Question::Object(reference, answer) => {
                let object = self.engine.object(&reference, &self.found);
                drop(answer.send(object.map(Box::new)));
            }
        }
    }

    fn reject(&mut self, rejection: &Rejection) {
        let in_force = self.snapshots.borrow().of(rejection.resource_type);
        // Refused too late: something newer is on its way already.
        if in_force.get(&rejection.name).is_none_or(|r| r.version != rejection.version) {
            return;
        }
        let output =
            self.engine.reject(rejection.resource_type, &rejection.name, &rejection.message);
        self.publish(output, Instant::now(), BTreeSet::new());
    }

    fn publish(&mut self, output: Output, changed_at: Instant, touched: BTreeSet<ObjectRef>) {
        if !output.changed.is_empty() || !output.removed.is_empty() {
            let next = Arc::new(self.snapshots.borrow().with(output, changed_at));
            self.metrics.in_force(&next);
            self.snapshots.send_replace(next);
        }
        self.say(touched);
    }

    fn say(&mut self, mut touched: BTreeSet<ObjectRef>) {
        let mut diagnostics = self.engine.diagnostics();
        diagnostics.extend(self.source_findings.iter().cloned());
        diagnostics.sort();
        diagnostics.dedup();
        let revision = self.snapshots.borrow().revision;
        if diagnostics != self.found {
            self.reporter.report(&diagnostics);
            self.metrics.found(&diagnostics);
            touched.extend(differing(&self.found, &diagnostics));
            self.found.clone_from(&diagnostics);
        }
        self.tell_verdicts(revision, touched);
        let changed_at = SystemTime::now();
        self.findings.send_replace(Arc::new(Findings { diagnostics, revision, changed_at }));
    }

    fn tell_verdicts(&self, revision: u64, touched: BTreeSet<ObjectRef>) {
        let Some(judged) = &self.judged else { return };
        let verdicts = self.engine.verdicts(touched, &self.found);
        // Whoever wrote it down may have ended.
        let _ = judged.send(Judged { revision, verdicts });
    }

    /// Follows changes, what clients refuse, and questions, until `shutdown`.
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Noticed>,
        mut rejections: mpsc::Receiver<Rejection>,
        mut questions: mpsc::Receiver<Question>,
        shutdown: Shutdown,
    ) {
        loop {
            tokio::select! {
                Some(noticed) = changes.recv() => self.apply(noticed),
                Some(rejection) = rejections.recv() => self.reject(&rejection),
                Some(question) = questions.recv() => self.answer(question),
                () = shutdown.wait() => return,
            }
        }
    }
}

/// The objects about which `now` says something else than `before`; both are sorted.
fn differing(before: &[Diagnostic], now: &[Diagnostic]) -> Vec<ObjectRef> {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
    old.symmetric_difference(&new).map(|d| d.object.clone()).collect()
}
