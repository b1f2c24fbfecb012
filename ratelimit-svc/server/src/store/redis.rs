//! Counters in Redis (or Valkey), under envoyproxy/ratelimit's keys.

mod batch;
mod inspect;
mod lease;
mod link;
mod local_cache;
mod script;
mod seen;
mod settings;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures::future::join_all;
use ratelimit_core::algorithm::fixed_window::window_start;
use ratelimit_core::{Count, Counter, CounterKind, Plan};
use service_kit::server::redis::{Cluster, Dial, Node as _, State, Target};
use service_kit::server::shutdown::Shutdown;
use smallvec::{SmallVec, smallvec};
use tokio::sync::watch;

use super::{Results, StoreError, Want};
use crate::health::Health;
use crate::metrics::{PoolStats, StoreStats};
use batch::{Operation, Reply, Task};
use lease::{Leases, Taken};
use link::{Habits, Link, Replies};
use local_cache::LocalCache;

pub use service_kit::server::redis::{
    Address, Credentials, RedisServer, Sentinels, Tls, Topology, Trust,
};
pub use settings::RedisSettings;

/// How often a task may be sent on to another server of a cluster.
const MAX_HOPS: usize = 4;
/// How often leases of windows that are over are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// The store.
#[derive(Debug)]
pub struct Redis {
    main: Servers,
    /// For limits whose unit is a second.
    per_second: Option<Servers>,
    cache: Option<LocalCache>,
    leases: Arc<Leases>,
}

/// Where keys are.
#[derive(Debug)]
enum Servers {
    /// One server; a key is always asked for over the same of its connections.
    One {
        links: Vec<Link>,
        hasher: RandomState,
        dial: Dial,
    },
    Cluster(Cluster<Link>),
}

/// A task on its way to a server.
struct Errand<'s> {
    /// Place of its result.
    at: usize,
    servers: &'s Servers,
    link: Link,
    task: Task,
}

/// What is to be done for a counter.
enum Step<'s> {
    /// It is known here.
    Known(Result<Count, StoreError>),
    Ask(Errand<'s>),
}

type Errands<'s> = SmallVec<[Errand<'s>; 2]>;

impl Redis {
    /// Begins to connect; a server that is down is no error. Needs a tokio runtime.
    pub fn open(settings: &RedisSettings, stats: &StoreStats) -> Self {
        let servers = |server: &RedisServer, stats: &PoolStats| {
            stats.in_use();
            let habits = Habits {
                timeout: server.timeout,
                ping: settings.ping_interval,
                jitter_seconds: settings.jitter_seconds,
                stats: stats.clone(),
            };
            Servers::open(server, &habits)
        };
        let leases = Arc::new(Leases::default());
        tokio::spawn(sweep(Arc::downgrade(&leases)));
        Self {
            main: servers(&settings.main, &stats.pool),
            per_second: settings.per_second.as_ref().map(|s| servers(s, &stats.per_second_pool)),
            cache: Some(settings.local_cache_bytes)
                .filter(|b| *b > 0)
                .map(|bytes| LocalCache::new(bytes, stats.local_cache.clone())),
            leases,
        }
    }

    /// Keeps health true for as long as the process runs.
    pub(super) fn watch(&self, health: &Health, shutdown: &Shutdown) {
        tell(self.main.state(), "store", health, shutdown);
        if let Some(servers) = &self.per_second {
            tell(servers.state(), "store for seconds", health, shutdown);
        }
    }

    /// Whether a counter is known here to be over.
    pub(super) fn is_known_over(&self, plan: &Plan<'_>, counter: &Counter, now: Duration) -> bool {
        self.is_over(plan.key(counter), counter, now)
    }

    fn is_over(&self, key: &[u8], counter: &Counter, now: Duration) -> bool {
        let (Some(cache), CounterKind::Window { limit, .. }) = (&self.cache, counter.kind) else {
            return false;
        };
        !counter.refund && cache.is_over(key, limit, now.as_secs())
    }

    /// Counts what is wanted; results are in the order of `wants`.
    pub(super) async fn count(&self, plan: &Plan<'_>, wants: &[Want], now: Duration) -> Results {
        let mut results: Results = smallvec![Err(StoreError::Unanswered); wants.len()];
        let mut errands = Errands::new();
        let mut ahead: SmallVec<[u64; 4]> = smallvec![0; wants.len()];
        for (at, want) in wants.iter().enumerate() {
            let Some(counter) = plan.counters.get(want.index) else { continue };
            match self.prepare(at, plan.key(counter), counter, *want, now, &mut ahead[at]) {
                Step::Known(result) => results[at] = result,
                Step::Ask(errand) => errands.push(errand),
            }
        }
        send(errands, &mut results).await;
        for ((want, result), ahead) in wants.iter().zip(&mut results).zip(ahead) {
            if let Some(counter) = plan.counters.get(want.index) {
                self.settle(plan, counter, *want, ahead, result, now);
            }
        }
        results
    }

