//! Filter kind JWT: a bearer token (RFC 6750) that is a signed JWT (RFC 7519).

mod cache;
mod claims;
mod compile;
mod spec;
mod text;
mod token;
mod unique;

use std::sync::Arc;

use gotemplate::{Template, Value};
use jsonwebtoken::Algorithm;

pub use cache::TokenCache;
pub use claims::{ClaimRules, TimeRule};
pub(crate) use compile::compile;
pub use spec::Spec;
pub(in crate::filter) use text::unverified;
pub use token::Verified;

use super::{HeaderTemplates, Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::context::Context;
use crate::keys::{Fingerprint, KeySet};
use crate::need::{Fetch, Pending};
use crate::reply::{Reply, json_body, template_data};
use cache::Known;
use token::Token;
pub(in crate::filter) use token::{Challenge, bearer, check_scope, scopes};

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &["scope"];

/// golang-jwt's bits of what is wrong with a token, which templates may look at.
pub mod bits {
    /// Not a JWT.
    pub const MALFORMED: u32 = 1;
    /// No key, or no algorithm, to verify it with.
    pub const UNVERIFIABLE: u32 = 2;
    /// The signature is wrong.
    pub const SIGNATURE: u32 = 4;
    /// `aud`
    pub const AUDIENCE: u32 = 8;
    /// `exp`
    pub const EXPIRED: u32 = 16;
    /// `iat`
    pub const ISSUED_AT: u32 = 32;
    /// `iss`
    pub const ISSUER: u32 = 64;
    /// `nbf`
    pub const NOT_BEFORE: u32 = 128;
    /// Anything else.
    pub const CLAIMS: u32 = 512;
}

/// Where the keys come from.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Given with the configuration.
    Fixed(Arc<KeySet>),
    /// To be fetched.
    Remote(Fetch),
    /// None: only unsigned tokens are accepted.
    None,
}

/// A compiled JWT filter.
#[derive(Debug)]
pub struct Jwt {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    unsigned: bool,
    claims: ClaimRules,
    strip_authorization: bool,
    inject: HeaderTemplates,
    refusal: Refusal,
    cache: TokenCache,
}

/// What a refused client gets.
#[derive(Debug)]
struct Refusal {
    /// Escaped for a quoted string.
    realm: String,
    headers: HeaderTemplates,
    body: Option<Template>,
    /// No template looks at anything.
    is_plain: bool,
}

/// Why a request is not allowed.
enum Problem {
    Refused(Challenge),
    Pending(Pending),
}

impl From<Pending> for Problem {
    fn from(pending: Pending) -> Self {
        Self::Pending(pending)
    }
}

impl Judge for Jwt {
    fn judge(&self, context: &Context<'_>, arguments: &Arguments) -> Judged {
        let text = match bearer(context.header("authorization")) {
            Ok(text) => text,
            Err(challenge) => return Ok(self.refused(context, &challenge)),
        };
        match self.verify(context, text, &arguments.scope) {
            Ok(token) => Ok(self.allow(context, &token)),
            Err(Problem::Pending(pending)) => Err(pending),
            Err(Problem::Refused(challenge)) => Ok(self.refused(context, &challenge)),
        }
    }

    fn as_jwt(&self) -> Option<&Jwt> {
        Some(self)
    }

    fn documents(&self) -> Vec<Fetch> {
        match &self.keys {
            Keys::Remote(fetch) => vec![fetch.clone()],
            Keys::Fixed(_) | Keys::None => Vec::new(),
        }
    }
}

impl Jwt {
    fn refused(&self, context: &Context<'_>, challenge: &Challenge) -> Verdict {
        let reply = self.refuse(context, challenge);
        if challenge.status >= 500 { Verdict::Error(reply) } else { Verdict::Deny(reply) }
    }

    fn verify(
        &self,
        context: &Context<'_>,
        text: &str,
        scope: &[String],
    ) -> Result<Arc<Verified>, Problem> {
        let token = self.check_signature(context, text)?;
        self.claims
            .check(token.claims(), context.now)
            .map_err(|(bits, text)| Problem::Refused(Challenge::invalid_token(bits, text)))?;
        check_scope(token.claims(), scope).map_err(Problem::Refused)?;
        Ok(token)
    }

