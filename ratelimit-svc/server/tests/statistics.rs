//! The statistics of the real program, against lines and a page that envoyproxy/ratelimit gave for
//! the same limits (of an hour there; here of a year, which ends less often) and the same requests.

#![allow(clippy::unwrap_used)]

#[path = "statistics/service.rs"]
mod service;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;

use service::{PATIENCE, Redis, Service, get};

/// What the original sent for [`Service::traffic`] with EXTRA_TAGS=zone:a.b,app:x|y, its tags left
/// out here. Its `ratelimit.go.…`, `redis_pool` and `localcache` lines are not in it.
const GOLDEN: &str = include_str!("statistics/statsd.txt");
/// Lines of its page for Prometheus, of the same requests, but for `over_limit` of `two`, `e`: it
/// counts the hit that the local cache refused there too, 3 in all, and not under its own name.
const GOLDEN_PAGE: &str = include_str!("statistics/prometheus.txt");

/// What lines come to: the sum of counters, the last of gauges, how often there were times.
fn sums<'l>(lines: impl Iterator<Item = &'l str>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in lines.filter(|l| !l.is_empty()) {
        let parts: Vec<&str> = line.split('|').collect();
        let (name, value) = parts[0].split_once(':').unwrap();
        let tags = parts[2..].iter().map(|tags| format!("|{tags}"));
        let key = tags.fold(name.to_owned(), |key, tags| key + &tags);
        match parts[1] {
            "c" => *sums.entry(key).or_insert(0) += value.parse::<u64>().unwrap(),
            "g" => drop(sums.insert(key, value.parse().unwrap())),
            "ms" => *sums.entry(key).or_insert(0) += 1,
            _ => panic!("{line}"),
        }
    }
    sums
}

/// Those of our own that the original has only for calls over gRPC, and of its files.
fn without_own(sums: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let is_own = |name: &str| name.starts_with("ratelimit_server.") || name.contains("_pool.");
    sums.into_iter().filter(|(name, _)| !is_own(name) && !name.contains("localcache")).collect()
}

#[test]
fn statsd_gets_the_lines_of_the_original() {
    let redis = Redis::start();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = Service::start(
        &redis,
        &[
            ("STATSD_HOST", "127.0.0.1"),
            ("STATSD_PORT", &port(sink.local_addr())),
            ("STATS_FLUSH_INTERVAL", "20ms"),
            ("EXTRA_TAGS", "zone:a.b,app:x|y"),
        ],
    );
    let (mut connection, _) = sink.accept().unwrap();
    service.traffic();
    service.stop();
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    let tags = ".__app=x_y.__zone=a_b";
    assert!(text.lines().all(|line| line.contains(tags)), "{text}");
    let text = text.replace(tags, "");
    let sent = sums(text.lines());
    assert_eq!(sent["ratelimit_server.ShouldRateLimit.total_requests"], 24);
    assert_eq!(sent["ratelimit_server.ShouldRateLimit.response_time"], 24);
    assert_eq!(without_own(sent), sums(GOLDEN.lines()));
}

#[test]
fn statsd_over_udp_gets_them_in_packets_that_fit() {
    let redis = Redis::start();
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let service = Service::start(
        &redis,
        &[
            ("STATSD_HOST", "127.0.0.1"),
            ("STATSD_PORT", &port(sink.local_addr())),
            ("STATSD_PROTOCOL", "udp"),
            ("DD_ENTITY_ID", "pod"),
        ],
    );
    service.traffic();
    service.stop();
    let text = datagrams(|bytes| sink.recv(bytes), || sink.set_nonblocking(true));
    assert!(text.iter().all(|packet| packet.len() <= 1_432), "{text:?}");
    let text = text.concat();
    let entity = "|#dd.internal.entity_id:pod";
    assert!(text.lines().all(|line| line.ends_with(entity)), "{text}");
    let text = text.replace(entity, "");
    assert_eq!(without_own(sums(text.lines())), sums(GOLDEN.lines()));
}

