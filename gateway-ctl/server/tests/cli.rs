//! The program as people call it: results, diagnostics and exit codes.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const GOOD: &str = "\
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: 8080, protocol: HTTP, securityModel: INSECURE, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: all}
spec: {hostname: '*', requestPolicy: {insecure: {action: Route}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: good}
spec: {hostname: '*', prefix: /good/, service: 127.0.0.1:9080}
";

const BAD_MAPPING: &str = "
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: bad}
spec:
  hostname: '*'
  prefix: /bad/
  service: 127.0.0.1:9080
  timeout_ms: soon
";

fn gateway_ctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway-ctl"))
        .args(args)
        .env("KUBECONFIG", "/does/not/exist")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file(test: &str, name: &str, content: &str) -> PathBuf {
    let path = common::folder(test).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn quickstart() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/quickstart");
    path.canonicalize().unwrap().display().to_string()
}

fn validate(test: &str, document: &[u8]) {
    let Some(envoy) = common::envoy() else { return };
    let path = common::folder(test).join("envoy.yaml");
    std::fs::write(&path, document).unwrap();
    let output =
        Command::new(envoy).args(["--mode", "validate", "-c"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), text(document));
}

#[test]
fn check_passes_what_is_right() {
    let path = file("check-good", "a.yaml", GOOD);
    let output = gateway_ctl(&["check", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn check_names_file_line_object_field_and_reason() {
    let path = file("check-bad", "a.yaml", &format!("{GOOD}{BAD_MAPPING}"));
    let output = gateway_ctl(&["check", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let line = stderr.lines().find(|l| l.contains(" error: ")).expect("an error");
    let place = format!("{}:24: error: Mapping default/bad: spec.timeout_ms: ", path.display());
    assert!(line.starts_with(&place), "{stderr}");
}

#[test]
fn check_names_the_line_of_broken_yaml() {
    let path = file("check-broken", "a.yaml", "a: [\nb: {\n");
    let output = gateway_ctl(&["check", path.parent().unwrap().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with(&format!("{}:", path.display())), "{stderr}");
    assert!(stderr.contains("error: not YAML"), "{stderr}");
}

#[test]
fn render_leaves_out_what_is_wrong_and_renders_the_rest() {
    let path = file("render-bad", "a.yaml", &format!("{GOOD}{BAD_MAPPING}"));
    let found = path.with_file_name("found.json");
    let output = gateway_ctl(&[
        "render",
        path.to_str().unwrap(),
        "--format",
        "json",
        "--diagnostics",
        found.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rendered = document.to_string();
    assert!(rendered.contains("/good/") && !rendered.contains("/bad/"), "{rendered}");
    let found: Value = serde_json::from_slice(&std::fs::read(found).unwrap()).unwrap();
    let error = found.as_array().unwrap().iter().find(|d| d["severity"] == "error").unwrap();
    assert_eq!((&error["kind"], &error["name"]), (&"Mapping".into(), &"bad".into()));
    assert_eq!(error["path"], "spec.timeout_ms");
    validate("render-bad-envoy", &output.stdout);
}

#[test]
fn a_rendered_quick_start_is_valid_for_envoy() {
    let output = gateway_ctl(&["render", &quickstart()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("virtual_hosts"), "{}", text(&output.stdout));
    validate("quickstart", &output.stdout);
}

#[test]
fn the_printed_bootstrap_is_valid_for_envoy() {
    let output = gateway_ctl(&["envoy-bootstrap", "--xds", "controller.example:18000"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("cluster: tollgate"));
    validate("bootstrap", &output.stdout);
    let output = gateway_ctl(&["envoy-bootstrap", "--node-cluster", "ambassador-edge"]);
    assert!(text(&output.stdout).contains("cluster: ambassador-edge"));
    let output = gateway_ctl(&["envoy-bootstrap", "--xds", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("HOST:PORT"));
}

#[test]
fn explain_names_what_a_request_meets() {
    let url = "http://127.0.0.1:8080/private/hello";
    let token = std::fs::read_to_string(format!("{}/../tokens/alice.jwt", quickstart())).unwrap();
    let header = format!("authorization: Bearer {}", token.trim());
    let output = gateway_ctl(&["explain", "GET", url, "-H", &header, "--config", &quickstart()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let explanation = text(&output.stdout);
    for part in [
        "Listener default/http",
        "Mapping default/private",
        "Filter default/login (JWT)",
        "per-user",
    ] {
        assert!(explanation.contains(part), "{part}\n{explanation}");
    }
}

#[test]
fn explain_takes_what_was_seen_from_standard_input() {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway-ctl"))
        .args(["explain", "-", "--output", "json", "--config", &quickstart()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let line = "ACCESS [x] \"GET /nowhere/ HTTP/1.1\" 404 NR 0 0 0 - \"-\" \"-\" \"id\" \"a.example\" \"-\" route_not_found \"-\" \"-\" \"-\" 8080 http\n";
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let answer: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer["causes"][0]["id"], "no-mapping", "{answer:#}");
    assert_eq!(answer["seen"], "status 404, flags NR, details route_not_found");

    let output = gateway_ctl(&["explain", "503", "UH", "--config", &quickstart()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("Seen           status 503, flags UH\n"));
    let causes = text(&gateway_ctl(&["explain", "--causes"]).stdout);
    assert!(causes.contains("`no-pods`") && causes.contains("### Rate limits"), "{causes}");
}

#[test]
fn what_cannot_be_done_is_one_line_with_the_next_step() {
    for (args, part) in [
        (vec!["serve"], "no Kubernetes API is known"),
        (vec!["run", "--config", "/does/not/exist"], "/does/not/exist"),
        (vec!["check", "/does/not/exist"], "/does/not/exist"),
        (vec!["explain", "GET", "nowhere", "--config", "."], "`nowhere` is not a URL"),
        (vec!["explain", "--config", "."], "nothing is asked"),
        (vec!["explain", "--flag", "XX", "--config", "."], "`XX` is no response flag"),
        (vec!["explain", "503", "--admin", "http://127.0.0.1:1"], "http://127.0.0.1:1"),
    ] {
        let output = gateway_ctl(&args);
        assert!(!output.status.success(), "{args:?}");
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(part), "{stderr}");
    }
}

#[test]
fn a_port_in_use_names_the_flag() {
    let path = file("port", "a.yaml", GOOD);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let config = path.to_str().unwrap();
    for flag in ["--xds-addr", "--admin-addr"] {
        let other = if flag == "--xds-addr" { "--admin-addr" } else { "--xds-addr" };
        let output = gateway_ctl(&[
            "serve",
            "--config",
            config,
            flag,
            &address,
            other,
            "127.0.0.1:0",
            "--log-level",
            "error",
        ]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("the port is in use") && stderr.contains(flag), "{stderr}");
    }
}
