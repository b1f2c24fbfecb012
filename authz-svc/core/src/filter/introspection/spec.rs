//! `Filter.spec.Introspection` as users write it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::spec::{GoDuration, HeaderTemplate, duration, unset_if_empty};

/// `Filter.spec.Introspection`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["clientID"]))]
pub struct Spec {
    /// Where tokens are asked about: an absolute URL. Default: where the issuer's configuration
    /// says.
    #[serde(default, rename = "introspectionURL", deserialize_with = "unset_if_empty")]
    pub introspection_url: Option<String>,
    /// The authorization server's issuer: an absolute URL. A token must be of it.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub issuer: Option<String>,
    /// This client's id.
    #[serde(default, rename = "clientID")]
    pub client_id: String,
    /// Secret with this client's secret, under `oauth2-client-secret`.
    #[serde(default)]
    pub secret_name: String,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub secret_namespace: Option<String>,
    /// How the client proves who it is: `HeaderPassword` or `BodyPassword`. Default:
    /// `HeaderPassword`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "HeaderPassword", "BodyPassword"]))]
    pub client_authentication: Option<String>,
    /// The `aud` that a token must have. Default: any, or none.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub audience: Option<String>,
    /// How long an answer is believed, as in `60s`; a token that is taken back is good that long.
    /// Default: 60s.
    #[serde(default, rename = "cacheTTL", deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub cache_ttl: Duration,
    /// Realm of `WWW-Authenticate`. Default: `NAME.NAMESPACE` of the Filter.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub realm: Option<String>,
    /// Whether the backend does not get the token. Default: false.
    #[serde(default)]
    pub strip_authorization: Option<bool>,
    /// Whether any certificate of the authorization server is accepted. Default: false.
    #[serde(default, rename = "insecureTLS")]
    pub insecure_tls: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates with
    /// `.token.Claims`, which is the server's answer, and `.httpRequestHeader`.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
}
