//! Mutual TLS between the parts of an installation, from a folder that a Secret is mounted to.
//!
//! The folder has `tls.crt`, `tls.key` and `ca.crt` (PEM). It is watched: what is good is used from
//! the next connection on, what is bad is told and changes nothing.

mod accept;
mod client;
mod connect;
mod identity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use accept::{Connection, Listener, accept};
pub use client::ClientFiles;
pub use connect::{connect, connect_with};
pub use identity::Clients;
use identity::Identity;

use super::files::Watch;

/// What `--tls-dir` and `--tls-clients` come to; none without a folder.
///
/// # Errors
/// As [`Tls::open`].
pub fn from_flags(
    folder: Option<&Path>,
    clients: Clients,
    registry: &mut Registry,
) -> Result<Option<Tls>, String> {
    let Some(folder) = folder else { return Ok(None) };
    let tls = Tls::open(folder, clients)?;
    tls.register(registry);
    Ok(Some(tls))
}

/// The newest good identity of this process. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    clients: Clients,
    current: ArcSwap<Identity>,
    expires: Gauge<i64, AtomicI64>,
}

impl Tls {
    /// Reads the folder and follows it for as long as the process runs. Needs a tokio runtime.
    ///
    /// # Errors
    /// One line for people: which file, and why.
    pub fn open(folder: &Path, clients: Clients) -> Result<Self, String> {
        let cannot = |e: &dyn std::fmt::Display| format!("--tls-dir: {e}");
        // Watched before it is read, so that no change falls between.
        let watch = Watch::new(folder).map_err(|e| cannot(&e))?;
        let identity = Identity::read(folder, clients).map_err(|e| cannot(&e))?;
        let expires = Gauge::default();
        expires.set(identity.expires);
        let tls = Self(Arc::new(Inner {
            folder: folder.to_owned(),
            clients,
            current: ArcSwap::from_pointee(identity),
            expires,
        }));
        tokio::spawn(tls.clone().follow(watch));
        Ok(tls)
    }

    /// Puts the metrics into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tollgate_certificate_expires_seconds",
            "When the certificate in use expires, in seconds since the epoch",
            self.0.expires.clone(),
        );
    }

    async fn follow(self, mut watch: Watch) {
        loop {
            watch.changed().await;
            let (folder, clients) = (self.0.folder.clone(), self.0.clients);
            let read = tokio::task::spawn_blocking(move || Identity::read(&folder, clients)).await;
            match read {
                Ok(Ok(identity)) if identity.text == self.0.current.load().text => {}
                Ok(Ok(identity)) => {
                    tracing::info!(expires = identity.expires, "new certificate");
                    self.0.expires.set(identity.expires);
                    self.0.current.store(Arc::new(identity));
                }
                Ok(Err(why)) => {
                    tracing::error!("--tls-dir: {why}; the certificate before stays in use");
                }
                Err(e) => tracing::error!("--tls-dir: {e}"),
            }
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.folder).finish()
    }
}

#[cfg(test)]
mod tests;
