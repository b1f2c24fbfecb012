//! The one task that owns the engine: changes and refusals in, snapshots, findings and verdicts
//! out.
//!
//! Nobody else changes anything, so there is no lock and no order to get wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gateway_core::{Engine, ObjectOverview, ObjectRow, Output, Overview, Settings, Verdict};
use service_kit::server::admin::Readiness;
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, ObjectRef};
use tokio::sync::{mpsc, oneshot, watch};

use crate::consul;
use crate::explain::Material;
use crate::history::{Before, History};
use crate::metrics::Metrics;
use crate::reporter::Reporter;
use crate::retries::Retries;
use crate::source::Noticed;
use crate::tls_files;
use crate::xds::{Clients, Rejection, Snapshot};

/// How often the time is looked at.
const TICK: Duration = Duration::from_secs(60);

/// What is wrong now, and since when the rest is in force.
#[derive(Clone, Debug)]
pub struct Findings {
    /// All findings, sorted.
    pub diagnostics: Arc<Vec<Diagnostic>>,
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
    /// What an explanation is made of.
    Material(oneshot::Sender<Box<Material>>),
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

/// What a part of the control plane other than the source of the resources noticed.
#[derive(Debug)]
pub struct Aside {
    /// Which part; its findings take the place of those it had before.
    pub part: &'static str,
    /// What it noticed.
    pub noticed: Noticed,
}

/// What [`Controller::apply`] calls the source of the resources.
const SOURCE: &str = "source";

/// The owner of the engine.
pub struct Controller {
    engine: Engine,
    /// What the source and other parts themselves (not the objects) suffer from.
    found_by: BTreeMap<&'static str, Vec<Diagnostic>>,
    /// All that was wrong when it was looked at last.
    found: Arc<Vec<Diagnostic>>,
    reporter: Reporter,
    retries: Retries,
    metrics: Metrics,
    ready: Readiness,
    snapshots: watch::Sender<Arc<Snapshot>>,
    findings: watch::Sender<Arc<Findings>>,
    configured: watch::Sender<bool>,
    in_consul: watch::Sender<consul::Wanted>,
    tls_files: watch::Sender<tls_files::Wanted>,
    complete: watch::Sender<bool>,
    consul_revision: u64,
    first_at: Option<Instant>,
    settled: bool,
    judged: Option<mpsc::UnboundedSender<Judged>>,
    history: History,
}

impl Controller {
    /// A controller that knows no object. Its first change makes `configuration` of `ready`.
    pub fn new(settings: Settings, metrics: Metrics, ready: Readiness) -> Self {
        let findings =
            Findings { diagnostics: Arc::default(), revision: 0, changed_at: SystemTime::now() };
        let mut engine = Engine::new(settings);
        // What is there before any object must not be lost.
        let first = engine.set_time(now());
        let mut snapshot = Snapshot::empty(Instant::now());
        if !first.changed.is_empty() {
            snapshot = snapshot.with(first, Instant::now());
        }
        Self {
            engine,
            found_by: BTreeMap::new(),
            found: Arc::default(),
            reporter: Reporter::default(),
            retries: Retries::default(),
            metrics,
            ready,
            snapshots: watch::channel(Arc::new(snapshot)).0,
            findings: watch::channel(Arc::new(findings)).0,
            configured: watch::channel(false).0,
            in_consul: watch::channel(consul::Wanted::default()).0,
            tls_files: watch::channel(tls_files::Wanted::default()).0,
            complete: watch::channel(false).0,
            consul_revision: 0,
            first_at: None,
            settled: false,
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

    /// Follows which services of Consul are wanted.
    pub fn in_consul(&self) -> watch::Receiver<consul::Wanted> {
        self.in_consul.subscribe()
    }

    /// Follows which files TLS settings name.
    pub fn tls_files(&self) -> watch::Receiver<tls_files::Wanted> {
        self.tls_files.subscribe()
    }

    /// Whether Consul has answered about everything that is wanted of it.
    pub fn complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
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

    /// Takes a change of the resources.
    pub fn apply(&mut self, noticed: Noticed) {
        self.take(SOURCE, noticed);
        self.update_wanted();
        if !self.configured.send_replace(true) {
            self.ready.set("configuration", Ok(()));
        }
    }

    /// Takes what another part noticed.
    fn take_aside(&mut self, aside: Aside) {
        self.take(aside.part, aside.noticed);
        self.update_wanted();
    }

    /// Tells which services of Consul and which files are wanted, and whether all services are known.
    fn update_wanted(&mut self) {
        self.tls_files.send_if_modified(|known| {
            let wanted = self.engine.tls_files();
            let differs = known != wanted;
            known.clone_from(wanted);
            differs
        });
        let revision = self.engine.consul_revision();
        if std::mem::replace(&mut self.consul_revision, revision) != revision {
            let wanted = self.engine.consul_services().cloned().collect();
            self.in_consul.send_replace(Arc::new(wanted));
        }
        // Only the first clients ask.
        if !self.settled {
            let complete = self.engine.consul_services().all(|s| self.engine.knows_instances(s));
            self.complete.send_replace(complete);
            let first_at = *self.first_at.get_or_insert_with(Instant::now);
            let late = first_at.elapsed() > consul::FIRST_ANSWERS.saturating_mul(2);
            self.settled = complete || late;
        }
    }

    fn take(&mut self, part: &'static str, noticed: Noticed) {
        let Noticed { change: Change { applied, deleted, found }, at } = noticed;
        let counts = (applied.len(), deleted.len());
        let found_differ = self.found_by.get(part).map_or(!found.is_empty(), |old| *old != found);
        self.found_by.insert(part, found);
        if counts == (0, 0) && !found_differ {
            return;
        }
        let mut touched: BTreeSet<ObjectRef> =
            applied.iter().map(|o| o.reference.clone()).chain(deleted.iter().cloned()).collect();
        let in_files = applied.iter().any(|o| o.source.is_some());
        // The places of findings are those of the newest version.
        let moved = self.found.iter().any(|d| touched.contains(&d.object));
        let before = Before::of(&self.engine, &touched);
        let output = self.engine.apply(applied, deleted);
        touched.extend(self.engine.take_judged_anew());
        let took = at.elapsed();
        if output.lowered == 0 && !output.diagnostics_changed && !found_differ && !in_files {
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
        // Endpoints change often; what is wrong with the rest is not looked at again for them.
        let look = output.diagnostics_changed || found_differ || moved;
        self.publish(output, at, touched, look);
        let objects = before.compare(&self.engine);
        self.history.add(self.snapshots.borrow().revision, at, objects, sent);
    }

    fn answer(&self, question: Question) {
        // Whoever asked may be gone.
        match question {
            Question::Overview(answer) => drop(answer.send(self.engine.overview())),
            Question::Objects(answer) => drop(answer.send(self.engine.objects())),
            Question::Material(answer) => {
                let material = Material::of(&self.engine, self.found.clone());
                drop(answer.send(Box::new(material)));
            }
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
        let (resource_type, name) = (rejection.resource_type, &rejection.name);
        let output = self.engine.reject(resource_type, name, &rejection.message);
        if self.engine.may_heal(resource_type, name) {
            self.retries.refused((resource_type, name.clone()), Instant::now());
        }
        self.publish(output, Instant::now(), BTreeSet::new(), true);
    }

    /// Asks Envoys again for what they may take now.
    fn ask_again(&mut self) {
        for key in self.retries.due_now(Instant::now()) {
            let output = self.engine.ask_again(key.0, &key.1);
            let wanted = output.is_some();
            if let Some(output) = output {
                tracing::debug!(resource = key.1, "asking again for what was refused");
                self.publish(output, Instant::now(), BTreeSet::new(), false);
            }
            let revision = self.snapshots.borrow().revision;
            self.retries.asked(&key, wanted.then_some(revision));
        }
    }

    /// Says no longer of what Envoys took now that they refused it.
    fn note_healed(&mut self, clients: &Clients) {
        for (resource_type, name) in self.retries.take_healed(&clients.list()) {
            if self.engine.heal(resource_type, &name).diagnostics_changed {
                self.say(BTreeSet::new());
            }
        }
    }

    fn publish(
        &mut self,
        output: Output,
        changed_at: Instant,
        touched: BTreeSet<ObjectRef>,
        look: bool,
    ) {
        if !output.changed.is_empty() || !output.removed.is_empty() {
            let next = Arc::new(self.snapshots.borrow().with(output, changed_at));
            self.metrics.in_force(&next);
            self.snapshots.send_replace(next);
        }
        if look {
            return self.say(touched);
        }
        let revision = self.snapshots.borrow().revision;
        self.tell_verdicts(revision, touched);
        self.findings.send_modify(|findings| {
            let diagnostics = findings.diagnostics.clone();
            let changed_at = SystemTime::now();
            *findings = Arc::new(Findings { diagnostics, revision, changed_at });
        });
    }

    fn say(&mut self, mut touched: BTreeSet<ObjectRef>) {
        let mut diagnostics = self.engine.diagnostics();
        diagnostics.extend(self.found_by.values().flatten().cloned());
        diagnostics.sort();
        diagnostics.dedup();
        let revision = self.snapshots.borrow().revision;
        if diagnostics != *self.found {
            self.reporter.report(&diagnostics);
            self.metrics.found(&diagnostics);
            touched.extend(differing(&self.found, &diagnostics));
            self.found = Arc::new(diagnostics);
        }
        self.tell_verdicts(revision, touched);
        let (diagnostics, changed_at) = (self.found.clone(), SystemTime::now());
        self.findings.send_replace(Arc::new(Findings { diagnostics, revision, changed_at }));
    }

    fn tell_verdicts(&self, revision: u64, touched: BTreeSet<ObjectRef>) {
        let Some(judged) = &self.judged else { return };
        let verdicts = self.engine.verdicts(touched, &self.found);
        // Whoever wrote it down may have ended.
        let _ = judged.send(Judged { revision, verdicts });
    }

    /// Looks at the time: certificates expire.
    fn tick(&mut self) {
        let output = self.engine.set_time(now());
        if output.diagnostics_changed {
            self.say(BTreeSet::new());
        }
    }

    /// Follows changes, what clients refuse, and questions, until `shutdown`.
    pub async fn run(
        mut self,
        mut changes: mpsc::Receiver<Noticed>,
        mut rejections: mpsc::Receiver<Rejection>,
        mut questions: mpsc::Receiver<Question>,
        mut asides: mpsc::Receiver<Aside>,
        clients: Clients,
        shutdown: Shutdown,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        let mut answers = clients.changes();
        loop {
            let due = self.retries.due();
            let is_asking = self.retries.is_asking();
            tokio::select! {
                _ = ticks.tick() => self.tick(),
                Some(noticed) = changes.recv() => self.apply(noticed),
                Some(rejection) = rejections.recv() => self.reject(&rejection),
                () = sleep_until(due) => self.ask_again(),
                _ = answers.changed(), if is_asking => self.note_healed(&clients),
                Some(aside) = asides.recv() => self.take_aside(aside),
                Some(question) = questions.recv() => self.answer(question),
                () = shutdown.wait() => return,
            }
        }
    }
}

/// Never, if that is not given.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The objects about which `now` says something else than `before`; both are sorted.
fn differing(before: &[Diagnostic], now: &[Diagnostic]) -> Vec<ObjectRef> {
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
    old.symmetric_difference(&new).map(|d| d.object.clone()).collect()
}
