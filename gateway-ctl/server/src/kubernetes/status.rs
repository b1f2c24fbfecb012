//! Writes what became of objects into their status, and new faults as events. Every replica knows;
//! the leader writes, slowly enough for the API server.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Error};
use serde_json::{Value, json};
use service_kit::server::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};

use super::board::{Board, Entry};
use super::peers::{PeerClient, Peers};
use super::{Options, discovery};
use crate::controller::Judged;
use crate::metrics::Metrics;
use crate::wake::sleep_until;
use crate::xds::{Clients, Snapshot};

/// The field manager of status.
const MANAGER: &str = "gateway-ctl";
/// The label of the gateway's Service in Emissary's chart, and in ours.
const SERVICE_LABEL: &str = "app.kubernetes.io/component=ambassador-service";
/// Time from one write to the next: 40 a second at most.
const PACE: Duration = Duration::from_millis(25);
/// Wait after a write that failed.
const AGAIN: Duration = Duration::from_secs(2);
/// Time from one question to the other replicas to the next, while something waits for them.
const ASK: Duration = Duration::from_millis(100);
/// Longest note of an event; the API server takes 1 kB.
const NOTE: usize = 1000;

/// A write under way: gives the entry back, and how it went.
type Writing = Pin<Box<dyn Future<Output = (Entry, Result<(), Error>)> + Send>>;

/// A question to the other replicas under way.
type Asking = Pin<Box<dyn Future<Output = Vec<PeerClient>> + Send>>;

/// Writes status while this replica leads.
pub struct Writer {
    client: Client,
    recorder: Recorder,
    board: Board,
    served: watch::Receiver<Vec<ApiResource>>,
    not_before: Instant,
    metrics: Metrics,
    peers: Option<Peers>,
}

