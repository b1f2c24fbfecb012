//! `envoy.extensions.transport_sockets.tls.v3.Secret`: certificates and authorities, or where Envoy
//! finds them.

use prost::Message as _;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::transport_sockets::tls::v3 as tls;

/// A certificate with its key.
pub fn certificate(name: &str, chain: &[u8], key: &[u8]) -> Vec<u8> {
    certificate_of(name, inline(chain), inline(key), None)
}

/// Two ways to write one and the same secret of files. Envoy compares a secret with the one that it got
/// last, also with one that it refused, and reads its files only when they differ: asked for the same
/// again it acknowledges without a look. So what was refused is sent in the other spelling, in which the
/// watched folder has a `/.` behind it. Either is made of the content alone: replicas whose Envoys
/// refused nothing have equal versions, as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spelling {
    /// As it is first.
    #[default]
    Plain,
    /// The other one.
    Dotted,
}

impl Spelling {
    /// The one that this one is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Plain => Self::Dotted,
            Self::Dotted => Self::Plain,
        }
    }
}

/// A certificate with its key, in files that Envoy reads and watches.
pub fn certificate_files(name: &str, chain: &str, key: &str, spelling: Spelling) -> Vec<u8> {
    certificate_of(name, file(chain), file(key), folder_of(key, spelling))
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
pub fn authorities(
    name: &str,
    ca: Pem<'_>,
    revoked: Option<Pem<'_>>,
    spelling: Spelling,
) -> Vec<u8> {
    let watched_directory = match (ca, revoked) {
        (Pem::File(path), _) | (_, Some(Pem::File(path))) => folder_of(path, spelling),
        _ => None,
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
fn folder_of(path: &str, spelling: Spelling) -> Option<core::WatchedDirectory> {
    let folder = match path.rsplit_once('/') {
        None => ".",
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
    };
    Some(watched(folder, spelling))
}

fn watched(folder: &str, spelling: Spelling) -> core::WatchedDirectory {
    let path = match spelling {
        Spelling::Plain => folder.to_owned(),
        Spelling::Dotted => format!("{}/.", folder.trim_end_matches('/')),
    };
    core::WatchedDirectory { path, ..core::WatchedDirectory::default() }
}

/// Name of the secret with the certificate and key.
pub const IDENTITY: &str = "tollgate-identity";
/// Name of the secret with the CA.
pub const CA: &str = "tollgate-ca";

/// The names of both.
pub const OWN: [&str; 2] = [IDENTITY, CA];

/// The two secrets of a folder with `tls.crt`, `tls.key` and `ca.crt`, which Envoy watches.
pub fn own(folder: &str, spelling: Spelling) -> [(String, Vec<u8>); 2] {
    let file = |name: &str| file(&format!("{folder}/{name}"));
    let watched = watched(folder, spelling);
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
