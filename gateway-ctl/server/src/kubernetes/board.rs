//! What is known of each object's status, and whose is to be written next. Pure: the clock and
//! the clients come from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gateway_core::{Audience, Verdict};
use serde_json::{Value, json};
use service_kit::ObjectRef;

use super::conditions::{self, Progress};
use super::peers::PeerClient;
use crate::controller::Judged;
use crate::xds::ClientStatus;
use crate::xds::clients::ClientKind;

/// An acknowledgement is waited for this long before the status says that it is missing, so that
/// a change is usually written once.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// An object.
#[derive(Debug)]
struct Row {
    verdict: Verdict,
    revision: u64,
    progress: Progress,
    /// What patience ended with.
    said: Option<Progress>,
    since: Instant,
    /// Whether it is an Ingress that is somebody else's now: what we wrote is taken back.
    released: bool,
}

/// What is to be written to an object.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// Which, as it was read.
    pub verdict: Verdict,
    /// Its conditions.
    pub conditions: Vec<Value>,
    /// Its addresses; none where it has none.
    pub addresses: Option<Vec<Value>>,
    /// Whether it became unacceptable, or so for another reason.
    pub is_new_fault: bool,
}

impl Entry {
    /// The status that is written.
    pub(super) fn status(&self) -> Value {
        if is_ingress(&self.verdict.reference) {
            // What is left out is taken away from those who wrote it, which is only us.
            return match self.addresses.as_deref() {
                None | Some([]) => json!({"loadBalancer": {}}),
                Some(addresses) => json!({"loadBalancer": {"ingress": addresses}}),
            };
        }
        let mut status = json!({"conditions": self.conditions});
        if let Some(addresses) = &self.addresses {
            status["addresses"] = json!(addresses);
        }
        status
    }
}

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Board {
    rows: BTreeMap<ObjectRef, Row>,
    /// In force, and not known to be acknowledged.
    waiting: BTreeSet<ObjectRef>,
    /// To be written, or at least to be compared with what stands there.
    due: BTreeSet<ObjectRef>,
    /// Of the gateway, for Hosts.
    addresses: Vec<Value>,
    /// Clients of other replicas; none while they were not asked since the last change.
    peers: Option<Vec<PeerClient>>,
}

impl Board {
    /// Takes what became of objects.
    pub(super) fn file(&mut self, judged: Judged, now: Instant) {
        // What others had was of the version before.
        if self.peers.is_some() {
            self.peers = Some(vec![PeerClient { kind: None, has_it: false }]);
        }
        for (reference, verdict) in judged.verdicts {
            let Some(verdict) = verdict else {
                self.waiting.remove(&reference);
                self.due.remove(&reference);
                match self.rows.get_mut(&reference).filter(|_| is_ingress(&reference)) {
                    Some(row) => {
                        row.released = true;
                        self.due.insert(reference);
                    }
                    None => drop(self.rows.remove(&reference)),
                }
                continue;
            };
            if let Some(row) = self.rows.get_mut(&reference)
                && !row.released
                && is_same(&row.verdict, &verdict)
            {
                // Only its status was written, by us or by others.
                row.verdict = verdict;
                continue;
            }
            let row = Row {
                revision: judged.revision,
                progress: Progress::Waiting,
                said: None,
                since: now,
                released: false,
                verdict,
            };
            if row.verdict.in_force {
                self.waiting.insert(reference.clone());
            } else {
                self.waiting.remove(&reference);
                self.due.insert(reference.clone());
            }
            self.rows.insert(reference, row);
        }
    }

    /// Takes the clients of other replicas.
    pub(super) fn set_peers(&mut self, clients: Vec<PeerClient>) {
        self.peers = Some(clients);
    }

    /// Whether an acknowledgement is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Looks at who has acknowledged what.
    pub(super) fn look(&mut self, clients: &[ClientStatus], now: Instant) {
        let mut done = Vec::new();
        for reference in &self.waiting {
            let Some(row) = self.rows.get_mut(reference) else { continue };
            let peers = self.peers.as_deref().unwrap_or_default();
            let progress = progress(clients, peers, row.verdict.audience, row.revision);
            if progress == Progress::Taken {
                row.progress = progress;
                done.push(reference.clone());
            } else if now >= row.since + PATIENCE && row.said != Some(progress) {
                row.progress = progress;
                row.said = Some(progress);
                self.due.insert(reference.clone());
            }
        }
        for reference in done {
            self.waiting.remove(&reference);
            self.due.insert(reference);
        }
    }

