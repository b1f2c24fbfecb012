//! Calls of the service without Envoy.

use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::runtime::Runtime;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::service::Service;

/// A caller with a connection of its own.
pub(crate) struct Caller {
    client: RateLimitServiceClient<Channel>,
    runtime: Runtime,
}

impl Caller {
    pub(crate) fn of(service: &Service) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", service.grpc)).unwrap();
        let client = RateLimitServiceClient::new(runtime.block_on(endpoint.connect()).unwrap());
        Self { client, runtime }
    }

    pub(crate) fn ask(&mut self, request: RateLimitRequest) -> Result<RateLimitResponse, Status> {
        self.runtime
            .block_on(self.client.should_rate_limit(request))
            .map(tonic::Response::into_inner)
    }

    /// What is left of the limit of `key=value`; nothing is counted.
    pub(crate) fn remaining(&mut self, domain: &str, entry: &str) -> u32 {
        let mut request = request(domain, &[entry]);
        request.descriptors[0].hits_addend = Some(0);
        self.ask(request).unwrap().statuses[0].limit_remaining
    }
}

/// A request with one descriptor of these `key=value`.
pub(crate) fn request(domain: &str, entries: &[&str]) -> RateLimitRequest {
    let entries = entries.iter().map(|text| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        Entry { key: key.to_owned(), value: value.to_owned() }
    });
    let descriptor =
        RateLimitDescriptor { entries: entries.collect(), ..RateLimitDescriptor::default() };
    RateLimitRequest { domain: domain.to_owned(), descriptors: vec![descriptor], hits_addend: 0 }
}
