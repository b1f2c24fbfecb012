//! gateway-ctl, an Envoy and backends, set up for one case.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use e2e::backend::Backend;
use e2e::cases;
use e2e::certificates::Certificates;
use e2e::consul::Stub;
use e2e::dns::NameServer;
use e2e::envoy::bootstrap;
use e2e::http;
use e2e::process::{Process, program, start_envoy};
use e2e::tls::{Client, Stream};
use e2e::{TempDir, free_addr};
use serde_json::Value;

use crate::expectation;
use crate::resources::Resources;

pub(crate) struct Edge {
    certificates: Certificates,
    resources: Resources,
    folder: TempDir,
    backends: BTreeMap<String, Backend>,
    controller: Process,
    envoy: Process,
    envoy_admin: SocketAddr,
    environment: Vec<(String, String)>,
    _names: NameServer,
    _consul: Option<Stub>,
}

/// Backends have loopback addresses of their own, so that all can use the same port.
fn next_ip() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        64 | process[2] & 63,
        process[3].max(1),
        NEXT.fetch_add(1, Ordering::Relaxed),
    )
}

impl Edge {
    pub(crate) fn start(case: &Value) -> Self {
        let certificates = Certificates::of(case);
        let resources = Resources::of(case, &certificates);
        let (mut names, mut backends) = (BTreeMap::new(), BTreeMap::new());
        let mut text = resources.text();
        let mut in_consul = case["consul"].to_string();
        for spec in cases::listed(&case["backends"]) {
            let name = spec["name"].as_str().or(spec.as_str()).unwrap().to_owned();
            let kind = spec["kind"].as_str().unwrap_or("http");
            let ip = next_ip();
            let aliases = cases::listed(&spec["as"]);
            let mut ports = resources.ports_of(&name);
            for alias in aliases.iter().filter_map(Value::as_str).chain([name.as_str()]) {
                let (host, port) = alias.split_once(':').unwrap_or((alias, ""));
                if host.parse::<Ipv4Addr>().is_ok() {
                    // An address that this machine does not have stands for the backend's.
                    text = text.replace(&format!("\"{host}\""), &format!("\"{ip}\""));
                    in_consul = in_consul.replace(host, &ip.to_string());
                    ports.extend(port.parse::<u16>().ok());
                } else {
                    names.insert(host.to_owned(), ip);
                }
            }
            if kind == "down" {
                continue;
            }
            let addrs: Vec<SocketAddr> =
                ports.into_iter().map(|port| SocketAddr::from((ip, port))).collect();
            let rules = if kind == "rls" { &spec["over"] } else { &spec["rules"] };
            let own = spec["cert"].as_str().map(|name| certificates.get(name));
            let backend = Backend::start_with(&name, kind, &addrs, rules, own);
            backends.insert(name.clone(), backend);
        }
        let names = NameServer::start(names);
        let folder = TempDir::new("gateway");
        folder.write("resources.json", &text);
        let (xds, admin, envoy_admin) = (free_addr(), free_addr(), free_addr());
        let arguments = [
            "serve",
            "--config",
            folder.path().to_str().unwrap(),
            "--xds-addr",
            &xds.to_string(),
            "--admin-addr",
            &admin.to_string(),
        ];
        let consul = (!case["consul"].is_null())
            .then(|| Stub::start(serde_json::from_str(&in_consul).unwrap()));
        let agent = consul.iter().map(|c| ("CONSUL_HTTP_ADDR".to_owned(), c.addr.to_string()));
        let written = case["env"].as_object().into_iter().flatten();
        let written = written.map(|(name, value)| (name.clone(), cases::text(value)));
        let environment: Vec<(String, String)> = agent.chain(written).collect();
        let pairs: Vec<(&str, &str)> =
            environment.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let controller = Process::start(&program("gateway-ctl"), &arguments, &pairs);
        let file = folder.path().join(".bootstrap.json");
        std::fs::write(&file, bootstrap(xds, envoy_admin, names.addr)).unwrap();
        let mut edge = Self {
            certificates,
            resources,
            folder,
            backends,
            controller,
            envoy: start_envoy(&file, &[]),
            envoy_admin,
            environment,
            _names: names,
            _consul: consul,
        };
        edge.wait_live(admin);
        edge
    }

    /// Until Envoy acknowledged everything, and listens where it shall.
    fn wait_live(&mut self, admin: SocketAddr) {
        self.controller.wait_ready(admin);
        self.envoy.wait_ready_envoy(self.envoy_admin);
    }

    pub(crate) fn log(&self) -> String {
        format!("gateway-ctl:\n{}\nEnvoy:\n{}", self.controller.log(), self.envoy.log())
    }

    /// What `gateway-ctl render` says of the resources.
    pub(crate) fn expect_diagnostics(&self, case: &Value) {
        let want = &case["diagnostics"];
        if want.is_null() {
            return;
        }
        let out = self.folder.path().join(".diagnostics.json");
        let file = self.folder.path().join("resources.json");
        let run = Command::new(program("gateway-ctl"))
            .args(["render", file.to_str().unwrap(), "--diagnostics", out.to_str().unwrap()])
            .envs(self.environment.iter().cloned())
            .output()
            .unwrap();
        let found: Value =
            serde_json::from_str(&std::fs::read_to_string(&out).unwrap_or_else(|e| {
                panic!("no diagnostics: {e}\n{}", String::from_utf8_lossy(&run.stderr))
            }))
            .unwrap();
        let texts = |errors: bool| -> Vec<String> {
            let rows = found.as_array().unwrap().iter();
            rows.filter(|d| (d["severity"] == "error") == errors)
                .map(|d| {
                    format!(
                        "{} {} {}",
                        cases::text(&d["path"]),
                        cases::text(&d["message"]),
                        cases::text(&d["hint"])
                    )
                })
                .collect()
        };
        for (key, got) in [("errors", texts(true)), ("notices", texts(false))] {
            let Some(want) = want[key].as_array() else { continue };
            assert!(!want.is_empty() || got.is_empty(), "no {key} were expected: {got:?}");
            for pattern in want {
                let regex = regex::Regex::new(pattern.as_str().unwrap()).unwrap();
                assert!(
                    got.iter().any(|text| regex.is_match(text)),
                    "{key}: nothing like {pattern} in {got:?}"
                );
            }
        }
    }

