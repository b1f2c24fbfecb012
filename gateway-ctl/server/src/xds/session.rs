//! One client's stream as a state machine without IO: requests, snapshots and time go in,
//! responses and reports come out.
//!
//! Make before break: a type's additions wait until the client acknowledged those of the types
//! before it ([`WARMING`], then [`USING`]); what was removed goes last. At most one response of a type is on its way,
//! and it is made from the newest snapshot when it is sent: a slow client costs no memory and
//! skips what it was too slow for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::envoy::secret::OWN;
use gateway_core::{Resource, ResourceType};
use prost::Message as _;
use proto::envoy::config::cluster::v3::cluster;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource,
};

use super::snapshot::{INDEPENDENT, Snapshot, USED, USING, WARMING, word};
use super::subscription::{InFlight, Subscription};

/// How long Listeners wait for what is in force instead of a filter's configuration that was refused.
const REVERT: Duration = Duration::from_secs(1);

/// Waits and bounds of a stream.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How long types wait for the answer to an earlier type before they go on without it.
    pub answer_wait: Duration,
    /// Between the acknowledgement of new clusters and the routes that may use them: Envoy
    /// acknowledges a cluster before it has warmed it (resolved its name).
    pub settle: Duration,
    /// Between the acknowledgement of routes that no longer use a cluster and its removal: Envoy
    /// breaks off the calls to an authorization or rate limit service that are under way then.
    pub removal_grace: Duration,
    /// Most bytes of resources in one response; a bigger single resource goes alone.
    pub response_bytes: usize,
    /// Most names that one client may ask for of one type.
    pub names: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            answer_wait: Duration::from_secs(10),
            settle: Duration::from_millis(50),
            // Longer than an AuthService has unless it says otherwise.
            removal_grace: Duration::from_secs(6),
            // gRPC clients refuse more than 4 MiB unless told otherwise.
            response_bytes: 2 << 20,
            names: 200_000,
        }
    }
}

/// What happened on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A response was acknowledged.
    Acknowledged(ResourceType),
    /// A response was refused; the text is the client's.
    Refused(ResourceType, String),
    /// The one resource that the client refuses.
    Rejected {
        /// Its type.
        resource_type: ResourceType,
        /// Its name.
        name: String,
        /// The refused version.
        version: String,
        /// The client's text.
        message: String,
    },
    /// The client has everything of the newest snapshot, so long after the change was noticed.
    Converged(Duration),
    /// No answer came in time; later types do not wait any longer.
    Overdue(ResourceType),
}

/// Why a stream must end: the client asked for something out of bounds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Abuse {
    /// More names than [`Pace::names`].
    #[error("more than {0} resource names of one type on one stream")]
    TooManyNames(usize),
}

/// What people are told about one type of a client.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TypeStatus {
    /// `*`, or how many names it asked for.
    pub wants: String,
    /// How many resources it acknowledged.
    pub acknowledged: usize,
    /// How many it refused and still has an older version of, or none.
    pub rejected: usize,
    /// Whether it acknowledged everything in force.
    pub in_sync: bool,
}

/// The state of one stream.
pub struct Session {
    pace: Pace,
    snapshot: Arc<Snapshot>,
    subscriptions: BTreeMap<ResourceType, Subscription>,
    nonce: u64,
    settle_until: Option<Instant>,
    revert_until: Option<Instant>,
    /// Endpoints of clusters that were sent before the client asked for any.
    awaited_endpoints: BTreeSet<String>,
    behind_since: Option<Instant>,
    wake: Option<Instant>,
    reports: Vec<Report>,
}

impl Session {
    /// A stream that has asked for nothing yet.
    pub const fn new(snapshot: Arc<Snapshot>, pace: Pace) -> Self {
        Self {
            pace,
            snapshot,
            subscriptions: BTreeMap::new(),
            nonce: 0,
            settle_until: None,
            revert_until: None,
            awaited_endpoints: BTreeSet::new(),
            behind_since: None,
            wake: None,
            reports: Vec::new(),
        }
    }

