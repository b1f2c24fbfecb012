//! The `.spec` of `Filter` and `FilterPolicy`, as a cluster, a file and the stream from
//! gateway-ctl give it. Also reads the spellings that conversion to older versions left behind
//! (`v3…`), where a zero value means "unset".

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use service_kit::AmbassadorId;

pub use crate::filter::Spec as Filter;

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
    /// Only tries: the rules judge, log and count, and requests pass unchanged. Default: false.
    #[serde(default)]
    pub shadow: Option<bool>,
    /// When a filter cannot decide, as with an identity provider that is down, requests pass
    /// unchanged; each is counted. A broken configuration never passes. Default: false.
    #[serde(default, rename = "failureModeAllow")]
    pub failure_mode_allow: Option<bool>,
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
    #[schemars(with = "Option<Arguments>")]
    pub arguments: Option<Value>,
    /// What Envoy's other filters, as its rate limit filter, are told when this filter allows.
    #[serde(default)]
    pub dynamic_metadata: Option<Vec<MetadataTemplate>>,
}

/// An entry of dynamic metadata, in the namespace `envoy.filters.http.ext_authz`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["key"]))]
pub struct MetadataTemplate {
    /// Its key.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub key: String,
    /// The Go template of its value: `.identity.subject`, `.identity.attributes` (as the claims of
    /// a token) and `.httpRequestHeader`.
    #[serde(default)]
    pub value: String,
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

/// `arguments` of a filter in a FilterPolicy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arguments {
    /// JWT, OAuth2, Introspection: all of these must be in the token's scope.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
    /// OAuth2, deprecated: as `scope`.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// OAuth2: what a client without a session gets instead of a redirect.
    #[serde(default)]
    pub instead_of_redirect: Option<InsteadOfRedirect>,
    /// OAuth2: the cookies' `lax`, `strict` or `none`.
    #[serde(default, deserialize_with = "unset_if_empty")]
    pub same_site: Option<String>,
}

/// `insteadOfRedirect`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InsteadOfRedirect {
    /// Only for requests with this header. Default: for all.
    #[serde(default)]
    pub if_request_header: Option<IfRequestHeader>,
    /// The status of the answer. Default: 403.
    #[serde(default)]
    pub http_status_code: Option<u32>,
    /// Deprecated: filters that judge instead.
    #[serde(default)]
    pub filters: Option<Vec<FilterRef>>,
}

pub(crate) fn unset_if_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|s| !s.is_empty()))
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(Duration::ZERO),
        Some(text) => service_kit::go::parse_duration(text).map_err(serde::de::Error::custom),
    }
}

/// A duration as Go writes it, for the schema.
pub(crate) struct GoDuration;

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
