//! A client's certificate: its names, and whether an authority signed it.

use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, X509Name};

use crate::filter::hexadecimal;

/// Longest text of a certificate and its chain, in bytes.
const MAX_LEN: usize = 128 << 10;
/// Most certificates of a chain.
const MAX_CHAIN: usize = 10;
/// Most names of a certificate.
const MAX_NAMES: usize = 256;

/// The client's certificate and those between it and an authority.
pub(super) type Chain = Vec<CertificateDer<'static>>;

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// Lower case.
    pub dns_names: Vec<String>,
    /// As they are.
    pub uris: Vec<String>,
    /// Hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
}

impl Names {
    /// The SPIFFE id: of a certificate with exactly one URI (X.509-SVID, section 2).
    pub(super) fn spiffe_id(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [uri] if trust_domain(uri).is_some() => Some(uri),
            _ => None,
        }
    }

    /// The best name there is.
    pub(super) fn identity(&self) -> &str {
        let lists = [&self.uris, &self.dns_names].map(|l| l.first().map(String::as_str));
        let best = [self.spiffe_id(), Some(&self.subject)].into_iter().chain(lists);
        let names = best.chain([Some(self.fingerprint.as_str())]).flatten();
        names.into_iter().find(|n| !n.is_empty()).unwrap_or_default()
    }
}

/// The trust domain of a SPIFFE id; none when it is not one.
pub(super) fn trust_domain(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("spiffe://")?;
    let domain = rest.split('/').next().unwrap_or_default();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    (!domain.is_empty() && domain.bytes().all(good)).then_some(domain)
}

/// Reads URL-encoded PEM.
pub(super) fn read_url_encoded(text: &str) -> Option<Chain> {
    if text.len() > MAX_LEN {
        return None;
    }
    let pem: Vec<u8> = percent_decode_str(text).collect();
    read_pem(&pem, MAX_CHAIN)
}

/// Reads PEM of one to `most` certificates.
pub(super) fn read_pem(pem: &[u8], most: usize) -> Option<Chain> {
    let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(pem).take(most + 1).collect();
    chain.ok().filter(|c| (1..=most).contains(&c.len()))
}

/// Reads `Client-Cert` and `Client-Cert-Chain` (RFC 9440): structured fields, a byte sequence and a
/// list of them.
pub(super) fn read_fields(certificate: &str, chain: Option<&str>) -> Option<Chain> {
    if certificate.len() + chain.map_or(0, str::len) > MAX_LEN {
        return None;
    }
    let bytes = |text: &str| {
        let inner = text.trim_matches([' ', '\t']).strip_prefix(':')?.strip_suffix(':')?;
        Some(CertificateDer::from(STANDARD.decode(inner).ok()?))
    };
    let mut all = vec![bytes(certificate)?];
    for part in chain.filter(|c| !c.trim().is_empty()).into_iter().flat_map(|c| c.split(',')) {
        all.push(bytes(part)?);
    }
    (all.len() <= MAX_CHAIN).then_some(all)
}

/// Why a certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is none.
    Malformed,
    /// It is over, or not yet valid.
    Time,
    /// No authority that is named signed it, for clients.
    Untrusted,
}

/// The names of the first certificate of `chain`, and when it is valid, if it is valid at `now` and, where there are
/// authorities, one of them signed it.
pub(super) fn verify(
    chain: &[CertificateDer<'static>],
    authorities: Option<&[TrustAnchor<'static>]>,
    now: Duration,
) -> Result<(Names, RangeInclusive<Duration>), Fault> {
    let (own, between) = chain.split_first().ok_or(Fault::Malformed)?;
    let (rest, certificate) = X509Certificate::from_der(own).map_err(|_| Fault::Malformed)?;
    if !rest.is_empty() {
        return Err(Fault::Malformed);
    }
    let validity = certificate.validity();
    let [first, last] = [validity.not_before, validity.not_after]
        .map(|t| Duration::from_secs(u64::try_from(t.timestamp()).unwrap_or_default()));
    if !(first..=last).contains(&now) {
        return Err(Fault::Time);
    }
    if let Some(authorities) = authorities {
        let parsed = EndEntityCert::try_from(own).map_err(|_| Fault::Malformed)?;
        let usage = KeyUsage::client_auth();
        let now = UnixTime::since_unix_epoch(now);
        parsed
            .verify_for_usage(ALL_VERIFICATION_ALGS, authorities, between, now, usage, None, None)
            .map_err(|e| match e {
                webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                    Fault::Time
                }
                _ => Fault::Untrusted,
            })?;
    }
    let names = names(own, &certificate).ok_or(Fault::Malformed)?;
    Ok((names, first..=last))
}

fn names(der: &[u8], certificate: &X509Certificate<'_>) -> Option<Names> {
    let mut names = Names {
        subject: name(certificate.subject())?,
        issuer: name(certificate.issuer())?,
        serial_number: hexadecimal(certificate.raw_serial()),
        fingerprint: hexadecimal(&Sha256::digest(der)),
        ..Names::default()
    };
    let extension = certificate.subject_alternative_name().ok()?;
    for general in extension.iter().flat_map(|e| &e.value.general_names).take(MAX_NAMES) {
        let plain = |text: &str| !text.bytes().any(|b| b.is_ascii_control());
        match general {
            GeneralName::DNSName(dns) if plain(dns) => {
                names.dns_names.push(dns.to_ascii_lowercase());
            }
            GeneralName::URI(uri) if plain(uri) => names.uris.push((*uri).to_owned()),
            _ => {}
        }
    }
    Some(names)
}

/// A name as RFC 4514 writes it: the last part first.
fn name(name: &X509Name<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for rdn in name.iter() {
        let mut pairs = Vec::new();
        for attribute in rdn.iter() {
            let kind = attribute.attr_type();
            let short = oid2abbrev(kind, oid_registry()).ok();
            let known = short.filter(|s| SHORT.contains(s));
            let value = attribute.attr_value();
            let textual =
                [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String].contains(&value.tag());
            pairs.push(match (known, attribute.as_str().ok().filter(|_| textual)) {
                (Some(short), Some(text)) => format!("{short}={}", escaped(text)?),
                (None, Some(text)) => format!("{}={}", kind.to_id_string(), escaped(text)?),
                (Some(short), None) => format!("{short}=#{}", hexadecimal(value.data)),
                (None, None) => format!("{}=#{}", kind.to_id_string(), hexadecimal(value.data)),
            });
        }
        parts.push(pairs.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// Short names of attributes (RFC 4514, section 3).
const SHORT: [&str; 9] = ["CN", "L", "ST", "O", "OU", "C", "STREET", "DC", "UID"];

/// A value as RFC 4514, section 2.4, writes it; none with control characters, which no name has.
fn escaped(text: &str) -> Option<String> {
    let mut escaped = String::new();
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        if c.is_control() {
            return None;
        }
        let special = "\"+,;<>\\".contains(c)
            || (at == 0 && (c == ' ' || c == '#'))
            || (at == last && c == ' ');
        if special {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    Some(escaped)
}
