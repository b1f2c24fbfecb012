//! What every store must do.

use std::time::Duration;

use authz_core::need::{StoreAnswer, StoreCommand, StoreError};
use authz_svc::store::{Store, StoreSettings};
use prometheus_client::registry::Registry;
use service_kit::server::redis::testing::{
    ClusterRedis, PATIENCE, SentinelRedis, Server, TlsRedis, on_socket, with_acl,
};
use service_kit::server::redis::{RedisServer, Trust};

const LIFE: Duration = Duration::from_secs(60);

pub fn open(server: &RedisServer) -> Store {
    let settings = StoreSettings::Redis {
        server: server.clone(),
        prefix: "t:".to_owned(),
        ping: Duration::from_millis(200),
    };
    Store::open(&settings, &mut Registry::default())
}

pub async fn set(store: &Store, key: &str, value: &[u8]) -> Result<StoreAnswer, StoreError> {
    store.run(StoreCommand::Set(key.to_owned(), value.to_vec(), LIFE)).await
}

pub async fn get(store: &Store, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    store.run(StoreCommand::Get(key.to_owned())).await.map(value)
}

async fn add(store: &Store, key: &str, value: &[u8], life: Duration) -> StoreAnswer {
    store.run(StoreCommand::Add(key.to_owned(), value.to_vec(), life)).await.unwrap()
}

fn value(answer: StoreAnswer) -> Option<Vec<u8>> {
    match answer {
        StoreAnswer::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

/// Waits until the store works; it may be starting.
pub async fn ready(store: &Store) {
    let start = std::time::Instant::now();
    while set(store, "ready", b"").await.is_err() {
        assert!(start.elapsed() < PATIENCE, "the store does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn whole_suite(store: &Store) {
    ready(store).await;
    // So many that a cluster has some on each server.
    for i in 0..32 {
        let key = format!("k{i}");
        let bytes = [0, 255, b'\r', b'\n', i];
        assert_eq!(get(store, &key).await, Ok(None));
        assert_eq!(set(store, &key, b"old").await, Ok(StoreAnswer::Done));
        assert_eq!(set(store, &key, &bytes).await, Ok(StoreAnswer::Done));
        assert_eq!(get(store, &key).await, Ok(Some(bytes.to_vec())));
        assert_eq!(add(store, &key, b"other", LIFE).await, StoreAnswer::Exists);
        let take = || store.run(StoreCommand::Take(key.clone()));
        assert_eq!(take().await.map(value), Ok(Some(bytes.to_vec())));
        assert_eq!(take().await.map(value), Ok(None));
        assert_eq!(add(store, &key, b"lock", LIFE).await, StoreAnswer::Done);
        let delete_if = |v: &[u8]| store.run(StoreCommand::DeleteIf(key.clone(), v.to_vec()));
        assert_eq!(delete_if(b"not mine").await, Ok(StoreAnswer::Done));
        assert_eq!(get(store, &key).await, Ok(Some(b"lock".to_vec())));
        assert_eq!(delete_if(b"lock").await, Ok(StoreAnswer::Done));
        assert_eq!(get(store, &key).await, Ok(None));
        let delete = || store.run(StoreCommand::Delete(key.clone()));
        assert_eq!(set(store, &key, b"").await, Ok(StoreAnswer::Done));
        assert_eq!(get(store, &key).await, Ok(Some(Vec::new())));
        assert_eq!(delete().await, Ok(StoreAnswer::Done));
        assert_eq!(delete().await, Ok(StoreAnswer::Done));
        assert_eq!(get(store, &key).await, Ok(None));
    }
    ends_in_time(store).await;
    gives_a_lock_to_one(store).await;
}

async fn ends_in_time(store: &Store) {
    let short = Duration::from_millis(50);
    assert_eq!(add(store, "short", b"1", short).await, StoreAnswer::Done);
    let start = std::time::Instant::now();
    while get(store, "short").await.unwrap().is_some() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= short / 2);
    assert_eq!(add(store, "short", b"2", Duration::ZERO).await, StoreAnswer::Done);
}

async fn gives_a_lock_to_one(store: &Store) {
    let all = (0..50).map(|i: u8| async move {
        let lock = [i];
        add(store, "lock", &lock, LIFE).await == StoreAnswer::Done
    });
    let won = futures::future::join_all(all).await;
    assert_eq!(won.into_iter().filter(|w| *w).count(), 1);
}

#[tokio::test]
async fn memory() {
    let settings = StoreSettings::Memory { bytes: 1 << 20 };
    let store = Store::open(&settings, &mut Registry::default());
    assert!(store.shown().starts_with("memory"));
    whole_suite(&store).await;
}

#[tokio::test]
async fn redis_alone_over_some_connections() {
    let redis = Server::start();
    let mut server = redis.server(PATIENCE);
    server.connections = 3;
    whole_suite(&open(&server)).await;
    // Under the prefix, with a time to live.
    let store = open(&server);
    set(&store, "seen", b"1").await.unwrap();
    assert!(redis.ask("PTTL t:seen").trim_start_matches(':').trim().parse::<i64>().unwrap() > 0);
}

#[tokio::test]
async fn redis_with_users() {
    let (_redis, mut server) = with_acl();
    whole_suite(&open(&server)).await;
    server.credentials = None;
    assert_eq!(set(&open(&server), "a", b"1").await, Err(StoreError));
}

#[tokio::test]
async fn redis_on_a_socket() {
    let (_redis, _folder, server) = on_socket();
    whole_suite(&open(&server)).await;
}

#[tokio::test]
async fn redis_over_tls() {
    let tls = TlsRedis::start();
    whole_suite(&open(&tls.server("localhost", Trust::Full, true))).await;
    whole_suite_fails(&tls.server("127.0.0.1", Trust::Full, true)).await;
    whole_suite_fails(&tls.server("localhost", Trust::Full, false)).await;
    ready(&open(&tls.server("127.0.0.1", Trust::AnyHost, true))).await;
}

async fn whole_suite_fails(server: &RedisServer) {
    assert_eq!(set(&open(server), "a", b"1").await, Err(StoreError));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_behind_sentinels() {
    let redis = SentinelRedis::start();
    whole_suite(&open(&redis.server(PATIENCE))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_as_a_cluster() {
    let redis = ClusterRedis::start();
    whole_suite(&open(&redis.server(PATIENCE))).await;
}