    /// The token, when its signature is good: as it is remembered, or verified now.
    fn check_signature(&self, context: &Context<'_>, text: &str) -> Result<Arc<Verified>, Problem> {
        let id = self.cache.id(text);
        let known = id.as_ref().and_then(|id| self.cache.get(id, context.now));
        // Asked for at most once here: what a filter asks must not depend on the cache.
        let mut keys = None;
        if let Some(known) = known {
            let current = self.keys(context)?;
            match known {
                Known::Good(token)
                    if token.by().is_some_and(|(a, key)| {
                        self.algorithms.contains(a) && current.has_key(key)
                    }) =>
                {
                    return Ok(token);
                }
                Known::Bad(tried) if tried == *current.digest() => return bad_signature(),
                _ => keys = Some(current),
            }
        }
        let token = Token::parse(text).map_err(Problem::Refused)?;
        if token.algorithm == "none" {
            return self.check_unsigned(token);
        }
        let algorithm =
            self.algorithms.iter().copied().find(|a| crate::keys::name(*a) == token.algorithm);
        let Some(algorithm) = algorithm else {
            return refuse(bits::UNVERIFIABLE, "the signing algorithm is not accepted");
        };
        let keys = match keys {
            Some(keys) => keys,
            None => self.keys(context)?,
        };
        let keys = self.with_key(context, keys, token.key_id.as_deref())?;
        let Some(key) = verifying_key(&keys, &token, algorithm)? else {
            if let Some(id) = id {
                self.cache.put_bad(id, *keys.digest(), context.now);
            }
            return bad_signature();
        };
        let token = Arc::new(token.verified(Some((algorithm, key))));
        if let Some(id) = id {
            self.cache.put(id, &token, self.claims.expires_at.leeway, context.now);
        }
        Ok(token)
    }

    fn check_unsigned(&self, token: Token<'_>) -> Result<Arc<Verified>, Problem> {
        match (self.unsigned, token.signature.is_empty()) {
            (false, _) => refuse(bits::UNVERIFIABLE, "unsigned tokens are not accepted"),
            (true, false) => refuse(bits::SIGNATURE, "an unsigned token has no signature"),
            (true, true) => Ok(Arc::new(token.verified(None))),
        }
    }

    /// The keys as they are known.
    fn keys(&self, context: &Context<'_>) -> Result<Arc<KeySet>, Problem> {
        match &self.keys {
            Keys::None => Ok(Arc::default()),
            Keys::Fixed(keys) => Ok(keys.clone()),
            Keys::Remote(fetch) => context.key_set(fetch)?.map_err(|_| {
                Problem::Refused(Challenge::failure(
                    "the keys to verify the token are not available",
                ))
            }),
        }
    }

    /// The keys, newly fetched when they lack `key_id`.
    fn with_key(
        &self,
        context: &Context<'_>,
        keys: Arc<KeySet>,
        key_id: Option<&str>,
    ) -> Result<Arc<KeySet>, Problem> {
        let (Keys::Remote(fetch), Some(id)) = (&self.keys, key_id) else { return Ok(keys) };
        if keys.has(id) || self.cache.is_absent(&fetch.url, id, context.now) {
            return Ok(keys);
        }
        let again = Fetch { refresh: true, ..fetch.clone() };
        // When the server cannot be asked now, what is known does not have the key.
        Ok(context.key_set(&again)?.unwrap_or(keys))
    }

    fn allow(&self, context: &Context<'_>, token: &Verified) -> Verdict {
        let mut headers = Vec::new();
        if self.strip_authorization {
            headers.push(("authorization".to_owned(), None));
        }
        if !self.inject.is_empty() {
            let data = Value::map([
                ("token", token.template_value()),
                ("httpRequestHeader", context.header_value()),
            ]);
            let Ok(rendered) = self.inject.render(&data) else {
                return Verdict::Fail(Reply::json(
                    500,
                    "a header of this request cannot be made from its token",
                    context.request_id(),
                ));
            };
            headers.extend(context.settable(rendered));
        }
        Verdict::Allow(Box::new(Modification {
            headers,
            identity: Some(token.identity()),
            ..Modification::default()
        }))
    }

    fn refuse(&self, context: &Context<'_>, challenge: &Challenge) -> Reply {
        let Challenge { status, message, bits, .. } = challenge;
        let data = if self.refusal.is_plain {
            Value::Nil
        } else {
            let headers = context.header_value();
            template_data(*status, message, context.request_id(), *bits, headers)
        };
        let mut headers = self.refusal.headers.render_good(&data);
        if let Some(value) = challenge.www_authenticate(&self.refusal.realm) {
            headers.push(("www-authenticate".to_owned(), value));
        }
        let body = self
            .refusal
            .body
            .as_ref()
            .and_then(|t| t.execute(&data).ok())
            .map_or_else(|| json_body(*status, message, context.request_id()), |o| o.text);
        Reply { status: *status, headers, body, reason: message.clone().into() }
    }
}

/// The key whose signature the token has, if one has it.
fn verifying_key(
    keys: &KeySet,
    token: &Token<'_>,
    algorithm: Algorithm,
) -> Result<Option<Fingerprint>, Problem> {
    let mut candidates = keys.candidates(token.key_id.as_deref(), algorithm).peekable();
    if candidates.peek().is_none() {
        return refuse(bits::UNVERIFIABLE, "no key fits the token");
    }
    let signed = token.signed.as_bytes();
    let key = candidates.find(|key| key.verifies(token.signature, signed, algorithm));
    Ok(key.map(|key| *key.fingerprint()))
}

fn refuse<T>(bits: u32, text: &str) -> Result<T, Problem> {
    Err(Problem::Refused(Challenge::invalid_token(bits, text.to_owned())))
}

fn bad_signature<T>() -> Result<T, Problem> {
    refuse(bits::SIGNATURE, "the signature is not valid")
}

#[cfg(test)]
#[path = "jwt/tests.rs"]
mod tests;
