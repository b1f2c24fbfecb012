//! The limits in force, through any door. Of the files of envoyproxy/ratelimit, and of what a control
//! plane of its kind sends, the last good set counts as a whole, of `RateLimit` objects the last good
//! version of each.

mod control_plane;
pub(crate) mod files;

use std::collections::BTreeMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use prost_types::Any;
use ratelimit_core::Limits;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::resource::{CompiledObject, Resources, compile_object};
use serde_json::{Value, json};
use service_kit::server::files::{self as folder, Watch};
use service_kit::server::live::Live;
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::server::sotw_client::{self, World};
use service_kit::server::tls::Tls;
use service_kit::server::xds_client::{self, RATE_LIMIT_OBJECT, Reply};
use service_kit::{Diagnostic, Object, ObjectRef, Severity};
use tokio::sync::{mpsc, oneshot};

use crate::args::Settings;
use crate::health::{Health, Loaded};
use crate::metrics::{LimitMetrics, Metrics};
use crate::scope::Scope;
use files::Files;

/// Limits with the counters of their metrics.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub limits: Limits,
    pub metrics: Vec<LimitMetrics>,
    /// Whether a configuration was ever read; without one every request is an error.
    pub loaded: bool,
}

/// The limits in force; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Configuration(Live<Snapshot>);

/// The first word of a control plane, if there is one to wait for.
pub(crate) struct FirstWord(Option<oneshot::Receiver<()>>);

impl FirstWord {
    /// Waits until a configuration came, good or bad.
    pub(crate) async fn heard(self) {
        if let Some(first) = self.0 {
            // Without anyone left to say it, nothing will come.
            let _ = first.await;
        }
    }
}

impl Configuration {
    /// Opens the doors. Files are read before this returns.
    pub(crate) fn open(
        settings: &Settings,
        tls: Option<Tls>,
        metrics: &Metrics,
        health: &Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<(Self, FirstWord)> {
        let this = Self(Live::new(Snapshot::default()));
        let mut loader = Loader::new(settings, metrics, health, this.clone());
        let stream = settings.doors.xds.clone().map(|addr| {
            health.set_configuration(Err(format!("waiting for gateway-ctl at {addr}")));
            let types = vec![RATE_LIMIT_OBJECT.to_owned()];
            let node = "ratelimit-svc".to_owned();
            xds_client::objects(addr, tls, node, types, shutdown.clone())
        });
        let plane = settings.doors.control_plane.clone();
        let waits = plane.as_ref().is_some_and(|plane| plane.wait_for_first);
        let worlds = plane.map(|plane| {
            let addr = &plane.client.addr;
            health.set_configuration(Err(format!(
                "waiting for the control plane at {addr} (CONFIG_GRPC_XDS_SERVER_URL)"
            )));
            sotw_client::connect(plane.client, shutdown.clone())
        });
        let mut files = None;
        if let Some(door) = &settings.doors.files {
            let missing = || {
                format!(
                    "{}: the limits must be in a file or folder that exists",
                    door.path.display()
                )
            };
            std::fs::metadata(&door.path).with_context(missing)?;
            let watch = match door.only_replaced {
                true => Watch::of_replacement(&door.watched),
                false => Watch::new(&door.watched),
            };
            let watch = watch.with_context(missing)?;
            let mut door = FileDoor::new(door.path.clone(), door.dot_files);
            loader.read(&mut door);
            files = Some((door, watch));
        }
        let (heard, first) = oneshot::channel();
        let doors = OpenDoors { files, stream, worlds, heard: Some(heard) };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = doors.follow(loader) => {}
                () = shutdown.wait() => {}
            }
        });
        Ok((this, FirstWord(waits.then_some(first))))
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The snapshot for one request, which may hold it while it waits for the store.
    pub(crate) fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// For the admin port.
    pub(crate) fn report(&self) -> Value {
        json!({"limits": self.lines(), "status": self.0.status()})
    }

    /// As envoyproxy/ratelimit's `/rlconfig`, in order.
    pub(crate) fn limit_lines(&self) -> String {
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }

    fn lines(&self) -> Vec<String> {
        let snapshot = self.0.load();
        let tree = snapshot.limits.files.limits().into_iter().map(|(domain, path, tree)| {
            let limit = &tree.limit;
            let (unit, requests) = match tree.unlimited {
                true => ("UNKNOWN".to_owned(), 0),
                false => (format!("{:?}", limit.quota.unit).to_uppercase(), limit.quota.requests),
            };
            format!(
                "{domain}.{}: unit={unit} requests_per_unit={requests}, shadow_mode: {}, quota_mode: {}",
                path.join("."),
                limit.shadow,
                limit.is_quota
            )
        });
        let objects = snapshot.limits.resources.limits().into_iter().map(|(domain, l)| {
            format!(
                "{domain}.{}: unit={} requests_per_unit={}, action: {}",
                l.limit.name,
                format!("{:?}", l.limit.quota.unit).to_uppercase(),
                l.limit.quota.requests,
                l.action.name()
            )
        });
        tree.chain(objects).collect()
    }
}

