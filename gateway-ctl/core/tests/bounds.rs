//! As many objects as anybody has, and shapes that multiply: time and memory stay bounded, and where
//! a bound is hit words say so.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "support/objects.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_core::{Engine, Settings};
use serde_json::{Value, json};
use service_kit::Object;

const V3: &str = "getambassador.io/v3alpha1";

fn object(kind: &str, name: &str, spec: Value) -> Arc<Object> {
    let json = json!({"apiVersion": V3, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec});
    Arc::new(Object::from_json(json).unwrap())
}

/// Objects of a shape, made of numbers.
fn each(count: usize, make: impl Fn(usize) -> Arc<Object>) -> Vec<Arc<Object>> {
    (0..count).map(make).collect()
}

/// A Service with an annotation of about so many bytes, full of Mappings.
fn annotated(n: usize, bytes: usize) -> Arc<Object> {
    let mut text = String::new();
    for i in 0.. {
        text += &format!(
            "---\napiVersion: {V3}\nkind: Mapping\nname: a{n}-{i}\nhostname: h{n}.test\nprefix: /a/{n}/{i}/\nservice: s{i}\n"
        );
        if text.len() >= bytes {
            break;
        }
    }
    let json = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("s{n}"), "namespace": "default", "annotations": {"getambassador.io/config": text}},
        "spec": {"ports": [{"port": 80}]},
    });
    Arc::new(Object::from_json(json).unwrap())
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Gives all to a new engine, then changes one; tells what that took.
fn build(what: &str, objects: Vec<Arc<Object>>) -> (Engine, Duration) {
    let count = objects.len();
    let before = resident_mib();
    let mut engine = Engine::new(Settings::default());
    let start = Instant::now();
    let output = engine.apply(objects, Vec::new());
    let took = start.elapsed();
    let found = engine.diagnostics().len();
    let bytes: usize = output.changed.iter().map(|r| r.body.len()).sum();
    println!(
        "{what}: {count} objects in {:.2} s, {} MiB more, {} MiB sent, {found} findings",
        took.as_secs_f64(),
        (resident_mib() - before).round(),
        bytes >> 20,
    );
    (engine, took)
}

fn mapping(n: usize, hostname: &str, prefix: &str) -> Arc<Object> {
    object(
        "Mapping",
        &format!("m{n}"),
        json!({"hostname": hostname, "prefix": prefix, "service": format!("s{}", n % 100)}),
    )
}

fn host(n: usize, hostname: &str) -> Arc<Object> {
    let spec = json!({"hostname": hostname, "requestPolicy": {"insecure": {"action": "Route"}}});
    object("Host", &format!("h{n}"), spec)
}

#[test]
#[ignore]
fn measure() {
    let edge = || vec![support::listener("edge", 8080)];
    let all = [edge(), vec![host(0, "*")]].concat();
    build(
        "mixed",
        [
            edge(),
            each(500, |n| host(n, &format!("h{n}.test"))),
            each(40_000, |n| mapping(n, &format!("h{}.test", n % 500), &format!("/m/{n}/"))),
            each(9_000, |n| {
                object(
                    "TCPMapping",
                    &format!("t{n}"),
                    json!({"port": 9000 + n % 10, "host": format!("t{n}.test"), "service": "s"}),
                )
            }),
            each(500, |n| {
                object("TLSContext", &format!("c{n}"), json!({"hosts": [format!("h{n}.test")]}))
            }),
            each(40, |n| annotated(n, 256 << 10)),
        ]
        .concat(),
    );
    build("one annotation of 1 MiB", [all.clone(), vec![annotated(0, 1 << 20)]].concat());
    build("one annotation of 4 MiB", [all.clone(), vec![annotated(0, 4 << 20)]].concat());
    build("one group 5000", [all.clone(), each(5_000, |n| mapping(n, "*", "/x/"))].concat());
    build("one group 10000", [all.clone(), each(10_000, |n| mapping(n, "*", "/x/"))].concat());
    build(
        "one host",
        [all.clone(), each(40_000, |n| mapping(n, "*", &format!("/m/{n}/")))].concat(),
    );
    let regex = |n: usize| {
        object(
            "Mapping",
            &format!("m{n}"),
            json!({"hostname": "*", "prefix": format!("/r/{n}/.*"), "prefix_regex": true, "service": "s"}),
        )
    };
    build("regexes", [all.clone(), each(20_000, regex)].concat());
    build(
        "hosts alike 2500",
        [
            edge(),
            each(2_500, |n| host(n, "a.test")),
            each(10, |n| mapping(n, "*", &format!("/m/{n}/"))),
        ]
        .concat(),
    );
    build(
        "hosts alike 5000",
        [
            edge(),
            each(5_000, |n| host(n, "a.test")),
            each(10, |n| mapping(n, "*", &format!("/m/{n}/"))),
        ]
        .concat(),
    );
    build(
        "listeners x hosts",
        [
            each(200, |n| support::listener(&format!("l{n}"), 8000 + n as u16)),
            each(2_000, |n| host(n, &format!("h{n}.test"))),
            each(10, |n| mapping(n, "*", &format!("/m/{n}/"))),
        ]
        .concat(),
    );
    let context = |n: usize| {
        object(
            "TLSContext",
            &format!("c{n}"),
            json!({"hosts": [format!("h{n}.test")], "min_tls_version": "v1.2"}),
        )
    };
    build(
        "contexts x hosts",
        [edge(), each(5_000, |n| host(n, &format!("h{n}.test"))), each(5_000, context)].concat(),
    );
    build(
        "tcp alike",
        [
            edge(),
            each(10_000, |n| {
                object(
                    "TCPMapping",
                    &format!("t{n}"),
                    json!({"port": 9000, "service": format!("s{n}")}),
                )
            }),
        ]
        .concat(),
    );
    build(
        "hosts x mappings 500",
        [
            edge(),
            each(500, |n| host(n, &format!("h{n}.test"))),
            each(500, |n| mapping(n, "*", &format!("/m/{n}/"))),
        ]
        .concat(),
    );
    build(
        "hosts x mappings 1000",
        [
            edge(),
            each(1000, |n| host(n, &format!("h{n}.test"))),
            each(1000, |n| mapping(n, "*", &format!("/m/{n}/"))),
        ]
        .concat(),
    );
}
