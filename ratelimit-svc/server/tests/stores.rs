//! One suite for every store: the same requests, the same counts. Redis is a real server.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use ratelimit_core::ratelimit_file::Domains;
use ratelimit_core::resource::{Resources, compile_object};
use ratelimit_core::{Count, Limits, PlanOptions};
use ratelimit_svc::store::{Memory, Redis, RedisServer, RedisSettings, Store};
use serde_json::json;
use service_kit::{Object, Secret};

/// A deadline that a busy machine does not miss.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of the test's own; killed when dropped.
struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let port = free_port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("there is no redis-server; run `make tools`, or install it");
        let server = Self { port, child };
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn settings(&self, timeout: Duration) -> RedisSettings {
        RedisSettings {
            main: self.address(timeout),
            per_second: None,
            jitter_seconds: 10,
            local_cache_bytes: 0,
            ping_interval: Duration::from_secs(1),
        }
    }

    fn address(&self, timeout: Duration) -> RedisServer {
        RedisServer {
            url: Secret::new(format!("redis://127.0.0.1:{}", self.port)),
            shown: format!("127.0.0.1:{}", self.port),
            credentials: None,
            timeout,
            connections: 2,
        }
    }

    fn store(&self) -> Store {
        Store::Redis(Redis::open(&self.settings(PATIENCE)).unwrap())
    }

    /// A command of one line, as `GET k`; gives what the server says.
    fn ask(&self, command: &str) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.strip_suffix("+OK\r\n").unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Below the ports that the system gives to clients, and not given twice.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step =
            std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(step % 8_000).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

const FILE: &str = "
domain: d
descriptors:
- {key: two, rate_limit: {unit: hour, requests_per_unit: 2}}
- {key: hundred, rate_limit: {unit: year, requests_per_unit: 100}}
- {key: quick, rate_limit: {unit: second, requests_per_unit: 2}}
";

fn limits() -> Limits {
    let files = Domains::read(&BTreeMap::from([("f".to_owned(), FILE.to_owned())]), false).unwrap();
    let object = json!({"apiVersion": "v1", "kind": "RateLimit", "metadata": {"name": "o"},
        "spec": {"domain": "d", "limits": [
            {"pattern": [{"burst": "*"}], "rate": 2, "unit": "hour", "burstFactor": 3}]}});
    let (object, _) = compile_object(&Object::from_json(object).unwrap());
    let resources = Resources::new([&object.unwrap()], files.limit_count());
    Limits { files: Arc::new(files), resources }
}

/// A request with descriptors of one entry each: key, value, hits (negative is a refund).
fn request(descriptors: &[(&str, &str, i64)]) -> RateLimitRequest {
    let descriptor = |(key, value, hits): &(&str, &str, i64)| RateLimitDescriptor {
        entries: vec![Entry { key: (*key).to_owned(), value: (*value).to_owned() }],
        hits_addend: Some(hits.unsigned_abs()),
        is_negative_hits: *hits < 0,
        ..RateLimitDescriptor::default()
    };
    RateLimitRequest {
        domain: "d".to_owned(),
        descriptors: descriptors.iter().map(descriptor).collect(),
        hits_addend: 0,
    }
}

async fn ask(
    store: &Store,
    options: &PlanOptions,
    now: Duration,
    descriptors: &[(&str, &str, i64)],
) -> Vec<Count> {
    let limits = limits();
    let plan = limits.plan(&request(descriptors), options, now.as_secs()).unwrap();
    store.run(&plan, now).await.unwrap()
}

const KNOWN_OVER: u64 = u64::MAX;

/// Of a window the count, of a bucket whether the hits were taken.
fn hits(counts: &[Count]) -> Vec<u64> {
    let hits = |count: &Count| match count {
        Count::Over => KNOWN_OVER,
        Count::Window { after } => *after,
        Count::Bucket { allowed, .. } => u64::from(*allowed),
    };
    counts.iter().map(hits).collect()
}

const NOON: Duration = Duration::from_secs(1_893_499_200);

async fn counts_by_key_and_window(store: Store) {
    let options = PlanOptions::default();
    let one = [("two", "a", 1), ("two", "b", 5), ("two", "a", 0)];
    assert_eq!(hits(&ask(&store, &options, NOON, &one).await), [1, 5, 1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("two", "a", 1)]).await), [2]);
    let next_hour = NOON + Duration::from_secs(3600);
    assert_eq!(hits(&ask(&store, &options, next_hour, &[("two", "a", 1)]).await), [1]);
}

