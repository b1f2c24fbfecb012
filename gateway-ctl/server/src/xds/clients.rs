//! Who is connected, and how far they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway_core::ResourceType;
use proto::envoy::config::core::v3::{Node, node::UserAgentVersionType};
use serde::Serialize;
use tokio::sync::watch;

use super::session::TypeStatus;

/// What a client is, told by what it asks for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ClientKind {
    /// An Envoy.
    #[serde(rename = "envoy")]
    Envoy,
    /// A ratelimit-svc.
    #[serde(rename = "ratelimit-svc")]
    RateLimit,
    /// An authz-svc.
    #[serde(rename = "authz-svc")]
    Authorization,
}

impl ClientKind {
    /// The kind of client that asks for this type.
    pub const fn of(resource_type: ResourceType) -> Self {
        match resource_type {
            ResourceType::RateLimitObject => Self::RateLimit,
            ResourceType::AuthorizationObject => Self::Authorization,
            _ => Self::Envoy,
        }
    }

    /// Its name in metrics and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::RateLimit => "ratelimit-svc",
            Self::Authorization => "authz-svc",
        }
    }
}

/// One connected client.
#[derive(Clone, Debug, Serialize)]
pub struct ClientStatus {
    /// What it is.
    pub kind: ClientKind,
    /// `node.id`.
    pub node: String,
    /// `node.cluster`.
    pub cluster: String,
    /// Its program and version, as it says.
    pub agent: String,
    /// Seconds since the epoch.
    pub connected_at: u64,
    /// The revision it is compared with.
    pub revision: u64,
    /// What it wants and has, by type.
    pub types: BTreeMap<&'static str, TypeStatus>,
    /// Its last refusal in words.
    pub last_refusal: Option<String>,
}

impl ClientStatus {
    /// Whether it acknowledged everything it asked for, of the given revision or a later one.
    pub fn is_in_sync(&self, revision: u64) -> bool {
        self.revision >= revision && self.types.values().all(|t| t.in_sync)
    }

    /// Whether it asked for this type and acknowledged all of it.
    pub fn has(&self, word: &str) -> bool {
        self.types.get(word).is_some_and(|t| t.in_sync)
    }

    /// A client that has asked for nothing yet.
    pub(crate) fn new(kind: ClientKind, node: Option<&Node>, connected_at: u64) -> Self {
        // Clients say these themselves; longer than any real name is cut.
        let short = |text: &str| text.chars().take(200).collect::<String>();
        Self {
            kind,
            node: node.map(|n| short(&n.id)).unwrap_or_default(),
            cluster: node.map(|n| short(&n.cluster)).unwrap_or_default(),
            agent: short(&node.map(agent).unwrap_or_default()),
            connected_at,
            revision: 0,
            types: BTreeMap::new(),
            last_refusal: None,
        }
    }
}

fn agent(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            build.version.as_ref().map_or_else(String::new, |v| {
                format!("{}.{}.{}", v.major_number, v.minor_number, v.patch)
            })
        }
        None => String::new(),
    };
    format!("{} {version}", node.user_agent_name).trim().to_owned()
}

/// All connected clients.
#[derive(Clone)]
pub struct Clients {
    by_stream: Arc<Mutex<BTreeMap<u64, ClientStatus>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Clients {
    fn default() -> Self {
        Self { by_stream: Arc::default(), changes: Arc::new(watch::channel(0).0) }
    }
}

impl Clients {
    /// All of them, the longest connected first.
    pub fn list(&self) -> Vec<ClientStatus> {
        self.lock().values().cloned().collect()
    }

    /// Wakes at each change of the list.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn set(&self, stream: u64, status: ClientStatus) {
        self.lock().insert(stream, status);
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(super) fn remove(&self, stream: u64) {
        self.lock().remove(&stream);
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ClientStatus>> {
        // Every edit is a whole insert or remove: a panic elsewhere leaves nothing half done.
        self.by_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