/// Where changes come from.
struct OpenDoors {
    files: Option<(FileDoor, Watch)>,
    stream: Option<mpsc::Receiver<(Change, Reply)>>,
    worlds: Option<mpsc::Receiver<World>>,
    /// Told with the first word of the control plane.
    heard: Option<oneshot::Sender<()>>,
}

impl OpenDoors {
    /// Takes changes, one after the other. Never ends.
    async fn follow(mut self, mut loader: Loader) {
        loop {
            let file_change = async {
                match &mut self.files {
                    Some((_, watch)) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = file_change => if let Some((door, _)) = &mut self.files {
                    guarded(|| loader.read(door));
                },
                change = next(&mut self.stream) => match change {
                    Some((change, reply)) => {
                        guarded(|| loader.take(change));
                        reply.ack();
                    }
                    None => self.stream = None,
                },
                world = next(&mut self.worlds) => match world {
                    Some(world) => {
                        match guarded(|| loader.take_all(&world.resources)) {
                            Some(Ok(())) => world.reply.ack(),
                            Some(Err(why)) => world.reply.nack(why),
                            None => world.reply.nack(FAULT),
                        }
                        if let Some(heard) = self.heard.take() {
                            // Nobody may wait for it.
                            let _ = heard.send(());
                        }
                    }
                    None => self.worlds = None,
                },
            }
        }
    }
}

/// What a stream says next; waits for ever without one.
async fn next<T>(stream: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match stream {
        Some(stream) => stream.recv().await,
        None => std::future::pending().await,
    }
}

const FAULT: &str = "a configuration could not be read: a fault of the service, please report it";

/// Runs a change; a fault in it must not end the reading of later ones.
fn guarded<T>(change: impl FnOnce() -> T) -> Option<T> {
    let result = std::panic::catch_unwind(AssertUnwindSafe(change));
    if result.is_err() {
        tracing::error!("{FAULT}");
    }
    result.ok()
}

/// The files that are read, and what they were.
struct FileDoor {
    path: PathBuf,
    dot_files: bool,
    /// Not yet, or no longer, when they cannot be read.
    is_read: bool,
    files: Files,
}

impl FileDoor {
    fn new(path: PathBuf, dot_files: bool) -> Self {
        Self { path, dot_files, is_read: false, files: Files::default() }
    }

    fn texts(&self) -> io::Result<BTreeMap<String, String>> {
        match self.dot_files {
            true => folder::read_dot_files_too(&self.path),
            false => folder::read(&self.path),
        }
    }

    /// A finding with the file's whole name.
    fn located(&self, mut found: Diagnostic) -> Diagnostic {
        if let Some(name) = &found.file {
            let path = if self.path.is_dir() { self.path.join(name) } else { self.path.clone() };
            found.file = Some(path.display().to_string());
        }
        found
    }

    /// A finding in the words of envoyproxy/ratelimit's log, which have a dot for each `/`.
    fn refused(&self, mut found: Diagnostic, previous_stays: bool) -> Diagnostic {
        let name = found.file.as_deref().unwrap_or_default().replace('/', ".");
        found.message = format!("Error loading new configuration: {name}: {}", found.message);
        if previous_stays {
            found.add_hint("what these files had before stays in force");
        }
        self.located(found)
    }
}

struct Loader {
    /// The last good files of envoyproxy/ratelimit.
    domains: Option<Arc<Domains>>,
    /// Of each object the last good version and what is wrong with the newest.
    objects: BTreeMap<ObjectRef, (Option<CompiledObject>, Vec<Diagnostic>)>,
    /// What is wrong with files, as far as it is not an object's.
    files_found: Vec<Diagnostic>,
    /// The same of the stream.
    stream_found: Vec<Diagnostic>,
    scope: Scope,
    merge_domains: bool,
    metrics: Metrics,
    health: Health,
    to: Configuration,
}

impl Loader {
    fn new(settings: &Settings, metrics: &Metrics, health: &Health, to: Configuration) -> Self {
        Self {
            domains: None,
            objects: BTreeMap::new(),
            files_found: Vec::new(),
            stream_found: Vec::new(),
            scope: settings.scope.clone(),
            merge_domains: settings.merge_domains,
            metrics: metrics.clone(),
            health: health.clone(),
            to,
        }
    }

