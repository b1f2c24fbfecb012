//! Settings of traffic that a Mapping has for itself and the Module for all of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::{Diagnostics, go};

use super::fields::Texts;
use crate::ir::{Cors, HeaderEdit, Keepalive, Retry, Threshold};
use crate::syntax::{format, header};

/// `retry_policy`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct RetrySpec {
    /// What is tried again.
    #[schemars(extend("enum" = RETRY_ON))]
    retry_on: Option<String>,
    /// How often. Default: 1.
    num_retries: Option<u32>,
    /// Until one try is given up, as in `500ms`. Default: the request's time-out.
    per_try_timeout: Option<String>,
}

const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
];

impl RetrySpec {
    /// Checks it. `None` when it is wrong.
    pub fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Retry> {
        let retry_on = self.retry_on.clone().unwrap_or_default();
        if !RETRY_ON.contains(&retry_on.as_str()) {
            found
                .error(format!("{path}.retry_on"), format!("invalid retry policy: `{retry_on}`"))
                .hint(format!("one of {}", RETRY_ON.join(", ")));
            return None;
        }
        let per_try_timeout_ms = match self.per_try_timeout.as_deref().filter(|t| !t.is_empty()) {
            None => None,
            Some(text) => match go::parse_duration(text) {
                Ok(d) => u64::try_from(d.as_millis()).ok().filter(|ms| *ms < 1 << 31),
                Err(why) => {
                    let path = format!("{path}.per_try_timeout");
                    found.error(path, format!("invalid retry policy: {why}"));
                    return None;
                }
            },
        };
        Some(Retry { retry_on, num_retries: self.num_retries, per_try_timeout_ms })
    }
}

/// An entry of `circuit_breakers`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct BreakerSpec {
    /// `default` or `high`: which requests it counts. Default: `default`.
    priority: Option<String>,
    /// Most connections. Default: 1024.
    max_connections: Option<u32>,
    /// Most requests that wait for a connection. Default: 1024.
    max_pending_requests: Option<u32>,
    /// Most requests that are under way. Default: 1024.
    max_requests: Option<u32>,
    /// Most retries that are under way. Default: 3.
    max_retries: Option<u32>,
}

/// Checks `circuit_breakers`. `None` when an entry is wrong.
pub fn read_breakers(
    list: &[BreakerSpec],
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Vec<Threshold>> {
    let mut thresholds = Vec::new();
    for (i, b) in list.iter().enumerate() {
        let priority = b.priority.as_deref().map(str::to_ascii_lowercase);
        let high = match priority.as_deref() {
            None | Some("") => None,
            Some("default") => Some(false),
            Some("high") => Some(true),
            Some(other) => {
                found
                    .error(
                        format!("{path}[{i}].priority"),
                        format!("invalid circuit_breakers: unknown priority `{other}`"),
                    )
                    .hint("default or high");
                return None;
            }
        };
        thresholds.push(Threshold {
            high,
            max_connections: b.max_connections,
            max_pending_requests: b.max_pending_requests,
            max_requests: b.max_requests,
            max_retries: b.max_retries,
        });
    }
    Some(thresholds)
}

/// `keepalive`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct KeepaliveSpec {
    /// Probes without an answer until a connection is given up. Default: the system's.
    probes: Option<u32>,
    /// Seconds between two probes. Default: the system's.
    interval: Option<u32>,
    /// Seconds without traffic until the first probe; a Module may call it `time`. Default: the system's.
    #[serde(alias = "time")]
    idle_time: Option<u32>,
}

impl From<&KeepaliveSpec> for Keepalive {
    fn from(spec: &KeepaliveSpec) -> Self {
        Self { probes: spec.probes, idle_time: spec.idle_time, interval: spec.interval }
    }
}

/// A value of `add_request_headers`: `{value, append}`, or in older objects only the value.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AddHeaderSpec {
    /// Only the value.
    Value(String),
    /// Value and how.
    Full {
        /// The value; `%…%` are variables of Envoy.
        value: String,
        /// Whether it is added to what is there. Default: true.
        append: Option<bool>,
    },
}

