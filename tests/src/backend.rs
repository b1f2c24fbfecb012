//! What stands behind the gateway in a test: it answers as it is told and remembers what it was
//! asked.

mod authorization;
mod echo;
mod limiter;
mod tcp;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::runtime::Runtime;

use crate::certificates::Certificate;

/// Keys and values of rate limit descriptors.
pub type Descriptors = Vec<Vec<(String, String)>>;

/// A request that a backend got.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    /// With query.
    pub path: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
    /// `context_extensions` of a check.
    pub context: Vec<(String, String)>,
    /// Domain and descriptors of a rate limit request.
    pub descriptors: Option<(String, Descriptors)>,
}

/// A backend; ends when dropped.
#[derive(Debug)]
pub struct Backend {
    hits: Arc<Mutex<Vec<Hit>>>,
    _runtime: Runtime,
}

impl Backend {
    /// Starts a backend of `kind` (`http`, `https`, `tcp`, `auth-http`, `auth-grpc`, `rls`) called `name` on each of
    /// `addrs`; `rules` (`over` for a limiter) are those of the case format.
    ///
    /// # Panics
    /// When an address cannot be bound.
    pub fn start(name: &str, kind: &str, addrs: &[SocketAddr], rules: &Value) -> Self {
        Self::start_with(name, kind, addrs, rules, None)
    }

    /// The same, with the certificate of an `https` backend.
    ///
    /// # Panics
    /// When an address cannot be bound.
    pub fn start_with(
        name: &str,
        kind: &str,
        addrs: &[SocketAddr],
        rules: &Value,
        certificate: Option<&Certificate>,
    ) -> Self {
        let hits = Arc::new(Mutex::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        for addr in addrs {
            let listener = std::net::TcpListener::bind(addr).unwrap_or_else(|e| {
                panic!("{addr} cannot be bound ({e}); the gateway cases need ports below 1024 on loopback: run as root, or set net.ipv4.ip_unprivileged_port_start=0")
            });
            listener.set_nonblocking(true).unwrap();
            let _guard = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (name, hits, rules) = (name.to_owned(), hits.clone(), rules.clone());
            match kind {
                "http" => runtime.spawn(echo::serve(listener, name, hits)),
                "https" => {
                    let own =
                        echo::tls_of(certificate.expect("an https backend has a certificate"));
                    runtime.spawn(echo::serve_tls(listener, name, hits, own))
                }
                "tcp" => runtime.spawn(tcp::serve(listener, name, hits)),
                "auth-http" => runtime.spawn(authorization::serve_http(listener, hits, rules)),
                "auth-grpc" => runtime.spawn(authorization::serve_grpc(listener, hits, rules)),
                "rls" => runtime.spawn(limiter::serve(listener, hits, rules)),
                other => panic!("backends of kind {other} are not known to the harness"),
            };
        }
        Self { hits, _runtime: runtime }
    }

    /// What it was asked since the last call.
    pub fn take_hits(&self) -> Vec<Hit> {
        std::mem::take(&mut *self.hits.lock().unwrap())
    }
}

type Hits = Arc<Mutex<Vec<Hit>>>;

/// The first rule whose headers all fit.
fn rule<'a>(rules: &'a Value, headers: &[(String, String)]) -> Option<&'a Value> {
    rules.as_array()?.iter().find(|rule| {
        let when = rule["when"].as_object();
        when.into_iter().flatten().all(|(name, value)| {
            let wanted = crate::cases::text(value);
            headers.iter().any(|(n, v)| n == name && *v == wanted)
        })
    })
}
