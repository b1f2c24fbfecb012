//! A rate limit service that decides nothing: what gRPC itself costs on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use prost::Message as _;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use service_kit::server::admin::Readiness;
use service_kit::server::grpc::{Drain, Server, Unary};
use service_kit::server::shutdown::Shutdown;
use tonic::service::Routes;
use tonic::transport::{self, server::TcpIncoming};
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An RLS server that answers OK to everything: the ceiling that others are compared with.
#[derive(Parser)]
struct Args {
    /// Where requests come in.
    #[arg(long, default_value = "127.0.0.1:8081")]
    addr: SocketAddr,
    /// Straight on HTTP/2, as ratelimit-svc serves it, and not by tonic.
    #[arg(long)]
    lean: bool,
}

struct Ceiling;

fn answer(request: &RateLimitRequest) -> RateLimitResponse {
    let ok = DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() };
    RateLimitResponse {
        overall_code: Code::Ok.into(),
        statuses: vec![ok; request.descriptors.len()],
        ..RateLimitResponse::default()
    }
}

#[tonic::async_trait]
impl RateLimitService for Ceiling {
    async fn should_rate_limit(
        &self,
        call: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        Ok(Response::new(answer(call.get_ref())))
    }
}

impl Unary for Ceiling {
    async fn call(
        &self,
        message: Bytes,
        _: http::HeaderMap,
        _: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        let request =
            RateLimitRequest::decode(message).map_err(|e| Status::internal(e.to_string()))?;
        Ok(move |out: &mut BytesMut| answer(&request).encode_raw(out))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = tokio::net::TcpListener::bind(args.addr).await?;
    if args.lean {
        let drain = Drain { delay: Duration::ZERO, timeout: Duration::ZERO };
        Server::new(Routes::default())
            .unary("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", Ceiling)
            .serve(listener, None, Readiness::new(&[]), drain, Shutdown::on_signals()?)
            .await;
        return Ok(());
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    transport::Server::builder()
        .add_service(RateLimitServiceServer::new(Ceiling))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
