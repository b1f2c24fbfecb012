//! A ratelimit-svc of its own, with a clock that the test sets.

use std::net::SocketAddr;

use e2e::clock::Clock;
use e2e::http;
use e2e::process::{Process, program};
use e2e::redis::Redis;
use e2e::{TempDir, free_addr};

/// The start of a day, hour and minute.
pub(crate) const START: u64 = 1_893_456_000;

pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) folder: TempDir,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    clock: Clock,
    _redis: Option<Redis>,
}

/// Where counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    Redis,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Redis];
}

impl Service {
    /// With these files and variables, at [`START`]; counters are in memory.
    pub(crate) fn start(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        Self::start_with(Store::Memory, files, variables)
    }

    pub(crate) fn start_with(
        store: Store,
        files: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let redis = (store == Store::Redis).then(Redis::start);
        let url = redis.as_ref().map(|r| format!("redis://127.0.0.1:{}", r.port));
        let folder = TempDir::new("ratelimit");
        for (name, text) in files {
            folder.write(name, text);
        }
        let clock = Clock::at(START);
        let (grpc, http, admin) = (free_addr(), free_addr(), free_addr());
        let own = clock.environment();
        let mut environment: Vec<(&str, &str)> =
            own.iter().map(|(k, v)| (*k, v.as_str())).collect();
        environment.extend_from_slice(variables);
        if let Some(url) = &url {
            // A busy machine must not look like a Redis that hangs.
            environment.extend([("REDIS_URL", url.as_str()), ("REDIS_TIMEOUT", "10s")]);
        }
        let arguments = [
            "--config",
            folder.path().to_str().unwrap(),
            "--grpc-addr",
            &grpc.to_string(),
            "--http-addr",
            &http.to_string(),
            "--admin-addr",
            &admin.to_string(),
        ];
        let mut process = Process::start(&program("ratelimit-svc"), &arguments, &environment);
        process.wait_ready(admin);
        Self { process, folder, grpc, http, admin, clock, _redis: redis }
    }

    /// Sets its clock, in seconds after [`START`].
    pub(crate) fn at(&self, seconds: u64) {
        self.clock.set(START + seconds);
    }

    /// The number at the end of a line of `/metrics`.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        let text = http::get(self.admin, "/metrics").unwrap().body;
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no metric {line} in:\n{text}")).parse().unwrap()
    }

    /// Requests that were answered OK or OVER_LIMIT.
    pub(crate) fn answered(&self) -> f64 {
        ["ok", "over_limit"]
            .map(|outcome| {
                self.metric(&format!("ratelimit_requests_total{{outcome=\"{outcome}\"}}"))
            })
            .iter()
            .sum()
    }

    /// Memory in use, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("the service is gone:\n{}", self.process.log()))
    }
}
