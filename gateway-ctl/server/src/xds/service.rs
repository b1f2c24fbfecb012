//! The gRPC side: one task a stream moves messages between a client and its [`Session`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gateway_core::ResourceType;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::clients::{ClientKind, ClientStatus, Clients};
use super::metrics::Metrics;
use super::session::{Pace, Report, Session};
use super::snapshot::{Snapshot, word};
use super::wire::{Delta, Given, StateOfTheWorld, Wire};
use crate::wake::sleep_until;

/// Most streams at one time.
const STREAMS: usize = 1000;
/// Largest request: an Envoy that reconnects names every resource it has.
const REQUEST_BYTES: usize = 64 << 20;
/// Responses between a stream's task and its connection. One of each type can be on its way, so
/// the task never waits for room.
const RESPONSES: usize = 8;

/// A resource that a client refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its type.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: String,
    /// The refused version.
    pub version: String,
    /// The client's text.
    pub message: String,
}

/// The aggregated discovery service.
#[derive(Clone)]
pub struct Server {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    rejections: mpsc::Sender<Rejection>,
    clients: Clients,
    metrics: Metrics,
    pace: Pace,
    streams: Arc<Semaphore>,
    next_stream: Arc<AtomicU64>,
}

impl Server {
    /// A server of the newest of `snapshots`, which tells `rejections` what clients refuse.
    pub fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        rejections: mpsc::Sender<Rejection>,
        clients: Clients,
        metrics: Metrics,
        pace: Pace,
    ) -> Self {
        Self {
            snapshots,
            rejections,
            clients,
            metrics,
            pace,
            streams: Arc::new(Semaphore::new(STREAMS)),
            next_stream: Arc::default(),
        }
    }

    /// The gRPC service.
    pub fn into_service(self) -> AggregatedDiscoveryServiceServer<Self> {
        AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(REQUEST_BYTES)
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.start::<StateOfTheWorld>(request.into_inner())
    }

    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.start::<Delta>(request.into_inner())
    }
}

impl Server {
    #[allow(clippy::result_large_err, clippy::type_complexity)] // what tonic wants
    fn start<W: Wire>(
        &self,
        requests: Streaming<W::Request>,
    ) -> Result<Response<ReceiverStream<Result<W::Response, Status>>>, Status> {
        let permit = self.streams.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{STREAMS} xDS streams are open; no more"))
        })?;
        let (sender, receiver) = mpsc::channel(RESPONSES);
        let mut snapshots = self.snapshots.clone();
        let snapshot = snapshots.borrow_and_update().clone();
        let stream = Stream::<W> {
            wire: W::default(),
            id: self.next_stream.fetch_add(1, Ordering::Relaxed),
            session: Session::new(snapshot, self.pace.clone()),
            status: None,
            sender,
            server: self.clone(),
            _permit: permit,
        };
        tokio::spawn(stream.run(requests, snapshots));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// One client's stream.
struct Stream<W: Wire> {
    wire: W,
    id: u64,
    session: Session,
    /// Known from the first request on.
    status: Option<ClientStatus>,
    sender: mpsc::Sender<Result<W::Response, Status>>,
    server: Server,
    _permit: OwnedSemaphorePermit,
}

impl<W: Wire> Stream<W> {
    async fn run(
        mut self,
        mut requests: Streaming<W::Request>,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) {
        loop {
            let wake = self.session.wake();
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => {
                        let snapshot = self.session.snapshot().clone();
                        let Some(request) = self.wire.take(request, &snapshot) else { continue };
                        if let Err(status) = self.take(request) {
                            // The client is told if it still listens.
                            let _ = self.sender.send(Err(status)).await;
                            return;
                        }
                    }
                    // It went away, orderly or not: it comes back with what it has.
                    Ok(None) | Err(_) => return,
                },
                changed = snapshots.changed() => match changed {
                    Ok(()) => self.session.set_snapshot(snapshots.borrow_and_update().clone()),
                    Err(_) => return,
                },
                () = sleep_until(wake) => {}
                () = self.sender.closed() => return,
            }
            if self.push().await.is_err() {
                return;
            }
            self.tell().await;
        }
    }

    /// Sends all that may be sent now; an error when nobody listens any longer.
    async fn push(&mut self) -> Result<(), ()> {
        loop {
            let mut answered = false;
            for response in self.session.pump(Instant::now()) {
                let resource_type = ResourceType::from_type_url(&response.type_url);
                match self.wire.give(response) {
                    Given::Send(response) => {
                        resource_type.inspect(|t| self.server.metrics.pushed(*t));
                        self.sender.send(Ok(response)).await.map_err(drop)?;
                    }
                    Given::Answer(request) => {
                        // It has no names, so it cannot be too many.
                        answered = self.session.on_request(*request, Instant::now()).is_ok();
                    }
                }
            }
            if !answered {
                return Ok(());
            }
        }
    }

    fn take(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        if self.status.is_none()
            && let Some(resource_type) = ResourceType::from_type_url(&request.type_url)
        {
            let kind = ClientKind::of(resource_type);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let status = ClientStatus::new(kind, request.node.as_ref(), now.as_secs());
            tracing::info!(client = kind.word(), node = status.node, "xDS client connected");
            self.server.metrics.connected(kind, 1);
            self.status = Some(status);
        }
        self.session
            .on_request(request, Instant::now())
            .map_err(|abuse| Status::resource_exhausted(abuse.to_string()))
    }

    /// Passes on what happened: to metrics, to the list of clients, to the controller.
    async fn tell(&mut self) {
        let reports = self.session.take_reports();
        let Some(status) = &mut self.status else { return };
        for report in reports {
            match report {
                Report::Acknowledged(resource_type) => {
                    self.server.metrics.acknowledged(resource_type);
                }
                Report::Refused(resource_type, message) => {
                    self.server.metrics.refused(resource_type);
                    status.last_refusal = Some(format!("{}: {message}", word(resource_type)));
                }
                Report::Rejected { resource_type, name, version, message } => {
                    tracing::debug!(client = status.node, resource = name, message, "refused");
                    let rejection = Rejection { resource_type, name, version, message };
                    // Without a controller the process is ending.
                    let _ = self.server.rejections.send(rejection).await;
                }
                Report::Converged(after) => {
                    tracing::debug!(client = status.kind.word(), ?after, "in sync");
                    self.server.metrics.converged(status.kind, after);
                }
                Report::Overdue(resource_type) => tracing::warn!(
                    client = status.node,
                    resource_type = word(resource_type),
                    "no answer to a push; later resources no longer wait for it"
                ),
            }
        }
        status.revision = self.session.snapshot().revision;
        status.types = self.session.status();
        self.server.clients.set(self.id, status.clone());
    }
}

impl<W: Wire> Drop for Stream<W> {
    fn drop(&mut self) {
        if let Some(status) = &self.status {
            tracing::info!(
                client = status.kind.word(),
                node = status.node,
                "xDS client disconnected"
            );
            self.server.metrics.connected(status.kind, -1);
            self.server.clients.remove(self.id);
        }
    }
}
