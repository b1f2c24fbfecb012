//! A client of xDS, state of the world: one type, all its resources in each response. Any control
//! plane may be at the other end, so it keeps to the protocol and to what Go servers bear. Knows no
//! resource.

mod backoff;

use std::time::Duration;

use futures::StreamExt as _;
use prost_types::Any;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::reply::{Reply, reason, refusal, words};
use super::shutdown::Shutdown;
use super::tls::{self, ClientFiles};
use backoff::around;

pub use backoff::Backoff;

/// Go servers end a connection that pings them more often than each five minutes.
const PING: Duration = Duration::from_secs(330);

/// Where to, as whom, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`.
    pub addr: String,
    /// What is subscribed to.
    pub type_url: String,
    /// Who asks.
    pub node: Node,
    /// Go with the call; secrets among them are to be marked as sensitive.
    pub headers: MetadataMap,
    /// None: in clear text.
    pub tls: Option<ClientFiles>,
    /// Longest response, in bytes.
    pub max_message: usize,
    /// What people call [`Self::max_message`].
    pub max_message_name: &'static str,
    /// From one try to connect to the next, more or less half of it.
    pub connect_retry: Duration,
    /// From the end of a stream to the next one.
    pub backoff: Backoff,
}

/// All resources there are now.
#[derive(Debug)]
pub struct World {
    /// As they came: of whatever type.
    pub resources: Vec<Any>,
    /// Tells the server how it went.
    pub reply: Reply,
}

/// Subscribes for ever: tries again when there is no server or the stream ends. What the server has
/// said already, and says again, is not handed on twice. The receiver ends with `shutdown`; when it
/// is dropped, the connection ends.
pub fn connect(settings: Settings, shutdown: Shutdown) -> mpsc::Receiver<World> {
    let (worlds, receiver) = mpsc::channel(1);
    let nobody_listens = worlds.clone();
    tokio::spawn(async move {
        let mut client = Client { settings, worlds, version: String::new(), known: None };
        tokio::select! {
            () = client.run() => {}
            () = shutdown.wait() => {}
            () = nobody_listens.closed() => {}
        }
    });
    receiver
}

struct Client {
    settings: Settings,
    worlds: mpsc::Sender<World>,
    /// Of the last response that is in force.
    version: String,
    /// What it said, in the order of bytes: servers may have no order.
    known: Option<Vec<Any>>,
}

/// Nobody takes the resources any more.
struct Abandoned;

impl Client {
    async fn run(&mut self) {
        let mut failed = 0;
        loop {
            let channel = self.connected().await;
            let why = match self.stream(channel, &mut failed).await {
                Ok(why) => why,
                Err(Abandoned) => return,
            };
            let wait = self.settings.backoff.wait(failed);
            failed += 1;
            tracing::warn!(
                "configuration stream from {}: {why}; what is in force stays, trying again in {wait:?}",
                self.settings.addr
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// A connection, however long it takes.
    async fn connected(&self) -> Channel {
        let mut said = String::new();
        loop {
            let why = match self.connect().await {
                Ok(channel) => return channel,
                Err(why) => why,
            };
            if why != said {
                tracing::warn!(
                    "no connection to the control plane at {}: {why}; trying again each {:?}",
                    self.settings.addr,
                    self.settings.connect_retry
                );
                said = why;
            }
            tokio::time::sleep(around(self.settings.connect_retry)).await;
        }
    }

    async fn connect(&self) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.settings.addr))
            .map_err(|e| words(&e))?
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(PING)
            .keep_alive_while_idle(true);
        let channel = match &self.settings.tls {
            None => endpoint.connect().await,
            Some(files) => {
                let config = files.read()?;
                tls::connect_with(endpoint, config, files.server_name.clone()).await
            }
        };
        channel.map_err(|e| words(&e))
    }

    /// One stream; gives why it ended.
    async fn stream(&mut self, channel: Channel, failed: &mut u32) -> Result<String, Abandoned> {
        // A nonce means something on its own stream only, so the first request has none.
        let (requests, outgoing) = mpsc::channel(1);
        let _ = requests.try_send(self.request(String::new()));
        let mut request = Request::new(ReceiverStream::new(outgoing));
        *request.metadata_mut() = self.settings.headers.clone();
        let opened = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(self.settings.max_message)
            .stream_aggregated_resources(request)
            .await;
        let mut responses = match opened {
            Ok(responses) => responses.into_inner(),
            Err(status) => return Ok(reason(&status)),
        };
        tracing::info!("configuration stream from {} is open", self.settings.addr);
        while let Some(response) = responses.next().await {
            let response = match response {
                Ok(response) => response,
                Err(status) => return Ok(self.why(&status)),
            };
            *failed = 0;
            let answer = self.take(response).await?;
            if requests.send(answer).await.is_err() {
                break;
            }
        }
        Ok("it ended".to_owned())
    }

    fn why(&self, status: &tonic::Status) -> String {
        let reason = reason(status);
        match status.code() {
            tonic::Code::OutOfRange => format!("{reason} ({})", self.settings.max_message_name),
            _ => reason,
        }
    }

    fn request(&self, response_nonce: String) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            node: Some(self.settings.node.clone()),
            type_url: self.settings.type_url.clone(),
            response_nonce,
            ..DiscoveryRequest::default()
        }
    }

    /// Hands a response on and turns the reply into an ACK or NACK.
    async fn take(&mut self, response: DiscoveryResponse) -> Result<DiscoveryRequest, Abandoned> {
        match self.apply(response.resources).await? {
            Ok(()) => {
                self.version = response.version_info;
                Ok(self.request(response.nonce))
            }
            Err(message) => Ok(DiscoveryRequest {
                error_detail: Some(refusal(message)),
                ..self.request(response.nonce)
            }),
        }
    }

    /// Whether the resources are in force, or why not.
    async fn apply(&mut self, resources: Vec<Any>) -> Result<Result<(), String>, Abandoned> {
        let mut sorted = resources.clone();
        sorted.sort_by(|a, b| a.value.cmp(&b.value));
        if self.known.as_ref() == Some(&sorted) {
            return Ok(Ok(()));
        }
        let (reply, answered) = Reply::new();
        self.worlds.send(World { resources, reply }).await.map_err(|_| Abandoned)?;
        let result = answered.await.unwrap_or(Ok(()));
        // After a refusal, the same as before is news: it says that the refused is gone.
        self.known = result.is_ok().then_some(sorted);
        Ok(result)
    }
}
