//! What many Mappings cost the controller: to read and build all, and to change one, from the
//! object to the bytes that a client is sent. In one process, without sockets; what a user sees is in
//! `controller`.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::mappings::{Configuration, SERVICES, Shape, percentile};
use bench::process::cpu_micros;
use clap::Parser;
use gateway_core::{Engine, Output, ResourceType, Settings};
use gateway_ctl::controller::Controller;
use gateway_ctl::metrics::Metrics;
use gateway_ctl::source::Noticed;
use gateway_ctl::xds::Snapshot;
use gateway_ctl::xds::session::{Pace, Session};
use prometheus_client::registry::Registry;
use prost::Message as _;
use proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use service_kit::Object;
use service_kit::server::admin::Readiness;
use service_kit::server::objects::{Change, FileObjects};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times builds of many Mappings, and changes among them.
#[derive(Parser)]
struct Args {
    /// How many Mappings, for each two rows.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000")]
    mappings: Vec<usize>,
    /// Changes that are timed for each row.
    #[arg(long, default_value_t = 1000)]
    changes: usize,
}

/// Times of the same thing, in milliseconds.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, since: Instant) -> Instant {
        let now = Instant::now();
        self.0.push(now.duration_since(since).as_secs_f64() * 1e3);
        now
    }

    /// p50 and p99.
    fn text(mut self) -> String {
        self.0.sort_by(f64::total_cmp);
        format!("{:.2} / {:.2}", percentile(&self.0, 50), percentile(&self.0, 99))
    }
}

fn main() {
    let args = Args::parse();
    let shapes = [Shape::ManyHosts, Shape::OneHost];
    let rows = || args.mappings.iter().flat_map(|n| shapes.map(|shape| (shape, *n)));
    println!("From YAML to resources, ms:\n");
    println!("| Hosts × Mappings | read YAML | engine | snapshot | all |");
    println!("|---|--:|--:|--:|--:|");
    for (shape, mappings) in rows() {
        build(configuration(shape, mappings));
    }
    println!("\nOne Mapping changed, {} times, ms (p50 / p99):\n", args.changes);
    println!(
        "| Hosts × Mappings | read its file | engine | snapshot | response | controller and response | CPU |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (shape, mappings) in rows() {
        change(configuration(shape, mappings), args.changes);
    }
}

fn configuration(shape: Shape, mappings: usize) -> Configuration {
    let listener = "127.0.0.1:8080".parse().unwrap();
    Configuration { shape, mappings, services: SERVICES, listener, backend: 8081 }
}

fn build(configuration: Configuration) {
    let files = configuration.files();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let start = Instant::now();
    let change = FileObjects::new().update(files);
    let read = start.elapsed();
    let mut engine = Engine::new(Settings::default());
    let output = engine.apply(change.applied, change.deleted);
    let built = start.elapsed();
    assert!(output.changed.len() > 3);
    let snapshot = Snapshot::empty(start).with(output, start);
    let all = start.elapsed();
    drop(snapshot);
    println!(
        "| {} | {:.0} | {:.0} | {:.1} | {:.0} |",
        configuration.shape.text(configuration.mappings),
        ms(read),
        ms(built - read),
        ms(all - built),
        ms(all)
    );
}

/// A client that takes all that it is sent.
struct Client(Session);

impl Client {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        let mut client = Self(Session::new(snapshot.clone(), Pace::default()));
        for resource_type in [ResourceType::Cluster, ResourceType::Listener, ResourceType::Route] {
            let names = match resource_type {
                ResourceType::Route => {
                    snapshot.of(resource_type).iter().map(|(n, _)| n.to_string()).collect()
                }
                _ => Vec::new(),
            };
            client.ask(DeltaDiscoveryRequest {
                type_url: resource_type.type_url().to_owned(),
                resource_names_subscribe: names,
                ..DeltaDiscoveryRequest::default()
            });
        }
        while client.take() > 0 {}
        client
    }

    fn ask(&mut self, request: DeltaDiscoveryRequest) {
        self.0.on_request(request, Instant::now()).unwrap();
    }

    /// What is sent now, in bytes; it is acknowledged.
    fn take(&mut self) -> usize {
        // Waits are over: what is timed is work.
        let later = Instant::now() + Duration::from_secs(1);
        let mut bytes = 0;
        for response in self.0.pump(later) {
            bytes += response.encode_to_vec().len();
            self.ask(DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                ..DeltaDiscoveryRequest::default()
            });
        }
        self.0.take_reports();
        bytes
    }
}

