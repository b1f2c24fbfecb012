//! What every store must do.

use std::sync::Arc;
use std::time::Duration;

use ratelimit_core::{Charge, Kept};
use ratelimit_svc::StoreStats;
use ratelimit_svc::store::{Memory, Redis, RedisSettings, Store, Trust};

use crate::requests::{KNOWN_OVER, NOON, ask, ask_at, charging, hits, read, try_ask, try_with};
use crate::servers::{
    ClusterRedis, PATIENCE, SentinelRedis, Server, TlsRedis, on_socket, settings, wait, with_acl,
};

async fn whole_suite(store: &Store) {
    counts_by_key_and_window(store).await;
    counts_windows_of_several_units(store).await;
    gives_hits_back_down_to_nothing(store).await;
    charges_nobody_else_when_one_is_over(store).await;
    charges_all_or_none(store).await;
    spends_a_bucket_and_refills_it(store).await;
    fills_a_bucket_with_what_is_given_back(store).await;
    slides(store).await;
    counts_windows_beside_others_once(store).await;
    lists_and_forgets(store).await;
}

async fn lists_and_forgets(store: &Store) {
    ask_at(store, now(), &[("hundred", "l*st", 3), ("burst", "l*st", 1), ("slide", "l*st", 2)])
        .await;
    let listed = |prefix: &'static str| async move {
        store.list(prefix.as_bytes(), 10, now()).await.unwrap()
    };
    let hundred = listed("d_hundred_l*").await;
    assert_eq!(hundred.len(), 1, "{hundred:?}");
    assert_eq!(hundred[0].stored, Kept::Hits(3));
    assert!(hundred[0].seconds.is_some_and(|s| s > 0));
    assert!(matches!(listed("d_burst_l*st_").await[0].stored, Kept::Bucket(b) if b.tokens == 5.0));
    let slid = |kept| matches!(kept, Kept::Sliding(hits) if hits.current + hits.previous == 2);
    assert!(slid(listed("d_slide_l*st_").await[0].stored));
    for _ in 0..2 {
        let asked = [
            ("hundred", "l*st", 1),
            ("burst", "l*st", 1),
            ("slide", "l*st", 1),
            ("two", "unseen", 1),
        ];
        let read = read(store, now(), &asked).await;
        assert_eq!(read[0], Some(Kept::Hits(3)));
        assert!(matches!(read[1], Some(Kept::Bucket(b)) if b.tokens == 5.0), "{read:?}");
        assert!(read[2].is_some_and(slid), "{read:?}");
        assert_eq!(read[3], None);
    }
    assert!(listed("d_hundred_list").await.is_empty());
    for prefix in ["d_hundred_l*st_", "d_burst_l*st_", "d_slide_l*st_"] {
        let key = listed(prefix).await[0].key.clone();
        assert!(store.forget(key.as_bytes()).await.unwrap());
        assert!(!store.forget(key.as_bytes()).await.unwrap());
    }
    let again = [("hundred", "l*st", 1), ("burst", "l*st", 6), ("slide", "l*st", 10)];
    assert_eq!(ask_at(store, now(), &again).await, [1, 1, 1]);
}

/// Counters are kept by the clock of the server, too.
fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

async fn counts_by_key_and_window(store: &Store) {
    let one = [("two", "a", 1), ("two", "b", 5), ("two", "a", 0)];
    assert_eq!(ask(store, &one).await, [1, 5, 1]);
    assert_eq!(ask(store, &[("two", "a", 1)]).await, [2]);
    let next_hour = NOON + Duration::from_secs(3600);
    assert_eq!(ask_at(store, next_hour, &[("two", "a", 1)]).await, [1]);
}

async fn counts_windows_of_several_units(store: &Store) {
    assert_eq!(ask(store, &[("ten", "a", 1)]).await, [1]);
    let at = |minutes: u64| NOON + Duration::from_secs(minutes * 60);
    assert_eq!(ask_at(store, at(9), &[("ten", "a", 1)]).await, [2]);
    assert_eq!(ask_at(store, at(10), &[("ten", "a", 1)]).await, [1]);
}

async fn gives_hits_back_down_to_nothing(store: &Store) {
    ask(store, &[("two", "r", 3)]).await;
    assert_eq!(ask(store, &[("two", "r", -1)]).await, [2]);
    assert_eq!(ask(store, &[("two", "r", -9)]).await, [0]);
    assert_eq!(ask(store, &[("two", "never", -9)]).await, [0]);
}

