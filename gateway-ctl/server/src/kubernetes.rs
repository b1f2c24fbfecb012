//! The Kubernetes API: what is watched there, and how its objects become ours. The only part of
//! the programs that talks to it.

mod board;
mod conditions;
pub mod discovery;
pub mod lease;
pub mod object;
pub mod peers;
pub mod source;
pub mod status;
mod watch;
pub mod webhook;

pub(crate) use watch::words;

use crate::certificates::Wanted;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// What of a cluster is looked at, and who looks.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Namespaces of objects; all when empty.
    pub namespaces: Vec<String>,
    /// Label selector of configuration objects.
    pub labels: Option<String>,
    /// Field selector of configuration objects.
    pub fields: Option<String>,
    /// Only the objects of ratelimit-svc and authz-svc: somebody else is the gateway.
    pub services_only: bool,
    /// The controller's own namespace.
    pub namespace: String,
    /// Which objects are for this installation.
    pub ambassador_id: String,
    /// Name of the Lease whose holder writes status.
    pub lease: String,
    /// This replica's name.
    pub identity: String,
    /// Where all replicas are, as `HOST:PORT` of their pages; none when this is the only one.
    pub peers: Option<String>,
    /// Certificates that the leader renews.
    pub certificates: Option<Wanted>,
    /// The ValidatingWebhookConfiguration that the leader writes the CA into.
    pub webhook_configuration: Option<String>,
    /// The Service of the gateway's Envoys, whose addresses go into the status of Hosts.
    pub gateway_service: Option<String>,
}

/// Connects with the pod's service account, or with `KUBECONFIG` (or `~/.kube/config`) outside a
/// cluster. Nothing is asked yet.
///
/// # Errors
/// One line for people.
pub async fn connect() -> Result<Client, String> {
    let how = "set KUBECONFIG, run in a cluster with a service account, or use --config DIR";
    let mut config = match Config::incluster() {
        Ok(config) => config,
        Err(_) => {
            let file = Kubeconfig::read()
                .map_err(|e| format!("no Kubernetes API is known: {e}; {how}"))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|e| format!("the kubeconfig cannot be used: {e}; {how}"))?
        }
    };
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    Client::try_from(config).map_err(|e| format!("the Kubernetes client cannot start: {e}"))
}
