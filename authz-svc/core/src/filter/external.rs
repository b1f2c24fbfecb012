//! Filter kind External: another authorization service is asked, over HTTP or Envoy's gRPC.

mod compile;
mod grpc;
mod http;
mod spec;

use std::sync::Arc;
use std::time::Duration;

use super::{Judge, Judged, Verdict};
use crate::arguments::Arguments;
use crate::context::Context;
use crate::need::{CallError, Transport};
use crate::reply::Reply;

pub(crate) use compile::compile;
pub use spec::Spec;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// How often a question may be asked on behalf of another: a service that asks itself ends here.
const MAX_HOPS: u32 = 8;
/// Counts them.
const HOPS: &str = "x-tollgate-external-hops";

/// A compiled External filter.
#[derive(Debug)]
pub struct External {
    /// As in `https://authz.test:443`.
    origin: String,
    /// `host:port`.
    authority: String,
    transport: Arc<Transport>,
    timeout: Duration,
    body: Option<IncludeBody>,
    status_on_error: u16,
    failure_mode_allow: bool,
    linkerd: bool,
    protocol: Protocol,
}

/// How it is asked.
#[derive(Debug)]
enum Protocol {
    Http {
        path_prefix: String,
        /// Lower-case names.
        request_headers: Vec<String>,
        /// Lower-case names.
        authorization_headers: Vec<String>,
    },
    Grpc,
}

/// How much of a body is sent along.
#[derive(Clone, Copy, Debug)]
struct IncludeBody {
    max_bytes: usize,
    allow_partial: bool,
}

impl Judge for External {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let Ok(body) = self.body_of(context) else {
            return Ok(Verdict::Deny(Reply::json(
                413,
                "the body is longer than may be authorized",
                context.request_id(),
            )));
        };
        let Some(hops) = hops(context) else {
            return Ok(self.failed(context, "the authorization service is asked by itself"));
        };
        match &self.protocol {
            Protocol::Http { path_prefix, request_headers, authorization_headers } => self
                .ask_http(context, body, hops, path_prefix, request_headers, authorization_headers),
            Protocol::Grpc => self.ask_grpc(context, body, hops),
        }
    }
}

impl External {
    /// What of the body is sent.
    fn body_of<'c>(&self, context: &'c Context<'_>) -> Result<&'c [u8], ()> {
        let Some(include) = self.body else { return Ok(&[]) };
        let body = context.request.body();
        match body.get(..include.max_bytes) {
            Some(part) if body.len() > include.max_bytes => {
                if include.allow_partial {
                    Ok(part)
                } else {
                    Err(())
                }
            }
            _ => Ok(body),
        }
    }

    /// The service cannot be used.
    fn failed(&self, context: &Context<'_>, why: &'static str) -> Verdict {
        if self.failure_mode_allow {
            return Verdict::allow();
        }
        Verdict::Error(Reply::json(self.status_on_error, why, context.request_id()))
    }

    fn no_answer(&self, context: &Context<'_>, error: CallError) -> Verdict {
        let why = match error {
            CallError::TimedOut => "the authorization service did not answer in time",
            CallError::Shed => "the authorization service does not answer; it is not asked now",
            CallError::Forbidden => "the authorization service has an address that is not called",
            CallError::Unavailable | CallError::TooLong | CallError::Malformed => {
                "the authorization service did not answer"
            }
        };
        self.failed(context, why)
    }
}

/// How often this question was asked before, and once more; none when that is too often.
fn hops(context: &Context<'_>) -> Option<String> {
    let before = context.header(HOPS).and_then(|text| text.parse().ok()).unwrap_or(0_u32);
    (before < MAX_HOPS).then(|| (before + 1).to_string())
}

#[cfg(test)]
mod tests;
