//! From a file change to a gateway that acts on it: a real controller and a real Envoy, with more
//! and more Mappings.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench::process::resident_kib;
use clap::Parser;
use e2e::TempDir;
use e2e::backend::Backend;
use e2e::http;
use e2e::process::{PATIENCE, Process, envoy, program};

/// Mappings that share a file.
const PER_FILE: usize = 500;
/// How often to look whether a change has arrived: what the times are too long by, at most, plus
/// the two requests of a look.
const LOOK_EACH: Duration = Duration::from_millis(1);
/// Between an Envoy that is in sync and the next change, so that no change meets the last one's work.
const REST: Duration = Duration::from_millis(100);

/// Times a change of one Mapping among many.
#[derive(Parser)]
struct Args {
    /// How many Mappings, for each row.
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000")]
    mappings: Vec<usize>,
    /// Changes that are timed for each row.
    #[arg(long, default_value_t = 20)]
    changes: usize,
}

/// One controller with its Envoy, backend and folder; all end when dropped.
struct Gateway {
    folder: TempDir,
    _backend: Backend,
    backend: SocketAddr,
    controller: Process,
    admin: SocketAddr,
    _envoy: Process,
    listener: SocketAddr,
    _bootstrap: TempDir,
}

/// What one change took.
struct Taken {
    acknowledged: Duration,
    pushed: Duration,
    answered: Duration,
}

impl Gateway {
    fn start(mappings: usize) -> Self {
        let [backend, listener, xds, admin, envoy_admin] =
            std::array::from_fn(|_| e2e::free_addr());
        let folder = TempDir::new("bench-controller");
        write_folder(&folder, mappings, listener, backend);
        let own_backend = Backend::start("echo", "http", &[backend], &serde_json::Value::Null);
        let text = |addr: SocketAddr| addr.to_string();
        let path = folder.path().to_string_lossy().into_owned();
        let arguments = [
            "serve",
            "--config",
            &path,
            "--xds-addr",
            &text(xds),
            "--admin-addr",
            &text(admin),
            "--log-level",
            "error",
        ];
        let mut controller = Process::start(&program("gateway-ctl"), &arguments, &[]);
        controller.wait("listening", |_| http::get(admin, "/healthz").is_ok());

        let bootstrap = TempDir::new("bench-envoy");
        let file = bootstrap.path().join("bootstrap.yaml");
        let printed = std::process::Command::new(program("gateway-ctl"))
            .args([
                "envoy-bootstrap",
                "--xds",
                &text(xds),
                "--envoy-admin-addr",
                &text(envoy_admin),
            ])
            .output()
            .unwrap();
        std::fs::write(&file, printed.stdout).unwrap();
        let file = file.to_string_lossy().into_owned();
        // As many worker threads as in a small pod; a base id of its own for other Envoys' sake.
        let arguments = [
            "-c",
            &file,
            "--ignore-unknown-dynamic-fields",
            "--concurrency",
            "2",
            "--use-dynamic-base-id",
            "--log-level",
            "error",
        ];
        let mut envoy = Process::start(&envoy(), &arguments, &[]);
        envoy.wait_ready_envoy(envoy_admin);
        let mut gateway = Self {
            folder,
            _backend: own_backend,
            backend,
            controller,
            admin,
            _envoy: envoy,
            listener,
            _bootstrap: bootstrap,
        };
        gateway.wait_first();
        gateway
    }

    /// Until Envoy answers by the Mapping's version 0, and once more by a change that is not timed.
    fn wait_first(&mut self) {
        let listener = self.listener;
        self.controller.wait("configuring Envoy", |_| answered_by(listener, 0));
        std::thread::sleep(10 * REST);
        self.change(1);
    }

