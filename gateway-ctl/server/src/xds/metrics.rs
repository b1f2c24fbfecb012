//! Numbers about pushes and answers.

use std::time::Duration;

use gateway_core::ResourceType;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::clients::ClientKind;
use super::snapshot::word;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClientLabel {
    client: &'static str,
}

/// The handles; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    pushes: Family<TypeLabel, Counter>,
    acknowledged: Family<TypeLabel, Counter>,
    refused: Family<TypeLabel, Counter>,
    clients: Family<ClientLabel, Gauge>,
    convergence: Family<ClientLabel, Histogram>,
}

impl Metrics {
    /// Puts the metrics into `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            pushes: Family::default(),
            acknowledged: Family::default(),
            refused: Family::default(),
            clients: Family::default(),
            convergence: Family::new_with_constructor(|| {
                Histogram::new([
                    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ])
            }),
        };
        registry.register("tollgate_xds_pushes", "Responses sent", metrics.pushes.clone());
        registry.register(
            "tollgate_xds_acks",
            "Responses that clients acknowledged",
            metrics.acknowledged.clone(),
        );
        registry.register(
            "tollgate_xds_nacks",
            "Responses that clients refused",
            metrics.refused.clone(),
        );
        registry.register("tollgate_xds_clients", "Connected clients", metrics.clients.clone());
        registry.register(
            "tollgate_xds_convergence_seconds",
            "From a change to its acknowledgement by one client",
            metrics.convergence.clone(),
        );
        metrics
    }

    pub(super) fn pushed(&self, resource_type: ResourceType) {
        self.pushes.get_or_create(&TypeLabel { r#type: word(resource_type) }).inc();
    }

    pub(super) fn acknowledged(&self, resource_type: ResourceType) {
        self.acknowledged.get_or_create(&TypeLabel { r#type: word(resource_type) }).inc();
    }

    pub(super) fn refused(&self, resource_type: ResourceType) {
        self.refused.get_or_create(&TypeLabel { r#type: word(resource_type) }).inc();
    }

    pub(super) fn connected(&self, kind: ClientKind, by: i64) {
        self.clients.get_or_create(&ClientLabel { client: kind.word() }).inc_by(by);
    }

    pub(super) fn converged(&self, kind: ClientKind, after: Duration) {
        self.convergence
            .get_or_create(&ClientLabel { client: kind.word() })
            .observe(after.as_secs_f64());
    }
}
