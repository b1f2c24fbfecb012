//! A site whose pages need a login, with everything behind it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Html;
use e2e::dns::NameServer;
use e2e::envoy::bootstrap;
use e2e::keycloak::{Keycloak, realm};
use e2e::process::{Process, program, start_envoy};
use e2e::redis::Redis;
use e2e::{TempDir, free_addr, free_port};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Access tokens are short, so that renewals need no long wait.
const TOKEN_SECONDS: u32 = 8;

type Tokens = Arc<Mutex<Vec<String>>>;

/// A running site. Envoy asks both replicas of authz-svc in turn.
pub(crate) struct Site {
    /// Where browsers come in.
    pub(crate) listener: SocketAddr,
    keycloak: Option<Keycloak>,
    redis: Option<Redis>,
    tokens: Tokens,
    controller: Process,
    envoy: Process,
    replicas: Vec<Process>,
    _names: NameServer,
    _folder: TempDir,
    _pages: Runtime,
}

impl Site {
    pub(crate) fn start() -> Self {
        let [listener, xds, admin, envoy_admin] = std::array::from_fn(|_| free_addr());
        let keycloak = Keycloak::start(&shop(listener.port()));
        let redis = Redis::start();
        let (pages, backend, tokens) = start_pages();
        let checks = free_port();
        let folder = objects(listener, keycloak.addr, backend, checks);
        let [xds_text, admin_text] = [xds, admin].map(|a| a.to_string());
        let config = folder.path().display().to_string();
        let arguments = ["serve", "--config", &config, "--xds-addr", &xds_text];
        let arguments = [&arguments[..], &["--admin-addr", &admin_text]].concat();
        let mut controller = Process::start(&program("gateway-ctl"), &arguments, &[]);
        controller.wait_ready(admin);
        let addresses: Vec<_> = (2..=3).map(|n| Ipv4Addr::new(127, 0, 0, n)).collect();
        let replicas = addresses.iter().map(|&a| start_replica((a, checks).into(), xds, &redis));
        let replicas = replicas.collect();
        let names = NameServer::start_all(BTreeMap::from([("authz.test".to_owned(), addresses)]));
        let file = folder.path().join(".envoy.json");
        std::fs::write(&file, bootstrap(xds, envoy_admin, names.addr)).unwrap();
        let mut envoy = start_envoy(&file, &[]);
        envoy.wait_ready_envoy(envoy_admin);
        Self {
            listener,
            keycloak: Some(keycloak),
            redis: Some(redis),
            tokens,
            controller,
            envoy,
            replicas,
            _names: names,
            _folder: folder,
            _pages: pages,
        }
    }

    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.listener.port())
    }

    pub(crate) fn keycloak(&self) -> SocketAddr {
        self.keycloak.as_ref().unwrap().addr
    }

    pub(crate) fn stop_keycloak(&mut self) {
        self.keycloak = None;
    }

    pub(crate) fn stop_redis(&mut self) {
        self.redis = None;
    }

    /// The access token that the backend got last.
    pub(crate) fn last_token(&self) -> String {
        self.tokens.lock().unwrap().last().unwrap().clone()
    }

    /// All that it got since the last call.
    pub(crate) fn take_tokens(&self) -> Vec<String> {
        std::mem::take(&mut self.tokens.lock().unwrap())
    }

    pub(crate) fn remember(&self, token: &str) {
        self.tokens.lock().unwrap().push(token.to_owned());
    }

    pub(crate) fn log(&self) -> String {
        let replicas: Vec<_> = self.replicas.iter().map(Process::log).collect();
        let [controller, envoy] = [&self.controller, &self.envoy].map(Process::log);
        format!("gateway-ctl:\n{controller}\nEnvoy:\n{envoy}\nauthz-svc:\n{}", replicas.join("\n"))
    }
}

/// The realm of the example. A refresh token is good once: who uses it again loses the session.
fn shop(port: u16) -> Value {
    let own = |host: &str| format!("http://{host}:{port}/.ambassador/oauth2/*");
    let client = json!({"clientId": "shop", "secret": "quickstart-client-secret",
        "enabled": true, "publicClient": false, "standardFlowEnabled": true,
        "redirectUris": [own("shop.test")],
        "attributes": {"post.logout.redirect.uris": own("shop.test")}});
    let mut shop = realm("shop", client, &[("alice", "alice's password")]);
    shop["accessTokenLifespan"] = TOKEN_SECONDS.into();
    shop["revokeRefreshToken"] = true.into();
    shop["refreshTokenMaxReuse"] = 0.into();
    shop
}

/// The resources of the example, at the ports of this test.
fn objects(listener: SocketAddr, keycloak: SocketAddr, pages: SocketAddr, checks: u16) -> TempDir {
    let folder = TempDir::new("login");
    for name in ["gateway.yaml", "login.yaml"] {
        let file = e2e::root().join("../docs/examples/keycloak").join(name);
        let text = std::fs::read_to_string(file).unwrap();
        let text = text
            .replace("8080", &listener.port().to_string())
            .replace("127.0.0.1:8180", &keycloak.to_string())
            .replace("127.0.0.1:9080", &pages.to_string())
            .replace("127.0.0.1:9001", &format!("authz.test:{checks}"));
        folder.write(name, &text);
    }
    folder
}

fn start_replica(checks: SocketAddr, xds: SocketAddr, redis: &Redis) -> Process {
    let admin = free_addr();
    let [checks, admin_text, xds] = [checks, admin, xds].map(|a| a.to_string());
    let redis = format!("127.0.0.1:{}", redis.port);
    let arguments = ["--xds", &xds, "--grpc-addr", &checks, "--admin-addr", &admin_text];
    let arguments = [&arguments[..], &["--redis-url", &redis]].concat();
    let mut replica = Process::start(&program("authz-svc"), &arguments, &[]);
    replica.wait_ready(admin);
    replica
}

fn start_pages() -> (Runtime, SocketAddr, Tokens) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tokens = Tokens::default();
    let router = axum::Router::new().fallback(page).with_state(tokens.clone());
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, router).await });
    (runtime, addr, tokens)
}

/// Says who the gateway says is there; with the logout form of docs/oauth2.md.
async fn page(State(tokens): State<Tokens>, uri: Uri, headers: HeaderMap) -> Html<String> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if uri.path() == "/goodbye" {
        return Html("<!doctype html><title>Shop</title><h1>Goodbye</h1>".to_owned());
    }
    if let Some(token) = header("authorization").and_then(|a| a.strip_prefix("Bearer ")) {
        tokens.lock().unwrap().push(token.to_owned());
    }
    let user = header("x-user").unwrap_or("stranger");
    let guide = std::fs::read_to_string(e2e::root().join("../docs/oauth2.md")).unwrap();
    let form = guide.split("```html\n").nth(1).and_then(|f| f.split("```").next()).unwrap();
    let form =
        form.replace("login.edge", "login.default").replace("<button>", "<button id=\"logout\">");
    Html(format!(
        "<!doctype html><title>Shop</title><h1>Hello, {user}</h1><p>This is {}.</p>{form}",
        uri.path()
    ))
}
