//! authz-svc and a key server that rotates, fails and hangs.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::process::{Process, program, resident_kib};
use e2e::{TempDir, free_addr};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

/// What the key server does.
#[derive(Clone)]
enum Mood {
    Serves(&'static str),
    Fails,
    Hangs,
    /// A body without end.
    Endless,
    /// A body that takes for ever, a byte at a time.
    Drips,
    /// This, as it is.
    Says(String),
}

struct Setting {
    mood: Arc<Mutex<Mood>>,
    fetches: Arc<Mutex<usize>>,
    service: Process,
    grpc: SocketAddr,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

fn key() -> EncodingKey {
    EncodingKey::from_rsa_pem(&std::fs::read(e2e::root().join("cases/keys/rs256.pem")).unwrap())
        .unwrap()
}

fn token(kid: &str) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message =
        format!("{}.{}", part(json!({"alg": "RS256", "kid": kid})), part(json!({"sub": "u"})));
    let signature = crypto::sign(message.as_bytes(), &key(), Algorithm::RS256).unwrap();
    format!("Bearer {message}.{signature}")
}

/// A set of so many keys, each with a name of its own.
fn many(number: usize) -> String {
    let jwk = Jwk::from_encoding_key(&key(), Algorithm::RS256).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["kid"] = json!("@");
    let jwk = jwk.to_string();
    let keys: Vec<String> = (0..number).map(|i| jwk.replace('@', &format!("k{i}"))).collect();
    format!("{{\"keys\":[{}]}}", keys.join(","))
}

impl Setting {
    fn start(mood: Mood) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let keys = listener.local_addr().unwrap();
        let (mood, fetches) = (Arc::new(Mutex::new(mood)), Arc::new(Mutex::new(0)));
        let (moods, counted) = (mood.clone(), fetches.clone());
        runtime.spawn(async move {
            let router = axum::Router::new().fallback(move || {
                let (mood, counted) = (moods.lock().unwrap().clone(), counted.clone());
                async move {
                    *counted.lock().unwrap() += 1;
                    match mood {
                        Mood::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                        Mood::Endless => {
                            let spaces = axum::body::Bytes::from_static(&[b' '; 4096]);
                            let chunk = move || Ok::<_, std::io::Error>(spaces.clone());
                            let chunks = futures::stream::repeat_with(chunk);
                            axum::body::Body::from_stream(chunks).into_response()
                        }
                        Mood::Hangs => std::future::pending().await,
                        Mood::Says(text) => text.into_response(),
                        Mood::Drips => {
                            let byte = axum::body::Bytes::from_static(b" ");
                            let drop = move |()| {
                                let byte = byte.clone();
                                async move {
                                    tokio::time::sleep(Duration::from_millis(50)).await;
                                    Some((Ok::<_, std::io::Error>(byte), ()))
                                }
                            };
                            let drops = futures::stream::unfold((), drop);
                            axum::body::Body::from_stream(drops).into_response()
                        }
                        Mood::Serves(kid) => {
                            let jwk = Jwk::from_encoding_key(&key(), Algorithm::RS256).unwrap();
                            let mut jwk = serde_json::to_value(jwk).unwrap();
                            jwk["kid"] = json!(kid);
                            (
                                [("cache-control", "max-age=3600")],
                                json!({"keys": [jwk]}).to_string(),
                            )
                                .into_response()
                        }
                    }
                }
            });
            let _ = axum::serve(listener, router).await;
        });
        let folder = TempDir::new("keys");
        let object = |kind: &str, name: &str, spec: serde_json::Value| json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let items = [
            object("Filter", "j", json!({"JWT": {"jwksURI": format!("http://{keys}/keys")}})),
            object("FilterPolicy", "p", json!({"rules": [{"filters": [{"name": "j"}]}]})),
        ];
        folder.write(
            "objects.json",
            &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
        );
        let (grpc, admin) = (free_addr(), free_addr());
        let arguments = [
            "--config",
            folder.path().to_str().unwrap(),
            "--grpc-addr",
            &grpc.to_string(),
            "--admin-addr",
            &admin.to_string(),
        ];
        let mut service =
            Process::start(&program("authz-svc"), &arguments, &[("AES_AUTH_TIMEOUT", "1s")]);
        service.wait_ready(admin);
        Self { mood, fetches, service, grpc, runtime, _folder: folder }
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn fetches(&self) -> usize {
        *self.fetches.lock().unwrap()
    }

    /// The status of a request with this token.
    fn ask(&self, token: &str) -> i32 {
        self.runtime.block_on(async { status(&mut self.client().await, token).await })
    }

    async fn client(&self) -> AuthorizationClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        AuthorizationClient::new(endpoint.connect().await.unwrap())
    }
}