impl Writer {
    /// A writer that has written nothing. It writes in the versions that are `served`.
    pub fn new(
        client: Client,
        options: &Options,
        served: watch::Receiver<Vec<ApiResource>>,
        metrics: Metrics,
    ) -> Self {
        let reporter =
            Reporter { controller: MANAGER.to_owned(), instance: Some(options.identity.clone()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            board: Board::default(),
            served,
            not_before: Instant::now(),
            metrics,
            peers: options.peers.clone().map(|at| Peers::new(at, options.identity.clone())),
        }
    }

    /// Files verdicts and writes what is due, until `shutdown`.
    pub async fn run(
        mut self,
        mut judged: mpsc::UnboundedReceiver<Judged>,
        (clients, snapshots): (Clients, watch::Receiver<Arc<Snapshot>>),
        mut leads: watch::Receiver<bool>,
        mut addresses: mpsc::Receiver<Vec<Value>>,
        shutdown: Shutdown,
    ) {
        let mut changes = clients.changes();
        let mut writing: Option<Writing> = None;
        let mut asking: Option<Asking> = None;
        if self.peers.is_some() {
            self.board.set_peers(Vec::new());
        }
        loop {
            let is_leader = *leads.borrow();
            if writing.is_none() && is_leader && Instant::now() >= self.not_before {
                writing = self.next_write();
            }
            if asking.is_none() && is_leader && self.board.is_waiting() {
                asking = self.peers.clone().map(|peers| ask(peers, snapshots.clone()));
            }
            let wake = self.board.wake(Instant::now());
            let waits = writing.is_none() && is_leader && !self.board.is_empty();
            let pause = waits.then_some(self.not_before);
            tokio::select! {
                Some(news) = judged.recv() => {
                    self.board.file(news, Instant::now());
                    self.board.look(&clients.list(), Instant::now());
                }
                Ok(()) = changes.changed() => self.board.look(&clients.list(), Instant::now()),
                Ok(()) = leads.changed() => {
                    if *leads.borrow_and_update() {
                        self.board.compare_all();
                    }
                }
                Some(found) = addresses.recv() => self.board.set_addresses(found),
                (entry, result) = finished(&mut writing) => {
                    writing = None;
                    self.finish(entry, result);
                }
                found = answered(&mut asking) => {
                    asking = None;
                    self.board.set_peers(found);
                    self.board.look(&clients.list(), Instant::now());
                }
                () = sleep_until(wake) => self.board.look(&clients.list(), Instant::now()),
                () = sleep_until(pause) => {}
                () = shutdown.wait() => return,
            }
        }
    }

    fn next_write(&mut self) -> Option<Writing> {
        let entry =
            self.board.next(&Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())?;
        self.not_before = Instant::now() + PACE;
        let kind = &entry.verdict.reference.kind;
        let resource = match kind.as_str() {
            "Ingress" => discovery::builtin("networking.k8s.io", "v1", "Ingress", "ingresses"),
            _ => self.served.borrow().iter().find(|r| r.kind == *kind).cloned()?,
        };
        let client = self.client.clone();
        let recorder = self.recorder.clone();
        Some(Box::pin(async move {
            let result = write(client, &resource, &entry).await;
            if result.is_ok() && entry.is_new_fault {
                tell(&recorder, &resource, &entry).await;
            }
            (entry, result)
        }))
    }

    fn finish(&mut self, entry: Entry, result: Result<(), Error>) {
        let reference = entry.verdict.reference.clone();
        self.metrics.status_written(result.is_ok());
        match result {
            Ok(()) => self.board.written(entry),
            // It is gone, or another of its name is on its way to us.
            Err(Error::Api(status)) if status.code == 404 => {
                self.board.forget_released(&reference);
            }
            Err(e) => {
                let why = super::watch::words(&e);
                tracing::warn!("status of {reference}: {why}; trying again");
                self.board.put_back(reference);
                self.not_before = Instant::now() + AGAIN;
            }
        }
    }
}

async fn write(client: Client, resource: &ApiResource, entry: &Entry) -> Result<(), Error> {
    let reference = &entry.verdict.reference;
    let patch = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        // The uid keeps it from being written to another of its name.
        "metadata": {
            "name": reference.name,
            "namespace": reference.namespace,
            "uid": entry.verdict.uid,
        },
        "status": entry.status(),
    });
    let api: Api<DynamicObject> = Api::namespaced_with(client, &reference.namespace, resource);
    let parameters = PatchParams::apply(MANAGER).force();
    match api.patch_status(&reference.name, &parameters, &Patch::Apply(patch)).await {
        // Deleted and made anew meanwhile: the new one has its own verdict.
        Err(Error::Api(status)) if status.code == 409 => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Tells a new fault as an event on the object. Events are for people; one that cannot be told is
/// not told again.
async fn tell(recorder: &Recorder, resource: &ApiResource, entry: &Entry) {
    let verdict = &entry.verdict;
    let about = ObjectReference {
        api_version: Some(resource.api_version.clone()),
        kind: Some(resource.kind.clone()),
        namespace: Some(verdict.reference.namespace.clone()),
        name: Some(verdict.reference.name.clone()),
        uid: Some(verdict.uid.clone()),
        ..ObjectReference::default()
    };
    let mut note = verdict.accepted.message.clone();
    let end = (0..=NOTE.min(note.len())).rev().find(|i| note.is_char_boundary(*i));
    note.truncate(end.unwrap_or_default());
    let event = Event {
        type_: EventType::Warning,
        reason: verdict.accepted.reason.to_owned(),
        note: Some(note),
        action: "Reading".to_owned(),
        secondary: None,
    };
    if let Err(e) = recorder.publish(&event, &about).await {
        let why = super::watch::words(&e);
        tracing::warn!("event about {}: {why}", verdict.reference);
    }
}

/// Follows the addresses of the gateway's Service: the one that is named, else the first with the
/// label of Emissary's.
pub fn follow_addresses(client: Client, options: &Options) -> mpsc::Receiver<Vec<Value>> {
    let (sender, receiver) = mpsc::channel(1);
    let api: Api<Service> = Api::namespaced(client, &options.namespace);
    let config = match &options.gateway_service {
        Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        // Somebody else is the gateway, and writes what has addresses.
        None if options.services_only => return receiver,
        None => watcher::Config::default().labels(SERVICE_LABEL),
    };
    tokio::spawn(async move {
        let mut known: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut stream = std::pin::pin!(watcher(api, config));
        while let Some(seen) = stream.next().await {
            let name = |s: &Service| s.metadata.name.clone().unwrap_or_default();
            match seen {
                Ok(watcher::Event::Init) => {
                    known.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(service)) => {
                    known.insert(name(&service), addresses_of(&service));
                    continue;
                }
                Ok(watcher::Event::InitDone) => {}
                Ok(watcher::Event::Apply(service)) => {
                    known.insert(name(&service), addresses_of(&service));
                }
                Ok(watcher::Event::Delete(service)) => drop(known.remove(&name(&service))),
                Err(e) => {
                    let why = super::watch::words(&e);
                    tracing::warn!("the gateway's Service, whose addresses go into status: {why}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
            let addresses = known.values().next().cloned().unwrap_or_default();
            if sender.send(addresses).await.is_err() {
                return;
            }
        }
    });
    receiver
}

fn addresses_of(service: &Service) -> Vec<Value> {
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|l| l.ingress.as_deref()).unwrap_or_default();
    let balanced = ingress.iter().filter_map(|i| match (&i.ip, &i.hostname) {
        (Some(ip), _) => Some(("IPAddress", ip)),
        (None, Some(name)) => Some(("Hostname", name)),
        (None, None) => None,
    });
    let external = service.spec.iter().flat_map(|s| s.external_ips.iter().flatten());
    balanced
        .chain(external.map(|ip| ("IPAddress", ip)))
        .map(|(kind, value)| json!({"type": kind, "value": value}))
        .collect()
}

/// Asks the peers, after a pause so that changes come to them, too.
fn ask(peers: Peers, snapshots: watch::Receiver<Arc<Snapshot>>) -> Asking {
    Box::pin(async move {
        tokio::time::sleep(ASK).await;
        peers.ask(|| snapshots.borrow().clone()).await
    })
}

async fn answered(asking: &mut Option<Asking>) -> Vec<PeerClient> {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

async fn finished(writing: &mut Option<Writing>) -> (Entry, Result<(), Error>) {
    match writing {
        Some(writing) => writing.await,
        None => std::future::pending().await,
    }
}
