//! `envoy.extensions.transport_sockets.tls.v3.Secret`: where Envoy finds its own certificate. What
//! is in the files is not known here.

use prost::Message as _;
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::transport_sockets::tls::v3 as tls;

/// Name of the secret with the certificate and key.
pub const IDENTITY: &str = "tollgate-identity";
/// Name of the secret with the CA.
pub const CA: &str = "tollgate-ca";

/// The two secrets of a folder with `tls.crt`, `tls.key` and `ca.crt`, which Envoy watches.
pub fn own(folder: &str) -> [(String, Vec<u8>); 2] {
    let file = |name: &str| core::DataSource {
        specifier: Some(core::data_source::Specifier::Filename(format!("{folder}/{name}"))),
        ..core::DataSource::default()
    };
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
