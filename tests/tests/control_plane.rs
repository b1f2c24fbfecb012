//! ratelimit-svc in the place of envoyproxy/ratelimit behind a control plane, as Envoy Gateway runs
//! it: by variables alone, limits over ADS.

#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use e2e::control_plane::{ControlPlane, TYPE_URL, config};
use e2e::limiter::Limiter;
use e2e::{TempDir, free_addr, http};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

const LOADED: &str = "ratelimit_config_loads_total{outcome=\"loaded\"}";
const REFUSED: &str = "ratelimit_config_loads_total{outcome=\"refused\"}";

/// Starts the service for the control plane at `addr`; it does not wait long for anything.
fn start(addr: SocketAddr, more: &[(&str, &str)]) -> Limiter {
    let url = addr.to_string();
    let mut variables = vec![
        ("CONFIG_TYPE", "GRPC_XDS_SOTW"),
        ("CONFIG_GRPC_XDS_SERVER_URL", url.as_str()),
        ("CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL", "20ms"),
        ("XDS_CLIENT_BACKOFF_INITIAL_INTERVAL", "20ms"),
        ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "40ms"),
        ("USE_STATSD", "false"),
    ];
    // The last of equal names counts.
    variables.extend(more);
    Limiter::start(&variables)
}

#[test]
fn what_the_control_plane_says_is_in_force() {
    let addr = free_addr();
    let mut plane = ControlPlane::start(addr, None, None);
    let mut service = start(
        addr,
        &[
            ("CONFIG_GRPC_XDS_NODE_ID", "envoy-ratelimit"),
            ("CONFIG_GRPC_XDS_NODE_METADATA", "zone=a,rack=7"),
        ],
    );
    let mut stream = plane.stream();
    let first = stream.request();
    assert_eq!((first.type_url.as_str(), first.resource_names.len()), (TYPE_URL, 0));
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("", ""));
    let node = first.node.unwrap();
    assert_eq!((node.id.as_str(), node.metadata.unwrap().fields.len()), ("envoy-ratelimit", 2));
    // Nothing is known yet: no port for requests, and the admin port says why.
    assert!(TcpStream::connect(service.grpc).is_err());
    let why = http::get(service.admin, "/readyz").unwrap();
    assert!(why.status == 503 && why.body.contains("CONFIG_GRPC_XDS_SERVER_URL"), "{}", why.body);

    let ack = stream.send("1", &[config("a", "one", &[("k", 5)]), config("b", "two", &[("k", 6)])]);
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "nonce-1"));
    assert_eq!(ack.error_detail, None);
    service.process.wait_ready(service.admin);
    service.wait_limit("one", "k", Some(5));
    assert_eq!(service.limit("two", "k"), Some(6));

    // Each response is everything there is.
    stream.send("2", &[config("a", "one", &[("k", 7), ("j", 8)])]);
    assert_eq!((service.limit("one", "k"), service.limit("one", "j")), (Some(7), Some(8)));
    assert_eq!(service.limit("two", "k"), None);

    // One bad resource refuses all, in the words of envoyproxy/ratelimit.
    for (version, bad, words) in [
        ("3", config("b", "", &[]), "b: config file cannot have empty domain"),
        ("4", config("b", "one", &[]), "b: duplicate domain 'one' in config file"),
        (
            "5",
            config("b", "two", &[("k", 1), ("k", 2)]),
            "b: duplicate descriptor composite key 'two.k'",
        ),
    ] {
        let nack = stream.send(version, &[config("a", "one", &[("k", 99)]), bad]);
        assert_eq!(nack.error_detail.unwrap().message, words);
        assert_eq!(
            (nack.version_info, nack.response_nonce),
            ("2".to_owned(), format!("nonce-{version}"))
        );
        assert_eq!(service.limit("one", "k"), Some(7));
    }
    service.process.wait_log("Error loading new configuration: b: duplicate domain 'one'");
    assert_eq!((service.metric(LOADED), service.metric(REFUSED)), (Some(2.0), Some(3.0)));
    assert_eq!(service.metric("ratelimit_config_is_stale"), Some(1.0));

    assert_eq!(stream.send("6", &[]).error_detail, None);
    assert_eq!(service.limit("one", "k"), None);
    assert_eq!(service.metric("ratelimit_config_is_stale"), Some(0.0));
}

