//! What one client wants of one type, what it has, and what is on its way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use gateway_core::{Resource, ResourceType};

use super::snapshot::Resources;

/// A response that was not answered yet.
pub(super) struct InFlight {
    pub(super) nonce: String,
    pub(super) sent_at: Instant,
    pub(super) updates: Vec<Arc<Resource>>,
    pub(super) removals: Vec<Arc<str>>,
    /// Names among `updates` that the client did not have before.
    pub(super) adds: bool,
    /// The wait for its answer was given up once (and logged).
    pub(super) overdue: bool,
}

/// What is left to send, by name.
#[derive(Default)]
pub(super) struct Diff {
    /// New or changed.
    pub(super) updates: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Asked for by name, never sent and not there: the client is told once.
    pub(super) absent: BTreeSet<Arc<str>>,
    /// Sent earlier and no longer in force.
    pub(super) removals: BTreeSet<Arc<str>>,
}

impl Diff {
    /// Whether the client has all that is in force (it may have more).
    pub(super) fn is_made(&self) -> bool {
        self.updates.is_empty() && self.absent.is_empty()
    }
}

/// One client and one type.
pub(super) struct Subscription {
    pub(super) resource_type: ResourceType,
    pub(super) wildcard: bool,
    pub(super) names: BTreeSet<Arc<str>>,
    /// Name to version, as acknowledged.
    pub(super) held: BTreeMap<Arc<str>, Arc<str>>,
    /// Name to the version that this client refused; it is not sent again.
    pub(super) rejected: BTreeMap<Arc<str>, String>,
    pub(super) in_flight: Option<InFlight>,
    /// Parts of a refused response, to find the culprit by halves.
    pub(super) parts: VecDeque<Vec<Arc<Resource>>>,
    /// Removals that wait until nothing can use them, and until when.
    pub(super) doomed: BTreeMap<Arc<str>, Instant>,
    /// The client waits for a first answer, even an empty one.
    pub(super) owes_answer: bool,
    told_absent: BTreeSet<Arc<str>>,
    /// What [`Self::diff`] is the difference to; none when it is to be made from nothing.
    compared: Option<Arc<Resources>>,
    /// Names of which the difference may be another one since.
    unsure: BTreeSet<Arc<str>>,
    diff: Diff,
}

impl Subscription {
    pub(super) fn new(resource_type: ResourceType) -> Self {
        Self {
            resource_type,
            wildcard: false,
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            rejected: BTreeMap::new(),
            in_flight: None,
            parts: VecDeque::new(),
            doomed: BTreeMap::new(),
            owes_answer: false,
            told_absent: BTreeSet::new(),
            compared: None,
            unsure: BTreeSet::new(),
            diff: Diff::default(),
        }
    }

    /// The client's first request of this type: what it has from an earlier stream, what it wants.
    pub(super) fn open(&mut self, versions: BTreeMap<String, String>, names: Vec<String>) {
        // The client of an earlier stream had its first answer then.
        self.owes_answer = versions.is_empty();
        self.held = versions.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        // Envoy's way to ask for all clusters and listeners is to name none.
        let implicit = !matches!(
            self.resource_type,
            ResourceType::Endpoint
                | ResourceType::Secret
                | ResourceType::Extension
                | ResourceType::Route
        );
        self.wildcard = implicit && names.is_empty();
        for name in names {
            if name == "*" {
                self.wildcard = true;
            } else {
                self.names.insert(name.into());
            }
        }
        if !self.wildcard {
            self.owes_answer = false;
            self.held.retain(|name, _| self.names.contains(name));
        }
    }

    /// Later requests. A name that is asked for again is sent again, as the protocol wants.
    pub(super) fn subscribe(&mut self, names: Vec<String>) {
        for name in names {
            if name == "*" {
                self.wildcard = true;
                self.compared = None;
                continue;
            }
            let name: Arc<str> = name.into();
            self.unsure.insert(name.clone());
            self.held.remove(&name);
            self.rejected.remove(&name);
            self.told_absent.remove(&name);
            self.names.insert(name);
        }
    }

