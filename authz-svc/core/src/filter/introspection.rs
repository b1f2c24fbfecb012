//! Filter kind Introspection: a token that its authorization server is asked about (RFC 7662). What
//! it says is remembered for a while.

mod compile;
mod spec;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;
use quick_cache::sync::Cache;
use serde_json::Value as Json;
use service_kit::Secret;
use sha2::{Digest as _, Sha256};

use super::jwt::{Challenge, bearer, bits, check_scope};
use super::{HeaderTemplates, Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::context::{Context, Identity};
use crate::need::{CallError, Fetch, HttpCall, Pending, Transport};
use crate::reply::Reply;

pub(crate) use compile::compile;
pub use spec::Spec;

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &["scope"];

/// How long it is known that a token is not active.
const INACTIVE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// For a question.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where the server is asked.
#[derive(Debug)]
enum Endpoint {
    /// Here.
    Given(Arc<str>),
    /// Where this document says.
    Discovered(Fetch),
}

/// How this client proves who it is (RFC 6749 section 2.3.1).
#[derive(Debug)]
enum Authentication {
    Header,
    Body,
}

/// What is known of a token: since when, and what the server said; none: it is not active.
type Remembered = (Duration, Option<Arc<Json>>);

/// A compiled Introspection filter.
pub struct Introspection {
    endpoint: Endpoint,
    authentication: Authentication,
    client_id: String,
    secret: Secret<String>,
    transport: Arc<Transport>,
    audience: Option<String>,
    issuer: Option<String>,
    lifetime: Duration,
    /// Escaped for a quoted string.
    realm: String,
    strip: bool,
    inject: HeaderTemplates,
    known: Cache<[u8; 32], Remembered>,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Why a request is not allowed.
enum Problem {
    Refused(Challenge),
    Failed(&'static str),
    Pending(Pending),
}

impl From<Pending> for Problem {
    fn from(pending: Pending) -> Self {
        Self::Pending(pending)
    }
}

impl Judge for Introspection {
    fn judge(&self, context: &Context<'_>, arguments: &Arguments) -> Judged {
        match self.verify(context, arguments) {
            Ok(claims) => Ok(self.allow(context, claims)),
            Err(Problem::Pending(pending)) => Err(pending),
            Err(Problem::Failed(words)) => {
                Ok(Verdict::Error(Reply::json(503, words, context.request_id())))
            }
            Err(Problem::Refused(challenge)) => {
                let words = challenge.message.clone();
                let reply = Reply::json(challenge.status, words, context.request_id());
                Ok(Verdict::Deny(match challenge.www_authenticate(&self.realm) {
                    Some(value) => reply.with_header("www-authenticate", value),
                    None => reply,
                }))
            }
        }
    }

    fn documents(&self) -> Vec<Fetch> {
        match &self.endpoint {
            Endpoint::Given(_) => Vec::new(),
            Endpoint::Discovered(fetch) => vec![fetch.clone()],
        }
    }
}

impl Introspection {
    /// What the server says of an active token.
    fn verify(&self, context: &Context<'_>, arguments: &Arguments) -> Result<Arc<Json>, Problem> {
        let token = bearer(context.header("authorization")).map_err(Problem::Refused)?;
        let claims = self.ask(context, token)?.ok_or_else(|| refused("the token is not active"))?;
        let now = context.now.as_secs_f64();
        let time = |name: &str| claims.get(name).map(|claim| claim.as_f64());
        match (time("exp"), time("nbf")) {
            (Some(None), _) | (_, Some(None)) => {
                return Err(Problem::Failed(
                    "the authorization server's answer has no valid times",
                ));
            }
            (Some(Some(exp)), _) if now >= exp => return Err(refused("the token is expired")),
            (_, Some(Some(nbf))) if now < nbf => return Err(refused("the token is not valid yet")),
            _ => {}
        }
        if !self.audience.as_ref().is_none_or(|wanted| has(claims.get("aud"), wanted)) {
            return Err(refused("the token is for another audience"));
        }
        let issuer = claims.get("iss").and_then(Json::as_str);
        if self.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
            return Err(refused("the token is of another issuer"));
        }
        check_scope(&claims, &arguments.scope).map_err(Problem::Refused)?;
        Ok(claims)
    }

    /// What the server says, or said not long ago.
    fn ask(&self, context: &Context<'_>, token: &str) -> Result<Option<Arc<Json>>, Problem> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some((at, said)) = self.known.get(&key) {
            let lifetime = if said.is_some() { self.lifetime } else { INACTIVE };
            if context.now >= at && context.now < at + lifetime {
                return Ok(said);
            }
        }
        let url = match &self.endpoint {
            Endpoint::Given(url) => url.to_string(),
            Endpoint::Discovered(fetch) => {
                let provider = context.provider(fetch)?.map_err(no_answer)?;
                provider.introspection_endpoint.clone().ok_or(Problem::Failed(
                    "the authorization server does not say where tokens are asked about",
                ))?
            }
        };
        let answer = context.http(self.question(url, token))?.map_err(no_answer)?;
        if answer.status != 200 {
            return Err(Problem::Failed("the authorization server does not answer this client"));
        }
        let said = serde_json::from_slice::<Json>(&answer.body).ok().filter(Json::is_object);
        let said = said.ok_or(Problem::Failed("the authorization server's answer is no JSON"))?;
        // Only `true` is true.
        let said = (said.get("active") == Some(&Json::Bool(true))).then(|| Arc::new(said));
        self.known.insert(key, (context.now, said.clone()));
        Ok(said)
    }

    fn question(&self, url: String, token: &str) -> HttpCall {
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        let mut form = vec![("token", token), ("token_type_hint", "access_token")];
        match self.authentication {
            Authentication::Header => {
                use base64::Engine as _;
                let pair = [&self.client_id, self.secret.expose()].map(|part| encode(part));
                let pair = base64::engine::general_purpose::STANDARD.encode(pair.join(":"));
                headers.push(("authorization".to_owned(), format!("Basic {pair}")));
            }
            Authentication::Body => {
                form.push(("client_id", &self.client_id));
                form.push(("client_secret", self.secret.expose()));
            }
        }
        let pairs: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        HttpCall {
            method: "POST".to_owned(),
            url,
            headers,
            body: pairs.join("&").into_bytes(),
            transport: self.transport.clone(),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        }
    }

    fn allow(&self, context: &Context<'_>, claims: Arc<Json>) -> Verdict {
        let token = Value::map([("Claims", Value::from(Json::clone(&claims)))]);
        let data = Value::map([("token", token), ("httpRequestHeader", context.header_value())]);
        let Ok(headers) = self.inject.render(&data) else {
            let words = "a header of this request cannot be made from its token";
            return Verdict::Fail(Reply::json(500, words, context.request_id()));
        };
        let mut headers = context.settable(headers);
        if self.strip && !headers.iter().any(|(name, _)| name == "authorization") {
            headers.push(("authorization".to_owned(), None));
        }
        let text = |name: &str| claims.get(name).and_then(Json::as_str);
        let subject = text("sub").or_else(|| text("username")).unwrap_or_default().to_owned();
        Verdict::Allow(Box::new(Modification {
            headers,
            identity: Some(Identity { subject, attributes: claims }),
            ..Modification::default()
        }))
    }
}

fn refused(words: &str) -> Problem {
    Problem::Refused(Challenge::invalid_token(bits::CLAIMS, words.to_owned()))
}

fn no_answer(error: CallError) -> Problem {
    Problem::Failed(match error {
        CallError::TimedOut => "the authorization server did not answer in time",
        CallError::Shed => "the authorization server does not answer; it is not asked now",
        CallError::Forbidden => "the authorization server has an address that is not called",
        CallError::Unavailable | CallError::TooLong | CallError::Malformed => {
            "the authorization server did not answer"
        }
    })
}

/// Whether a claim is this text, or a list that has it.
fn has(claim: Option<&Json>, wanted: &str) -> bool {
    match claim {
        Some(Json::String(one)) => one == wanted,
        Some(Json::Array(many)) => many.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    }
}

/// As a value of a form.
fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests;
