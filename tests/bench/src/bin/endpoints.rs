//! What a change of endpoints costs the controller, among more and more Services: from the object to
//! the snapshot that streams send from. In one process, without Envoy: what a stream adds does not
//! depend on how many Services there are.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use gateway_core::{Engine, ResourceType, Settings};
use gateway_ctl::xds::Snapshot;
use serde_json::json;
use service_kit::Object;

/// Times changes of EndpointSlices.
#[derive(Parser)]
struct Args {
    /// How many Services with a Mapping each, for each row.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    services: Vec<usize>,
    /// Changes that are timed for each row.
    #[arg(long, default_value_t = 5000)]
    changes: usize,
}

fn object(api_version: &str, kind: &str, name: &str, more: serde_json::Value) -> Arc<Object> {
    let mut json = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "default"}});
    for (field, value) in more.as_object().unwrap() {
        if field == "labels" {
            json["metadata"]["labels"] = value.clone();
        } else {
            json[field] = value.clone();
        }
    }
    Arc::new(Object::from_json(json).unwrap())
}

fn slice(service: usize, host: usize) -> Arc<Object> {
    let address = format!("10.{}.{}.{}", host >> 16 & 255, host >> 8 & 255, host & 255);
    let more = json!({
        "labels": {"kubernetes.io/service-name": format!("s{service}")},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [address]}, {"addresses": ["10.255.0.1"]}],
    });
    object("discovery.k8s.io/v1", "EndpointSlice", &format!("e{service}"), more)
}

fn main() {
    let args = Args::parse();
    println!("| Services | one change: p50 µs | p99 µs | 1,000 changes a second: part of a core |");
    println!("|---|---|---|---|");
    for services in args.services {
        let own = "getambassador.io/v3alpha1";
        let mut all = vec![
            object(
                own,
                "Listener",
                "edge",
                json!({"spec": {"port": 8080, "protocol": "HTTP",
                "securityModel": "INSECURE", "hostBinding": {"namespace": {"from": "ALL"}}}}),
            ),
            object(own, "Host", "all", json!({"spec": {"hostname": "*"}})),
        ];
        for i in 0..services {
            let spec = json!({"hostname": "*", "prefix": format!("/m{i}/"),
                "service": format!("s{i}"), "resolver": "endpoint"});
            all.push(object(own, "Mapping", &format!("m{i}"), json!({"spec": spec})));
            all.push(slice(i, 0));
        }
        let mut engine = Engine::new(Settings::default());
        let first = engine.apply(all, Vec::new());
        let mut snapshot = Snapshot::empty(Instant::now()).with(first, Instant::now());
        let mut times: Vec<Duration> = Vec::with_capacity(args.changes);
        for change in 0..args.changes {
            let object = slice(change * 7919 % services, change + 1);
            let begun = Instant::now();
            let output = engine.apply(vec![object], Vec::new());
            let is_endpoint = |t: ResourceType| t == ResourceType::Endpoint;
            assert!(output.changed.len() == 1 && is_endpoint(output.changed[0].resource_type));
            snapshot = snapshot.with(output, begun);
            times.push(begun.elapsed());
        }
        let total: Duration = times.iter().sum();
        times.sort();
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        println!(
            "| {services} | {:.0} | {:.0} | {:.1} % |",
            micros(times[times.len() / 2]),
            micros(times[times.len() * 99 / 100]),
            total.as_secs_f64() / times.len() as f64 * 1000.0 * 100.0
        );
    }
}
