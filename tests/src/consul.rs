//! A real Consul server, alone; and a stub for cases in which nothing changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::http::{self, Request};
use crate::process::{Process, on_path, signal};
use crate::{TempDir, cache, free_addr, free_port};

/// Its datacenter.
pub const DATACENTER: &str = "dc1";

/// A Consul; ends when dropped.
#[derive(Debug)]
pub struct Consul {
    /// Where its HTTP API is.
    pub addr: SocketAddr,
    data: TempDir,
    ports: [u16; 2],
    process: Option<Process>,
}

impl Consul {
    /// One that is not started yet.
    pub fn stopped() -> Self {
        let ports = [free_port(), free_port()];
        Self { addr: free_addr(), data: TempDir::new("consul"), ports, process: None }
    }

    /// Starts it (again, with what it knew) and waits until it leads itself.
    ///
    /// # Panics
    /// When there is no Consul on this machine.
    pub fn start(&mut self) {
        let program = on_path("consul").or_else(|| {
            let folders = std::fs::read_dir(cache()).ok()?.flatten();
            let mut programs = folders.map(|f| f.path().join("consul"));
            programs.find(|p| p.is_file())
        });
        let program = program.expect("there is no Consul; run `make tools`");
        let [server, serf] = self.ports.map(|p| p.to_string());
        let http = self.addr.port().to_string();
        let arguments = [
            "agent",
            "-server",
            "-bootstrap-expect=1",
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
            "-node=alone",
            "-dns-port=-1",
            "-grpc-port=-1",
            "-serf-wan-port=-1",
            "-log-level=warn",
            // Elections of a server alone need not wait for anybody.
            "-hcl=performance { raft_multiplier = 1 }",
            "-http-port",
            &http,
            "-server-port",
            &server,
            "-serf-lan-port",
            &serf,
            "-datacenter",
            DATACENTER,
            "-data-dir",
            self.data.path().to_str().unwrap(),
        ];
        let mut process = Process::start(&program, &arguments, &[]);
        let addr = self.addr;
        process.wait("leading", |_| {
            http::get(addr, "/v1/status/leader").is_ok_and(|r| r.body.len() > 2)
        });
        // It leads before it writes.
        process.wait("writing", |_| {
            put(addr, "/v1/catalog/deregister", &json!({"Node": "nobody"})).is_ok_and(|s| s == 200)
        });
        self.process = Some(process);
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal("KILL", process.id());
            process.wait_end();
        }
    }

    /// Sets an instance of a service, and whether its check passes.
    ///
    /// # Panics
    /// When Consul does not take it.
    pub fn set(&self, service: &str, instance: &str, at: SocketAddr, passing: bool) {
        let check = if passing { "passing" } else { "critical" };
        let entry = json!({
            "Node": instance,
            "Address": at.ip().to_string(),
            "Service": {"ID": instance, "Service": service, "Port": at.port()},
            "Check": {"CheckID": instance, "Name": "alive", "ServiceID": instance, "Status": check},
        });
        assert_eq!(put(self.addr, "/v1/catalog/register", &entry).unwrap(), 200);
    }

    /// Takes an instance out.
    ///
    /// # Panics
    /// When Consul does not.
    pub fn remove(&self, instance: &str) {
        let entry = json!({"Node": instance});
        assert_eq!(put(self.addr, "/v1/catalog/deregister", &entry).unwrap(), 200);
    }
}

fn put(addr: SocketAddr, path: &str, body: &Value) -> std::io::Result<u16> {
    let mut request = Request::get(path, &addr.to_string());
    request.method = "PUT".to_owned();
    request.body = body.to_string();
    http::send(addr, &request).map(|answer| answer.status)
}

/// What answers questions about services as an agent does, from a list that never changes.
#[derive(Debug)]
pub struct Stub {
    /// Where it listens.
    pub addr: SocketAddr,
    _runtime: Runtime,
}

impl Stub {
    /// Starts it with `rows` of service, address and port.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start(rows: Value) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/health/service/{service}", get(answer))
            .with_state(Arc::new(rows));
        runtime.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { addr, _runtime: runtime }
    }
}

async fn answer(
    State(rows): State<Arc<Value>>,
    Path(service): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> impl IntoResponse {
    if query.get("index").is_some_and(|index| index == "7") {
        // Nothing changes.
        std::future::pending::<()>().await;
    }
    let of = |row: &Value| json!({"Node": {"Address": row["address"]}, "Service": {"ID": "i", "Port": row["port"]}});
    let rows = rows.as_array().into_iter().flatten();
    let entries: Vec<Value> = rows.filter(|r| r["service"] == service.as_str()).map(of).collect();
    ([("x-consul-index", "7")], Json(entries))
}
