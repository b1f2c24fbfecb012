//! From a file change to a gateway that acts on it: a real controller and a real Envoy, with more
//! and more Mappings.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::time::{Duration, Instant};

use bench::gateway::{self, Gateway};
use bench::mappings::{Configuration, SERVICES, Shape, percentile};
use bench::process::{cpu_micros, resident_kib};
use clap::Parser;
use e2e::http;
use e2e::process::PATIENCE;

/// How often to look whether a change has arrived: what the times are too long by, at most, plus
/// the request of a look.
const LOOK_EACH: Duration = Duration::from_millis(1);
/// Between an Envoy that is in sync and the next change, so that no change meets the last one's work.
const REST: Duration = Duration::from_millis(100);

/// Times a change of one Mapping among many.
#[derive(Parser)]
struct Args {
    /// How many Mappings, for each two rows.
    #[arg(long, value_delimiter = ',', default_value = "1000,3000,10000")]
    mappings: Vec<usize>,
    /// Changes that are timed for each row.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Worker threads of Envoy.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

fn main() {
    let args = Args::parse();
    println!(
        "A file of one Mapping changed, {} times: ms until a request is answered by the new version\n",
        args.changes
    );
    println!(
        "| Hosts × Mappings | p50 / p99 / max | until it was noticed | read and built | Envoy's ACK | CPU of gateway-ctl | CPU of Envoy | gateway-ctl RSS MiB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for mappings in &args.mappings {
        for shape in [Shape::ManyHosts, Shape::OneHost] {
            row(shape, *mappings, &args);
        }
    }
}

fn row(shape: Shape, mappings: usize, args: &Args) {
    let port = e2e::free_addr().port();
    let _backend = gateway::backend(port);
    let listener = e2e::free_addr();
    let configuration =
        Configuration { shape, mappings, services: SERVICES, listener, backend: port };
    let gateway = Gateway::start(configuration, args.workers);
    std::thread::sleep(10 * REST);
    change(&gateway, 1);
    let cpu = || [&gateway.controller, &gateway.envoy].map(|p| cpu_micros(p.id()).unwrap());
    let (before, spent) = (Sums::of(&gateway), cpu());
    let mut times: Vec<f64> = (0..args.changes).map(|n| change(&gateway, n + 2)).collect();
    let acknowledged = times.iter().sum::<f64>() / times.len() as f64;
    let (after, now) = (Sums::of(&gateway), cpu());
    let each = |of: fn(&Sums) -> f64| (of(&after) - of(&before)) * 1e3 / args.changes as f64;
    let (built, pushed) = (each(|s| s.built), each(|s| s.pushed));
    let cpu: Vec<f64> = now
        .iter()
        .zip(spent)
        .map(|(now, before)| (now - before) as f64 / 1e3 / args.changes as f64)
        .collect();
    times.sort_by(f64::total_cmp);
    let [p50, p99, max] = [50, 99, 100].map(|p| percentile(&times, p));
    let resident = resident_kib(gateway.controller.id()).unwrap() as f64 / 1024.0;
    println!(
        "| {} | {p50:.1} / {p99:.1} / {max:.1} | {:.1} | {built:.1} | {:.1} | {:.1} | {:.1} | {resident:.0} |",
        shape.text(mappings),
        acknowledged - pushed,
        pushed - built,
        cpu[0],
        cpu[1],
    );
}

/// Renames a new version of the Mapping over the old one; milliseconds until it is in force.
fn change(gateway: &Gateway, version: usize) -> f64 {
    let before = Sums::of(gateway).converged;
    let text = gateway.configuration.mapping(0, version);
    let hidden = gateway.folder.path().join(".changed.new");
    std::fs::write(&hidden, text).unwrap();
    let start = Instant::now();
    std::fs::rename(hidden, gateway.folder.path().join("changed.yaml")).unwrap();
    while !gateway.answers_by(0, version) {
        assert!(
            start.elapsed() < PATIENCE,
            "change {version} did not arrive; the controller says:\n{}",
            gateway.controller.log()
        );
        std::thread::sleep(LOOK_EACH);
    }
    let taken = start.elapsed().as_secs_f64() * 1e3;
    while Sums::of(gateway).converged == before {
        std::thread::sleep(LOOK_EACH);
    }
    std::thread::sleep(REST);
    taken
}

/// What the controller's metrics say, in seconds since its start.
struct Sums {
    /// How often Envoy got in sync.
    converged: u64,
    /// From noticing changes to the resources made of them.
    built: f64,
    /// From noticing changes to Envoy's ACK.
    pushed: f64,
}

impl Sums {
    fn of(gateway: &Gateway) -> Self {
        let text = http::get(gateway.admin, "/metrics").map(|r| r.body).unwrap_or_default();
        let number = |name: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(name)?.trim().parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let converged = "tollgate_xds_convergence_seconds";
        Self {
            converged: number(&format!("{converged}_count{{client=\"envoy\"}}")) as u64,
            pushed: number(&format!("{converged}_sum{{client=\"envoy\"}}")),
            built: number("tollgate_config_apply_seconds_sum"),
        }
    }
}
