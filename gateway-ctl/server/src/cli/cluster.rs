//! The flags of `serve` in a cluster.

use clap::{ArgAction, Args};

use super::{EngineArgs, read_flag};
use crate::{certificates, kubernetes};

/// Which objects of a cluster are read, and where results are written.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct ClusterArgs {
    /// Namespaces whose objects are read [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Read only the gateway's own namespace
    #[arg(long, env = "AMBASSADOR_SINGLE_NAMESPACE", value_parser = read_flag, action = ArgAction::Set, num_args = 0..=1, default_value = "false", default_missing_value = "true", value_name = "BOOL")]
    single_namespace: bool,
    /// Read only objects that have these labels
    #[arg(long, env = "AMBASSADOR_LABEL_SELECTOR", value_name = "SELECTOR")]
    label_selector: Option<String>,
    /// Read only objects that have these fields
    #[arg(long, env = "AMBASSADOR_FIELD_SELECTOR", value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Read only RateLimit, Filter and FilterPolicy: another controller is the gateway
    #[arg(long)]
    services_only: bool,
    /// The Service of the gateway's Envoys in the own namespace; its addresses go into the status
    /// of Hosts
    #[arg(long, value_name = "NAME")]
    gateway_service: Option<String>,
    /// The Lease in the own namespace whose holder writes status
    #[arg(long, default_value = "gateway-ctl", value_name = "NAME")]
    lease: String,
    /// A name that has the addresses of all replicas, and the port of their --admin-addr: `Programmed`
    /// then counts the Envoys of all of them
    #[arg(long, value_name = "HOST:PORT")]
    peers: Option<String>,
    /// The Secret of the CA of the --certificate Secrets, which the replica that leads renews
    #[arg(long, value_name = "NAME", requires = "certificates")]
    certificates_ca_secret: Option<String>,
    /// A Secret with a certificate in the own namespace, and the DNS names of who uses it; may be
    /// given several times
    #[arg(id = "certificates", long = "certificate", value_name = "NAME=DNS,…", value_parser = certificates::Leaf::parse, requires = "certificates_ca_secret")]
    certificates: Vec<certificates::Leaf>,
    /// The ValidatingWebhookConfiguration that is given the CA of --tls-dir
    #[arg(long, value_name = "NAME")]
    webhook_configuration: Option<String>,
    /// This replica's name [default: the host's name]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
}

impl ClusterArgs {
    /// What it comes to, with whom the objects are for.
    pub(super) fn options(self, engine: &EngineArgs) -> kubernetes::Options {
        let namespaces = if self.single_namespace {
            vec![engine.namespace.clone()]
        } else {
            self.watch_namespaces
        };
        let some = |text: Option<String>| text.filter(|t| !t.is_empty());
        kubernetes::Options {
            namespaces: namespaces.into_iter().filter(|n| !n.is_empty()).collect(),
            labels: some(self.label_selector),
            fields: some(self.field_selector),
            services_only: self.services_only,
            namespace: engine.namespace.clone(),
            ambassador_id: engine.ambassador_id.clone(),
            lease: self.lease,
            peers: some(self.peers),
            certificates: self.certificates_ca_secret.map(|ca_secret| certificates::Wanted {
                namespace: engine.namespace.clone(),
                ca_secret,
                leaves: self.certificates,
            }),
            webhook_configuration: some(self.webhook_configuration),
            identity: some(self.identity).unwrap_or_else(host_name),
            gateway_service: some(self.gateway_service),
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