/// Checks headers that are to be added. `None` when one is wrong.
pub fn read_added(
    headers: &BTreeMap<String, AddHeaderSpec>,
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Vec<HeaderEdit>> {
    let mut edits = Some(Vec::new());
    for (name, spec) in headers {
        let (value, append) = match spec {
            AddHeaderSpec::Value(value) => (value, true),
            AddHeaderSpec::Full { value, append } => (value, append.unwrap_or(true)),
        };
        let checked = header::check_edit_name(name)
            .and_then(|()| header::check_value(value))
            .and_then(|()| format::check(value));
        match checked {
            Ok(()) => {
                if let Some(edits) = &mut edits {
                    edits.push(HeaderEdit { name: name.clone(), value: value.clone(), append });
                }
            }
            Err(why) => {
                found.error(format!("{path}.{name}"), why);
                edits = None;
            }
        }
    }
    edits
}

/// Checks headers that are to be removed. `None` when one is wrong.
pub fn read_removed(names: &Texts, path: &str, found: &mut Diagnostics<'_>) -> Option<Vec<String>> {
    let mut removed = Some(Vec::new());
    for (i, name) in names.0.iter().enumerate() {
        match header::check_edit_name(name) {
            Ok(()) => {
                if let Some(removed) = &mut removed {
                    removed.push(name.clone());
                }
            }
            Err(why) => {
                found.error(format!("{path}[{i}]"), why);
                removed = None;
            }
        }
    }
    removed
}

/// `cors`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CorsSpec {
    /// Origins that may ask, as in `https://example.org`; `*` is every one.
    origins: Option<Texts>,
    /// Methods they may use.
    methods: Option<Texts>,
    /// Headers they may send.
    headers: Option<Texts>,
    /// Headers of answers they may see.
    exposed_headers: Option<Texts>,
    /// Whether they may send cookies. Default: false.
    credentials: Option<bool>,
    /// Seconds a browser may keep this, as a text.
    max_age: Option<String>,
    /// Kept by conversion from v2.
    #[serde(rename = "v2CommaSeparatedOrigins")]
    #[schemars(extend("x-support" = "no effect"))]
    #[allow(dead_code)]
    v2_comma_separated_origins: Option<bool>,
}

impl CorsSpec {
    /// Checks it. `None` when it is wrong.
    pub fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Cors> {
        let texts = |t: &Option<Texts>| t.as_ref().map(|t| t.0.clone()).unwrap_or_default();
        // In v2 a list may be one text with commas.
        let joined = |t: &Option<Texts>| {
            let all = texts(t);
            let parts = all.iter().flat_map(|t| t.split(',')).map(str::trim);
            parts.filter(|p| !p.is_empty()).collect::<Vec<_>>().join(", ")
        };
        let cors = Cors {
            origins: texts(&self.origins)
                .iter()
                .flat_map(|o| o.split(','))
                .map(|o| o.trim().to_owned())
                .filter(|o| !o.is_empty())
                .collect(),
            methods: joined(&self.methods),
            headers: joined(&self.headers),
            exposed_headers: joined(&self.exposed_headers),
            credentials: self.credentials.unwrap_or(false),
            max_age: self.max_age.clone().unwrap_or_default(),
        };
        let values = [
            ("methods", &cors.methods),
            ("headers", &cors.headers),
            ("exposed_headers", &cors.exposed_headers),
            ("max_age", &cors.max_age),
        ];
        let mut good = true;
        for (field, value) in values {
            if let Err(why) = header::check_value(value) {
                found.error(format!("{path}.{field}"), why);
                good = false;
            }
        }
        if !cors.max_age.bytes().all(|b| b.is_ascii_digit()) {
            found.error(format!("{path}.max_age"), "not a number of seconds");
            good = false;
        }
        good.then_some(cors)
    }
}