    /// Renames a new version of the Mapping over the old one and waits until all follows.
    fn change(&self, version: usize) -> Taken {
        let before = self.converged();
        let text = mapping("changed", "/changed/", &format!("/v{version}/"), self.backend);
        let hidden = self.folder.path().join(".changed.new");
        std::fs::write(&hidden, text).unwrap();
        let start = Instant::now();
        std::fs::rename(hidden, self.folder.path().join("changed.yaml")).unwrap();
        let (mut acknowledged, mut answered) = (None, None);
        loop {
            if answered.is_none() && answered_by(self.listener, version) {
                answered = Some(start.elapsed());
            }
            if acknowledged.is_none() {
                let now = self.converged();
                if now.0 > before.0 {
                    let own = Duration::from_secs_f64((now.1 - before.1).max(0.0));
                    acknowledged = Some((start.elapsed(), own));
                }
            }
            if let (Some((acknowledged, pushed)), Some(answered)) = (acknowledged, answered) {
                std::thread::sleep(REST);
                return Taken { acknowledged, pushed, answered };
            }
            assert!(
                start.elapsed() < PATIENCE,
                "change {version} did not arrive; the controller says:\n{}",
                self.controller.log()
            );
            std::thread::sleep(LOOK_EACH);
        }
    }

    /// How often Envoy got in sync, and the seconds from changes to that, summed: the controller's
    /// own histogram.
    fn converged(&self) -> (u64, f64) {
        let text = http::get(self.admin, "/metrics").map(|r| r.body).unwrap_or_default();
        let number = |what: &str| {
            let name = format!("tollgate_xds_convergence_seconds_{what}{{client=\"envoy\"}} ");
            text.lines().find_map(|l| l.strip_prefix(&name)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        (number("count") as u64, number("sum"))
    }
}

/// Whether a request is rewritten as this version of the Mapping says.
fn answered_by(listener: SocketAddr, version: usize) -> bool {
    let path = format!("/v{version}/x");
    http::get(listener, "/changed/x")
        .is_ok_and(|r| r.status == 200 && r.json()["path"] == path.as_str())
}

fn write_folder(folder: &TempDir, mappings: usize, listener: SocketAddr, backend: SocketAddr) {
    folder.write(
        "gateway.yaml",
        &format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: http}}\n\
             spec: {{port: {}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}\n\
             ---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: everyone}}\n\
             spec: {{hostname: \"*\", requestPolicy: {{insecure: {{action: Route}}}}}}\n",
            listener.port()
        ),
    );
    folder.write("changed.yaml", &mapping("changed", "/changed/", "/v0/", backend));
    let others: Vec<usize> = (1..mappings).collect();
    for (file, numbers) in others.chunks(PER_FILE).enumerate() {
        let text = numbers.iter().fold(String::new(), |mut text, n| {
            let one = mapping(&format!("other-{n}"), &format!("/other/{n}/"), "/", backend);
            let _ = writeln!(text, "{one}---");
            text
        });
        folder.write(&format!("others-{file}.yaml"), &text);
    }
}

fn mapping(name: &str, prefix: &str, rewrite: &str, backend: SocketAddr) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\n\
         spec: {{hostname: \"*\", prefix: {prefix}, rewrite: {rewrite}, service: \"{backend}\"}}\n"
    )
}

/// Minimum, median and maximum in milliseconds.
fn summary(taken: &[Taken], of: impl Fn(&Taken) -> Duration) -> String {
    let mut millis: Vec<f64> = taken.iter().map(|t| of(t).as_secs_f64() * 1e3).collect();
    millis.sort_by(f64::total_cmp);
    let at = |place: usize| millis.get(place).copied().unwrap_or_default();
    let median = f64::midpoint(at(millis.len().saturating_sub(1) / 2), at(millis.len() / 2));
    let [low, high] = [at(0), at(millis.len().saturating_sub(1))];
    format!("{low:.0} / {median:.0} / {high:.0}")
}

fn main() {
    let args = Args::parse();
    println!(
        "Controller: one Mapping of N changed, {} times; ms as min / median / max\n",
        args.changes
    );
    println!(
        "| Mappings | change to Envoy's ACK | of it, after the controller read it | change to first new answer | gateway-ctl RSS MiB |"
    );
    println!("|--:|--:|--:|--:|--:|");
    for count in args.mappings {
        let gateway = Gateway::start(count);
        let taken: Vec<Taken> = (0..args.changes).map(|n| gateway.change(n + 2)).collect();
        let resident = resident_kib(gateway.controller.id()).unwrap() as f64 / 1024.0;
        println!(
            "| {count} | {} | {} | {} | {resident:.0} |",
            summary(&taken, |t| t.acknowledged),
            summary(&taken, |t| t.pushed),
            summary(&taken, |t| t.answered),
        );
    }
}
