//! A steady load of requests of several kinds, of which each has answers that are right.
//!
//! Each kind has a thread of its own. Connections are kept for some requests, as clients do, so
//! that connections of before a change meet the configuration of after it.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;
use crate::tls::{Client, Stream};

/// Requests of one connection.
const PER_CONNECTION: u32 = 40;
/// Right answers in a row after which a change is believed to be in force.
const STREAK: u32 = 4;
/// Most failures that are kept.
const KEPT: usize = 200;

/// What of an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The backend's name.
    Backend,
    /// The path that the backend saw.
    Path,
    /// The serial number of the server's certificate.
    Certificate,
}

/// A kind of request.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its name.
    pub name: &'static str,
    /// Where it goes.
    pub addr: SocketAddr,
    /// The `host` header, and the name in TLS.
    pub host: String,
    /// The path.
    pub path: String,
    /// More headers.
    pub headers: Vec<(String, String)>,
    /// Whether it is made over TLS, with a connection for each request.
    pub tls: bool,
    /// What of the answer counts; a status that is not 200 counts before it.
    pub word: Word,
    /// The first right answers; none: it is not sent before a change says so.
    pub answers: Vec<String>,
}

/// The answers that are right after a change, by the name of the probe.
pub type Answers = Vec<(&'static str, Vec<String>)>;

/// A wrong answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The request's number, as in its header `x-probe`.
    pub number: u64,
    /// Which probe.
    pub probe: &'static str,
    /// Since the start of the load.
    pub at: Duration,
    /// The last changes before it.
    pub step: String,
    /// What came.
    pub got: String,
}

/// What came of a load.
#[derive(Debug)]
pub struct Outcome {
    /// Requests that were answered, rightly or not.
    pub requests: u64,
    /// Requests that were sent again on a new connection, because the kept one was closed before a
    /// byte of the answer came, as any client does.
    pub repeated: u64,
    /// Wrong answers, and none.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
}

#[derive(Debug, Default)]
struct Expected {
    right: BTreeSet<String>,
    next: Option<BTreeSet<String>>,
    streak: u32,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    stop: AtomicBool,
    numbers: AtomicU64,
    requests: AtomicU64,
    repeated: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    step: Mutex<String>,
}

/// A running load; [`Self::end`] tells what came of it.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    probes: Vec<(&'static str, Arc<Mutex<Expected>>)>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts a thread for each of `probes`, which waits for `pause` between requests.
    pub fn start(probes: Vec<Probe>, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            stop: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failures: Mutex::default(),
            step: Mutex::default(),
        });
        let mut load = Self { shared, probes: Vec::new(), threads: Vec::new() };
        for probe in probes {
            let right = probe.answers.iter().cloned().collect();
            let expected = Arc::new(Mutex::new(Expected { right, next: None, streak: 0 }));
            load.probes.push((probe.name, expected.clone()));
            let mut caller =
                Caller { probe, expected, shared: load.shared.clone(), kept: None, used: 0 };
            load.threads.push(std::thread::spawn(move || {
                while !caller.shared.stop.load(Ordering::Relaxed) {
                    caller.turn();
                    std::thread::sleep(pause);
                }
            }));
        }
        load
    }

    fn expected(&self, name: &str) -> &Mutex<Expected> {
        let found = self.probes.iter().find(|(n, _)| *n == name);
        &found.unwrap_or_else(|| panic!("there is no probe {name}")).1
    }

    /// From now on these answers are right, too.
    pub fn begin(&self, answers: &Answers) {
        for (name, words) in answers {
            let mut expected = self.expected(name).lock().unwrap();
            if words.is_empty() {
                expected.right.clear();
            }
            expected.next = Some(words.iter().cloned().collect());
            expected.streak = 0;
        }
    }

    /// The same for a change of this name, which failures will tell.
    pub fn begin_step(&self, step: &str, answers: &Answers) {
        let mut steps = self.shared.step.lock().unwrap();
        let kept: Vec<&str> = steps.split(", ").filter(|s| !s.is_empty()).collect();
        let kept = kept.get(kept.len().saturating_sub(3)..).unwrap_or_default().join(", ");
        *steps = if kept.is_empty() { step.to_owned() } else { format!("{kept}, {step}") };
        drop(steps);
        self.begin(answers);
    }

    /// A probe that was not yet answered in the new way several times in a row.
    pub fn unsettled(&self, answers: &Answers) -> Option<&'static str> {
        let waits = |(name, words): &&(&'static str, Vec<String>)| {
            !words.is_empty() && self.expected(name).lock().unwrap().streak < STREAK
        };
        answers.iter().find(waits).map(|(name, _)| *name)
    }

    /// From now on only these answers are right.
    pub fn finish(&self, answers: &Answers) {
        for (name, _) in answers {
            let mut expected = self.expected(name).lock().unwrap();
            if let Some(next) = expected.next.take() {
                expected.right = next;
            }
        }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Failures so far.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn end(self) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        Outcome {
            requests: self.shared.requests.load(Ordering::Relaxed),
            repeated: self.shared.repeated.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            failures: std::mem::take(&mut *self.shared.failures.lock().unwrap()),
        }
    }
}

