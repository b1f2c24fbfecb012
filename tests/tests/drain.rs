//! `envoy-drain`, as a pod's `preStop` runs it: balancers are told, no request is cut, and it ends.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use e2e::backend::Backend;
use e2e::free_addr;
use e2e::gateway::Gateway;
use e2e::http;
use e2e::process::{Process, program};
use serde_json::Value;

const PROBES: [&str; 2] = ["/ambassador/v0/check_ready", "/ambassador/v0/check_alive"];

/// A gateway with one Mapping, and what it is for.
fn start() -> (Gateway, Backend) {
    let addr = free_addr();
    let backend = Backend::start("echo", "http", &[addr], &Value::Null);
    let gateway = Gateway::start(
        &format!(
            "apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: echo}}
spec: {{hostname: \"*\", prefix: /, service: \"{addr}\", timeout_ms: 20000}}
"
        ),
        &[],
    );
    gateway.eventually("served", |g| g.who("/x") == "echo");
    (gateway, backend)
}

fn drain(envoy_admin: SocketAddr, min_delay: &str, timeout: &str) -> Process {
    let address = envoy_admin.to_string();
    let arguments = ["envoy-drain", "--envoy-admin-addr", &address];
    let times = ["--min-delay", min_delay, "--timeout", timeout];
    Process::start(&program("gateway-ctl"), &[&arguments[..], &times].concat(), &[])
}

/// Sends a request, and reads the head of its answer. A client that is told `connection: close` then
/// ends the connection by itself; Envoy would do so 6 s later.
fn ask(stream: &mut TcpStream, path: &str, more: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nhost: gateway.test\r\n{more}\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    head.join("\n").to_lowercase()
}

fn is_answered(gateway: &Gateway, path: &str, status: u16) -> bool {
    let head = ask(&mut http::connect(gateway.listener).unwrap(), path, "");
    head.starts_with(&format!("http/1.1 {status} "))
}

#[test]
fn probes_turn_and_requests_end() {
    let (gateway, _backend) = start();
    for probe in PROBES {
        assert!(is_answered(&gateway, probe, 200), "{probe}");
    }
    let listener = gateway.listener;
    let slow = std::thread::spawn(move || {
        ask(&mut http::connect(listener).unwrap(), "/slow", "x-echo-delay-ms: 3000\r\n")
    });
    gateway.eventually("asked", |g| active(g.envoy_admin) > 0);
    let begin = Instant::now();
    let mut process = drain(gateway.envoy_admin, "1s", "20s");
    for probe in PROBES {
        gateway.eventually("a probe that says so", |g| is_answered(g, probe, 503));
    }
    // Until balancers have noticed, requests are answered as before.
    assert!(is_answered(&gateway, "/new", 200));
    let answer = slow.join().unwrap();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains("\nconnection: close"), "{answer}");
    assert!(process.wait_end().success(), "{}", process.log());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(15), "nothing was left to wait for, but it took {took:?}");
}

#[test]
fn a_connection_that_stays_is_left_at_the_end() {
    let (gateway, _backend) = start();
    let mut stream = http::connect(gateway.listener).unwrap();
    let mut process = drain(gateway.envoy_admin, "100ms", "2s");
    gateway.eventually("draining", |g| is_answered(g, PROBES[0], 503));
    assert!(process.wait_end().success(), "{}", process.log());
    assert!(process.log().contains("1 connections are left after 2s"), "{}", process.log());
    // It was not cut, and is told to go with its next answer.
    let answer = ask(&mut stream, "/x", "");
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    assert!(answer.contains("\nconnection: close"), "{answer}");
}

#[test]
fn an_envoy_that_is_not_there_is_one_clear_line() {
    let mut process = drain(free_addr(), "1s", "2s");
    assert!(!process.wait_end().success());
    assert!(process.log().contains("see --envoy-admin-addr"), "{}", process.log());
}

/// Requests that are under way.
fn active(envoy_admin: SocketAddr) -> u64 {
    let stats = http::get(envoy_admin, "/stats?filter=ingress_http.*downstream_rq_active");
    let stats = stats.map(|r| r.body).unwrap_or_default();
    stats.lines().filter_map(|l| l.rsplit(": ").next()?.parse::<u64>().ok()).sum()
}