    /// The hits of windows, without counting; none where it cannot be had.
    pub(super) async fn peek(&self, plan: &Plan<'_>, indices: &[usize]) -> Results {
        let mut results: Results = smallvec![Err(StoreError::Unanswered); indices.len()];
        let mut errands = Errands::new();
        for (at, index) in indices.iter().enumerate() {
            let Some(counter) = plan.counters.get(*index) else { continue };
            match self.servers(counter).errand(at, plan.key(counter), Operation::Peek) {
                Step::Known(result) => results[at] = result,
                Step::Ask(errand) => errands.push(errand),
            }
        }
        send(errands, &mut results).await;
        results
    }

    /// What is known here of the counter `key`, or what to ask for and whom.
    fn prepare(
        &self,
        at: usize,
        key: &[u8],
        counter: &Counter,
        want: Want,
        now: Duration,
        ahead: &mut u64,
    ) -> Step<'_> {
        if !want.refund && self.is_over(key, counter, now) {
            return Step::Known(Ok(Count::Over));
        }
        let mut hits = want.hits;
        if let Some((limit, until)) = leased(counter, want, now) {
            match self.leases.take(key, hits, limit, counter.lease, until) {
                Taken::Here { after } => return Step::Known(Ok(Count::Window { after })),
                Taken::Ask { ahead: more } => {
                    *ahead = more;
                    hits = hits.saturating_add(more);
                }
            }
        }
        let operation = Operation::of(counter, hits, want.refund, now);
        self.servers(counter).errand(at, key, operation)
    }

    fn servers(&self, counter: &Counter) -> &Servers {
        match &self.per_second {
            Some(servers) if counter.kind.seconds() == 1 => servers,
            _ => &self.main,
        }
    }

    /// Takes out what was asked for ahead, and remembers what is over.
    fn settle(
        &self,
        plan: &Plan<'_>,
        counter: &Counter,
        want: Want,
        ahead: u64,
        result: &mut Result<Count, StoreError>,
        now: Duration,
    ) {
        let key = plan.key(counter);
        if let Some((limit, _)) = leased(counter, want, now) {
            match result {
                Ok(Count::Window { after }) if ahead > 0 => {
                    self.leases.settle(key, ahead, *after, limit);
                    *after = after.saturating_sub(ahead);
                }
                Err(_) => self.leases.give_up(key),
                _ => {}
            }
        }
        let (Some(cache), CounterKind::Window { limit, seconds }) = (&self.cache, counter.kind)
        else {
            return;
        };
        let now = now.as_secs();
        match result {
            Ok(_) if want.refund => cache.remove(key),
            Ok(Count::Window { after }) if *after > limit => {
                let end = window_start(now, seconds).saturating_add(seconds);
                cache.insert(key, *after, end, now);
            }
            _ => {}
        }
    }
}

/// Limit and end of the window, where hits may be taken ahead.
fn leased(counter: &Counter, want: Want, now: Duration) -> Option<(u64, u64)> {
    let CounterKind::Window { limit, seconds } = counter.kind else { return None };
    let end = window_start(now.as_secs(), seconds).saturating_add(seconds);
    (counter.lease > 0 && !want.refund).then_some((limit, end))
}

/// Sends errands, each server's together, and on to other servers where a cluster says so.
async fn send(mut errands: Errands<'_>, results: &mut Results) {
    for hop in 1..=MAX_HOPS {
        if errands.is_empty() {
            return;
        }
        for (sent, replies) in ask(std::mem::take(&mut errands)).await {
            let replies = match replies {
                Ok(replies) => replies,
                Err(e) => {
                    for errand in sent {
                        errand.servers.doubt();
                        results[errand.at] = Err(e.clone());
                    }
                    continue;
                }
            };
            for (errand, reply) in sent.into_iter().zip(replies) {
                let at = errand.at;
                match errand.take(reply, hop == MAX_HOPS) {
                    Step::Known(result) => results[at] = result,
                    Step::Ask(errand) => errands.push(errand),
                }
            }
        }
    }
}

type Asked<'s> = SmallVec<[(Errands<'s>, Result<Replies, StoreError>); 1]>;

