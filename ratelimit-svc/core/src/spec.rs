//! The `.spec` of `RateLimit`, as a cluster, a file and the stream from gateway-ctl give it.

use std::collections::BTreeMap;

use serde::Deserialize;
use service_kit::AmbassadorId;

/// `RateLimit.spec`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RateLimit {
    /// Which installations read this; `["default"]` when absent.
    pub ambassador_id: Option<AmbassadorId>,
    /// Equal to the `domain` of requests, byte for byte.
    #[serde(default)]
    pub domain: String,
    /// The limits.
    #[serde(default)]
    pub limits: Option<Vec<Limit>>,
}

/// One of `RateLimit.spec.limits`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// `NAME.NAMESPACE-INDEX` of the object when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Which descriptors: entry by entry, each one of some pairs of key and value.
    #[serde(default)]
    pub pattern: Option<Vec<BTreeMap<String, String>>>,
    /// Requests in a unit, 0 or more.
    #[serde(default)]
    pub rate: i64,
    /// `second`, `minute`, `hour`, `day`, `week`, `month` or `year`, in any case.
    #[serde(default)]
    pub unit: String,
    /// 1 or more: a token bucket of so many units instead of a window.
    #[serde(default)]
    pub burst_factor: Option<i64>,
    /// `Enforce` (default) or `LogOnly`, in any case.
    #[serde(default)]
    pub action: Option<String>,
    /// Headers for the backend, templates.
    #[serde(default)]
    pub inject_request_headers: Option<Vec<HeaderTemplate>>,
    /// Headers for the client, templates.
    #[serde(default)]
    pub inject_response_headers: Option<Vec<HeaderTemplate>>,
    /// What a client over the limit gets.
    #[serde(default)]
    pub error_response: Option<ErrorResponse>,
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
    /// None when absent.
    #[serde(default)]
    pub headers: Option<Vec<HeaderTemplate>>,
    /// Empty when absent.
    #[serde(default)]
    pub body_template: Option<String>,
    /// One more header, `Content-Type`.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Has no effect.
    #[serde(default)]
    pub realm: Option<String>,
}
