//! Limitador's in-memory rate limiter behind `ShouldRateLimit`, on tonic as its own server has it:
//! one limit for each value of the descriptor key `k`. Usage: bench-limitador ADDR

use std::collections::HashMap;

use limitador::RateLimiter;
use limitador::limit::{Context, Limit};
use proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{
    Code, DescriptorStatus, RateLimit,
};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tonic::{Request, Response, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MOST: u32 = 4_000_000_000;

struct Limits(RateLimiter);

#[tonic::async_trait]
impl RateLimitService for Limits {
    async fn should_rate_limit(
        &self,
        call: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = call.into_inner();
        let entries = |d: proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor| {
            d.entries.into_iter().map(|e| (e.key, e.value)).collect::<HashMap<_, _>>()
        };
        let count = request.descriptors.len();
        let mut context = Context::default();
        context.list_binding(
            "descriptors".to_owned(),
            request.descriptors.into_iter().map(entries).collect(),
        );
        let hits = u64::from(request.hits_addend.max(1));
        let result = self
            .0
            .check_rate_limited_and_update(&request.domain.into(), &context, hits)
            .map_err(|e| Status::unavailable(e.to_string()))?;
        let code = if result.limited { Code::OverLimit } else { Code::Ok };
        // Its own server gives no statuses; the load generator wants to see that there is a limit.
        let met = (!result.counters.is_empty()).then(|| RateLimit {
            requests_per_unit: MOST,
            unit: Unit::Hour.into(),
            ..RateLimit::default()
        });
        let status = DescriptorStatus { code: code.into(), current_limit: met, ..Default::default() };
        Ok(Response::new(RateLimitResponse {
            overall_code: code.into(),
            statuses: vec![status; count],
            ..RateLimitResponse::default()
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).ok_or("usage: bench-limitador ADDR")?.parse()?;
    let limits = RateLimiter::new(1_000_000);
    let each = "descriptors[0].k".try_into().map_err(|e| format!("{e:?}"))?;
    limits.add_limit(Limit::new("bench", u64::from(MOST), 3600, vec![], vec![each]));
    tonic::transport::Server::builder()
        .add_service(RateLimitServiceServer::new(Limits(limits)))
        .serve(addr)
        .await?;
    Ok(())
}
