//! Changes of every kind, at random and several at once, while requests come: how many requests there
//! were, how many failed, and how much memory was needed before and after.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use bench::process::resident_kib;
use clap::Parser;
use e2e::churn::Churn;
use e2e::churn::changes::CHANGES;

/// Most changes that are made at once.
const AT_ONCE: u64 = 4;
/// Longest pause between two rounds of changes, in milliseconds.
const PAUSE_MS: u64 = 150;
/// What of the time goes by before memory is looked at first: caches fill.
const WARM_UP: f64 = 0.1;

/// Changes a gateway under load for some time.
#[derive(Parser)]
struct Args {
    /// How long, in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Mappings that never change.
    #[arg(long, default_value_t = 1000)]
    mappings: usize,
    /// Milliseconds between two requests of each of the kinds of requests.
    #[arg(long, default_value_t = 5)]
    pause: u64,
    /// One round in so many begins with a crash of the controller.
    #[arg(long, default_value_t = 400)]
    crash_each: u64,
    /// Makes the same choices again.
    #[arg(long)]
    seed: Option<u64>,
}

/// Numbers that look random (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }
}

/// Resident memory in MiB.
#[derive(Clone, Copy)]
struct Memory {
    envoy: f64,
    controller: f64,
}

fn memory(churn: &Churn) -> Memory {
    let of = |pid| resident_kib(pid).unwrap() as f64 / 1024.0;
    Memory { envoy: of(churn.scene.envoy.id()), controller: of(churn.scene.controller.id()) }
}

fn main() {
    let args = Args::parse();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = args.seed.unwrap_or_else(now);
    println!("Churn for {} minutes at {} Mappings; --seed {seed}\n", args.minutes, args.mappings);
    let mut chance = Chance(seed);
    let mut churn = Churn::start(args.mappings, Duration::from_millis(args.pause));
    let (start, length) = (Instant::now(), Duration::from_secs_f64(args.minutes * 60.0));
    let mut first = memory(&churn);
    let (mut is_warm, mut crashes) = (false, 0);
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    let mut most = Duration::ZERO;
    while start.elapsed() < length {
        if chance.next(args.crash_each) == 0 {
            crashes += 1;
            println!("- the controller is killed at {:.1} s", start.elapsed().as_secs_f64());
            churn.scene.restart_controller();
        }
        let mut places: Vec<usize> = (0..CHANGES.len()).collect();
        let count = 1 + chance.next(AT_ONCE);
        let places: Vec<usize> = (0..count)
            .map(|_| places.swap_remove(chance.next(places.len() as u64) as usize))
            .collect();
        for place in &places {
            *made.entry(CHANGES[*place].name).or_default() += 1;
        }
        let begin = Instant::now();
        let round = churn.make(&places);
        churn.finish(&round);
        most = most.max(begin.elapsed());
        churn.scene.forget_hits();
        std::thread::sleep(Duration::from_millis(chance.next(PAUSE_MS)));
        if !is_warm && start.elapsed() > length.mul_f64(WARM_UP) {
            (first, is_warm) = (memory(&churn), true);
        }
    }
    let last = memory(&churn);
    let Churn { scene, load, .. } = churn;
    let outcome = load.end();
    for (name, count) in &made {
        println!("- {name}: {count}");
    }
    println!(
        "\n| minutes | Mappings | changes | crashes of the controller | requests | failed | repeated on a new connection | slowest round, s | Envoy MiB, after a tenth of the time and at the end | gateway-ctl MiB |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    println!(
        "| {} | {} | {} | {crashes} | {} | {} | {} | {:.1} | {:.0} / {:.0} | {:.0} / {:.0} |",
        args.minutes,
        args.mappings,
        made.values().sum::<usize>(),
        outcome.requests,
        outcome.failed,
        outcome.repeated,
        most.as_secs_f64(),
        first.envoy,
        last.envoy,
        first.controller,
        last.controller,
    );
    for failure in &outcome.failures {
        let logged = scene.logged(failure.number).unwrap_or_default();
        println!("{failure:?} {logged}");
    }
    assert_eq!(outcome.failed, 0, "requests failed; {}", scene.log());
}