struct Caller {
    probe: Probe,
    expected: Arc<Mutex<Expected>>,
    shared: Arc<Shared>,
    kept: Option<TcpStream>,
    used: u32,
}

impl Caller {
    fn turn(&mut self) {
        let may: BTreeSet<String> = {
            let expected = self.expected.lock().unwrap();
            let next = expected.next.iter().flatten();
            expected.right.iter().chain(next).cloned().collect()
        };
        if may.is_empty() {
            return;
        }
        let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
        let step = self.shared.step.lock().unwrap().clone();
        let got = self.ask(number).unwrap_or_else(|e| format!("no answer: {e}"));
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let mut expected = self.expected.lock().unwrap();
        let is_new = expected.next.as_ref().is_some_and(|next| next.contains(&got));
        expected.streak = if is_new { expected.streak + 1 } else { 0 };
        // One that was not there before the change may not be there yet.
        let begins = expected.right.is_empty();
        if may.contains(&got) || is_new || expected.right.contains(&got) || begins {
            return;
        }
        drop(expected);
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.shared.failures.lock().unwrap();
        if failures.len() < KEPT {
            let at = self.shared.start.elapsed();
            failures.push(Failure { number, probe: self.probe.name, at, step, got });
        }
    }

    fn ask(&mut self, number: u64) -> io::Result<String> {
        if self.probe.tls {
            let client =
                Client { server_name: Some(self.probe.host.as_str()), ..Client::default() };
            let mut connection = client.connect(http::connect(self.probe.addr)?)?;
            let serial = connection.serial.to_string();
            let (status, body, _) = self.exchange(&mut connection.stream, number)?;
            return Ok(self.word(status, &body, &serial));
        }
        let kept = self.kept.take_if(|_| self.used < PER_CONNECTION);
        if let Some(mut stream) = kept {
            match self.exchange(&mut stream, number) {
                Ok((status, body, goes_on)) => {
                    self.keep(stream, goes_on);
                    return Ok(self.word(status, &body, ""));
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {
                    self.shared.repeated.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) => return Err(e),
            }
        }
        let mut stream = http::connect(self.probe.addr)?;
        stream.set_nodelay(true)?;
        self.used = 0;
        let (status, body, goes_on) = self.exchange(&mut stream, number)?;
        self.keep(stream, goes_on);
        Ok(self.word(status, &body, ""))
    }

    fn keep(&mut self, stream: TcpStream, goes_on: bool) {
        self.used += 1;
        self.kept = goes_on.then_some(stream);
    }

    fn word(&self, status: u16, body: &str, serial: &str) -> String {
        if status != 200 {
            return status.to_string();
        }
        let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        match self.probe.word {
            Word::Backend => json["backend"].as_str().unwrap_or("?").to_owned(),
            Word::Path => json["path"].as_str().unwrap_or("?").to_owned(),
            Word::Certificate => serial.to_owned(),
        }
    }

    /// Status, body, and whether the connection goes on. `ConnectionAborted` is an end before the
    /// first byte of an answer.
    fn exchange(&self, stream: &mut dyn Stream, number: u64) -> io::Result<(u16, String, bool)> {
        let Probe { path, host, headers, .. } = &self.probe;
        let mut text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nx-probe: {number}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let aborted = |e: io::Error| match e.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                io::Error::new(io::ErrorKind::ConnectionAborted, e)
            }
            _ => e,
        };
        stream.write_all(text.as_bytes()).map_err(aborted)?;
        stream.flush()?;
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let before = bytes.len();
            let more = read(stream, &mut bytes);
            match more {
                Ok(0) if before == 0 => return Err(io::ErrorKind::ConnectionAborted.into()),
                Err(e) if before == 0 => return Err(aborted(e)),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) => return Err(e),
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let of = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status line"))?;
        let chunked = of("transfer-encoding:").is_some();
        let length: usize = of("content-length:").and_then(|l| l.parse().ok()).unwrap_or(0);
        let goes_on = of("connection:") != Some("close");
        let is_whole = |bytes: &[u8]| {
            if chunked { bytes.ends_with(b"0\r\n\r\n") } else { bytes.len() >= head + length }
        };
        while !is_whole(&bytes) {
            if read(stream, &mut bytes)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut body = String::from_utf8_lossy(&bytes[head..]).into_owned();
        if chunked && let Some((begin, end)) = body.find('{').zip(body.rfind('}')) {
            // The backends' answers are one chunk of JSON.
            body = body[begin..=end].to_owned();
        }
        Ok((status, body, goes_on))
    }
}

fn read(stream: &mut dyn Stream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 8192];
    let count = stream.read(&mut buffer)?;
    bytes.extend_from_slice(&buffer[..count]);
    Ok(count)
}
