//! The admin port: health, readiness, metrics and the configuration in force, on a thread and a
//! runtime of its own so that a slow scrape cannot hurt a request.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::aside::Aside;
use crate::Secret;

/// Whether each named component works. A component starts as not ready.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Components>>);

type States = BTreeMap<&'static str, Result<(), String>>;

#[derive(Debug)]
struct Components {
    needed: States,
    /// Told, and not needed.
    noted: States,
}

impl Readiness {
    /// With these components, none of them ready.
    pub fn new(components: &[&'static str]) -> Self {
        let starting = |c: &&'static str| (*c, Err("starting".to_owned()));
        let needed = components.iter().map(starting).collect();
        Self(Arc::new(Mutex::new(Components { needed, noted: States::new() })))
    }

    /// Says how `component` is, in words when it is not ready.
    pub fn set(&self, component: &'static str, state: Result<(), String>) {
        self.lock().needed.insert(component, state);
    }

    /// Says how a component is without which most requests can be answered: it is told, and does
    /// not count.
    pub fn note(&self, component: &'static str, state: Result<(), String>) {
        self.lock().noted.insert(component, state);
    }

    /// Whether all components that are needed are ready.
    pub fn is_ready(&self) -> bool {
        self.lock().needed.values().all(Result::is_ok)
    }

    /// `{"component": "ok" | "why not"}`.
    pub fn report(&self) -> Value {
        let state =
            |r: &Result<(), String>| r.as_ref().map_or_else(Clone::clone, |()| "ok".to_owned());
        let components = self.lock();
        let all = components.needed.iter().chain(&components.noted);
        all.map(|(c, r)| ((*c).to_owned(), Value::String(state(r)))).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Components> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an admin port shows.
pub struct Admin {
    /// For `/metrics`.
    pub registry: Registry,
    /// For `/readyz`.
    pub ready: Readiness,
    /// For `/config`: the configuration in force, without secrets.
    pub config: Box<dyn Fn() -> Value + Send + Sync>,
    /// More routes; may hold `/` (otherwise it lists the endpoints).
    pub extra: Router,
}

/// A running admin port; ends when dropped.
#[derive(Debug)]
pub struct AdminServer {
    /// Where it listens (the real port when 0 was asked for).
    pub addr: SocketAddr,
    _serving: Aside,
}

struct Shared {
    registry: Registry,
    ready: Readiness,
    config: Box<dyn Fn() -> Value + Send + Sync>,
}

/// Serves `admin` on `addr`. The port is bound when this returns.
///
/// # Errors
/// When the port cannot be bound or the thread not started; the text names the address.
pub fn serve(addr: SocketAddr, admin: Admin) -> io::Result<AdminServer> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{addr}: {e}"));
    let listener = std::net::TcpListener::bind(addr).map_err(named)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let router = router(admin);
    let serving = Aside::start("admin", move |shutdown| async move {
        let served = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => tokio::select! {
                served = axum::serve(
                    listener,
                    router.into_make_service_with_connect_info::<SocketAddr>(),
                ) => served,
                () = shutdown.wait() => Ok(()),
            },
            Err(e) => Err(e),
        };
        if let Err(e) = served {
            tracing::error!("the admin port {addr} stopped: {e}");
        }
    })?;
    Ok(AdminServer { addr, _serving: serving })
}

/// Lets only those to `routes` who have the token, as in `Authorization: Bearer TOKEN`; without a
/// token, only those who call from this machine.
pub fn guard(routes: Router, token: Option<Secret<String>>) -> Router {
    let token = Arc::new(token);
    routes.layer(middleware::from_fn(move |request, next| admit(token.clone(), request, next)))
}

async fn admit(token: Arc<Option<Secret<String>>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let admitted = match token.as_ref() {
        Some(token) => {
            let shown = request.headers().get(header::AUTHORIZATION);
            let shown = shown.and_then(|shown| shown_token(shown, request.method().is_safe()));
            shown.is_some_and(|shown| is_equal(&shown, token.expose()))
        }
        None => caller.is_some_and(|ConnectInfo(addr)| addr.ip().is_loopback()),
    };
    if admitted {
        return next.run(request).await;
    }
    if token.is_some() {
        // A browser asks for it then, and sends it as a password (RFC 7617).
        let challenge =
            [(header::WWW_AUTHENTICATE, "Basic realm=\"admin token\", charset=\"UTF-8\"")];
        let words = "this needs the admin token, as Authorization: Bearer TOKEN\n";
        return (StatusCode::UNAUTHORIZED, challenge, words).into_response();
    }
    let words = "this is for callers on this machine; set ADMIN_TOKEN to call from elsewhere\n";
    (StatusCode::FORBIDDEN, words).into_response()
}

/// The token of an Authorization header: a bearer token, or to look only the password of any user.
/// Browsers send a password by themselves, so a page elsewhere could act with it.
fn shown_token(header: &HeaderValue, is_look: bool) -> Option<String> {
    let (scheme, value) = header.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    let is_basic = is_look && scheme.eq_ignore_ascii_case("basic");
    let basic = is_basic.then(|| STANDARD.decode(value).ok())??;
    let basic = String::from_utf8(basic).ok()?;
    basic.split_once(':').map(|(_, password)| password.to_owned())
}

/// In a time that does not tell how much of it is equal.
fn is_equal(shown: &str, token: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    shown.as_bytes().ct_eq(token.as_bytes()).into()
}

fn router(admin: Admin) -> Router {
    let Admin { registry, ready, config, extra } = admin;
    let shared = Arc::new(Shared { registry, ready, config });
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/config", get(|State(s): State<Arc<Shared>>| async move { Json((s.config)()) }))
        .with_state(shared)
        .merge(extra)
        .fallback(list)
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let ready = shared.ready.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "components": shared.ready.report()}))).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut text = String::new();
    if let Err(e) = prometheus_client::encoding::text::encode(&mut text, &shared.registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()).into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn list(uri: Uri) -> Response {
    let text = "/healthz  is the process alive\n/readyz   may it get requests, and why not\n\
                /metrics  OpenMetrics\n/config   the configuration in force\n";
    let status = if uri.path() == "/" { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn get(addr: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn admin(ready: &Readiness) -> Admin {
        Admin {
            registry: Registry::default(),
            ready: ready.clone(),
            config: Box::new(|| json!({"a": 1})),
            extra: Router::new(),
        }
    }

    fn start(admin: Admin) -> AdminServer {
        serve(([127, 0, 0, 1], 0).into(), admin).unwrap()
    }

    #[test]
    fn tells_why_it_is_not_ready() {
        let ready = Readiness::new(&["config", "store"]);
        let server = start(admin(&ready));
        let text = get(server.addr, "/readyz");
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        let components = r#"{"config":"starting","store":"starting"}"#;
        assert!(
            text.ends_with(&format!(r#"{{"components":{components},"ready":false}}"#)),
            "{text}"
        );
        ready.set("config", Ok(()));
        ready.set("store", Err("no answer".to_owned()));
        let text = get(server.addr, "/readyz");
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("no answer"), "{text}");
        assert!(get(server.addr, "/healthz").starts_with("HTTP/1.1 200"));
        ready.set("store", Ok(()));
        assert!(get(server.addr, "/readyz").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn shows_metrics_as_they_are_now_and_the_configuration() {
        let counter = Counter::<u64>::default();
        let mut admin = admin(&Readiness::new(&[]));
        admin.registry.register("calls", "Calls so far", counter.clone());
        let server = start(admin);
        for calls in 0..2 {
            let text = get(server.addr, "/metrics");
            assert!(text.contains("content-type: application/openmetrics-text"), "{text}");
            assert!(text.ends_with(&format!("calls_total {calls}\n# EOF\n")), "{text}");
            counter.inc();
        }
        assert!(get(server.addr, "/config").ends_with("{\"a\":1}"));
    }

    #[test]
    fn lists_its_endpoints_and_takes_more() {
        let server = start(admin(&Readiness::new(&[])));
        for endpoint in ["/healthz", "/readyz", "/metrics", "/config"] {
            assert!(get(server.addr, "/").contains(endpoint));
        }
        assert!(get(server.addr, "/nope").starts_with("HTTP/1.1 404"));

        let extra = Router::new().route("/", get_text("mine")).route("/more", get_text("more"));
        let server = start(Admin { extra, ..admin(&Readiness::new(&[])) });
        assert!(get(server.addr, "/").ends_with("mine"));
        assert!(get(server.addr, "/more").ends_with("more"));
        assert!(get(server.addr, "/healthz").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn guarded_routes_are_for_this_machine_or_the_token() {
        let guarded = |token: Option<&str>| {
            let token = token.map(|t| Secret::new(t.to_owned()));
            let extra = guard(Router::new().route("/act", get_text("done")), token);
            start(Admin { extra, ..admin(&Readiness::new(&[])) })
        };
        let server = guarded(None);
        assert!(get(server.addr, "/act").ends_with("done"));
        let server = guarded(Some("open"));
        assert!(get(server.addr, "/act").starts_with("HTTP/1.1 401"));
        let ask = |method: &str, authorization: &str| {
            let mut stream = std::net::TcpStream::connect(server.addr).unwrap();
            write!(stream, "{method} /act HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\nconnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        let basic = format!("Basic {}", STANDARD.encode("anybody:open"));
        for (method, authorization, status) in [
            ("GET", "Bearer open", "200"),
            ("GET", "Bearer opem", "401"),
            ("GET", "Bearer ", "401"),
            ("GET", &basic, "200"),
            ("GET", "Basic b3Blbg==", "401"),
            ("DELETE", "Bearer open", "405"),
            ("DELETE", &basic, "401"),
        ] {
            assert_eq!(ask(method, authorization), status, "{method} {authorization}");
        }
        // What is not guarded stays open.
        assert!(get(server.addr, "/healthz").starts_with("HTTP/1.1 200"));
    }

    fn get_text(text: &'static str) -> axum::routing::MethodRouter {
        axum::routing::get(move || async move { text })
    }

    #[test]
    fn has_its_port_alone_and_leaves_it_when_dropped() {
        let ready = Readiness::new(&[]);
        let server = start(admin(&ready));
        let addr = server.addr;
        let error = serve(addr, admin(&ready)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("{addr}: ")), "{error}");
        // An open connection does not hold it.
        let _idle = std::net::TcpStream::connect(addr).unwrap();
        drop(server);
        assert!(std::net::TcpStream::connect(addr).is_err());
    }
}
