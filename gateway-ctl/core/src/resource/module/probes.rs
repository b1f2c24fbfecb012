//! Probes and the diagnostics page on Listeners. Envoy answers a probe itself; where the Module names
//! a service for one, it is a Mapping, which `derived` makes.

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::Diagnostics;

use crate::ir::listener::PROBES;
use crate::syntax::header;

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
    /// The liveness probe: Envoy answers 200, or 503 while it is drained; with a `service` that
    /// answers. Prefix: `/ambassador/v0/check_alive`.
    pub liveness_probe: Option<Probe>,
    /// The readiness probe: as the liveness probe. Prefix: `/ambassador/v0/check_ready`.
    pub readiness_probe: Option<Probe>,
}

/// What is answered on every Listener, for every host.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Probe {
    /// Whether it is there. Default: true.
    pub enabled: Option<bool>,
    /// Start of the paths.
    pub prefix: Option<String>,
    /// With a service: what takes the place of the prefix. Default: the prefix.
    pub rewrite: Option<String>,
    /// Where requests go. Default: none, Envoy answers probes itself.
    pub service: Option<String>,
    /// Has no effect: the page is on the admin port, and on Listeners only with a `service`.
    #[schemars(extend("x-support" = "no effect"))]
    pub allow_non_local: Option<bool>,
}

impl Probe {
    /// The service that answers, if one is named.
    pub(crate) fn service(&self) -> Option<&str> {
        self.service.as_deref().filter(|s| !s.is_empty())
    }

    /// Whether it is there.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// The paths at which Envoy itself answers. A prefix that cannot be one leaves the usual one.
pub(super) fn read(raw: &Raw, found: &mut Diagnostics<'_>) -> Vec<String> {
    let keys = ["liveness_probe", "readiness_probe"];
    let mut paths: Vec<String> = Vec::new();
    for ((key, usual), probe) in
        keys.iter().zip(PROBES).zip([&raw.liveness_probe, &raw.readiness_probe])
    {
        let Some(probe) = probe else {
            paths.push(usual.to_owned());
            continue;
        };
        say_no_effect(key, probe, found);
        if !probe.is_enabled() || probe.service().is_some() {
            continue;
        }
        let path = format!("spec.config.{key}");
        if probe.rewrite.as_ref().is_some_and(|r| !r.is_empty()) {
            found
                .notice(format!("{path}.rewrite"), "it has no effect: Envoy itself answers")
                .hint("remove it, or name the service that answers");
        }
        let prefix = probe.prefix.as_deref().filter(|p| !p.is_empty()).unwrap_or(usual);
        let bare = prefix.trim_end_matches('/');
        if !bare.starts_with('/') || bare.contains(['?', '#']) || header::check_value(bare).is_err()
        {
            found
                .error(format!("{path}.prefix"), format!("it is no path; {usual} is answered"))
                .hint(format!("as in {usual}"));
            paths.push(usual.to_owned());
            continue;
        }
        paths.push(bare.to_owned());
    }
    if let Some(page) = &raw.diagnostics {
        say_no_effect("diagnostics", page, found);
    }
    paths.sort();
    paths.dedup();
    paths
}

fn say_no_effect(key: &str, probe: &Probe, found: &mut Diagnostics<'_>) {
    if probe.allow_non_local == Some(true) {
        found
            .notice(format!("spec.config.{key}.allow_non_local"), "it has no effect")
            .hint("who reaches the admin port is said by gateway-ctl --admin-addr and its token");
    }
}
