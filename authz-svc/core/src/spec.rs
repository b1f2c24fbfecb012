//! The `.spec` of `Filter` and `FilterPolicy`, as a cluster, a file and the stream from
//! gateway-ctl give it. Also reads the spellings that conversion to older versions left behind
//! (`v3…`), where a zero value means "unset".

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use service_kit::AmbassadorId;

/// `Filter.spec`: exactly one of the kinds.
#[derive(Clone, Debug, Default, Deserialize)]
#[allow(non_snake_case)]
pub struct Filter {
    /// Which installations read this; `["default"]` when absent.
    pub ambassador_id: Option<AmbassadorId>,
    /// A token in the `Authorization` header.
    pub JWT: Option<Jwt>,
    /// A key in a header.
    #[serde(alias = "v3APIKey")]
    pub APIKey: Option<ApiKey>,
    /// Another authorization service.
    pub External: Option<Value>,
    /// A login.
    pub OAuth2: Option<Value>,
    /// Code of the user.
    pub Plugin: Option<Value>,
}

/// `Filter.spec.JWT`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// Where the keys are: an absolute URL.
    #[serde(default, rename = "jwksURI", deserialize_with = "unset_if_empty")]
    pub jwks_uri: Option<String>,
    /// The keys themselves: a JSON Web Key Set, as an object or as its text.
    #[serde(default)]
    pub jwks: Option<Value>,
    /// A Secret that holds the key set.
    #[serde(default)]
    pub jwks_secret: Option<KeySetSecret>,
    /// Names of RFC 7518; all supported ones but `none` when absent.
    #[serde(default)]
    pub valid_algorithms: Option<Vec<String>>,
    /// Expected `aud`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub audience: Option<String>,
    /// Whether `aud` must be there.
    #[serde(default)]
    pub require_audience: Option<bool>,
    /// Expected `iss`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub issuer: Option<String>,
    /// Whether `iss` must be there.
    #[serde(default)]
    pub require_issuer: Option<bool>,
    /// Whether `exp` must be there.
    #[serde(default)]
    pub require_expires_at: Option<bool>,
    /// Whether `nbf` must be there.
    #[serde(default)]
    pub require_not_before: Option<bool>,
    /// Whether `iat` must be there.
    #[serde(default)]
    pub require_issued_at: Option<bool>,
    /// How long ago `exp` may be.
    #[serde(default, deserialize_with = "duration")]
    pub leeway_for_expires_at: Duration,
    /// How far ahead `nbf` may be.
    #[serde(default, deserialize_with = "duration")]
    pub leeway_for_not_before: Duration,
    /// How far ahead `iat` may be.
    #[serde(default, deserialize_with = "duration")]
    pub leeway_for_issued_at: Duration,
    /// How stale fetched keys may be.
    #[serde(default, alias = "v3MaxStale", deserialize_with = "duration")]
    pub max_stale: Duration,
    /// Accept any certificate of the key server.
    #[serde(default, rename = "insecureTLS")]
    pub insecure_tls: Option<bool>,
    /// `never`, `onceAsClient` or `freelyAsClient`.
    #[serde(default, rename = "renegotiateTLS", deserialize_with = "unset_if_empty")]
    pub renegotiate_tls: Option<String>,
    /// Headers to set on the request when it is allowed.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
    /// What a refused client gets.
    #[serde(default)]
    pub error_response: Option<ErrorResponse>,
}

/// Where a key set is in a Secret.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct KeySetSecret {
    /// The Secret's name.
    #[serde(default)]
    pub name: String,
    /// Its namespace; the Filter's when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// The key of its data; `jwks.json` when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub key: Option<String>,
}

/// A header whose value is a Go template.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct HeaderTemplate {
    /// Any case.
    #[serde(default)]
    pub name: String,
    /// The template.
    #[serde(default)]
    pub value: String,
}

/// `errorResponse`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorResponse {
    /// Realm of `WWW-Authenticate`; `NAME.NAMESPACE` of the Filter when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub realm: Option<String>,
    /// `Content-Type: application/json` when absent.
    #[serde(default)]
    pub headers: Option<Vec<HeaderTemplate>>,
    /// The body; a JSON object when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub body_template: Option<String>,
    /// Deprecated: one more header, `Content-Type`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub content_type: Option<String>,
}

/// `Filter.spec.APIKey`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// `X-API-Key` when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub http_header: Option<String>,
    /// Where the accepted keys are.
    #[serde(default)]
    pub keys: Option<Vec<ApiKeySecret>>,
}

/// One Secret of accepted keys, in the Filter's namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySecret {
    /// Every value of this Secret is an accepted key.
    #[serde(default)]
    pub secret_name: String,
}

/// `FilterPolicy.spec`; the rules are read one by one, so that a bad one costs itself only.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct FilterPolicy {
    /// Which installations read this; `["default"]` when absent.
    pub ambassador_id: Option<AmbassadorId>,
    /// The rules.
    #[serde(default)]
    pub rules: Option<Vec<Value>>,
}

/// One of `FilterPolicy.spec.rules`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rule {
    /// Glob on the authority; `*` when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub host: Option<String>,
    /// Glob on the path; `*` when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub path: Option<String>,
    /// Higher ones are looked at first.
    #[serde(default, alias = "v3Precedence")]
    pub precedence: Option<i64>,
    /// The chain; none means "allowed, untouched".
    #[serde(default)]
    pub filters: Option<Vec<FilterRef>>,
}

/// One filter of a chain.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterRef {
    /// The Filter's name.
    #[serde(default)]
    pub name: String,
    /// Its namespace; the policy's when absent.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// `break` (default) or `continue`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub on_deny: Option<String>,
    /// `break` or `continue` (default).
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub on_allow: Option<String>,
    /// Only for requests with this header.
    #[serde(default)]
    pub if_request_header: Option<IfRequestHeader>,
    /// By the kind of the filter.
    #[serde(default)]
    pub arguments: Option<Value>,
}

/// `ifRequestHeader`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IfRequestHeader {
    /// Any case.
    #[serde(default)]
    pub name: String,
    /// Equal to this; the empty string counts.
    #[serde(default)]
    pub value: Option<String>,
    /// Contains a match of this.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub value_regex: Option<String>,
    /// Inverts the result.
    #[serde(default)]
    pub negate: Option<bool>,
}

/// `arguments` of a JWT filter.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct JwtArguments {
    /// All of these must be in the token's scope.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
}

fn unset_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|s| !s.is_empty()))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(Duration::ZERO),
        Some(text) => service_kit::go::parse_duration(text).map_err(serde::de::Error::custom),
    }
}
