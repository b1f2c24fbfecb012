//! Each cause that `explain` knows: made on a real Envoy through the real controller, seen in the
//! access log, and told in the right words. A cause of the table without a case fails the test.

#![allow(clippy::unwrap_used)]

#[path = "explain/cases.rs"]
mod cases;
#[path = "explain/edge.rs"]
mod edge;
#[path = "explain/resources.rs"]
mod resources;
#[path = "explain/servers.rs"]
mod servers;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cases::{Case, LIVE, case, first_phase, second_phase, sent};
use e2e::backend::Backend;
use e2e::certificates::Certificates;
use e2e::consul::Stub;
use e2e::free_addr;
use e2e::http::{self, Request};
use e2e::kubernetes::Cluster;
use e2e::process::program;
use e2e::redis::Redis;
use e2e::tls::Client;
use edge::Edge;
use resources::{MODULE, Services, asked, base, host, mapping, object, plain_listener, slice};
use serde_json::{Value, json};

#[test]
fn each_cause_is_made_seen_and_told() {
    let certificates = Certificates::of(&json!({"certs": {
        "secure": {"names": ["secure.test"]},
        "clients": {"names": ["clients"], "ca_only": true},
        "service": {"names": ["right.test"]},
    }}));
    let [echo, tls, nothing, authz, limits] = std::array::from_fn(|_| free_addr());
    let _echo = Backend::start("echo", "http", &[echo], &Value::Null);
    let own = certificates.get("service");
    let _tls = Backend::start_with("tls", "https", &[tls], &Value::Null, Some(own));
    let consul = Stub::start(json!([]));
    let (full, _full) = servers::full();
    let services = Services {
        echo,
        nothing,
        consul: consul.addr,
        full,
        tls,
        named: servers::for_name("right.test", own),
        wants: servers::for_clients_of(certificates.get("clients"), own),
    };
    let edge = Edge::start(&(base(&services, &certificates) + MODULE), None);
    let (mut covered, mut wrong) = (BTreeSet::new(), Vec::new());
    for case in first_phase() {
        wrong.extend(case.check(&edge));
        covered.insert(case.cause);
    }

    let told = "rpc error: code = Unavailable desc = no healthy upstream, grpc-status: 14";
    let url = format!("http://gateway.test:{}/no-pods/x", edge.plain.port());
    let words = "selects app=lonely";
    wrong.extend(edge.tells("no-pods", words, &[("url", &url), ("text", told)]));
    wrong.extend(edge.tells(
        "no-pods",
        words,
        &[("url", &url), ("status", "503"), ("flags", "UH")],
    ));
    // Without a request all that are like that are named.
    wrong.extend(edge.tells("service-missing", "default/nowhere", &[("flags", "UH")]));

    // Where there is no line of the log.
    let port = free_addr().port();
    let url = format!("http://gateway.test:{port}/no-pods/x");
    let told = [("url", url.as_str()), ("text", "Failed to connect")];
    let words = format!("no Listener is on port {port}");
    wrong.extend(edge.tells("no-listener", &words, &told));
    let client = Client { server_name: Some("mtls.test"), ..Client::default() };
    let mut connection = client.connect(http::connect(edge.secure).unwrap()).unwrap();
    let error = connection.stream.read(&mut [0; 64]).unwrap_err().to_string();
    let words = "Host default/mtls has cert_required";
    wrong.extend(edge.tells("tls-client-certificate", words, &[("text", &error)]));
    let connections: Vec<_> =
        (0..edge::CONNECTIONS).map(|_| http::connect(edge.plain).unwrap()).collect();
    let refused = http::send(edge.plain, &Request::get("/", "gateway.test")).unwrap_err();
    drop(connections);
    let told = format!("curl: (56) Connection closed: {refused}");
    let words = "downstream_global_cx_overflow";
    wrong.extend(edge.tells("too-many-connections", words, &[("text", &told)]));
    // The client sees nothing of it: the request goes on, and Envoy's own log has why.
    let request = Request::get("/script-failed/x", "gateway.test").header("x-broken", "1");
    assert_eq!(http::send(edge.plain, &request).unwrap().status, 200);
    let line = edge.logged("script log: [string");
    let words = "line 3 of lua_scripts, `if handle:headers():get('x-broken') then handle:nothing() end`: attempt to call method 'nothing'";
    wrong.extend(edge.tells("script-failed", words, &[("text", &line)]));
    covered.extend(["no-listener", "tls-client-certificate", "too-many-connections"]);
    covered.insert("script-failed");

    let mut check = |cases: Vec<Case>| {
        for case in cases {
            wrong.extend(case.check(&edge));
            covered.insert(case.cause);
        }
    };
    let second = asked(authz, limits, echo);
    edge.folder.write("second.yaml", &second);
    let authorizer = edge.service("authz-svc", authz, &[]);
    let limiter = edge.service("ratelimit-svc", limits, &["--http-addr", "off"]);
    check(second_phase());

    let change = |from: &str, to: &str| edge.folder.write("second.yaml", &second.replace(from, to));
    change("domain: ambassador, limits", "domain: other, limits");
    check(vec![
        case("domain-without-limits", 200, "-", &["RateLimits are in other"])
            .header("x-user", "b")
            .told("not limited"),
    ]);
    change("timeout_ms: 500}", "timeout_ms: 500, failure_mode_deny: true}");
    drop(limiter);
    check(vec![
        case("limiter-unreachable", 500, "RLSE", &["failure_mode_deny is true"])
            .header("x-user", "b"),
    ]);
    change("timeout_ms: 500}", "timeout_ms: 500, failure_mode_deny: false}");
    check(vec![
        case("limiter-fails-open", 200, "-", &["requests pass then"])
            .header("x-user", "b")
            .told("not limited"),
    ]);
    drop(authorizer);
    check(vec![case("authorizer-unreachable", 403, "UAEX", &["requests are then answered 403"])]);

    // What was good once stays when it breaks, so these come broken.
    let broken = second
        .replace("protocol_version: v3, timeout_ms: 500}", "protocol_version: v2}")
        .replace("max_bytes: 100}", "max_bytes: many}");
    edge.folder.write("second.yaml", "");
    edge.until("without services", |d| d["overview"]["services"] == json!([]));
    let (rest, auth) = broken.split_at(
        broken.find("---\napiVersion: getambassador.io/v3alpha1\nkind: FilterPolicy").unwrap(),
    );
    edge.folder.write("second.yaml", auth);
    check(vec![
        case("limiter-off", 200, "-", &["RateLimitService default/limits is off"])
            .header("x-user", "b")
            .told("not limited"),
    ]);
    edge.folder.write("third.yaml", rest);
    check(vec![case("authorization-closed", 500, "-", &["spec.include_body"])]);
    edge.folder.remove("third.yaml");
    edge.folder.write("second.yaml", "");
    let denying = MODULE.replace("    buffer:", "    ip_deny: [peer: 127.0.0.1]\n    buffer:");
    let all = std::fs::read_to_string(edge.folder.path().join("base.yaml")).unwrap();
    edge.folder.write("base.yaml", &all.replace(MODULE, &denying));
    check(vec![case("address-denied", 403, "-", &["ip_deny", "127.0.0.1"])]);

    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    let known = std::process::Command::new(program("gateway-ctl"))
        .args(["explain", "--causes"])
        .output()
        .unwrap();
    let known = String::from_utf8(known.stdout).unwrap();
    let known: BTreeSet<&str> =
        known.split("<br>`").skip(1).filter_map(|t| t.split('`').next()).collect();
    assert_eq!(covered, known, "each cause of the table is made here");
}

