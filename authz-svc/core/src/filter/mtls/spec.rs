//! `Filter.spec.MTLS`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::spec::{HeaderTemplate, unset_if_empty};

/// `Filter.spec.MTLS`. Each list that is given must be met by one of the client's names; at least one
/// list or `authorities` is needed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Where the certificate is: `connection`, the one that Envoy saw; `xfcc`, the last element of
    /// the header `x-forwarded-client-cert`, which Envoy or the proxy before it must set;
    /// `clientCert`, the header `Client-Cert` (RFC 9440), which a proxy in front of Envoy must set
    /// and must not let clients set. Default: `connection`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "connection", "xfcc", "clientCert"]))]
    pub source: Option<String>,
    /// Certificates that the client's must be signed by, for clients (extended key usage
    /// clientAuth). Without: whom Envoy, or the proxy in front, let in is trusted.
    #[serde(default)]
    pub authorities: Option<Vec<Authorities>>,
    /// Globs of the subject as RFC 4514 writes it: the most special part first, as in
    /// `CN=*,OU=payments,O=Example`.
    #[serde(default)]
    pub subjects: Option<Vec<String>>,
    /// Globs of the DNS names, in lower case; `*` also matches dots.
    #[serde(default)]
    pub dns_names: Option<Vec<String>>,
    /// Globs of the URIs, as in `spiffe://example.org/ns/shop/*`; `*` also matches slashes.
    #[serde(default)]
    pub uris: Option<Vec<String>>,
    /// Trust domains of the SPIFFE id, as in `example.org`.
    #[serde(default)]
    pub trust_domains: Option<Vec<String>>,
    /// Only for `connection`: globs of Envoy's name of the client, which is its first URI, else its
    /// first DNS name, else its subject. Works where Envoy does not send the certificate itself
    /// (`include_peer_certificate`), which everything else but `trustDomains` needs.
    #[serde(default)]
    pub principals: Option<Vec<String>>,
    /// Whether the backend does not get the header that the certificate came in. Default: false.
    #[serde(default)]
    pub strip_header: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates with `.identity`,
    /// `.spiffeID`, `.subject`, `.issuer`, `.dnsNames`, `.uris`, `.serialNumber`, `.fingerprint`
    /// (SHA-256, hexadecimal) and `.httpRequestHeader`.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
}

/// A Secret with certificates of authorities.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["secretName"]))]
pub struct Authorities {
    /// Its name.
    #[serde(default)]
    pub secret_name: String,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// The key of its data: PEM, one or several. Default: `ca.crt`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub key: Option<String>,
}
