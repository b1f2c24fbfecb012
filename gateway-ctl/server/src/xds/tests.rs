//! The server as a client on a socket sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::{Output, Resource, ResourceType as T};
use prometheus_client::registry::Registry;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
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
        let server = Server::new(
            seen,
            sender,
            clients.clone(),
            metrics,
            Pace { removal_grace: Duration::from_secs(1), ..Pace::default() },
        );
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

/// A client that knows only the older way.
struct OldClient {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl OldClient {
    async fn connect(f: &Fixture) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let mut client = AggregatedDiscoveryServiceClient::new(f.channel.clone());
        let responses = client
            .stream_aggregated_resources(ReceiverStream::new(receiver))
            .await
            .unwrap()
            .into_inner();
        Self { requests, responses }
    }

    async fn ask(&self, resource_type: T, names: &[&str], version: &str) {
        let request = DiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            version_info: version.to_owned(),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    async fn answer(&self, response: &DiscoveryResponse, names: &[&str], error: Option<&str>) {
        let detail = |m: &str| Status { code: 3, message: m.to_owned(), ..Status::default() };
        let request = DiscoveryRequest {
            type_url: response.type_url.clone(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(detail),
            ..DiscoveryRequest::default()
        };
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> DiscoveryResponse {
        tokio::time::timeout(Duration::from_secs(5), self.responses.message())
            .await
            .expect("a response in time")
            .unwrap()
            .expect("an open stream")
    }
}

#[tokio::test]
async fn the_older_way_has_all_clusters_each_time_and_only_changed_routes() {
    let f =
        Fixture::new(&[(T::Cluster, "a", "1"), (T::Route, "r", "1"), (T::Route, "s", "1")]).await;
    let mut client = OldClient::connect(&f).await;
    client.ask(T::Cluster, &[], "").await;
    client.ask(T::Route, &["r"], "").await;
    let clusters = client.next().await;
    assert_eq!((clusters.type_url.as_str(), clusters.resources.len()), (T::Cluster.type_url(), 1));
    client.answer(&clusters, &[], None).await;
    let routes = client.next().await;
    assert_eq!((routes.type_url.as_str(), routes.resources.len()), (T::Route.type_url(), 1));
    client.answer(&routes, &["r"], None).await;
    f.publish(&[(T::Cluster, "b", "1"), (T::Route, "r", "2")]);
    let more = client.next().await;
    assert_eq!((more.type_url.as_str(), more.resources.len()), (T::Cluster.type_url(), 2));
    client.answer(&more, &[], None).await;
    let routes = client.next().await;
    client.answer(&routes, &["r", "s"], None).await;
    let asked_later = client.next().await;
    assert_eq!(asked_later.resources.len(), 1, "only what is new");
    client.answer(&asked_later, &["r", "s"], None).await;
    // A cluster that is gone is missing in the next response, after its grace.
    let removed = vec![(T::Cluster, "a".to_owned())];
    f.snapshots.send_modify(|s| {
        *s = Arc::new(s.with(Output { removed, ..Output::default() }, Instant::now()));
    });
    let fewer = client.next().await;
    assert_eq!((fewer.type_url.as_str(), fewer.resources.len()), (T::Cluster.type_url(), 1));

    // Who comes back with all of it is sent nothing before something changes.
    let mut again = OldClient::connect(&f).await;
    again.ask(T::Cluster, &[], &fewer.version_info).await;
    again.ask(T::Route, &["r", "s"], &asked_later.version_info).await;
    f.publish(&[(T::Cluster, "c", "1")]);
    let next = again.next().await;
    assert_eq!((next.type_url.as_str(), next.resources.len()), (T::Cluster.type_url(), 2));
}

#[tokio::test]
async fn a_refusal_in_the_older_way_is_narrowed_down_to_one_resource() {
    let clusters = [(T::Cluster, "a", "1"), (T::Cluster, "bad", "1"), (T::Cluster, "c", "1")];
    let mut f = Fixture::new(&clusters).await;
    let mut client = OldClient::connect(&f).await;
    client.ask(T::Cluster, &[], "").await;
    let mut most = 0;
    while f.rejections.is_empty() || most < 2 {
        let response = client.next().await;
        // Empty bodies: which resources they are can only be told from how many there are.
        let bad = response.resources.len() == 3 || most == 1 && f.rejections.is_empty();
        if !bad {
            most = response.resources.len();
        }
        client.answer(&response, &[], bad.then_some("no")).await;
    }
    assert_eq!(f.rejections.recv().await.unwrap().name, "bad");
}
