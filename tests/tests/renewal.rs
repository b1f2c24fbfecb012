//! Certificates are renewed while requests come: no request fails, no connection ends, and no
//! Listener is touched.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::backend::Backend;
use e2e::certificates::Certificates;
use e2e::http::{self, Request};
use e2e::process::{PATIENCE, Process, program, start_envoy};
use e2e::tls::{Client, Connection};
use e2e::{TempDir, free_addr};
use serde_json::{Value, json};

/// How often it is renewed.
const RENEWALS: usize = 5;

struct Gateway {
    folder: TempDir,
    controller: Process,
    envoy: Process,
    envoy_admin: SocketAddr,
    listener: SocketAddr,
    certificates: Certificates,
}

impl Gateway {
    fn start(backend: SocketAddr) -> Self {
        let folder = TempDir::new("renewal");
        let (listener, xds, admin, envoy_admin) =
            (free_addr(), free_addr(), free_addr(), free_addr());
        folder.write("gateway.yaml", &resources(listener.port(), backend));
        let mut gateway_certificates = Certificates::default();
        gateway_certificates.add("cert", &json!(["a.test"]));
        folder.write("secret.json", &gateway_certificates.secrets()[0].to_string());
        let arguments = [
            "serve",
            "--config",
            folder.path().to_str().unwrap(),
            "--xds-addr",
            &xds.to_string(),
            "--admin-addr",
            &admin.to_string(),
        ];
        let mut controller = Process::start(&program("gateway-ctl"), &arguments, &[]);
        let file = folder.path().join(".bootstrap.json");
        std::fs::write(&file, e2e::envoy::bootstrap(xds, envoy_admin, free_addr())).unwrap();
        let mut envoy = start_envoy(&file, &[]);
        controller.wait_ready(admin);
        envoy.wait_ready_envoy(envoy_admin);
        let certificates = gateway_certificates;
        Self { folder, controller, envoy, envoy_admin, listener, certificates }
    }

    /// Writes a new certificate and gives its serial number.
    fn renew(&mut self) -> u64 {
        // Its serial number is how many were made.
        let name = format!("cert-{}", self.certificates.secrets().len());
        self.certificates.add(&name, &json!({"names": ["a.test"], "secret": "cert"}));
        let secrets = self.certificates.secrets();
        self.folder.write("secret.json", &secrets[secrets.len() - 1].to_string());
        secrets.len() as u64
    }

    fn connect(&self) -> std::io::Result<Connection> {
        let client = Client { server_name: Some("a.test"), ..Client::default() };
        client.connect(http::connect(self.listener)?)
    }

    /// What Envoy counted of Listeners, so that a change of one shows.
    fn listener_updates(&self) -> BTreeSet<String> {
        let stats = http::get(self.envoy_admin, "/stats?filter=listener_manager").unwrap().body;
        let counts = [
            "listener_added",
            "listener_modified",
            "listener_in_place_updated",
            "lds.update_success",
        ];
        stats.lines().filter(|l| counts.iter().any(|c| l.contains(c))).map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        format!("{}\n{}", self.controller.log(), self.envoy.log())
    }
}

fn resources(port: u16, backend: SocketAddr) -> String {
    let objects: [(&str, Value); 3] = [
        (
            "Listener",
            json!({"port": port, "protocol": "HTTPS", "securityModel": "XFP",
                "hostBinding": {"namespace": {"from": "ALL"}}}),
        ),
        ("Host", json!({"hostname": "a.test", "tlsSecret": {"name": "cert"}})),
        ("Mapping", json!({"hostname": "a.test", "prefix": "/", "service": backend.to_string()})),
    ];
    let items: Vec<Value> = objects
        .into_iter()
        .map(|(kind, spec)| {
            json!({"apiVersion": "getambassador.io/v3alpha1", "kind": kind,
                "metadata": {"name": "a", "namespace": "default"}, "spec": spec})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// A request on a connection that stays; gives the status line.
fn ask(connection: &mut Connection) -> std::io::Result<String> {
    connection.stream.write_all(b"GET /kept HTTP/1.1\r\nhost: a.test\r\n\r\n")?;
    let mut bytes = [0; 4096];
    let count = connection.stream.read(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_renewed_certificate_fails_no_request_and_touches_no_listener() {
    let backend = free_addr();
    let _backend = Backend::start("app", "http", &[backend], &Value::Null);
    let mut gateway = Gateway::start(backend);
    let mut kept = gateway.connect().unwrap();
    assert_eq!(ask(&mut kept).unwrap(), "HTTP/1.1 200 OK", "{}", gateway.log());
    let before = gateway.listener_updates();
    assert!(!before.is_empty());

    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let listener = gateway.listener;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let client = Client { server_name: Some("a.test"), ..Client::default() };
                    let answer =
                        http::connect(listener).and_then(|tcp| client.connect(tcp)).and_then(
                            |mut c| http::exchange(&mut c.stream, &Request::get("/new", "a.test")),
                        );
                    match answer {
                        Ok(answer) if answer.status == 200 => {}
                        other => failures.lock().unwrap().push(format!("{other:?}")),
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..RENEWALS {
            let serial = gateway.renew();
            let end = Instant::now() + PATIENCE;
            while gateway.connect().unwrap().serial != serial {
                assert!(Instant::now() < end, "{serial} is not served:\n{}", gateway.log());
                std::thread::sleep(Duration::from_millis(10));
            }
            // Under load: some requests between one renewal and the next.
            let enough = asked.load(Ordering::Relaxed) + 20;
            while asked.load(Ordering::Relaxed) < enough {
                assert!(Instant::now() < end, "no requests come:\n{}", gateway.log());
                std::thread::sleep(Duration::from_millis(10));
            }
            // The connection from before all renewals still serves.
            assert_eq!(ask(&mut kept).unwrap(), "HTTP/1.1 200 OK");
        }
        stop.store(true, Ordering::Relaxed);
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {asked:?}: {failures:?}", failures.len());
    assert_eq!(gateway.listener_updates(), before);
}