#[test]
fn dog_statsd_gets_names_and_tags_of_the_first_mogrifier() {
    let redis = Redis::start();
    let folder = std::env::temp_dir().join(format!("statistics-{}", std::process::id()));
    let _ = std::fs::remove_file(&folder);
    let sink = UnixDatagram::bind(&folder).unwrap();
    let service = Service::start(
        &redis,
        &[
            ("STATSD_HOST", &format!("unix://{}", folder.display())),
            ("USE_DOG_STATSD", "true"),
            ("EXTRA_TAGS", "zone:a,app:b"),
            ("DD_ENTITY_ID", "ent"),
            ("DD_ENV", "prod"),
            ("USE_DOG_STATSD_MOGRIFIERS", "A,B"),
            (
                "DOG_STATSD_MOGRIFIER_A_PATTERN",
                r"^ratelimit\.service\.rate_limit\.([^.]*)\.(.*)\.(.*)$",
            ),
            ("DOG_STATSD_MOGRIFIER_A_NAME", "rl.$3"),
            ("DOG_STATSD_MOGRIFIER_A_TAGS", "domain:$1,descriptor:$2,no:$9"),
            ("DOG_STATSD_MOGRIFIER_B_PATTERN", "^runtime"),
            ("DOG_STATSD_MOGRIFIER_B_NAME", "r.$0"),
        ],
    );
    service.traffic();
    service.stop();
    let text = datagrams(|bytes| sink.recv(bytes), || sink.set_nonblocking(true)).concat();
    std::fs::remove_file(&folder).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // As the original's, but for the order of a mogrifier's tags, which is random there.
    for line in [
        "rl.total_hits:7|c|#dd.internal.entity_id:ent,env:prod,app:b,zone:a,domain:d,descriptor:k,no:$9",
        "rl.within_limit:1|c|#dd.internal.entity_id:ent,env:prod,app:b,zone:a,domain:d,descriptor:v_x y,no:$9",
        "rl.shadow_mode:2|c|#dd.internal.entity_id:ent,env:prod,app:b,zone:a,domain:d,descriptor:s_x,no:$9",
        "r.runtime:1|g|#dd.internal.entity_id:ent,env:prod,app:b,zone:a",
        "ratelimit.service.config_load_success:1|c|#dd.internal.entity_id:ent,env:prod,app:b,zone:a",
    ] {
        assert!(lines.contains(&line), "no {line} in\n{text}");
    }
    let start = "ratelimit_server.ShouldRateLimit.response_time:";
    let time = lines.iter().find(|l| l.starts_with(start)).unwrap();
    assert!(time.contains(".000000|ms|#"), "{time}");
}

#[test]
fn prometheus_gets_the_page_of_the_original() {
    let redis = Redis::start();
    let service = Service::start(
        &redis,
        &[
            ("USE_PROMETHEUS", "true"),
            ("PROMETHEUS_ADDR", "127.0.0.1:0"),
            ("PROMETHEUS_PATH", "/prom"),
        ],
    );
    let addr = service.addr("Prometheus");
    service.traffic();
    let (status, page) = get(addr, "/prom");
    assert_eq!(status, 200);
    let is_compared = |line: &&str| {
        line.starts_with("ratelimit_service_rate_limit")
            || line.starts_with("ratelimit_service_should")
            || line.starts_with("ratelimit_service_config")
            || line.starts_with("# TYPE ratelimit_service_rate_limit_total")
    };
    let ours: Vec<&str> = page.lines().filter(is_compared).collect();
    assert_eq!(ours, GOLDEN_PAGE.lines().collect::<Vec<_>>());
    for line in [
        "# TYPE ratelimit_service_response_time_seconds histogram",
        r#"ratelimit_service_response_time_seconds_bucket{grpc_method="ShouldRateLimit",le="+Inf"} 24"#,
        r#"ratelimit_service_response_time_seconds_count{grpc_method="ShouldRateLimit"} 24"#,
        r#"ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 24"#,
        "runtime_num_values 1",
    ] {
        assert!(page.lines().any(|l| l == line), "no {line} in\n{page}");
    }
    for path in ["/metrics", "/debug/pprof/", "/debug/vars"] {
        assert_eq!(get(addr, path).0, 404, "{path}");
    }
    assert_eq!(get(addr, "/prom").1, page, "a scrape changes nothing");
    service.stop();
}

