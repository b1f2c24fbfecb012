//! Secret resources: the certificates and authorities that Listeners and clusters name.

use std::collections::{BTreeMap, BTreeSet};

use service_kit::{Diagnostic, ObjectRef, Severity};

use super::clusters::{Clusters, MAX_OWNERS};
use super::publish::Published;
use crate::certificate::Validity;
use crate::envoy;
use crate::envoy::secret::{Pem, Spelling};
use crate::ir::tls::{Place, SecretUse};
use crate::lower::binding::{Binding, Content};
use crate::lower::tls::secret_tls;
use crate::output::{Resource, ResourceType};
use crate::resource::SecretTls;
use crate::store::Store;

/// Who needs which certificates.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    wanted: BTreeMap<SecretUse, BTreeSet<ObjectRef>>,
    /// Those that Envoy was asked for again, by their names.
    spellings: BTreeMap<String, Spelling>,
    /// Seconds since the Unix epoch, as far as that was told.
    now: Option<i64>,
    found: Vec<Diagnostic>,
}

impl Secrets {
    /// Tells the time; gives whether something else is wrong now.
    pub(super) fn set_time(&mut self, store: &Store, now: i64) -> bool {
        self.now = Some(now);
        self.look_at_validity(store)
    }

    /// Makes what is needed, and by whom, exactly this, and publishes it, also where only the contents
    /// of Secrets changed. Gives how many secrets that were, and whether something else is wrong now.
    pub(super) fn settle(
        &mut self,
        wanted: BTreeMap<SecretUse, BTreeSet<ObjectRef>>,
        contents_changed: bool,
        store: &Store,
        published: &mut Published,
    ) -> (usize, bool) {
        if !contents_changed && wanted == self.wanted {
            return (0, false);
        }
        for gone in self.wanted.keys().filter(|w| !wanted.contains_key(w)) {
            let name = gone.name();
            published.remove(ResourceType::Secret, &name);
            self.spellings.remove(&name);
        }
        self.wanted = wanted;
        let mut lowered = 0;
        for (secret, users) in &self.wanted {
            // Whoever needs a Secret that is not there or not right is not in force.
            let Some(resource) = self.resource(secret, users, store) else { continue };
            lowered += 1;
            published.put(resource, Vec::new());
        }
        (lowered, self.look_at_validity(store))
    }

    fn resource(
        &self,
        secret: &SecretUse,
        users: &BTreeSet<ObjectRef>,
        store: &Store,
    ) -> Option<Resource> {
        let name = secret.name();
        let spelling = self.spellings.get(&name).copied().unwrap_or_default();
        let body = encode(&name, secret, store, spelling)?;
        let owners = secret.secrets().chain(users).cloned().collect();
        let version = envoy::version(&body);
        let resource_type = ResourceType::Secret;
        Some(Resource { resource_type, name, version, body: body.into(), owners })
    }

    /// Whether a secret is made of files of Envoy's disk, so that what was refused may be right later.
    pub(super) fn is_of_files(&self, name: &str) -> bool {
        self.wanted.keys().any(|secret| secret.is_of_files() && secret.name() == name)
    }

    /// A secret of files ([`Self::is_of_files`]) in the spelling that it did not have last.
    pub(super) fn respell(&mut self, name: &str, store: &Store) -> Option<Resource> {
        self.respelled(name);
        let (secret, users) = self.wanted.iter().find(|(secret, _)| secret.name() == name)?;
        self.resource(secret, users, store)
    }

    /// The spelling that a secret did not have last; from now on it has this one.
    pub(super) fn respelled(&mut self, name: &str) -> Spelling {
        let spelling = self.spellings.entry(name.to_owned()).or_default();
        *spelling = spelling.other();
        *spelling
    }

    fn look_at_validity(&mut self, store: &Store) -> bool {
        let Some(now) = self.now else { return false };
        let mut found = Vec::new();
        for (secret, users) in &self.wanted {
            for (part, validity) in validities(secret, store) {
                let what = if now > *validity.end() {
                    "has expired"
                } else if now < *validity.start() {
                    "is not valid yet"
                } else {
                    continue;
                };
                let (name, namespace) = (&part.name, &part.namespace);
                for user in users {
                    let text = format!(
                        "what Secret `{name}` of namespace `{namespace}` has for TLS {what}; it is used all the same"
                    );
                    let mut d = Diagnostic::new(Severity::Warning, user.clone(), "spec", text);
                    d.hint("renew it; the new one is taken without a restart");
                    found.push(d);
                }
            }
        }
        found.sort();
        found.dedup();
        let changed = self.found != found;
        self.found = found;
        changed
    }