async fn charges_nobody_else_when_one_is_over(store: &Store) {
    let options = charging(Charge::OnlyOver);
    let both = [("two", "s", 2), ("hundred", "s", 2)];
    assert_eq!(hits(&try_with(store, &options, NOON, &both).await.unwrap()), [2, 2]);
    assert_eq!(hits(&try_with(store, &options, NOON, &both).await.unwrap()), [4, 2]);
}

async fn charges_all_or_none(store: &Store) {
    let options = charging(Charge::AllOrNone);
    let all = [("two", "n", 2), ("hundred", "n", 2), ("burst", "n", 2), ("slide", "n", 2)];
    let asked = || async { hits(&try_with(store, &options, NOON, &all).await.unwrap()) };
    assert_eq!(asked().await, [2, 2, 1, 1]);
    // The first is over: what the others have is what they had.
    assert_eq!(asked().await, [4, 2, 1, 1]);
    let rest = [("two", "n", 0), ("hundred", "n", 0), ("burst", "n", 4), ("slide", "n", 8)];
    assert_eq!(ask(store, &rest).await, [2, 2, 1, 1]);
}

async fn spends_a_bucket_and_refills_it(store: &Store) {
    let mut taken = 0;
    for _ in 0..8 {
        taken += ask(store, &[("burst", "x", 1)]).await[0];
    }
    assert_eq!(taken, 6);
    let later = NOON + Duration::from_secs(1801);
    assert_eq!(ask_at(store, later, &[("burst", "x", 1)]).await, [1]);
    assert_eq!(ask_at(store, later, &[("burst", "x", 1)]).await, [0]);
}

async fn fills_a_bucket_with_what_is_given_back(store: &Store) {
    for (hits, taken) in [(6, 1), (1, 0), (-2, 1), (2, 1), (1, 0)] {
        assert_eq!(ask(store, &[("burst", "g", hits)]).await, [taken]);
    }
    // More than was taken does not make it larger.
    for (hits, taken) in [(-100, 1), (7, 0), (6, 1)] {
        assert_eq!(ask(store, &[("burst", "g", hits)]).await, [taken]);
    }
}

async fn slides(store: &Store) {
    let at = |seconds: u64| NOON + Duration::from_secs(seconds);
    for (seconds, hits, taken) in
        [(50, 10, 1), (59, 1, 0), (75, 2, 1), (75, 1, 0), (75, -1, 1), (75, 1, 1), (240, 10, 1)]
    {
        let counted = ask_at(store, at(seconds), &[("slide", "w", hits)]).await;
        assert_eq!(counted, [taken], "{hits} at {seconds}");
    }
}

async fn counts_windows_beside_others_once(store: &Store) {
    // A server that was just started does not know the scripts.
    let all = [("two", "w", 1), ("burst", "w", 1), ("slide", "b", 1), ("two", "w", 1)];
    assert_eq!(ask(store, &all).await, [1, 1, 1, 2]);
}

/// Two replicas on one store, 512 requests in flight: each count is given once.
async fn never_admits_more_than_the_limit(replicas: [Arc<Store>; 2]) {
    let tasks: Vec<_> = (0..512)
        .map(|i| {
            let store = replicas[i % 2].clone();
            tokio::spawn(async move {
                let all = [("hundred", "c", 1), ("burst", "c", 1), ("slide", "c", 1)];
                let counts = ask(&store, &all).await;
                [counts[0] <= 100, counts[1] == 1, counts[2] == 1]
            })
        })
        .collect();
    let mut admitted = [0; 3];
    for task in tasks {
        for (sum, one) in admitted.iter_mut().zip(task.await.unwrap()) {
            *sum += usize::from(one);
        }
    }
    assert_eq!(admitted, [100, 6, 10]);
}

fn redis(settings: &RedisSettings) -> Store {
    Redis::open(settings, &StoreStats::default()).into()
}

