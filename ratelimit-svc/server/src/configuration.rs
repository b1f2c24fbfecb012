//! The limits in force, through either door. Of the files of envoyproxy/ratelimit the last good set
//! counts as a whole, of `RateLimit` objects the last good version of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use ratelimit_core::Limits;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::resource::{CompiledObject, Resources, compile_object};
use serde_json::{Value, json};
use service_kit::server::admin::Readiness;
use service_kit::server::files::{self, Watch};
use service_kit::server::live::Live;
use service_kit::server::objects::{Change, FileObjects};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::xds_client::{self, RATE_LIMIT_OBJECT};
use service_kit::{Diagnostic, Object, ObjectRef, Severity, yaml};
use tokio::sync::mpsc;

use crate::args::Settings;
use crate::metrics::{LimitMetrics, Metrics};

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
        metrics: &Metrics,
        ready: Readiness,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let this = Self(Live::new(Snapshot::default()));
        let mut loader = Loader {
            domains: None,
            objects: BTreeMap::new(),
            ambassador_id: settings.ambassador_id.clone(),
            merge_domains: settings.merge_domains,
            metrics: metrics.clone(),
            ready,
            to: this.clone(),
        };
        let (sender, mut changes) = mpsc::channel::<Change>(1);
        if let Some(addr) = &settings.doors.xds {
            loader.ready.set("configuration", Err(format!("waiting for gateway-ctl at {addr}")));
            let types = vec![RATE_LIMIT_OBJECT.to_owned()];
            let mut updates = xds_client::objects(
                addr.clone(),
                "ratelimit-svc".to_owned(),
                types,
                shutdown.clone(),
            );
            tokio::spawn(async move {
                while let Some((change, reply)) = updates.recv().await {
                    if sender.send(change).await.is_ok() {
                        reply.ack();
                    }
                }
            });
        }
        let mut files = None;
        if let Some(path) = &settings.doors.files {
            let watch = Watch::new(path).with_context(|| {
                format!("{}: the limits must be in a file or folder that exists", path.display())
            })?;
            let mut door = FileDoor {
                path: path.clone(),
                objects: FileObjects::new(),
                texts: BTreeMap::new(),
            };
            loader.read(&mut door);
            files = Some((door, watch));
        }
        tokio::spawn(async move {
            loop {
                let changed = async {
                    match &mut files {
                        Some((_, watch)) => watch.changed().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = changed => if let Some((door, _)) = &mut files { loader.read(door) },
                    Some(change) = changes.recv() => loader.take(change),
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
        let lines: Vec<String> = self.lines();
        json!({"limits": lines, "status": self.0.status()})
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
                false => (format!("{:?}", limit.unit).to_uppercase(), limit.requests),
            };
            format!(
                "{domain}.{path}: unit={unit} requests_per_unit={requests}, shadow_mode: {}, quota_mode: {}",
                limit.shadow, limit.quota
            )
        });
        let objects = snapshot.limits.resources.limits().into_iter().map(|(domain, l)| {
            format!(
                "{domain}.{}: unit={} requests_per_unit={}, action: {}",
                l.limit.name,
                format!("{:?}", l.limit.unit).to_uppercase(),
                l.limit.requests,
                l.action.name()
            )
        });
        tree.chain(objects).collect()
    }
}

/// The files that are read, and what they were.
struct FileDoor {
    path: std::path::PathBuf,
    objects: FileObjects,
    texts: BTreeMap<String, String>,
}

struct Loader {
    /// The last good files of envoyproxy/ratelimit.
    domains: Option<Arc<Domains>>,
    /// Of each object the last good version and what is wrong with the newest.
    objects: BTreeMap<ObjectRef, (Option<CompiledObject>, Vec<Diagnostic>)>,
    ambassador_id: String,
    merge_domains: bool,
    metrics: Metrics,
    ready: Readiness,
    to: Configuration,
}

impl Loader {
    fn read(&mut self, door: &mut FileDoor) {
        let texts = match files::read(&door.path) {
            Ok(texts) => texts,
            Err(e) => return self.refuse(vec![problem(&door.path, &e.to_string())]),
        };
        if texts == door.texts && self.domains.is_some() {
            return;
        }
        let (objects, trees): (BTreeMap<_, _>, BTreeMap<_, _>) =
            texts.clone().into_iter().partition(|(_, text)| holds_objects(text));
        door.texts = texts;
        let change = door.objects.update(objects);
        let mut found = change.found.clone();
        match Domains::read(&trees, self.merge_domains) {
            Ok(domains) => self.domains = Some(Arc::new(domains)),
            Err(e) => {
                tracing::error!("Error loading new configuration: {e}");
                found.push(problem(&door.path, &e));
            }
        }
        self.apply(change);
        if self.domains.is_none() {
            return self.refuse(found);
        }
        self.publish(found);
    }

    fn take(&mut self, change: Change) {
        let found = change.found.clone();
        self.apply(change);
        self.publish(found);
    }

    fn apply(&mut self, change: Change) {
        for reference in &change.deleted {
            self.objects.remove(reference);
        }
        for object in change.applied {
            self.compile(&object);
        }
    }

    fn compile(&mut self, object: &Object) {
        if object.reference.kind != "RateLimit" {
            return;
        }
        let (compiled, mut found) = compile_object(object);
        let entry = self.objects.entry(object.reference.clone()).or_default();
        match compiled {
            Some(compiled) => entry.0 = Some(compiled),
            None if entry.0.is_some() => {
                for d in &mut found {
                    let hint = "the previous version stays in force";
                    let hint = if d.hint.is_empty() {
                        hint.to_owned()
                    } else {
                        format!("{}; {hint}", d.hint)
                    };
                    d.hint(hint);
                }
            }
            None => {}
        }
        entry.1 = found;
    }

    fn publish(&mut self, mut found: Vec<Diagnostic>) {
        let domains = self.domains.clone().unwrap_or_default();
        let ours =
            self.objects.values().filter_map(|(compiled, _)| compiled.as_ref()).filter(|o| {
                o.ambassador_id
                    .as_ref()
                    .map_or(self.ambassador_id == "default", |ids| ids.names(&self.ambassador_id))
            });
        let resources = Resources::new(ours, domains.limit_count());
        let limits = Limits { files: domains, resources };
        found.extend(self.objects.values().flat_map(|(_, found)| found.iter().cloned()));
        self.log(&found);
        let refused = found.iter().any(|d| d.severity == Severity::Error);
        let counter =
            if refused { &self.metrics.config_refused } else { &self.metrics.config_loaded };
        counter.inc();
        tracing::info!("configuration in force: {} limits", limits.resources.limit_count());
        let metrics = self.metrics.of_limits(&limits);
        self.to.0.publish(Arc::new(Snapshot { limits, metrics, loaded: true }), found);
        self.ready.set("configuration", Ok(()));
    }

    fn refuse(&mut self, found: Vec<Diagnostic>) {
        self.log(&found);
        self.metrics.config_refused.inc();
        if !self.to.load().loaded {
            let why = found.first().map_or_else(String::new, ToString::to_string);
            self.ready.set("configuration", Err(why));
        }
        self.to.0.reject(found);
    }

    fn log(&self, found: &[Diagnostic]) {
        let known = self.to.0.status().found;
        for diagnostic in found.iter().filter(|d| !known.contains(d)) {
            tracing::error!("{diagnostic}; what was good before stays in force");
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
