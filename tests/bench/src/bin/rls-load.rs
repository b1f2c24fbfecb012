//! Closed-loop unary load on `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`: each of
//! N callers sends its next request when the last one is answered. Every answer is verified.

#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bench::{histogram::Histogram, process};
use bytes::{BufMut as _, Bytes, BytesMut};
use clap::Parser;
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode, Uri};
use prost::Message as _;
use proto::envoy::extensions::common::ratelimit::v3::{
    RateLimitDescriptor, rate_limit_descriptor::Entry,
};
use proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::task::JoinSet;

/// How long answers may take after the end before they count as errors.
const PATIENCE: Duration = Duration::from_secs(5);

/// The load generator for rate limit services.
#[derive(Clone, Parser)]
struct Args {
    /// The server; must be on loopback.
    addr: SocketAddr,
    /// HTTP/2 connections, as many as an Envoy has worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Requests waiting for an answer at any time, over all connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=8192))]
    in_flight: u16,
    /// Measured time, after one second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=900))]
    seconds: u64,
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
    /// The server's process, for its processor time per request.
    #[arg(long)]
    pid: Option<u32>,
    /// The store's process, the same.
    #[arg(long)]
    store_pid: Option<u32>,
    /// Requests a second of all callers together, instead of as many as there can be.
    #[arg(long)]
    rate: Option<u32>,
    /// Go on after a request that failed, and say how many did.
    #[arg(long)]
    tolerant: bool,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What was seen in the measured time.
#[derive(Default)]
struct Seen {
    latencies: Histogram,
    errors: u64,
    first_error: Option<String>,
}

impl Seen {
    fn fail(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// What each answer must be. All limits are far away, so that it is always OK.
#[derive(Clone, Copy)]
struct Expected {
    descriptors: usize,
    limited: bool,
}

impl Expected {
    fn check(self, framed: &[u8]) -> anyhow::Result<()> {
        let message = framed.get(5..).context("no message in the answer")?;
        let answer = RateLimitResponse::decode(message)?;
        ensure!(answer.overall_code() == Code::Ok, "overall code {:?}", answer.overall_code());
        ensure!(answer.statuses.len() == self.descriptors, "{} statuses", answer.statuses.len());
        let met = answer.statuses.iter().all(|s| s.current_limit.is_some());
        ensure!(met || !self.limited, "OK without a limit; did the server load its limits?");
        Ok(())
    }
}

/// One of the callers.
struct Caller {
    sender: SendRequest<Bytes>,
    uri: Uri,
    bodies: Arc<Vec<Bytes>>,
    expected: Expected,
    /// Place of the next body; callers begin at different ones.
    next: usize,
    begin: Instant,
    end: Instant,
    /// Between two requests of this caller, if it has to wait at all.
    pace: Option<Duration>,
    tolerant: bool,
}

impl Caller {
    async fn run(mut self) -> Seen {
        let mut seen = Seen::default();
        let mut turn = Instant::now();
        loop {
            if let Some(pace) = self.pace {
                turn += pace;
                tokio::time::sleep_until(turn.into()).await;
            }
            let sent = Instant::now();
            if sent >= self.end {
                return seen;
            }
            let outcome = self.call().await;
            if let Err(error) = &outcome {
                seen.fail(error); // also in the warm-up: a server that errs is not measured
                if self.tolerant {
                    continue;
                }
                return seen;
            }
            let answered = Instant::now();
            if sent >= self.begin && answered <= self.end {
                let taken = answered.duration_since(sent).as_micros();
                seen.latencies.record(u64::try_from(taken).unwrap_or(u64::MAX));
            }
        }
    }

    async fn call(&mut self) -> anyhow::Result<()> {
        let body = self.bodies.get(self.next % self.bodies.len()).cloned().unwrap_or_default();
        self.next = self.next.wrapping_add(7919); // a prime: all keys in turn, no two callers in step
        let request = Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        stream.send_data(body, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        ensure!(head.status == StatusCode::OK, "HTTP status {}", head.status);
        let status =
            |h: &HeaderMap, n| h.get(n).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let from = if trailers.contains_key("grpc-status") { &trailers } else { &head.headers };
        match status(from, "grpc-status").as_deref() {
            Some("0") => {}
            other => bail!(
                "grpc-status {}: {}",
                other.unwrap_or("missing"),
                status(from, "grpc-message").unwrap_or_default()
            ),
        }
        self.expected.check(&message)
    }
}

/// A request with its gRPC frame head.
fn body(name: &str, key: u32, descriptors: u16) -> Bytes {
    let descriptor = |n: u16| {
        let value = if n == 0 { format!("v{key}") } else { format!("v{key}-{n}") };
        let entries = vec![Entry { key: name.to_owned(), value }];
        RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }
    };
    let request = RateLimitRequest {
        domain: "bench".to_owned(),
        descriptors: (0..descriptors).map(descriptor).collect(),
        hits_addend: 0,
    };
    let message = request.encode_to_vec();
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0); // not compressed
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

async fn connect(addr: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = tokio::net::TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .handshake(stream)
        .await?;
    // Its errors are those of the requests on it.
    tokio::spawn(connection);
    Ok(sender)
}

/// Runs the load; the processor time of server and store in the measured time comes back beside it.
async fn run(args: &Args) -> anyhow::Result<(Seen, [Option<u64>; 2])> {
    let uri =
        format!("http://{}/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", args.addr);
    let uri: Uri = uri.parse()?;
    let bodies: Arc<Vec<Bytes>> =
        Arc::new((0..args.keys).map(|k| body(&args.key, k, args.descriptors)).collect());
    let mut senders = Vec::new();
    for _ in 0..args.connections {
        senders
            .push(connect(args.addr).await.with_context(|| format!("no HTTP/2 at {}", args.addr))?);
    }
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(args.seconds);
    let mut callers = JoinSet::new();
    for (place, sender) in (0..usize::from(args.in_flight)).zip(senders.iter().cycle()) {
        let caller = Caller {
            sender: sender.clone(),
            uri: uri.clone(),
            bodies: bodies.clone(),
            expected: Expected { descriptors: args.descriptors.into(), limited: args.limited },
            next: place * 131,
            begin,
            end,
            pace: args
                .rate
                .map(|rate| Duration::from_secs(1) * u32::from(args.in_flight) / rate.max(1)),
            tolerant: args.tolerant,
        };
        callers.spawn(caller.run());
    }
    let mut marks = Vec::new();
    for moment in [begin, end] {
        tokio::time::sleep_until(moment.into()).await;
        let micros = |pid: u32| {
            process::cpu_micros(pid).with_context(|| format!("the process {pid} is gone"))
        };
        marks.push([args.pid.map(micros).transpose()?, args.store_pid.map(micros).transpose()?]);
    }
    let cpu = [0, 1].map(|i| match marks.as_slice() {
        [before, after] => Some(after[i]?.saturating_sub(before[i]?)),
        _ => None,
    });
    Ok((collect(callers, end + PATIENCE).await, cpu))
}

async fn collect(mut callers: JoinSet<Seen>, until: Instant) -> Seen {
    let mut seen = Seen::default();
    loop {
        match tokio::time::timeout_at(until.into(), callers.join_next()).await {
            Ok(Some(Ok(one))) => seen.add(one),
            Ok(Some(Err(error))) => seen.fail(&error.into()),
            Ok(None) => return seen,
            Err(_) => {
                let late = callers.len();
                seen.fail(&anyhow::anyhow!("{late} requests without an answer for {PATIENCE:?}"));
                return seen;
            }
        }
    }
}

fn report(args: &Args, seen: &Seen, cpu_micros: [Option<u64>; 2]) {
    let total = seen.latencies.total();
    let rate = total as f64 / args.seconds as f64;
    let [cpu, store_cpu] = cpu_micros.map(|c| Some(c? as f64 / total.max(1) as f64));
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
    ensure!(
        args.addr.ip().is_loopback(),
        "{} is not on loopback; this load is for servers of your own",
        args.addr
    );
    // One thread: it takes at most one core, so that the server has the others.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (seen, cpu) = runtime.block_on(run(&args))?;
    report(&args, &seen, cpu);
    let sound = (args.tolerant || seen.errors == 0) && seen.latencies.total() > 0;
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
        let framed = [vec![0; 5], answer.encode_to_vec()].concat();
        let expected = Expected { descriptors: 2, limited };
        expected.check(&framed).map_err(|e| e.to_string())
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
        assert!(Expected { descriptors: 0, limited: false }.check(&[0; 4]).is_err());
    }
}
