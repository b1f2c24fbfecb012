//! Settings of TLS, as in `Host.tls` and in a TLSContext.

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::Diagnostics;

use super::fields::Texts;
use crate::ir::tls::{Parameters, Version};

/// Ciphers of TLS 1.2 and older that Envoy knows; those of 1.3 cannot be chosen.
const CIPHERS: &[&str] = &[
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
/// Curves that Envoy knows.
const CURVES: &[&str] = &["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"];

/// TLS of a Host or a TLSContext.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct TlsSpec {
    /// Protocols that are offered (ALPN), separated by commas, as in `h2,http/1.1`. Default: none.
    #[serde(alias = "alpnProtocols")]
    #[schemars(with = "Option<String>")]
    alpn_protocols: Option<Texts>,
    /// Secret with the authorities (`tls.crt` or `ca.crt`) of the other side's certificates.
    #[serde(alias = "caSecret")]
    ca_secret: Option<String>,
    /// File, as Envoy sees it, with the authorities of the other side's certificates.
    #[serde(alias = "cacertChainFile", alias = "caCertChainFile")]
    cacert_chain_file: Option<String>,
    /// File, as Envoy sees it, with the certificate.
    #[serde(alias = "certChainFile")]
    cert_chain_file: Option<String>,
    /// Whether clients need a certificate. Default: false.
    #[serde(alias = "certRequired")]
    cert_required: Option<bool>,
    /// Ciphers of TLS 1.2 and older, in BoringSSL's names.
    #[serde(alias = "cipherSuites")]
    cipher_suites: Option<Vec<String>>,
    /// File, as Envoy sees it, with revoked certificates.
    #[serde(alias = "crlFile")]
    crl_file: Option<String>,
    /// Secret with revoked certificates (`crl.pem`).
    #[serde(alias = "crlSecret")]
    crl_secret: Option<String>,
    /// Curves of the key exchange: X25519MLKEM768, X25519, P-256, P-384, P-521.
    #[serde(alias = "ecdhCurves")]
    ecdh_curves: Option<Vec<String>>,
    /// Newest version: `v1.0` to `v1.3`.
    #[serde(alias = "maxTlsVersion", alias = "maxTLSVersion")]
    max_tls_version: Option<String>,
    /// Oldest version: `v1.0` to `v1.3`.
    #[serde(alias = "minTlsVersion", alias = "minTLSVersion")]
    min_tls_version: Option<String>,
    /// File, as Envoy sees it, with the key of the certificate.
    #[serde(alias = "privateKeyFile")]
    private_key_file: Option<String>,
    /// Had to do with redirects; has no effect: Hosts say what happens to requests in the clear.
    #[serde(alias = "redirectCleartextFrom")]
    #[schemars(extend("x-support" = "no effect"))]
    #[allow(dead_code)]
    redirect_cleartext_from: Option<i64>,
    /// The name that is asked for when connecting to a service (SNI).
    sni: Option<String>,
}

/// What Secret or file is meant; a Secret as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Name of a Secret, maybe with its namespace.
    Secret(String),
    /// A file that Envoy reads.
    File(String),
}

/// Settings of TLS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlsSettings {
    /// Files of the certificate and its key.
    pub files: Option<(String, String)>,
    /// Authorities of the other side's certificates.
    pub ca: Option<Named>,
    /// What these revoked.
    pub revoked: Option<Named>,
    /// Whether clients need a certificate.
    pub requires_certificate: bool,
    /// Versions and the like.
    pub parameters: Parameters,
    /// The name that is asked for.
    pub server_name: Option<String>,
}

