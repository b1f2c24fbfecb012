//! A real Keycloak in development mode: everything in memory, gone when dropped.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{self, Request, Response};
use crate::process::Process;
use crate::{cache, free_addr};

/// Longest wait for it to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// An identity provider with one realm.
#[derive(Debug)]
pub struct Keycloak {
    /// Where it listens.
    pub addr: SocketAddr,
    process: Process,
}

impl Keycloak {
    /// Starts it, with a realm as its API describes one (`realm`, `clients`, `users`, …).
    ///
    /// # Panics
    /// When there is none, or it does not start or take the realm.
    pub fn start(realm: &Value) -> Self {
        let (addr, management) = (free_addr(), free_addr());
        let (port, management) = (addr.port().to_string(), management.port().to_string());
        let home = home();
        let url = format!("http://{addr}");
        let arguments = [
            "start",
            "--optimized",
            "--cache=local",
            "--http-enabled=true",
            "--http-host=127.0.0.1",
            "--http-port",
            &port,
            "--http-management-port",
            &management,
            "--hostname",
            &url,
        ];
        let variables = [
            ("KC_BOOTSTRAP_ADMIN_USERNAME", "admin"),
            ("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin"),
            ("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m"),
        ];
        let process = Process::start(&home.join("bin/kc.sh"), &arguments, &variables);
        let mut keycloak = Self { addr, process };
        keycloak.create(realm);
        keycloak
    }

    /// Waits until it answers, and gives it the realm.
    fn create(&mut self, realm: &Value) {
        let end = Instant::now() + PATIENCE;
        let token = loop {
            if let Ok(answer) = self.log_in()
                && let Some(token) = answer.json()["access_token"].as_str()
            {
                break token.to_owned();
            }
            assert!(Instant::now() < end, "Keycloak does not start:\n{}", self.process.log());
            std::thread::sleep(Duration::from_millis(100));
        };
        let mut request = self.post("/admin/realms", "application/json", realm.to_string());
        request = request.header("authorization", &format!("Bearer {token}"));
        let answer = http::send(self.addr, &request).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
    }

    fn log_in(&self) -> std::io::Result<Response> {
        let form = "grant_type=password&client_id=admin-cli&username=admin&password=admin";
        let path = "/realms/master/protocol/openid-connect/token";
        let kind = "application/x-www-form-urlencoded";
        http::send(self.addr, &self.post(path, kind, form.to_owned()))
    }

    fn post(&self, path: &str, kind: &str, body: String) -> Request {
        let mut request = Request::get(path, &self.addr.to_string()).header("content-type", kind);
        request.method = "POST".to_owned();
        request.body = body;
        request
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        // The script passes it on to Java, and ends with it.
        self.process.terminate();
        self.process.wait_end();
    }
}

fn home() -> std::path::PathBuf {
    let entries = std::fs::read_dir(cache()).into_iter().flatten().flatten().map(|e| e.path());
    let mut homes: Vec<_> = entries.filter(|p| p.join("bin/kc.sh").is_file()).collect();
    homes.sort();
    homes.pop().expect("there is no Keycloak; run `make browser-tools`")
}

/// A realm where `client` logs people in.
pub fn realm(name: &str, client: Value, users: &[(&str, &str)]) -> Value {
    let users: Vec<Value> = users
        .iter()
        .map(|(user, password)| {
            json!({"username": user, "enabled": true, "emailVerified": true,
                "email": format!("{user}@shop.test"), "firstName": user, "lastName": "Test",
                "credentials": [{"type": "password", "value": password, "temporary": false}]})
        })
        .collect();
    json!({"realm": name, "enabled": true, "sslRequired": "none", "users": users,
        "clients": [client]})
}