async fn suite_and_race(settings: &RedisSettings) {
    whole_suite(&redis(settings)).await;
    never_admits_more_than_the_limit([Arc::new(redis(settings)), Arc::new(redis(settings))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    whole_suite(&Memory::default().into()).await;
    let store: Arc<Store> = Arc::new(Memory::default().into());
    never_admits_more_than_the_limit([store.clone(), store]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_alone() {
    let server = Server::start();
    suite_and_race(&settings(server.server(PATIENCE))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_several_connections() {
    let server = Server::start();
    let mut settings = settings(server.server(PATIENCE));
    settings.main.connections = 4;
    suite_and_race(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_users() {
    let (_server, own) = with_acl();
    let mut settings = settings(own);
    suite_and_race(&settings).await;
    settings.main.credentials = None;
    let error = try_ask(&redis(&settings), &[("two", "a", 1)]).await.unwrap_err().to_string();
    assert!(error.contains("NOAUTH"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_on_a_socket() {
    let (_server, _folder, own) = on_socket();
    let settings = settings(own);
    suite_and_race(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls() {
    let tls = TlsRedis::start();
    suite_and_race(&settings(tls.server("localhost", Trust::Full, true))).await;
    let fails = |host, trust, shown| {
        let store = redis(&settings(tls.server(host, trust, shown)));
        async move { try_ask(&store, &[("two", "t", 1)]).await.err().map(|e| e.to_string()) }
    };
    // Of another name: trusted only when names are not looked at.
    assert!(fails("127.0.0.1", Trust::Full, true).await.unwrap().contains("TLS"));
    assert_eq!(fails("127.0.0.1", Trust::AnyHost, true).await, None);
    assert_eq!(fails("127.0.0.1", Trust::Nothing, true).await, None);
    // Without a certificate the server does not talk to us.
    assert!(fails("localhost", Trust::Full, false).await.is_some());
    // Of another CA: trusted only when nothing is looked at.
    tls.folder.file("ca.crt", &std::fs::read_to_string(tls.folder.0.join("client.crt")).unwrap());
    assert!(fails("127.0.0.1", Trust::AnyHost, true).await.unwrap().contains("TLS"));
    assert_eq!(fails("127.0.0.1", Trust::Nothing, true).await, None);
    assert!(tls.redis.ask("DBSIZE").starts_with(':'));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_sentinels() {
    let sentinels = SentinelRedis::start();
    suite_and_race(&settings(sentinels.server(PATIENCE))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_as_a_cluster() {
    let cluster = ClusterRedis::start();
    let settings = settings(cluster.server(PATIENCE));
    let store = redis(&settings);
    while try_ask(&store, &[("two", "ready", 0)]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    whole_suite(&store).await;
    never_admits_more_than_the_limit([Arc::new(redis_known(&settings).await), Arc::new(store)])
        .await;
    // A slot that moves while requests come: nobody sees it.
    let store = redis_known(&settings).await;
    move_a_slot_under(&cluster, &store).await;
}

async fn redis_known(settings: &RedisSettings) -> Store {
    let store = redis(settings);
    while try_ask(&store, &[("two", "ready", 0)]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store
}

async fn move_a_slot_under(cluster: &ClusterRedis, store: &Store) {
    let key = format!("d_many_m_{}", NOON.as_secs());
    assert_eq!(ask(store, &[("many", "m", 1)]).await, [1]);
    let slot = cluster.nodes[0].ask(&format!("CLUSTER KEYSLOT {key}"));
    let slot = slot.trim().trim_start_matches(':').to_owned();
    let masters: Vec<_> =
        cluster.nodes.iter().filter(|n| n.ask("ROLE").contains("master")).collect();
    let has = |n: &&&Server| n.ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}")).trim() != ":0";
    let from = *masters.iter().find(has).unwrap();
    let to = *masters.iter().find(|n| n.port != from.port).unwrap();
    let (from_id, to_id) = (id_of(from), id_of(to));
    assert!(to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).starts_with("+OK"));
    assert!(from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).starts_with("+OK"));
    assert_eq!(ask(store, &[("many", "m", 1)]).await, [2]);
    let moved = from.ask(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port));
    assert!(moved.starts_with("+OK"), "{moved}");
    // The old server sends us on for this once.
    assert_eq!(ask(store, &[("many", "m", 1), ("many", "m", 1)]).await, [3, 4]);
    for node in [to, from] {
        assert!(node.ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")).starts_with("+OK"));
    }
    assert_eq!(ask(store, &[("many", "m", 1)]).await, [5]);
}

fn id_of(node: &Server) -> String {
    let answer = node.ask("CLUSTER MYID");
    answer.lines().nth(1).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_full_memory_forgets_nobody_who_is_over() {
    let memory: Store = Memory::with_capacity(64).into();
    assert_eq!(ask(&memory, &[("two", "over", 3)]).await, [3]);
    for i in 0..2000 {
        // The shard of the counter that is over has no room for others; that is said, not hidden.
        let _ = try_ask(&memory, &[("two", &format!("v{i}"), 1)]).await;
    }
    assert_eq!(ask(&memory, &[("two", "over", 1)]).await, [4]);
}

#[tokio::test]
async fn what_is_over_is_not_asked_for_again() {
    let server = Server::start();
    let settings = RedisSettings { local_cache_bytes: 1, ..settings(server.server(PATIENCE)) };
    let store = redis(&settings);
    let key = format!("d_two_l_{}", NOON.as_secs());
    assert_eq!(ask(&store, &[("two", "l", 3)]).await, [3]);
    let both = [("two", "l", 1), ("hundred", "l", 1)];
    assert_eq!(ask(&store, &both).await, [KNOWN_OVER, 1]);
    assert_eq!(server.ask(&format!("GET {key}")), "$1\r\n3\r\n");
    // Nobody else is charged when it is to be so.
    let stop = charging(Charge::OnlyOver);
    assert_eq!(hits(&try_with(&store, &stop, NOON, &both).await.unwrap()), [KNOWN_OVER, 1]);
    // The next window is another key, and hits that are given back are noticed.
    let next_hour = NOON + Duration::from_secs(3600);
    assert_eq!(ask_at(&store, next_hour, &[("two", "l", 1)]).await, [1]);
    assert_eq!(ask(&store, &[("two", "l", -2)]).await, [1]);
    assert_eq!(ask(&store, &[("two", "l", 1)]).await, [2]);
}

#[tokio::test]
async fn limits_of_seconds_may_be_on_a_server_of_their_own() {
    let (main, seconds) = (Server::start(), Server::start());
    let settings = RedisSettings {
        per_second: Some(seconds.server(PATIENCE)),
        ..settings(main.server(PATIENCE))
    };
    let store = redis(&settings);
    let all = [("two", "p", 1), ("quick", "p", 1), ("burst", "p", 1), ("quick", "p", 1)];
    // The second time both of `quick` would be over, so that only they are charged.
    for (charge, counts) in [(Charge::Each, [1, 1, 1, 2]), (Charge::OnlyOver, [1, 3, 1, 4])] {
        let counted = try_with(&store, &charging(charge), NOON, &all).await.unwrap();
        assert_eq!(hits(&counted), counts);
    }
    let key = format!("d_quick_p_{}", NOON.as_secs());
    assert_eq!(main.ask(&format!("GET {key}")), "$-1\r\n");
    assert_eq!(seconds.ask(&format!("GET {key}")), "$1\r\n4\r\n");
    assert_eq!(seconds.ask("DBSIZE"), ":1\r\n");
}

#[tokio::test]
async fn a_key_lives_as_long_as_its_window_and_some_seconds() {
    let server = Server::start();
    let store = redis(&settings(server.server(PATIENCE)));
    let life = || {
        let answer = server.ask(&format!("TTL d_two_t_{}", NOON.as_secs()));
        answer.trim().trim_start_matches(':').parse::<i64>().unwrap()
    };
    for _ in 0..3 {
        ask(&store, &[("two", "t", 1)]).await;
        assert!((3590..3611).contains(&life()), "{}", life());
    }
    // A server that lost the key is told again.
    server.ask("FLUSHALL");
    ask(&store, &[("two", "t", 1)]).await;
    wait("a life", || life() > 0);
}

/// Two replicas lease from one count: together never more than the limit, and few calls.
#[tokio::test(flavor = "multi_thread")]
async fn leases_admit_the_limit_and_ask_seldom() {
    let server = Server::start();
    let replicas =
        [redis(&settings(server.server(PATIENCE))), redis(&settings(server.server(PATIENCE)))];
    let mut admitted = 0;
    for i in 0..3000_usize {
        let counts = ask(&replicas[i % 2], &[("leased", "k", 1)]).await;
        admitted += usize::from(counts[0] <= 1000);
    }
    assert_eq!(admitted, 1000);
    let calls = server.ask("INFO commandstats");
    let calls = calls.split("cmdstat_incrby:calls=").nth(1).unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    // 2000 of them were over, and those are asked for one by one.
    assert!(calls < 2000 + 200, "{calls}");
    // One replica stops with a lease in hand: what the other cannot have is at most that.
    let mut admitted = 0;
    ask(&replicas[0], &[("leased", "h", 1)]).await;
    for _ in 0..3000 {
        admitted += usize::from(ask(&replicas[1], &[("leased", "h", 1)]).await[0] <= 1000);
    }
    assert_eq!(admitted, 1000 - 1 - 50);
}
