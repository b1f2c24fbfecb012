//! `grpc.health.v1`, which says what [`Readiness`] says.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::super::admin::Readiness;
use super::super::shutdown::Shutdown;

/// How often readiness is looked at, for health.
const LOOK: Duration = Duration::from_millis(100);

/// What health is told, and under which names.
pub(super) struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
}

impl Health {
    /// Of "" and `services`.
    pub(super) fn new(reporter: HealthReporter, services: Vec<String>) -> Self {
        let names = std::iter::once(String::new()).chain(services).collect();
        Self { reporter, names }
    }

    /// Tells all names.
    pub(super) async fn tell(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }

    /// Tells what `ready` says, and no from `shutdown` on. Never ends.
    pub(super) async fn follow(self, ready: Readiness, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(LOOK);
        let mut told = None;
        while !shutdown.is_triggered() {
            let serving = ready.is_ready();
            if told != Some(serving) {
                self.tell(serving).await;
                told = Some(serving);
            }
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.wait() => {}
            }
        }
        self.tell(false).await;
        std::future::pending::<()>().await;
    }
}