#[test]
fn limits_hold_while_the_control_plane_is_gone() {
    let addr = free_addr();
    let mut plane = ControlPlane::start(addr, None, None);
    let mut service = start(addr, &[]);
    let (a, b) = (config("a", "one", &[("k", 5)]), config("b", "two", &[("k", 6)]));
    let mut stream = plane.stream();
    stream.request();
    stream.send("1", &[a.clone(), b.clone()]);
    let nack = stream.send("2", &[config("", "", &[])]);
    assert!(nack.error_detail.is_some());
    stream.send("3", &[a.clone(), b.clone()]);
    service.wait_limit("one", "k", Some(5));
    let loaded = service.metric(LOADED);
    drop(plane);
    service.process.wait_log("no connection to the control plane");
    assert_eq!(service.limit("one", "k"), Some(5));

    let mut plane = ControlPlane::start(addr, None, None);
    let mut stream = plane.stream();
    // What it has is said; the nonce was of another stream.
    let first = stream.request();
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("3", ""));
    // The same, in another order, is no new configuration.
    let ack = stream.send("a", &[b, a]);
    assert_eq!((ack.version_info.as_str(), ack.error_detail), ("a", None));
    assert_eq!((service.limit("one", "k"), service.metric(LOADED)), (Some(5), loaded));
    drop(stream);
    let mut stream = plane.stream();
    assert_eq!(stream.request().version_info, "a");
    stream.send("b", &[config("a", "one", &[("k", 9)])]);
    assert_eq!(service.limit("one", "k"), Some(9));
}

#[test]
fn it_may_start_without_limits_and_end_while_it_waits() {
    let addr = free_addr();
    let mut forced = start(addr, &[("FORCE_START_WITHOUT_INITIAL_CONFIG", "true")]);
    forced.process.wait("open", |_| TcpStream::connect(forced.grpc).is_ok());
    let error = forced.ask("one", "k").unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (tonic::Code::Unknown, "no rate limit configuration loaded")
    );
    // A control plane that comes later is found.
    let mut plane = ControlPlane::start(addr, None, None);
    let mut stream = plane.stream();
    stream.request();
    stream.send("1", &[config("a", "one", &[("k", 5)])]);
    assert_eq!(forced.limit("one", "k"), Some(5));

    // As with envoyproxy/ratelimit a bad first word ends the wait, too.
    let mut waiting = start(addr, &[]);
    let mut stream = plane.stream();
    stream.request();
    assert!(TcpStream::connect(waiting.grpc).is_err());
    assert!(stream.send("1", &[config("a", "", &[])]).error_detail.is_some());
    waiting.process.wait("open", |_| TcpStream::connect(waiting.grpc).is_ok());
    assert_eq!(waiting.ask("one", "k").unwrap_err().code(), tonic::Code::Unknown);
    assert_eq!(http::get(waiting.admin, "/readyz").unwrap().status, 503);

    let mut ended = start(free_addr(), &[]);
    ended.process.terminate();
    assert!(ended.process.wait_end().success());
}

#[test]
fn domains_of_several_resources_are_merged_when_it_is_said() {
    let addr = free_addr();
    let mut plane = ControlPlane::start(addr, None, None);
    let mut service = start(addr, &[("MERGE_DOMAIN_CONFIG", "true")]);
    let mut stream = plane.stream();
    stream.request();
    let a = config("a", "one", &[("k", 5)]);
    assert_eq!(stream.send("1", &[a.clone(), config("b", "one", &[("j", 6)])]).error_detail, None);
    service.wait_limit("one", "k", Some(5));
    assert_eq!(service.limit("one", "j"), Some(6));
    let nack = stream.send("2", &[a, config("b", "one", &[("k", 6)])]);
    let words = "b: duplicate descriptor composite key 'one.k'";
    assert_eq!(nack.error_detail.unwrap().message, words);
}

