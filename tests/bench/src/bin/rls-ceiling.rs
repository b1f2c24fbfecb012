//! A rate limit service that decides nothing: what gRPC itself costs on this machine.

use std::net::SocketAddr;

use clap::Parser;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An RLS server that answers OK to everything: the ceiling that others are compared with.
#[derive(Parser)]
struct Args {
    /// Where requests come in.
    #[arg(long, default_value = "127.0.0.1:8081")]
    addr: SocketAddr,
}

struct Ceiling;

#[tonic::async_trait]
impl RateLimitService for Ceiling {
    async fn should_rate_limit(
        &self,
        call: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let ok = DescriptorStatus { code: Code::Ok.into(), ..DescriptorStatus::default() };
        Ok(Response::new(RateLimitResponse {
            overall_code: Code::Ok.into(),
            statuses: vec![ok; call.get_ref().descriptors.len()],
            ..RateLimitResponse::default()
        }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(Args::parse().addr).await?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .add_service(RateLimitServiceServer::new(Ceiling))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
