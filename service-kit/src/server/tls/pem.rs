//! Certificates and keys as they stand in files (PEM). Errors say which file, and why; never what is
//! in it.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file that was read, with its name for what is wrong with it.
#[derive(Clone, Debug)]
pub struct Pem {
    name: String,
    /// As it is written.
    pub text: Vec<u8>,
}

impl Pem {
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::read_as(path.display().to_string(), path)
    }

    /// As [`Self::read`], of a setting that errors shall name, too.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_of(setting: &str, path: &Path) -> Result<Self, String> {
        Self::read_as(format!("{setting}: {}", path.display()), path)
    }

    /// A text that came in another way than as a file.
    pub fn given(name: &str, text: &[u8]) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    fn read_as(name: String, path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
        Ok(Self { name, text })
    }

    /// # Errors
    /// When there is none.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.wrong("no certificate in PEM")),
        }
    }

    /// # Errors
    /// When there is none.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|_| self.wrong("no private key in PEM"))
    }

    /// Adds its certificates to those that are trusted.
    ///
    /// # Errors
    /// When there is none, or one is no authority's.
    pub fn trust(&self, roots: &mut RootCertStore) -> Result<(), String> {
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|e| self.wrong(e))?;
        }
        Ok(())
    }

    /// What is wrong with the file.
    pub fn wrong(&self, why: impl std::fmt::Display) -> String {
        format!("{}: {why}", self.name)
    }

    /// That this key is not the one of `chain`.
    pub fn misfit(&self, chain: &Self, why: impl std::fmt::Display) -> String {
        format!("{} does not fit {}: {why}", self.name, chain.name)
    }
}

/// The authorities that the system trusts, with those of the file `more`; there may be none.
///
/// # Errors
/// When something is wrong with the file.
pub fn system_roots(more: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = more {
        Pem::read(path)?.trust(&mut roots)?;
    }
    Ok(roots)
}

/// Ends a client's configuration: shows the certificate of `identity` (chain, key), if there is one
/// to show.
///
/// # Errors
/// When something is wrong with one of them, or they do not belong together.
pub fn with_identity(
    builder: rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>,
    identity: Option<(Pem, Pem)>,
) -> Result<rustls::ClientConfig, String> {
    let Some((chain, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(chain.certificates()?, key.key()?)
        .map_err(|e| key.misfit(&chain, e))
}
