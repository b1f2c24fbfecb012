//! A rate limit service that remembers descriptors; those in `over` are over the limit.

use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::{Hit, Hits};

struct Limiter {
    hits: Hits,
    over: Value,
}

pub(super) async fn serve(listener: TcpListener, hits: Hits, over: Value) {
    let service = RateLimitServiceServer::new(Limiter { hits, over });
    let incoming = TcpIncoming::from(listener);
    let _ = Server::builder().add_service(service).serve_with_incoming(incoming).await;
}

#[tonic::async_trait]
impl RateLimitService for Limiter {
    async fn should_rate_limit(
        &self,
        call: tonic::Request<RateLimitRequest>,
    ) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        let request = call.into_inner();
        let descriptors: Vec<Vec<(String, String)>> = request
            .descriptors
            .into_iter()
            .map(|d| d.entries.into_iter().map(|e| (e.key, e.value)).collect())
            .collect();
        let is_over = |d: &Vec<(String, String)>| {
            let entries = json!(d);
            self.over.as_array().is_some_and(|over| over.contains(&entries))
        };
        let over: Vec<bool> = descriptors.iter().map(is_over).collect();
        let code = |over: bool| if over { Code::OverLimit } else { Code::Ok };
        let response = RateLimitResponse {
            overall_code: code(over.contains(&true)).into(),
            statuses: over
                .iter()
                .map(|o| DescriptorStatus { code: code(*o).into(), ..DescriptorStatus::default() })
                .collect(),
            ..RateLimitResponse::default()
        };
        let hit = Hit { descriptors: Some((request.domain, descriptors)), ..Hit::default() };
        self.hits.lock().unwrap().push(hit);
        Ok(tonic::Response::new(response))
    }
}
