//! Objects of the Kubernetes API.
//!
//! Nothing is told before every kind was listed once and the Secrets they name were looked up: a
//! half-read configuration would take routes, or the policies that guard them, away. From then on
//! a change is told at once, except that a Secret named for the first time is fetched before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::kinds;
use kube::Client;
use kube::api::ApiResource;
use service_kit::server::admin::Readiness;
use service_kit::server::objects::Change;
use service_kit::server::shutdown::Shutdown;
use service_kit::{Diagnostic, Object, ObjectRef, Severity};
use tokio::sync::mpsc;

use super::discovery::Belief;
use super::watch::{self, Event, Failure, Selectors, Target, Watch, words};
use super::{Options, discovery};
use crate::source::Noticed;
use crate::wake::sleep_until;

/// How often the API server is asked which kinds it serves.
const DISCOVERY: Duration = Duration::from_secs(5);
/// The same until it answered once.
const FIRST_DISCOVERY: Duration = Duration::from_millis(500);
/// A change waits this long, at most, for Secrets that it names for the first time.
const HOLD: Duration = Duration::from_secs(1);
/// Events that wait; watches wait when there are more.
const EVENTS: usize = 1024;
/// Secrets of one namespace that are watched one by one; with more, the namespace's are.
const SINGLE_SECRETS: usize = 64;
/// Kinds of Kubernetes itself.
const BUILTINS: [&str; 6] =
    ["Secret", "Service", "EndpointSlice", "Ingress", "IngressClass", "Namespace"];
/// What `/readyz` calls this part.
const COMPONENT: &str = "configuration";

/// What is known of a watch.
struct State {
    number: u64,
    known: BTreeSet<ObjectRef>,
    /// What a list that has begun and not ended has named.
    listing: Option<BTreeSet<ObjectRef>>,
    /// Whether a list ended once.
    listed: bool,
    failure: Option<Failure>,
    _watch: Watch,
}

/// The objects of the Kubernetes API.
pub struct Source {
    client: Client,
    options: Options,
    sender: mpsc::Sender<(u64, Event)>,
    events: mpsc::Receiver<(u64, Event)>,
    watches: BTreeMap<Target, State>,
    numbers: BTreeMap<u64, Target>,
    next_number: u64,
    /// The kinds that are served.
    kinds: Belief,
    tell_served: tokio::sync::watch::Sender<Vec<ApiResource>>,
    unreachable: Option<String>,
    /// Which Secrets an object names.
    named: BTreeMap<ObjectRef, Vec<ObjectRef>>,
    /// Who needs the endpoints of Services.
    want_endpoints: BTreeSet<ObjectRef>,
    /// Who needs the labels of namespaces.
    want_namespaces: BTreeSet<ObjectRef>,
    pending: BTreeMap<ObjectRef, Option<Arc<Object>>>,
    pending_since: Option<Instant>,
    told_once: bool,
    told_found: Vec<Diagnostic>,
}

