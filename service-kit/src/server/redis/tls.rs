//! TLS to Redis: whom to trust, what to show. Files are read for each connection, so that renewed
//! certificates count from the next one on.

use std::path::PathBuf;
use std::sync::Arc;

use crate::server::tls::pem::{self, Pem};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// How much of a server's certificate is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Who signed it, and for which host.
    #[default]
    Full,
    /// Who signed it: `REDIS_TLS_SKIP_HOSTNAME_VERIFICATION`.
    AnyHost,
    /// Nothing: `REDIS_TLS_INSECURE`.
    Nothing,
}

/// Settings of TLS.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Certificates (PEM) that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// Certificate chain and key (PEM) to show.
    pub client: Option<(PathBuf, PathBuf)>,
    /// How much of the server's certificate is looked at.
    pub trust: Trust,
}

impl Tls {
    /// What a connection to `host` needs.
    ///
    /// # Errors
    /// Which file, and why; never what is in it.
    pub(super) fn client(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("TLS: `{host}` is no name a certificate can be for"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match self.trust {
            Trust::Full => builder.with_root_certificates(self.roots()?),
            trust => {
                let chain = match trust {
                    Trust::Nothing => None,
                    _ => Some(
                        WebPkiServerVerifier::builder_with_provider(
                            Arc::new(self.roots()?),
                            provider.clone(),
                        )
                        .build()
                        .map_err(|e| format!("TLS: {e}"))?,
                    ),
                };
                let verifier = Lenient { chain, provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let identity = match &self.client {
            Some((chain, key)) => Some((Pem::read(chain)?, Pem::read(key)?)),
            None => None,
        };
        let config = pem::with_identity(builder, identity)?;
        Ok((Arc::new(config), name))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let roots = pem::system_roots(self.ca.as_deref())?;
        if roots.is_empty() {
            return Err("TLS: there is no certificate to trust; set REDIS_TLS_CACERT".to_owned());
        }
        Ok(roots)
    }
}

/// Looks at the chain, if there is one to look at, and not at the name.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(own, intermediates, name, ocsp, now) {
            // The name is looked at last, so everything else is in order.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
