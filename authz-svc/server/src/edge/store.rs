//! Where sessions, locks and signatures that were seen are kept: in Redis, for all replicas, or in
//! this process. Values are encrypted by whoever stores them; this knows none of them.

mod link;
mod memory;
mod redis;

use std::time::{Duration, Instant};

use authz_core::need::{StoreAnswer, StoreCommand, StoreError};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use service_kit::server::admin::Readiness;
use service_kit::server::redis::{RedisServer, State};
use tokio::sync::watch;

use memory::Memory;
use redis::Redis;

/// Which store, and how to reach it.
#[allow(clippy::large_enum_variant)] // there is one in a process
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory {
        /// Most bytes, keys and what it takes to keep them included.
        bytes: usize,
    },
    /// In Redis (or Valkey).
    Redis {
        /// Where.
        server: RedisServer,
        /// Before each key.
        prefix: String,
        /// How often an idle server is asked whether it lives.
        ping: Duration,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    place: Place,
    /// For people, without credentials.
    shown: String,
    done: Counter,
    failed: Counter,
}

#[derive(Debug)]
enum Place {
    Memory(Memory),
    Redis(Redis),
}

impl Store {
    /// Begins to connect; a server that is down is no error. Needs a tokio runtime.
    pub fn open(settings: &StoreSettings, registry: &mut Registry) -> Self {
        let commands = Family::<Outcome, Counter>::default();
        let text = "Commands to the store of sessions by outcome";
        registry.register("authz_store_commands", text, commands.clone());
        let of = |outcome| commands.get_or_create(&Outcome { outcome }).clone();
        let (place, shown) = match settings {
            StoreSettings::Memory { bytes } => {
                tracing::info!(
                    "sessions are kept in memory: they end with this process, and each replica has \
                     its own; name a Redis by --redis-url to share them"
                );
                let memory = Memory::register(*bytes, registry);
                (Place::Memory(memory), format!("memory, at most {bytes} bytes"))
            }
            StoreSettings::Redis { server, prefix, ping } => {
                let redis = Redis::open(server, prefix, *ping);
                (Place::Redis(redis), format!("Redis {}", server.shown()))
            }
        };
        Self { place, shown, done: of("ok"), failed: of("failed") }
    }

    /// Which one it is, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Keeps the component `store` of `ready` true for as long as the process runs. It is told, and
    /// not needed: most filters can judge without it.
    pub fn tell(&self, ready: &Readiness) {
        match &self.place {
            Place::Memory(_) => ready.note("store", Ok(())),
            Place::Redis(redis) => {
                tokio::spawn(follow(redis.states(), ready.clone()));
            }
        }
    }

    /// Does a command.
    ///
    /// # Errors
    /// When the store cannot be used now. Nobody knows then whether the command was done.
    pub async fn run(&self, command: StoreCommand) -> Result<StoreAnswer, StoreError> {
        let result = match &self.place {
            Place::Memory(memory) => memory.run(command, Instant::now()),
            Place::Redis(redis) => redis.run(command).await,
        };
        if result.is_ok() { &self.done } else { &self.failed }.inc();
        result
    }
}

async fn follow(mut states: Vec<watch::Receiver<State>>, ready: Readiness) {
    loop {
        let worst = states.iter_mut().find_map(|s| s.borrow_and_update().clone().err());
        ready.note("store", worst.map_or(Ok(()), |why| Err(format!("Redis: {why}"))));
        let changes = states.iter_mut().map(|s| Box::pin(s.changed()));
        let (changed, ..) = futures::future::select_all(changes).await;
        if changed.is_err() {
            return;
        }
    }
}
