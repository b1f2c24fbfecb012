//! A client of delta xDS: what gateway-ctl streams to a service.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use proto::tollgate::config::v1::{AuthorizationObject, RateLimitObject};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use super::jitter::between;
use super::objects::Change;
pub use super::reply::Reply;
use super::reply::{reason, refusal, words};
use super::shutdown::Shutdown;
use super::tls::{self, Tls};
use crate::object::{Object, ObjectRef};

/// Type URL of [`RateLimitObject`].
pub const RATE_LIMIT_OBJECT: &str = "type.googleapis.com/tollgate.config.v1.RateLimitObject";
/// Type URL of [`AuthorizationObject`].
pub const AUTHORIZATION_OBJECT: &str = "type.googleapis.com/tollgate.config.v1.AuthorizationObject";

/// Longest message, in bytes.
const MAX_MESSAGE: usize = 64 << 20;
/// Wait before the first try again; doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// Longest wait between tries.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// One response of the server.
#[derive(Debug)]
pub struct Update {
    /// Type URL, resource name, encoded message.
    pub changed: Vec<(String, String, Bytes)>,
    /// Type URL, resource name.
    pub removed: Vec<(String, String)>,
    /// Tells the server how it went.
    pub reply: Reply,
}

/// Subscribes to all resources of `type_urls` at `addr` (`host:port`, or `http://host:port`) as
/// node `node_id`, over `tls` if there is one, for ever: reconnects with growing, jittered waits and tells the server what it
/// has, so that only differences come. Refuses by itself what was not subscribed to, and messages
/// of another type. The receiver ends with `shutdown`; when it is dropped, the connection ends.
pub fn connect(
    addr: String,
    tls: Option<Tls>,
    node_id: String,
    type_urls: Vec<String>,
    shutdown: Shutdown,
) -> mpsc::Receiver<Update> {
    let (sender, receiver) = mpsc::channel(1);
    let nobody_listens = sender.clone();
    tokio::spawn(async move {
        let mut client = Client { node_id, type_urls, versions: HashMap::new(), updates: sender };
        let mut backoff = MIN_BACKOFF;
        loop {
            let result = tokio::select! {
                result = client.stream(&addr, tls.clone(), &mut backoff) => result,
                () = shutdown.wait() => return,
                () = nobody_listens.closed() => return,
            };
            match result {
                Err(Ended::NobodyListens) => return,
                Err(Ended::Failed(why)) => {
                    tracing::warn!(
                        "configuration stream from {addr}: {why}; what is in force stays, trying again in {backoff:?}"
                    );
                }
                Ok(()) => tracing::info!(
                    "configuration stream from {addr} ended; trying again in {backoff:?}"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(backoff)) => {}
                () = shutdown.wait() => return,
                () = nobody_listens.closed() => return,
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    });
    receiver
}

/// Half to all of `wait`, so that clients of a server that came back do not come at once.
fn jittered(wait: Duration) -> Duration {
    between(wait, 0.5, 1.0)
}

struct Client {
    node_id: String,
    type_urls: Vec<String>,
    /// What this side has: type URL → name → version.
    versions: HashMap<String, BTreeMap<String, String>>,
    updates: mpsc::Sender<Update>,
}

enum Ended {
    NobodyListens,
    Failed(String),
}

impl Client {
    async fn stream(
        &mut self,
        addr: &str,
        tls: Option<Tls>,
        backoff: &mut Duration,
    ) -> Result<(), Ended> {
        let failed = |e: &dyn std::error::Error| Ended::Failed(words(e));
        let uri = if addr.contains("://") { addr.to_owned() } else { format!("http://{addr}") };
        let endpoint = Endpoint::from_shared(uri)
            .map_err(|e| failed(&e))?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let channel = match tls {
            Some(tls) => tls::connect(endpoint, tls).await,
            None => endpoint.connect().await,
        };
        let channel = channel.map_err(|e| failed(&e))?;
        let (requests, outgoing) = mpsc::channel(self.type_urls.len() + 16);
        for request in self.subscriptions() {
            // The channel has room for all of them.
            let _ = requests.try_send(request);
        }
        let mut responses = AggregatedDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .delta_aggregated_resources(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| Ended::Failed(reason(&status)))?
            .into_inner();
        while let Some(response) = responses.next().await {
            let response = response.map_err(|status| Ended::Failed(reason(&status)))?;
            *backoff = MIN_BACKOFF;
            let answer = self.take(response).await?;
            if requests.send(answer).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn subscriptions(&self) -> Vec<DeltaDiscoveryRequest> {
        let request = |type_url: &String| DeltaDiscoveryRequest {
            node: Some(Node { id: self.node_id.clone(), ..Node::default() }),
            type_url: type_url.clone(),
            initial_resource_versions: self.versions.get(type_url).cloned().unwrap_or_default(),
            ..DeltaDiscoveryRequest::default()
        };
        self.type_urls.iter().map(request).collect()
    }

    /// Hands a response on and turns the reply into an ACK or NACK.
    async fn take(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<DeltaDiscoveryRequest, Ended> {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        if let Err(message) = self.check(&response) {
            answer.error_detail = Some(refusal(message));
            return Ok(answer);
        }
        let type_url = response.type_url;
        let (mut changed, mut versions) = (Vec::new(), Vec::new());
        for resource in response.resources {
            let body = resource.resource.map(|any| any.value).unwrap_or_default();
            versions.push((resource.name.clone(), resource.version));
            changed.push((type_url.clone(), resource.name, Bytes::from(body)));
        }
        let removed = response.removed_resources;
        let (reply, answered) = Reply::new();
        let update = Update {
            changed,
            removed: removed.iter().map(|name| (type_url.clone(), name.clone())).collect(),
            reply,
        };
        self.updates.send(update).await.map_err(|_| Ended::NobodyListens)?;
        match answered.await.unwrap_or(Ok(())) {
            Ok(()) => {
                let known = self.versions.entry(type_url).or_default();
                known.extend(versions);
                for name in removed {
                    known.remove(&name);
                }
            }
            Err(message) => {
                answer.error_detail = Some(refusal(message));
            }
        }
        Ok(answer)
    }

    /// Whether a response is one that was asked for.
    fn check(&self, response: &DeltaDiscoveryResponse) -> Result<(), String> {
        let type_url = &response.type_url;
        if !self.type_urls.contains(type_url) {
            return Err(format!("`{type_url}` was not subscribed to"));
        }
        for resource in &response.resources {
            if let Some(any) = resource.resource.as_ref().filter(|any| any.type_url != *type_url) {
                return Err(format!("{}: holds a `{}`", resource.name, any.type_url));
            }
        }
        Ok(())
    }
}

/// As [`connect`], for streams of [`RateLimitObject`] or [`AuthorizationObject`]: each update as
/// what happened to the objects. An update of which one message holds no object, or another one
/// than its resource's name (`KIND/NAMESPACE/NAME`) says, is refused as a whole.
pub fn objects(
    addr: String,
    tls: Option<Tls>,
    node_id: String,
    type_urls: Vec<String>,
    shutdown: Shutdown,
) -> mpsc::Receiver<(Change, Reply)> {
    let mut updates = connect(addr, tls, node_id, type_urls, shutdown);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let update = tokio::select! {
                update = updates.recv() => update,
                () = sender.closed() => return,
            };
            let Some(update) = update else { return };
            match change(&update) {
                // Nobody takes it: the loop ends above.
                Ok(change) => drop(sender.send((change, update.reply)).await),
                Err(why) => update.reply.nack(why),
            }
        }
    });
    receiver
}

fn change(update: &Update) -> Result<Change, String> {
    let mut change = Change::default();
    for (type_url, name, body) in &update.changed {
        let object = decode(type_url, body).map_err(|why| format!("{name}: {why}"))?;
        // Or a removal by this name would leave the object in force.
        if object.reference != reference(name)? {
            return Err(format!("{name}: holds {}", object.reference));
        }
        change.applied.push(Arc::new(object));
    }
    for (_, name) in &update.removed {
        change.deleted.push(reference(name)?);
    }
    Ok(change)
}

fn reference(name: &str) -> Result<ObjectRef, String> {
    let mut parts = name.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(namespace), Some(name)) => Ok(ObjectRef::new(kind, namespace, name)),
        _ => Err(format!("`{name}` is no KIND/NAMESPACE/NAME")),
    }
}

fn decode(type_url: &str, body: &Bytes) -> Result<Object, String> {
    let object = match type_url {
        RATE_LIMIT_OBJECT => RateLimitObject::decode(body.clone()).map(|m| m.object),
        AUTHORIZATION_OBJECT => AuthorizationObject::decode(body.clone()).map(|m| m.object),
        other => return Err(format!("unknown resource type {other}")),
    };
    let object = object.map_err(|e| e.to_string())?.ok_or("the message holds no object")?;
    let json = serde_json::from_slice(&object.json).map_err(|e| format!("not JSON: {e}"))?;
    Object::from_json(json).map_err(|d| d.to_string())
}

#[cfg(test)]
mod tests;
