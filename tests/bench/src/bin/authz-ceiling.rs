//! An authorization service that decides nothing: what gRPC itself costs on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use prost::Message as _;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use proto::google::rpc::Status as RpcStatus;
use service_kit::server::admin::Readiness;
use service_kit::server::grpc::{Drain, Server, Unary};
use service_kit::server::shutdown::Shutdown;
use tonic::service::Routes;
use tonic::transport::{self, server::TcpIncoming};
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An ext_authz server that allows everything: the ceiling that others are compared with.
#[derive(Parser)]
struct Args {
    /// Where checks come in.
    #[arg(long, default_value = "127.0.0.1:9001")]
    addr: SocketAddr,
    /// Straight on HTTP/2 as service-kit serves a hot method, and not by tonic.
    #[arg(long)]
    lean: bool,
}

struct Ceiling;

fn answer() -> CheckResponse {
    CheckResponse {
        status: Some(RpcStatus::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
        dynamic_metadata: None,
    }
}

#[tonic::async_trait]
impl Authorization for Ceiling {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(answer()))
    }
}

impl Unary for Ceiling {
    async fn call(
        &self,
        message: Bytes,
        _: http::HeaderMap,
        _: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        CheckRequest::decode(message).map_err(|e| Status::internal(e.to_string()))?;
        Ok(|out: &mut BytesMut| answer().encode_raw(out))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = tokio::net::TcpListener::bind(args.addr).await?;
    if args.lean {
        let drain = Drain { delay: Duration::ZERO, timeout: Duration::ZERO };
        Server::new(Routes::default())
            .unary("/envoy.service.auth.v3.Authorization/Check", Ceiling)
            .serve(listener, None, Readiness::new(&[]), drain, Shutdown::on_signals()?)
            .await;
        return Ok(());
    }
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    transport::Server::builder()
        .add_service(AuthorizationServer::new(Ceiling))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
