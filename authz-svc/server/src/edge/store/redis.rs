//! A store in Redis (or Valkey), from 6.2 on: which commands it takes, and which server has a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::{Pipeline, Value};
use authz_core::need::{StoreAnswer, StoreCommand, StoreError};
use service_kit::server::redis::{
    Address, Cluster, Dial, Node as _, RedisServer, State, Target, Topology,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::{Habits, Link, Refusal};

/// How often a command may be sent on to another server of a cluster.
const MAX_HOPS: usize = 4;
/// Removes a key that has this value.
const DELETE_IF: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The store.
#[derive(Debug)]
pub(super) struct Redis {
    servers: Servers,
    prefix: String,
    timeout: Duration,
}

#[derive(Debug)]
enum Servers {
    /// One, over some connections in turn.
    One(Vec<Link>, AtomicUsize),
    Cluster(Cluster<Link>),
}

impl Redis {
    /// Begins to connect. Needs a tokio runtime.
    pub(super) fn open(server: &RedisServer, prefix: &str, ping: Duration) -> Self {
        let habits = Habits { timeout: server.timeout, ping };
        let dial = |target| Dial {
            target,
            credentials: server.credentials.clone(),
            database: server.database,
            tls: server.tls.clone(),
        };
        let one = |target: Target| {
            let links = (0..server.connections.max(1))
                .map(|_| Link::open(dial(target.clone()), habits.clone()))
                .collect();
            Servers::One(links, AtomicUsize::new(0))
        };
        let servers = match &server.topology {
            Topology::Single(address) => one(Target::Address(address.clone())),
            Topology::Sentinel(sentinels) => one(Target::Sentinels(Arc::new(sentinels.clone()))),
            Topology::Cluster(seeds) => {
                // Where it goes is each server's own.
                let first = seeds.first().cloned().unwrap_or(Address::Tcp(String::new(), 0));
                let dial = dial(Target::Address(first));
                Servers::Cluster(Cluster::open(dial, habits.clone(), seeds.clone()))
            }
        };
        Self { servers, prefix: prefix.to_owned(), timeout: server.timeout }
    }

    /// How the servers are, now and from now on.
    pub(super) fn states(&self) -> Vec<watch::Receiver<State>> {
        match &self.servers {
            Servers::One(links, _) => links.iter().map(|l| l.state()).collect(),
            Servers::Cluster(cluster) => vec![cluster.state()],
        }
    }

    /// Does a command, wherever its key is.
    pub(super) async fn run(&self, command: StoreCommand) -> Result<StoreAnswer, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let key = format!("{}{}", self.prefix, key(&command));
        let mut link = self.link(&key).ok_or(StoreError)?;
        let mut asking = false;
        for _ in 0..MAX_HOPS {
            match link.ask(&pipeline(&command, &key, asking), deadline).await {
                Ok(value) => return read(&command, value),
                Err(Refusal::Moved { to, ask }) => {
                    link = self.named(&to).ok_or(StoreError)?;
                    asking = ask;
                }
                Err(Refusal::Failed(why)) => {
                    tracing::debug!("{command:?} at Redis {}: {why}", link.shown());
                    self.doubt();
                    return Err(StoreError);
                }
            }
        }
        Err(StoreError)
    }

    fn link(&self, key: &str) -> Option<Link> {
        match &self.servers {
            Servers::One(links, turn) => {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                links.get(turn % links.len().max(1)).cloned()
            }
            Servers::Cluster(cluster) => cluster.link(key.as_bytes()),
        }
    }

    /// The server that another one named.
    fn named(&self, address: &str) -> Option<Link> {
        match &self.servers {
            Servers::One(..) => None,
            Servers::Cluster(cluster) => cluster.named(address),
        }
    }

    /// A server failed: what is known of the cluster may be wrong.
    fn doubt(&self) {
        if let Servers::Cluster(cluster) = &self.servers {
            cluster.doubt();
        }
    }
}

fn key(command: &StoreCommand) -> &str {
    match command {
        StoreCommand::Get(key)
        | StoreCommand::Set(key, ..)
        | StoreCommand::Add(key, ..)
        | StoreCommand::Take(key)
        | StoreCommand::Delete(key)
        | StoreCommand::DeleteIf(key, _) => key,
    }
}

fn pipeline(command: &StoreCommand, key: &str, asking: bool) -> Pipeline {
    let mut pipe = ::redis::pipe();
    if asking {
        pipe.cmd("ASKING").ignore();
    }
    // Redis takes no life of 0.
    let millis = |life: &Duration| u64::try_from(life.as_millis()).unwrap_or(u64::MAX >> 12).max(1);
    match command {
        StoreCommand::Get(_) => pipe.cmd("GET").arg(key),
        StoreCommand::Set(_, value, life) => {
            pipe.cmd("SET").arg(key).arg(value.as_slice()).arg("PX").arg(millis(life))
        }
        StoreCommand::Add(_, value, life) => {
            pipe.cmd("SET").arg(key).arg(value.as_slice()).arg("NX").arg("PX").arg(millis(life))
        }
        StoreCommand::Take(_) => pipe.cmd("GETDEL").arg(key),
        StoreCommand::Delete(_) => pipe.cmd("DEL").arg(key),
        StoreCommand::DeleteIf(_, value) => {
            pipe.cmd("EVAL").arg(DELETE_IF).arg(1).arg(key).arg(value.as_slice())
        }
    };
    // A refusal of one command is not one of the connection.
    pipe.ignore_errors();
    pipe
}

fn read(command: &StoreCommand, value: Value) -> Result<StoreAnswer, StoreError> {
    Ok(match (command, value) {
        (StoreCommand::Get(_) | StoreCommand::Take(_), Value::Nil) => StoreAnswer::Value(None),
        (StoreCommand::Get(_) | StoreCommand::Take(_), Value::BulkString(bytes)) => {
            StoreAnswer::Value(Some(bytes))
        }
        (StoreCommand::Set(..) | StoreCommand::Add(..), Value::Okay) => StoreAnswer::Done,
        (StoreCommand::Add(..), Value::Nil) => StoreAnswer::Exists,
        (StoreCommand::Delete(_) | StoreCommand::DeleteIf(..), Value::Int(_)) => StoreAnswer::Done,
        _ => return Err(StoreError),
    })
}
