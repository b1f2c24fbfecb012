//! A ratelimit-svc of its own, with a clock that the test sets.

use std::net::SocketAddr;

use e2e::TempDir;
use e2e::clock::Clock;
use e2e::http;
use e2e::limiter::Limiter;
use e2e::process::{self, Process};
use e2e::redis::Redis;

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
        let own = clock.environment();
        let mut environment: Vec<(&str, &str)> =
            own.iter().map(|(k, v)| (*k, v.as_str())).collect();
        environment.extend_from_slice(variables);
        if let Some(url) = &url {
            environment.push(("REDIS_URL", url.as_str()));
        }
        let Limiter { process, grpc, http, admin, .. } =
            Limiter::start_ready(&folder, &environment);
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
        let number = process::resident_kib(self.process.id());
        number.unwrap_or_else(|_| panic!("the service is gone:\n{}", self.process.log()))
    }
}