async fn gives_hits_back_down_to_nothing(store: Store) {
    let options = PlanOptions::default();
    ask(&store, &options, NOON, &[("two", "r", 3)]).await;
    assert_eq!(hits(&ask(&store, &options, NOON, &[("two", "r", -1)]).await), [2]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("two", "r", -9)]).await), [0]);
}

async fn charges_nobody_else_when_one_is_over(store: Store) {
    let options = PlanOptions { stop_when_over: true, ..PlanOptions::default() };
    let both = [("two", "s", 2), ("hundred", "s", 2)];
    assert_eq!(hits(&ask(&store, &options, NOON, &both).await), [2, 2]);
    assert_eq!(hits(&ask(&store, &options, NOON, &both).await), [4, 2]);
}

async fn spends_a_bucket_and_refills_it(store: Store) {
    let options = PlanOptions::default();
    let mut taken = 0;
    for _ in 0..8 {
        taken += hits(&ask(&store, &options, NOON, &[("burst", "x", 1)]).await)[0];
    }
    assert_eq!(taken, 6);
    let later = NOON + Duration::from_secs(1801);
    assert_eq!(hits(&ask(&store, &options, later, &[("burst", "x", 1)]).await), [1]);
    assert_eq!(hits(&ask(&store, &options, later, &[("burst", "x", 1)]).await), [0]);
}

async fn fills_a_bucket_with_what_is_given_back(store: Store) {
    let options = PlanOptions::default();
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", 6)]).await), [1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", 1)]).await), [0]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", -2)]).await), [1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", 2)]).await), [1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", 1)]).await), [0]);
    // More than was taken does not make it larger.
    ask(&store, &options, NOON, &[("burst", "g", -100)]).await;
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", 7)]).await), [0]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("burst", "g", 6)]).await), [1]);
}

async fn charges_no_window_beside_a_bucket_twice(store: Store) {
    // A server that was just started does not know the script of the bucket.
    let options = PlanOptions { stop_when_over: true, ..PlanOptions::default() };
    let both = [("two", "w", 1), ("burst", "w", 1)];
    assert_eq!(hits(&ask(&store, &options, NOON, &both).await), [1, 1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &both).await), [2, 1]);
}

/// Two replicas on one store, 512 requests in flight: each count is given once.
async fn never_admits_more_than_the_limit(replicas: [Arc<Store>; 2]) {
    let mut tasks = Vec::new();
    for i in 0..512 {
        let store = replicas[i % 2].clone();
        tasks.push(tokio::spawn(async move {
            let counts = ask(
                &store,
                &PlanOptions::default(),
                NOON,
                &[("hundred", "c", 1), ("burst", "c", 1)],
            )
            .await;
            let counts = hits(&counts);
            (counts[0] <= 100, counts[1] == 1)
        }));
    }
    let (mut window, mut bucket) = (0, 0);
    for task in tasks {
        let (by_window, by_bucket) = task.await.unwrap();
        window += usize::from(by_window);
        bucket += usize::from(by_bucket);
    }
    assert_eq!((window, bucket), (100, 6));
}

