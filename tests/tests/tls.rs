//! Mutual TLS between all parts: controller, Envoy, both services, with certificates that change
//! while requests come.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::http::{self, Request};
use e2e::process::{PATIENCE, Process, envoy, program};
use e2e::{TempDir, free_addr};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

struct Ca(Issuer<'static, KeyPair>, String);

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "test-ca");
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self(Issuer::new(parameters, key), pem)
    }

    /// Writes an identity for `localhost` as the kubelet does: a new folder, then a link to it.
    fn write(&self, folder: &Path, version: u32) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.serial_number = Some(u64::from(version).into());
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let data = folder.join(format!("..{version}"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("ca.crt"), &self.1).unwrap();
        std::fs::write(data.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(data.join("tls.crt"), certificate.pem()).unwrap();
        let link = folder.join("..data_new");
        std::os::unix::fs::symlink(format!("..{version}"), &link).unwrap();
        std::fs::rename(link, folder.join("..data")).unwrap();
        for name in ["ca.crt", "tls.key", "tls.crt"] {
            let file = folder.join(name);
            if !file.is_symlink() {
                std::os::unix::fs::symlink(format!("..data/{name}"), file).unwrap();
            }
        }
    }
}

fn get(listener: SocketAddr, path: &str) -> Option<u16> {
    http::send(listener, &Request::get(path, "gateway.test")).ok().map(|r| r.status)
}

fn wait_status(listener: SocketAddr, path: &str, status: u16, log: &dyn Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while get(listener, path) != Some(status) {
        assert!(Instant::now() < end, "{path} is not {status}:\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_part_knows_every_other_by_its_certificate() {
    let ca = Ca::new();
    let tls = TempDir::new("tls");
    ca.write(tls.path(), 1);
    let tls_dir = tls.path().display().to_string();
    let [listener, echo, xds, admin, envoy_admin, ready, ratelimit, authz] =
        std::array::from_fn(|_| free_addr());
    let folder = TempDir::new("tls-config");
    for file in
        std::fs::read_dir(e2e::root().join("../docs/examples/quickstart")).unwrap().flatten()
    {
        let text = std::fs::read_to_string(file.path()).unwrap();
        let text = text
            .replace("port: 8080", &format!("port: {}", listener.port()))
            .replace("127.0.0.1:9080", &echo.to_string())
            .replace("127.0.0.1:8081", &format!("https://localhost:{}", ratelimit.port()))
            .replace("127.0.0.1:9001", &format!("https://localhost:{}", authz.port()));
        folder.write(&file.file_name().into_string().unwrap(), &text);
    }
    let named = format!("localhost:{}", xds.port());
    let controller = Process::start(
        &program("gateway-ctl"),
        &[
            "serve",
            "--config",
            folder.path().to_str().unwrap(),
            "--xds-addr",
            &xds.to_string(),
            "--admin-addr",
            &admin.to_string(),
            "--tls-dir",
            &tls_dir,
            "--service-tls-dir",
            &tls_dir,
        ],
        &[],
    );
    let bootstrap = TempDir::new("tls-envoy");
    let file = bootstrap.path().join("envoy.json").display().to_string();
    let made = std::process::Command::new(program("gateway-ctl"))
        .args(["envoy-bootstrap", "--xds", &named, "--format", "json", "--output", &file])
        .args(["--tls-dir", &tls_dir, "--ready-addr", &ready.to_string()])
        .args(["--envoy-admin-addr", &envoy_admin.to_string()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let envoy = Process::start(
        &envoy(),
        &["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c", &file],
        &[],
    );
    let service = |name: &str, grpc: SocketAddr, more: &[&str]| {
        let (grpc, admin) = (grpc.to_string(), free_addr().to_string());
        let mut arguments = vec![
            "--xds",
            named.as_str(),
            "--grpc-addr",
            &grpc,
            "--admin-addr",
            &admin,
            "--tls-dir",
            &tls_dir,
        ];
        arguments.extend_from_slice(more);
        Process::start(&program(name), &arguments, &[])
    };
    let limits = service("ratelimit-svc", ratelimit, &["--http-addr", "off"]);
    let authorization = service("authz-svc", authz, &[]);
    let echo = echo.to_string();
    let _echo = Process::start(&program("gateway-ctl"), &["echo", "--addr", &echo], &[]);
    let log = || [&controller, &envoy, &limits, &authorization].map(Process::log).join("\n---\n");
    wait_status(listener, "/private/x", 401, &log);
    wait_status(listener, "/backend/x", 200, &log);
    let limited = (0..25).filter_map(|_| get(listener, "/backend/x")).find(|s| *s != 200);
    assert_eq!(limited, Some(429), "{}", log());

    // Others see readiness and metrics of Envoy's admin page, and nothing else of it.
    assert_eq!(get(ready, "/ready"), Some(200));
    assert_eq!(get(ready, "/stats/prometheus"), Some(200));
    assert_eq!(get(ready, "/quitquitquit"), Some(404));
    // Who has no certificate is nobody.
    let plain = http::get(authz, "/");
    assert!(plain.is_err() || plain.unwrap().status != 200);

    // New certificates go into use without a failed request.
    let stop = AtomicBool::new(false);
    let failures = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match get(listener, "/private/x") {
                    Some(401) => {}
                    other => failures.push(other),
                }
            }
            failures
        });
        for version in 2..4 {
            ca.write(tls.path(), version);
            let serial = format!("\"serial_number\": \"{version:02x}\"");
            let shown = || {
                let page = http::get(envoy_admin, "/certs").map(|r| r.body).unwrap_or_default();
                page.matches(&serial).count()
            };
            let end = Instant::now() + PATIENCE;
            while shown() == 0 {
                assert!(Instant::now() < end, "Envoy does not take the new one: {}", log());
                std::thread::sleep(Duration::from_millis(20));
            }
            for part in [&controller, &limits, &authorization] {
                let end = Instant::now() + PATIENCE;
                let taken =
                    || part.log().matches("new certificate").count() >= version as usize - 1;
                while !taken() {
                    assert!(Instant::now() < end, "not taken: {}", part.log());
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(failures.is_empty(), "{failures:?}");
}
