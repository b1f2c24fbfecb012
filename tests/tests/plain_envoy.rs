//! `deploy/examples/plain-envoy.yaml`, and the one over HTTP, as users copy them: a stock Envoy asks
//! authz-svc who a client is, and ratelimit-svc how much it may.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::Command;

use e2e::authorizer::Authorizer;
use e2e::backend::Backend;
use e2e::http::{self, Request, Response};
use e2e::limiter::Limiter;
use e2e::process::{Process, envoy, signal, start_envoy};
use e2e::{TempDir, free_addr};
use serde_json::Value;

fn read(name: &str) -> String {
    std::fs::read_to_string(e2e::root().join("..").join(name)).unwrap()
}

fn token(user: &str) -> String {
    format!("Bearer {}", read(&format!("docs/examples/tokens/{user}.jwt")).trim())
}

/// The example, running.
struct Example {
    listener: SocketAddr,
    _app: Backend,
    _envoy: Process,
    authorizer: Authorizer,
    _limiter: Limiter,
}

impl Example {
    fn start() -> Self {
        Self::start_as("plain-envoy.yaml")
    }

    /// `file` is in `deploy/examples`.
    fn start_as(file: &str) -> Self {
        let folder = TempDir::new("plain-envoy");
        let policies = TempDir::new("plain-envoy-policies");
        policies.write("policies.yaml", &read("deploy/examples/plain-envoy-policies.yaml"));
        let plans = TempDir::new("plain-envoy-plans");
        plans.write("plans.yaml", &read("deploy/examples/plain-envoy-plans.yaml"));
        let over_http = free_addr();
        let http_text = over_http.to_string();
        let more = ["--http-addr", &http_text, "--http-client-address", "x-forwarded-for"];
        let authorizer = Authorizer::start(&policies, &more, &[]);
        let limiter = Limiter::start_ready(&plans, &[]);
        let [listener, admin, app] = std::array::from_fn(|_| free_addr());
        let backend = Backend::start("app", "http", &[app], &Value::Null);
        let mut text = read(&format!("deploy/examples/{file}"));
        let port = |from: u16, to: SocketAddr| {
            (format!("port_value: {from}"), format!("port_value: {}", to.port()))
        };
        for (from, to) in [
            // A busy machine must not look like one that does not answer.
            ("timeout: 0.05s".to_owned(), "timeout: 10s".to_owned()),
            port(9901, admin),
            port(10000, listener),
            port(9080, app),
            port(8081, limiter.grpc),
            if file == "plain-envoy.yaml" {
                port(9001, authorizer.grpc)
            } else {
                port(9002, over_http)
            },
        ] {
            assert!(text.contains(&from), "{from} is not in the example");
            text = text.replace(&from, &to);
        }
        folder.write("envoy.yaml", &text);
        let mut envoy = start_envoy(&folder.path().join("envoy.yaml"), &[]);
        envoy.wait_ready_envoy(admin);
        Self { listener, _app: backend, _envoy: envoy, authorizer, _limiter: limiter }
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::get(path, "shop.test");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        http::send(self.listener, &request).unwrap()
    }
}

#[test]
fn envoy_takes_the_example_as_it_is() {
    for name in ["plain-envoy.yaml", "plain-envoy-http.yaml"] {
        let file = e2e::root().join("../deploy/examples").join(name);
        let run = Command::new(envoy()).args(["--mode", "validate", "-c"]).arg(file).output();
        let run = run.unwrap();
        assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn authorization_says_who_and_the_limit_says_how_much() {
    says_who_and_how_much(&Example::start());
}

#[test]
fn over_http_it_is_the_same() {
    let example = Example::start_as("plain-envoy-http.yaml");
    says_who_and_how_much(&example);
    let alice = token("alice");
    signal("KILL", example.authorizer.process.id());
    assert_eq!(example.get("/basket", &[("authorization", &alice)]).status, 503);
}

fn says_who_and_how_much(example: &Example) {
    let refused = example.get("/basket", &[]);
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("Bearer realm="), "{challenge}");
    for open in ["/healthz", "/assets/logo.svg"] {
        assert_eq!(example.get(open, &[]).status, 200, "{open}");
    }
    let statuses = |user: &str| -> Vec<u16> {
        let token = token(user);
        (0..7).map(|_| example.get("/basket", &[("authorization", &token)]).status).collect()
    };
    assert_eq!(statuses("alice"), [200, 200, 200, 200, 200, 429, 429]);
    assert_eq!(statuses("bob"), [200, 200, 429, 429, 429, 429, 429]);
}

#[test]
fn no_spelling_of_a_path_gets_past_a_policy() {
    let example = Example::start();
    for path in [
        "/assets/../basket",
        "/assets/%2e%2e/basket",
        "/assets/..%2fbasket",
        "/assets%2f..%2fbasket",
        "//assets/../basket",
        "/assets/..;/basket",
        "/assets/.%2e/basket",
        "/assets/..%5cbasket",
        "/assets/..\\basket",
        "/basket?/assets/",
        "/basket%3f/assets/",
    ] {
        let response = example.get(path, &[]);
        // Envoy may send a client to the plain form of its path; nothing reaches the backend.
        assert!([301, 302, 307, 400, 401].contains(&response.status), "{path}: {response:?}");
    }
}

#[test]
fn without_an_answer_nobody_passes() {
    let example = Example::start();
    let alice = token("alice");
    assert_eq!(example.get("/basket", &[("authorization", &alice)]).status, 200);
    signal("KILL", example.authorizer.process.id());
    assert_eq!(example.get("/basket", &[("authorization", &alice)]).status, 503);
    assert_eq!(example.get("/healthz", &[]).status, 200);
}
