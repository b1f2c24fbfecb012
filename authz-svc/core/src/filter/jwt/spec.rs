//! `Filter.spec.JWT` as users write it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::spec::{GoDuration, HeaderTemplate, duration, unset_if_empty};

/// `Filter.spec.JWT`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Where the keys are: an absolute URL. Needed unless `jwks` or `jwksSecret` is there, or
    /// `validAlgorithms` is `["none"]`.
    #[serde(default, rename = "jwksURI", deserialize_with = "unset_if_empty")]
    pub jwks_uri: Option<String>,
    /// The keys themselves: a JSON Web Key Set, as an object or as its text.
    #[serde(default)]
    pub jwks: Option<Value>,
    /// A Secret that holds the key set.
    #[serde(default)]
    pub jwks_secret: Option<KeySetSecret>,
    /// Names of algorithms (RFC 7518). Default: all supported ones but `none`.
    #[serde(default)]
    pub valid_algorithms: Option<Vec<String>>,
    /// The `aud` that a token with one must have.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub audience: Option<String>,
    /// Whether a token must have `aud`. Default: false.
    #[serde(default)]
    pub require_audience: Option<bool>,
    /// The `iss` that a token with one must have.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub issuer: Option<String>,
    /// Whether a token must have `iss`. Default: false.
    #[serde(default)]
    pub require_issuer: Option<bool>,
    /// Whether a token must have `exp`. Default: false.
    #[serde(default)]
    pub require_expires_at: Option<bool>,
    /// Whether a token must have `nbf`. Default: false.
    #[serde(default)]
    pub require_not_before: Option<bool>,
    /// Whether a token must have `iat`. Default: false.
    #[serde(default)]
    pub require_issued_at: Option<bool>,
    /// How long ago `exp` may be, as in `30s`. Default: 0s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub leeway_for_expires_at: Duration,
    /// How far ahead `nbf` may be, as in `30s`. Default: 0s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub leeway_for_not_before: Duration,
    /// How far ahead `iat` may be, as in `30s`. Default: 0s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub leeway_for_issued_at: Duration,
    /// How stale fetched keys may be, as in `5m`. Default: 0s.
    #[serde(default, alias = "v3MaxStale", deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub max_stale: Duration,
    /// Whether any certificate of the key server is accepted. Default: false.
    #[serde(default, rename = "insecureTLS")]
    pub insecure_tls: Option<bool>,
    /// `never`, `onceAsClient` or `freelyAsClient`; only `never` can be done. Default: `never`.
    #[serde(default, rename = "renegotiateTLS", deserialize_with = "unset_if_empty")]
    pub renegotiate_tls: Option<String>,
    /// Whether the header `Authorization` is removed from requests that are allowed. Default: false.
    #[serde(default)]
    pub strip_authorization: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
    /// What a refused client gets.
    #[serde(default)]
    pub error_response: Option<ErrorResponse>,
}

/// Where a key set is in a Secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct KeySetSecret {
    /// The Secret's name.
    #[serde(default)]
    pub name: String,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// The key of its data. Default: `jwks.json`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub key: Option<String>,
}

/// `errorResponse`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResponse {
    /// Realm of `WWW-Authenticate`. Default: `NAME.NAMESPACE` of the Filter.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub realm: Option<String>,
    /// Headers of the answer; values are Go templates. Default: `Content-Type: application/json`.
    #[serde(default)]
    pub headers: Option<Vec<HeaderTemplate>>,
    /// Go template of the body. Default: `{{ . | json "" }}`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub body_template: Option<String>,
    /// Deprecated, use `headers`: the `Content-Type` of the answer.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub content_type: Option<String>,
}
