//! Which replica leads: the holder of a Lease.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use service_kit::server::shutdown::Shutdown;
use tokio::sync::watch;

use super::Options;
use super::watch::words;

/// A leader that is gone without a word is followed by another after this many seconds.
const DURATION: u64 = 15;
/// Seconds before that when the leader renews.
const GRACE: u64 = 5;
/// Wait before the API server is asked again for the Lease.
const AGAIN: Duration = Duration::from_secs(2);
/// The Lease is given back when the process ends, unless that takes longer.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Tries to lead for as long as the process runs. The task ends when the Lease is given back.
pub fn lead(
    client: Client,
    options: &Options,
    shutdown: Shutdown,
) -> (watch::Receiver<bool>, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = watch::channel(false);
    let options = options.clone();
    let task = tokio::spawn(async move {
        while !shutdown.is_triggered() {
            let built = LeaseManagerBuilder::new(client.clone(), &options.lease)
                .with_namespace(&options.namespace)
                .with_identity(&options.identity)
                .with_field_manager(format!("gateway-ctl-{}", options.identity))
                .with_duration(DURATION)
                .with_grace(GRACE)
                .build()
                .await;
            let ended = match built {
                Ok(manager) => {
                    let (mut leads, mut task) = manager.watch().await;
                    loop {
                        tokio::select! {
                            changed = leads.changed() => match changed {
                                Ok(()) => {
                                    let leads = *leads.borrow_and_update();
                                    tracing::info!(lease = options.lease, leads, "leadership");
                                    sender.send_replace(leads);
                                }
                                Err(_) => break,
                            },
                            ended = &mut task => {
                                if let Ok(Err(e)) = ended {
                                    tracing::warn!("lease {}: {}", options.lease, words(&e));
                                }
                                break;
                            }
                            () = shutdown.wait() => {
                                drop(leads);
                                // Another leads sooner when it is given back; if not, it waits.
                                let _ = tokio::time::timeout(GIVE_BACK, task).await;
                                return;
                            }
                        }
                    }
                    "it ended".to_owned()
                }
                Err(e) => words(&e),
            };
            sender.send_replace(false);
            tracing::warn!("lease {} cannot be held: {ended}; trying again", options.lease);
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = shutdown.wait() => {}
            }
        }
    });
    (receiver, task)
}
