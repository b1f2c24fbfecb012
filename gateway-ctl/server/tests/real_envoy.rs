//! A real Envoy on the xDS server, with resources made by hand: switching clusters under load
//! costs no request, and a refused resource costs only itself.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_core::{Output, Resource, ResourceType as T};
use gateway_ctl::bootstrap::Bootstrap;
use gateway_ctl::echo;
use gateway_ctl::xds::{Clients, Metrics, Pace, Rejection, Server, Snapshot};
use prometheus_client::registry::Registry;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use service_kit::server::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::TcpListenerStream;

/// Ends with the test, however that ends.
struct Envoy(Child);

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resource(resource_type: T, body: &Value) -> Resource {
    let descriptor =
        proto::reflect::POOL.get_message_by_name(resource_type.message_name()).unwrap();
    let message = DynamicMessage::deserialize(descriptor, body.clone()).unwrap();
    Resource {
        resource_type,
        name: body["name"].as_str().unwrap().to_owned(),
        version: body.to_string(),
        body: message.encode_to_vec().into(),
        owners: Vec::new(),
    }
}

fn cluster(name: &str, backend: SocketAddr) -> Resource {
    resource(T::Cluster, &cluster_json(name, backend))
}

fn cluster_json(name: &str, backend: SocketAddr) -> Value {
    json!({
        "name": name, "type": "STRICT_DNS", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint":
            {"address": {"socket_address": {"address": "localhost", "port_value": backend.port()}}}}]}]},
        "dns_lookup_family": "V4_ONLY",
    })
}

fn route(cluster: &str) -> Resource {
    resource(
        T::Route,
        &json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]}),
    )
}

fn listener(address: SocketAddr) -> Resource {
    resource(
        T::Listener,
        &json!({"name": "l", "address": {"socket_address":
            {"address": "127.0.0.1", "port_value": address.port()}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "l",
            "rds": {"route_config_name": "r", "config_source": {"ads": {}, "resource_api_version": "V3"}},
            "http_filters": [{"name": "router", "typed_config":
                {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        }}]}]}),
    )
}

struct Gateway {
    snapshots: watch::Sender<Arc<Snapshot>>,
    rejections: mpsc::Receiver<Rejection>,
    clients: Clients,
    address: SocketAddr,
    _envoy: Envoy,
}

impl Gateway {
    async fn start(envoy: &std::path::Path, first: Vec<Resource>) -> Self {
        Self::start_speaking(envoy, first, "DELTA_GRPC").await
    }

    async fn start_speaking(envoy: &std::path::Path, first: Vec<Resource>, way: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let xds = listener.local_addr().unwrap();
        let address = common::free_port();
        let mut changed = first;
        changed.push(self::listener(address));
        let snapshot = Snapshot::empty(Instant::now())
            .with(Output { changed, ..Output::default() }, Instant::now());
        let (snapshots, seen) = watch::channel(Arc::new(snapshot));
        let (sender, rejections) = mpsc::channel(8);
        let clients = Clients::default();
        let metrics = Metrics::new(&mut Registry::default());
        let pace = Pace { removal_grace: Duration::from_secs(1), ..Pace::default() };
        let server = Server::new(seen, sender, clients.clone(), metrics, pace);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(server.into_service())
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let bootstrap = Bootstrap {
            xds_host: xds.ip().to_string(),
            xds_port: xds.port(),
            admin: common::free_port(),
            node: "test".to_owned(),
            cluster: "test".to_owned(),
            tls: None,
            ready: None,
            statsd: None,
            runtime: Vec::new(),
        };
        let mut bootstrap = bootstrap.to_json();
        bootstrap["dynamic_resources"]["ads_config"]["api_type"] = json!(way);
        let child = Command::new(envoy)
            .args(["--config-yaml", &bootstrap.to_string(), "--disable-hot-restart"])
            .args(["--log-level", "error", "--concurrency", "1"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { snapshots, rejections, clients, address, _envoy: Envoy(child) }
    }

    fn publish(&self, changed: Vec<Resource>, removed: Vec<(T, String)>) {
        let output = Output { changed, removed, ..Output::default() };
        self.snapshots.send_modify(|s| *s = Arc::new(s.with(output, Instant::now())));
    }

    async fn synced(&self) {
        let revision = self.snapshots.borrow().revision;
        let mut changes = self.clients.changes();
        let wait = async {
            while !self.clients.list().iter().any(|c| c.is_in_sync(revision) && c.has("route")) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("an Envoy in sync");
    }
}

async fn backend(name: &str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, trigger) = Shutdown::manual();
    std::mem::forget(trigger);
    tokio::spawn(echo::serve(listener, name.to_owned(), shutdown));
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_clusters_under_load_fails_no_request() {
    switch_clusters("DELTA_GRPC", 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_it_in_the_older_way() {
    switch_clusters("GRPC", 6).await;
}

async fn switch_clusters(way: &str, rounds: usize) {
    let Some(envoy) = common::envoy() else { return };
    let backends = [backend("even").await, backend("odd").await];
    let first = vec![cluster("c0", backends[0]), route("c0")];
    let gateway = Gateway::start_speaking(&envoy, first, way).await;
    gateway.synced().await;
    let address = gateway.address;
    tokio::task::spawn_blocking(move || {
        common::eventually("a first answer", || {
            common::get(address, "/").is_ok_and(|r| r.0 == 200)
        });
    })
    .await
    .unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (asked, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (stop, asked, failed) = (stop.clone(), asked.clone(), failed.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                match common::get(address, "/") {
                    Ok((200, _)) => {}
                    other => {
                        eprintln!("{other:?}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    };
    for i in 1..=rounds {
        let (new, old) = (format!("c{i}"), format!("c{}", i - 1));
        gateway.publish(vec![cluster(&new, backends[i % 2]), route(&new)], vec![(T::Cluster, old)]);
        gateway.synced().await;
        let body = tokio::task::spawn_blocking(move || common::get(address, "/").unwrap().1)
            .await
            .unwrap();
        // The answer comes from the new cluster as soon as Envoy has acknowledged it.
        assert!(body.contains(["even", "odd"][i % 2]), "{i}: {body}");
    }
    // The removals of the last switches come after their grace.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", asked.load(Ordering::Relaxed));
    let held = gateway.clients.list()[0].types["cluster"].acknowledged;
    assert_eq!(held, 1, "old clusters are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_cluster_costs_only_itself() {
    let Some(envoy) = common::envoy() else { return };
    let backend = backend("b").await;
    let mut bad = cluster_json("bad", backend);
    bad["connect_timeout"] = json!("-1s");
    let mut first: Vec<Resource> = (0..5).map(|i| cluster(&format!("c{i}"), backend)).collect();
    first.push(resource(T::Cluster, &bad));
    first.push(route("c3"));
    let mut gateway = Gateway::start(&envoy, first).await;
    let rejection = tokio::time::timeout(Duration::from_secs(20), gateway.rejections.recv())
        .await
        .expect("a refusal in time")
        .unwrap();
    assert_eq!((rejection.resource_type, &*rejection.name), (T::Cluster, "bad"));
    assert!(rejection.message.contains("-1"), "{}", rejection.message);
    let address = gateway.address;
    tokio::task::spawn_blocking(move || {
        common::eventually("the rest works", || {
            common::get(address, "/").is_ok_and(|r| r.0 == 200)
        });
    })
    .await
    .unwrap();
}
