//! What a client is given in single files: envoyproxy/ratelimit's way, with one variable a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::identity::certificates;

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
        let mut roots = RootCertStore::empty();
        // Without the system's roots there are those of `ca`; without any no server is trusted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.ca {
            let (path, text) = file(path)?;
            for root in certificates(&path, &text)? {
                roots.add(root).map_err(|e| format!("{path}: {e}"))?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let ((chain_path, chain_text), (key_path, key_text)) = (file(chain)?, file(key)?);
                let chain = certificates(&chain_path, &chain_text)?;
                let key = PrivateKeyDer::from_pem_slice(&key_text)
                    .map_err(|_| format!("{key_path}: no private key in PEM"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| format!("{key_path} does not fit {chain_path}: {e}"))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn file(path: &Path) -> Result<(String, Vec<u8>), String> {
    let shown = path.display().to_string();
    std::fs::read(path).map(|text| (shown.clone(), text)).map_err(|e| format!("{shown}: {e}"))
}