async fn ask(mut errands: Errands<'_>) -> Asked<'_> {
    // Nearly every request has one.
    if let [one] = errands.as_slice() {
        let replies = one.link.ask(smallvec![one.task.clone()]).await;
        return smallvec![(errands, replies)];
    }
    let mut groups: Vec<Errands<'_>> = Vec::new();
    for errand in errands.drain(..) {
        let is_same = |group: &&mut Errands<'_>| group[0].link.is(&errand.link);
        match groups.iter_mut().find(is_same) {
            Some(group) => group.push(errand),
            None => groups.push(smallvec![errand]),
        }
    }
    let asked = groups.into_iter().map(|group| async move {
        let tasks = group.iter().map(|errand| errand.task.clone()).collect();
        let replies = group[0].link.ask(tasks).await;
        (group, replies)
    });
    join_all(asked).await.into()
}

impl<'s> Errand<'s> {
    /// What a reply comes to; it is sent on only if this was not the `last` time.
    fn take(self, reply: Reply, last: bool) -> Step<'s> {
        let refused = |why: &str| Step::Known(Err(refused(self.link.shown(), why)));
        match reply {
            Reply::Count(count) => Step::Known(Ok(count)),
            Reply::Forgotten => refused("it keeps no scripts"),
            Reply::Refused(why) => refused(&why),
            Reply::Moved { to, ask } => match self.servers.named(&to).filter(|_| !last) {
                Some(link) => {
                    let task = Task { asking: ask, ..self.task };
                    Step::Ask(Self { link, task, ..self })
                }
                None => refused(&format!("its slot moved to {to} and on, {MAX_HOPS} times")),
            },
        }
    }
}

fn refused(shown: &str, why: &str) -> StoreError {
    StoreError::Redis { url: shown.into(), reason: why.into() }
}

impl Servers {
    fn open(server: &RedisServer, habits: &Habits) -> Self {
        let dial = |target| Dial {
            target,
            credentials: server.credentials.clone(),
            database: server.database,
            tls: server.tls.clone(),
        };
        let one = |target: Target| Self::One {
            links: (0..server.connections.max(1))
                .map(|_| Link::open(dial(target.clone()), habits.clone()))
                .collect(),
            hasher: RandomState::default(),
            dial: dial(target),
        };
        match &server.topology {
            Topology::Single(address) => one(Target::Address(address.clone())),
            Topology::Sentinel(sentinels) => one(Target::Sentinels(Arc::new(sentinels.clone()))),
            Topology::Cluster(seeds) => {
                // Where it goes is each server's own.
                let first = seeds.first().cloned().unwrap_or(Address::Tcp(String::new(), 0));
                Self::Cluster(Cluster::open(
                    dial(Target::Address(first)),
                    habits.clone(),
                    seeds.clone(),
                ))
            }
        }
    }

    fn link(&self, key: &[u8]) -> Result<Link, StoreError> {
        match self {
            Self::One { links, hasher, .. } => {
                let at = match links.len() {
                    0 | 1 => 0,
                    n => usize::try_from(hasher.hash_one(key)).unwrap_or_default() % n,
                };
                links.get(at).cloned().ok_or(StoreError::Unanswered)
            }
            Self::Cluster(cluster) => {
                cluster.link(key).ok_or_else(|| refused("Cluster", "no server has the slot"))
            }
        }
    }

    /// The way of a task of the counter `key` to its server.
    fn errand(&self, at: usize, key: &[u8], operation: Operation) -> Step<'_> {
        match self.link(key) {
            Ok(link) => {
                let task = Task { key: key.into(), operation, asking: false };
                Step::Ask(Errand { at, servers: self, link, task })
            }
            Err(e) => Step::Known(Err(e)),
        }
    }

    /// A server failed: what is known of them may be wrong.
    fn doubt(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.doubt();
        }
    }

    /// The server that another one named.
    fn named(&self, address: &str) -> Option<Link> {
        match self {
            Self::One { .. } => None,
            Self::Cluster(cluster) => cluster.named(address),
        }
    }

    fn state(&self) -> Vec<watch::Receiver<State>> {
        match self {
            Self::One { links, .. } => links.iter().map(|l| l.state()).collect(),
            Self::Cluster(cluster) => vec![cluster.state()],
        }
    }
}

/// Keeps a component of health true: it is well when the first connection that is not has none.
fn tell(
    mut states: Vec<watch::Receiver<State>>,
    component: &'static str,
    health: &Health,
    shutdown: &Shutdown,
) {
    let (health, shutdown) = (health.clone(), shutdown.clone());
    tokio::spawn(async move {
        loop {
            let worst = states.iter_mut().find_map(|s| s.borrow_and_update().clone().err());
            let state = worst.map_or(Ok(()), |why| Err(format!("Redis: {why}")));
            health.set_store(component, state);
            let changes = states.iter_mut().map(|s| Box::pin(s.changed()));
            tokio::select! {
                _ = futures::future::select_all(changes) => {}
                () = shutdown.wait() => return,
            }
        }
    });
}

/// Forgets leases of windows that are over, for as long as there is somebody to have them.
async fn sweep(leases: std::sync::Weak<Leases>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(leases) = leases.upgrade() else { return };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        leases.sweep(now.unwrap_or_default().as_secs());
    }
}