async fn status(client: &mut AuthorizationClient<Channel>, token: &str) -> i32 {
    let headers = [("authorization".to_owned(), token.to_owned())].into();
    let http =
        HttpRequest { host: "a.test".into(), path: "/".into(), headers, ..HttpRequest::default() };
    let attributes = AttributeContext {
        request: Some(Request { http: Some(http), time: None }),
        ..AttributeContext::default()
    };
    let check = CheckRequest { attributes: Some(attributes) };
    let response = client.check(check).await.unwrap().into_inner();
    match response.http_response {
        Some(HttpResponse::OkResponse(_)) => 200,
        Some(HttpResponse::DeniedResponse(denied)) => denied.status.unwrap().code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_fetched_once_and_outlive_their_server() {
    let setting = Setting::start(Mood::Serves("k1"));
    let good = token("k1");
    assert_eq!((setting.ask(&good), setting.ask(&good), setting.fetches()), (200, 200, 1));
    setting.set(Mood::Fails);
    assert_eq!((setting.ask(&good), setting.fetches()), (200, 1));
}

#[test]
fn a_new_key_is_found_and_strange_ones_do_not_storm_the_server() {
    let setting = Setting::start(Mood::Serves("k1"));
    assert_eq!(setting.ask(&token("k1")), 200);
    setting.set(Mood::Serves("k2"));
    // The first fetch was just now, so the next one waits for its turn.
    for _ in 0..20 {
        assert_eq!(setting.ask(&token("strange")), 401);
    }
    assert_eq!(setting.fetches(), 1);
    let end = Instant::now() + Duration::from_secs(20);
    while setting.ask(&token("k2")) != 200 {
        assert!(Instant::now() < end, "the new key is not found: {}", setting.service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(setting.fetches(), 2);
    assert_eq!(setting.ask(&token("k1")), 401, "a key that is gone is not accepted");
}

#[test]
fn without_keys_nobody_passes_and_a_server_that_hangs_costs_a_bounded_time() {
    let setting = Setting::start(Mood::Fails);
    assert_eq!(setting.ask(&token("k1")), 500);
    setting.set(Mood::Hangs);
    std::thread::sleep(Duration::from_millis(1100)); // a failed fetch is not repeated within a second
    let begun = Instant::now();
    assert_eq!(setting.ask(&token("k1")), 504);
    assert!(begun.elapsed() < Duration::from_secs(10));
    setting.set(Mood::Serves("k1"));
    let end = Instant::now() + Duration::from_secs(20);
    while setting.ask(&token("k1")) != 200 {
        assert!(Instant::now() < end, "it does not recover: {}", setting.service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_storm_of_bad_tokens_fetches_once_in_a_while() {
    let setting = Setting::start(Mood::Serves("k1"));
    let good = token("k1");
    assert_eq!(setting.ask(&good), 200);
    let signed = good.rsplit_once('.').unwrap().0.to_owned();
    let strange = |i: usize| {
        let header =
            URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": format!("x{i}")}).to_string());
        format!("Bearer {header}.e30.{}", URL_SAFE_NO_PAD.encode([7; 256]))
    };
    let forged = |i: usize| {
        let mut signature = [7; 256];
        signature[..8].copy_from_slice(&i.to_be_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let begun = Instant::now();
    setting.runtime.block_on(async {
        let client = setting.client().await;
        for batch in 0..200 {
            let asked = (batch * 100..(batch + 1) * 100).map(|i| {
                let token = if i % 2 == 0 { strange(i) } else { forged(i) };
                let mut client = client.clone();
                async move { status(&mut client, &token).await }
            });
            let statuses = futures::future::join_all(asked).await;
            assert!(statuses.iter().all(|s| *s == 401), "{statuses:?}");
        }
    });
    let most = 2 + begun.elapsed().as_secs() as usize / 10;
    assert!(setting.fetches() <= most, "{} fetches in {:?}", setting.fetches(), begun.elapsed());
    assert_eq!(setting.ask(&good), 200);
    println!("20,000 bad tokens: {} fetches in {:?}", setting.fetches(), begun.elapsed());
}

#[test]
fn an_endless_key_set_is_given_up() {
    let setting = Setting::start(Mood::Endless);
    let begun = Instant::now();
    assert_eq!(setting.ask(&token("k1")), 500, "{}", setting.service.log());
    assert!(begun.elapsed() < Duration::from_secs(10));
    setting.set(Mood::Serves("k1"));
    let end = Instant::now() + Duration::from_secs(20);
    while setting.ask(&token("k1")) != 200 {
        assert!(Instant::now() < end, "it does not recover: {}", setting.service.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a server says instead of keys, and that there is too much of it: no answer takes long, and no
/// memory is left behind.
#[test]
fn what_is_no_key_set_costs_little() {
    let nested = format!("{{\"keys\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, mood) in [
        ("a page", Mood::Says("<html>maintenance</html>".to_owned())),
        ("nothing", Mood::Says(String::new())),
        ("no keys", Mood::Says("{\"keys\": 7}".to_owned())),
        ("a deep one", Mood::Says(nested)),
        ("10,000 keys", Mood::Says(many(10_000))),
        ("50 MiB of keys", Mood::Says(many(130_000))),
        ("a slow one", Mood::Drips),
    ] {
        let setting = Setting::start(mood);
        let before = resident_kib(setting.service.id()).unwrap();
        let begun = Instant::now();
        let status = setting.ask(&token("k1"));
        assert!(matches!(status, 500 | 504), "{what}: {status}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
        let after = resident_kib(setting.service.id()).unwrap();
        assert!(after < before + (32 << 10), "{what}: {before} KiB, then {after}");
        assert!(!setting.service.log().contains("panicked"), "{what}");
    }
}
