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

/// What is left to send.
#[derive(Default)]
pub(super) struct Diff {
    /// New or changed.
    pub(super) updates: Vec<Arc<Resource>>,
    /// Asked for by name, never sent and not there: the client is told once.
    pub(super) absent: Vec<Arc<str>>,
    /// Sent earlier and no longer in force.
    pub(super) removals: Vec<Arc<str>>,
}

impl Diff {
    /// Whether the client has all that is in force (it may have more).
    pub(super) const fn is_made(&self) -> bool {
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
    compared: Option<Arc<Resources>>,
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
            self.compared = None;
            if name == "*" {
                self.wildcard = true;
                continue;
            }
            let name: Arc<str> = name.into();
            self.held.remove(&name);
            self.rejected.remove(&name);
            self.told_absent.remove(&name);
            self.names.insert(name);
        }
    }

    pub(super) fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            if name == "*" {
                self.wildcard = false;
                self.held.retain(|name, _| self.names.contains(name));
            } else {
                self.names.remove(name.as_str());
                if !self.wildcard {
                    self.held.remove(name.as_str());
                }
            }
        }
        self.compared = None;
    }

    /// Takes the answer to a response: everything in it is the client's now.
    pub(super) fn acknowledge(&mut self, sent: &InFlight) {
        for resource in &sent.updates {
            // It may have unsubscribed meanwhile.
            if self.wants(&resource.name) {
                self.held.insert(resource.name.as_str().into(), resource.version.as_str().into());
            }
        }
        self.forget(&sent.removals);
        self.compared = None;
    }

    /// The client no longer has these.
    pub(super) fn forget(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.held.remove(name);
            if self.names.contains(name) {
                self.told_absent.insert(name.clone());
            }
        }
        self.compared = None;
    }

    /// Makes the client's version of `name` unknown, so that it is sent again, also when it is on
    /// its way already.
    pub(super) fn resend(&mut self, name: &str) {
        if let Some(sent) = &mut self.in_flight {
            sent.updates.retain(|resource| resource.name != name);
        }
        if self.held.remove(name).is_some() {
            self.compared = None;
        }
    }

    pub(super) fn reject(&mut self, resource: &Resource) {
        self.rejected.insert(resource.name.as_str().into(), resource.version.clone());
        self.compared = None;
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

    /// What the client lacks of `now`; computed again only after something changed.
    pub(super) fn diff(&mut self, now: &Arc<Resources>) -> &Diff {
        if !self.compared.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, now)) {
            self.diff = self.compare(now);
            self.compared = Some(now.clone());
        }
        &self.diff
    }

    fn compare(&mut self, now: &Resources) -> Diff {
        let mut diff = Diff::default();
        if self.wildcard {
            diff.updates.extend(now.iter().map(|(_, r)| r).filter(|r| self.needs(r)).cloned());
        }
        for name in &self.names {
            match now.get(name) {
                Some(resource) => {
                    self.told_absent.remove(name);
                    if !self.wildcard && self.needs(resource) {
                        diff.updates.push(resource.clone());
                    }
                }
                None if self.held.contains_key(name) || self.told_absent.contains(name) => {}
                None => diff.absent.push(name.clone()),
            }
        }
        diff.removals.extend(self.held.keys().filter(|n| now.get(n).is_none()).cloned());
        self.rejected.retain(|name, version| now.get(name).is_some_and(|r| r.version == *version));
        diff
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
