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

/// A configuration of all kinds: one in a hundred objects is a Service with a long annotation.
fn mixed(count: usize, annotations: usize) -> Vec<Arc<Object>> {
    let hosts = count / 100;
    let mut all = vec![support::listener("edge", 8080)];
    all.extend(each(hosts, |n| host(n, &format!("h{n}.test"))));
    all.extend(each(count * 8 / 10, |n| {
        mapping(n, &format!("h{}.test", n % hosts), &format!("/m/{n}/"))
    }));
    all.extend(each(count * 18 / 100, |n| {
        let spec = json!({"port": 9000 + n % 10, "host": format!("t{n}.test"), "service": "s"});
        object("TCPMapping", &format!("t{n}"), spec)
    }));
    all.extend(each(hosts, |n| {
        let spec = json!({"hosts": [format!("h{n}.test")], "min_tls_version": "v1.2"});
        object("TLSContext", &format!("c{n}"), spec)
    }));
    all.extend(each(annotations >> 18, |n| annotated(n, 1 << 18)));
    all
}

#[test]
fn twice_as_many_objects_take_about_twice_as_long() {
    let (_, half) = build("half of them", mixed(1_500, 1 << 19));
    let (_, whole) = build("all of them", mixed(3_000, 1 << 20));
    // Nothing that grows with the square; a busy machine may be slow for a while.
    assert!(whole < half * 8 + Duration::from_secs(2), "{half:?} and {whole:?}");
}

#[test]
fn a_longer_annotation_than_is_read_is_said_and_costs_its_service_alone() {
    let objects = vec![host(0, "*"), mapping(0, "*", "/m/"), annotated(0, (1 << 20) + 1)];
    let (engine, _) = build("too long", objects);
    let found = engine.diagnostics();
    assert!(
        found.iter().any(|d| d.object.kind == "Service" && d.message.contains("more than 1048576"))
    );
    assert_eq!(engine.overview().routes.len(), 1, "that of the Mapping");
}

/// Shapes that multiply, for figures.
#[test]
#[ignore = "prints times; says nothing about right and wrong"]
fn measure() {
    let edge = || vec![support::listener("edge", 8080)];
    let all = [edge(), vec![host(0, "*")]].concat();
    let mappings = |count, hostname: &'static str| {
        each(count, move |n| mapping(n, hostname, &format!("/m/{n}/")))
    };
    let hosts = |count| each(count, |n| host(n, &format!("h{n}.test")));
    build("50,000 objects, 10 MiB of annotations", mixed(50_000, 10 << 20));
    build("one annotation", [all.clone(), vec![annotated(0, 1 << 20)]].concat());
    build("one group", [all.clone(), each(10_000, |n| mapping(n, "*", "/x/"))].concat());
    build("one Host", [all.clone(), mappings(40_000, "*")].concat());
    let regex = |n: usize| {
        let spec = json!({"hostname": "*", "prefix": format!("/r/{n}/.*"), "prefix_regex": true, "service": "s"});
        object("Mapping", &format!("m{n}"), spec)
    };
    build("regular expressions", [all, each(20_000, regex)].concat());
    build("one hostname", [edge(), each(5_000, |n| host(n, "a.test")), mappings(10, "*")].concat());
    let listeners = each(200, |n| support::listener(&format!("l{n}"), 8000 + n as u16));
    build("Listeners and Hosts", [listeners, hosts(2_000), mappings(10, "*")].concat());
    let tcp = |n: usize| {
        object("TCPMapping", &format!("t{n}"), json!({"port": 9000, "service": format!("s{n}")}))
    };
    build("one port", [edge(), each(10_000, tcp)].concat());
    build("Hosts and Mappings for all", [edge(), hosts(1_000), mappings(1_000, "*")].concat());
    build("more of them", [edge(), hosts(10_000), mappings(10_000, "*")].concat());
}
