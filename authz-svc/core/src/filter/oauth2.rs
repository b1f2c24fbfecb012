//! Filter kind OAuth2: a login with an identity provider (OpenID Connect Core 1.0 section 3.1), or
//! tokens that are had for credentials in the request (RFC 6749 sections 4.3 and 4.4).
//!
//! A session is in the store only, sealed with what only the browser has. What a browser, a store
//! and an identity provider say is not trusted.

mod client;
mod compile;
mod cookie;
mod credentials;
mod endpoints;
mod login;
mod logout;
mod multicookie;
mod origin;
mod refresh;
mod scope;
mod seal;
mod session;
mod spec;
mod tokens;
mod validation;

use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;

pub(crate) use compile::compile;
pub use endpoints::Endpoint;
pub use spec::Spec;

use super::jwt::{TokenCache, Verified};
use super::{HeaderTemplates, Judge, Judged, Modification, ResponseHeader, Verdict};
use crate::arguments::Arguments;
use crate::context::{Context, Identity};
use crate::need::{Fetch, Pending, Transport};
use crate::policy::Condition;
use crate::provider::Provider;
use crate::reply::Reply;
use client::Client;
use origin::Origin;
use seal::Id;
use validation::Validation;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &["scope", "scopes", "insteadOfRedirect", "sameSite"];

/// A compiled OAuth2 filter.
#[derive(Debug)]
pub struct OAuth2 {
    /// `NAME.NAMESPACE`: the realm.
    name: String,
    grant: Grant,
    client: Client,
    discovery: Fetch,
    transport: Arc<Transport>,
    /// A token counts as expired that much earlier.
    margin: Duration,
    validation: Validation,
    allow_malformed: bool,
    inject: HeaderTemplates,
    cache: TokenCache,
    /// Of what must not change while a session lasts.
    fingerprint: String,
}

/// How tokens are had.
#[derive(Debug)]
enum Grant {
    AuthorizationCode(Box<Login>),
    ClientCredentials,
    Password,
}

/// Settings of the grant AuthorizationCode.
#[derive(Debug)]
struct Login {
    /// At least one.
    origins: Vec<Origin>,
    /// Whether cookies are for the browser's session only, and for which requests; the others get
    /// the opposite.
    session_cookies: (bool, Option<Condition>),
    max_idle: Option<Duration>,
    extra: Vec<(String, String)>,
    post_logout: Option<String>,
    pkce: bool,
}

/// Why a filter goes no further.
enum Stop {
    Pending(Pending),
    /// Boxed, as it is rare and large.
    Verdict(Box<Verdict>),
}

/// What a part of a filter has, if it goes further.
type Go<T> = Result<T, Stop>;

impl From<Pending> for Stop {
    fn from(pending: Pending) -> Self {
        Self::Pending(pending)
    }
}

impl Stop {
    fn deny(context: &Context<'_>, status: u16, words: &'static str) -> Self {
        Self::from(Verdict::Deny(Reply::json(status, words, context.request_id())))
    }

    /// Something outside is at fault.
    fn error(context: &Context<'_>, status: u16, words: &'static str) -> Self {
        Self::from(Verdict::Error(Reply::json(status, words, context.request_id())))
    }

    /// The configuration is at fault.
    fn fail(context: &Context<'_>, words: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::from(Verdict::Fail(Reply::json(500, words, context.request_id())))
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(Box::new(verdict))
    }
}

fn judged(result: Go<Verdict>) -> Judged {
    match result {
        Ok(verdict) => Ok(verdict),
        Err(Stop::Verdict(verdict)) => Ok(*verdict),
        Err(Stop::Pending(pending)) => Err(pending),
    }
}

impl Judge for OAuth2 {
    fn judge(&self, context: &Context<'_>, arguments: &Arguments) -> Judged {
        judged(match &self.grant {
            Grant::AuthorizationCode(login) => self.judge_session(login, context, arguments),
            Grant::ClientCredentials => self.judge_client(context, arguments),
            Grant::Password => self.judge_user(context, arguments),
        })
    }

