//! What the files say, checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::named::Named;

/// What is asked of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// A certificate of the CA.
    #[default]
    Require,
    /// If they have one, it must be of the CA.
    Optional,
}

/// Where a certificate, its key and whom it trusts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The setting that errors name, as in `--tls-dir`.
    pub setting: &'static str,
    /// File of the certificate and those that link it to its authority.
    pub chain: PathBuf,
    /// File of its key.
    pub key: PathBuf,
    /// File of the authorities of the other side; without one, clients are not asked who they are.
    pub ca: Option<PathBuf>,
    /// What is asked of clients, if there are authorities.
    pub clients: Clients,
    /// A DNS name that clients' certificates must have.
    pub client_name: Option<String>,
}

impl Source {
    pub(super) fn folder(folder: &Path, clients: Clients) -> Self {
        Self {
            setting: "--tls-dir",
            chain: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            ca: Some(folder.join("ca.crt")),
            clients,
            client_name: None,
        }
    }
}

/// A certificate, its key, and whom it trusts.
pub(super) struct Identity {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
    /// Seconds since the epoch.
    pub expires: i64,
    /// The certificates as they are written: when they are the same, so is the rest.
    pub text: Vec<u8>,
}

impl std::str::FromStr for Clients {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "require" => Ok(Self::Require),
            "optional" => Ok(Self::Optional),
            _ => Err("use require or optional".to_owned()),
        }
    }
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file, and why; never what is in it.
    pub(super) fn read(source: &Source) -> Result<Self, String> {
        let (chain_path, chain_text) = file(&source.chain)?;
        let (key_path, key_text) = file(&source.key)?;
        let (ca_path, ca_text) = source.ca.as_deref().map(file).transpose()?.unwrap_or_default();
        let chain = certificates(&chain_path, &chain_text)?;
        let key = PrivateKeyDer::from_pem_slice(&key_text)
            .map_err(|_| format!("{key_path}: no private key in PEM"))?;
        let mut roots = RootCertStore::empty();
        if source.ca.is_some() {
            for root in certificates(&ca_path, &ca_text)? {
                roots.add(root).map_err(|e| format!("{ca_path}: {e}"))?;
            }
        }
        let expires = expiry(&chain_path, &chain)?;
        let roots = Arc::new(roots);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let misfit = |e: rustls::Error| format!("{key_path} does not fit {chain_path}: {e}");

        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let server = match source.ca {
            Some(_) => server.with_client_cert_verifier(verifier(source, &ca_path, &roots)?),
            None => server.with_no_client_auth(),
        };
        let mut server = server.with_single_cert(chain.clone(), key.clone_key()).map_err(misfit)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(misfit)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        let text = [chain_text, ca_text].concat();
        Ok(Self { server: Arc::new(server), client: Arc::new(client), expires, text })
    }
}

/// Path, for errors, and content.
fn file(path: &Path) -> Result<(String, Vec<u8>), String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok((path.display().to_string(), bytes))
}

/// Who may call.
fn verifier(
    source: &Source,
    ca_path: &str,
    roots: &Arc<RootCertStore>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
    let verifier = match source.clients {
        Clients::Require => verifier,
        Clients::Optional => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|e| format!("{ca_path}: {e}"))?;
    Ok(match &source.client_name {
        Some(name) => Arc::new(Named::new(verifier, name)?),
        None => verifier,
    })
}

pub(super) fn certificates(
    path: &str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{path}: no certificate in PEM")),
    }
}

/// When the first certificate expires; that it has not is checked.
fn expiry(path: &str, chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let first = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, certificate) = x509_parser::parse_x509_certificate(first)
        .map_err(|e| format!("{path}: not a certificate: {e}"))?;
    let not_after = certificate.validity().not_after;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if not_after.timestamp() < i64::try_from(now.as_secs()).unwrap_or(i64::MAX) {
        return Err(format!("{path}: the certificate expired at {not_after}; renew it"));
    }
    Ok(not_after.timestamp())
}
