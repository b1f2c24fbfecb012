//! What callers see while Redis fails, and that it is over soon after.

use std::time::{Duration, Instant};

use ratelimit_svc::StoreStats;
use ratelimit_svc::store::{Redis, RedisSettings, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::requests::{ask, try_ask};
use crate::servers::{ClusterRedis, PATIENCE, SentinelRedis, Server, server, settings, wait};

/// A deadline that is missed by what hangs, and by nothing else.
const DEADLINE: Duration = Duration::from_millis(250);
/// The longest anybody may be without counts after Redis is well again, on a busy machine, too.
const RECOVERY: Duration = Duration::from_secs(2);

const ONE: &[(&str, &str, i64)] = &[("many", "k", 1)];
/// Limits that say what happens without Redis, one of each kind.
const DECIDED: &[(&str, &str, i64)] = &[("allow", "k", 1), ("deny", "k", 1), ("local", "k", 1)];

fn open(settings: &RedisSettings) -> Store {
    Redis::open(settings, &StoreStats::default()).into()
}

/// Waits until requests are counted again; gives how long that took.
async fn recovered(store: &Store) -> Duration {
    let start = Instant::now();
    while try_ask(store, ONE).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not recover");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

/// Waits until the store knows that Redis is gone, and says so with `words`: from then on nobody
/// waits.
async fn given_up(store: &Store, words: &str) -> String {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        let result = try_ask(store, ONE).await;
        if let Err(e) = &result
            && asked.elapsed() < DEADLINE / 2
            && e.to_string().contains(words)
        {
            return e.to_string();
        }
        assert!(start.elapsed() < Duration::from_secs(20), "requests still wait: {result:?}");
    }
}

/// With Redis gone: by each limit's own word, and at once.
async fn limits_decide(store: &Store) {
    assert_eq!(ask(store, DECIDED).await[..2], [1, 0]);
    // Two an hour, counted here.
    let local = [("local", "own", 1)];
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.extend(ask(store, &local).await);
    }
    assert_eq!(counts, [1, 2, 3]);
}

#[tokio::test]
async fn starts_while_redis_is_down_and_finds_it_later() {
    let mut redis = Server::start();
    redis.kill();
    let store = open(&settings(redis.server(DEADLINE)));
    let error = given_up(&store, "refused").await;
    assert!(error.starts_with("Redis 127.0.0.1:"), "{error}");
    limits_decide(&store).await;
    redis.restart();
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test]
async fn a_redis_that_is_paused_costs_the_deadline_and_then_nothing() {
    let redis = Server::start();
    let store = open(&settings(redis.server(DEADLINE)));
    ask(&store, ONE).await;
    redis.signal("STOP");
    let start = Instant::now();
    let error = try_ask(&store, ONE).await.unwrap_err().to_string();
    assert!(start.elapsed() >= DEADLINE && start.elapsed() < DEADLINE * 4);
    assert!(error.contains("did not answer within 250ms"), "{error}");
    given_up(&store, "no ").await;
    limits_decide(&store).await;
    redis.signal("CONT");
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_empty_counts_anew() {
    let mut redis = Server::start();
    let store = open(&settings(redis.server(DEADLINE)));
    // Scripts are known to the server, and forgotten with it.
    assert_eq!(ask(&store, &[("two", "k", 2), ("burst", "k", 1)]).await, [2, 1]);
    redis.kill();
    given_up(&store, "refused").await;
    limits_decide(&store).await;
    redis.restart();
    assert!(recovered(&store).await < RECOVERY);
    assert_eq!(ask(&store, &[("two", "k", 1), ("burst", "k", 6)]).await, [1, 1]);
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_left() {
    let (redis, other) = (Server::start(), Server::start());
    let store = open(&settings(redis.server(DEADLINE)));
    ask(&store, ONE).await;
    redis.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    given_up(&store, "it is a replica, which takes no writes").await;
    limits_decide(&store).await;
    redis.ask("REPLICAOF NO ONE");
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test]
async fn a_redis_that_is_slow_is_left_until_it_is_quick_again() {
    let redis = Server::start();
    let delay = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let port = slow_proxy(redis.port, delay.clone()).await;
    let place = ratelimit_svc::store::Topology::Single(crate::servers::local(port));
    let store = open(&settings(server(place, Duration::from_millis(60))));
    recovered(&store).await;
    delay.store(100, std::sync::atomic::Ordering::Relaxed);
    let start = Instant::now();
    let error = loop {
        let asked = Instant::now();
        match try_ask(&store, ONE).await {
            Err(e) if asked.elapsed() < Duration::from_millis(20) => break e.to_string(),
            _ => assert!(start.elapsed() < Duration::from_secs(20)),
        }
    };
    assert!(error.contains("no answer within 60ms"), "{error}");
    limits_decide(&store).await;
    delay.store(0, std::sync::atomic::Ordering::Relaxed);
    assert!(recovered(&store).await < RECOVERY);
}

/// Passes bytes on to `port`, each chunk of answers so many milliseconds late.
async fn slow_proxy(port: u16, delay: std::sync::Arc<std::sync::atomic::AtomicU64>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(redis) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_redis, mut to_redis) = redis.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_redis).await });
            let delay = delay.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = from_redis.read(&mut bytes).await {
                    let late = delay.load(std::sync::atomic::Ordering::Relaxed);
                    if late > 0 {
                        tokio::time::sleep(Duration::from_millis(late)).await;
                    }
                    if to_client.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn a_crowd_at_a_redis_that_hangs_is_refused_and_not_kept() {
    let redis = Server::start();
    let store = std::sync::Arc::new(open(&settings(redis.server(DEADLINE))));
    ask(&store, ONE).await;
    redis.signal("STOP");
    let crowd: Vec<_> = (0..20_000)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { try_ask(&store, ONE).await.is_err() })
        })
        .collect();
    for one in crowd {
        assert!(one.await.unwrap());
    }
    redis.signal("CONT");
    assert!(recovered(&store).await < RECOVERY);
}