#[test]
fn a_header_lets_it_in() {
    let addr = free_addr();
    let mut plane = ControlPlane::start(addr, None, Some(("authorization", "Bearer hush:1")));
    const NAME: &str = "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS";
    let mut stranger = start(addr, &[(NAME, "authorization:Bearer shush")]);
    stranger.process.wait_log("who are you?");
    let friend = start(addr, &[(NAME, "Authorization:Bearer hush:1,x-more:1")]);
    let mut stream = plane.stream();
    assert_eq!(stream.headers.get("x-more").unwrap(), "1");
    stream.request();
    stream.send("1", &[]);
    for service in [&stranger, &friend] {
        let config = http::get(service.admin, "/config").unwrap().body;
        assert!(!service.process.log().contains("hush") && !config.contains("hush"));
    }
}

#[test]
fn a_long_response_needs_a_setting() {
    let addr = free_addr();
    let mut plane = ControlPlane::start(addr, None, None);
    let name = "x".repeat(5 << 20);
    let long = [config("a", "one", &[("k", 5)]), config(&name, "two", &[])];
    let mut short = start(addr, &[]);
    let mut stream = plane.stream();
    stream.request();
    stream.send_only("1", &long);
    short.process.wait_log("the limit is: 4194304 bytes (XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES)");
    // It comes again, and can be helped by a shorter one.
    let mut stream = plane.stream();
    stream.request();
    assert_eq!(stream.send("2", &long[..1]).error_detail, None);
    drop(short);

    let mut wide = start(addr, &[("XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES", "6000000")]);
    let mut stream = plane.stream();
    stream.request();
    assert_eq!(stream.send("1", &long).error_detail, None);
    wide.wait_limit("one", "k", Some(5));
}

/// A certificate authority, and identities of it.
struct Ca(Issuer<'static, KeyPair>, String);

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self(Issuer::new(parameters, key), pem)
    }

    fn write(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join("ca.crt"), &self.1).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    }
}

#[test]
fn both_ends_show_certificates() {
    let (ca, other) = (Ca::new(), Ca::new());
    let [server, client, stranger] = ["server", "client", "stranger"].map(TempDir::new);
    ca.write(server.path(), "envoy-gateway.test");
    ca.write(client.path(), "ratelimit");
    other.write(stranger.path(), "ratelimit");
    let addr = free_addr();
    let mut plane = ControlPlane::start(addr, Some(server.path()), None);
    let file = |folder: &TempDir, name: &str| folder.path().join(name).display().to_string();
    let start = |identity: &TempDir, ca: &TempDir, san: &str| {
        start(
            addr,
            &[
                ("CONFIG_GRPC_XDS_SERVER_USE_TLS", "true"),
                ("CONFIG_GRPC_XDS_CLIENT_TLS_CERT", &file(identity, "tls.crt")),
                ("CONFIG_GRPC_XDS_CLIENT_TLS_KEY", &file(identity, "tls.key")),
                ("CONFIG_GRPC_XDS_SERVER_TLS_CACERT", &file(ca, "ca.crt")),
                ("CONFIG_GRPC_XDS_SERVER_TLS_SAN", san),
            ],
        )
    };
    let name = "envoy-gateway.test";
    // The server is not who it should be: by its name, by its CA.
    start(&client, &client, "other.test").process.wait_log("not valid for name");
    start(&client, &stranger, name).process.wait_log("invalid peer certificate");
    // The server does not know the client; its certificate may be replaced while the service runs.
    let mut service = start(&stranger, &client, name);
    service.process.wait_log("trying again");
    ca.write(stranger.path(), "ratelimit");
    let mut stream = plane.stream();
    stream.request();
    stream.send("1", &[config("a", "one", &[("k", 5)])]);
    service.wait_limit("one", "k", Some(5));
}

#[test]
fn a_wrong_setting_ends_the_start_with_one_line() {
    let program = e2e::process::program("ratelimit-svc");
    for (name, value) in [
        ("CONFIG_TYPE", "GRPC_XDS_DELTA"),
        ("CONFIG_GRPC_XDS_SERVER_URL", "nowhere"),
        ("XDS_CLIENT_BACKOFF_MAX_INTERVAL", "60"),
    ] {
        let output = std::process::Command::new(&program)
            .envs([("CONFIG_TYPE", "GRPC_XDS_SOTW"), (name, value)])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(name), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}
