//! From a write to the Kubernetes API to a gateway that acts on it, and from the start of a
//! controller to an Envoy that has everything: real API server, controller and Envoy.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bench::process::resident_kib;
use clap::Parser;
use e2e::http;
use e2e::kubernetes::Cluster;
use e2e::process::{Process, envoy, program};
use e2e::{TempDir, free_addr};
use serde_json::{Value, json};

const V3: &str = "getambassador.io/v3alpha1";
/// How often to look whether a change has arrived.
const LOOK_EACH: Duration = Duration::from_millis(1);
/// Between two changes.
const REST: Duration = Duration::from_millis(150);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// Times changes among many Mappings of a cluster.
#[derive(Parser)]
struct Args {
    /// How many Mappings, for each row.
    #[arg(long, value_delimiter = ',', default_value = "3000,10000")]
    mappings: Vec<usize>,
    /// Changes that are timed for each row.
    #[arg(long, default_value_t = 50)]
    changes: usize,
}

fn mapping(name: &str, prefix: &str, service: &str) -> Value {
    json!({
        "apiVersion": V3, "kind": "Mapping", "metadata": {"name": name, "namespace": "default"},
        "spec": {"hostname": "*", "prefix": prefix, "service": service},
    })
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(LOOK_EACH);
    }
    start.elapsed()
}

/// The status of an answer. The connection is not waited for: Envoy closes it a second later.
fn status(listener: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(listener).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(head.get(9..)?).ok()?.parse().ok()
}

fn main() {
    let args = Args::parse();
    println!(
        "| Mappings | write to first answer, ms (p50 / p99 / max) | start to Envoy's ACK, s | RSS MiB | status writes/s | all written, s |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for count in &args.mappings {
        row(*count, args.changes);
    }
}

fn row(count: usize, changes: usize) {
    let cluster = Cluster::start();
    let crds = e2e::root().join("../deploy/charts/tollgate-crds/files/emissary");
    for file in std::fs::read_dir(crds).unwrap().flatten() {
        cluster.apply(&std::fs::read_to_string(file.path()).unwrap());
    }
    let [listener, echo, xds, admin, envoy_admin] = std::array::from_fn(|_| free_addr());
    wait("CRDs", || cluster.try_apply(mapping("m0", "/m0/", "s0:80")).is_ok());
    cluster.apply_json(json!({
        "apiVersion": V3, "kind": "Listener", "metadata": {"name": "http", "namespace": "default"},
        "spec": {"port": listener.port(), "protocol": "HTTP", "securityModel": "INSECURE",
            "hostBinding": {"namespace": {"from": "ALL"}}},
    }));
    cluster.apply_all((1..count).map(|i| {
        mapping(&format!("m{i}"), &format!("/m{i}/"), &format!("127.0.0.1:{}", 1 + i % 50))
    }));
    let backend = echo.to_string();
    let _echo = Process::start(&program("gateway-ctl"), &["echo", "--addr", &backend], &[]);
    let bootstrap = TempDir::new("bench-cluster");
    let file = bootstrap.path().join("envoy.json").display().to_string();
    let written = std::process::Command::new(program("gateway-ctl"))
        .args(["envoy-bootstrap", "--xds", &xds.to_string(), "--format", "json"])
        .args(["--output", &file, "--envoy-admin-addr", &envoy_admin.to_string()])
        .status();
    assert!(written.unwrap().success());
    // As the chart starts it, with one thread.
    let arguments = [
        "--disable-hot-restart",
        "--ignore-unknown-dynamic-fields",
        "--concurrency",
        "1",
        "-l",
        "error",
        "-c",
        &file,
    ];
    let _envoy = Process::start(&envoy(), &arguments, &[]);

    let kubeconfig = cluster.kubeconfig();
    let start = Instant::now();
    let controller = Process::start(
        &program("gateway-ctl"),
        &["serve", "--xds-addr", &xds.to_string(), "--admin-addr", &admin.to_string()],
        &[("KUBECONFIG", &kubeconfig)],
    );
    let last = format!("/m{}/", count - 1);
    wait("the last route", || status(listener, &last).is_some_and(|s| s != 404));
    let cold = start.elapsed();

    let writes = || {
        let text = http::get(admin, "/metrics").map(|r| r.body).unwrap_or_default();
        let line =
            text.lines().find(|l| l.starts_with("tollgate_status_writes_total{result=\"ok\"}"));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    // The rate is seen over a stretch; all of them would take minutes.
    wait("status writes", || writes() > 0);
    let (before, since) = (writes(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let rate = (writes() - before) as f64 / since.elapsed().as_secs_f64();

    let mut times: Vec<Duration> = (0..changes)
        .map(|i| {
            let path = format!("/new{i}/");
            let object = mapping(&format!("new{i}"), &path, &backend);
            let start = Instant::now();
            cluster.apply_json(object);
            while status(listener, &path) != Some(200) {
                assert!(start.elapsed() < PATIENCE);
                std::thread::sleep(LOOK_EACH);
            }
            let taken = start.elapsed();
            std::thread::sleep(REST);
            taken
        })
        .collect();
    times.sort();
    let ms = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_millis();
    println!(
        "| {count} | {} / {} / {} | {:.1} | {} | {rate:.0} | {:.0} |",
        ms(50),
        ms(99),
        ms(100),
        cold.as_secs_f64(),
        resident_kib(controller.id()).unwrap() / 1024,
        count as f64 / rate.max(0.1),
    );
}
