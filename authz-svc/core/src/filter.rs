//! The kinds of filter. Each file has its compilation and its step.

pub mod api_key;
pub mod jwt;
mod template;

use crate::context::Context;
use crate::reply::Reply;

pub use template::HeaderTemplates;

/// A compiled Filter object.
#[derive(Debug)]
pub struct Filter {
    /// `NAME.NAMESPACE`.
    pub name: String,
    /// What it asks.
    pub kind: Kind,
}

/// The kinds.
#[derive(Debug)]
pub enum Kind {
    /// A token.
    Jwt(Box<jwt::Jwt>),
    /// A key in a header.
    ApiKey(api_key::ApiKey),
    /// Missing, broken or not supported: every request is answered 500. The words are for people,
    /// not for clients.
    Invalid(String),
}

/// What a filter says of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It may pass, with these headers (lower-case names) set, or removed where there is no value.
    Allow(Vec<(String, Option<String>)>),
    /// It gets this instead.
    Deny(Reply),
    /// As [`Self::Deny`], but the chain ends whatever the policy says: a fault of ours or of the
    /// configuration must never be skipped.
    Fail(Reply),
    /// It cannot say without this.
    Need(crate::context::Fetch),
}

impl Filter {
    /// Judges the request of `context`.
    pub fn judge(&self, context: &Context<'_>, scope: &[String]) -> Verdict {
        match &self.kind {
            Kind::Jwt(jwt) => jwt.judge(context, scope),
            Kind::ApiKey(key) => key.judge(context),
            Kind::Invalid(_) => Verdict::Fail(Reply::json(
                500,
                "the authorization of this request is misconfigured",
                context.request_id(),
            )),
        }
    }

    /// The kind's name, for metrics.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Jwt(_) => "JWT",
            Kind::ApiKey(_) => "APIKey",
            Kind::Invalid(_) => "invalid",
        }
    }
}
