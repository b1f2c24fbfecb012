//! `ShouldRateLimit` between bytes and [`RateLimits`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ratelimit_core::Decision;
use ratelimit_core::request::Request;
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
        let request = Request::decode(&message).map_err(|e| self.refuse(e))?;
        let encode = |decision: &Decision<'_>| {
            let mut bytes = Vec::with_capacity(decision.encoded_len());
            decision.encode(&mut bytes);
            bytes
        };
        let response = self.answer(&request, encode).await?;
        Ok(move |out: &mut BytesMut| out.extend_from_slice(&response))
    }
}