    /// Takes a newer snapshot.
    pub fn set_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        let changed_at = snapshot.changed_at;
        self.snapshot = snapshot;
        let snapshot = &self.snapshot;
        let behind = self.subscriptions.values_mut().any(|s| {
            let now = snapshot.of(s.resource_type);
            !s.diff(&now).is_made()
        });
        if behind {
            self.behind_since.get_or_insert(changed_at);
        }
    }

    /// Takes a request: an answer to a response, a change of what the client wants, or both.
    ///
    /// # Errors
    /// [`Abuse`] when the stream must end.
    pub fn on_request(
        &mut self,
        request: DeltaDiscoveryRequest,
        now: Instant,
    ) -> Result<(), Abuse> {
        let Some(resource_type) = ResourceType::from_type_url(&request.type_url) else {
            tracing::warn!(type_url = %request.type_url, "a client asks for a type that is not served");
            return Ok(());
        };
        let first = !self.subscriptions.contains_key(&resource_type);
        let subscription = self
            .subscriptions
            .entry(resource_type)
            .or_insert_with(|| Subscription::new(resource_type));
        let wanted = request.resource_names_subscribe.len() + subscription.names.len();
        if wanted.max(request.initial_resource_versions.len()) > self.pace.names {
            return Err(Abuse::TooManyNames(self.pace.names));
        }
        if first {
            subscription.open(request.initial_resource_versions, request.resource_names_subscribe);
            if resource_type == ResourceType::Endpoint {
                // A client that comes back has them, but not for the clusters that it makes anew.
                let awaited = std::mem::take(&mut self.awaited_endpoints);
                awaited.iter().for_each(|name| subscription.resend(name));
            }
        } else {
            subscription.subscribe(request.resource_names_subscribe);
        }
        if !request.resource_names_unsubscribe.is_empty() {
            subscription.unsubscribe(&request.resource_names_unsubscribe);
        }
        let answered = subscription.in_flight.take_if(|sent| {
            !request.response_nonce.is_empty() && sent.nonce == request.response_nonce
        });
        if let Some(sent) = answered {
            match request.error_detail {
                None => self.on_acknowledged(resource_type, &sent, now),
                Some(status) => self.on_refused(resource_type, sent, &status.message, now),
            }
        }
        Ok(())
    }

    fn on_acknowledged(&mut self, resource_type: ResourceType, sent: &InFlight, now: Instant) {
        if let Some(subscription) = self.subscriptions.get_mut(&resource_type) {
            subscription.acknowledge(sent);
        }
        if resource_type == ResourceType::Cluster && sent.adds {
            self.settle_until = Some(now + self.pace.settle);
        }
        self.reports.push(Report::Acknowledged(resource_type));
    }

    /// A refusal names the response, not the resource: halves of it are sent again until the one
    /// that is refused alone is found. What is good goes through on the way.
    fn on_refused(
        &mut self,
        resource_type: ResourceType,
        sent: InFlight,
        message: &str,
        now: Instant,
    ) {
        let message = shorten(message);
        let Some(subscription) = self.subscriptions.get_mut(&resource_type) else { return };
        self.reports.push(Report::Refused(resource_type, message.clone()));
        match sent.updates.as_slice() {
            // A removal that is refused is not tried again: there is nothing else to send.
            [] => subscription.forget(&sent.removals),
            [culprit] => {
                subscription.reject(culprit);
                if resource_type == ResourceType::Extension {
                    // Envoy goes on with what it had, but gives what it refused to each new
                    // Listener until it is sent something else.
                    subscription.resend(&culprit.name);
                    self.revert_until = Some(now + REVERT);
                }
                self.reports.push(Report::Rejected {
                    resource_type,
                    name: culprit.name.clone(),
                    version: culprit.version.clone(),
                    message,
                });
            }
            several => {
                let (left, right) = several.split_at(several.len() / 2);
                subscription.parts.push_front(right.to_vec());
                subscription.parts.push_front(left.to_vec());
            }
        }
    }

    /// Everything that may be sent now.
    pub fn pump(&mut self, now: Instant) -> Vec<DeltaDiscoveryResponse> {
        self.wake = None;
        let mut out = Vec::new();
        let made = self.pump_gated(now, &mut out);
        for resource_type in INDEPENDENT {
            out.extend(self.send(resource_type, now, true));
            self.is_busy(resource_type, now);
        }
        let waits = |s: &Subscription| s.in_flight.as_ref().is_some_and(|f| !f.updates.is_empty());
        if made
            && !self.subscriptions.values().any(waits)
            && let Some(since) = self.behind_since.take()
        {
            self.reports.push(Report::Converged(now.saturating_duration_since(since)));
        }
        out
    }

    /// Sends Envoy's types in their order; says whether the client has all that is in force.
    fn pump_gated(&mut self, now: Instant, out: &mut Vec<DeltaDiscoveryResponse>) -> bool {
        // Envoy acknowledges clusters when they are warm, for which it needs what they use: these
        // types do not wait for each other.
        let mut is_warming = false;
        for resource_type in WARMING {
            out.extend(self.send(resource_type, now, false));
            is_warming |= self.is_busy(resource_type, now);
        }
        if is_warming {
            return false;
        }
        for resource_type in USING {
            if let Some(until) = self.settle_until {
                if now < until {
                    self.wake_at(until);
                    return false;
                }
                self.settle_until = None;
            }
            if resource_type != ResourceType::Extension
                && let Some(until) = self.revert_until.filter(|until| now < *until)
                && self.has_refused_filter()
            {
                self.wake_at(until);
                return false;
            }
            // Envoy takes a Listener response's removals first, so that an address can move from
            // one Listener to another; apart they would collide.
            let with_removals = resource_type == ResourceType::Listener;
            out.extend(self.send(resource_type, now, with_removals));
            if self.is_busy(resource_type, now) {
                return false;
            }
        }
        out.extend(self.send(ResourceType::Route, now, true));
        if self.is_busy(ResourceType::Route, now) {
            return true;
        }
        self.doom(now);
        for resource_type in USED {
            out.extend(self.send_doomed(resource_type, now));
        }
        true
    }

    /// Whether what is in force of a filter's configuration is what the client refused: the controller
    /// has not taken it back yet.
    fn has_refused_filter(&self) -> bool {
        let in_force = self.snapshot.of(ResourceType::Extension);
        let subscription = self.subscriptions.get(&ResourceType::Extension);
        subscription.is_some_and(|s| s.is_disputed(&in_force))
    }

    /// Whether an answer of this type is waited for.
    fn is_busy(&mut self, resource_type: ResourceType, now: Instant) -> bool {
        let wait = self.pace.answer_wait;
        let Some(sent) = self
            .subscriptions
            .get_mut(&resource_type)
            .and_then(|subscription| subscription.in_flight.as_mut())
        else {
            return false;
        };
        let until = sent.sent_at + wait;
        if now < until {
            self.wake_at(until);
            return true;
        }
        if !sent.overdue {
            sent.overdue = true;
            self.reports.push(Report::Overdue(resource_type));
        }
        false
    }

    /// The next response of this type, if there is something to send and none is on its way.
    fn send(
        &mut self,
        resource_type: ResourceType,
        now: Instant,
        with_removals: bool,
    ) -> Option<DeltaDiscoveryResponse> {
        let resources = self.snapshot.of(resource_type);
        let limit = self.pace.response_bytes;
        let subscription = self.subscriptions.get_mut(&resource_type)?;
        if subscription.in_flight.is_some() {
            return None;
        }
        let part = subscription.next_part(&resources);
        let diff = subscription.diff(&resources);
        let mut updates = part.unwrap_or_else(|| within(diff.updates.values(), limit));
        match resource_type {
            ResourceType::Secret => part_files(&mut updates),
            // A filter's configuration that Envoy refused once it takes, without using it, when it
            // comes again: the culprit must be known at once.
            ResourceType::Extension => updates.truncate(1),
            _ => {}
        }
        let mut removals: Vec<_> = diff.absent.iter().cloned().collect();
        if with_removals {
            removals.extend(diff.removals.iter().cloned());
        }
        if updates.is_empty() && removals.is_empty() && !subscription.owes_answer {
            return None;
        }
        Some(self.respond(resource_type, updates, removals, now))
    }

    /// Notes which clusters, endpoints and secrets nothing uses any longer, and since when.
    fn doom(&mut self, now: Instant) {
        let used_by_old_versions = [ResourceType::Listener, ResourceType::Route]
            .into_iter()
            .filter_map(|t| self.subscriptions.get(&t))
            .any(|s| s.is_disputed(&self.snapshot.of(s.resource_type)));
        let due = now + self.pace.removal_grace;
        for resource_type in USED {
            let Some(subscription) = self.subscriptions.get_mut(&resource_type) else { continue };
            let unused = subscription.diff(&self.snapshot.of(resource_type)).removals.clone();
            if unused.is_empty() && subscription.doomed.is_empty() || used_by_old_versions {
                subscription.doomed.clear();
                continue;
            }
            let earlier = std::mem::take(&mut subscription.doomed);
            subscription.doomed = unused
                .into_iter()
                .map(|name| {
                    let due = earlier.get(&name).copied().unwrap_or(due);
                    (name, due)
                })
                .collect();
        }
    }

    fn send_doomed(
        &mut self,
        resource_type: ResourceType,
        now: Instant,
    ) -> Option<DeltaDiscoveryResponse> {
        let subscription = self.subscriptions.get_mut(&resource_type)?;
        if subscription.in_flight.is_some() {
            return None;
        }
        let due: Vec<Arc<str>> = subscription
            .doomed
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(name, _)| name.clone())
            .collect();
        let next = subscription.doomed.values().filter(|due| **due > now).min().copied();
        if let Some(next) = next {
            self.wake_at(next);
        }
        (!due.is_empty()).then(|| self.respond(resource_type, Vec::new(), due, now))
    }

    fn respond(
        &mut self,
        resource_type: ResourceType,
        updates: Vec<Arc<Resource>>,
        removals: Vec<Arc<str>>,
        now: Instant,
    ) -> DeltaDiscoveryResponse {
        self.nonce += 1;
        let nonce = self.nonce.to_string();
        let response = DeltaDiscoveryResponse {
            system_version_info: self.snapshot.of(resource_type).version(),
            type_url: resource_type.type_url().to_owned(),
            nonce: nonce.clone(),
            resources: updates.iter().map(|r| wire(r)).collect(),
            removed_resources: removals.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        tracing::debug!(
            resource_type = word(resource_type),
            updates = updates.len(),
            removals = removals.len(),
            nonce,
            "push"
        );
        if resource_type == ResourceType::Cluster {
            // An Envoy that replaces a cluster waits for its endpoints without asking again
            // (envoy#33607).
            let names = updates.iter().map(|cluster| endpoints_of(cluster));
            match self.subscriptions.get_mut(&ResourceType::Endpoint) {
                Some(endpoints) => names.for_each(|name| endpoints.resend(&name)),
                None => self.awaited_endpoints.extend(names),
            }
        }
        if let Some(subscription) = self.subscriptions.get_mut(&resource_type) {
            let adds = updates.iter().any(|r| !subscription.held.contains_key(r.name.as_str()));
            subscription.owes_answer = false;
            subscription.in_flight =
                Some(InFlight { nonce, sent_at: now, updates, removals, adds, overdue: false });
        }
        response
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// When [`Self::pump`] has something to do even if nothing happens.
    pub const fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// What happened since the last call.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// The newest snapshot that the session knows.
    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What the client wants and has, by type.
    pub fn status(&mut self) -> BTreeMap<&'static str, TypeStatus> {
        let snapshot = self.snapshot.clone();
        self.subscriptions
            .values_mut()
            .map(|s| {
                let made = s.diff(&snapshot.of(s.resource_type)).is_made();
                let status = TypeStatus {
                    wants: if s.wildcard { "*".to_owned() } else { s.names.len().to_string() },
                    acknowledged: s.held.len(),
                    rejected: s.rejected.len(),
                    in_sync: made && s.in_flight.as_ref().is_none_or(|f| f.updates.is_empty()),
                };
                (word(s.resource_type), status)
            })
            .collect()
    }
}

