//! Certificates, keys, authorities and lists of revoked certificates as PEM: whether Envoy will
//! take them, and until when they are valid. Knows no object.

use std::ops::RangeInclusive;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Largest PEM text that is looked at; an API server takes Secrets of up to 1 MiB.
const MAX_BYTES: usize = 1 << 20;
/// Most certificates of one text.
const MAX_CERTIFICATES: usize = 1_000;
/// Smallest RSA key that Envoy takes, in bits.
const MIN_RSA_BITS: usize = 2048;

/// When a certificate is valid, in seconds since the Unix epoch.
pub type Validity = RangeInclusive<i64>;

/// Checks a certificate chain and its key. Gives when the first certificate is valid.
///
/// # Errors
/// Why Envoy would not take them; the text names the part and never quotes it.
pub fn check_pair(chain: &[u8], key: &[u8]) -> Result<Validity, String> {
    let certificates = certificates(chain)?;
    let first = certificates.first().ok_or("it has no certificate")?;
    let (_, parsed) = X509Certificate::from_der(first).map_err(|_| not_x509(0))?;
    check_key_kind(&parsed)?;
    let validity = validity(&parsed);
    if key.len() > MAX_BYTES {
        return Err("its key is too large".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "its key is no PEM text of a private key without a password".to_owned())?;
    let unusable =
        |_| "its key cannot be used: use RSA, or ECDSA on P-256, P-384 or P-521".to_owned();
    let provider = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    let key = provider.load_private_key(key).map_err(unusable)?;
    match key.public_key() {
        Some(public) if *public != *parsed.public_key().raw => {
            Err("its key does not belong to its certificate".to_owned())
        }
        _ => Ok(validity),
    }
}

/// Checks certificates of authorities. Gives when all of them are valid.
///
/// # Errors
/// Why Envoy would not take them.
pub fn check_authorities(pem: &[u8]) -> Result<Validity, String> {
    let mut all = i64::MIN..=i64::MAX;
    for (i, der) in certificates(pem)?.iter().enumerate() {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| not_x509(i))?;
        let own = validity(&parsed);
        all = (*all.start()).max(*own.start())..=(*all.end()).min(*own.end());
    }
    Ok(all)
}

/// Checks lists of revoked certificates. Gives until when they are fresh.
///
/// # Errors
/// Why Envoy would not take them.
pub fn check_revoked(pem: &[u8]) -> Result<Validity, String> {
    if pem.len() > MAX_BYTES {
        return Err("its list of revoked certificates is too large".to_owned());
    }
    let wrong = || "it is no PEM text of a list of revoked certificates (X509 CRL)".to_owned();
    let mut all = i64::MIN..=i64::MAX;
    let mut count = 0;
    for der in CertificateRevocationListDer::pem_slice_iter(pem) {
        let der = der.map_err(|_| wrong())?;
        let (_, list) = CertificateRevocationList::from_der(&der).map_err(|_| wrong())?;
        let start = list.last_update().timestamp();
        let end = list.next_update().map_or(i64::MAX, |t| t.timestamp());
        all = (*all.start()).max(start)..=(*all.end()).min(end);
        count += 1;
    }
    if count == 0 { Err(wrong()) } else { Ok(all) }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.len() > MAX_BYTES {
        return Err("its certificates are too large".to_owned());
    }
    let wrong = |_| "its certificate is no PEM text".to_owned();
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(wrong)?;
    match all.len() {
        0 => Err("it has no PEM text of a certificate".to_owned()),
        n if n > MAX_CERTIFICATES => {
            Err(format!("it has more than {MAX_CERTIFICATES} certificates"))
        }
        _ => Ok(all),
    }
}

fn not_x509(index: usize) -> String {
    format!("its certificate {} is no X.509", index + 1)
}

fn check_key_kind(certificate: &X509Certificate<'_>) -> Result<(), String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < MIN_RSA_BITS => Err(format!(
            "its RSA key has {} bits, and Envoy wants at least {MIN_RSA_BITS}",
            key.key_size()
        )),
        Ok(PublicKey::RSA(_) | PublicKey::EC(_)) => Ok(()),
        _ => Err("its kind of key is none that Envoy serves with; use RSA or ECDSA".to_owned()),
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    validity.not_before.timestamp()..=validity.not_after.timestamp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_must_belong_to_its_certificate() {
        let ((chain, key), (other, other_key)) = (pair(), pair());
        assert!(check_pair(chain.as_bytes(), key.as_bytes()).is_ok());
        let both = format!("{chain}{other}");
        assert!(check_pair(both.as_bytes(), key.as_bytes()).is_ok(), "the first is the one");
        let why = check_pair(chain.as_bytes(), other_key.as_bytes()).unwrap_err();
        assert!(why.contains("does not belong"), "{why}");
    }

    #[test]
    fn what_is_no_pem_is_told_without_quoting_it() {
        let (chain, key) = pair();
        for (chain, key) in [
            ("", key.as_str()),
            ("secret-text", &key),
            (&chain, ""),
            (&chain, "secret-text"),
            (&chain[..chain.len() / 2], &key),
            ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", &key),
        ] {
            let why = check_pair(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(check_authorities(b"x").is_err());
        assert!(check_revoked(chain.as_bytes()).is_err(), "a certificate is no list");
    }

    #[test]
    fn keys_that_envoy_does_not_take_are_refused() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let chain = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem();
        let why = check_pair(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap_err();
        assert!(why.contains("kind of key"), "{why}");
    }
}
