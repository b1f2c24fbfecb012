//! The token in a request, and the words of a refusal (RFC 6750 section 3).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gotemplate::Value;
use jsonwebtoken::Algorithm;
use serde_json::Value as Json;

use super::bits;
use super::unique::Unique;
use crate::context::Identity;
use crate::keys::Fingerprint;

/// Longest token, in bytes.
const MAX_LEN: usize = 16 << 10;

/// A refusal before it is put in the user's form.
#[derive(Debug)]
pub(in crate::filter) struct Challenge {
    pub(in crate::filter) status: u16,
    pub(in crate::filter) message: String,
    /// What is wrong with the token itself.
    pub(super) bits: Option<u32>,
    error: Option<&'static str>,
    scope: Option<String>,
}

impl Challenge {
    fn new(status: u16, error: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), bits: None, error, scope: None }
    }

    pub(in crate::filter) fn invalid_token(bits: u32, message: String) -> Self {
        Self { bits: Some(bits), ..Self::new(401, Some("invalid_token"), message) }
    }

    /// Ours to mend, not the client's.
    pub(super) fn failure(message: &str) -> Self {
        Self::new(500, None, message)
    }

    /// The header's value; none for a failure. `realm` is escaped already, and no other word of it
    /// comes from the client.
    pub(in crate::filter) fn www_authenticate(&self, realm: &str) -> Option<String> {
        if self.status >= 500 {
            return None;
        }
        let mut text = format!("Bearer realm=\"{realm}\"");
        if let Some(error) = self.error {
            text += &format!(", error=\"{error}\", error_description=\"{}\"", self.message);
        }
        if let Some(scope) = &self.scope {
            text += &format!(", scope=\"{scope}\"");
        }
        Some(text)
    }
}

/// The token of an `Authorization` header.
pub(in crate::filter) fn bearer(header: Option<&str>) -> Result<&str, Challenge> {
    let none = || Challenge::new(401, None, "a bearer token is missing");
    let header = header.map(str::trim).filter(|h| !h.is_empty()).ok_or_else(none)?;
    let mut words = header.split([' ', '\t']).filter(|w| !w.is_empty());
    if !words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")) {
        return Err(none());
    }
    let b64token =
        |t: &&str| t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b));
    match (words.next().filter(b64token), words.next()) {
        (Some(token), None) => Ok(token),
        _ => Err(Challenge::new(
            400,
            Some("invalid_request"),
            "the Authorization header is not one bearer token",
        )),
    }
}

/// A token taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    text: &'a str,
    header: Json,
    claims: Json,
    /// `alg` of the header.
    pub(super) algorithm: String,
    /// `kid` of the header.
    pub(super) key_id: Option<String>,
    /// What the signature is of.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Challenge> {
        let malformed =
            |why: &str| Challenge::invalid_token(bits::MALFORMED, format!("the token is {why}"));
        if text.len() > MAX_LEN {
            return Err(malformed("longer than 16 KiB"));
        }
        let no_jwt = || malformed("not a JWT");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(no_jwt)?;
        let (header, claims) = signed.split_once('.').ok_or_else(no_jwt)?;
        if claims.contains('.') {
            return Err(no_jwt());
        }
        let header = object(header).ok_or_else(no_jwt)?;
        let claims = object(claims).ok_or_else(no_jwt)?;
        if header.get("crit").is_some() {
            return Err(malformed("using extensions that are not understood"));
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::String(id)) => Some(id.clone()),
            Some(_) => return Err(no_jwt()),
        };
        let algorithm = header.get("alg").and_then(Json::as_str).ok_or_else(no_jwt)?.to_owned();
        Ok(Self { text, header, claims, algorithm, key_id, signed, signature })
    }

    /// `key` verified it with `algorithm`; none: it needs no signature.
    pub(super) fn verified(self, by: Option<(Algorithm, Fingerprint)>) -> Verified {
        let subject = self.claims.get("sub").and_then(Json::as_str).unwrap_or_default();
        Verified {
            subject: subject.to_owned(),
            text: self.text.into(),
            signature_at: self.text.len() - self.signature.len(),
            header: self.header,
            claims: Arc::new(self.claims),
            by,
            value: OnceLock::new(),
        }
    }
}

/// A part of a token: a JSON object, in which no name stands twice, as servers differ in which of
/// the two counts.
fn object(part: &str) -> Option<Json> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice::<Unique>(&bytes).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Json::is_object)
}

/// A token whose signature is good, or that needs none. Whether it is valid now is not said.
#[derive(Debug)]
pub struct Verified {
    subject: String,
    text: Arc<str>,
    signature_at: usize,
    header: Json,
    claims: Arc<Json>,
    by: Option<(Algorithm, Fingerprint)>,
    /// What templates see, made when the first of them asks.
    value: OnceLock<Value>,
}

impl Verified {
    /// Its claims: a JSON object.
    pub fn claims(&self) -> &Json {
        &self.claims
    }

    /// `alg` of its header.
    pub(in crate::filter) fn algorithm(&self) -> Option<&str> {
        self.header.get("alg").and_then(Json::as_str)
    }

    /// The algorithm and the key that verified it; none for an unsigned one.
    pub(super) fn by(&self) -> Option<&(Algorithm, Fingerprint)> {
        self.by.as_ref()
    }

    /// `exp`, since the Unix epoch.
    pub(super) fn expires(&self) -> Option<Duration> {
        let seconds = self.claims.get("exp")?.as_f64()?;
        Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
    }

    /// About how many bytes it takes, once templates saw it, too.
    pub(super) fn size(&self) -> usize {
        2 * (self.text.len() + size(&self.header) + size(&self.claims)) + size_of::<Self>()
    }

    /// Whom the token is of.
    pub fn identity(&self) -> Identity {
        Identity { subject: self.subject.clone(), attributes: self.claims.clone() }
    }

    /// What templates see as `.token`.
    pub fn template_value(&self) -> Value {
        let make = || {
            Value::map([
                ("Raw", Value::from(&*self.text)),
                ("Header", Value::from(self.header.clone())),
                ("Claims", Value::from(Json::clone(&self.claims))),
                ("Signature", Value::from(self.text.get(self.signature_at..).unwrap_or_default())),
            ])
        };
        self.value.get_or_init(make).clone()
    }
}

/// About how many bytes a value takes.
fn size(json: &Json) -> usize {
    /// Of an entry of a map besides its key and value.
    const ENTRY: usize = 48;
    size_of::<Json>()
        + match json {
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(size).sum(),
            Json::Object(map) => map.iter().map(|(k, v)| k.len() + ENTRY + size(v)).sum(),
            _ => 0,
        }
}

/// What the claims `scope` and `scp` have, each a list or a text with blanks.
pub(in crate::filter) fn scopes(claims: &Json) -> impl Iterator<Item = &str> {
    let claimed = ["scope", "scp"].into_iter().filter_map(|name| claims.get(name));
    claimed.flat_map(|claim| {
        let words = claim.as_str().into_iter().flat_map(str::split_whitespace);
        words.chain(claim.as_array().into_iter().flatten().filter_map(Json::as_str))
    })
}

/// Whether all of `wanted` are among the [`scopes`].
pub(in crate::filter) fn check_scope(claims: &Json, wanted: &[String]) -> Result<(), Challenge> {
    let granted = |scope: &String| scopes(claims).any(|s| s == scope);
    if wanted.iter().all(granted) {
        return Ok(());
    }
    let message = "the token lacks a scope that is needed here";
    let mut challenge = Challenge::new(403, Some("insufficient_scope"), message);
    challenge.scope = Some(wanted.join(" "));
    Err(challenge)
}
