//! Numbers about the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway_core::ResourceType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use service_kit::{Diagnostic, ObjectRef, Severity};

use crate::xds::Snapshot;
use crate::xds::snapshot::word;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeverityLabel {
    severity: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// The handles; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    changes: Counter,
    apply: Histogram,
    resources: Family<TypeLabel, Gauge>,
    diagnostics: Family<SeverityLabel, Gauge>,
    with_errors: Family<KindLabel, Gauge>,
    status_writes: Family<ResultLabel, Counter>,
    /// Under the names that dashboards of Emissary know.
    errors: Gauge,
    notices: Gauge,
}

impl Metrics {
    /// Counts a write of an object's status.
    pub fn status_written(&self, well: bool) {
        let result = if well { "ok" } else { "failed" };
        self.status_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Puts the metrics into `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            changes: Counter::default(),
            apply: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            resources: Family::default(),
            diagnostics: Family::default(),
            with_errors: Family::default(),
            status_writes: Family::default(),
            errors: Gauge::default(),
            notices: Gauge::default(),
        };
        registry.register(
            "tollgate_config_changes",
            "Changes of the configuration",
            metrics.changes.clone(),
        );
        registry.register(
            "tollgate_config_apply_seconds",
            "From noticing a change to the resources made of it",
            metrics.apply.clone(),
        );
        registry.register("tollgate_resources", "Resources in force", metrics.resources.clone());
        registry.register(
            "tollgate_diagnostics",
            "What is wrong with the configuration now",
            metrics.diagnostics.clone(),
        );
        registry.register(
            "tollgate_objects_with_errors",
            "Objects of which something is not in force, by kind; a kind without one is left out",
            metrics.with_errors.clone(),
        );
        registry.register(
            "tollgate_status_writes",
            "Writes of the status of objects",
            metrics.status_writes.clone(),
        );
        metrics.register_as_emissary(registry);
        metrics
    }

    fn register_as_emissary(&self, registry: &mut Registry) {
        registry.register(
            "ambassador_diagnostics_errors",
            "As tollgate_diagnostics, of errors",
            self.errors.clone(),
        );
        registry.register(
            "ambassador_diagnostics_notices",
            "As tollgate_diagnostics, of warnings and notices",
            self.notices.clone(),
        );
        registry.register(
            "ambassador_reconfiguration_time_seconds",
            "As tollgate_config_apply_seconds",
            self.apply.clone(),
        );
    }

    pub(crate) fn applied(&self, took: Duration) {
        self.changes.inc();
        self.apply.observe(took.as_secs_f64());
    }

    pub(crate) fn in_force(&self, snapshot: &Snapshot) {
        for resource_type in ResourceType::ALL {
            let count = i64::try_from(snapshot.of(resource_type).len()).unwrap_or(i64::MAX);
            self.resources.get_or_create(&TypeLabel { r#type: word(resource_type) }).set(count);
        }
    }

    pub(crate) fn found(&self, diagnostics: &[Diagnostic]) {
        let mut with_errors: BTreeMap<&str, BTreeSet<&ObjectRef>> = BTreeMap::new();
        for d in diagnostics.iter().filter(|d| d.severity == Severity::Error) {
            with_errors.entry(&d.object.kind).or_default().insert(&d.object);
        }
        self.with_errors.clear();
        // What is nobody's has no kind.
        for (kind, objects) in with_errors.into_iter().filter(|(kind, _)| !kind.is_empty()) {
            let label = KindLabel { kind: kind.to_owned() };
            let count = i64::try_from(objects.len()).unwrap_or(i64::MAX);
            self.with_errors.get_or_create(&label).set(count);
        }
        let count = |severity| {
            let of_it = diagnostics.iter().filter(|d| d.severity == severity).count();
            i64::try_from(of_it).unwrap_or(i64::MAX)
        };
        let all @ [errors, warnings, notices] =
            [Severity::Error, Severity::Warning, Severity::Notice].map(|s| (s, count(s)));
        for (severity, count) in all {
            let label = SeverityLabel { severity: severity.to_string() };
            self.diagnostics.get_or_create(&label).set(count);
        }
        self.errors.set(errors.1);
        self.notices.set(warnings.1.saturating_add(notices.1));
    }
}