impl Source {
    /// A source that has not asked yet.
    pub fn new(client: Client, options: Options) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        Self {
            client,
            options,
            sender,
            events,
            watches: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            kinds: Belief::default(),
            tell_served: tokio::sync::watch::channel(Vec::new()).0,
            unreachable: None,
            named: BTreeMap::new(),
            want_endpoints: BTreeSet::new(),
            want_namespaces: BTreeSet::new(),
            pending: BTreeMap::new(),
            pending_since: None,
            told_once: false,
            told_found: Vec::new(),
        }
    }

    /// Follows which kinds the API server has, and in which version they are read.
    pub fn served(&self) -> tokio::sync::watch::Receiver<Vec<ApiResource>> {
        self.tell_served.subscribe()
    }

    /// Tells each change, until `shutdown`. Until the first, `ready` says what it waits for.
    pub async fn run(
        mut self,
        changes: mpsc::Sender<Noticed>,
        ready: Readiness,
        shutdown: Shutdown,
    ) {
        let mut answers =
            discover(self.client.clone(), self.options.services_only, shutdown.clone());
        loop {
            if !self.told_once {
                ready.set(COMPONENT, Err(self.waits_for()));
            }
            let held_until = self.held_until();
            tokio::select! {
                permit = changes.reserve(), if self.has_news() && held_until.is_none() => {
                    let Ok(permit) = permit else { return };
                    permit.send(self.news());
                }
                Some((number, event)) = self.events.recv() => {
                    self.take(number, event);
                    // What came meanwhile belongs to the same change.
                    while let Ok((number, event)) = self.events.try_recv() {
                        self.take(number, event);
                    }
                    self.watch_secrets();
                    self.watch_endpoints();
                    self.watch_namespaces();
                }
                Some(answer) = answers.recv() => self.take_answer(answer),
                () = sleep_until(held_until.flatten()) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    fn take_answer(&mut self, answer: Result<Vec<ApiResource>, String>) {
        match answer {
            Ok(answer) => {
                self.unreachable = None;
                if self.kinds.take(answer)
                    && let Some(served) = self.kinds.served()
                    && *self.tell_served.borrow() != served
                {
                    let kinds: Vec<_> = served.iter().map(|r| r.kind.as_str()).collect();
                    tracing::info!(kinds = kinds.join(", "), "watching");
                    self.tell_served.send_replace(served.to_vec());
                    self.watch_kinds();
                }
            }
            Err(why) => self.unreachable = Some(why),
        }
    }

    /// Follows what is served, in every namespace that is looked at.
    fn watch_kinds(&mut self) {
        let served = self.kinds.served().unwrap_or_default().to_vec();
        let targets = served.iter().flat_map(|r| self.everywhere(r)).collect();
        let selectors =
            Selectors { labels: self.options.labels.clone(), fields: self.options.fields.clone() };
        self.follow_exactly(targets, &selectors, |t| !t.is_builtin());
        if !self.options.services_only {
            let services = self.everywhere(&discovery::builtin("", "v1", "Service", "services"));
            self.follow_exactly(services, &Selectors::default(), |t| t.kind == "Service");
            let of_group =
                |kind, plural| discovery::builtin("networking.k8s.io", "v1", kind, plural);
            let ingresses = self.everywhere(&of_group("Ingress", "ingresses"));
            self.follow_exactly(ingresses, &selectors, |t| t.kind == "Ingress");
            let class = Target::new(&of_group("IngressClass", "ingressclasses"), None, None);
            let classes = BTreeSet::from([class]);
            self.follow_exactly(classes, &Selectors::default(), |t| t.kind == "IngressClass");
        }
    }

    /// Follows endpoints while somebody needs them.
    fn watch_endpoints(&mut self) {
        let resource =
            discovery::builtin("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
        let targets = if self.want_endpoints.is_empty() {
            BTreeSet::new()
        } else {
            self.everywhere(&resource)
        };
        self.follow_exactly(targets, &Selectors::default(), |t| t.kind == "EndpointSlice");
    }

    /// Follows namespaces while somebody needs their labels.
    fn watch_namespaces(&mut self) {
        let resource = discovery::builtin("", "v1", "Namespace", "namespaces");
        let wanted = !self.want_namespaces.is_empty();
        let targets = wanted.then(|| Target::new(&resource, None, None)).into_iter().collect();
        self.follow_exactly(targets, &Selectors::default(), |t| t.kind == "Namespace");
    }

    /// A kind in every namespace that is looked at.
    fn everywhere(&self, resource: &ApiResource) -> BTreeSet<Target> {
        match self.options.namespaces.as_slice() {
            [] => BTreeSet::from([Target::new(resource, None, None)]),
            names => names.iter().map(|n| Target::new(resource, Some(n), None)).collect(),
        }
    }

    /// Follows the Secrets that are named, and no others.
    fn watch_secrets(&mut self) {
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for secret in self.named.values().flatten() {
            names.entry(&secret.namespace).or_default().insert(&secret.name);
        }
        let resource = discovery::builtin("", "v1", "Secret", "secrets");
        let mut targets = BTreeSet::new();
        for (namespace, names) in names {
            if names.len() > SINGLE_SECRETS {
                targets.insert(Target::new(&resource, Some(namespace), None));
            } else {
                let one = |name: &&str| Target::new(&resource, Some(namespace), Some(name));
                targets.extend(names.iter().map(one));
            }
        }
        self.follow_exactly(targets, &Selectors::default(), |t| t.kind == "Secret");
    }

    /// Makes the watches among those that are `one_of_these` exactly `targets`.
    fn follow_exactly(
        &mut self,
        targets: BTreeSet<Target>,
        selectors: &Selectors,
        one_of_these: impl Fn(&Target) -> bool,
    ) {
        let gone: Vec<Target> = self
            .watches
            .keys()
            .filter(|t| one_of_these(t) && !targets.contains(*t))
            .cloned()
            .collect();
        let mut orphans = BTreeSet::new();
        for target in gone {
            if let Some(state) = self.watches.remove(&target) {
                self.numbers.remove(&state.number);
                orphans.extend(state.known);
            }
        }
        for target in targets {
            if self.watches.contains_key(&target) {
                continue;
            }
            // The same objects by another way (in another version): its list says what is gone.
            let (known, rest) = orphans.into_iter().partition(|r| target.covers(r));
            orphans = rest;
            self.next_number += 1;
            let number = self.next_number;
            let client = self.client.clone();
            let watch = watch::follow(client, &target, selectors, number, self.sender.clone());
            self.numbers.insert(number, target.clone());
            let state =
                State { number, known, listing: None, listed: false, failure: None, _watch: watch };
            self.watches.insert(target, state);
        }
        for reference in orphans {
            self.put(reference, None);
        }
    }

    fn take(&mut self, number: u64, event: Event) {
        // A watch that has ended may have said something before.
        let Some(target) = self.numbers.get(&number) else { return };
        let Some(state) = self.watches.get_mut(target) else { return };
        match event {
            Event::Failed(failure) => {
                if state.failure.as_ref() != Some(&failure) {
                    tracing::warn!("watch of {target}: {}", failure.message);
                }
                state.failure = Some(failure);
            }
            Event::ListBegins => state.listing = Some(BTreeSet::new()),
            Event::Listed(object) => {
                state.listing.get_or_insert_default().insert(object.reference.clone());
                state.known.insert(object.reference.clone());
                self.put(object.reference.clone(), Some(object));
            }
            Event::ListEnds => {
                let listing = state.listing.take().unwrap_or_default();
                let gone: Vec<_> = state.known.difference(&listing).cloned().collect();
                state.known = listing;
                state.listed = true;
                state.failure = None;
                for reference in gone {
                    self.put(reference, None);
                }
            }
            Event::Applied(object) => {
                state.failure = None;
                state.known.insert(object.reference.clone());
                self.put(object.reference.clone(), Some(object));
            }
            Event::Deleted(reference) => {
                state.failure = None;
                state.known.remove(&reference);
                self.put(reference, None);
            }
        }
    }

    fn put(&mut self, reference: ObjectRef, object: Option<Arc<Object>>) {
        // Whom Kubernetes' own kinds are for does not stand in their spec.
        let is_builtin = BUILTINS.contains(&reference.kind.as_str());
        let id = &self.options.ambassador_id;
        let ours = object.as_ref().filter(|o| is_builtin || o.is_for(id));
        let secrets =
            ours.map(|o| kinds::secret_refs(o, &self.options.namespace)).unwrap_or_default();
        if secrets.is_empty() {
            self.named.remove(&reference);
        } else {
            self.named.insert(reference.clone(), secrets);
        }
        if ours.is_some_and(|o| kinds::wants_endpoints(o)) {
            self.want_endpoints.insert(reference.clone());
        } else {
            self.want_endpoints.remove(&reference);
        }
        if ours.is_some_and(|o| kinds::wants_namespaces(o)) {
            self.want_namespaces.insert(reference.clone());
        } else {
            self.want_namespaces.remove(&reference);
        }
        self.pending.insert(reference, object);
        self.pending_since.get_or_insert_with(Instant::now);
    }

    fn has_news(&self) -> bool {
        !self.told_once || !self.pending.is_empty() || self.found() != self.told_found
    }

    /// `None`: nothing holds the news back. Otherwise until when something does; `Some(None)` is
    /// until it is there.
    fn held_until(&self) -> Option<Option<Instant>> {
        if !self.told_once {
            let complete =
                self.kinds.served().is_some() && self.watches.iter().all(|(t, s)| t.is_in(s));
            return (!complete).then_some(None);
        }
        let missing = |(t, s): (&Target, &State)| !t.is_in(s) && s.failure.is_none();
        let until = self.pending_since? + HOLD;
        (self.watches.iter().any(missing) && Instant::now() < until).then_some(Some(until))
    }

    fn news(&mut self) -> Noticed {
        let mut change = Change { found: self.found(), ..Change::default() };
        for (reference, object) in std::mem::take(&mut self.pending) {
            match object {
                Some(object) => change.applied.push(object),
                None => change.deleted.push(reference),
            }
        }
        self.told_once = true;
        self.told_found.clone_from(&change.found);
        Noticed { change, at: self.pending_since.take().unwrap_or_else(Instant::now) }
    }

    /// What is wrong with the watches now.
    fn found(&self) -> Vec<Diagnostic> {
        let mut found = BTreeSet::new();
        for (target, state) in &self.watches {
            let Some(failure) = &state.failure else { continue };
            let mut d = if failure.refused {
                let text = format!("{target} cannot be read: {}", failure.message);
                Diagnostic::new(Severity::Error, target.object(), "", text)
            } else {
                Diagnostic::new(
                    Severity::Warning,
                    ObjectRef::default(),
                    "",
                    "the Kubernetes API does not answer; what was read before stays in force",
                )
            };
            if failure.refused {
                d.hint(format!(
                    "grant `get`, `list` and `watch` on {}; what was read before stays in force",
                    target.plural
                ));
            }
            found.insert(d);
        }
        found.into_iter().collect()
    }

    fn waits_for(&self) -> String {
        if self.kinds.served().is_none() {
            return match &self.unreachable {
                Some(why) => format!("the Kubernetes API does not answer: {why}"),
                None if self.kinds.is_empty() => {
                    "the Kubernetes API has no kind of getambassador.io; install the CRDs"
                        .to_owned()
                }
                None => "asking the Kubernetes API which kinds it has".to_owned(),
            };
        }
        let waiting = self.watches.iter().find(|(t, s)| !t.is_in(s));
        match waiting {
            Some((target, State { failure: Some(failure), .. })) => {
                format!("{target} cannot be read: {}", failure.message)
            }
            Some((target, _)) => format!("reading {target}"),
            None => "reading objects".to_owned(),
        }
    }
}

impl Target {
    fn covers(&self, reference: &ObjectRef) -> bool {
        self.kind == reference.kind
            && self.namespace.as_ref().is_none_or(|n| *n == reference.namespace)
            && self.name.as_ref().is_none_or(|n| *n == reference.name)
    }

    /// Whether it is of Kubernetes itself.
    fn is_builtin(&self) -> bool {
        BUILTINS.contains(&self.kind.as_str())
    }

    /// Whether all there is to know at first is known. A Secret that may not be read is like one
    /// that is not there: what needs it says so and refuses.
    fn is_in(&self, state: &State) -> bool {
        let refused = state.failure.as_ref().is_some_and(|f| f.refused);
        state.listed || (self.is_builtin() && refused)
    }

    /// The object that a finding about it is on.
    fn object(&self) -> ObjectRef {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => ObjectRef::new(&self.kind, namespace, name),
            _ => ObjectRef::default(),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, "{} {namespace}/{name}", self.kind),
            (Some(namespace), None) => write!(f, "{} in namespace {namespace}", self.plural),
            _ => f.write_str(&self.plural),
        }
    }
}

/// Asks which kinds are served, again and again.
fn discover(
    client: Client,
    services_only: bool,
    shutdown: Shutdown,
) -> mpsc::Receiver<Result<Vec<ApiResource>, String>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut answered = 0;
        loop {
            let answer = discovery::served(&client, services_only).await.map_err(|e| words(&e));
            answered += u32::from(answer.as_ref().is_ok_and(|a| !a.is_empty()));
            let pause = if answered > 1 { DISCOVERY } else { FIRST_DISCOVERY };
            if sender.send(answer).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.wait() => return,
            }
        }
    });
    receiver
}
