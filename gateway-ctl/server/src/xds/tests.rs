//! The server as a client on a socket sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::{Output, Resource, ResourceType as T};
use prometheus_client::registry::Registry;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
};
use proto::google::rpc::Status;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;
use tonic::transport::Channel;

use super::*;

struct Fixture {
    snapshots: watch::Sender<Arc<Snapshot>>,
    rejections: mpsc::Receiver<Rejection>,
    clients: Clients,
    channel: Channel,
}

fn resource(resource_type: T, name: &str, version: &str) -> Resource {
    Resource {
        resource_type,
        name: name.to_owned(),
        version: version.to_owned(),
        body: bytes::Bytes::from_static(b""),
        owners: Vec::new(),
    }
}

impl Fixture {
    async fn new(resources: &[(T, &str, &str)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let snapshot = change(&Snapshot::empty(Instant::now()), resources);
        let (snapshots, seen) = watch::channel(Arc::new(snapshot));
        let (sender, rejections) = mpsc::channel(8);
        let clients = Clients::default();
        let metrics = Metrics::new(&mut Registry::default());
        let server = Server::new(seen, sender, clients.clone(), metrics, Pace::default());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(server.into_service())
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let channel =
            Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { snapshots, rejections, clients, channel }
    }

    async fn connect(&self) -> Client {
        let (requests, receiver) = mpsc::channel(8);
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone());
        let responses = client
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Client { requests, responses, node: Some("e1".to_owned()) }
    }

    fn publish(&self, resources: &[(T, &str, &str)]) {
        self.snapshots.send_modify(|s| *s = Arc::new(change(s, resources)));
    }
}

fn change(snapshot: &Snapshot, resources: &[(T, &str, &str)]) -> Snapshot {
    let changed = resources.iter().map(|(t, n, v)| resource(*t, n, v)).collect();
    snapshot.with(Output { changed, ..Output::default() }, Instant::now())
}

struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Said in the first request only.
    node: Option<String>,
}

impl Client {
    async fn send(&mut self, mut request: DeltaDiscoveryRequest) {
        request.node = self.node.take().map(|id| Node { id, ..Node::default() });
        self.requests.send(request).await.unwrap();
    }

    async fn ask(&mut self, resource_type: T, held: &[(&str, &str)]) {
        let held: BTreeMap<String, String> =
            held.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.send(DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: held,
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    async fn next(&mut self) -> DeltaDiscoveryResponse {
        tokio::time::timeout(Duration::from_secs(5), self.responses.message())
            .await
            .expect("a response in time")
            .unwrap()
            .expect("an open stream")
    }

    async fn answer(&mut self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(|m| Status {
                code: 3,
                message: m.to_owned(),
                ..Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|r| &*r.name).collect()
}

#[tokio::test]
async fn a_change_reaches_a_connected_client() {
    let f = Fixture::new(&[(T::Cluster, "a", "1"), (T::Listener, "l", "1")]).await;
    let mut client = f.connect().await;
    client.ask(T::Cluster, &[]).await;
    client.ask(T::Listener, &[]).await;
    let clusters = client.next().await;
    assert_eq!(names(&clusters), ["a"]);
    client.answer(&clusters, None).await;
    let listeners = client.next().await;
    assert_eq!(names(&listeners), ["l"]);
    client.answer(&listeners, None).await;
    f.publish(&[(T::Cluster, "b", "1")]);
    let next = client.next().await;
    assert_eq!(names(&next), ["b"]);
    client.answer(&next, None).await;
    let mut changes = f.clients.changes();
    loop {
        let list = f.clients.list();
        if let [one] = list.as_slice()
            && one.is_in_sync(2)
        {
            assert_eq!((one.kind, &*one.node), (clients::ClientKind::Envoy, "e1"));
            break;
        }
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_has_everything_is_sent_nothing() {
    let f = Fixture::new(&[(T::RateLimitObject, "a", "1")]).await;
    let mut client = f.connect().await;
    client.ask(T::RateLimitObject, &[("a", "1")]).await;
    f.publish(&[(T::RateLimitObject, "b", "1")]);
    assert_eq!(names(&client.next().await), ["b"]);
}

#[tokio::test]
async fn the_controller_hears_of_the_resource_that_is_refused() {
    let mut f = Fixture::new(&[(T::Listener, "bad", "1"), (T::Listener, "good", "1")]).await;
    let mut client = f.connect().await;
    client.ask(T::Listener, &[]).await;
    loop {
        let response = client.next().await;
        let bad = names(&response).contains(&"bad");
        client.answer(&response, bad.then_some("port 8080 is taken")).await;
        if names(&response) == ["good"] {
            break;
        }
    }
    let rejection = f.rejections.recv().await.unwrap();
    assert_eq!((&*rejection.name, &*rejection.message), ("bad", "port 8080 is taken"));
}

#[tokio::test]
async fn state_of_the_world_is_refused_with_words() {
    let f = Fixture::new(&[]).await;
    let mut client = AggregatedDiscoveryServiceClient::new(f.channel.clone());
    let status = client
        .stream_aggregated_resources(tokio_stream::pending::<DiscoveryRequest>())
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(status.message().contains("DELTA_GRPC"), "{}", status.message());
}