    fn documents(&self) -> Vec<Fetch> {
        vec![self.discovery.clone()]
    }

    fn as_oauth2(&self) -> Option<&OAuth2> {
        Some(self)
    }
}

impl OAuth2 {
    /// Namespace and name of the JWT filter that judges access tokens.
    pub(crate) fn jwt_filter(&self) -> Option<&(String, String)> {
        self.validation.filter()
    }

    /// Settings of the grant AuthorizationCode, when it is that.
    fn login(&self) -> Option<&Login> {
        match &self.grant {
            Grant::AuthorizationCode(login) => Some(login),
            Grant::ClientCredentials | Grant::Password => None,
        }
    }

    /// What the identity provider says of itself.
    fn provider(&self, context: &Context<'_>) -> Go<Arc<Provider>> {
        context.provider(&self.discovery)?.map_err(|_| {
            Stop::error(context, 502, "the identity provider's configuration is not available")
        })
    }

    fn random(&self, context: &Context<'_>) -> Go<[u8; 32]> {
        context.random()?.map_err(|_| Stop::error(context, 500, "no random numbers are to be had"))
    }

    fn new_id(&self, context: &Context<'_>) -> Go<Id> {
        self.random(context).map(Id::new)
    }

    /// What sealed values of this filter are bound to.
    fn seal_context(&self, kind: &str) -> String {
        format!("{kind} {} {}", self.name, self.fingerprint)
    }

    /// Lets the request pass with an access token.
    fn allow(&self, context: &Context<'_>, passed: Passed<'_>) -> Go<Verdict> {
        let Passed { token, verified, id_token, headers: inner, remove, cookies } = passed;
        let mut headers = inner;
        headers.push(("authorization".to_owned(), Some(format!("Bearer {token}"))));
        headers.extend(remove.iter().map(|name| ((*name).to_owned(), None)));
        if !self.inject.is_empty() {
            let of = |token: &Option<Arc<Verified>>| {
                token.as_ref().map_or(Value::Nil, |t| t.template_value())
            };
            let opaque = || Value::map([("Raw", Value::from(token))]);
            let data = Value::map([
                ("token", verified.as_ref().map_or_else(opaque, |t| t.template_value())),
                ("idToken", of(&id_token)),
                ("httpRequestHeader", context.header_value()),
            ]);
            let rendered = self.inject.render(&data).map_err(|_| {
                Stop::fail(context, "a header of this request cannot be made from its token")
            })?;
            headers.extend(context.settable(rendered));
        }
        let set_cookie =
            |value| ResponseHeader { name: "set-cookie".to_owned(), value, append: true };
        Ok(Verdict::Allow(Box::new(Modification {
            headers,
            response_headers: cookies.into_iter().map(set_cookie).collect(),
            identity: identity(id_token.as_deref(), verified.as_deref()),
            ..Modification::default()
        })))
    }
}

/// A request that may pass.
struct Passed<'a> {
    token: &'a str,
    /// The access token, when it is a JWT.
    verified: Option<Arc<Verified>>,
    id_token: Option<Arc<Verified>>,
    /// What the JWT filter makes of the token.
    headers: Vec<(String, Option<String>)>,
    /// Headers with credentials.
    remove: &'static [&'static str],
    /// Values of `Set-Cookie`.
    cookies: Vec<String>,
}

/// Whom the ID token names, or else the access token.
fn identity(id_token: Option<&Verified>, access_token: Option<&Verified>) -> Option<Identity> {
    id_token.or(access_token).map(Verified::identity)
}

/// The words of a scope, each once, in their order.
fn distinct<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        if !word.is_empty() && !all.iter().any(|w| w == word) {
            all.push(word.to_owned());
        }
    }
    all
}

#[cfg(test)]
#[path = "oauth2/tests.rs"]
mod tests;
