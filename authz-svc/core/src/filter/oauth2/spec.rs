//! `Filter.spec.OAuth2` as users write it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use service_kit::Secret;

use crate::spec::{GoDuration, HeaderTemplate, IfRequestHeader, duration, unset_if_empty};

/// `Filter.spec.OAuth2`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.secret) && self.secret != '' && has(self.secretName) && self.secretName != '')",
    "message": "secret and secretName exclude each other; keep the Secret",
}]))]
pub struct Spec {
    /// The identity provider's issuer: an absolute URL, under which
    /// `/.well-known/openid-configuration` is.
    #[serde(default, rename = "authorizationURL", deserialize_with = "unset_if_empty")]
    pub authorization_url: Option<String>,
    /// `AuthorizationCode`, `ClientCredentials` or `Password`. Default: `AuthorizationCode`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub grant_type: Option<String>,
    /// A token counts as expired that much earlier, as in `30s`. Default: 0s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub expiration_safety_margin: Duration,
    /// How this client proves who it is.
    #[serde(default)]
    pub client_authentication: Option<ClientAuthentication>,
    /// The client's id. Needed, but for `ClientCredentials`.
    #[serde(default, rename = "clientID", deserialize_with = "unset_if_empty")]
    pub client_id: Option<String>,
    /// The client's secret; better in a Secret.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub secret: Option<Secret<String>>,
    /// Secret with the client's secret, under `oauth2-client-secret`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub secret_name: Option<String>,
    /// Its namespace. Default: the Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub secret_namespace: Option<String>,
    /// AuthorizationCode: origins that are protected; the first one is sent to the identity
    /// provider.
    #[serde(default)]
    pub protected_origins: Option<Vec<Origin>>,
    /// Deprecated, use `protectedOrigins`: the origin that is protected.
    #[serde(default, rename = "clientURL", deserialize_with = "unset_if_empty")]
    pub client_url: Option<String>,
    /// AuthorizationCode: whether cookies last only until the browser is closed.
    #[serde(default)]
    pub use_session_cookies: Option<SessionCookies>,
    /// AuthorizationCode: how long a session lasts that is not used, as in `30m`. Default: as its
    /// access token, or 14 days when there is a refresh token.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub client_session_max_idle: Duration,
    /// AuthorizationCode: parameters that are added to the identity provider's URL, as the
    /// `audience` of Auth0.
    #[serde(default)]
    pub extra_authorization_parameters: Option<BTreeMap<String, String>>,
    /// AuthorizationCode: where a browser is sent after logout: an absolute URL.
    #[serde(
        default,
        rename = "postLogoutRedirectURI",
        alias = "v3postLogoutRedirectURI",
        deserialize_with = "unset_if_empty"
    )]
    pub post_logout_redirect_uri: Option<String>,
    /// AuthorizationCode: Proof Key for Code Exchange (RFC 7636). Default: it is not used.
    #[serde(default)]
    pub pkce: Option<Pkce>,
    /// `auto`, `jwt` or `userinfo`. Default: `auto`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub access_token_validation: Option<String>,
    /// The JWT Filter that judges access tokens.
    #[serde(default, rename = "accessTokenJWTFilter")]
    pub access_token_jwt_filter: Option<JwtFilterRef>,
    /// Whether access tokens may have characters that they must not have (RFC 6750). Default:
    /// false.
    #[serde(default)]
    pub allow_malformed_access_token: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates, which see
    /// `.token`, `.idToken` and `.httpRequestHeader`.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
    /// Whether any certificate of the identity provider is accepted. Default: false.
    #[serde(default, rename = "insecureTLS")]
    pub insecure_tls: Option<bool>,
    /// `never`, `onceAsClient` or `freelyAsClient`; only `never` can be done. Default: `never`.
    #[serde(default, rename = "renegotiateTLS", deserialize_with = "unset_if_empty")]
    pub renegotiate_tls: Option<String>,
    /// How stale what the identity provider says of itself may be, as in `5m`. Default: 0s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub max_stale: Duration,
    /// Has no effect; see `extraAuthorizationParameters`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub audience: Option<String>,
    /// Has no effect.
    #[serde(default, rename = "stateTTL", deserialize_with = "unset_if_empty")]
    pub state_ttl: Option<String>,
}

/// How this client proves who it is.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuthentication {
    /// Default: `HeaderPassword`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "HeaderPassword", "BodyPassword", "JWTAssertion"]))]
    pub method: Option<String>,
    /// Settings of `JWTAssertion` (RFC 7523).
    #[serde(default)]
    pub jwt_assertion: Option<JwtAssertion>,
}

/// The signed token by which a client proves who it is. The client's secret is its key: PEM for RS,
/// PS and ES, the bytes themselves for HS.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtAssertion {
    /// Whether `client_id` is sent besides. Default: false.
    #[serde(default, rename = "setClientID")]
    pub set_client_id: Option<bool>,
    /// Its `aud`. Default: the token endpoint.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub audience: Option<String>,
    /// How it is signed, as in `RS256`, `PS256`, `ES256` or `HS256`. Default: `RS256`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub signing_method: Option<String>,
    /// How long it is valid, as in `1m`. Default: 1m.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub lifetime: Duration,
    /// Whether it has `nbf`. Default: false.
    #[serde(default, rename = "setNBF")]
    pub set_nbf: Option<bool>,
    /// How long ago `nbf` is, as in `10s`. Default: 0s.
    #[serde(default, deserialize_with = "duration")]
    #[schemars(with = "GoDuration")]
    pub nbf_safety_margin: Duration,
    /// Whether it has `iat`. Default: false.
    #[serde(default, rename = "setIAT")]
    pub set_iat: Option<bool>,
    /// More claims.
    #[serde(default)]
    pub other_claims: Option<BTreeMap<String, Value>>,
    /// More fields of its header, as `kid`.
    #[serde(default)]
    pub other_header_parameters: Option<BTreeMap<String, Value>>,
}

/// An origin that is protected.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Scheme and authority, as in `https://example.org`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub origin: Option<String>,
    /// The same as the gateway sees it, when that differs; `*` is any scheme or authority.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub internal_origin: Option<String>,
    /// Whether its subdomains are protected, too. Default: false.
    #[serde(default)]
    pub include_subdomains: Option<bool>,
}

/// Whether cookies last only until the browser is closed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionCookies {
    /// Whether they do. Default: true.
    #[serde(default)]
    pub value: Option<bool>,
    /// Only for requests with this header; the opposite for others.
    #[serde(default)]
    pub if_request_header: Option<IfRequestHeader>,
}

/// Proof Key for Code Exchange.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pkce {
    /// `S256`. Default: `S256`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "S256"]))]
    pub code_challenge_method: Option<String>,
}

/// The JWT Filter that judges access tokens.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtFilterRef {
    /// Its name.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub name: Option<String>,
    /// Its namespace. Default: this Filter's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// Whether the rule's `scope` is demanded of the token. Default: false.
    #[serde(default)]
    pub inherit_scope_argument: Option<bool>,
    /// Whether inherited values are cut up to their last `/`. Default: false.
    #[serde(default)]
    pub strip_inherited_scope: Option<bool>,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Option<JwtArguments>,
}

/// Arguments of the JWT Filter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct JwtArguments {
    /// All of these must be in the token's scope.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
}
