//! `gateway-ctl run` on one of the examples of the documentation, at free ports.

use std::net::SocketAddr;

use crate::http::{self, Request, Response};
use crate::process::{Process, program};
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
    process: Process,
}

impl Run {
    /// Starts `docs/examples/EXAMPLE`, with `more` resources.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(example: &str, more: &str, environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new("run");
        let [listener, echo, authz, limits] = std::array::from_fn(|_| free_addr());
        let ports = [("8080", listener), ("9080", echo), ("9001", authz), ("8081", limits)];
        let files = crate::root().join("../docs/examples").join(example);
        for file in std::fs::read_dir(files).unwrap().flatten() {
            let mut text = std::fs::read_to_string(file.path()).unwrap();
            for (port, addr) in ports {
                text = text.replace(port, &addr.port().to_string());
            }
            folder.write(&file.file_name().to_string_lossy(), &text);
        }
        folder.write("more.yaml", more);
        let [xds, admin, envoy, authz_admin, limits_admin] = std::array::from_fn(|_| free_addr());
        let config = folder.path().display().to_string();
        let mut arguments = vec!["run".to_owned(), "--config".to_owned(), config];
        for (flag, addr) in [
            ("--xds-addr", xds),
            ("--admin-addr", admin),
            ("--envoy-admin-addr", envoy),
            ("--authz-addr", authz),
            ("--authz-admin-addr", authz_admin),
            ("--ratelimit-addr", limits),
            ("--ratelimit-admin-addr", limits_admin),
            ("--echo", echo),
        ] {
            arguments.extend([flag.to_owned(), addr.to_string()]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut process = Process::start(&program("gateway-ctl"), &arguments, environment);
        process.wait_log("Ready.");
        Self { folder, listener, admin, process }
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
