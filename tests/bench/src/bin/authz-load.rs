//! Load on `envoy.service.auth.v3.Authorization/Check`. Every answer is verified.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use bench::checks::{Checks, Workload};
use bench::load::{Load, Outcome};
use bench::{policies, process};
use clap::Parser;

/// The load generator for authorization services.
#[derive(Parser)]
enum Args {
    /// Writes the configurations that the workloads need into a folder.
    Configure {
        /// The folder.
        folder: PathBuf,
    },
    /// Asks a server.
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    #[command(flatten)]
    load: Load,
    /// What is asked.
    #[arg(long, value_enum)]
    workload: Workload,
    /// The server has to allow everything: the ceiling.
    #[arg(long)]
    undecided: bool,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    match Args::parse() {
        Args::Configure { folder } => {
            policies::write(&folder)?;
            Ok(ExitCode::SUCCESS)
        }
        Args::Run(run) => {
            let checks = Checks::new(run.workload, run.undecided)?;
            let outcome = run.load.run(checks, &[])?;
            report(&run, &outcome);
            let seen = &outcome.seen;
            let sound = (run.load.tolerant || seen.errors == 0) && seen.latencies.total() > 0;
            Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn report(run: &Run, Outcome { seen, cpu_micros }: &Outcome) {
    let total = seen.latencies.total();
    let rate = total as f64 / run.load.seconds as f64;
    let cpu = cpu_micros.first().copied().flatten().map(|c| c as f64 / total.max(1) as f64);
    let resident = run.load.pid.and_then(|pid| process::resident_kib(pid).ok());
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| seen.latencies.quantile(q));
    if run.json {
        let line = serde_json::json!({
            "checks_per_second": rate, "p50_us": p50, "p99_us": p99, "p999_us": p999,
            "checks": total, "errors": seen.errors, "first_error": seen.first_error,
            "server_cpu_us_per_check": cpu, "server_resident_kib": resident,
        });
        println!("{line}");
        return;
    }
    let cpu = cpu.map_or_else(String::new, |c| format!(", server {c:.1} µs/check"));
    let resident = resident.map_or_else(String::new, |r| format!(" and {} MiB", r / 1024));
    println!(
        "{rate:.0} checks/s, p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs{cpu}{resident}, {} errors",
        seen.errors
    );
    if let Some(error) = &seen.first_error {
        println!("first error: {error}");
    }
}