    /// What is wrong.
    pub(super) fn found(&self) -> &[Diagnostic] {
        &self.found
    }
}

/// Which secrets Listeners and clusters name, and for whom.
pub(super) fn wanted(
    bindings: &BTreeMap<ObjectRef, Binding>,
    clusters: &Clusters,
) -> BTreeMap<SecretUse, BTreeSet<ObjectRef>> {
    let mut wanted: BTreeMap<SecretUse, BTreeSet<ObjectRef>> = BTreeMap::new();
    for (reference, binding) in bindings {
        for chain in &binding.chains {
            let users: Vec<&ObjectRef> = match &chain.content {
                Content::Http(table) => table.hosts.values().map(|(host, _)| host).collect(),
                Content::Tcp(group) => vec![&group.first],
            };
            // The default Host is nobody's object.
            let users = users.into_iter().map(|u| if u.name.is_empty() { reference } else { u });
            let tls = chain
                .tls
                .iter()
                .flat_map(|tls| std::iter::once(&tls.certificate).chain(tls.authorities.as_ref()));
            for secret in tls {
                wanted.entry(secret.clone()).or_default().extend(users.clone().cloned());
            }
        }
    }
    for (_, cluster, owners) in clusters.iter() {
        let tls = cluster
            .tls
            .iter()
            .flat_map(|tls| tls.certificate.iter().chain(tls.authorities.as_ref()));
        for secret in tls {
            let users = owners.iter().take(MAX_OWNERS).cloned();
            wanted.entry(secret.clone()).or_default().extend(users);
        }
    }
    wanted
}

fn encode(name: &str, secret: &SecretUse, store: &Store, spelling: Spelling) -> Option<Vec<u8>> {
    match secret {
        SecretUse::Certificate(reference) => {
            let (identity, _) = tls_of(store, reference)?.identity.as_ref()?.as_ref().ok()?;
            Some(envoy::secret::certificate(name, &identity.chain, identity.key.expose()))
        }
        SecretUse::Files { chain, key } => {
            Some(envoy::secret::certificate_files(name, chain, key, spelling))
        }
        SecretUse::Authorities { ca, revoked } => {
            let ca = match ca {
                Place::Secret(r) => {
                    Pem::Text(&tls_of(store, r)?.authorities.as_ref()?.as_ref().ok()?.0)
                }
                Place::File(path) => Pem::File(path),
            };
            let revoked = match revoked {
                None => None,
                Some(Place::Secret(r)) => {
                    Some(Pem::Text(&tls_of(store, r)?.revoked.as_ref()?.as_ref().ok()?.0))
                }
                Some(Place::File(path)) => Some(Pem::File(path)),
            };
            Some(envoy::secret::authorities(name, ca, revoked, spelling))
        }
    }
}

fn tls_of<'a>(store: &'a Store, secret: &ObjectRef) -> Option<&'a SecretTls> {
    secret_tls(store.good(secret).map(AsRef::as_ref))
}

/// When the parts of a secret are valid, by the Kubernetes Secret that has them.
fn validities<'a>(secret: &'a SecretUse, store: &'a Store) -> Vec<(&'a ObjectRef, &'a Validity)> {
    let mut all = Vec::new();
    match secret {
        SecretUse::Files { .. } => {}
        SecretUse::Certificate(r) => {
            let tls = tls_of(store, r);
            if let Some(Ok((_, validity))) = tls.and_then(|t| t.identity.as_ref()) {
                all.push((r, validity));
            }
        }
        SecretUse::Authorities { ca, revoked } => {
            if let Some(r) = ca.secret()
                && let Some(Ok((_, validity))) =
                    tls_of(store, r).and_then(|t| t.authorities.as_ref())
            {
                all.push((r, validity));
            }
            if let Some(r) = revoked.as_ref().and_then(Place::secret)
                && let Some(Ok((_, validity))) = tls_of(store, r).and_then(|t| t.revoked.as_ref())
            {
                all.push((r, validity));
            }
        }
    }
    all
}