/// Asks all the time until told to stop, and was counted at least once; gives how many were and the
/// longest time without.
async fn load(
    store: std::sync::Arc<Store>,
    stop: tokio::sync::watch::Receiver<bool>,
) -> (u64, Duration) {
    let (mut counted, mut last, mut longest) = (0, Instant::now(), Duration::ZERO);
    let mut i = 0_u64;
    while counted == 0 || !*stop.borrow() {
        assert!(last.elapsed() < Duration::from_secs(20), "nothing is counted");
        i += 1;
        // Over all slots of a cluster.
        if try_ask(&store, &[("many", &format!("v{}", i % 64), 1)]).await.is_ok() {
            counted += 1;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (counted, longest)
}

/// Eight who ask all the time.
struct Crowd {
    stop: tokio::sync::watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<(u64, Duration)>>,
}

impl Crowd {
    fn start(store: &std::sync::Arc<Store>) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let task = |_| tokio::spawn(load(store.clone(), stopped.clone()));
        Self { stop, tasks: (0..8).map(task).collect() }
    }

    /// Ends it; everybody was counted, and nobody was long without.
    async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let (counted, longest) = task.await.unwrap();
            assert!(counted > 0 && longest < Duration::from_secs(20), "{counted} {longest:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_name_another_master_and_it_is_taken() {
    let mut redis = SentinelRedis::start();
    let store = std::sync::Arc::new(open(&settings(redis.server(DEADLINE))));
    recovered(&store).await;
    let crowd = Crowd::start(&store);
    redis.nodes[0].kill();
    given_up(&store, "master `m` of Sentinel").await;
    limits_decide(&store).await;
    let chosen = wait("another master", || redis.nodes[1].ask("ROLE").contains("master"));
    assert!(recovered(&store).await < RECOVERY, "chosen after {chosen:?}");
    crowd.stop().await;
    // The old master comes back as a replica; nobody goes there.
    redis.nodes[0].restart();
    recovered(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_gives_a_dead_servers_slots_to_its_replica() {
    let mut cluster = ClusterRedis::start();
    let store = std::sync::Arc::new(open(&settings(cluster.server(DEADLINE))));
    recovered(&store).await;
    let crowd = Crowd::start(&store);
    let masters = |cluster: &ClusterRedis| {
        cluster.nodes.iter().filter(|n| n.ask("ROLE").contains("master")).count()
    };
    let first = cluster.nodes.iter().position(|n| n.ask("ROLE").contains("master")).unwrap();
    cluster.nodes[first].kill();
    wait("another master", || masters(&cluster) == 3);
    let witness = (first + 1) % cluster.nodes.len();
    wait("the cluster", || cluster.nodes[witness].ask("CLUSTER INFO").contains("cluster_state:ok"));
    let start = Instant::now();
    // Every slot is counted again.
    for i in 0..64 {
        while try_ask(&store, &[("many", &format!("v{i}"), 1)]).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
    crowd.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_cluster_gone_is_said_and_mended() {
    let mut cluster = ClusterRedis::start();
    let store = open(&settings(cluster.server(DEADLINE)));
    recovered(&store).await;
    // A master and its replica: its slots have nobody.
    let nodes = cluster.nodes[0].ask("CLUSTER NODES");
    let masters: Vec<&str> = nodes.lines().filter(|l| l.contains("master")).collect();
    let id = masters[0].split_whitespace().next().unwrap();
    let gone: Vec<u16> = nodes
        .lines()
        .filter(|l| l.contains(id))
        .filter_map(|l| l.split_whitespace().nth(1)?.split(['@', ':']).nth(1)?.parse().ok())
        .collect();
    assert_eq!(gone.len(), 2, "{nodes}");
    for node in cluster.nodes.iter_mut().filter(|n| gone.contains(&n.port)) {
        node.kill();
    }
    let start = Instant::now();
    let words = loop {
        let mut words = Vec::new();
        for i in 0..64 {
            words.extend(try_ask(&store, &[("many", &format!("v{i}"), 1)]).await.err());
        }
        // By default the others refuse then, too.
        if words.len() == 64 {
            break words;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{}", words.len());
    };
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    assert!(words.iter().any(|w| w.contains("cluster is down")), "{words:?}");
    limits_decide(&store).await;
    for node in cluster.nodes.iter_mut().filter(|n| gone.contains(&n.port)) {
        node.restart();
    }
    let _ = PATIENCE;
    recovered(&store).await;
}
