//! A ratelimit-svc under test, asked as Envoy asks it.

use std::net::SocketAddr;

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{IntoRequest, Response, Status};

use crate::http;
use crate::process::{Process, program};
use crate::{TempDir, free_addr};

/// A running service; its counters are in memory unless a variable says otherwise.
#[derive(Debug)]
pub struct Limiter {
    /// The program.
    pub process: Process,
    /// Where Envoy would ask.
    pub grpc: SocketAddr,
    /// `/json` and `/healthcheck`.
    pub http: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    runtime: Runtime,
    client: Option<RateLimitServiceClient<Channel>>,
}

impl Limiter {
    /// Starts it with variables, as a container is started, and waits until its admin port is open.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_with(&[], variables)
    }

    /// As [`Self::start`], with more arguments.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let [grpc, http, admin] = std::array::from_fn(|_| free_addr());
        let [grpc_text, http_text, admin_text] = [grpc, http, admin].map(|a| a.to_string());
        let mut all = vec!["--grpc-addr", &grpc_text, "--http-addr", &http_text];
        all.extend(["--admin-addr", &admin_text]);
        all.extend(arguments);
        let mut process = Process::start(&program("ratelimit-svc"), &all, variables);
        process.wait("listening for admin", |_| http::get(admin, "/healthz").is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { process, grpc, http, admin, runtime, client: None }
    }

    /// With the files of `folder`; waits until it is ready.
    pub fn start_ready(folder: &TempDir, variables: &[(&str, &str)]) -> Self {
        // A busy machine must not look like a Redis that hangs; what the test says goes before.
        let variables = [&[("REDIS_TIMEOUT", "5s")], variables].concat();
        let path = folder.path().display().to_string();
        let mut this = Self::start_with(&["--config", &path], &variables);
        this.process.wait_ready(this.admin);
        this
    }

    /// Makes one call.
    ///
    /// # Errors
    /// What the service answers instead, or that it is not there.
    pub fn call(
        &mut self,
        request: impl IntoRequest<RateLimitRequest>,
    ) -> Result<RateLimitResponse, Status> {
        if self.client.is_none() {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
            let channel = self.runtime.block_on(endpoint.connect());
            let channel = channel.map_err(|e| Status::unavailable(e.to_string()))?;
            self.client = Some(RateLimitServiceClient::new(channel));
        }
        let call = self.client.as_mut().unwrap().should_rate_limit(request);
        self.runtime.block_on(call).map(Response::into_inner)
    }

    /// Ends it, with its log; what it has not sent yet, it sends now.
    ///
    /// # Panics
    /// When it fails.
    pub fn end(self) -> String {
        let Self { mut process, client, runtime, .. } = self;
        // An open connection holds up the end.
        drop((client, runtime));
        process.terminate();
        assert!(process.wait_end().success(), "{}", process.log());
        process.log()
    }

    /// Asks once for `key` with any value.
    ///
    /// # Errors
    /// What the service answers instead, or that it is not there.
    pub fn ask(&mut self, domain: &str, key: &str) -> Result<Option<u32>, Status> {
        let entry = Entry { key: key.to_owned(), value: "v".to_owned() };
        let descriptor = RateLimitDescriptor { entries: vec![entry], ..Default::default() };
        let request = RateLimitRequest {
            domain: domain.to_owned(),
            descriptors: vec![descriptor],
            ..RateLimitRequest::default()
        };
        let response = self.call(request)?;
        let limit = response.statuses.first().and_then(|status| status.current_limit.as_ref());
        Ok(limit.map(|limit| limit.requests_per_unit))
    }

    /// The limit that `key` meets; none without one.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn limit(&mut self, domain: &str, key: &str) -> Option<u32> {
        self.ask(domain, key).unwrap_or_else(|e| panic!("{e}\n{}", self.process.log()))
    }

    /// Waits until `key` meets this limit.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_limit(&mut self, domain: &str, key: &str, wanted: Option<u32>) {
        let end = std::time::Instant::now() + crate::process::PATIENCE;
        while self.ask(domain, key).ok() != Some(wanted) {
            let log = self.process.log();
            assert!(std::time::Instant::now() < end, "{key} is not at {wanted:?}:\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// The value of the series that begins so at `/metrics`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = http::get(self.admin, "/metrics").unwrap().body;
        let line = text.lines().find_map(|line| line.strip_prefix(series).map(str::to_owned));
        line.and_then(|value| value.trim().parse().ok())
    }
}
