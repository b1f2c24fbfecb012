//! `envoy.extensions.transport_sockets.tls.v3.Secret`: certificates and authorities, or where Envoy
//! finds them.

use prost::Message as _;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::transport_sockets::tls::v3 as tls;

/// A certificate with its key.
pub fn certificate(name: &str, chain: &[u8], key: &[u8]) -> Vec<u8> {
    certificate_of(name, inline(chain), inline(key), None)
}

/// A certificate with its key, in files that Envoy reads and watches.
pub fn certificate_files(name: &str, chain: &str, key: &str) -> Vec<u8> {
    certificate_of(name, file(chain), file(key), folder_of(key))
}

fn certificate_of(
    name: &str,
    chain: core::DataSource,
    key: core::DataSource,
    watched_directory: Option<core::WatchedDirectory>,
) -> Vec<u8> {
    let certificate = tls::TlsCertificate {
        certificate_chain: Some(chain),
        private_key: Some(key),
        watched_directory,
        ..tls::TlsCertificate::default()
    };
    let certificate = tls::secret::Type::TlsCertificate(certificate);
    tls::Secret { name: name.to_owned(), r#type: Some(certificate) }.encode_to_vec()
}

/// A PEM text, or a file that Envoy reads.
#[derive(Clone, Copy, Debug)]
pub enum Pem<'a> {
    /// The text.
    Text(&'a [u8]),
    /// The file.
    File(&'a str),
}

/// Authorities, and what they revoked.
pub fn authorities(name: &str, ca: Pem<'_>, revoked: Option<Pem<'_>>) -> Vec<u8> {
    let watched_directory = match ca {
        Pem::Text(_) => None,
        Pem::File(path) => folder_of(path),
    };
    let context = tls::CertificateValidationContext {
        trusted_ca: Some(ca.source()),
        crl: revoked.map(|r| r.source()),
        watched_directory,
        ..tls::CertificateValidationContext::default()
    };
    let context = tls::secret::Type::ValidationContext(context);
    tls::Secret { name: name.to_owned(), r#type: Some(context) }.encode_to_vec()
}

impl Pem<'_> {
    fn source(self) -> core::DataSource {
        match self {
            Self::Text(text) => inline(text),
            Self::File(path) => file(path),
        }
    }
}

fn inline(text: &[u8]) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(text.to_vec().into())),
        ..core::DataSource::default()
    }
}

fn file(path: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(path.to_owned())),
        ..core::DataSource::default()
    }
}

/// Kubernetes changes what a folder is a link to.
fn folder_of(path: &str) -> Option<core::WatchedDirectory> {
    let (folder, _) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty())?;
    Some(core::WatchedDirectory { path: folder.to_owned(), ..core::WatchedDirectory::default() })
}

/// Name of the secret with the certificate and key.
pub const IDENTITY: &str = "tollgate-identity";
/// Name of the secret with the CA.
pub const CA: &str = "tollgate-ca";

/// The two secrets of a folder with `tls.crt`, `tls.key` and `ca.crt`, which Envoy watches.
pub fn own(folder: &str) -> [(String, Vec<u8>); 2] {
    let file = |name: &str| file(&format!("{folder}/{name}"));
    let watched =
        core::WatchedDirectory { path: folder.to_owned(), ..core::WatchedDirectory::default() };
    let identity = tls::Secret {
        name: IDENTITY.to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(file("tls.crt")),
            private_key: Some(file("tls.key")),
            watched_directory: Some(watched.clone()),
            ..tls::TlsCertificate::default()
        })),
    };
    let ca = tls::Secret {
        name: CA.to_owned(),
        r#type: Some(tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
            trusted_ca: Some(file("ca.crt")),
            watched_directory: Some(watched),
            ..tls::CertificateValidationContext::default()
        })),
    };
    [identity, ca].map(|secret| (secret.name.clone(), secret.encode_to_vec()))
}
