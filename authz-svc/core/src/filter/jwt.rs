//! Filter kind JWT: a bearer token (RFC 6750) that is a signed JWT (RFC 7519).

mod claims;
mod compile;
mod spec;
mod token;

use std::sync::Arc;

use gotemplate::{Template, Value};
use jsonwebtoken::{Algorithm, DecodingKey};

pub use claims::ClaimRules;
pub(crate) use compile::compile;
pub use spec::Spec;

use super::{HeaderTemplates, Judge, Judged, Modification, Verdict};
use crate::arguments::Arguments;
use crate::context::Context;
use crate::keys::KeySet;
use crate::need::{Fetch, Pending};
use crate::reply::{Reply, json_body, template_data};
use token::{Challenge, Token};

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
    inject: HeaderTemplates,
    refusal: Refusal,
}

/// What a refused client gets.
#[derive(Debug)]
struct Refusal {
    /// Escaped for a quoted string.
    realm: String,
    headers: HeaderTemplates,
    body: Option<Template>,
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
        let text = match token::bearer(context.header("authorization")) {
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
    ) -> Result<Token, Problem> {
        let token = Token::parse(text).map_err(Problem::Refused)?;
        self.check_signature(context, &token)?;
        self.claims
            .check(&token.claims, context.now)
            .map_err(|(bits, text)| Problem::Refused(Challenge::invalid_token(bits, text)))?;
        token::check_scope(&token.claims, scope).map_err(Problem::Refused)?;
        Ok(token)
    }

    fn check_signature(&self, context: &Context<'_>, token: &Token) -> Result<(), Problem> {
        let refuse = |bits, text: &str| {
            Err(Problem::Refused(Challenge::invalid_token(bits, text.to_owned())))
        };
        if token.algorithm == "none" {
            return match (self.unsigned, token.signature.is_empty()) {
                (false, _) => refuse(bits::UNVERIFIABLE, "unsigned tokens are not accepted"),
                (true, false) => refuse(bits::SIGNATURE, "an unsigned token has no signature"),
                (true, true) => Ok(()),
            };
        }
        let algorithm =
            self.algorithms.iter().copied().find(|a| crate::keys::name(*a) == token.algorithm);
        let Some(algorithm) = algorithm else {
            return refuse(bits::UNVERIFIABLE, "the signing algorithm is not accepted");
        };
        let keys = self.key_set(context, token.key_id.as_deref())?;
        let mut candidates = keys.candidates(token.key_id.as_deref(), algorithm).peekable();
        if candidates.peek().is_none() {
            return refuse(bits::UNVERIFIABLE, "no key fits the token");
        }
        let verified = |key: &DecodingKey| {
            let signed = token.signed.as_bytes();
            jsonwebtoken::crypto::verify(&token.signature, signed, key, algorithm).unwrap_or(false)
        };
        if candidates.any(verified) {
            Ok(())
        } else {
            refuse(bits::SIGNATURE, "the signature is not valid")
        }
    }

    /// The keys, newly fetched when they lack `key_id`.
    fn key_set(&self, context: &Context<'_>, key_id: Option<&str>) -> Result<Arc<KeySet>, Problem> {
        let fetch = match &self.keys {
            Keys::None => return Ok(Arc::default()),
            Keys::Fixed(keys) => return Ok(keys.clone()),
            Keys::Remote(fetch) => fetch,
        };
        let keys = context.key_set(fetch)?.map_err(|_| {
            Problem::Refused(Challenge::failure("the keys to verify the token are not available"))
        })?;
        if key_id.is_none_or(|id| keys.has(id)) {
            return Ok(keys);
        }
        let again = Fetch { refresh: true, ..fetch.clone() };
        // When the server cannot be asked now, what is known does not have the key.
        Ok(context.key_set(&again)?.unwrap_or(keys))
    }

    fn allow(&self, context: &Context<'_>, token: &Token) -> Verdict {
        let data = Value::map([
            ("token", token.template_value()),
            ("httpRequestHeader", context.header_value()),
        ]);
        match self.inject.render(&data) {
            Ok(headers) => Verdict::Allow(Box::new(Modification {
                headers: context.settable(headers),
                identity: Some(token.identity()),
                ..Modification::default()
            })),
            Err(_) => Verdict::Fail(Reply::json(
                500,
                "a header of this request cannot be made from its token",
                context.request_id(),
            )),
        }
    }

    fn refuse(&self, context: &Context<'_>, challenge: &Challenge) -> Reply {
        let Challenge { status, message, bits, .. } = challenge;
        let data =
            template_data(*status, message, context.request_id(), *bits, context.header_value());
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
