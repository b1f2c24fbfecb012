//! The CA and what it signs. Pure: Secrets and the time come from outside.
//!
//! A CA is followed by another in two steps. First the next one is made and trusted beside the
//! present one; a day later, when everybody has read that, it signs.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

const DAY: i64 = 24 * 3600;
/// How long a CA lasts.
const CA_DAYS: i64 = 3650;
/// How long a certificate lasts.
const LEAF_DAYS: i64 = 90;
/// Clocks differ.
const SKEW: i64 = 3600;
/// A CA signs this long after it was made, unless it is the first.
const SPREAD: i64 = DAY;

/// A Secret and the names of who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The Secret's name.
    pub secret: String,
    /// DNS names.
    pub names: BTreeSet<String>,
}

impl Leaf {
    /// Reads `NAME=DNS,DNS`.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write it as NAME=DNS,DNS".to_owned();
        let (secret, names) = text.split_once('=').ok_or_else(wrong)?;
        let names: BTreeSet<String> =
            names.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
        if secret.is_empty() || names.is_empty() {
            return Err(wrong());
        }
        Ok(Self { secret: secret.to_owned(), names })
    }
}

/// The texts of a Secret. Not printed anywhere: some are keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Data(BTreeMap<String, String>);

impl Data {
    /// Those of a Secret; what is no text is left out.
    pub(super) fn of(secret: &Secret) -> Self {
        let data = secret.data.iter().flatten();
        let text = |(k, v): (&String, &ByteString)| {
            Some((k.clone(), String::from_utf8(v.0.clone()).ok()?))
        };
        Self(data.filter_map(text).collect())
    }

    /// Replaces those of a Secret.
    pub(super) fn put_into(self, secret: &mut Secret) {
        let bytes = |(k, v): (String, String)| (k, ByteString(v.into_bytes()));
        secret.data = Some(self.0.into_iter().map(bytes).collect());
        secret.string_data = None;
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn new(rows: [(&str, String); 3]) -> Self {
        Self(rows.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}

/// What signs, and what is trusted.
pub(super) struct Authority {
    certificate: String,
    key: String,
    trusted: String,
}

impl Authority {
    /// The CA of a Secret, and what is to be written to it if it is not as it should be.
    ///
    /// # Errors
    /// When what is there cannot be used.
    pub(super) fn ensure(found: Option<&Data>, now: i64) -> Result<(Option<Data>, Self), String> {
        let Some(found) = found else {
            let (certificate, key) = make_ca(now)?;
            let data = Data::new([
                ("tls.crt", certificate.clone()),
                ("tls.key", key.clone()),
                ("ca.crt", certificate.clone()),
            ]);
            return Ok((Some(data), Self { trusted: certificate.clone(), certificate, key }));
        };
        let mut data = found.clone();
        let present = first(data.get("tls.crt"))?;
        let bundle = data.get("ca.crt");
        let mut trusted = if bundle.is_empty() { present.text.clone() } else { bundle.to_owned() };
        let next = data.get("next.crt").to_owned();
        if next.is_empty() && is_due(&present, now) {
            let (certificate, key) = make_ca(now)?;
            trusted += &certificate;
            data.0.insert("next.crt".to_owned(), certificate);
            data.0.insert("next.key".to_owned(), key);
        } else if !next.is_empty() && now >= first(&next)?.not_before + SKEW + SPREAD {
            for (from, to) in [("next.crt", "tls.crt"), ("next.key", "tls.key")] {
                let text = data.0.remove(from).unwrap_or_default();
                data.0.insert(to.to_owned(), text);
            }
        }
        trusted = without_expired(&trusted, now)?;
        data.0.insert("ca.crt".to_owned(), trusted.clone());
        let kept = Self {
            certificate: data.get("tls.crt").to_owned(),
            key: data.get("tls.key").to_owned(),
            trusted,
        };
        Ok(((data != *found).then_some(data), kept))
    }

    /// What is to be written to the Secret of a certificate if it is not as it should be.
    ///
    /// # Errors
    /// When the CA cannot sign.
    pub(super) fn ensure_leaf(
        &self,
        leaf: &Leaf,
        found: Option<&Data>,
        now: i64,
    ) -> Result<Option<Data>, String> {
        let signer = first(&self.certificate)?;
        // What cannot be read is made anew.
        let known = found.and_then(|f| Some((f, first(f.get("tls.crt")).ok()?)));
        let is_well = known.is_some_and(|(data, certificate)| {
            certificate.names == leaf.names
                && certificate.issuer == signer.subject
                && !is_due(&certificate, now)
                && data.get("ca.crt") == self.trusted
                && !data.get("tls.key").is_empty()
        });
        if is_well {
            return Ok(None);
        }
        let words = |e: rcgen::Error| format!("the CA cannot sign: {e}");
        let ca_key = KeyPair::from_pem(&self.key).map_err(words)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, ca_key).map_err(words)?;
        let key = KeyPair::generate().map_err(words)?;
        let mut parameters = CertificateParams::new(leaf.names.iter().cloned().collect::<Vec<_>>())
            .map_err(words)?;
        parameters.distinguished_name = named(&leaf.secret);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        lasts(&mut parameters, now, LEAF_DAYS);
        let certificate = parameters.signed_by(&key, &issuer).map_err(words)?;
        Ok(Some(Data::new([
            ("tls.crt", certificate.pem()),
            ("tls.key", key.serialize_pem()),
            ("ca.crt", self.trusted.clone()),
        ])))
    }
}

fn make_ca(now: i64) -> Result<(String, String), String> {
    let words = |e: rcgen::Error| format!("no CA can be made: {e}");
    let key = KeyPair::generate().map_err(words)?;
    let mut parameters = CertificateParams::default();
    // The time makes the name of each CA another, so that it is known who signed what.
    parameters.distinguished_name = named(&format!("tollgate-ca-{now}"));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasts(&mut parameters, now, CA_DAYS);
    let certificate = parameters.self_signed(&key).map_err(words)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // RFC 5280 allows 64 characters.
    let short: String = name.chars().take(64).collect();
    distinguished.push(DnType::CommonName, short);
    distinguished
}

fn lasts(parameters: &mut CertificateParams, now: i64, days: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |second: i64| epoch + std::time::Duration::from_secs(second.max(0).unsigned_abs());
    parameters.not_before = at(now - SKEW);
    parameters.not_after = at(now + days * DAY);
}

/// What is read of a certificate.
struct Certificate {
    text: String,
    subject: String,
    issuer: String,
    names: BTreeSet<String>,
    not_before: i64,
    not_after: i64,
}

fn first(pem: &str) -> Result<Certificate, String> {
    all(pem)?.into_iter().next().ok_or_else(|| "tls.crt has no certificate".to_owned())
}

fn all(pem: &str) -> Result<Vec<Certificate>, String> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes());
    blocks
        .map(|block| {
            let block = block.map_err(|e| format!("not PEM: {e}"))?;
            let certificate = block.parse_x509().map_err(|e| format!("no certificate: {e}"))?;
            Ok(Certificate {
                text: to_pem(&block.contents),
                subject: certificate.subject().to_string(),
                issuer: certificate.issuer().to_string(),
                names: dns_names(&certificate),
                not_before: certificate.validity().not_before.timestamp(),
                not_after: certificate.validity().not_after.timestamp(),
            })
        })
        .collect()
}

