//! Envoy's external authorization over HTTP, for callers that have no gRPC: the request itself
//! comes, without most of its body, and 200 means that it may pass.

mod answer;
mod question;

use std::sync::Arc;

use authz_core::Request;
use axum::http;
use bytes::Bytes;
use service_kit::server::http::Handler;

use crate::check::Checks;
pub(crate) use answer::Unexpressed;
pub use question::{ClientAddress, PathPrefix};

/// How requests are read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub prefix: PathPrefix,
    pub client: ClientAddress,
}

/// Answers requests.
#[derive(Debug)]
pub(crate) struct Door {
    checks: Arc<Checks>,
    settings: Settings,
    unexpressed: Unexpressed,
}

impl Door {
    pub(crate) fn new(checks: Arc<Checks>, settings: Settings, unexpressed: Unexpressed) -> Self {
        Self { checks, settings, unexpressed }
    }
}

impl Handler for Door {
    async fn handle(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
        let (head, body) = request.into_parts();
        let deadline = question::deadline(&head.headers);
        let outcome = match question::check(&self.settings, &head, body) {
            Ok(check) => {
                self.checks.outcome(Request::from_check(check), &head.headers, deadline).await
            }
            Err((status, why)) => self.checks.refused(status, why),
        };
        answer::response(outcome, self.checks.style(), &self.unexpressed)
    }
}
