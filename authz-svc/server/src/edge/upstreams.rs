//! Calls to other servers.

use std::sync::Arc;

use authz_core::need::{CallError, GrpcCall, HttpAnswer, HttpCall};

/// The servers that are called.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {}

impl Upstreams {
    /// Makes an HTTP call.
    pub(crate) async fn http(&self, _: HttpCall) -> Result<Arc<HttpAnswer>, CallError> {
        Err(CallError::Unavailable)
    }

    /// Makes a gRPC call.
    pub(crate) async fn grpc(&self, _: GrpcCall) -> Result<Arc<Vec<u8>>, CallError> {
        Err(CallError::Unavailable)
    }
}