macro_rules! suite {
    ($($case:ident),*) => {
        mod memory { $(#[tokio::test] async fn $case() { super::$case(super::Store::Memory(super::Memory::default())).await; })* }
        mod redis { $(#[tokio::test] async fn $case() { let server = super::Server::start(); super::$case(server.store()).await; })* }
    };
}

suite!(
    counts_by_key_and_window,
    gives_hits_back_down_to_nothing,
    charges_nobody_else_when_one_is_over,
    spends_a_bucket_and_refills_it,
    fills_a_bucket_with_what_is_given_back,
    charges_no_window_beside_a_bucket_twice
);

#[tokio::test(flavor = "multi_thread")]
async fn memory_never_admits_more_than_the_limit() {
    let store = Arc::new(Store::Memory(Memory::default()));
    never_admits_more_than_the_limit([store.clone(), store]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_redis_never_admit_more_than_the_limit() {
    let server = Server::start();
    never_admits_more_than_the_limit([Arc::new(server.store()), Arc::new(server.store())]).await;
}

#[tokio::test]
async fn a_full_memory_forgets_nobody_who_is_over() {
    let memory = Store::Memory(Memory::with_capacity(64));
    let options = PlanOptions::default();
    assert_eq!(hits(&ask(&memory, &options, NOON, &[("two", "over", 3)]).await), [3]);
    for i in 0..2000 {
        let value = format!("v{i}");
        let limits = limits();
        let request = request(&[("two", value.as_str(), 1)]);
        let plan = limits.plan(&request, &options, NOON.as_secs()).unwrap();
        // The shard of the counter that is over has no room for others; that is said, not hidden.
        let _ = memory.run(&plan, NOON).await;
    }
    assert_eq!(hits(&ask(&memory, &options, NOON, &[("two", "over", 1)]).await), [4]);
}

#[tokio::test]
async fn what_is_over_is_not_asked_for_again() {
    let server = Server::start();
    let settings = RedisSettings { local_cache_bytes: 1, ..server.settings(PATIENCE) };
    let store = Store::Redis(Redis::open(&settings).unwrap());
    let key = format!("d_two_l_{}", NOON.as_secs());
    let options = PlanOptions::default();
    assert_eq!(hits(&ask(&store, &options, NOON, &[("two", "l", 3)]).await), [3]);
    let both = [("two", "l", 1), ("hundred", "l", 1)];
    assert_eq!(hits(&ask(&store, &options, NOON, &both).await), [KNOWN_OVER, 1]);
    assert_eq!(server.ask(&format!("GET {key}")), "$1\r\n3\r\n");
    // Nobody else is charged when it is to be so.
    let stop = PlanOptions { stop_when_over: true, ..PlanOptions::default() };
    assert_eq!(hits(&ask(&store, &stop, NOON, &both).await), [KNOWN_OVER, 1]);
    // The next window is another key, and hits that are given back are noticed.
    let next_hour = NOON + Duration::from_secs(3600);
    assert_eq!(hits(&ask(&store, &options, next_hour, &[("two", "l", 1)]).await), [1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("two", "l", -2)]).await), [1]);
    assert_eq!(hits(&ask(&store, &options, NOON, &[("two", "l", 1)]).await), [2]);
}

#[tokio::test]
async fn limits_of_seconds_may_be_on_a_server_of_their_own() {
    let (main, seconds) = (Server::start(), Server::start());
    let settings =
        RedisSettings { per_second: Some(seconds.address(PATIENCE)), ..main.settings(PATIENCE) };
    let store = Store::Redis(Redis::open(&settings).unwrap());
    let all = [("two", "p", 1), ("quick", "p", 1), ("burst", "p", 1), ("quick", "p", 1)];
    for (options, counts) in [
        (PlanOptions::default(), [1, 1, 1, 2]),
        // Both of `quick` would be over, so that only they are charged.
        (PlanOptions { stop_when_over: true, ..PlanOptions::default() }, [1, 3, 1, 4]),
    ] {
        assert_eq!(hits(&ask(&store, &options, NOON, &all).await), counts);
    }
    let key = format!("d_quick_p_{}", NOON.as_secs());
    assert_eq!(main.ask(&format!("GET {key}")), "$-1\r\n");
    assert_eq!(seconds.ask(&format!("GET {key}")), "$1\r\n4\r\n");
    assert_eq!(seconds.ask("DBSIZE"), ":1\r\n");
}

#[tokio::test]
async fn a_redis_that_hangs_costs_the_deadline_and_no_more() {
    let server = Server::start();
    let store = Store::Redis(Redis::open(&server.settings(Duration::from_millis(200))).unwrap());
    ask(&store, &PlanOptions::default(), NOON, &[("two", "h", 1)]).await;
    server.signal("STOP");
    let limits = limits();
    let plan =
        limits.plan(&request(&[("two", "h", 1)]), &PlanOptions::default(), NOON.as_secs()).unwrap();
    let begun = Instant::now();
    let error = store.run(&plan, NOON).await.unwrap_err().to_string();
    assert!(
        begun.elapsed() < Duration::from_secs(5) && error.contains("did not answer within"),
        "{error}"
    );
    server.signal("CONT");
    let end = Instant::now() + Duration::from_secs(10);
    while store.run(&plan, NOON).await.is_err() {
        assert!(Instant::now() < end, "it does not recover");
    }
}

#[tokio::test]
async fn a_redis_that_is_down_is_an_error_in_words() {
    let server = Server::start();
    let settings = server.settings(Duration::from_millis(300));
    drop(server);
    let store = Store::Redis(Redis::open(&settings).unwrap());
    let limits = limits();
    let plan =
        limits.plan(&request(&[("two", "h", 1)]), &PlanOptions::default(), NOON.as_secs()).unwrap();
    let error = store.run(&plan, NOON).await.unwrap_err().to_string();
    assert!(error.starts_with("Redis 127.0.0.1:"), "{error}");
}
