//! A control plane of envoyproxy/ratelimit's kind: ADS, state of the world. The test says each
//! response and sees each request.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::ratelimit::config::ratelimit::v3::{
    RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitUnit,
};
use service_kit::server::admin::Readiness;
use service_kit::server::grpc::{self, Drain};
use service_kit::server::shutdown::Shutdown;
use service_kit::server::tls::{Clients, Tls};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::process::PATIENCE;

/// The type of its resources.
pub const TYPE_URL: &str = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig";

/// A running control plane; all its connections break when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    streams: mpsc::Receiver<(MetadataMap, Streaming<DiscoveryRequest>, Responses)>,
    runtime: Option<Runtime>,
}

type Responses = mpsc::Sender<Result<DiscoveryResponse, Status>>;

impl ControlPlane {
    /// Listens at `addr`; with a folder of tls.crt, tls.key and ca.crt over TLS, and clients need a
    /// certificate of the CA. A stream without `header` (name, value) is refused.
    pub fn start(
        addr: SocketAddr,
        tls: Option<&Path>,
        header: Option<(&'static str, &'static str)>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (sender, streams) = mpsc::channel(8);
        let service = AggregatedDiscoveryServiceServer::new(Ads { streams: sender, header });
        let listener = runtime.block_on(TcpListener::bind(addr)).unwrap();
        let _guard = runtime.enter();
        let tls = tls.map(|folder| Tls::open(folder, Clients::Require).unwrap());
        let (shutdown, trigger) = Shutdown::manual();
        let ready = Readiness::new(&[]);
        let drain = Drain { delay: Duration::ZERO, timeout: Duration::ZERO };
        runtime.spawn(async move {
            // It ends with the runtime.
            let _trigger = trigger;
            grpc::serve(listener, tls, Routes::new(service), &[], ready, drain, shutdown).await;
        });
        Self { streams, runtime: Some(runtime) }
    }

    /// The next stream that is opened.
    pub fn stream(&mut self) -> Stream<'_> {
        let runtime = self.runtime.as_ref().unwrap();
        let next = runtime.block_on(async { timeout(PATIENCE, self.streams.recv()).await });
        let (headers, requests, responses) = next.expect("no stream is opened").unwrap();
        Stream { headers, requests, responses, runtime }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One stream of the client; ends when dropped.
#[derive(Debug)]
pub struct Stream<'p> {
    /// What the call brought.
    pub headers: MetadataMap,
    requests: Streaming<DiscoveryRequest>,
    responses: Responses,
    runtime: &'p Runtime,
}

impl Stream<'_> {
    /// The next request.
    pub fn request(&mut self) -> DiscoveryRequest {
        let next = async { timeout(PATIENCE, self.requests.message()).await };
        self.runtime.block_on(next).expect("no request comes").unwrap().expect("the stream ended")
    }

    /// Sends all there is, and gives the answer.
    pub fn send(&mut self, version: &str, resources: &[RateLimitConfig]) -> DiscoveryRequest {
        self.send_only(version, resources);
        self.request()
    }

    /// Sends all there is.
    pub fn send_only(&mut self, version: &str, resources: &[RateLimitConfig]) {
        let any = |message: &RateLimitConfig| Any {
            type_url: TYPE_URL.to_owned(),
            value: message.encode_to_vec(),
        };
        let response = DiscoveryResponse {
            version_info: version.to_owned(),
            nonce: format!("nonce-{version}"),
            type_url: TYPE_URL.to_owned(),
            resources: resources.iter().map(any).collect(),
            ..DiscoveryResponse::default()
        };
        self.runtime.block_on(self.responses.send(Ok(response))).unwrap();
    }
}

/// A domain with one limit a minute for each value of each of `limits` (key, requests).
pub fn config(name: &str, domain: &str, limits: &[(&str, u32)]) -> RateLimitConfig {
    let descriptor = |(key, requests_per_unit): &(&str, u32)| RateLimitDescriptor {
        key: (*key).to_owned(),
        rate_limit: Some(RateLimitPolicy {
            unit: RateLimitUnit::Minute.into(),
            requests_per_unit: *requests_per_unit,
            ..RateLimitPolicy::default()
        }),
        ..RateLimitDescriptor::default()
    };
    RateLimitConfig {
        name: name.to_owned(),
        domain: domain.to_owned(),
        descriptors: limits.iter().map(descriptor).collect(),
    }
}

struct Ads {
    streams: mpsc::Sender<(MetadataMap, Streaming<DiscoveryRequest>, Responses)>,
    header: Option<(&'static str, &'static str)>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let headers = request.metadata().clone();
        if let Some((name, value)) = self.header
            && headers.get(name).is_none_or(|got| got != value)
        {
            return Err(Status::unauthenticated("who are you?"));
        }
        let (responses, receiver) = mpsc::channel(8);
        let stream = (headers, request.into_inner(), responses);
        self.streams.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("state of the world only"))
    }
}
