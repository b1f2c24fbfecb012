//! `gateway-ctl serve` on a folder of resources, and an Envoy that gets its configuration from it.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Request, Response};
use crate::process::{PATIENCE, Process, program, start_envoy};
use crate::{TempDir, free_addr};

/// A running gateway; ends when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// The resources; those of a test are in `test.yaml`.
    pub folder: TempDir,
    /// The controller.
    pub controller: Process,
    /// Envoy.
    pub envoy: Process,
    /// Where requests go.
    pub listener: SocketAddr,
    /// The diagnostics page.
    pub admin: SocketAddr,
    /// Envoy's own page.
    pub envoy_admin: SocketAddr,
    xds: SocketAddr,
    environment: Vec<(String, String)>,
}

impl Gateway {
    /// Starts both, with a Listener and a Host for every name in front of `resources`. The
    /// controller has the variables of `environment`.
    pub fn start(resources: &str, environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new("gateway");
        let (listener, admin, xds, envoy_admin) =
            (free_addr(), free_addr(), free_addr(), free_addr());
        folder.write("edge.yaml", &edge(listener.port()));
        folder.write("test.yaml", resources);
        let environment: Vec<_> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let controller = start_controller(&folder, xds, admin, &environment);
        let bootstrap = folder.path().join(".bootstrap.json");
        let run = Command::new(program("gateway-ctl"))
            .args(["envoy-bootstrap", "--format", "json", "--xds", &xds.to_string()])
            .args(["--envoy-admin-addr", &envoy_admin.to_string()])
            .args(["--output", bootstrap.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        // As the chart starts it.
        let drain = ["--drain-strategy", "immediate", "--ignore-unknown-dynamic-fields"];
        let envoy = start_envoy(&bootstrap, &drain);
        let mut gateway =
            Self { folder, controller, envoy, listener, admin, envoy_admin, xds, environment };
        gateway.controller.wait_ready(admin);
        gateway.envoy.wait_ready_envoy(envoy_admin);
        gateway
    }

    /// Ends the controller as a crash does, and starts another.
    pub fn restart_controller(&mut self) {
        crate::process::signal("KILL", self.controller.id());
        self.controller.wait_end();
        self.controller = start_controller(&self.folder, self.xds, self.admin, &self.environment);
        self.controller.wait_ready(self.admin);
    }

    /// Takes the place of the test's resources.
    pub fn write(&self, resources: &str) {
        self.folder.write("test.yaml", resources);
    }

    /// A GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> io::Result<Response> {
        http::send(self.listener, &Request::get(path, "gateway.test"))
    }

    /// The name of the echo backend that answers, or the status.
    pub fn who(&self, path: &str) -> String {
        match self.get(path) {
            Ok(answer) if answer.status == 200 => {
                answer.json()["backend"].as_str().unwrap_or_default().to_owned()
            }
            Ok(answer) => answer.status.to_string(),
            Err(e) => e.to_string(),
        }
    }

    /// Waits for anything.
    ///
    /// # Panics
    /// When the patience ends, with the logs.
    pub fn eventually(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < end,
                "not {what}; gateway-ctl:\n{}\nEnvoy:\n{}\n{:#}",
                self.controller.log(),
                self.envoy.log(),
                self.found()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What is wrong, as the diagnostics page says it.
    pub fn found(&self) -> Value {
        found(self.admin)
    }

    /// Whether a finding has these words.
    pub fn finds(&self, words: &str) -> bool {
        self.found().as_array().into_iter().flatten().any(|d| d.to_string().contains(words))
    }

    /// Whether an Envoy is connected and has everything.
    pub fn is_in_sync(&self) -> bool {
        is_in_sync(self.admin, 1)
    }

    /// The number of a metric of the controller.
    pub fn metric(&self, name: &str) -> Option<f64> {
        metric(self.admin, name)
    }
}

/// What is wrong, as the page of a controller says it.
pub fn found(admin: SocketAddr) -> Value {
    let page = http::get(admin, "/diagnostics").map(|r| r.json()).unwrap_or_default();
    page["diagnostics"].clone()
}

/// Whether so many clients are connected to a controller at least, and all have everything.
pub fn is_in_sync(admin: SocketAddr, least: usize) -> bool {
    let clients = http::get(admin, "/clients").map(|r| r.json()).unwrap_or_default();
    let clients = clients["clients"].as_array().cloned().unwrap_or_default();
    clients.len() >= least && clients.iter().all(|c| c["in_sync"] == true)
}

/// The number of a metric of a controller.
pub fn metric(admin: SocketAddr, name: &str) -> Option<f64> {
    let text = http::get(admin, "/metrics").ok()?.body;
    let line = text.lines().find(|l| l.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

fn start_controller(
    folder: &TempDir,
    xds: SocketAddr,
    admin: SocketAddr,
    environment: &[(String, String)],
) -> Process {
    let environment: Vec<_> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let arguments = [
        "serve",
        "--config",
        folder.path().to_str().unwrap(),
        "--xds-addr",
        &xds.to_string(),
        "--admin-addr",
        &admin.to_string(),
    ];
    Process::start(&program("gateway-ctl"), &arguments, &environment)
}

fn edge(port: u16) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {{name: edge}}
spec: {{port: {port}, protocol: HTTP, securityModel: INSECURE, hostBinding: {{namespace: {{from: ALL}}}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {{name: all}}
spec: {{hostname: \"*\", requestPolicy: {{insecure: {{action: Route}}}}}}
"
    )
}
