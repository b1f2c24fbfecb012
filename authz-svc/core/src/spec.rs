//! The `.spec` of `Filter` and `FilterPolicy`, as a cluster, a file and the stream from
//! gateway-ctl give it. Also reads the spellings that conversion to older versions left behind
//! (`v3…`), where a zero value means "unset".

mod unread;

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use service_kit::AmbassadorId;

/// Conversion to older versions leaves `v3APIKey`, and nulls for the other kinds.
const ONE_KIND: &str = "[has(self.JWT), has(self.APIKey), has(self.v3APIKey), has(self.External), has(self.OAuth2), has(self.Plugin)].filter(k, k).size() == 1";

/// How a request is judged: exactly one of the kinds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": ONE_KIND,
    "message": "a Filter has exactly one of JWT, APIKey, External, OAuth2, Plugin",
}]))]
#[allow(non_snake_case)]
pub struct Filter {
    /// Which installations read this; `["default"]` when absent.
    pub ambassador_id: Option<AmbassadorId>,
    /// A token in the header `Authorization`.
    pub JWT: Option<Jwt>,
    /// A key in a header.
    #[serde(alias = "v3APIKey")]
    pub APIKey: Option<ApiKey>,
    /// Another authorization service is asked.
    #[schemars(with = "Option<unread::External>", extend("x-support" = "not yet"))]
    pub External: Option<Value>,
    /// A login with an identity provider.
    #[schemars(with = "Option<unread::OAuth2>", extend("x-support" = "not yet"))]
    pub OAuth2: Option<Value>,
    /// Code of the user.
    #[schemars(with = "Option<unread::Plugin>", extend("x-support" = "not yet"))]
    pub Plugin: Option<Value>,
}

/// `Filter.spec.JWT`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
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

/// A header whose value is a Go template.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct HeaderTemplate {
    /// Its name, in any case.
    #[serde(default)]
    pub name: String,
    /// The Go template of its value.
    #[serde(default)]
    pub value: String,
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

/// `Filter.spec.APIKey`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["keys"]))]
pub struct ApiKey {
    /// The header that has the key. Default: `X-API-Key`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub http_header: Option<String>,
    /// Where the accepted keys are.
    #[serde(default)]
    pub keys: Option<Vec<ApiKeySecret>>,
}

/// One Secret of accepted keys, in the Filter's namespace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeySecret {
    /// Every value of this Secret is an accepted key.
    #[serde(default)]
    pub secret_name: String,
}

/// Which filters judge which requests.
// The rules are read one by one, so that a bad one costs itself only.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct FilterPolicy {
    /// Which installations read this; `["default"]` when absent.
    pub ambassador_id: Option<AmbassadorId>,
    /// The rules; the first one that matches a request decides which filters it meets.
    #[serde(default)]
    #[schemars(with = "Option<Vec<Rule>>")]
    pub rules: Option<Vec<Value>>,
}

/// Which filters judge the requests of a host and a path.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct Rule {
    /// Glob of the host. Default: `*`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub host: Option<String>,
    /// Glob of the path; `*` also matches slashes. Default: `*`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub path: Option<String>,
    /// Rules with a higher one are looked at first. Default: 0.
    #[serde(default, alias = "v3Precedence")]
    pub precedence: Option<i64>,
    /// The filters, in order; none: requests are allowed.
    #[serde(default)]
    pub filters: Option<Vec<FilterRef>>,
}

/// One filter of a chain.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct FilterRef {
    /// The Filter's name.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its namespace. Default: the policy's.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub namespace: Option<String>,
    /// When it denies: the client gets its answer (`break`), or the next filter judges
    /// (`continue`). Default: `break`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "break", "continue"]))]
    pub on_deny: Option<String>,
    /// When it allows: the request goes on (`break`), or the next filter judges (`continue`).
    /// Default: `continue`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    #[schemars(extend("enum" = ["", "break", "continue"]))]
    pub on_allow: Option<String>,
    /// Judges only requests with this header.
    #[serde(default)]
    pub if_request_header: Option<IfRequestHeader>,
    /// Settings by the kind of the filter; JWT: `scope`, all of which a token must have.
    #[serde(default)]
    #[schemars(with = "Option<unread::Arguments>")]
    pub arguments: Option<Value>,
}

/// A condition on a header.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct IfRequestHeader {
    /// Its name, in any case.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its value must be equal to this. Default: any but an empty one.
    #[serde(default)]
    pub value: Option<String>,
    /// Its value must contain a match of this regular expression (RE2); not with `value`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub value_regex: Option<String>,
    /// Whether only requests without it are judged. Default: false.
    #[serde(default)]
    pub negate: Option<bool>,
}

/// `arguments` of a JWT filter.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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

/// A duration as Go writes it, for the schema.
struct GoDuration;

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": DURATION })
    }
}

/// Durations as Go reads them; a zero value is "unset".
const DURATION: &str = r"^([-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$|^[-+]?0$";
