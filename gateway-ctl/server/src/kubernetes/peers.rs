//! The other replicas: who is connected to them, and how far. Resources have equal versions on every
//! replica, so what a client of another one has can be compared with what is in force here.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use gateway_core::ResourceType;
use serde::{Deserialize, Serialize};

use crate::xds::clients::ClientKind;
use crate::xds::snapshot::word;
use crate::xds::{Clients, Snapshot};

/// A replica that does not answer within this time counts as one whose clients are behind.
const ANSWER: Duration = Duration::from_millis(500);

/// What a replica says of itself at `/clients`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Its name.
    identity: String,
    /// The version of everything in force, by type.
    versions: BTreeMap<String, String>,
    /// Its clients.
    clients: Vec<Client>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Client {
    kind: String,
    in_sync: bool,
}

/// A client of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClient {
    /// What it is; unknown where the replica did not answer.
    pub kind: Option<ClientKind>,
    /// Whether it has what is in force here.
    pub has_it: bool,
}

impl Replica {
    /// This one.
    pub fn new(identity: &str, snapshot: &Snapshot, clients: &Clients) -> Self {
        let asked = |c: &crate::xds::ClientStatus| !c.types.is_empty();
        Self {
            identity: identity.to_owned(),
            versions: versions(snapshot),
            clients: clients
                .list()
                .iter()
                .filter(|c| asked(c))
                .map(|c| Client {
                    kind: c.kind.word().to_owned(),
                    in_sync: c.is_in_sync(snapshot.revision),
                })
                .collect(),
        }
    }

    /// Its clients, compared with `snapshot`.
    fn compare(&self, snapshot: &Snapshot) -> Vec<PeerClient> {
        let here = versions(snapshot);
        let same = |kind: ClientKind| {
            let of_kind = ResourceType::ALL.into_iter().filter(|t| ClientKind::of(*t) == kind);
            of_kind.map(word).all(|t| here.get(t) == self.versions.get(t))
        };
        let kinds = [ClientKind::Envoy, ClientKind::RateLimit, ClientKind::Authorization];
        let kind_of = |c: &Client| kinds.into_iter().find(|k| k.word() == c.kind);
        let compare = |c: &Client| {
            let kind = kind_of(c);
            PeerClient { kind, has_it: c.in_sync && kind.is_some_and(same) }
        };
        self.clients.iter().map(compare).collect()
    }
}

fn versions(snapshot: &Snapshot) -> BTreeMap<String, String> {
    ResourceType::ALL.into_iter().map(|t| (word(t).to_owned(), snapshot.of(t).version())).collect()
}

/// Asks the other replicas.
#[derive(Clone)]
pub struct Peers {
    http: reqwest::Client,
    /// A name with the addresses of all replicas, and the port of their page.
    address: String,
    identity: String,
}

impl Peers {
    /// Replicas at `address`, as `HOST:PORT`; the one named `identity` is this one.
    pub fn new(address: String, identity: String) -> Self {
        Self { http: reqwest::Client::new(), address, identity }
    }

    /// Their clients, compared with `snapshot`. One that does not answer is a client that lacks
    /// everything.
    pub async fn ask(&self, snapshot: impl Fn() -> std::sync::Arc<Snapshot>) -> Vec<PeerClient> {
        let unknown = vec![PeerClient { kind: None, has_it: false }];
        let addresses = match tokio::net::lookup_host(&self.address).await {
            Ok(addresses) => addresses,
            Err(e) => {
                tracing::debug!("--peers {}: {e}", self.address);
                return unknown;
            }
        };
        let ask = |address| async move {
            let request = self.http.get(format!("http://{address}/clients")).timeout(ANSWER);
            let answer = request.send().await.ok()?.error_for_status().ok()?;
            serde_json::from_slice::<Replica>(&answer.bytes().await.ok()?).ok()
        };
        let answers = join_all(addresses.map(ask)).await;
        let now = snapshot();
        answers
            .into_iter()
            .flat_map(|answer| match answer {
                Some(replica) if replica.identity == self.identity => Vec::new(),
                Some(replica) => replica.compare(&now),
                None => unknown.clone(),
            })
            .collect()
    }
}
