//! `gateway-ctl run` as people use it: all parts real, files changed while requests come.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::http::{self, Request};
use e2e::process::{PATIENCE, Process, program, signal};
use e2e::run::Run;
use e2e::{TempDir, free_addr};

/// The quick start on ports of its own.
struct Gateway {
    folder: TempDir,
    process: Process,
    listener: SocketAddr,
    envoy_admin: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    fn start() -> Self {
        Self::start_as("default")
    }

    /// An installation whose objects all carry its `ambassador_id`.
    fn start_as(id: &str) -> Self {
        let with_id = |text: String| {
            text.replace("\nspec:\n", &format!("\nspec:\n  ambassador_id: [{id}]\n"))
        };
        let flags = ["--ambassador-id", id];
        let run = Run::start_in(TempDir::new("live"), "quickstart", &flags, &[], with_id);
        let Run { folder, process, listener, envoy_admin, admin } = run;
        Self { folder, process, listener, envoy_admin, admin }
    }

    fn get(&self, path: &str) -> http::Response {
        http::send(self.listener, &Request::get(path, "gateway.test")).unwrap()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).unwrap()
    }

    /// Waits until `path` is answered with `status`.
    fn wait_status(&self, path: &str, status: u16) {
        let end = Instant::now() + PATIENCE;
        while self.get(path).status != status {
            assert!(
                Instant::now() < end,
                "{path} is not answered {status}:\n{}",
                self.process.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn token(user: &str) -> String {
    let path = e2e::root().join(format!("../docs/examples/tokens/{user}.jwt"));
    format!("Bearer {}", std::fs::read_to_string(path).unwrap().trim())
}

#[test]
fn routes_authorizes_and_limits() {
    let gateway = Gateway::start();
    let echo = gateway.get("/backend/hello").json();
    assert_eq!(echo["path"], "/hello");
    assert_eq!(gateway.get("/nowhere").status, 404);
    assert_eq!(gateway.get("/private/x").status, 401);
    let ask = |user: &str| {
        let request =
            Request::get("/private/x", "gateway.test").header("authorization", &token(user));
        http::send(gateway.listener, &request).unwrap()
    };
    let first = ask("alice");
    assert_eq!((first.status, first.json()["headers"]["x-user"].as_str()), (200, Some("alice")));
    // Three a minute, so the fourth; or a little later when a minute ends in between.
    let limited = (0..7).map(|_| ask("alice")).find(|r| r.status != 200).unwrap();
    assert_eq!(limited.status, 429);
    assert!(limited.body.starts_with("Slow down") && limited.header("retry-after").is_some());
    assert_eq!(ask("bob").status, 200, "another user has a limit of their own");
    let key = Request::get("/partner/x", "gateway.test").header("x-api-key", "quickstart-partner");
    assert_eq!(http::send(gateway.listener, &key).unwrap().status, 200);
    assert!(http::get(gateway.admin, "/routes").unwrap().body.contains("Mapping"));
}

#[test]
fn what_the_controller_takes_the_services_take_too() {
    let gateway = Gateway::start_as("blue");
    gateway.wait_status("/backend/x", 200);
    assert_eq!(gateway.get("/private/x").status, 401, "the FilterPolicy is in force");
    let limited = (0..25).map(|_| gateway.get("/backend/x").status).find(|s| *s != 200);
    assert_eq!(limited, Some(429), "the RateLimit is in force");
}

#[test]
fn a_change_is_live_without_a_failed_request_or_a_restart() {
    let gateway = Gateway::start();
    let limits = gateway.read("3-rate-limits.yaml").replace("rate: 10", "rate: 1000000");
    gateway.folder.write("3-rate-limits.yaml", &limits);
    let uptime = |g: &Gateway| {
        http::get(g.envoy_admin, "/server_info").unwrap().json()["uptime_all_epochs"].clone()
    };
    assert!(!uptime(&gateway).is_null());
    let (stop, failed, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let listener = gateway.listener;
    let load = std::thread::spawn({
        let (stop, failed, sent) = (stop.clone(), failed.clone(), sent.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                let status = http::send(listener, &Request::get("/backend/x", "gateway.test"))
                    .map(|r| r.status);
                sent.fetch_add(1, Ordering::Relaxed);
                // A limit of ten a minute may be met before the larger one is in force.
                if !status.is_ok_and(|s| s == 200 || s == 429) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let original = gateway.read("1-gateway.yaml");
    for i in 0..10 {
        let mapping = format!(
            "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: extra}}\nspec: {{hostname: \"*\", prefix: /extra-{i}/, service: \"127.0.0.1:{}\"}}\n",
            9_000 + i
        );
        gateway.folder.write("1-gateway.yaml", &(original.clone() + &mapping));
        // Nothing listens there, so 503 says that the route is live.
        gateway.wait_status(&format!("/extra-{i}/"), 503);
    }
    gateway.folder.write("1-gateway.yaml", &original);
    gateway.wait_status("/extra-9/", 404);
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {} requests", sent.load(Ordering::Relaxed));
    assert!(sent.load(Ordering::Relaxed) > 10);
}

#[test]
fn a_deleted_mapping_is_404_and_a_broken_file_keeps_the_last_good_state() {
    let mut gateway = Gateway::start();
    let original = gateway.read("1-gateway.yaml");
    let (kept, _) = original.split_once("---\n# Needs an API key.").unwrap();
    gateway.wait_status("/partner/x", 401);
    gateway.folder.write("1-gateway.yaml", kept);
    gateway.wait_status("/partner/x", 404);

    // A field that is wrong: the object's last good version stays, and the message has it all.
    gateway.folder.write("1-gateway.yaml", &kept.replace("timeout_ms: 4000", "timeout_ms: soon"));
    gateway.process.wait_log("timeout_ms");
    let log = gateway.process.log();
    let line = log.lines().find(|l| l.contains("timeout_ms")).unwrap();
    let number = 1 + kept.lines().position(|l| l.contains("timeout_ms")).unwrap();
    assert!(line.contains(&format!("1-gateway.yaml:{number}:")), "{line}");
    assert!(line.contains("Mapping default/private") && line.contains("spec.timeout_ms"), "{line}");
    assert_eq!(gateway.get("/private/x").status, 401);

    // A text that is no YAML: everything the file had stays.
    gateway.folder.write("1-gateway.yaml", "kind: [\n");
    gateway.process.wait_log("not YAML");
    assert_eq!(gateway.get("/backend/x").status, 200);
    gateway.folder.write("1-gateway.yaml", kept);
    gateway.process.wait("mended", |p| p.log().lines().filter(|l| l.contains("cured")).count() > 0);
}

/// The child that is this program.
fn child_of(gateway: &Gateway, program: &str) -> Option<u32> {
    children_of(gateway.process.id()).into_iter().find(|child| {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        name.trim() == program
    })
}

#[test]
fn an_envoy_that_crashes_comes_back_by_itself() {
    let mut gateway = Gateway::start();
    let mut before = None;
    for (crash, words) in ["in 0.25 s", "in 0.5 s", "3 times in a row"].iter().enumerate() {
        let envoy = child_of(&gateway, "envoy").unwrap();
        assert_ne!(Some(envoy), before.replace(envoy));
        signal("KILL", envoy);
        // It may have written the last line of the time before only now.
        let told = |p: &Process| p.log().lines().filter(|l| l.contains("envoy ended")).count();
        gateway.process.wait("told of the crash", |p| told(p) > 2 * crash);
        process_log_has(&gateway.process, &["envoy ended", words]);
        let (listener, admin) = (gateway.listener, gateway.admin);
        gateway.process.wait("serving again", |_| {
            let request = Request::get("/backend/x", "gateway.test");
            http::send(listener, &request).is_ok_and(|r| r.status == 200)
        });
        assert_eq!(gateway.get("/private/x").status, 401, "with the configuration as it was");
        gateway
            .process
            .wait("ready again", |_| http::get(admin, "/readyz").is_ok_and(|r| r.status == 200));
    }
}

#[test]
fn ends_cleanly_and_leaves_nothing_running() {
    let mut gateway = Gateway::start();
    let children = children_of(gateway.process.id());
    assert_eq!(children.len(), 3, "Envoy, ratelimit-svc and authz-svc");
    gateway.process.terminate();
    assert!(gateway.process.wait_end().success());
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}/exe")).exists(), "{child} still runs");
    }
}

#[test]
fn a_service_that_dies_ends_everything_in_words() {
    let mut gateway = Gateway::start();
    signal("KILL", child_of(&gateway, "ratelimit-svc").unwrap());
    let status = gateway.process.wait_end();
    assert_eq!(status.code(), Some(1));
    process_log_has(&gateway.process, &["error:", "ratelimit-svc ended", "everything is stopped"]);
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let folder = e2e::root().join("../docs/examples/quickstart");
    let mut arguments = vec!["run", "--config", folder.to_str().unwrap(), "--xds-addr", &addr];
    let free: Vec<String> = (0..4).map(|_| free_addr().to_string()).collect();
    let flags =
        ["--admin-addr", "--envoy-admin-addr", "--ratelimit-admin-addr", "--authz-admin-addr"];
    arguments.extend(flags.iter().zip(&free).flat_map(|(flag, addr)| [*flag, addr.as_str()]));
    let mut process = Process::start(&program("gateway-ctl"), &arguments, &[]);
    assert_eq!(process.wait_end().code(), Some(1));
    process_log_has(&process, &["error:", &addr, "--xds-addr"]);
}

fn process_log_has(process: &Process, words: &[&str]) {
    let end = Instant::now() + PATIENCE;
    while !process.log().lines().any(|line| words.iter().all(|word| line.contains(word))) {
        assert!(Instant::now() < end, "no line with {words:?}:\n{}", process.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten() {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    children
}
