//! The examples that users copy, `deploy/examples/plain-envoy-…`, do what they say.

use std::process::Command;

use e2e::TempDir;
use e2e::backend::Backend;
use e2e::http::{self, Request};
use e2e::process::{envoy, start_envoy};
use serde_json::Value;

use crate::service::Service;

fn read(name: &str) -> String {
    std::fs::read_to_string(e2e::root().join("../deploy/examples").join(name)).unwrap()
}

#[test]
fn envoy_takes_the_example_as_it_is() {
    let file = e2e::root().join("../deploy/examples/plain-envoy-ratelimit.yaml");
    let run = Command::new(envoy()).args(["--mode", "validate", "-c"]).arg(file).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn the_example_limits_by_client_and_by_key() {
    let service = Service::start(&[("limits.yaml", &read("plain-envoy-limits.yaml"))], &[]);
    let [listener, admin, app] = std::array::from_fn(|_| e2e::free_addr());
    let _app = Backend::start("app", "http", &[app], &Value::Null);
    let mut text = read("plain-envoy-ratelimit.yaml");
    let busy = ("timeout: 0.05s", "timeout: 10s".to_owned());
    let port = |from, to: std::net::SocketAddr| (from, format!("port_value: {}", to.port()));
    for (from, to) in [
        busy,
        port("port_value: 9901", admin),
        port("port_value: 10000", listener),
        port("port_value: 9080", app),
        port("port_value: 8081", service.grpc),
    ] {
        assert!(text.contains(from), "{from} is not in the example");
        text = text.replace(from, &to);
    }
    let folder = TempDir::new("example");
    folder.write("envoy.yaml", &text);
    let file = folder.path().join("envoy.yaml");
    let mut envoy = start_envoy(&file, &[]);
    envoy.wait_ready_envoy(admin);
    let send = |request: Request| http::send(listener, &request).unwrap();
    let report = || send(Request::get("/reports", "test").header("x-api-key", "k"));
    let first = report();
    assert_eq!(first.status, 200);
    let shown = first.header("x-ratelimit-limit").unwrap();
    for policy in ["5;w=3600;name=\"reports\"", "20;w=10;name=\"per-client\""] {
        assert!(shown.contains(policy), "{shown}");
    }
    let refused = (0..5).map(|_| report()).find(|r| r.status != 200).unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("720")));
    let plain = |path: &str| send(Request::get(path, "test"));
    let statuses: Vec<u16> = (0..15).map(|_| plain("/reports").status).collect();
    assert_eq!(statuses[..14], [200; 14], "without a key only the client counts");
    assert_eq!((statuses[14], plain("/").status), (429, 429), "six and fourteen were twenty");
    service.at(20);
    assert_eq!(plain("/").status, 200);
}
