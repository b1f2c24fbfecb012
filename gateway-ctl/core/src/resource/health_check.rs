//! `health_checks:` of a Mapping.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use service_kit::{Diagnostics, go};

use super::fields::Texts;
use super::traffic::{AddHeaderSpec, read_added, read_removed};
use crate::ir::health::{HealthCheck, Probe};
use crate::syntax::header;

/// An entry of `health_checks`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct HealthCheckSpec {
    /// Until an answer is given up, as in `3s`. Default: 3s.
    timeout: Option<String>,
    /// Between two checks, as in `5s`. Default: 5s.
    interval: Option<String>,
    /// Failures in a row until an address is not used. Default: 2.
    unhealthy_threshold: Option<u32>,
    /// Successes in a row until it is used again. Default: 1.
    healthy_threshold: Option<u32>,
    /// What is asked: `http` or `grpc`.
    health_check: Option<ProbeSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ProbeSpec {
    /// An HTTP request.
    http: Option<HttpSpec>,
    /// A call of gRPC's health service.
    grpc: Option<GrpcSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct HttpSpec {
    /// The path.
    path: String,
    /// The host. Default: the service.
    hostname: Option<String>,
    /// Headers that are set, by name.
    add_request_headers: Option<BTreeMap<String, AddHeaderSpec>>,
    /// Headers that are removed.
    remove_request_headers: Option<Texts>,
    /// Statuses that are healthy. Default: 200.
    expected_statuses: Option<Vec<StatusRange>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct StatusRange {
    /// The first, 100 at least.
    min: u16,
    /// The last, 599 at most.
    max: u16,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct GrpcSpec {
    /// The service that is asked for.
    upstream_name: String,
    /// The `:authority`. Default: the service.
    authority: Option<String>,
}

/// Checks `health_checks`, of which the first counts. `None` when an entry is wrong.
pub(super) fn read(
    list: &[HealthCheckSpec],
    path: &str,
    found: &mut Diagnostics<'_>,
) -> Option<Vec<HealthCheck>> {
    let mut checks = Vec::new();
    for (i, spec) in list.iter().enumerate() {
        checks.push(spec.read(&format!("{path}[{i}]"), found)?);
    }
    if checks.len() > 1 {
        // Older Envoys take one of a cluster only, newer ones want names for more.
        let words =
            "Envoy makes one health check of a service; the first is in force, others are not";
        found.error(format!("{path}[1]"), words).hint("keep the one that says most");
        checks.truncate(1);
    }
    Some(checks)
}

impl HealthCheckSpec {
    fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<HealthCheck> {
        let timeout_ms = read_time(self.timeout.as_deref(), 3000, path, "timeout", found)?;
        let interval_ms = read_time(self.interval.as_deref(), 5000, path, "interval", found)?;
        let at = format!("{path}.health_check");
        let spec = self.health_check.as_ref();
        let probe = match spec.map(|s| (&s.http, &s.grpc)).unwrap_or((&None, &None)) {
            (Some(http), None) => http.read(&format!("{at}.http"), found)?,
            (None, Some(grpc)) => grpc.read(&format!("{at}.grpc"), found)?,
            _ => {
                found.error(at, "a health check is either http or grpc").hint("write one of them");
                return None;
            }
        };
        Some(HealthCheck {
            timeout_ms,
            interval_ms,
            // Zero is what converted objects have for unset.
            unhealthy_threshold: self.unhealthy_threshold.filter(|n| *n > 0).unwrap_or(2),
            healthy_threshold: self.healthy_threshold.filter(|n| *n > 0).unwrap_or(1),
            probe,
        })
    }
}

/// A time of at least a millisecond.
fn read_time(
    text: Option<&str>,
    default_ms: u64,
    path: &str,
    field: &str,
    found: &mut Diagnostics<'_>,
) -> Option<u64> {
    let Some(text) = text.filter(|t| !t.is_empty()) else { return Some(default_ms) };
    let path = format!("{path}.{field}");
    match go::parse_duration(text) {
        Ok(time) => {
            let ms = u64::try_from(time.as_millis()).ok().filter(|ms| (1..1 << 31).contains(ms));
            if ms.is_none() {
                found.error(path, format!("`{text}` is no time to wait")).hint("as in 3s or 500ms");
            }
            ms
        }
        Err(why) => {
            found.error(path, why.to_string()).hint("as in 3s or 500ms");
            None
        }
    }
}

impl HttpSpec {
    fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Probe> {
        if !self.path.starts_with('/') {
            found.error(format!("{path}.path"), "a path starts with a slash");
            return None;
        }
        let host = self.hostname.clone().filter(|h| !h.is_empty());
        for (field, value) in [("path", Some(&self.path)), ("hostname", host.as_ref())] {
            if let Some(Err(why)) = value.map(|v| header::check_value(v)) {
                found.error(format!("{path}.{field}"), why);
                return None;
            }
        }
        let add = match &self.add_request_headers {
            None => Vec::new(),
            Some(add) => read_added(add, &format!("{path}.add_request_headers"), found)?,
        };
        let remove = match &self.remove_request_headers {
            None => Vec::new(),
            Some(names) => read_removed(names, &format!("{path}.remove_request_headers"), found)?,
        };
        let mut statuses = Vec::new();
        for (i, range) in self.expected_statuses.iter().flatten().enumerate() {
            if !(100..=range.max).contains(&range.min) || range.max > 599 {
                let path = format!("{path}.expected_statuses[{i}]");
                let text =
                    format!("{} to {} are no statuses; they are left out", range.min, range.max);
                found
                    .error(path, text)
                    .hint("min is at least 100, max at least min and at most 599");
                continue;
            }
            statuses.push((range.min, range.max));
        }
        Some(Probe::Http { path: self.path.clone(), host, add, remove, statuses })
    }
}

impl GrpcSpec {
    fn read(&self, path: &str, found: &mut Diagnostics<'_>) -> Option<Probe> {
        let authority = self.authority.clone().filter(|a| !a.is_empty());
        for (field, value) in
            [("upstream_name", Some(&self.upstream_name)), ("authority", authority.as_ref())]
        {
            if let Some(Err(why)) = value.map(|v| header::check_value(v)) {
                found.error(format!("{path}.{field}"), why);
                return None;
            }
        }
        Some(Probe::Grpc { service: self.upstream_name.clone(), authority })
    }
}
