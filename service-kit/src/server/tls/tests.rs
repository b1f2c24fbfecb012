use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;

/// An authority, and its certificate.
pub(in crate::server) struct Ca(Issuer<'static, KeyPair>, String);

pub(in crate::server) fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&key).unwrap().pem();
    Ca(Issuer::new(parameters, key), pem)
}

impl Ca {
    /// A folder with an identity for `localhost`.
    pub(in crate::server) fn folder(&self) -> PathBuf {
        self.folder_for("localhost")
    }

    /// A folder with an identity for `name`.
    pub(in crate::server) fn folder_for(&self, name: &str) -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder).unwrap();
        self.write_for(name, &folder, 4000);
        folder
    }

    fn write(&self, folder: &Path, not_after: i32) {
        self.write_for("localhost", folder, not_after);
    }

    pub(in crate::server) fn write_for(&self, name: &str, folder: &Path, not_after: i32) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join("ca.crt"), &self.1).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    }
}

/// An echo server of one byte.
async fn serve(tls: Tls) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut incoming = accept(listener, tls);
        while let Some(Ok(mut connection)) = incoming.next().await {
            tokio::spawn(async move {
                let byte = connection.read_u8().await?;
                connection.write_u8(byte).await?;
                connection.flush().await
            });
        }
    });
    port
}

/// The certificate that the server showed, if it took ours.
async fn ask(port: u16, config: Arc<rustls::ClientConfig>) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_u8(7).await?;
    stream.read_u8().await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(shown.first().map(|c| c.to_vec()).unwrap_or_default())
}

pub(in crate::server) fn client(folder: &Path) -> Arc<rustls::ClientConfig> {
    Identity::read(&Source::folder(folder, Clients::Require)).unwrap().client.clone()
}

pub(in crate::server) fn nameless(folder: &Path) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn both_sides_must_be_of_the_same_authority() {
    let (ours, other) = (ca(), ca());
    let (folder, stranger) = (ours.folder(), other.folder());
    let strict = serve(Tls::open(&folder, Clients::Require).unwrap()).await;
    assert!(ask(strict, client(&folder)).await.is_ok());
    assert!(ask(strict, client(&stranger)).await.is_err(), "the server is not theirs");
    assert!(ask(strict, nameless(&folder)).await.is_err(), "who are you?");
    let lenient = serve(Tls::open(&folder, Clients::Optional).unwrap()).await;
    assert!(ask(lenient, nameless(&folder)).await.is_ok());
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_a_bad_one_changes_nothing() {
    let ours = ca();
    let folder = ours.folder();
    let port = serve(Tls::open(&folder, Clients::Require).unwrap()).await;
    let config = client(&folder);
    let before = ask(port, config.clone()).await.unwrap();
    std::fs::write(folder.join("tls.crt"), "nonsense").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ask(port, config.clone()).await.unwrap(), before);
    ours.write(&folder, 4001);
    let renewed = async {
        while ask(port, config.clone()).await.unwrap() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.unwrap();
}

#[tokio::test]
async fn one_that_never_shakes_hands_holds_nobody_up() {
    let folder = ca().folder();
    let port = serve(Tls::open(&folder, Clients::Require).unwrap()).await;
    let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(ask(port, client(&folder)).await.is_ok());
}

#[tokio::test]
async fn what_is_wrong_is_said_and_no_key_is() {
    let ours = ca();
    let folder = ours.folder();
    let say = || Tls::open(&folder, Clients::Require).unwrap_err();
    ours.write(&folder, 2001);
    assert!(say().contains("tls.crt: the certificate expired"), "{}", say());
    ours.write(&folder, 4000);
    std::fs::write(folder.join("tls.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(say().contains("tls.key does not fit"), "{}", say());
    std::fs::write(folder.join("tls.key"), "secret").unwrap();
    assert!(say().contains("tls.key: no private key") && !say().contains("secret"), "{}", say());
    std::fs::remove_file(folder.join("ca.crt")).unwrap();
    assert!(say().contains("ca.crt"), "{}", say());
}
