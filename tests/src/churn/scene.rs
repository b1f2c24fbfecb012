//! The parts of a gateway under churn, all real but the backends: gateway-ctl on a folder, Envoy,
//! authz-svc, a name server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::changes::CHANGES;
use crate::backend::Backend;
use crate::certificates::Certificates;
use crate::dns::NameServer;
use crate::process::{PATIENCE, Process, program, start_envoy};
use crate::{TempDir, envoy, free_addr, gateway, http};

/// Backends: name, kind, port.
const BACKENDS: &[(&str, &str, u16)] = &[
    ("a", "http", 8080),
    ("b", "http", 8080),
    ("c", "http", 8080),
    ("d", "http", 8080),
    ("pod-1", "http", 8080),
    ("pod-2", "http", 8080),
    ("pod-3", "http", 8080),
    ("auth-1", "auth-http", 3000),
    ("auth-2", "auth-grpc", 3000),
    ("limit-1", "rls", 5000),
    ("limit-2", "rls", 5000),
];
/// Where authz-svc listens, at an address of its own.
const AUTHZ_PORT: u16 = 3000;

/// What the resources of a test name.
#[derive(Debug)]
pub struct Parts {
    /// The Listener in the clear.
    pub http: SocketAddr,
    /// The Listener of TLS.
    pub https: SocketAddr,
    /// A Listener that comes and goes.
    pub extra: SocketAddr,
    /// Addresses of backends and of authz-svc, by name.
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// Secrets, of which one takes the place of the other; their serial numbers are 1 and 2.
    pub secrets: Vec<Value>,
    /// Envoy's log of requests: number, status, flags, details, cluster.
    pub log: PathBuf,
}

/// Everything, running; ends when dropped.
#[derive(Debug)]
pub struct Scene {
    /// The resources, a file for each object that changes.
    pub folder: TempDir,
    /// What they name.
    pub parts: Parts,
    /// The controller.
    pub controller: Process,
    /// Envoy.
    pub envoy: Process,
    arguments: Vec<String>,
    admin: SocketAddr,
    backends: Vec<Backend>,
    _authz: Process,
    _names: NameServer,
    _logs: TempDir,
}

impl Scene {
    /// Starts all parts with the first state of each change, and with so many more Mappings.
    pub fn start(fillers: usize) -> Self {
        let mut addresses = BTreeMap::new();
        let mut backends = Vec::new();
        let rules = json!([
            {"when": {"x-api-key": "good"}, "status": 200},
            {"when": {"x-guarded": "yes"}, "status": 401},
            {"when": {}, "status": 200},
        ]);
        let over = json!([[["remote_address", "127.0.0.1"], ["generic_key", "over"]]]);
        for (n, (name, kind, port)) in (1..).zip(BACKENDS) {
            let ip = own_ip(n);
            addresses.insert((*name).to_owned(), ip);
            let rules = if *kind == "rls" { &over } else { &rules };
            backends.push(Backend::start(name, kind, &[SocketAddr::from((ip, *port))], rules));
        }
        let authz = own_ip(200);
        addresses.insert("authz".to_owned(), authz);
        // By its name a pod is found that is there before and after.
        addresses.insert("svc".to_owned(), addresses["pod-1"]);
        let mut certificates = Certificates::default();
        for name in ["first", "second"] {
            let names = json!({"names": "secure.test", "secret": "secure"});
            certificates.add(name, &names);
        }
        let logs = TempDir::new("churn-log");
        let parts = Parts {
            http: free_addr(),
            https: free_addr(),
            extra: free_addr(),
            addresses,
            secrets: certificates.secrets().to_vec(),
            log: logs.path().join("requests.log"),
        };
        let folder = TempDir::new("churn");
        folder.write("base.yaml", &base(&parts, fillers));
        for change in CHANGES {
            for (file, text) in (change.plan)(0, &parts).files {
                if let Some(text) = text {
                    folder.write(file, &text);
                }
            }
        }
        let names = NameServer::start(parts.addresses.clone());
        let (xds, admin, envoy_admin) = (free_addr(), free_addr(), free_addr());
        let path = folder.path().display().to_string();
        let arguments = ["serve", "--config", &path, "--log-level", "warn"].map(str::to_owned);
        let ports = [("--xds-addr", xds), ("--admin-addr", admin)];
        let ports = ports.iter().flat_map(|(flag, addr)| [(*flag).to_owned(), addr.to_string()]);
        let arguments: Vec<String> = arguments.into_iter().chain(ports).collect();
        let mut controller = start_controller(&arguments);
        controller.wait("listening", |_| http::get(admin, "/healthz").is_ok());
        let [grpc, own, its_xds] =
            [SocketAddr::from((authz, AUTHZ_PORT)), free_addr(), xds].map(|a| a.to_string());
        let flags = ["--xds", &its_xds, "--grpc-addr", &grpc, "--admin-addr", &own];
        let mut authz = Process::start(&program("authz-svc"), &flags, &[]);
        authz.wait_ready(own.parse().unwrap());
        let file = folder.path().join(".bootstrap.json");
        std::fs::write(&file, envoy::bootstrap(xds, envoy_admin, names.addr)).unwrap();
        // What is replaced is kept for as long as it drains, ten minutes unless told.
        let more = [
            "--file-flush-interval-msec",
            "200",
            "--ignore-unknown-dynamic-fields",
            "--drain-time-s",
            "20",
        ];
        let mut envoy = start_envoy(&file, &more);
        controller.wait_ready(admin);
        envoy.wait_ready_envoy(envoy_admin);
        Self {
            folder,
            parts,
            controller,
            envoy,
            arguments,
            admin,
            backends,
            _authz: authz,
            _names: names,
            _logs: logs,
        }
    }

