//! What a client is given in single files: envoyproxy/ratelimit's way, with one variable a file.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::pem::{self, Pem};

/// How a client proves who it is, and whom it trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The files of its certificate and key (PEM), if it is to show one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// CAs (PEM) to trust besides those of the system.
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must have, instead of the host's.
    pub server_name: Option<String>,
}

/// A client's configuration for HTTP/2: it trusts `authorities` (PEM), or else those of the system,
/// and shows `identity` (chain and key, PEM), if there is one.
///
/// # Errors
/// What is wrong with which of them; never what is in it.
pub fn client_config(
    authorities: Option<&[u8]>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, String> {
    let roots = match authorities {
        None => pem::system_roots(None)?,
        Some(text) => {
            let mut roots = RootCertStore::empty();
            Pem::given("the authorities", text).trust(&mut roots)?;
            roots
        }
    };
    let identity = identity.map(|(chain, key)| {
        (Pem::given("the client's certificate", chain), Pem::given("the client's key", key))
    });
    configured(roots, identity)
}

fn configured(
    roots: RootCertStore,
    identity: Option<(Pem, Pem)>,
) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let mut config = pem::with_identity(builder, identity)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

impl ClientFiles {
    /// Reads the files: anew for each connection, so that certificates can be renewed.
    ///
    /// # Errors
    /// Which file, and why; never what is in it.
    pub fn read(&self) -> Result<Arc<ClientConfig>, String> {
        // Without the system's roots there are those of `ca`; without any no server is trusted.
        let roots = pem::system_roots(self.ca.as_deref())?;
        let identity = match &self.identity {
            Some((chain, key)) => Some((Pem::read(chain)?, Pem::read(key)?)),
            None => None,
        };
        configured(roots, identity)
    }
}