fn dns_names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|e| &e.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// Less than a third of its time is left.
fn is_due(certificate: &Certificate, now: i64) -> bool {
    let lasts = certificate.not_after - certificate.not_before;
    certificate.not_after - now < lasts / 3
}

fn without_expired(pem: &str, now: i64) -> Result<String, String> {
    let lasting = all(pem)?.into_iter().filter(|c| c.not_after > now).map(|c| c.text);
    Ok(lasting.collect())
}

fn to_pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|c| std::str::from_utf8(c).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn leaf() -> Leaf {
        Leaf::parse("authz-tls=authz,authz.ns.svc").unwrap()
    }

    fn ca(found: Option<&Data>, now: i64) -> (Data, Authority, bool) {
        let (written, authority) = Authority::ensure(found, now).unwrap();
        let changed = written.is_some();
        (written.or_else(|| found.cloned()).unwrap(), authority, changed)
    }

    #[test]
    fn what_is_there_and_lasts_is_left_alone() {
        let (data, authority, _) = ca(None, NOW);
        let made = authority.ensure_leaf(&leaf(), None, NOW).unwrap().unwrap();
        let (_, again, changed) = ca(Some(&data), NOW + DAY);
        assert!(!changed);
        assert!(again.ensure_leaf(&leaf(), Some(&made), NOW + 50 * DAY).unwrap().is_none());
        assert!(again.ensure_leaf(&leaf(), Some(&made), NOW + 61 * DAY).unwrap().is_some());
        let more = Leaf::parse("authz-tls=authz").unwrap();
        assert!(again.ensure_leaf(&more, Some(&made), NOW).unwrap().is_some(), "other names");
        let broken =
            Data::new([("tls.crt", "x".into()), ("tls.key", "y".into()), ("ca.crt", "z".into())]);
        assert!(again.ensure_leaf(&leaf(), Some(&broken), NOW).unwrap().is_some());
    }

    #[test]
    fn a_ca_is_trusted_for_a_day_before_it_signs() {
        let (data, old, _) = ca(None, NOW);
        let late = NOW + 2500 * DAY;
        let leaf_data = old.ensure_leaf(&leaf(), None, late).unwrap().unwrap();
        let (data, both, changed) = ca(Some(&data), late);
        assert!(changed);
        assert_eq!(both.certificate, old.certificate, "the old one signs");
        assert_eq!(all(&both.trusted).unwrap().len(), 2);
        let with_both = both.ensure_leaf(&leaf(), Some(&leaf_data), late).unwrap().unwrap();
        assert_eq!(
            first(with_both.get("tls.crt")).unwrap().issuer,
            first(&old.certificate).unwrap().subject
        );
        assert!(!ca(Some(&data), late + DAY / 2).2, "not yet");
        let (data, new, changed) = ca(Some(&data), late + DAY + 1);
        assert!(changed);
        assert_ne!(new.certificate, old.certificate);
        let renewed = new.ensure_leaf(&leaf(), Some(&with_both), late + DAY + 1).unwrap().unwrap();
        assert_eq!(
            first(renewed.get("tls.crt")).unwrap().issuer,
            first(&new.certificate).unwrap().subject
        );
        assert_eq!(all(renewed.get("ca.crt")).unwrap().len(), 2, "old peers are trusted");
        let (_, alone, _) = ca(Some(&data), NOW + 3651 * DAY);
        assert_eq!(all(&alone.trusted).unwrap().len(), 1);
    }

    #[test]
    fn a_secret_without_a_certificate_is_said() {
        let empty = Data::default();
        assert!(Authority::ensure(Some(&empty), NOW).is_err());
        assert!(Leaf::parse("name").is_err() && Leaf::parse("name=").is_err());
    }
}
