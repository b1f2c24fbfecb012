//! Keeps the CA in a ValidatingWebhookConfiguration, so that the API server trusts our webhook.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use service_kit::server::shutdown::Shutdown;
use tokio::sync::watch;

use super::watch::words;

/// How often it is looked at; one patch of a chart may have taken it out.
const LOOK: Duration = Duration::from_secs(30);

/// Looks after the configuration `name` while `leads`, until `shutdown`.
pub async fn keep_ca(
    client: Client,
    name: String,
    ca: PathBuf,
    mut leads: watch::Receiver<bool>,
    shutdown: Shutdown,
) {
    loop {
        if *leads.borrow_and_update()
            && let Err(why) = write(&client, &name, &ca).await
        {
            tracing::error!("webhook configuration {name}: {why}; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = leads.changed() => if changed.is_err() { return },
            () = shutdown.wait() => return,
        }
    }
}

async fn write(client: &Client, name: &str, ca: &PathBuf) -> Result<(), String> {
    let bundle = tokio::fs::read(ca).await.map_err(|e| format!("{}: {e}", ca.display()))?;
    let bundle = Some(ByteString(bundle));
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mut configuration = api.get(name).await.map_err(|e| words(&e))?;
    let mut changed = false;
    for webhook in configuration.webhooks.iter_mut().flatten() {
        if webhook.client_config.ca_bundle != bundle {
            webhook.client_config.ca_bundle.clone_from(&bundle);
            changed = true;
        }
    }
    if !changed {
        return Ok(());
    }
    match api.replace(name, &PostParams::default(), &configuration).await {
        Ok(_) => tracing::info!("webhook configuration {name}: new CA"),
        // Somebody else wrote it; next time.
        Err(Error::Api(status)) if status.code == 409 => {}
        Err(e) => return Err(words(&e)),
    }
    Ok(())
}