    fn read(&mut self, door: &mut FileDoor) {
        let texts = match door.texts() {
            Ok(texts) => texts,
            Err(e) => {
                self.metrics.files.failed();
                door.is_read = false;
                self.files_found = vec![problem(&door.path, &e.to_string())];
                return self.refuse();
            }
        };
        if door.is_read && door.files.are(&texts) {
            return;
        }
        self.metrics.files.read(texts.len());
        door.is_read = true;
        let said = door.files.take(texts, self.merge_domains);
        tracing::debug!("{} files are new or different", said.parsed);
        let change = said.objects;
        self.files_found.clone_from(&change.found);
        self.files_found.extend(said.warnings.into_iter().map(|d| door.located(d)));
        match said.domains {
            Ok(domains) => self.domains = Some(Arc::new(domains)),
            Err(found) => {
                let stays = self.domains.is_some();
                self.files_found.extend(found.into_iter().map(|d| door.refused(d, stays)));
            }
        }
        self.forget(&change.deleted);
        for object in change.applied {
            if self.scope.has(&object) {
                self.compile(&object);
            } else {
                self.objects.remove(&object.reference);
            }
        }
        // Objects must not wait for files of another dialect; but as long as those were never
        // good, this is no replica to rely on.
        let has_objects = self.objects.values().any(|(compiled, _)| compiled.is_some());
        if self.domains.is_none() && !has_objects {
            return self.refuse();
        }
        self.publish();
        if self.domains.is_none() {
            self.health.set_configuration(Err(self.why()));
        }
    }

    fn take(&mut self, change: Change) {
        self.stream_found.clone_from(&change.found);
        self.forget(&change.deleted);
        // Whoever streams chose the objects; to choose again could only lose a limit.
        for object in change.applied {
            self.compile(&object);
        }
        self.publish();
    }

    /// Takes all that a control plane has.
    fn take_all(&mut self, resources: &[Any]) -> Result<(), String> {
        match control_plane::domains(resources, self.merge_domains) {
            Ok(domains) => {
                self.domains = Some(Arc::new(domains));
                self.stream_found.clear();
                self.publish();
                Ok(())
            }
            Err(why) => {
                let message = format!("Error loading new configuration: {why}");
                let mut found = Diagnostic::new(Severity::Error, ObjectRef::default(), "", message);
                if self.domains.is_some() {
                    found.hint("what the control plane said before stays in force");
                }
                self.stream_found = vec![found];
                self.refuse();
                Err(why)
            }
        }
    }

    fn forget(&mut self, deleted: &[ObjectRef]) {
        for reference in deleted {
            self.objects.remove(reference);
        }
    }

    fn compile(&mut self, object: &Object) {
        if object.reference.kind != "RateLimit" {
            return;
        }
        let (compiled, mut found) = compile_object(object);
        let entry = self.objects.entry(object.reference.clone()).or_default();
        if compiled.is_some() {
            entry.0 = compiled;
        } else if entry.0.is_some() {
            for d in found.iter_mut().filter(|d| d.severity == Severity::Error) {
                d.add_hint("the previous version stays in force");
            }
        }
        entry.1 = found;
    }

    /// Everything that is wrong now.
    fn found(&self) -> Vec<Diagnostic> {
        let of_objects = self.objects.values().flat_map(|(_, found)| found);
        self.files_found.iter().chain(&self.stream_found).chain(of_objects).cloned().collect()
    }

    fn publish(&mut self) {
        let domains = self.domains.clone().unwrap_or_default();
        let compiled = self.objects.values().filter_map(|(compiled, _)| compiled.as_ref());
        let resources = Resources::new(compiled, domains.limit_count());
        let limits = Limits { files: domains, resources };
        let found = self.found();
        self.log(&found);
        self.metrics.loaded(found.iter().all(|d| d.severity != Severity::Error));
        tracing::info!("configuration in force: {} limits", limits.resources.limit_count());
        let state = match limits.is_empty() {
            true => Loaded::Empty,
            false => Loaded::WithDomains,
        };
        let metrics = self.metrics.limits.of_limits(&limits);
        self.to.0.publish(Arc::new(Snapshot { limits, metrics, loaded: true }), found);
        self.health.set_configuration(Ok(state));
    }

    fn refuse(&mut self) {
        let found = self.found();
        self.log(&found);
        self.metrics.kept();
        if !self.to.load().loaded {
            self.health.set_configuration(Err(self.why()));
        }
        self.to.0.reject(found);
    }

    /// The first thing that is wrong.
    fn why(&self) -> String {
        self.found().first().map_or_else(String::new, ToString::to_string)
    }

    fn log(&self, found: &[Diagnostic]) {
        let known = self.to.0.status().found;
        for diagnostic in found.iter().filter(|d| !known.contains(d)) {
            match diagnostic.severity {
                Severity::Error => tracing::error!("{diagnostic}"),
                Severity::Warning => tracing::warn!("{diagnostic}"),
                Severity::Notice => tracing::info!("{diagnostic}"),
            }
        }
        for cured in known.iter().filter(|d| !found.contains(d)) {
            tracing::info!("mended: {cured}");
        }
    }
}

fn problem(path: &Path, message: &str) -> Diagnostic {
    let mut d = Diagnostic::new(Severity::Error, ObjectRef::default(), "", message);
    d.file = Some(path.display().to_string());
    d
}

#[cfg(test)]
#[path = "configuration/tests.rs"]
mod tests;
