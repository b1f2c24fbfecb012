//! The configuration in force, through either door.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use authz_core::catalog::Catalog;
use authz_core::{Settings, Snapshot};
use serde_json::{Value, json};
use service_kit::server::admin::Readiness;
use service_kit::server::files::{self, Watch};
use service_kit::server::live::Live;
use service_kit::server::objects::{Change, FileObjects};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::tls::Tls;
use service_kit::server::xds_client::{self, AUTHORIZATION_OBJECT};
use service_kit::{Diagnostic, ObjectRef, Severity};

use crate::Args;
use crate::documents::Documents;

/// What decides now.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// No configuration was read yet: nobody may pass.
    Waiting,
    /// This.
    Ready(Arc<Snapshot>),
}

/// The configuration in force; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    live: Live<State>,
    objects: Live<Vec<ObjectRef>>,
}

impl Configuration {
    /// Opens the door that `args` name. Files are read before this returns.
    pub(crate) fn open(
        args: &Args,
        tls: Option<Tls>,
        settings: Settings,
        documents: Documents,
        ready: Readiness,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let this = Self { live: Live::new(State::Waiting), objects: Live::new(Vec::new()) };
        let catalog = Catalog::default();
        let mut loader = Loader { catalog, settings, documents, ready, to: this.clone() };
        match (&args.config, &args.xds) {
            (Some(path), _) => {
                let mut watch = Watch::new(path).with_context(|| {
                    format!("--config {}: it must be a file or folder that exists", path.display())
                })?;
                let mut objects = FileObjects::new();
                let change = read(path, &mut objects).context("--config")?;
                loader.take(change);
                let path = path.clone();
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            () = watch.changed() => loader.reread(&path, &mut objects),
                            () = shutdown.wait() => return,
                        }
                    }
                });
            }
            (None, Some(addr)) => {
                let node = "authz-svc".to_owned();
                let types = vec![AUTHORIZATION_OBJECT.to_owned()];
                let mut updates = xds_client::objects(addr.clone(), tls, node, types, shutdown);
                loader
                    .ready
                    .set("configuration", Err(format!("waiting for gateway-ctl at {addr}")));
                tokio::spawn(async move {
                    while let Some((change, reply)) = updates.recv().await {
                        loader.take(change);
                        reply.ack();
                    }
                });
            }
            (None, None) => {
                let why = "neither --config nor --xds was given";
                loader.ready.set("configuration", Err(why.to_owned()));
                tracing::error!(
                    "{why}; every request is denied until the service is started with one of them"
                );
            }
        }
        Ok(this)
    }

    /// The state in force.
    pub(crate) fn state(&self) -> State {
        State::clone(&self.live.load())
    }

    /// For the admin port: which objects are in force, and what is wrong. Nothing of their content.
    pub(crate) fn report(&self) -> Value {
        let objects: Vec<String> = self.objects.load().iter().map(ToString::to_string).collect();
        json!({"objects": objects, "status": self.live.status()})
    }
}

/// What changed in a file or folder.
pub(crate) fn read(path: &Path, objects: &mut FileObjects) -> std::io::Result<Change> {
    let mut files = files::read(path)?;
    if path.is_dir() {
        files.retain(|name, _| [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)));
    }
    Ok(objects.update(files))
}

struct Loader {
    catalog: Catalog,
    settings: Settings,
    documents: Documents,
    ready: Readiness,
    to: Configuration,
}

impl Loader {
    fn reread(&mut self, path: &Path, objects: &mut FileObjects) {
        match read(path, objects) {
            Ok(change) => self.take(change),
            Err(e) => {
                tracing::error!("{e}; what was read before stays in force");
                let object = ObjectRef::default();
                self.to.live.reject(vec![Diagnostic::new(
                    Severity::Error,
                    object,
                    "",
                    e.to_string(),
                )]);
            }
        }
    }

    /// Puts a change in force. Whatever is broken of it denies by itself, so there is always
    /// something to publish.
    fn take(&mut self, change: Change) {
        for reference in &change.deleted {
            self.catalog.delete(reference);
        }
        for object in change.applied {
            self.catalog.apply(object);
        }
        let compiled = self.catalog.compile(&self.settings);
        let mut found = change.found;
        found.extend(compiled.found);
        let known = self.to.live.status().found;
        for diagnostic in found.iter().filter(|d| !known.contains(d)) {
            tracing::warn!("{diagnostic}");
        }
        for cured in known.iter().filter(|d| !found.contains(d)) {
            tracing::info!("mended: {cured}");
        }
        tracing::info!("configuration in force: {} rules", compiled.snapshot.rules.len());
        self.to.objects.publish(Arc::new(self.catalog.references().cloned().collect()), Vec::new());
        self.documents.want(&compiled.snapshot.documents());
        self.to.live.publish(Arc::new(State::Ready(Arc::new(compiled.snapshot))), found);
        self.ready.set("configuration", Ok(()));
    }
}
