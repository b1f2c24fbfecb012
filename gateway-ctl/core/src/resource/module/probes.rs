//! Mappings that the Module asks for: of the probes and of the diagnostics page. They are made by
//! `derived`; here is what they look like.

use schemars::JsonSchema;
use serde::Deserialize;

/// Their keys of `spec.config`.
pub(super) const KEYS: &[&str] = &["diagnostics", "liveness_probe", "readiness_probe"];

/// Their settings, as part of `spec.config`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(dead_code)]
pub(crate) struct Raw {
    /// The Mapping of a diagnostics page; there is one only with a `service`. Prefix:
    /// `/ambassador/v0/`.
    pub diagnostics: Option<Probe>,
    /// The Mapping of a liveness probe; there is one only with a `service`. Prefix:
    /// `/ambassador/v0/check_alive`.
    pub liveness_probe: Option<Probe>,
    /// The Mapping of a readiness probe; there is one only with a `service`. Prefix:
    /// `/ambassador/v0/check_ready`.
    pub readiness_probe: Option<Probe>,
}

/// A Mapping for every host.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[allow(dead_code)]
pub(crate) struct Probe {
    /// Whether it is there. Default: true.
    pub enabled: Option<bool>,
    /// Start of the paths.
    pub prefix: Option<String>,
    /// What takes its place. Default: the prefix.
    pub rewrite: Option<String>,
    /// Where requests go.
    pub service: Option<String>,
    /// Has no effect: the page is on the admin port, and on Listeners only with a `service`.
    #[schemars(extend("x-support" = "no effect"))]
    pub allow_non_local: Option<bool>,
}