#[test]
fn a_receiver_that_comes_back_misses_nothing() {
    let redis = Redis::start();
    let sink = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = sink.local_addr();
    let service = Service::start(
        &redis,
        &[
            ("STATSD_HOST", "127.0.0.1"),
            ("STATSD_PORT", &port(sink.local_addr())),
            ("STATS_FLUSH_INTERVAL", "20ms"),
        ],
    );
    let name = "ratelimit.service.rate_limit.d.k.total_hits";
    let hit = || assert!([200, 429].contains(&service.hit("k", "1")));
    let mut connection = accept(&sink);
    hit();
    assert_eq!(read_until(&mut connection, |sums| sums.contains_key(name))[name], 1);
    drop((sink, connection));
    service.wait_for_line("statistics cannot be sent to tcp 127.0.0.1");
    for _ in 0..3 {
        hit();
    }
    let sink = TcpListener::bind(addr.unwrap()).unwrap();
    let mut connection = accept(&sink);
    hit();
    let sums = read_until(&mut connection, |sums| sums.get(name).is_some_and(|n| *n >= 4));
    assert_eq!(sums[name], 4);
    service.wait_for_line("statistics are sent to tcp 127.0.0.1");
    service.stop();
}

#[test]
fn without_a_receiver_there_is_one_notice() {
    let redis = Redis::start();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = port(gone.local_addr());
    drop(gone);
    let service = Service::start(
        &redis,
        &[("STATSD_HOST", "127.0.0.1"), ("STATSD_PORT", &nobody), ("STATS_FLUSH_INTERVAL", "1ms")],
    );
    service.wait_for_line("statistics cannot be sent");
    service.traffic();
    let log = service.stop();
    let notices = log.iter().filter(|line| line.contains("statistics")).count();
    assert_eq!(notices, 1, "{log:#?}");
}

#[test]
fn the_admin_port_lists_all_counters() {
    let redis = Redis::start();
    let service = Service::start(&redis, &[("USE_STATSD", "false")]);
    service.traffic();
    let (_, text) = get(service.addr("admin"), "/stats");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.is_sorted(), "{text}");
    for golden in GOLDEN.lines() {
        let (name, rest) = golden.split_once(':').unwrap();
        let line = format!("{name}: {}", rest.split('|').next().unwrap());
        assert!(lines.contains(&line.as_str()), "no {line} in\n{text}");
    }
    assert!(lines.contains(&"ratelimit.service.global_shadow_mode: 0"));
    assert!(get(service.addr("admin"), "/").1.contains("/stats"));
    service.stop();
}

fn port(addr: std::io::Result<SocketAddr>) -> String {
    addr.unwrap().port().to_string()
}

fn accept(sink: &TcpListener) -> BufReader<TcpStream> {
    let (connection, _) = sink.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(connection)
}

fn read_until(
    connection: &mut BufReader<TcpStream>,
    enough: impl Fn(&BTreeMap<String, u64>) -> bool,
) -> BTreeMap<String, u64> {
    let mut text = String::new();
    loop {
        let sums = sums(text.lines());
        if enough(&sums) {
            return sums;
        }
        assert!(connection.read_line(&mut text).unwrap() > 0, "the connection ended: {text}");
    }
}

/// What lies in a socket.
fn datagrams(
    receive: impl Fn(&mut [u8]) -> std::io::Result<usize>,
    never_wait: impl Fn() -> std::io::Result<()>,
) -> Vec<String> {
    never_wait().unwrap();
    let mut bytes = [0; 1 << 16];
    let mut all = Vec::new();
    while let Ok(length) = receive(&mut bytes) {
        all.push(String::from_utf8(bytes[..length].to_vec()).unwrap());
    }
    all
}
