//! A gateway of many Mappings: a controller that follows a folder, an Envoy, and one backend for all
//! services.

use std::net::SocketAddr;
use std::time::Duration;

use e2e::backend::Backend;
use e2e::envoy::printed;
use e2e::http::{self, Request};
use e2e::process::{Process, envoy, program};
use e2e::{TempDir, free_addr};

use crate::mappings::Configuration;

/// All of its parts end when it is dropped.
pub struct Gateway {
    /// The resources.
    pub folder: TempDir,
    /// What they are.
    pub configuration: Configuration,
    /// gateway-ctl.
    pub controller: Process,
    /// Its metrics and pages.
    pub admin: SocketAddr,
    /// Envoy.
    pub envoy: Process,
    _bootstrap: TempDir,
}

impl Gateway {
    /// Starts one and waits until it answers by the Mappings' version 0. Envoy has as many worker
    /// threads as a small pod gives it.
    ///
    /// # Panics
    /// When something does not start.
    pub fn start(configuration: Configuration, workers: usize) -> Self {
        let [xds, admin, envoy_admin] = std::array::from_fn(|_| free_addr());
        let folder = TempDir::new("bench-gateway");
        for (name, text) in configuration.files() {
            folder.write(&name, &text);
        }
        let path = folder.path().display().to_string();
        let [xds_text, admin_text] = [xds, admin].map(|a| a.to_string());
        let serve =
            ["serve", "--config", &path, "--xds-addr", &xds_text, "--admin-addr", &admin_text];
        let quiet = ["--log-level", "error"];
        let mut controller =
            Process::start(&program("gateway-ctl"), &[&serve[..], &quiet].concat(), &[]);
        controller.wait("listening", |_| http::get(admin, "/healthz").is_ok());

        let bootstrap = TempDir::new("bench-envoy");
        bootstrap.write("envoy.json", &printed(xds, envoy_admin).to_string());
        let file = bootstrap.path().join("envoy.json").display().to_string();
        // As the chart starts it; a base id of its own for other Envoys' sake.
        let own = ["--ignore-unknown-dynamic-fields", "--use-dynamic-base-id", "-l", "error"];
        let workers = workers.to_string();
        let more = ["--concurrency", &workers, "-c", &file];
        let mut envoy = Process::start(&envoy(), &[&own[..], &more].concat(), &[]);
        envoy.wait_ready_envoy(envoy_admin);
        let gateway =
            Self { folder, configuration, controller, admin, envoy, _bootstrap: bootstrap };
        let last = configuration.mappings - 1;
        envoy_wait(|| gateway.answers_by(last, 0));
        gateway
    }

    /// Whether a request for a Mapping is answered as this version of it says.
    pub fn answers_by(&self, number: usize, version: usize) -> bool {
        let path = format!("{}x", Configuration::prefix(number));
        let request = Request::get(&path, &self.configuration.host(number));
        let wanted = format!("/v{version}/x");
        http::send(self.configuration.listener, &request)
            .is_ok_and(|r| r.status == 200 && r.json()["path"] == wanted.as_str())
    }
}

/// A backend on every address of this machine, for all services of a [`Configuration`].
///
/// # Panics
/// When its port is taken.
pub fn backend(port: u16) -> Backend {
    let any = SocketAddr::from(([0, 0, 0, 0], port));
    Backend::start("echo", "http", &[any], &serde_json::Value::Null)
}

fn envoy_wait(mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "Envoy is not configured");
        std::thread::sleep(Duration::from_millis(20));
    }
}
