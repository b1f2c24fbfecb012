//! What a request costs Envoy among many Mappings, as a ratio to what it costs among ten: two
//! gateways, asked in turn.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bench::gateway::{self, Gateway};
use bench::mappings::{Configuration, Shape, percentile};
use bench::process::cpu_micros;
use clap::Parser;

/// Mappings of the gateway that others are compared with.
const FEW: usize = 10;
/// Connections, each with one request at a time.
const CONNECTIONS: usize = 4;

/// Compares the processor time of Envoy for a request.
#[derive(Parser)]
struct Args {
    /// How many Mappings, for each two rows.
    #[arg(long, value_delimiter = ',', default_value = "10000")]
    mappings: Vec<usize>,
    /// How many services the Mappings share, for each row. The ten go to ten: a request to one of
    /// many clusters costs more than one to a few, whatever the routes are.
    #[arg(long, value_delimiter = ',', default_value = "10,1000")]
    services: Vec<usize>,
    /// Rounds; in each both gateways are asked.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds that a gateway is asked in a round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

fn main() {
    let args = Args::parse();
    println!(
        "Envoy's CPU for a request to any of N Mappings, and to any of {FEW}, in turn; medians of {} rounds\n",
        args.rounds
    );
    println!(
        "| Hosts × Mappings | services | µs | µs among {FEW} | ratio | lowest and highest ratio |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for mappings in &args.mappings {
        for services in &args.services {
            for shape in [Shape::ManyHosts, Shape::OneHost] {
                row(shape, *mappings, *services, &args);
            }
        }
    }
}

fn row(shape: Shape, mappings: usize, services: usize, args: &Args) {
    let port = e2e::free_addr().port();
    let _backend = gateway::backend(port);
    let [many, few] = [(mappings, services), (FEW, FEW)].map(|(mappings, services)| {
        let listener = e2e::free_addr();
        let configuration = Configuration { shape, mappings, services, listener, backend: port };
        Gateway::start(configuration, 1)
    });
    let mut rounds: Vec<(f64, f64)> =
        (0..=args.rounds).map(|_| (cost(&many, args.seconds), cost(&few, args.seconds))).collect();
    // The first is warm-up.
    rounds.remove(0);
    let sorted = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (many, few, ratios) = (sorted(|r| r.0), sorted(|r| r.1), sorted(|r| r.0 / r.1));
    println!(
        "| {} | {services} | {:.1} | {:.1} | {:.2} | {:.2} to {:.2} |",
        shape.text(mappings),
        percentile(&many, 50),
        percentile(&few, 50),
        percentile(&ratios, 50),
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

/// Microseconds of Envoy's processor time for a request.
fn cost(gateway: &Gateway, seconds: u64) -> f64 {
    let before = cpu_micros(gateway.envoy.id()).unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    let asked: u64 = std::thread::scope(|scope| {
        let ask = |first| scope.spawn(move || ask(gateway.configuration, first, until));
        let threads: Vec<_> = (0..CONNECTIONS).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (cpu_micros(gateway.envoy.id()).unwrap() - before) as f64 / asked as f64
}

/// Asks for one Mapping after the other, each answered well; gives how many.
fn ask(configuration: Configuration, first: usize, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(configuration.listener).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut asked = 0;
    let mut number = first;
    while Instant::now() < until {
        // A prime, so that all are asked for, and none after its neighbour.
        number = (number + 7919) % configuration.mappings;
        let path = format!("{}x", Configuration::prefix(number));
        let host = configuration.host(number);
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
            .unwrap();
        take_answer(&mut answers);
        asked += 1;
    }
    asked
}

fn take_answer(answers: &mut BufReader<TcpStream>) {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let mut length = 0;
    loop {
        line.clear();
        answers.read_line(&mut line).unwrap();
        let Some((name, value)) = line.split_once(':') else { break };
        if name == "content-length" {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).unwrap();
}