    /// When [`Self::look`] has something to say without anybody's doing.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        let since =
            self.waiting.iter().filter_map(|r| self.rows.get(r)).map(|r| r.since + PATIENCE);
        since.filter(|at| *at > now).min()
    }

    /// Takes the gateway's addresses.
    pub(super) fn set_addresses(&mut self, addresses: Vec<Value>) {
        if self.addresses != addresses {
            self.addresses = addresses;
            let have_some = |r: &&ObjectRef| r.kind == "Host" || is_ingress(r);
            self.due.extend(self.rows.keys().filter(have_some).cloned());
        }
    }

    /// Compares every object's status again: somebody else wrote until now.
    pub(super) fn compare_all(&mut self) {
        let settled = self.rows.keys().filter(|r| !self.waiting.contains(*r)).cloned();
        self.due.extend(settled);
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// The next object whose status says something else than it should. `now` is RFC 3339.
    pub(super) fn next(&mut self, now: &str) -> Option<Entry> {
        while let Some(reference) = self.due.pop_first() {
            let Some(row) = self.rows.get(&reference) else { continue };
            let status = &row.verdict.status;
            // Kubernetes' own kind has addresses only, in words of its own.
            let (conditions, addresses, known) = if is_ingress(&reference) {
                let ours = self.addresses.iter().filter(|_| !row.released);
                let addresses = ours.map(conditions::balancer).collect();
                (Vec::new(), Some(addresses), conditions::balancers(status))
            } else {
                let addresses = (reference.kind == "Host").then(|| self.addresses.clone());
                let conditions = conditions::of(&row.verdict, row.progress, now);
                (conditions, addresses, conditions::addresses(status))
            };
            let has_addresses = addresses.as_ref().is_none_or(|a| a == known);
            if has_addresses && conditions::are_in(status, &conditions) {
                self.forget_released(&reference);
                continue;
            }
            let first = conditions.get(..1).unwrap_or_default();
            let is_new_fault = !row.verdict.accepted.holds && !conditions::are_in(status, first);
            let verdict = row.verdict.clone();
            return Some(Entry { verdict, conditions, addresses, is_new_fault });
        }
        None
    }

    /// Takes it that this was written, so that it is not written again before it is read back.
    pub(super) fn written(&mut self, entry: Entry) {
        let Some(row) = self.rows.get_mut(&entry.verdict.reference) else { return };
        if row.verdict.uid == entry.verdict.uid {
            row.verdict.status = entry.status();
            self.forget_released(&entry.verdict.reference);
        }
    }

    /// Forgets an object that is nobody's here any longer.
    pub(super) fn forget_released(&mut self, reference: &ObjectRef) {
        if self.rows.get(reference).is_some_and(|row| row.released) {
            self.rows.remove(reference);
        }
    }

    /// Puts an object back that could not be written.
    pub(super) fn put_back(&mut self, reference: ObjectRef) {
        if self.rows.contains_key(&reference) {
            self.due.insert(reference);
        }
    }
}

fn is_ingress(reference: &ObjectRef) -> bool {
    reference.kind == "Ingress"
}

/// Whether two verdicts differ in nothing but the status that they were read with.
fn is_same(a: &Verdict, b: &Verdict) -> bool {
    a.uid == b.uid
        && a.api_version == b.api_version
        && a.generation == b.generation
        && a.accepted == b.accepted
        && a.resolved_refs == b.resolved_refs
        && a.in_force == b.in_force
}

fn progress(
    clients: &[ClientStatus],
    peers: &[PeerClient],
    audience: Audience,
    revision: u64,
) -> Progress {
    let kind = match audience {
        Audience::Envoy => ClientKind::Envoy,
        Audience::RateLimit => ClientKind::RateLimit,
        Audience::Authorization => ClientKind::Authorization,
    };
    let mut any = false;
    for client in clients.iter().filter(|c| c.kind == kind && !c.types.is_empty()) {
        any = true;
        if !client.is_in_sync(revision) {
            return Progress::Waiting;
        }
    }
    for peer in peers.iter().filter(|p| p.kind.is_none_or(|k| k == kind)) {
        any = true;
        if !peer.has_it {
            return Progress::Waiting;
        }
    }
    if any { Progress::Taken } else { Progress::Nobody }
}

#[cfg(test)]
mod tests;
