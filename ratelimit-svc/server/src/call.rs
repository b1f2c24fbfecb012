//! `ShouldRateLimit` between bytes and [`RateLimits`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use proto::envoy::service::ratelimit::v3::RateLimitRequest;
use service_kit::server::grpc::Unary;
use tonic::Status;

use crate::service::RateLimits;

/// Where Envoy calls it.
pub(crate) const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

impl Unary for RateLimits {
    // The time-out of the caller is not looked at: the store has a shorter one of its own, and the
    // caller resets what it does not wait for any more.
    async fn call(
        &self,
        message: Bytes,
        _: Option<Duration>,
    ) -> Result<impl FnOnce(&mut BytesMut) + Send, Status> {
        let request = RateLimitRequest::decode(message)
            .map_err(|e| Status::internal(format!("the request is no RateLimitRequest: {e}")))?;
        let response = self.answer(request).await?;
        Ok(move |out: &mut BytesMut| response.encode_raw(out))
    }
}
