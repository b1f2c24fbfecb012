//! What a client is given in single files: envoyproxy/ratelimit's way, with one variable a file.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

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

impl ClientFiles {
    /// Reads the files: anew for each connection, so that certificates can be renewed.
    ///
    /// # Errors
    /// Which file, and why; never what is in it.
    pub fn read(&self) -> Result<Arc<ClientConfig>, String> {
        // Without the system's roots there are those of `ca`; without any no server is trusted.
        let roots = pem::system_roots(self.ca.as_deref())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let identity = match &self.identity {
            Some((chain, key)) => Some((Pem::read(chain)?, Pem::read(key)?)),
            None => None,
        };
        let mut config = pem::with_identity(builder, identity)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}
