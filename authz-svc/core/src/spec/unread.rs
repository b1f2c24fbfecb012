//! Schemas of filters that are not read yet. A kind that becomes supported gets a type that reads
//! it, in the place of the one here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::{GoDuration, HeaderTemplate, IfRequestHeader};

/// `Filter.spec.OAuth2`.
#[derive(JsonSchema)]
#[allow(dead_code)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.secret) && self.secret != '' && has(self.secretName) && self.secretName != '')",
    "message": "secret and secretName exclude each other; keep the Secret",
}]))]
pub(crate) struct OAuth2 {
    /// The identity provider's issuer: an absolute URL.
    #[schemars(rename = "authorizationURL")]
    authorization_url: Option<String>,
    /// `AuthorizationCode`, `ClientCredentials` or `Password`. Default: `AuthorizationCode`.
    grant_type: Option<String>,
    /// A token counts as expired that much earlier, as in `30s`. Default: 0s.
    expiration_safety_margin: Option<GoDuration>,
    /// How this client proves who it is.
    client_authentication: Option<ClientAuthentication>,
    /// The client's id.
    #[schemars(rename = "clientID")]
    client_id: Option<String>,
    /// The client's secret; better in a Secret.
    secret: Option<String>,
    /// Secret with the client's secret, under `oauth2-client-secret`.
    secret_name: Option<String>,
    /// Its namespace. Default: the Filter's.
    secret_namespace: Option<String>,
    /// Origins that are protected; the first one is sent to the identity provider.
    protected_origins: Option<Vec<Origin>>,
    /// Deprecated, use `protectedOrigins`: the origin that is protected.
    #[schemars(rename = "clientURL")]
    client_url: Option<String>,
    /// Whether cookies last only until the browser is closed.
    use_session_cookies: Option<SessionCookies>,
    /// How long a session lasts that is not used, as in `30m`. Default: as its tokens.
    client_session_max_idle: Option<GoDuration>,
    /// Parameters that are added to the identity provider's URL.
    extra_authorization_parameters: Option<BTreeMap<String, String>>,
    /// Where a browser is sent after logout.
    #[schemars(rename = "postLogoutRedirectURI")]
    post_logout_redirect_uri: Option<String>,
    /// `auto`, `jwt` or `userinfo`. Default: `auto`.
    access_token_validation: Option<String>,
    /// The JWT Filter that judges access tokens.
    #[schemars(rename = "accessTokenJWTFilter")]
    access_token_jwt_filter: Option<JwtFilterRef>,
    /// Whether access tokens may have characters that they must not have. Default: false.
    allow_malformed_access_token: Option<bool>,
    /// Headers that are set on requests that are allowed; values are Go templates.
    inject_request_headers: Option<Vec<HeaderTemplate>>,
    /// Whether any certificate of the identity provider is accepted. Default: false.
    #[schemars(rename = "insecureTLS")]
    insecure_tls: Option<bool>,
    /// `never`, `onceAsClient` or `freelyAsClient`. Default: `never`.
    #[schemars(rename = "renegotiateTLS")]
    renegotiate_tls: Option<String>,
    /// How stale what the identity provider says may be, as in `5m`. Default: 0s.
    max_stale: Option<GoDuration>,
    /// Has no effect; see `extraAuthorizationParameters`.
    audience: Option<String>,
    /// Has no effect.
    #[schemars(rename = "stateTTL")]
    state_ttl: Option<String>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
#[schemars(rename_all = "camelCase")]
struct ClientAuthentication {
    /// Default: `HeaderPassword`.
    #[schemars(extend("enum" = ["", "HeaderPassword", "BodyPassword", "JWTAssertion"]))]
    method: Option<String>,
    /// Settings of `JWTAssertion`: `audience`, `signingMethod`, `lifetime`, `setClientID`,
    /// `setNBF`, `nbfSafetyMargin`, `setIAT`, `otherClaims`, `otherHeaderParameters`.
    jwt_assertion: Option<BTreeMap<String, Value>>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
#[schemars(rename_all = "camelCase")]
struct Origin {
    /// Scheme and authority, as in `https://example.org`.
    origin: Option<String>,
    /// The same as the gateway sees it, when that differs; `*` is any scheme or authority.
    internal_origin: Option<String>,
    /// Whether its subdomains are protected, too. Default: false.
    include_subdomains: Option<bool>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
#[schemars(rename_all = "camelCase")]
struct SessionCookies {
    /// Whether they do. Default: true.
    value: Option<bool>,
    /// Only for requests with this header; the opposite for others.
    if_request_header: Option<IfRequestHeader>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
#[schemars(rename_all = "camelCase")]
struct JwtFilterRef {
    /// Its name.
    name: Option<String>,
    /// Its namespace. Default: this Filter's.
    namespace: Option<String>,
    /// Whether the rule's `scope` is demanded of the token. Default: false.
    inherit_scope_argument: Option<bool>,
    /// Whether inherited values are cut up to their last `/`. Default: false.
    strip_inherited_scope: Option<bool>,
    /// Its arguments: `scope`.
    arguments: Option<BTreeMap<String, Value>>,
}
