//! The `.spec` of `RateLimit`, as a cluster, a file and the stream from gateway-ctl give it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::AmbassadorId;

/// Limits of requests in a domain.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["domain"]))]
pub struct RateLimit {
    /// Which installations read this; `["default"]` when absent.
    pub ambassador_id: Option<AmbassadorId>,
    /// Equal to the domain of the RateLimitService, byte for byte; usually `ambassador`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub domain: String,
    /// The limits. Of those that match a descriptor the one with the longest pattern counts.
    #[serde(default)]
    pub limits: Option<Vec<Limit>>,
}

/// How many requests of a kind may come.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["unit"]))]
pub struct Limit {
    /// Its name in logs and metrics. Default: `NAME.NAMESPACE-INDEX` of the object.
    #[serde(default)]
    pub name: Option<String>,
    /// Which descriptors it is for: entry by entry from the first, each a map of keys and values of
    /// which one must be equal; `*` is any value, and counted value by value.
    #[serde(default)]
    #[schemars(with = "Option<Vec<PatternItem>>", length(min = 1))]
    pub pattern: Option<Vec<BTreeMap<String, String>>>,
    /// Requests in a unit of time; 0 lets none through.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4294967295u32))]
    pub rate: i64,
    /// `second`, `minute`, `hour`, `day`, `week`, `month` or `year`, in any case.
    #[serde(default)]
    #[schemars(regex(pattern = UNITS))]
    pub unit: String,
    /// How many units make a window: 10 with `minute` is `rate` requests in 10 minutes. Default: 1.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000000))]
    pub unit_multiplier: Option<i64>,
    /// `FixedWindow` counts anew with each window of the clock, `SlidingWindow` over the last window
    /// wherever it began, `TokenBucket` by tokens that come at the rate; in any case. Default:
    /// `TokenBucket` with a `burstFactor`, else `FixedWindow`.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// Unused requests of so many windows may be made up for at once (a token bucket instead of a
    /// window). Default: none; 1 for a `TokenBucket`.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000000))]
    pub burst_factor: Option<i64>,
    /// What becomes of a request while the counters cannot be had: `Error` leaves it to Envoy's
    /// `failure_mode_deny`, `Allow`, `Deny`, `Local` counts in the memory of each replica; in any
    /// case. Default: the installation's `ON_STORE_ERROR`, which is `Error`.
    #[serde(default)]
    pub on_store_error: Option<String>,
    /// How many requests a replica may take from the counter ahead of need, so that a hot key is
    /// asked for less often; fewer near the end of the limit. Never lets more than the limit pass;
    /// what a replica took and does not use is lost for the others until the window ends. Only for
    /// a `FixedWindow`. Default: 0, none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000000))]
    pub lease: Option<i64>,
    /// `Enforce`, or `LogOnly` to count without refusing, in any case. Default: `Enforce`.
    #[serde(default)]
    pub action: Option<String>,
    /// Headers that are set on requests; values are Go templates.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
    /// Headers that are set on answers; values are Go templates.
    #[serde(default)]
    pub inject_response_headers: Option<Vec<HeaderTemplate>>,
    /// What a client over the limit gets.
    #[serde(default)]
    pub error_response: Option<ErrorResponse>,
}

/// The names of units, in any case, as a regular expression that has no flags.
const UNITS: &str = "^([sS][eE][cC][oO][nN][dD]|[mM][iI][nN][uU][tT][eE]|[hH][oO][uU][rR]|[dD][aA][yY]|[wW][eE][eE][kK]|[mM][oO][nN][tT][hH]|[yY][eE][aA][rR])$";

/// An entry of a pattern; an empty one matches nothing.
#[derive(JsonSchema)]
#[allow(dead_code)]
struct PatternItem(#[schemars(extend("minProperties" = 1))] BTreeMap<String, String>);

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
    /// Headers of the answer; values are Go templates. Default: none.
    #[serde(default)]
    pub headers: Option<Vec<HeaderTemplate>>,
    /// Go template of the body. Default: empty.
    #[serde(default)]
    pub body_template: Option<String>,
    /// The `Content-Type` of the answer.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Has no effect.
    #[serde(default)]
    #[schemars(extend("x-support" = "no effect"))]
    pub realm: Option<String>,
}