/// Keeps of several secrets what can be refused together. Envoy compares a secret with the one before,
/// also with one that it refused: a bad one that is sent again it acknowledges. So one that names a file,
/// which Envoy may not find, is sent alone.
fn part_files(updates: &mut Vec<Arc<Resource>>) {
    let names_file = |r: &Arc<Resource>| {
        let own = OWN.contains(&r.name.as_str());
        own || r.name.contains("/file/") || r.name.contains("+file/")
    };
    if let Some(first) = updates.iter().position(names_file) {
        updates.truncate(first.max(1));
    }
}

/// As many of `updates` as fit into a response, but at least one.
fn within<'a>(
    updates: impl Iterator<Item = &'a Arc<Resource>>,
    limit: usize,
) -> Vec<Arc<Resource>> {
    let mut bytes = 0_usize;
    let mut fit = Vec::new();
    for resource in updates {
        bytes = bytes.saturating_add(resource.body.len() + resource.name.len());
        if bytes > limit && !fit.is_empty() {
            break;
        }
        fit.push(resource.clone());
    }
    fit
}

fn wire(resource: &Resource) -> WireResource {
    WireResource {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(prost_types::Any {
            type_url: resource.resource_type.type_url().to_owned(),
            value: resource.body.to_vec(),
        }),
        ..WireResource::default()
    }
}

/// The name under which a cluster's endpoints are asked for.
fn endpoints_of(cluster: &Resource) -> String {
    /// What matters here of a cluster; the rest is not read.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Cluster {
        #[prost(message, optional, tag = "3")]
        eds_cluster_config: Option<cluster::EdsClusterConfig>,
    }
    let cluster_read = Cluster::decode(&*cluster.body).unwrap_or_default();
    let name = cluster_read.eds_cluster_config.map(|eds| eds.service_name);
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| cluster.name.clone())
}

/// One line, and not for ever: Envoy repeats whole configurations in some refusals.
fn shorten(message: &str) -> String {
    const MOST: usize = 2000;
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(MOST) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
