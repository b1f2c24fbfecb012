//! A controller, an Envoy and the question why.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::dns::NameServer;
use e2e::envoy::{printed_with, with_names};
use e2e::http::{self, Request};
use e2e::process::{PATIENCE, Process, program, start_envoy};
use e2e::{TempDir, free_addr};
use serde_json::Value;

/// How long a line of the log may take.
const LINE: Duration = Duration::from_millis(1500);
/// How long a change may take to be live.
const ENOUGH: Duration = Duration::from_secs(15);

/// So many connections the Envoy takes.
pub(crate) const CONNECTIONS: usize = 40;

/// The running parts.
pub(crate) struct Edge {
    pub(crate) folder: TempDir,
    pub(crate) plain: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) envoy_admin: SocketAddr,
    /// Where this Envoy is probed and its statistics are read.
    pub(crate) stats: SocketAddr,
    pub(crate) xds: SocketAddr,
    pub(crate) authz_admin: SocketAddr,
    pub(crate) ratelimit_admin: SocketAddr,
    pub(crate) envoy: Process,
    controller: Process,
    _names: NameServer,
}

impl Edge {
    /// Starts the controller, with the resources of a folder or as it is told, and an Envoy.
    pub(crate) fn start(resources: &str, config: Option<(&str, &str)>) -> Self {
        let folder = TempDir::new("explain");
        let [plain, secure, admin, envoy_admin, stats, xds, authz_admin, ratelimit_admin] =
            std::array::from_fn(|_| free_addr());
        let names = NameServer::start_all(Default::default());
        let replaced = resources
            .replace("PLAIN", &plain.port().to_string())
            .replace("SECURE_PORT", &secure.port().to_string());
        folder.write("base.yaml", &replaced);
        let path = folder.path().display().to_string();
        let [xds_text, admin_text, authz_text, ratelimit_text, stats_text] =
            [xds, admin, authz_admin, ratelimit_admin, stats].map(|a| a.to_string());
        let mut arguments = vec!["serve", "--xds-addr", &xds_text, "--admin-addr", &admin_text];
        arguments.extend(["--authz-admin", &authz_text, "--ratelimit-admin", &ratelimit_text]);
        arguments.extend(["--envoy-stats", &stats_text]);
        if config.is_none() {
            arguments.extend(["--config", &path]);
        }
        let mut controller = Process::start(&program("gateway-ctl"), &arguments, config.as_slice());
        controller.wait_ready(admin);
        let file = folder.path().join(".envoy.json");
        let printed = printed_with(xds, envoy_admin, &["--ready-addr", &stats_text]);
        let mut text: Value = serde_json::from_str(&with_names(printed, names.addr)).unwrap();
        let monitor = &mut text["overload_manager"]["resource_monitors"][0]["typed_config"];
        assert!(monitor["max_active_downstream_connections"].is_u64());
        monitor["max_active_downstream_connections"] = CONNECTIONS.into();
        std::fs::write(&file, text.to_string()).unwrap();
        // The log is written at once.
        let mut envoy = start_envoy(&file, &["--file-flush-interval-msec", "10"]);
        envoy.wait_ready_envoy(envoy_admin);
        Self {
            folder,
            plain,
            secure,
            admin,
            envoy_admin,
            stats,
            xds,
            authz_admin,
            ratelimit_admin,
            envoy,
            controller,
            _names: names,
        }
    }

    /// One of the services, configured by the controller.
    pub(crate) fn service(&self, name: &str, grpc: SocketAddr, more: &[&str]) -> Process {
        let admin = if name == "authz-svc" { self.authz_admin } else { self.ratelimit_admin };
        let [xds, grpc, admin_text] = [self.xds, grpc, admin].map(|a| a.to_string());
        let arguments = ["--xds", &xds, "--grpc-addr", &grpc, "--admin-addr", &admin_text];
        let mut service = Process::start(&program(name), &[&arguments, more].concat(), &[]);
        service.wait_ready(admin);
        service
    }

    /// The line of the access log that `send` makes, with `marker` and ` STATUS `.
    pub(crate) fn line(
        &self,
        marker: &str,
        status: u16,
        send: &dyn Fn(&Self) -> Option<TcpStream>,
    ) -> Result<String, String> {
        let end = Instant::now() + ENOUGH;
        let wanted = format!("\" {status} ");
        let before = self.envoy.log().len();
        loop {
            let _open = send(self);
            let soon = Instant::now() + LINE;
            while Instant::now() < soon {
                let log = self.envoy.log();
                let new = log.get(before..).unwrap_or_default();
                let is_it = |l: &&str| l.contains(marker) && l.contains(&wanted);
                if let Some(line) = new.lines().find(is_it) {
                    return Ok(line.to_owned());
                }
                // What is not in force yet is asked again.
                if new.lines().any(|l| l.contains(marker)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            if Instant::now() > end {
                let log = self.envoy.log();
                let new = log.get(before..).unwrap_or_default();
                let last = new.lines().last().unwrap_or_default();
                let found =
                    http::get(self.admin, "/diagnostics").map(|r| r.body).unwrap_or_default();
                return Err(format!("no line with {marker} and {status}:\n{last}\n{found}"));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The line of Envoy's own log that has these words.
    pub(crate) fn logged(&self, words: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = self.envoy.log();
            if let Some(line) = log.lines().find(|l| l.contains(words)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "no {words} in {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the controller's diagnostics are like that.
    pub(crate) fn until(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_it(&http::get(self.admin, "/diagnostics").map(|r| r.json()).unwrap_or_default()) {
            assert!(Instant::now() < end, "not {what}:\n{}", self.controller.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the controller's page says.
    pub(crate) fn ask(&self, pairs: &[(&str, &str)]) -> Value {
        let mut url = url::Url::parse("http://x/explain?json=true").unwrap();
        url.query_pairs_mut().extend_pairs(pairs);
        let path = format!("{}?{}", url.path(), url.query().unwrap());
        let answer = http::send(self.admin, &Request::get(&path, "localhost")).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Asks, and gives what is wrong when the first cause is not this one, in these words.
    pub(crate) fn tells(&self, cause: &str, words: &str, pairs: &[(&str, &str)]) -> Option<String> {
        let answer = self.ask(pairs);
        let first = &answer["causes"][0];
        let is_right = first["id"] == cause && first.to_string().contains(words);
        (!is_right).then(|| format!("{cause}: {pairs:?}: {answer:#}"))
    }

    /// What the command says, told what the Envoy says of its hosts.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let run = Command::new(program("gateway-ctl"))
            .arg("explain")
            .args(arguments)
            .args(["--admin", &format!("http://{}", self.admin)])
            .args(["--envoy", &format!("http://{}", self.envoy_admin)])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    }
}
