//! TLS: mutual between the parts of an installation, from a folder that a Secret is mounted to; of
//! one port, from single files.
//!
//! The folder has `tls.crt`, `tls.key` and `ca.crt` (PEM). All files are watched: what is good is
//! used from the next connection on, what is bad is told and changes nothing.

mod accept;
mod client;
mod connect;
mod identity;
mod named;
pub mod pem;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arc_swap::ArcSwap;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use accept::{Connection, Listener, accept};
pub use client::{ClientFiles, client_config};
pub use connect::{connect, connect_with};
use identity::Identity;
pub use identity::{Clients, Source};

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
    source: Source,
    current: ArcSwap<Identity>,
    expires: Gauge<i64, AtomicI64>,
}

impl Tls {
    /// Reads the folder and follows it for as long as the process runs. Needs a tokio runtime.
    ///
    /// # Errors
    /// One line for people: which file, and why.
    pub fn open(folder: &Path, clients: Clients) -> Result<Self, String> {
        Self::of(Source::folder(folder, clients), &[folder])
    }

    /// Reads the files and follows them for as long as the process runs. Needs a tokio runtime.
    ///
    /// # Errors
    /// One line for people: which file, and why.
    pub fn open_files(source: Source) -> Result<Self, String> {
        let files = source.clone();
        let watched = [&files.chain, &files.key].into_iter().chain(&files.ca);
        Self::of(source, &watched.map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn of(source: Source, watched: &[&Path]) -> Result<Self, String> {
        let cannot = |e: &dyn std::fmt::Display| format!("{}: {e}", source.setting);
        // Watched before it is read, so that no change falls between.
        let watches: Result<Vec<_>, _> = watched.iter().map(|path| Watch::new(path)).collect();
        let watches = watches.map_err(|e| cannot(&e))?;
        let identity = Identity::read(&source).map_err(|e| cannot(&e))?;
        let expires = Gauge::default();
        expires.set(identity.expires);
        let current = ArcSwap::from_pointee(identity);
        let tls = Self(Arc::new(Inner { source, current, expires }));
        tokio::spawn(tls.clone().follow(watches));
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

    /// Shakes hands with a caller, by the newest identity.
    pub(super) async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> std::io::Result<TlsStream<IO>> {
        TlsAcceptor::from(self.0.current.load().server.clone()).accept(io).await
    }

    async fn follow(self, mut watches: Vec<Watch>) {
        let setting = self.0.source.setting;
        loop {
            let changes = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
            futures::future::select_all(changes).await;
            let source = self.0.source.clone();
            match tokio::task::spawn_blocking(move || Identity::read(&source)).await {
                Ok(Ok(identity)) if identity.text == self.0.current.load().text => {}
                Ok(Ok(identity)) => {
                    tracing::info!(expires = identity.expires, "new certificate");
                    self.0.expires.set(identity.expires);
                    self.0.current.store(Arc::new(identity));
                }
                Ok(Err(why)) => {
                    tracing::error!("{setting}: {why}; the certificate before stays in use");
                }
                Err(e) => tracing::error!("{setting}: {e}"),
            }
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.source).finish()
    }
}

#[cfg(test)]
pub(super) mod tests;
