//! `gateway-ctl run` on one of the examples of the documentation, at free ports.

use std::net::SocketAddr;

use crate::http::{self, Request, Response};
use crate::process::{Process, envoy, program};
use crate::{TempDir, free_addr};

/// A whole gateway on this machine; ends when dropped.
#[derive(Debug)]
pub struct Run {
    /// The resources.
    pub folder: TempDir,
    /// Where requests go.
    pub listener: SocketAddr,
    /// The diagnostics pages.
    pub admin: SocketAddr,
    /// Envoy's own page.
    pub envoy_admin: SocketAddr,
    /// gateway-ctl.
    pub process: Process,
}

impl Run {
    /// Starts `docs/examples/EXAMPLE`, with `more` resources.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(example: &str, more: &str, environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new("run");
        folder.write("more.yaml", more);
        Self::start_in(folder, example, &[], environment, |text| text)
    }

    /// Starts `docs/examples/EXAMPLE` beside what is in `folder`, with further flags, each file as
    /// `edit` makes it.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start_in(
        folder: TempDir,
        example: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
        edit: impl Fn(String) -> String,
    ) -> Self {
        let [listener, echo, authz, limits] = std::array::from_fn(|_| free_addr());
        let files = crate::root().join("../docs/examples").join(example);
        for file in std::fs::read_dir(files).unwrap().flatten() {
            let text = std::fs::read_to_string(file.path())
                .unwrap()
                .replace("port: 8080", &format!("port: {}", listener.port()))
                .replace("127.0.0.1:9080", &echo.to_string())
                .replace("127.0.0.1:8081", &limits.to_string())
                .replace("127.0.0.1:9001", &authz.to_string());
            folder.write(&file.file_name().to_string_lossy(), &edit(text));
        }
        let [xds, admin, envoy_admin, authz_admin, limits_admin] =
            std::array::from_fn(|_| free_addr());
        let own = [
            ("--config", folder.path().display().to_string()),
            ("--envoy", envoy().display().to_string()),
            ("--envoy-concurrency", "1".to_owned()),
            ("--xds-addr", xds.to_string()),
            ("--admin-addr", admin.to_string()),
            ("--envoy-admin-addr", envoy_admin.to_string()),
            ("--authz-addr", authz.to_string()),
            ("--authz-admin-addr", authz_admin.to_string()),
            ("--ratelimit-addr", limits.to_string()),
            ("--ratelimit-admin-addr", limits_admin.to_string()),
            ("--echo", echo.to_string()),
        ];
        let own = own.iter().flat_map(|(flag, value)| [*flag, value.as_str()]);
        let arguments: Vec<_> =
            std::iter::once("run").chain(own).chain(flags.iter().copied()).collect();
        let mut process = Process::start(&program("gateway-ctl"), &arguments, environment);
        process.wait_log("Ready.");
        Self { folder, listener, admin, envoy_admin, process }
    }

    /// A GET with headers.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = headers
            .iter()
            .fold(Request::get(path, "gateway.test"), |r, (name, value)| r.header(name, value));
        http::send(self.listener, &request).unwrap()
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn end(mut self) {
        self.process.terminate();
        let status = self.process.wait_end();
        assert!(status.success(), "{}", self.process.log());
    }
}