fn change(configuration: Configuration, changes: usize) {
    let mut files = configuration.files();
    let mut objects = FileObjects::new();
    let first = objects.update(files.clone());
    let mut engine = Engine::new(Settings::default());
    let mut snapshot = Arc::new(with(
        &Snapshot::empty(Instant::now()),
        engine.apply(first.applied.clone(), vec![]),
    ));
    let mut client = Client::new(snapshot.clone());
    let [mut read, mut applied, mut published, mut sent, mut all]: [Times; 5] = Default::default();
    for number in 0..changes {
        let object = changed(&configuration, number);
        let mut at = Instant::now();
        let output = engine.apply(vec![object], Vec::new());
        assert_eq!(output.changed.len(), 1, "only a route table");
        at = applied.add(at);
        snapshot = Arc::new(with(&snapshot, output));
        at = published.add(at);
        client.0.set_snapshot(snapshot.clone());
        assert!(client.take() > 0);
        sent.add(at);
    }
    drop((engine, client));
    let cpu = cpu_of(&configuration, first, changes, &mut all);
    for number in 0..changes.min(100) {
        read_again(&configuration, &mut files, &mut objects, number, &mut read);
    }
    println!(
        "| {} | {} | {} | {} | {} | {} | {cpu:.2} |",
        configuration.shape.text(configuration.mappings),
        read.text(),
        applied.text(),
        published.text(),
        sent.text(),
        all.text(),
    );
}

/// As the program does it. Gives the CPU of a change in milliseconds.
fn cpu_of(configuration: &Configuration, first: Change, changes: usize, all: &mut Times) -> f64 {
    let metrics = Metrics::new(&mut Registry::default());
    let mut controller =
        Controller::new(Settings::default(), metrics, Readiness::new(&["configuration"]));
    controller.apply(Noticed { change: first, at: Instant::now() });
    let snapshots = controller.snapshots();
    let mut client = Client::new(snapshots.borrow().clone());
    let before = cpu_micros(std::process::id()).unwrap();
    for number in 0..changes {
        let object = changed(configuration, number);
        let at = Instant::now();
        let change = Change { applied: vec![object], ..Change::default() };
        controller.apply(Noticed { change, at });
        client.0.set_snapshot(snapshots.borrow().clone());
        assert!(client.take() > 0);
        all.add(at);
    }
    (cpu_micros(std::process::id()).unwrap() - before) as f64 / 1e3 / changes as f64
}

/// The file of one Mapping is another one now; all files are compared.
fn read_again(
    configuration: &Configuration,
    files: &mut BTreeMap<String, String>,
    objects: &mut FileObjects,
    number: usize,
    read: &mut Times,
) {
    files.insert("changed.yaml".to_owned(), configuration.mapping(0, number + 1));
    let files = files.clone();
    let at = Instant::now();
    let change = objects.update(files);
    assert_eq!(change.applied.len(), 1);
    read.add(at);
}

fn with(snapshot: &Snapshot, output: Output) -> Snapshot {
    snapshot.with(output, Instant::now())
}

/// Another version of one of the Mappings.
fn changed(configuration: &Configuration, number: usize) -> Arc<Object> {
    let text = configuration.mapping(number * 7919 % configuration.mappings, number + 1);
    let (mut objects, found) = Object::from_yaml(&text, "changed.yaml").unwrap();
    assert!(found.is_empty());
    Arc::new(objects.remove(0))
}
