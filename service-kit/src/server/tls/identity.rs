//! What the files say, checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::named::Named;
use super::pem::Pem;

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
        let (chain_file, key_file) = (Pem::read(&source.chain)?, Pem::read(&source.key)?);
        let ca_file = source.ca.as_deref().map(Pem::read).transpose()?;
        let (chain, key) = (chain_file.certificates()?, key_file.key()?);
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &ca_file {
            ca.trust(&mut roots)?;
        }
        let expires = expiry(&chain_file, &chain)?;
        let roots = Arc::new(roots);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let misfit = |e: rustls::Error| key_file.misfit(&chain_file, e);

        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let server = match &ca_file {
            Some(ca) => server.with_client_cert_verifier(verifier(source, ca, &roots)?),
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
        let text = [chain_file.text, ca_file.map(|ca| ca.text).unwrap_or_default()].concat();
        Ok(Self { server: Arc::new(server), client: Arc::new(client), expires, text })
    }
}

/// Who may call.
fn verifier(
    source: &Source,
    ca: &Pem,
    roots: &Arc<RootCertStore>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
    let verifier = match source.clients {
        Clients::Require => verifier,
        Clients::Optional => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|e| ca.wrong(e))?;
    Ok(match &source.client_name {
        Some(name) => Arc::new(Named::new(verifier, name)?),
        None => verifier,
    })
}

/// When the first certificate expires; that it has not is checked.
fn expiry(file: &Pem, chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let first = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, certificate) = x509_parser::parse_x509_certificate(first)
        .map_err(|e| file.wrong(format_args!("not a certificate: {e}")))?;
    let not_after = certificate.validity().not_after;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if not_after.timestamp() < i64::try_from(now.as_secs()).unwrap_or(i64::MAX) {
        let words = format_args!("the certificate expired at {not_after}; renew it");
        return Err(file.wrong(words));
    }
    Ok(not_after.timestamp())
}
