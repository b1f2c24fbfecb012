//! Closed-loop load of unary gRPC calls in clear text on HTTP/2: each of N callers sends its next
//! request when the last one is answered. Every answer is verified. It does not know what is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode, Uri};
use prost::Message;
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::process;

/// How long answers may take after the end before they count as errors.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked, and what has to be answered.
pub trait Calls: Send + Sync + 'static {
    /// As in `/package.Service/Method`.
    const PATH: &str;

    /// The request of a turn, as [`framed`]; turns are any numbers.
    fn request(&self, turn: usize) -> Bytes;

    /// Holds the answer of a turn, a message without gRPC's head, against what it must be.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, turn: usize, message: &[u8]) -> anyhow::Result<()>;
}

/// How much load there is; options of all load generators.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// The server; must be on loopback.
    pub addr: SocketAddr,
    /// HTTP/2 connections, as many as an Envoy has worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,
    /// Requests waiting for an answer at any time, over all connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=8192))]
    pub in_flight: u16,
    /// Measured time, after one second of warm-up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=900))]
    pub seconds: u64,
    /// Requests a second of all callers together, instead of as many as there can be.
    #[arg(long)]
    pub rate: Option<u32>,
    /// Go on after a request that failed, and say how many did.
    #[arg(long)]
    pub tolerant: bool,
    /// The server's process, for its processor time per request.
    #[arg(long)]
    pub pid: Option<u32>,
}

/// What was seen in the measured time.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of requests that were sent and answered in the measured time.
    pub latencies: Histogram,
    /// Requests that failed, those of the warm-up too: a server that errs is not measured.
    pub errors: u64,
    /// Why the first of them did.
    pub first_error: Option<String>,
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

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// The requests.
    pub seen: Seen,
    /// Processor time in the measured time, in microseconds: of the server, and of each other
    /// process that was asked for, in that order.
    pub cpu_micros: Vec<Option<u64>>,
}

impl Load {
    /// Makes the load on one thread: it takes at most one core, so that the server has the others.
    ///
    /// # Errors
    /// When the server is not on loopback or cannot be reached, or a process is gone.
    pub fn run(&self, calls: impl Calls, others: &[Option<u32>]) -> anyhow::Result<Outcome> {
        ensure!(
            self.addr.ip().is_loopback(),
            "{} is not on loopback; this load is for servers of your own",
            self.addr
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.make(Arc::new(calls), others))
    }

    async fn make<C: Calls>(
        &self,
        calls: Arc<C>,
        others: &[Option<u32>],
    ) -> anyhow::Result<Outcome> {
        let uri: Uri = format!("http://{}{}", self.addr, C::PATH).parse()?;
        let mut senders = Vec::new();
        for _ in 0..self.connections {
            let sender = connect(self.addr).await;
            senders.push(sender.with_context(|| format!("no HTTP/2 at {}", self.addr))?);
        }
        let begin = Instant::now() + Duration::from_secs(1);
        let end = begin + Duration::from_secs(self.seconds);
        let pace = |rate: u32| Duration::from_secs(1) * u32::from(self.in_flight) / rate.max(1);
        let mut callers = JoinSet::new();
        for (place, sender) in (0..usize::from(self.in_flight)).zip(senders.iter().cycle()) {
            let caller = Caller {
                sender: sender.clone(),
                uri: uri.clone(),
                calls: calls.clone(),
                turn: place * 131,
                begin,
                end,
                pace: self.rate.map(pace),
                tolerant: self.tolerant,
            };
            callers.spawn(caller.run());
        }
        let pids: Vec<Option<u32>> = [self.pid].iter().chain(others).copied().collect();
        let mut marks = Vec::new();
        for moment in [begin, end] {
            tokio::time::sleep_until(moment.into()).await;
            let micros = |pid: u32| {
                process::cpu_micros(pid).with_context(|| format!("the process {pid} is gone"))
            };
            let times: anyhow::Result<Vec<_>> =
                pids.iter().map(|pid| pid.map(micros).transpose()).collect();
            marks.push(times?);
        }
        let after = marks.pop().unwrap_or_default();
        let before = marks.pop().unwrap_or_default();
        let spent = |(b, a): (Option<u64>, Option<u64>)| Some(a?.saturating_sub(b?));
        let cpu_micros = before.into_iter().zip(after).map(spent).collect();
        Ok(Outcome { seen: collect(callers, end + PATIENCE).await, cpu_micros })
    }
}

/// One of the callers.
struct Caller<C> {
    sender: SendRequest<Bytes>,
    uri: Uri,
    calls: Arc<C>,
    /// Callers begin at different ones.
    turn: usize,
    begin: Instant,
    end: Instant,
    /// Between two requests of this caller, if it has to wait at all.
    pace: Option<Duration>,
    tolerant: bool,
}

impl<C: Calls> Caller<C> {
    async fn run(mut self) -> Seen {
        let mut seen = Seen::default();
        let mut due = Instant::now();
        loop {
            if let Some(pace) = self.pace {
                due += pace;
                tokio::time::sleep_until(due.into()).await;
            }
            let sent = Instant::now();
            if sent >= self.end {
                return seen;
            }
            let outcome = self.call().await;
            if let Err(error) = &outcome {
                seen.fail(error);
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
        let turn = self.turn;
        self.turn = turn.wrapping_add(7919); // a prime: all requests in turn, no two callers in step
        let request = Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        stream.send_data(self.calls.request(turn), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        ensure!(head.status == StatusCode::OK, "HTTP status {}", head.status);
        check_status(if trailers.contains_key("grpc-status") { &trailers } else { &head.headers })?;
        self.calls.check(turn, message.get(5..).context("no message in the answer")?)
    }
}

fn check_status(from: &HeaderMap) -> anyhow::Result<()> {
    let text = |n| from.get(n).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        other => bail!(
            "grpc-status {}: {}",
            other.unwrap_or("missing"),
            text("grpc-message").unwrap_or_default()
        ),
    }
}

/// A message with its gRPC frame head.
pub fn framed(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut framed = BytesMut::with_capacity(len + 5);
    framed.put_u8(0); // not compressed
    framed.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode_raw(&mut framed);
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
