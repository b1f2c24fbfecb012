//! Filter kind JWT: a bearer token (RFC 6750) that is a signed JWT (RFC 7519).

mod claims;
mod compile;
mod token;

use std::sync::Arc;

use gotemplate::{Template, Value};
use jsonwebtoken::{Algorithm, DecodingKey};

pub use claims::ClaimRules;
pub use compile::compile;

use super::{HeaderTemplates, Verdict};
use crate::context::{Context, Fetch};
use crate::keys::KeySet;
use crate::reply::{Reply, json_body, template_data};
use token::{Challenge, Token};

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
    Need(Fetch),
    /// The keys cannot be had.
    NoKeys,
}

impl Jwt {
    /// Judges the token in the `Authorization` header; all of `scope` must be in it.
    pub fn judge(&self, context: &Context<'_>, scope: &[String]) -> Verdict {
        match self.verify(context, scope) {
            Ok(token) => self.allow(context, &token),
            Err(Problem::Need(fetch)) => Verdict::Need(fetch),
            Err(Problem::Refused(challenge)) => Verdict::Deny(self.refuse(context, &challenge)),
            Err(Problem::NoKeys) => {
                let challenge =
                    Challenge::failure("the keys to verify the token are not available");
                Verdict::Deny(self.refuse(context, &challenge))
            }
        }
    }

    fn verify(&self, context: &Context<'_>, scope: &[String]) -> Result<Token, Problem> {
        let text = token::bearer(context.header("authorization")).map_err(Problem::Refused)?;
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
        let keys = match context.answer(fetch) {
            None => return Err(Problem::Need(fetch.clone())),
            Some(Err(())) => return Err(Problem::NoKeys),
            Some(Ok(keys)) => keys,
        };
        if key_id.is_none_or(|id| keys.has(id)) {
            return Ok(keys);
        }
        let again = Fetch { refresh: true, ..fetch.clone() };
        match context.answer(&again) {
            None => Err(Problem::Need(again)),
            // The server cannot be asked now; what is known does not have the key.
            Some(Err(())) => Ok(keys),
            Some(Ok(keys)) => Ok(keys),
        }
    }

    fn allow(&self, context: &Context<'_>, token: &Token) -> Verdict {
        let data = Value::map([
            ("token", token.template_value()),
            ("httpRequestHeader", context.header_value()),
        ]);
        match self.inject.render(&data) {
            Ok(headers) => Verdict::Allow(context.settable(headers)),
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
        Reply { status: *status, headers, body }
    }
}
