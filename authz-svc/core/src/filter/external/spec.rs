//! `Filter.spec.External` as users write it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::spec::unset_if_empty;

/// `Filter.spec.External`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["auth_service"]))]
pub struct Spec {
    /// Where the service is: `[http://|https://]host[:port]`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub auth_service: String,
    /// How it is asked. Default: `http`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "http", "grpc"]))]
    pub proto: Option<String>,
    /// Over gRPC: `v3`.
    #[serde(default, alias = "v3ProtocolVersion", deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "v2", "v3"]))]
    pub protocol_version: Option<String>,
    /// Whether it is asked over TLS. Default: as `auth_service` says.
    #[serde(default)]
    pub tls: Option<bool>,
    /// Certificates.
    #[serde(default, rename = "tlsConfig", alias = "v3TLSConfig")]
    pub tls_config: Option<TlsConfig>,
    /// Milliseconds until an answer is given up. Default: 5000.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Over HTTP: what is put before the path.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub path_prefix: Option<String>,
    /// Sends the body of the request along.
    #[serde(default)]
    pub include_body: Option<IncludeBody>,
    /// Deprecated, use `include_body`: up to 4096 bytes of the body. Default: false.
    #[serde(default)]
    pub allow_request_body: Option<bool>,
    /// Over HTTP: headers that are sent besides the usual ones.
    #[serde(default)]
    pub allowed_request_headers: Option<Vec<String>>,
    /// Over HTTP: headers of the answer that are taken besides the usual ones.
    #[serde(default)]
    pub allowed_authorization_headers: Option<Vec<String>>,
    /// Whether questions carry `l5d-dst-override` for Linkerd. Default: false.
    #[serde(default)]
    pub add_linkerd_headers: Option<bool>,
    /// Whether requests are allowed when there is no answer. Default: false.
    #[serde(default)]
    pub failure_mode_allow: Option<bool>,
    /// What clients get when there is no answer.
    #[serde(default)]
    pub status_on_error: Option<StatusOnError>,
}

/// Certificates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// The authority of the service's certificate: `tls.crt` of a Secret.
    #[serde(default)]
    pub ca_certificate: Option<FromSecret>,
    /// The certificate that is shown to the service: a Secret of type kubernetes.io/tls.
    #[serde(default)]
    pub certificate: Option<FromSecret>,
}

/// What is in a Secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FromSecret {
    /// The Secret that has it.
    #[serde(default)]
    pub from_secret: Option<SecretReference>,
}

/// A Secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct SecretReference {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
}

/// How much of a body is sent along.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct IncludeBody {
    /// Bytes that are sent at most.
    pub max_bytes: Option<u32>,
    /// Whether a longer body is cut; else the request is refused with 413.
    pub allow_partial: Option<bool>,
}

/// What clients get.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct StatusOnError {
    /// The status. Default: 403.
    #[serde(default)]
    pub code: Option<u32>,
}
