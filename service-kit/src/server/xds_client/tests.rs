//! The client as a server on a socket sees it.

use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse, Resource};
use proto::tollgate::config::v1 as config;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Streaming};

use super::super::shutdown::Trigger;
use super::*;

/// Hands each stream to the test.
struct Server(mpsc::Sender<Stream>);

/// One stream of the client; ends when dropped.
struct Stream {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::Sender<Result<DeltaDiscoveryResponse, tonic::Status>>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, tonic::Status>>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, tonic::Status> {
        Err(tonic::Status::unimplemented("delta only"))
    }

    type DeltaAggregatedResourcesStream =
        ReceiverStream<Result<DeltaDiscoveryResponse, tonic::Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, tonic::Status> {
        let (responses, receiver) = mpsc::channel(8);
        let requests = request.into_inner();
        self.0.send(Stream { requests, responses }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A server, and what a client of it needs.
struct Fixture {
    addr: String,
    streams: mpsc::Receiver<Stream>,
    shutdown: Shutdown,
    trigger: Trigger,
}

impl Fixture {
    async fn new() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let addr = listener.local_addr().unwrap().to_string();
        let (sender, streams) = mpsc::channel(8);
        let service = AggregatedDiscoveryServiceServer::new(Server(sender));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let (shutdown, trigger) = Shutdown::manual();
        Self { addr, streams, shutdown, trigger }
    }

    fn connect(&self, type_urls: &[&str]) -> mpsc::Receiver<Update> {
        let types = type_urls.iter().map(|t| (*t).to_owned()).collect();
        connect(self.addr.clone(), None, "node".to_owned(), types, self.shutdown.clone())
    }

    fn objects(&self) -> mpsc::Receiver<(Change, Reply)> {
        let types = vec![RATE_LIMIT_OBJECT.to_owned()];
        objects(self.addr.clone(), None, "node".to_owned(), types, self.shutdown.clone())
    }

    async fn stream(&mut self) -> Stream {
        soon(self.streams.recv()).await.unwrap()
    }
}

impl Stream {
    async fn request(&mut self) -> DeltaDiscoveryRequest {
        soon(self.requests.message()).await.unwrap().unwrap()
    }

    /// The message of the NACK that comes next; none for an ACK.
    async fn answer(&mut self, nonce: &str) -> Option<String> {
        let answer = self.request().await;
        assert_eq!(answer.response_nonce, nonce);
        answer.error_detail.map(|status| status.message)
    }

    async fn send(&self, nonce: &str, resources: Vec<Resource>, removed: &[&str]) {
        let response = DeltaDiscoveryResponse {
            type_url: RATE_LIMIT_OBJECT.to_owned(),
            nonce: nonce.to_owned(),
            resources,
            removed_resources: removed.iter().map(|r| (*r).to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        self.responses.send(Ok(response)).await.unwrap();
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("nothing happens")
}

fn resource(name: &str, version: &str, body: impl Into<Vec<u8>>) -> Resource {
    let mut resource = Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(Default::default()),
        ..Resource::default()
    };
    let any = resource.resource.as_mut().unwrap();
    any.type_url = RATE_LIMIT_OBJECT.to_owned();
    any.value = body.into();
    resource
}

/// A resource that holds JSON.
fn object(name: &str, json: &str) -> Resource {
    let object = config::Object { json: json.to_owned().into(), ..config::Object::default() };
    resource(name, "1", RateLimitObject { object: Some(object) }.encode_to_vec())
}

fn limit(name: &str) -> String {
    json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "RateLimit",
        "metadata": {"name": name, "namespace": "n"}, "spec": {},
    })
    .to_string()
}

fn versions(request: &DeltaDiscoveryRequest) -> Vec<(&str, &str)> {
    request.initial_resource_versions.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()
}

#[tokio::test]
async fn subscribes_to_everything_of_each_type() {
    let mut server = Fixture::new().await;
    let _updates = server.connect(&[RATE_LIMIT_OBJECT, AUTHORIZATION_OBJECT]);
    let mut stream = server.stream().await;
    for type_url in [RATE_LIMIT_OBJECT, AUTHORIZATION_OBJECT] {
        let request = stream.request().await;
        assert_eq!(request.type_url, type_url);
        assert_eq!(request.node.unwrap().id, "node");
        // Neither names nor versions: a wildcard, by one that has nothing yet.
        assert!(request.resource_names_subscribe.is_empty());
        assert!(request.initial_resource_versions.is_empty());
    }
}

#[tokio::test]
async fn hands_on_and_answers_as_told() {
    let mut server = Fixture::new().await;
    let mut updates = server.connect(&[RATE_LIMIT_OBJECT]);
    let mut stream = server.stream().await;
    stream.request().await;

    stream.send("1", vec![resource("a", "v1", "body")], &["b"]).await;
    let update = soon(updates.recv()).await.unwrap();
    let type_url = RATE_LIMIT_OBJECT.to_owned();
    let changed = (type_url.clone(), "a".to_owned(), Bytes::from_static(b"body"));
    assert_eq!(update.changed, [changed]);
    assert_eq!(update.removed, [(type_url, "b".to_owned())]);
    update.reply.ack();
    assert_eq!(stream.answer("1").await, None);

    stream.send("2", vec![resource("a", "v2", "bad")], &[]).await;
    soon(updates.recv()).await.unwrap().reply.nack("it is bad");
    assert_eq!(stream.answer("2").await.as_deref(), Some("it is bad"));

    stream.send("3", vec![], &["a"]).await;
    drop(soon(updates.recv()).await.unwrap());
    assert_eq!(stream.answer("3").await, None);
}

#[tokio::test]
async fn tells_a_server_that_is_back_what_it_has() {
    let mut server = Fixture::new().await;
    let mut updates = server.connect(&[RATE_LIMIT_OBJECT, AUTHORIZATION_OBJECT]);
    let mut stream = server.stream().await;
    stream.request().await;
    stream.request().await;
    let body = |name, version| resource(name, version, "");
    stream.send("1", vec![body("a", "v1"), body("b", "v1"), body("c", "v1")], &[]).await;
    soon(updates.recv()).await.unwrap().reply.ack();
    stream.answer("1").await;
    stream.send("2", vec![body("a", "v2")], &["b"]).await;
    soon(updates.recv()).await.unwrap().reply.ack();
    stream.answer("2").await;
    // What was refused is not had.
    stream.send("3", vec![body("c", "v2"), body("d", "v1")], &["a"]).await;
    soon(updates.recv()).await.unwrap().reply.nack("no");
    stream.answer("3").await;

    drop(stream);
    let mut stream = server.stream().await;
    assert_eq!(versions(&stream.request().await), [("a", "v2"), ("c", "v1")]);
    assert_eq!(versions(&stream.request().await), []);
    // A fresh server does not have `c`.
    stream.send("1", vec![], &["c"]).await;
    let update = soon(updates.recv()).await.unwrap();
    assert_eq!(update.removed, [(RATE_LIMIT_OBJECT.to_owned(), "c".to_owned())]);
    update.reply.ack();
    stream.answer("1").await;

    let failure = Err(tonic::Status::unavailable("going down"));
    stream.responses.send(failure).await.unwrap();
    let mut stream = server.stream().await;
    assert_eq!(versions(&stream.request().await), [("a", "v2")]);
}

#[tokio::test]
async fn waits_for_a_server_that_is_not_there_yet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let (shutdown, _trigger) = Shutdown::manual();
    let types = vec![RATE_LIMIT_OBJECT.to_owned()];
    let mut updates = connect(format!("http://{addr}"), None, "node".to_owned(), types, shutdown);
    // Long enough for a try that fails.
    assert!(timeout(Duration::from_millis(50), updates.recv()).await.is_err());
    let mut server = Fixture::on(TcpListener::bind(addr).await.unwrap());
    server.stream().await.request().await;
}

#[tokio::test]
async fn takes_large_messages() {
    let mut server = Fixture::new().await;
    let mut updates = server.connect(&[RATE_LIMIT_OBJECT]);
    let mut stream = server.stream().await;
    stream.request().await;
    stream.send("1", vec![resource("a", "v1", vec![0; 20 << 20])], &[]).await;
    assert_eq!(soon(updates.recv()).await.unwrap().changed[0].2.len(), 20 << 20);
    assert_eq!(stream.answer("1").await, None);
}

#[tokio::test]
async fn refuses_what_it_did_not_ask_for() {
    let mut server = Fixture::new().await;
    let mut updates = server.connect(&[AUTHORIZATION_OBJECT]);
    let mut stream = server.stream().await;
    stream.request().await;
    stream.send("1", vec![resource("a", "v1", "")], &[]).await;
    let why = stream.answer("1").await.unwrap();
    assert!(why.contains("RateLimitObject` was not subscribed to"), "{why}");
    assert!(updates.try_recv().is_err());

    let mut updates = server.connect(&[RATE_LIMIT_OBJECT]);
    let mut stream = server.stream().await;
    stream.request().await;
    let mut other = resource("a", "v1", "");
    other.resource.as_mut().unwrap().type_url = AUTHORIZATION_OBJECT.to_owned();
    stream.send("1", vec![other], &[]).await;
    let why = stream.answer("1").await.unwrap();
    assert!(why.contains("a: holds a `") && why.contains("AuthorizationObject"), "{why}");
    assert!(updates.try_recv().is_err());
}

#[tokio::test]
async fn ends_with_shutdown_and_with_its_receiver() {
    let mut server = Fixture::new().await;
    let mut updates = server.connect(&[RATE_LIMIT_OBJECT]);
    let mut first = server.stream().await;
    first.request().await;
    let abandoned = server.objects();
    let mut second = server.stream().await;
    second.request().await;

    drop(abandoned);
    // The stream ends, orderly or not.
    assert!(!matches!(soon(second.requests.message()).await, Ok(Some(_))));
    server.trigger.fire();
    assert!(soon(updates.recv()).await.is_none());
    assert!(!matches!(soon(first.requests.message()).await, Ok(Some(_))));
}

#[tokio::test]
async fn streams_objects() {
    let mut server = Fixture::new().await;
    let mut objects = server.objects();
    let mut stream = server.stream().await;
    stream.request().await;
    stream.send("1", vec![object("RateLimit/n/a", &limit("a"))], &["RateLimit/n/b"]).await;
    let (change, reply) = soon(objects.recv()).await.unwrap();
    assert_eq!(change.applied[0].reference.to_string(), "RateLimit n/a");
    assert_eq!(change.deleted, [ObjectRef::new("RateLimit", "n", "b")]);
    assert!(change.found.is_empty());
    reply.ack();
    assert_eq!(stream.answer("1").await, None);
}

#[tokio::test]
async fn refuses_what_is_no_object() {
    let mut server = Fixture::new().await;
    let mut objects = server.objects();
    let mut stream = server.stream().await;
    stream.request().await;
    let (name, good) = ("RateLimit/n/a", object("RateLimit/n/good", &limit("good")));
    let cases = [
        (resource(name, "1", vec![0xff; 8]), "RateLimit/n/a: failed to decode"),
        (resource(name, "1", ""), "RateLimit/n/a: the message holds no object"),
        (object(name, "{"), "RateLimit/n/a: not JSON: "),
        (object(name, "{}"), "RateLimit/n/a: error: kind: a Kubernetes object needs `kind`"),
        (object(name, &limit("b")), "RateLimit/n/a: holds RateLimit n/b"),
        (object("a", &limit("a")), "`a` is no KIND/NAMESPACE/NAME"),
    ];
    for (i, (bad, message)) in cases.into_iter().enumerate() {
        let nonce = i.to_string();
        stream.send(&nonce, vec![good.clone(), bad], &[]).await;
        let why = stream.answer(&nonce).await.unwrap();
        assert!(why.starts_with(message), "{why}");
    }
    stream.send("r", vec![], &["RateLimit/a"]).await;
    assert_eq!(
        stream.answer("r").await.as_deref(),
        Some("`RateLimit/a` is no KIND/NAMESPACE/NAME")
    );
    assert!(objects.try_recv().is_err(), "nothing of a refused update is in force");
}

#[test]
fn waits_half_to_all_of_the_backoff() {
    for _ in 0..100 {
        let wait = jittered(Duration::from_secs(4));
        assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&wait), "{wait:?}");
    }
}
