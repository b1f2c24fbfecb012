//! Renews certificates for as long as this replica leads.

use std::time::Duration;

use kube::Client;
use service_kit::server::shutdown::Shutdown;
use tokio::sync::watch;

use super::{Wanted, ensure_all};

/// How often certificates are looked at. They are renewed weeks before they expire.
const LOOK: Duration = Duration::from_secs(3600);

/// Looks after `wanted` while `leads`, until `shutdown`.
pub async fn keep(
    client: Client,
    wanted: Wanted,
    mut leads: watch::Receiver<bool>,
    shutdown: Shutdown,
) {
    loop {
        if *leads.borrow_and_update() {
            match ensure_all(&client, &wanted).await {
                Ok(done) => done.iter().for_each(|line| tracing::info!("{line}")),
                Err(why) => tracing::error!("certificates: {why}; trying again in an hour"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = leads.changed() => if changed.is_err() { return },
            () = shutdown.wait() => return,
        }
    }
}