impl TlsSpec {
    /// Reads the settings at `path`. `None` when they cannot be in force.
    pub(crate) fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<TlsSettings> {
        let mut good = true;
        let mut either =
            |secret: &Option<String>, file: &Option<String>, fields: (&str, &str)| match (
                given(secret),
                given(file),
            ) {
                (Some(_), Some(_)) => {
                    let (a, b) = fields;
                    found
                        .error(format!("{path}.{b}"), format!("{a} and {b} exclude each other"))
                        .hint("keep one of them");
                    good = false;
                    None
                }
                (Some(secret), None) => Some(Named::Secret(secret)),
                (None, file) => file.map(Named::File),
            };
        let ca =
            either(&self.ca_secret, &self.cacert_chain_file, ("ca_secret", "cacert_chain_file"));
        let revoked = either(&self.crl_secret, &self.crl_file, ("crl_secret", "crl_file"));
        let files = match (given(&self.cert_chain_file), given(&self.private_key_file)) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            (chain, _) => {
                let (field, other) = if chain.is_some() {
                    ("private_key_file", "cert_chain_file")
                } else {
                    ("cert_chain_file", "private_key_file")
                };
                found
                    .error(format!("{path}.{field}"), format!("{other} needs {field}"))
                    .hint("name both files of the certificate");
                good = false;
                None
            }
        };
        if revoked.is_some() && ca.is_none() {
            found
                .error(
                    format!("{path}.crl_secret"),
                    "revoked certificates (crl_secret, crl_file) need the authority that revoked them",
                )
                .hint("set ca_secret or cacert_chain_file, too");
            good = false;
        }
        if let Some(name) = given(&self.sni)
            && name.len() > 255
        {
            found.error(format!("{path}.sni"), "a name has at most 255 characters");
            good = false;
        }
        let parameters = self.parameters(path, found);
        let requires_certificate = self.cert_required.unwrap_or(false);
        if requires_certificate && ca.is_none() {
            found
                .warning(
                    format!("{path}.cert_required"),
                    "no authority is named, so any certificate of a client is taken",
                )
                .hint("set ca_secret or cacert_chain_file");
        }
        let parameters = parameters.filter(|_| good)?;
        Some(TlsSettings {
            files,
            ca,
            revoked,
            requires_certificate,
            parameters,
            server_name: given(&self.sni),
        })
    }

    fn parameters(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Parameters> {
        let min = version(&self.min_tls_version, &format!("{path}.min_tls_version"), found);
        let max = version(&self.max_tls_version, &format!("{path}.max_tls_version"), found);
        let ciphers = known(&self.cipher_suites, CIPHERS, &format!("{path}.cipher_suites"), found);
        let curves = known(&self.ecdh_curves, CURVES, &format!("{path}.ecdh_curves"), found);
        let alpn = self.alpn(path, found);
        let (min, max) = (min?, max?);
        if let (Some(a), Some(b)) = (min, max)
            && a > b
        {
            found
                .error(
                    format!("{path}.min_tls_version"),
                    "min_tls_version is above max_tls_version",
                )
                .hint("there would be no version left");
            return None;
        }
        Some(Parameters { min, max, ciphers: ciphers?, curves: curves?, alpn: alpn? })
    }

    fn alpn(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Vec<String>> {
        let texts = self.alpn_protocols.iter().flat_map(|t| &t.0).flat_map(|t| t.split(','));
        let all: Vec<String> =
            texts.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect();
        let wrong = all.iter().find(|t| t.len() > 255 || !t.bytes().all(|b| b.is_ascii_graphic()));
        if let Some(wrong) = wrong {
            let text = format!("`{}` is no protocol", wrong.escape_debug());
            found.error(format!("{path}.alpn_protocols"), text).hint("as in h2,http/1.1");
            return None;
        }
        Some(all)
    }
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|t| !t.is_empty())
}

fn version(
    text: &Option<String>,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Option<Version>> {
    let Some(text) = given(text) else { return Some(None) };
    match text.trim_start_matches(['v', 'V']) {
        "1.0" => Some(Some(Version::V1_0)),
        "1.1" => Some(Some(Version::V1_1)),
        "1.2" => Some(Some(Version::V1_2)),
        "1.3" => Some(Some(Version::V1_3)),
        _ => {
            found
                .error(path, format!("`{}` is no version of TLS", text.escape_debug()))
                .hint("v1.0, v1.1, v1.2 or v1.3");
            None
        }
    }
}

/// The texts that Envoy knows. Others are errors and left out; a list of which nothing is left is
/// not in force, for it would allow what it was written against.
fn known(
    list: &Option<Vec<String>>,
    all: &[&str],
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Vec<String>> {
    let mut kept = Vec::new();
    let list = list.as_deref().unwrap_or_default();
    for (i, text) in list.iter().enumerate() {
        // `[A|B]` means that both are as good as each other.
        let group = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if group.split('|').all(|name| all.contains(&name)) {
            kept.push(text.clone());
        } else {
            found
                .error(format!("{path}[{i}]"), format!("Envoy has no `{}`", text.escape_debug()))
                .hint(format!("it is left out; those are known: {}", all.join(", ")));
        }
    }
    (!kept.is_empty() || list.is_empty()).then_some(kept)
}
