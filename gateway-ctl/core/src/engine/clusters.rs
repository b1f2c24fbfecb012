//! Which objects want which clusters, and what the clusters are called.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service_kit::ObjectRef;

use super::publish::Published;
use crate::envoy;
use crate::ir::Cluster;
use crate::ir::balance::Hosts;
use crate::lower::cluster::{Claim, variant_name};
use crate::output::{Resource, ResourceType};

/// Most objects that are named as a cluster's owners.
pub(super) const MAX_OWNERS: usize = 100;

/// Objects that want one and the same cluster.
#[derive(Debug, Default)]
struct Variant {
    claimants: BTreeSet<ObjectRef>,
    name: String,
}

/// The clusters by base name. Of several with one base name but other settings, the one of the
/// first object has the plain name and the others a hash behind it.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    claims: BTreeMap<ObjectRef, Claim>,
    bases: BTreeMap<String, BTreeMap<Arc<Cluster>, Variant>>,
    dirty: BTreeSet<String>,
    /// Whether other hosts may be wanted than when that was asked for last.
    hosts_changed: bool,
}

impl Clusters {
    /// Sets what an object wants; gives whether that is something else than before.
    pub(super) fn claim(&mut self, object: &ObjectRef, mut claim: Option<Claim>) -> bool {
        if let Some(claim) = claim.as_mut().filter(|c| c.renamed_by_settings) {
            claim.base = variant_name(&claim.base, &envoy::cluster::encode("", &claim.cluster));
        }
        if self.claims.get(object) == claim.as_ref() {
            return false;
        }
        self.hosts_changed = true;
        if let Some(old) = self.claims.remove(object) {
            if let Some(variants) = self.bases.get_mut(&old.base)
                && let Some(variant) = variants.get_mut(&old.cluster)
            {
                variant.claimants.remove(object);
            }
            self.dirty.insert(old.base);
        }
        if let Some(mut new) = claim {
            let variants = self.bases.entry(new.base.clone()).or_default();
            // Who wants the same shares it.
            if let Some((known, _)) = variants.get_key_value(&new.cluster) {
                new.cluster = known.clone();
            }
            let variant = variants.entry(new.cluster.clone()).or_default();
            variant.claimants.insert(object.clone());
            self.dirty.insert(new.base.clone());
            self.claims.insert(object.clone(), new);
        }
        true
    }

    /// Whether other hosts may be wanted since this was asked last.
    pub(super) fn take_hosts_changed(&mut self) -> bool {
        std::mem::take(&mut self.hosts_changed)
    }

    /// The hosts that are wanted; some may come twice.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Hosts> {
        self.bases.values().flatten().filter_map(|(cluster, _)| cluster.endpoints.as_ref())
    }

    /// What an object wants.
    pub(super) fn claim_of(&self, object: &ObjectRef) -> Option<&Claim> {
        self.claims.get(object)
    }

    /// The name of an object's cluster.
    pub(super) fn name_of(&self, object: &ObjectRef) -> Option<&str> {
        let claim = self.claims.get(object)?;
        Some(self.bases.get(&claim.base)?.get(&claim.cluster)?.name.as_str())
    }

    /// Names and publishes what changed. Gives the objects whose cluster has another name now, and
    /// how many clusters were looked at.
    pub(super) fn settle(&mut self, published: &mut Published) -> (BTreeSet<ObjectRef>, usize) {
        let mut renamed = BTreeSet::new();
        let mut lowered = 0;
        for base in std::mem::take(&mut self.dirty) {
            let Some(variants) = self.bases.get_mut(&base) else { continue };
            let old: BTreeSet<String> =
                variants.values().map(|v| v.name.clone()).filter(|n| !n.is_empty()).collect();
            variants.retain(|_, variant| !variant.claimants.is_empty());
            let first = variants.values().filter_map(|v| v.claimants.first()).min().cloned();
            let mut now = BTreeSet::new();
            for (cluster, variant) in variants.iter_mut() {
                lowered += 1;
                let name = if variant.claimants.first() == first.as_ref() {
                    base.clone()
                } else {
                    variant_name(&base, &envoy::cluster::encode("", cluster))
                };
                if variant.name != name {
                    renamed.extend(variant.claimants.iter().cloned());
                    variant.name.clone_from(&name);
                }
                let body = envoy::cluster::encode(&name, cluster);
                let owners: Vec<_> = variant.claimants.iter().take(MAX_OWNERS).cloned().collect();
                let resource = Resource {
                    resource_type: ResourceType::Cluster,
                    version: envoy::version(&body),
                    body: body.into(),
                    name: name.clone(),
                    owners,
                };
                published.put(resource, Vec::new());
                now.insert(name);
            }
            for gone in old.difference(&now) {
                published.remove(ResourceType::Cluster, gone);
            }
            if variants.is_empty() {
                self.bases.remove(&base);
            }
        }
        (renamed, lowered)
    }

    /// Every cluster: its name, what it is, and who uses it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Cluster, &BTreeSet<ObjectRef>)> {
        self.bases
            .values()
            .flatten()
            .map(|(cluster, variant)| (variant.name.as_str(), &**cluster, &variant.claimants))
    }
}