/// Counters in a real Redis, as ratelimit-svc has them: how near a request is to its limits.
#[test]
fn limits_are_told_with_their_counters() {
    let [echo, limits] = std::array::from_fn(|_| free_addr());
    let _echo = Backend::start("echo", "http", &[echo], &Value::Null);
    let redis = Redis::start();
    let spec = "{domain: ambassador, limits: [{name: per-user, pattern: [{user: \"*\"}], rate: 2, unit: year}, {name: per-address, pattern: [{remote_address: \"*\"}], rate: 9, unit: year, burstFactor: 2}]}";
    let labels = ", labels: {ambassador: [{one: [{request_headers: {key: user, header_name: x-user}}]}, {two: [{remote_address: {key: remote_address}}]}]}";
    let objects = [
        plain_listener("PLAIN"),
        host("gateway", "Route"),
        object(
            "RateLimitService",
            "limits",
            &format!("{{service: \"{limits}\", protocol_version: v3, timeout_ms: 500}}"),
        ),
        object("RateLimit", "users", spec),
        mapping("limited", &echo.to_string(), labels),
    ];
    let edge = Edge::start(&objects.concat(), None);
    let url = format!("http://gateway.test:{}/limited/x", edge.plain.port());
    let asked = [("url", url.as_str()), ("headers", "x-user: alice"), ("client", "127.0.0.1")];
    let unknown = edge.ask(&asked);
    assert!(unknown["way"].to_string().contains("its counters cannot be seen"), "{unknown:#}");

    let server = format!("127.0.0.1:{}", redis.port);
    let more = ["--http-addr", "off", "--redis-url", &server];
    let _limiter = edge.service("ratelimit-svc", limits, &more);
    let request = Request::get("/limited/x", "gateway.test").header("x-user", "alice");
    let status = || http::send(edge.plain, &request).map_or(0, |r| r.status);
    let end = Instant::now() + LIVE;
    let standing = || edge.ask(&asked)["limits"].clone();
    // What is asked for is not counted, and what is not counted yet is unused.
    while standing()[0]["remaining"] != 2 {
        assert!(Instant::now() < end, "{}", edge.ask(&asked));
    }
    while standing()[0]["remaining"] == 2 {
        assert_eq!(status(), 200);
        assert!(Instant::now() < end, "{}", edge.ask(&asked));
    }
    let [user, address] = std::array::from_fn(|i| standing()[i].clone());
    assert_eq!(user["descriptor"], "user=alice");
    assert_eq!((&user["limit"], &user["object"]), (&json!("per-user"), &json!("users.default")));
    assert_eq!((&user["requests"], &user["unit"]), (&json!(2), &json!("year")));
    assert_eq!((&user["used"], &user["remaining"]), (&json!(1), &json!(1)));
    assert_eq!(user["next_in_seconds"], 0);
    assert!(user["reset_in_seconds"].as_u64().unwrap() > 0);
    assert_eq!((&address["used"], &address["remaining"]), (&json!(1), &json!(17)));

    assert_eq!([status(), status()], [200, 429]);
    let told = [("text", "429 RL")];
    let answer = edge.ask(&[&asked[..], &told].concat());
    let first = &answer["causes"][0];
    assert_eq!((&first["id"], &first["is_certain"]), (&json!("over-limit"), &json!(true)));
    let words = "counts against limit `per-user` of RateLimit default/users, 2 per year: 3 used, 0 left, and it begins anew in";
    assert!(first["found"][0].to_string().contains(words), "{first:#}");
    // The same for people, from the line of the log and what the log does not have.
    let line = edge.line("/limited/x", 429, &|edge: &Edge| sent(edge, &request)).unwrap();
    let text = edge.command(&["--client", "127.0.0.1", "-H", "x-user: alice", "GET", &url, &line]);
    assert!(text.contains("ratelimit-svc  user=alice counts against limit `per-user`"), "{text}");
    assert!(text.contains("remote_address=127.0.0.1 counts against limit `per-address`"), "{text}");
    let page = http::get(
        edge.admin,
        &format!("/explain?url={}&headers=x-user:%20alice", url.replace(':', "%3A")),
    )
    .unwrap();
    assert!(page.body.contains("How near it is to its limits"), "{}", page.body);
}

