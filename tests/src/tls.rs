//! A client of TLS that takes any certificate, remembers it, and shows one of its own if it is told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificates::Certificate;

/// What a connection is made with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// The name that is asked for; none: no name is.
    pub server_name: Option<&'a str>,
    /// What is shown.
    pub certificate: Option<&'a Certificate>,
    /// `v1.2` or `v1.3`: the only version that is spoken.
    pub only: Option<&'a str>,
    /// Protocols that are offered.
    pub alpn: &'a [String],
}

/// A connection, and what the server showed and chose.
pub struct Connection {
    /// For reading and writing.
    pub stream: StreamOwned<ClientConnection, TcpStream>,
    /// The subject of the server's certificate, as in `CN=a.test`.
    pub subject: String,
    /// Its serial number.
    pub serial: u64,
    /// The protocol.
    pub alpn: Option<String>,
    /// `v1.2` or `v1.3`.
    pub version: String,
}

impl Client<'_> {
    /// Shakes hands.
    ///
    /// # Errors
    /// When the server does not.
    pub fn connect(&self, mut tcp: TcpStream) -> std::io::Result<Connection> {
        let versions = match self.only {
            Some("v1.2") => vec![&rustls::version::TLS12],
            Some("v1.3") => vec![&rustls::version::TLS13],
            _ => vec![&rustls::version::TLS12, &rustls::version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = match self.certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.parsed();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.enable_sni = self.server_name.is_some();
        config.alpn_protocols = self.alpn.iter().map(|p| p.clone().into_bytes()).collect();
        let name = self.server_name.unwrap_or("nobody.test").to_owned();
        let name = ServerName::try_from(name).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        let shown = connection.peer_certificates().and_then(|c| c.first());
        let (_, shown) = X509Certificate::from_der(shown.unwrap()).unwrap();
        let subject = shown.subject().to_string();
        let serial = shown.serial.iter_u64_digits().next().unwrap_or_default();
        let alpn = connection.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned());
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "v1.2",
            _ => "v1.3",
        };
        let version = version.to_owned();
        Ok(Connection { stream: StreamOwned::new(connection, tcp), subject, serial, alpn, version })
    }
}

impl Certificate {
    /// As rustls wants them.
    pub fn parsed(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().unwrap();
        (chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }
}

/// A stream in the clear or over TLS.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
