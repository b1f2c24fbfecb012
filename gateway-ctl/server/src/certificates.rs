//! Certificates between the parts of an installation, in Secrets that are mounted to them.

mod authority;
mod keep;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::{Client, Error};

pub use authority::Leaf;
use authority::{Authority, Data};
pub use keep::keep;

use crate::kubernetes;
use crate::output::note;

/// Says that a Secret is ours to write.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGER: &str = "gateway-ctl";
/// How often a Secret is tried that others write at the same time.
const TRIES: usize = 5;

/// Make or renew the certificates between the parts of an installation
///
/// Makes a CA and one certificate for each --secret, as Secrets with tls.crt, tls.key and ca.crt.
/// What is there and lasts is left alone. A Secret that somebody else made is never written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  gateway-ctl certificates --namespace tollgate --ca-secret tollgate-ca \\\n    --secret tollgate-authz-tls=tollgate-authz,tollgate-authz.tollgate.svc"
)]
pub struct Args {
    /// Where the Secrets are
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// The Secret of the CA
    #[arg(long, value_name = "NAME")]
    ca_secret: String,
    /// A Secret and the DNS names of who uses it; may be given several times
    #[arg(long = "secret", value_name = "NAME=DNS,…", required = true, value_parser = Leaf::parse)]
    secrets: Vec<Leaf>,
}

/// What certificates there are to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the Secrets are.
    pub namespace: String,
    /// The Secret of the CA.
    pub ca_secret: String,
    /// The others.
    pub leaves: Vec<Leaf>,
}

/// Makes sure of them once.
///
/// # Errors
/// One line: which Secret, and why.
pub async fn ensure(args: Args) -> Result<(), String> {
    let wanted =
        Wanted { namespace: args.namespace, ca_secret: args.ca_secret, leaves: args.secrets };
    let client = kubernetes::connect().await?;
    for line in ensure_all(&client, &wanted).await? {
        note(line);
    }
    Ok(())
}

/// Makes sure of all of them; gives what was done, in words.
pub(super) async fn ensure_all(client: &Client, wanted: &Wanted) -> Result<Vec<String>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &wanted.namespace);
    let mut done = Vec::new();
    let now = jiff::Timestamp::now().as_second();
    let mut authority = None;
    let made = write(&api, &wanted.ca_secret, |found| {
        let (data, kept) = Authority::ensure(found, now)?;
        authority = Some(kept);
        Ok(data)
    });
    done.extend(made.await?);
    let Some(authority) = authority else { return Err("there is no CA".to_owned()) };
    for leaf in &wanted.leaves {
        let made = write(&api, &leaf.secret, |found| authority.ensure_leaf(leaf, found, now));
        done.extend(made.await?);
    }
    Ok(done)
}

/// Writes what `decide` makes of a Secret (nothing, when it is well), again and again when others
/// write it, too. Gives what was done.
async fn write(
    api: &Api<Secret>,
    name: &str,
    mut decide: impl FnMut(Option<&Data>) -> Result<Option<Data>, String>,
) -> Result<Option<String>, String> {
    let failed = |e: Error| format!("Secret {name}: {}", kubernetes::words(&e));
    for _ in 0..TRIES {
        let found = api.get_opt(name).await.map_err(failed)?;
        let data = found.as_ref().map(Data::of);
        let Some(wanted) = decide(data.as_ref()).map_err(|e| format!("Secret {name}: {e}"))? else {
            return Ok(None);
        };
        let mut secret = found.unwrap_or_default();
        let is_new = secret.metadata.name.is_none();
        let labels = secret.metadata.labels.get_or_insert_default();
        if !is_new && labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
            return Ok(Some(format!(
                "Secret {name} is not made by gateway-ctl and is left alone, although its certificate should be renewed; renew it, or delete it to have one made"
            )));
        }
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        secret.metadata.name = Some(name.to_owned());
        secret.type_ = secret.type_.or(Some("kubernetes.io/tls".to_owned()));
        wanted.put_into(&mut secret);
        let parameters = PostParams::default();
        let written = if is_new {
            api.create(&parameters, &secret).await
        } else {
            api.replace(name, &parameters, &secret).await
        };
        match written {
            Ok(_) if is_new => return Ok(Some(format!("Secret {name}: made"))),
            Ok(_) => return Ok(Some(format!("Secret {name}: renewed"))),
            Err(Error::Api(status)) if status.code == 409 => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Err(format!("Secret {name}: somebody else writes it all the time"))
}