    /// Ends the controller as a crash does, and starts another.
    pub fn restart_controller(&mut self) {
        crate::process::signal("KILL", self.controller.id());
        self.controller.wait_end();
        self.controller = start_controller(&self.arguments);
        self.controller.wait_ready(self.admin);
    }

    /// How many changes the controller took since its start.
    pub fn applied(&self) -> f64 {
        gateway::metric(self.admin, "tollgate_config_changes_total").unwrap_or(0.0)
    }

    /// Whether Envoy and authz-svc are connected and have everything.
    pub fn is_in_sync(&self) -> bool {
        gateway::is_in_sync(self.admin, 2)
    }

    /// Errors that are told of objects.
    pub fn errors(&self) -> Vec<String> {
        let found = gateway::found(self.admin).as_array().cloned().unwrap_or_default();
        found.iter().filter(|d| d["severity"] == "error").map(ToString::to_string).collect()
    }

    /// Waits for anything.
    ///
    /// # Panics
    /// When the patience ends, with the logs.
    pub fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "not {what};\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what backends were asked, which would fill the memory.
    pub fn forget_hits(&self) {
        for backend in &self.backends {
            backend.take_hits();
        }
    }

    /// What Envoy logged of the request of this number, once it is written.
    pub fn logged(&self, number: u64) -> Option<String> {
        let text = std::fs::read_to_string(&self.parts.log).ok()?;
        let start = format!("{number} ");
        text.lines().find(|l| l.starts_with(&start)).map(str::to_owned)
    }

    /// The programs' logs, and what is wrong.
    pub fn log(&self) -> String {
        let errors = self.errors().join("\n");
        format!("gateway-ctl:\n{}\nEnvoy:\n{}\n{errors}", self.controller.log(), self.envoy.log())
    }
}

fn start_controller(arguments: &[String]) -> Process {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start(&program("gateway-ctl"), &arguments, &[])
}

/// A loopback address of this test, so that all backends can have the same port.
fn own_ip(n: u8) -> Ipv4Addr {
    let process = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 16 | process[2] & 31, process[3].max(1), n)
}

/// What never changes: Listeners, the Host of all names, Services with their endpoints, and routes.
fn base(parts: &Parts, fillers: usize) -> String {
    let mut text = String::new();
    for (name, port, rest) in [
        ("plain", parts.http.port(), "protocol: HTTP, securityModel: INSECURE"),
        ("secure", parts.https.port(), "protocol: HTTPS, securityModel: SECURE"),
    ] {
        let spec = format!("{{port: {port}, {rest}, hostBinding: {{namespace: {{from: ALL}}}}}}");
        text += &object("Listener", name, &spec);
    }
    text += &object("Host", "all", "{hostname: \"*\", requestPolicy: {insecure: {action: Route}}}");
    let ports = BACKENDS.iter().map(|(name, _, port)| (*name, *port));
    for (name, port) in ports.chain([("authz", AUTHZ_PORT)]) {
        text += &service(name, port);
        text += &slice(name, &[parts.addresses[name]], port);
    }
    text += &service("svc", 8080);
    for (name, hostname, service) in [
        ("steady", "*", "a:8080"),
        ("elsewhere", "other.test", "b:8080"),
        ("inside", "secure.test", "a:8080"),
        ("guarded", "*", "a:8080"),
        ("fallback", "*", "c:8080"),
    ] {
        let prefix = if name == "fallback" { "/".to_owned() } else { format!("/{name}/") };
        let spec =
            format!("{{hostname: \"{hostname}\", prefix: {prefix}, service: \"{service}\"}}");
        text += &object("Mapping", name, &spec);
    }
    text += &object(
        "Mapping",
        "limited",
        "{hostname: \"*\", prefix: /limited/, service: \"a:8080\", labels: {ambassador: [{over: [{generic_key: {value: over}}]}]}}",
    );
    for n in 0..fillers {
        // Half of them on hosts of their own.
        let hostname = if n % 2 == 0 { "*".to_owned() } else { format!("h{}.test", n % 20) };
        let spec =
            format!("{{hostname: \"{hostname}\", prefix: /filler/{n}/, service: \"b:8080\"}}");
        text += &object("Mapping", &format!("filler-{n}"), &spec);
    }
    text
}

/// An object of Emissary's group.
pub fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: getambassador.io/v3alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// A Service with one port.
fn service(name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: main, port: {port}}}]}}\n"
    )
}

/// Where a Service is.
pub fn slice(name: &str, addresses: &[Ipv4Addr], port: u16) -> String {
    let mut endpoints = String::new();
    for address in addresses {
        let _ = write!(endpoints, "{{addresses: [{address}]}}, ");
    }
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nendpoints: [{endpoints}]\nports: [{{name: main, port: {port}}}]\n"
    )
}