    pub(super) fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            self.unsure.insert(name.as_str().into());
            if name == "*" {
                self.wildcard = false;
                self.compared = None;
                self.held.retain(|name, _| self.names.contains(name));
            } else {
                self.names.remove(name.as_str());
                if !self.wildcard {
                    self.held.remove(name.as_str());
                }
            }
        }
    }

    /// Takes the answer to a response: everything in it is the client's now.
    pub(super) fn acknowledge(&mut self, sent: &InFlight) {
        for resource in &sent.updates {
            // It may have unsubscribed meanwhile.
            if self.wants(&resource.name) {
                let name: Arc<str> = resource.name.as_str().into();
                self.unsure.insert(name.clone());
                self.held.insert(name, resource.version.as_str().into());
            }
        }
        self.forget(&sent.removals);
    }

    /// The client no longer has these.
    pub(super) fn forget(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.unsure.insert(name.clone());
            self.held.remove(name);
            if self.names.contains(name) {
                self.told_absent.insert(name.clone());
            }
        }
    }

    /// Makes the client's version of `name` unknown, so that it is sent again, also when it is on
    /// its way already.
    pub(super) fn resend(&mut self, name: &str) {
        if let Some(sent) = &mut self.in_flight {
            sent.updates.retain(|resource| resource.name != name);
        }
        if let Some((name, _)) = self.held.remove_entry(name) {
            self.unsure.insert(name);
        }
    }

    pub(super) fn reject(&mut self, resource: &Resource) {
        let name: Arc<str> = resource.name.as_str().into();
        self.unsure.insert(name.clone());
        self.rejected.insert(name, resource.version.clone());
    }

    /// Whether the client keeps an older version than the one in force because it refused it.
    pub(super) fn is_disputed(&self, now: &Resources) -> bool {
        self.rejected
            .iter()
            .any(|(name, version)| now.get(name).is_some_and(|r| r.version == *version))
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn needs(&self, resource: &Resource) -> bool {
        self.held.get(resource.name.as_str()).is_none_or(|v| **v != *resource.version)
            && self.rejected.get(resource.name.as_str()) != Some(&resource.version)
    }

    /// What the client lacks of `now`. Only what may have changed since it was asked last is looked
    /// at again.
    pub(super) fn diff(&mut self, now: &Arc<Resources>) -> &Diff {
        match &self.compared {
            Some(seen) if Arc::ptr_eq(seen, now) => {}
            Some(seen) => self.unsure.extend(seen.differing(now)),
            None => {
                self.diff = Diff::default();
                self.unsure.extend(self.held.keys().chain(&self.names).cloned());
                if self.wildcard {
                    self.unsure.extend(now.iter().map(|(name, _)| name.clone()));
                }
            }
        }
        self.compared = Some(now.clone());
        for name in std::mem::take(&mut self.unsure) {
            self.compare(name, now);
        }
        &self.diff
    }

    fn compare(&mut self, name: Arc<str>, now: &Resources) {
        self.diff.updates.remove(&name);
        self.diff.absent.remove(&name);
        self.diff.removals.remove(&name);
        let Some(resource) = now.get(&name) else {
            self.rejected.remove(&name);
            if self.held.contains_key(&name) {
                self.diff.removals.insert(name);
            } else if self.names.contains(&name) && !self.told_absent.contains(&name) {
                self.diff.absent.insert(name);
            }
            return;
        };
        self.told_absent.remove(&name);
        if self.rejected.get(&name).is_some_and(|version| *version != resource.version) {
            self.rejected.remove(&name);
        }
        if self.wants(&name) && self.needs(resource) {
            self.diff.updates.insert(name, resource.clone());
        }
    }

    /// The next part of a refused response that is still worth sending.
    pub(super) fn next_part(&mut self, now: &Resources) -> Option<Vec<Arc<Resource>>> {
        while let Some(part) = self.parts.pop_front() {
            let part: Vec<_> = part
                .into_iter()
                .filter(|r| now.get(&r.name).is_some_and(|n| n.version == r.version))
                .filter(|r| self.needs(r) && self.wants(&r.name))
                .collect();
            if !part.is_empty() {
                return Some(part);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::Snapshot;
    use gateway_core::Output;

    /// The same numbers each time.
    struct Dice(u64);

    impl Dice {
        fn throw(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % sides
        }

        fn name(&mut self) -> String {
            format!("r{}", self.throw(12))
        }
    }

    fn resource(name: String, version: u64) -> Resource {
        Resource {
            resource_type: ResourceType::Cluster,
            name,
            version: version.to_string(),
            body: bytes::Bytes::new(),
            owners: Vec::new(),
        }
    }

    /// Whatever happened, what is left is what a look at everything finds.
    #[test]
    fn what_is_left_is_followed_change_by_change() {
        let mut dice = Dice(7);
        for round in 0..200 {
            let mut snapshot = Snapshot::empty(Instant::now());
            let mut subscription = Subscription::new(ResourceType::Cluster);
            let names = if round % 2 == 0 { vec![] } else { vec![dice.name(), dice.name()] };
            subscription.open(BTreeMap::from([(dice.name(), "1".to_owned())]), names);
            for _ in 0..40 {
                let name = dice.name();
                match dice.throw(8) {
                    0..3 => {
                        let mut output = Output::default();
                        if dice.throw(4) == 0 {
                            output.removed.push((ResourceType::Cluster, name));
                        } else {
                            output.changed.push(resource(name, dice.throw(3)));
                        }
                        snapshot = snapshot.with(output, Instant::now());
                    }
                    3 => subscription.subscribe(vec![name]),
                    4 => subscription.unsubscribe(&[name]),
                    5 => subscription.reject(&resource(name, dice.throw(3))),
                    6 => subscription.resend(&name),
                    _ => {
                        let diff = subscription.diff(&snapshot.of(ResourceType::Cluster));
                        let sent = InFlight {
                            nonce: String::new(),
                            sent_at: Instant::now(),
                            updates: diff.updates.values().take(2).cloned().collect(),
                            removals: diff.removals.iter().chain(&diff.absent).cloned().collect(),
                            adds: false,
                            overdue: false,
                        };
                        subscription.acknowledge(&sent);
                    }
                }
                let now = snapshot.of(ResourceType::Cluster);
                let followed = text(subscription.diff(&now));
                subscription.compared = None;
                assert_eq!(followed, text(subscription.diff(&now)));
            }
        }
    }

    fn text(diff: &Diff) -> String {
        format!("{:?} {:?} {:?}", diff.updates, diff.absent, diff.removals)
    }
}
