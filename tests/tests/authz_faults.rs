//! What each kind of filter answers while the identity provider, Redis, or both are down, and after
//! they came back: the table of docs/authz-operations.md. Redis is real, and the provider's port really
//! closes.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::authorizer::{Answer, Authorizer};
use e2e::redis::Redis;
use e2e::signature::{SECRET, signed};
use e2e::{TempDir, free_addr};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// An identity provider that also authorizes requests; gone when dropped.
struct Provider(Option<Runtime>);

impl Provider {
    fn start(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let origin = format!("http://{addr}");
        let configuration = json!({
            "issuer": origin, "jwks_uri": format!("{origin}/keys"),
            "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"),
            "introspection_endpoint": format!("{origin}/introspect"),
        });
        let jwk = Jwk::from_encoding_key(&key(), Algorithm::RS256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!("k");
        let keys = json!({"keys": [jwk]});
        let introspect = |form: String| async move {
            let active = form.split('&').any(|field| field.starts_with("token=good"));
            Json(json!({"active": active, "sub": "ann", "iss": origin}))
        };
        let told = |value: Value| get(move || async move { Json(value) });
        let router = Router::new()
            .route("/.well-known/openid-configuration", told(configuration))
            .route("/keys", told(keys.clone()))
            .route("/late-keys", told(keys))
            .route("/introspect", post(introspect))
            .fallback(any(|| async { StatusCode::OK.into_response() }));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(addr)).unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self(Some(runtime))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // With all its connections.
        self.0.take().unwrap().shutdown_timeout(Duration::from_secs(5));
    }
}

fn key() -> EncodingKey {
    let pem = std::fs::read(e2e::root().join("cases/keys/rs256.pem")).unwrap();
    EncodingKey::from_rsa_pem(&pem).unwrap()
}

fn token() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed =
        format!("{}.{}", part(json!({"alg": "RS256", "kid": "k"})), part(json!({"sub": "ann"})));
    let signature = crypto::sign(signed.as_bytes(), &key(), Algorithm::RS256).unwrap();
    format!("Bearer {signed}.{signature}")
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": "edge"}, "spec": spec})
}

fn secret(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "edge"}, "stringData": {key: value}})
}

