//! What callers see while Redis fails, and that it is over soon after.

use std::sync::Arc;
use std::time::{Duration, Instant};

use authz_svc::store::Store;
use service_kit::server::admin::Readiness;
use service_kit::server::redis::testing::{ClusterRedis, SentinelRedis, Server, wait};

use crate::suite::{get, open, ready, set};

/// A deadline that is missed by what hangs, and by nothing else.
const DEADLINE: Duration = Duration::from_millis(250);
/// The longest anybody may be without a store after Redis is well again, on a busy machine, too.
const RECOVERY: Duration = Duration::from_secs(2);

/// Waits until commands fail at once.
async fn given_up(store: &Store) {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        if set(store, "k", b"1").await.is_err() && asked.elapsed() < DEADLINE / 2 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "commands still wait");
    }
}

/// Waits until commands are done again; gives how long that took.
async fn recovered(store: &Store) -> Duration {
    let start = Instant::now();
    ready(store).await;
    start.elapsed()
}

#[tokio::test]
async fn a_redis_that_is_not_there_costs_nothing_and_is_found() {
    let mut redis = Server::start();
    redis.kill();
    let store = open(&redis.server(DEADLINE));
    let readiness = Readiness::new(&[]);
    store.tell(&readiness);
    given_up(&store).await;
    let told = |words: &str| readiness.report()["store"].as_str().unwrap_or("").contains(words);
    wait("the truth", || told("refused"));
    assert!(readiness.is_ready(), "other filters work without a store");
    redis.restart();
    assert!(recovered(&store).await < RECOVERY);
    let start = Instant::now();
    while !told("ok") {
        assert!(start.elapsed() < RECOVERY);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_redis_that_is_paused_costs_the_deadline_and_then_nothing() {
    let redis = Server::start();
    let store = open(&redis.server(DEADLINE));
    ready(&store).await;
    redis.signal("STOP");
    let start = Instant::now();
    assert!(get(&store, "k").await.is_err());
    assert!(start.elapsed() >= DEADLINE / 2 && start.elapsed() < DEADLINE * 4);
    given_up(&store).await;
    redis.signal("CONT");
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_empty_has_no_sessions() {
    let mut redis = Server::start();
    let store = open(&redis.server(DEADLINE));
    ready(&store).await;
    set(&store, "session", b"1").await.unwrap();
    redis.kill();
    given_up(&store).await;
    redis.restart();
    assert!(recovered(&store).await < RECOVERY);
    assert_eq!(get(&store, "session").await, Ok(None));
}

#[tokio::test]
async fn a_redis_that_became_a_replica_is_left() {
    let (redis, other) = (Server::start(), Server::start());
    let store = open(&redis.server(DEADLINE));
    ready(&store).await;
    redis.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    given_up(&store).await;
    redis.ask("REPLICAOF NO ONE");
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test]
async fn a_crowd_at_a_redis_that_hangs_is_refused_and_not_kept() {
    let redis = Server::start();
    let store = Arc::new(open(&redis.server(DEADLINE)));
    ready(&store).await;
    redis.signal("STOP");
    let start = Instant::now();
    let crowd: Vec<_> = (0..20_000)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { get(&store, "k").await.is_err() })
        })
        .collect();
    for one in crowd {
        assert!(one.await.unwrap());
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    redis.signal("CONT");
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test]
async fn a_full_redis_refuses_and_is_not_left() {
    let redis = Server::start();
    redis.ask("CONFIG SET maxmemory 1");
    let store = open(&redis.server(DEADLINE));
    assert!(set(&store, "k", b"1").await.is_err());
    assert_eq!(get(&store, "k").await, Ok(None));
    redis.ask("CONFIG SET maxmemory 0");
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_name_another_master_and_it_is_taken() {
    let mut redis = SentinelRedis::start();
    let store = open(&redis.server(DEADLINE));
    ready(&store).await;
    redis.nodes[0].kill();
    given_up(&store).await;
    wait("another master", || redis.nodes[1].ask("ROLE").contains("master"));
    assert!(recovered(&store).await < RECOVERY);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_gives_a_dead_servers_slots_to_its_replica() {
    let mut cluster = ClusterRedis::start();
    let store = open(&cluster.server(DEADLINE));
    ready(&store).await;
    let first = cluster.nodes.iter().position(|n| n.ask("ROLE").contains("master")).unwrap();
    cluster.nodes[first].kill();
    let masters = |cluster: &ClusterRedis| {
        cluster.nodes.iter().filter(|n| n.ask("ROLE").contains("master")).count()
    };
    wait("another master", || masters(&cluster) == 3);
    let witness = (first + 1) % cluster.nodes.len();
    wait("the cluster", || cluster.nodes[witness].ask("CLUSTER INFO").contains("cluster_state:ok"));
    let start = Instant::now();
    for i in 0..64 {
        while set(&store, &format!("v{i}"), b"1").await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
}