/// The controller reaches no admin page of this Envoy, only the statistics that others may read.
#[test]
fn endpoints_that_are_out_are_told_by_statistics() {
    let echo = free_addr();
    let backend = Backend::start("echo", "http", &[echo], &Value::Null);
    let port = echo.port();
    let ports = format!("[{{name: http, port: {port}}}]");
    let second = slice("web", true, SocketAddr::from(([127, 0, 0, 2], port)), &ports);
    let own = ", resolver: endpoint";
    let checks = ", health_checks: [{health_check: {http: {path: /health}}, interval: 1s, timeout: 1s, unhealthy_threshold: 1, healthy_threshold: 1}]";
    let objects = [
        plain_listener("PLAIN"),
        host("gateway", "Route"),
        object("Service", "web", "{ports: [{name: http, port: 80}]}"),
        slice("web", true, echo, &ports),
        second.replace("web-1", "web-2"),
        mapping("checked", "web", &format!("{own}{checks}")),
        mapping(
            "watched",
            &echo.to_string(),
            ", outlier_detection: {consecutive_5xx: 1, interval: 1s, base_ejection_time: 60s, max_ejection_percent: 100}",
        ),
        mapping("plain", "web", own),
    ];
    let edge = Edge::start(&objects.concat(), None);
    let cluster = |mapping: &str| {
        let all = http::get(edge.admin, "/clusters?json=true").unwrap().json();
        let owned = |c: &&Value| c["owners"][0]["name"] == mapping;
        all.as_array().unwrap().iter().find(owned).cloned().unwrap_or_default()
    };
    let until = |what: &str, mapping: &str, host: &str, why: &str| {
        let end = Instant::now() + 3 * LIVE;
        loop {
            let said = cluster(mapping)["hosts"][host].clone();
            if said[0]["unhealthy"] == why && said[0]["envoy"] == edge.stats.to_string() {
                return;
            }
            assert!(Instant::now() < end, "{what}: {}", cluster(mapping));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let (here, elsewhere) = (echo.to_string(), format!("127.0.0.2:{port}"));
    until("well", "checked", &here, "");
    until("out", "checked", &elsewhere, "its health check fails");
    until("well yet", "watched", &here, "");
    // What nothing can put out has no statistics of its own.
    assert_eq!(cluster("plain")["hosts"], json!({}));
    let page = http::get(edge.admin, "/clusters").unwrap().body;
    assert!(page.contains("healthy") && page.contains("its health check fails"), "{page}");

    let request = Request::get("/watched/x", "gateway.test").header("x-echo-status", "503");
    assert_eq!(http::send(edge.plain, &request).unwrap().status, 503);
    until("ejected", "watched", &here, "it is ejected as an outlier");
    let url = |path: &str| format!("http://gateway.test:{}/{path}/x", edge.plain.port());
    let told = |path: &str| [("url", url(path)), ("text", "503".to_owned())];
    let tells = |cause: &str, words: &str| {
        let name = if cause == "hosts-ejected" { "watched" } else { "checked" };
        let asked = told(name);
        let asked: Vec<(&str, &str)> = asked.iter().map(|(k, v)| (*k, v.as_str())).collect();
        edge.tells(cause, words, &asked)
    };
    assert_eq!(tells("hosts-ejected", "it is ejected as an outlier"), None);
    drop(backend);
    until("out, too", "checked", &here, "its health check fails");
    assert_eq!(tells("hosts-unhealthy", "no host is healthy"), None);

    // Of the admin page others read this and the readiness, and nothing else.
    let status = |path: &str| http::get(edge.stats, path).unwrap().status;
    let statuses =
        ["/ready", "/stats/prometheus", "/clusters", "/config_dump", "/stats", "/quitquitquit"]
            .map(status);
    assert_eq!(statuses, [200, 200, 404, 404, 404, 404]);
    let Edge { envoy, admin, .. } = edge;
    drop(envoy);
    let page = http::get(admin, "/clusters").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Connection refused"), "{}", page.body);
}

/// A real API server: Services and EndpointSlices as it has them.
#[test]
fn services_without_pods_are_told_in_a_cluster() {
    let cluster = Cluster::start();
    let folder = e2e::root().join("../deploy/charts/tollgate-crds/files/emissary");
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        cluster.apply(&std::fs::read_to_string(file.path()).unwrap());
    }
    let edge = Edge::start("", Some(("KUBECONFIG", &cluster.kubeconfig())));
    let own = ", resolver: endpoint";
    let pod = SocketAddr::from(([10, 1, 2, 3], 80));
    let service = |name: &str| {
        object(
            "Service",
            name,
            &format!("{{ports: [{{name: http, port: 80}}], selector: {{app: {name}}}}}"),
        )
    };
    let objects = [
        service("lonely"),
        service("starting"),
        slice("starting", false, pod, "[{name: http, port: 80, protocol: TCP}]"),
        plain_listener(&edge.plain.port().to_string()),
        host("gateway", "Route"),
        mapping("no-pods", "lonely", own),
        mapping("pods-not-ready", "starting", own),
        mapping("port-unknown", "lonely:81", own),
        mapping("service-missing", "nowhere", own),
    ];
    cluster.apply(&objects.concat());
    for case in [
        case("no-pods", 503, "UH", &["selects app=lonely"]),
        case("pods-not-ready", 503, "UH", &["app=starting", "none is ready"]),
        case("port-unknown", 503, "UH", &["its ports are 80"]),
        case("service-missing", 503, "UH", &["there is no Service default/nowhere"]),
    ] {
        assert_eq!(case.check(&edge), None);
    }
}
