//! From a file change to an answer by the new limit: a real ratelimit-svc with many limits in many
//! files, of which one changes.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // a benchmark that cannot go on says so by failing

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bench::process::resident_kib;
use clap::Parser;
use e2e::TempDir;
use e2e::limiter::Limiter;

/// The service waits for this long without another change; it is part of what is measured.
const QUIET: Duration = Duration::from_millis(20);

/// Times a change of one file among many.
#[derive(Parser)]
struct Args {
    /// How many files.
    #[arg(long, default_value_t = 1_000)]
    files: usize,
    /// Limits in each.
    #[arg(long, default_value_t = 10)]
    limits: usize,
    /// Changes that are timed.
    #[arg(long, default_value_t = 30)]
    changes: u32,
}

fn main() {
    let args = Args::parse();
    let folder = TempDir::new("bench-reload");
    for file in 0..args.files {
        folder.write(&format!("{file}.yaml"), &text(file, args.limits, 1));
    }
    let begin = Instant::now();
    let path = folder.path().display().to_string();
    let mut service = Limiter::start_with(&["--config", &path], &[("USE_STATSD", "false")]);
    let last = format!("d{}", args.files - 1);
    service.wait_limit(&last, "k0", Some(1));
    println!(
        "{} files of {} limits; first answer after {:?}",
        args.files,
        args.limits,
        begin.elapsed()
    );
    let mut taken = Vec::new();
    for change in 2..2 + args.changes {
        folder
            .write(&format!("{}.yaml", args.files - 1), &text(args.files - 1, args.limits, change));
        let begin = Instant::now();
        while service.limit(&last, "k0") != Some(change) {}
        taken.push(begin.elapsed().saturating_sub(QUIET));
        std::thread::sleep(Duration::from_millis(100));
    }
    taken.sort();
    let [median, worst] = [taken[taken.len() / 2], taken[taken.len() - 1]];
    println!(
        "one file changes: in force after {QUIET:?} of quiet and {median:.1?} (worst {worst:.1?})"
    );
    println!("resident: {} MiB", resident_kib(service.process.id()).unwrap() / 1024);
}

fn text(file: usize, limits: usize, requests: u32) -> String {
    let mut text = format!("domain: d{file}\ndescriptors:\n");
    for limit in 0..limits {
        let _ = write!(
            text,
            "- key: k{limit}\n  value: \"\"\n  rate_limit:\n    unit: day\n    requests_per_unit: {requests}\n"
        );
    }
    text
}