    pub(crate) fn expect_config(&self, case: &Value) {
        let Some(rows) = case["config"].as_array() else { return };
        let dump = http::get(self.envoy_admin, "/config_dump").unwrap().json();
        for row in rows {
            expectation::config(row, &dump).unwrap_or_else(|why| panic!("{row}: {why}"));
        }
    }

    pub(crate) fn request(&self, row: &Value) -> Result<(), String> {
        let (send, want) = (&row["send"], &row["want"]);
        let port = send["port"].as_u64().unwrap_or(8080);
        let port =
            *self.resources.ports.get(&port).ok_or_else(|| format!("nothing listens on {port}"))?;
        let host = send["host"].as_str().map_or_else(|| format!("127.0.0.1:{port}"), str::to_owned);
        let mut request = http::Request::get(send["path"].as_str().unwrap_or("/"), &host);
        request.method = send["method"].as_str().unwrap_or("GET").to_owned();
        request.body = send["body"].as_str().unwrap_or_default().to_owned();
        for (name, value) in send["headers"].as_object().into_iter().flatten() {
            request.headers.push((name.clone(), cases::text(value)));
        }
        for backend in self.backends.values() {
            backend.take_hits();
        }
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut answers = Vec::new();
        for _ in 0..row["repeat"].as_u64().unwrap_or(1) {
            match self.exchange(send, want, addr, &request) {
                Ok(answer) => answers.push(answer),
                Err(_) if want["fail"] == true => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
        if want["fail"] == true {
            return Err("want no answer at all".to_owned());
        }
        for answer in &answers {
            expectation::answer(want, answer, port)?;
        }
        expectation::shares(want, &answers)?;
        self.expect_hits(want)
    }

    /// Sends a request, or the bytes of `raw_tcp`, over the connection that `send` describes.
    fn exchange(
        &self,
        send: &Value,
        want: &Value,
        addr: SocketAddr,
        request: &http::Request,
    ) -> Result<http::Response, Box<dyn std::error::Error>> {
        let mut tcp = http::connect(addr)?;
        if let Some(client) = send["proxy"].as_str() {
            let line = format!("PROXY TCP4 {client} 127.0.0.1 4711 {}\r\n", addr.port());
            tcp.write_all(line.as_bytes())?;
        }
        let tls = &send["tls"];
        let mut stream: Box<dyn Stream> = if tls.is_null() {
            Box::new(tcp)
        } else {
            let alpn: Vec<String> = cases::listed(&tls["alpn"]).iter().map(cases::text).collect();
            let client = Client {
                server_name: tls["sni"].as_str(),
                certificate: tls["cert"].as_str().map(|name| self.certificates.get(name)),
                only: tls["only"].as_str().or(tls["max"].as_str().filter(|v| *v == "v1.2")),
                alpn: &alpn,
            };
            let connection = client.connect(tcp)?;
            expectation::handshake(want, &connection)?;
            if connection.alpn.as_deref() == Some("h2") {
                // HTTP/1 cannot be spoken from here on.
                return Ok(http::Response { status: 0, headers: vec![], body: String::new() });
            }
            Box::new(connection.stream)
        };
        let Some(raw) = send["raw_tcp"].as_str() else {
            return Ok(http::exchange(&mut *stream, request)?);
        };
        stream.write_all(raw.as_bytes())?;
        stream.flush()?;
        let bytes = http::read_all(&mut *stream)?;
        if bytes.is_empty() {
            return Err("the connection is closed".into());
        }
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(http::Response { status: 200, headers: vec![], body })
    }

    /// What backends, authorization and limiter were asked. A mirrored request may come after the
    /// answer, so a number that is not there yet is waited for.
    fn expect_hits(&self, want: &Value) -> Result<(), String> {
        let mut hits: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let wanted = want["hits"].as_object();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        loop {
            for (name, backend) in &self.backends {
                hits.entry(name).or_default().extend(backend.take_hits());
            }
            let lacks = |(name, rule): (&String, &Value)| {
                let count = hits.get(name.as_str()).map_or(0, Vec::len);
                let least = rule["count"].as_u64().or_else(|| rule["at_least"].as_u64());
                least.is_some_and(|least| (count as u64) < least)
            };
            if !wanted.into_iter().flatten().any(lacks) || std::time::Instant::now() > end {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        for (name, rule) in wanted.into_iter().flatten() {
            let empty = Vec::new();
            expectation::hits(rule, hits.get(name.as_str()).unwrap_or(&empty))
                .map_err(|e| format!("{name}: {e}"))?;
        }
        let asked = hits.values().flatten().find_map(|h| h.descriptors.clone());
        expectation::descriptors(want, asked)
    }
}
