//! Load on `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`. Every answer is verified.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::ensure;
use bench::load::{Calls, Load, Outcome, framed};
use bytes::Bytes;
use clap::Parser;
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::{
    RateLimitDescriptor, rate_limit_descriptor::Entry,
};
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};

/// The load generator for rate limit services.
#[derive(Clone, Parser)]
struct Args {
    #[command(flatten)]
    load: Load,
    /// Different values of the descriptor key `k`.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// The descriptor key.
    #[arg(long, default_value = "k")]
    key: String,
    /// Descriptors in each request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    descriptors: u16,
    /// Each status must name the limit that it met: a service that limits nothing is fast, too.
    #[arg(long)]
    limited: bool,
    /// The store's process, for its processor time per request.
    #[arg(long)]
    store_pid: Option<u32>,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What each answer must be. All limits are far away, so that it is always OK.
#[derive(Clone, Copy)]
struct Expected {
    descriptors: usize,
    limited: bool,
}

impl Expected {
    fn check(self, message: &[u8]) -> anyhow::Result<()> {
        let answer = RateLimitResponse::decode(message)?;
        ensure!(answer.overall_code() == Code::Ok, "overall code {:?}", answer.overall_code());
        ensure!(answer.statuses.len() == self.descriptors, "{} statuses", answer.statuses.len());
        let met = answer.statuses.iter().all(|s| s.current_limit.is_some());
        ensure!(met || !self.limited, "OK without a limit; did the server load its limits?");
        Ok(())
    }
}

/// The requests, one for each key.
struct Hits {
    bodies: Vec<Bytes>,
    expected: Expected,
}

impl Calls for Hits {
    const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

    fn request(&self, turn: usize) -> Bytes {
        self.bodies.get(turn % self.bodies.len()).cloned().unwrap_or_default()
    }

    fn check(&self, _: usize, message: &[u8]) -> anyhow::Result<()> {
        self.expected.check(message)
    }
}

/// A request with its gRPC frame head.
fn body(name: &str, key: u32, descriptors: u16) -> Bytes {
    let descriptor = |n: u16| {
        let value = if n == 0 { format!("v{key}") } else { format!("v{key}-{n}") };
        let entries = vec![Entry { key: name.to_owned(), value }];
        RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }
    };
    framed(&RateLimitRequest {
        domain: "bench".to_owned(),
        descriptors: (0..descriptors).map(descriptor).collect(),
        hits_addend: 0,
    })
}

fn report(args: &Args, Outcome { seen, cpu_micros }: &Outcome) {
    let total = seen.latencies.total();
    let rate = total as f64 / args.load.seconds as f64;
    let each = |of: usize| {
        let micros = cpu_micros.get(of).copied().flatten()?;
        Some(micros as f64 / total.max(1) as f64)
    };
    let (cpu, store_cpu) = (each(0), each(1));
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| seen.latencies.quantile(q));
    if args.json {
        let line = serde_json::json!({
            "requests_per_second": rate, "p50_us": p50, "p99_us": p99, "p999_us": p999,
            "requests": total, "errors": seen.errors, "first_error": seen.first_error,
            "server_cpu_us_per_request": cpu, "store_cpu_us_per_request": store_cpu,
        });
        println!("{line}");
        return;
    }
    let cpu = cpu.map_or_else(String::new, |c| format!(", server {c:.1} µs/request"));
    println!(
        "{rate:.0} requests/s, p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs{cpu}, {} errors",
        seen.errors
    );
    if let Some(error) = &seen.first_error {
        println!("first error: {error}");
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let hits = Hits {
        bodies: (0..args.keys).map(|k| body(&args.key, k, args.descriptors)).collect(),
        expected: Expected { descriptors: args.descriptors.into(), limited: args.limited },
    };
    let outcome = args.load.run(hits, &[args.store_pid])?;
    report(&args, &outcome);
    let seen = &outcome.seen;
    let sound = (args.load.tolerant || seen.errors == 0) && seen.latencies.total() > 0;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use proto::envoy::service::ratelimit::v3::rate_limit_response::{DescriptorStatus, RateLimit};

    use super::*;

    fn checked(limited: bool, code: Code, statuses: &[Option<RateLimit>]) -> Result<(), String> {
        let statuses = statuses.iter().cloned().map(|current_limit| DescriptorStatus {
            code: Code::Ok.into(),
            current_limit,
            ..DescriptorStatus::default()
        });
        let answer = RateLimitResponse {
            overall_code: code.into(),
            statuses: statuses.collect(),
            ..RateLimitResponse::default()
        };
        let expected = Expected { descriptors: 2, limited };
        expected.check(&answer.encode_to_vec()).map_err(|e| e.to_string())
    }

    #[test]
    fn an_answer_is_sound_only_when_it_is_ok_whole_and_limited() {
        let met = Some(RateLimit::default());
        assert_eq!(checked(true, Code::Ok, &[met.clone(), met.clone()]), Ok(()));
        assert_eq!(checked(false, Code::Ok, &[None, None]), Ok(()));
        let cases = [
            (checked(true, Code::Ok, &[met.clone(), None]), "without a limit"),
            (checked(false, Code::OverLimit, &[met.clone(), met.clone()]), "OverLimit"),
            (checked(false, Code::Ok, &[met]), "1 statuses"),
        ];
        for (outcome, why) in cases {
            assert!(outcome.as_ref().is_err_and(|e| e.contains(why)), "{outcome:?} for {why}");
        }
        assert!(Expected { descriptors: 1, limited: false }.check(&[]).is_err());
    }
}