fn list(items: Vec<Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// A filter, and a policy for its host `NAME.test`.
fn guarded(name: &str, spec: Value) -> [Value; 2] {
    let rule = json!({"host": format!("{name}.test"), "filters": [{"name": name}]});
    [object("Filter", name, spec), object("FilterPolicy", name, json!({"rules": [rule]}))]
}

/// The same filter under a policy that lets pass what cannot be decided, for `HOST.test`.
fn open(host: &str, filter: &str) -> Value {
    let rule = json!({"host": format!("{host}.test"), "filters": [{"name": filter}]});
    object("FilterPolicy", host, json!({"failureModeAllow": true, "rules": [rule]}))
}

fn objects(provider: SocketAddr) -> String {
    let origin = format!("http://{provider}");
    let users = "ann:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n";
    let mut all = vec![
        secret("secrets", "acme", SECRET),
        secret("client", "oauth2-client-secret", "client-secret"),
        secret("users", "auth", users),
        open("open-signed", "signed"),
        open("open-asked", "asked"),
        open("open-external", "external"),
    ];
    for (name, spec) in [
        ("jwt", json!({"JWT": {"jwksURI": format!("{origin}/keys")}})),
        ("key", json!({"APIKey": {"keys": [{"secretName": "secrets"}]}})),
        ("basic", json!({"Basic": {"users": [{"secretName": "users"}]}})),
        ("signed", json!({"HMAC": {"profile": "simple", "keys": [{"secretName": "secrets"}]}})),
        (
            "asked",
            json!({"Introspection": {"issuer": origin, "clientID": "c", "secretName": "client",
                "cacheTTL": "300s"}}),
        ),
        (
            "external",
            json!({"External": {"auth_service": origin, "proto": "http",
                "status_on_error": {"code": 503}}}),
        ),
        (
            "login",
            json!({"OAuth2": {"authorizationURL": origin, "clientID": "c",
                "secretName": "client", "protectedOrigins": [{"origin": "http://login.test"}]}}),
        ),
    ] {
        all.extend(guarded(name, spec));
    }
    list(all)
}

/// The parts, and what was asked of them.
struct Site {
    service: Authorizer,
    turn: u64,
}

impl Site {
    fn ask(&mut self, host: &str, headers: &[(String, String)]) -> u64 {
        self.answer(host, headers).status
    }

    fn answer(&mut self, host: &str, headers: &[(String, String)]) -> Answer {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.service.get(&format!("{host}.test"), &format!("/{}", self.turn), &headers)
    }

    /// A request of each kind, as a good client sends it: a signature and an opaque token that nobody
    /// saw before.
    fn statuses(&mut self) -> Vec<(&'static str, u64)> {
        self.turn += 1;
        let turn = self.turn;
        let authorization = |value: String| vec![("authorization".to_owned(), value)];
        let basic = format!("Basic {}", STANDARD.encode("ann:myPassword"));
        let requests = [
            ("jwt", authorization(token())),
            ("key", vec![("x-api-key".to_owned(), SECRET.to_owned())]),
            ("basic", authorization(basic)),
            ("signed", signed("signed.test", &format!("/{turn}"), 0)),
            ("open-signed", signed("open-signed.test", &format!("/{turn}"), 0)),
            ("asked", authorization(format!("Bearer good-{turn}"))),
            ("open-asked", authorization(format!("Bearer good-o{turn}"))),
            ("external", Vec::new()),
            ("open-external", Vec::new()),
            ("login", vec![("accept".to_owned(), "text/html".to_owned())]),
        ];
        requests.into_iter().map(|(host, headers)| (host, self.ask(host, &headers))).collect()
    }

    /// Clients who are refused, whatever is down: also where a policy lets pass what cannot be
    /// decided.
    fn refuses(&mut self, phase: &str) {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let other = "HMAC acme:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let mut forged = signed("open-signed.test", "/", 0);
        forged[1].1 = other.to_owned();
        for (host, headers) in [
            ("jwt", header("authorization", "Bearer e30.e30.e30")),
            ("jwt", Vec::new()),
            ("key", header("x-api-key", "guess")),
            ("basic", header("authorization", "Basic YTpi")),
            ("open-signed", forged),
            ("open-asked", Vec::new()),
        ] {
            assert_eq!(self.ask(host, &headers), 401, "{phase}: {host}");
        }
    }

    fn failed_open(&self, policy: &str) -> f64 {
        let series =
            format!("authz_decisions_total{{policy=\"{policy}.edge\",result=\"failed_open\"}}");
        self.service.metric(&series).unwrap_or_default()
    }
}

/// Each kind, and what it answers while nothing, the provider, Redis, both are down.
const TABLE: [(&str, [u64; 4]); 10] = [
    ("jwt", [200, 200, 200, 200]),
    ("key", [200, 200, 200, 200]),
    ("basic", [200, 200, 200, 200]),
    ("signed", [200, 200, 503, 503]),
    ("open-signed", [200, 200, 200, 200]),
    ("asked", [200, 503, 200, 503]),
    ("open-asked", [200, 200, 200, 200]),
    ("external", [200, 503, 200, 503]),
    ("open-external", [200, 200, 200, 200]),
    ("login", [302, 302, 503, 503]),
];

fn column(at: usize) -> Vec<(&'static str, u64)> {
    TABLE.iter().map(|(kind, statuses)| (*kind, statuses[at])).collect()
}

#[test]
fn what_each_kind_answers_while_others_are_down() {
    let addr = free_addr();
    let provider = Provider::start(addr);
    let redis = Redis::start();
    let (port, folder) = (redis.port, TempDir::new("faults"));
    folder.write("a.json", &objects(addr));
    let url = format!("redis://127.0.0.1:{port}");
    let service = Authorizer::start(&folder, &["--redis-url", &url], &[("REDIS_TIMEOUT", "1s")]);
    let mut site = Site { service, turn: 0 };
    assert_eq!(site.statuses(), column(0));
    let known = [("authorization".to_owned(), "Bearer good-known".to_owned())];
    assert_eq!(site.ask("asked", &known), 200);
    site.refuses("nothing is down");

    drop(provider);
    let begin = Instant::now();
    assert_eq!(site.statuses(), column(1));
    assert_eq!(site.ask("asked", &known), 200, "what was said not long ago");
    // Keys that were never there.
    let late = guarded("late", json!({"JWT": {"jwksURI": format!("http://{addr}/late-keys")}}));
    folder.write("late.json", &list(late.to_vec()));
    let good = [("authorization".to_owned(), token())];
    wait(&mut site, |site| site.ask("late", &good) == 500);
    site.refuses("the provider is down");

    drop(redis);
    let policies = ["open-external", "open-asked", "open-signed"];
    let before = policies.map(|policy| site.failed_open(policy));
    assert_eq!(site.statuses(), column(3));
    let after = policies.map(|policy| site.failed_open(policy));
    assert_eq!(after, before.map(|count| count + 1.0), "each is counted");
    site.refuses("both are down");
    assert_eq!(policies.map(|policy| site.failed_open(policy)), after, "they are refused");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());

    let provider = Provider::start(addr);
    // An upstream that failed is asked again after a moment.
    wait(&mut site, |site| site.statuses() == column(2));
    wait(&mut site, |site| site.ask("late", &good) == 200);
    site.refuses("Redis is down");

    let redis = Redis::start_at(port);
    wait(&mut site, |site| site.statuses() == column(0));
    drop((provider, redis));
    assert!(!site.service.process.log().contains("panicked"));
}

fn wait(site: &mut Site, mut done: impl FnMut(&mut Site) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done(site) {
        let now = site.statuses();
        assert!(
            Instant::now() < end,
            "it does not become so: {now:?}\n{}",
            site.service.process.log()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The page says what this test does.
#[test]
fn the_page_has_the_table() {
    let page = std::fs::read_to_string(e2e::root().join("../docs/authz-operations.md")).unwrap();
    for (kind, row) in [
        ("JWT, keys known", [200, 200, 200, 200]),
        ("APIKey", column_of("key")),
        ("Basic", column_of("basic")),
        ("HMAC", column_of("signed")),
        ("Introspection", column_of("asked")),
        ("External", column_of("external")),
        ("OAuth2, no session", column_of("login")),
    ] {
        let line = page.lines().find(|line| line.starts_with(&format!("| {kind}")));
        let line = line.unwrap_or_else(|| panic!("no row of {kind}"));
        let cells: Vec<&str> = line.split('|').skip(2).map(str::trim).collect();
        for (cell, status) in cells.iter().zip(row) {
            let said = cell.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            assert_eq!(said, status.to_string(), "{line}");
        }
    }
}

fn column_of(kind: &str) -> [u64; 4] {
    TABLE.iter().find(|(name, _)| *name == kind).unwrap().1
}
