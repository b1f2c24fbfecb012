//! The limits in force, through either door. Of the files of envoyproxy/ratelimit the last good set
//! counts as a whole, of `RateLimit` objects the last good version of each.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use ratelimit_core::Limits;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::resource::{CompiledObject, Resources, compile_object};
use serde_json::{Value, json};
use service_kit::server::files::{self, Watch};
use service_kit::server::live::Live;
use service_kit::server::objects::{Change, FileObjects};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::tls::Tls;
use service_kit::server::xds_client::{self, RATE_LIMIT_OBJECT};
use service_kit::{Diagnostic, Object, ObjectRef, Severity, yaml};

use crate::args::Settings;
use crate::health::{Health, Loaded};
use crate::metrics::{LimitMetrics, Metrics};
use crate::scope::Scope;

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

impl Configuration {
    /// Opens the doors. Files are read before this returns.
    pub(crate) fn open(
        settings: &Settings,
        tls: Option<Tls>,
        metrics: &Metrics,
        health: &Health,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let this = Self(Live::new(Snapshot::default()));
        let mut loader = Loader::new(settings, metrics, health, this.clone());
        let mut stream = settings.doors.xds.clone().map(|addr| {
            health.set_configuration(Err(format!("waiting for gateway-ctl at {addr}")));
            let types = vec![RATE_LIMIT_OBJECT.to_owned()];
            let node = "ratelimit-svc".to_owned();
            xds_client::objects(addr, tls, node, types, shutdown.clone())
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
            let watch = Watch::new(&door.watched).with_context(missing)?;
            let mut door =
                FileDoor { path: door.path.clone(), objects: FileObjects::new(), texts: None };
            loader.read(&mut door);
            files = Some((door, watch));
        }
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let file_change = async {
                    match &mut files {
                        Some((_, watch)) => watch.changed().await,
                        None => std::future::pending().await,
                    }
                };
                let stream_change = async {
                    match &mut stream {
                        Some(stream) => stream.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = file_change => if let Some((door, _)) = &mut files {
                        guarded(|| loader.read(door));
                    },
                    change = stream_change => match change {
                        Some((change, reply)) => {
                            guarded(|| loader.take(change));
                            reply.ack();
                        }
                        None => stream = None,
                    },
                    () = shutdown.wait() => return,
                }
            }
        });
        Ok(this)
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

/// Runs a change; a fault in it must not end the reading of later ones.
fn guarded(change: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(change)).is_err() {
        tracing::error!(
            "a configuration could not be read: a fault of the service, please report it"
        );
    }
}

/// The files that are read, and what they were.
struct FileDoor {
    path: PathBuf,
    objects: FileObjects,
    texts: Option<BTreeMap<String, String>>,
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
        let texts = match files::read(&door.path) {
            Ok(texts) => texts,
            Err(e) => {
                self.metrics.files.failed();
                self.files_found = vec![problem(&door.path, &e.to_string())];
                return self.refuse();
            }
        };
        if door.texts.as_ref() == Some(&texts) {
            return;
        }
        self.metrics.files.read(texts.len());
        let (objects, trees): (BTreeMap<_, _>, BTreeMap<_, _>) =
            texts.clone().into_iter().partition(|(_, text)| holds_objects(text));
        door.texts = Some(texts);
        let change = door.objects.update(objects);
        self.files_found.clone_from(&change.found);
        match Domains::read(&trees, self.merge_domains) {
            Ok(domains) => self.domains = Some(Arc::new(domains)),
            Err(e) => {
                let mut found =
                    problem(&door.path, &format!("Error loading new configuration: {e}"));
                if self.domains.is_some() {
                    found.hint("what these files had before stays in force");
                }
                self.files_found.push(found);
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

/// Whether a file is of Kubernetes objects; a broken one is when it looks so.
fn holds_objects(text: &str) -> bool {
    match yaml::parse(text) {
        Ok(documents) => {
            documents.iter().any(|d| d.get("apiVersion").is_some() || d.get("kind").is_some())
        }
        Err(_) => {
            text.lines().any(|line| line.starts_with("apiVersion:") || line.starts_with("kind:"))
        }
    }
}

#[cfg(test)]
#[path = "configuration/tests.rs"]
mod tests;
