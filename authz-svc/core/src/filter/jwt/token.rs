//! The token in a request, and the words of a refusal (RFC 6750 section 3).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gotemplate::Value;
use serde_json::Value as Json;

use super::bits;
use crate::context::Identity;

/// Longest token, in bytes.
const MAX_LEN: usize = 16 << 10;

/// A refusal before it is put in the user's form.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) status: u16,
    pub(super) message: String,
    /// What is wrong with the token itself.
    pub(super) bits: Option<u32>,
    error: Option<&'static str>,
    scope: Option<String>,
}

impl Challenge {
    fn new(status: u16, error: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), bits: None, error, scope: None }
    }

    pub(super) fn invalid_token(bits: u32, message: String) -> Self {
        Self { bits: Some(bits), ..Self::new(401, Some("invalid_token"), message) }
    }

    /// Ours to mend, not the client's.
    pub(super) fn failure(message: &str) -> Self {
        Self::new(500, None, message)
    }

    /// The header's value; none for a failure. `realm` is escaped already, and no other word of it
    /// comes from the client.
    pub(super) fn www_authenticate(&self, realm: &str) -> Option<String> {
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
pub(super) fn bearer(header: Option<&str>) -> Result<&str, Challenge> {
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
pub(super) struct Token {
    raw: String,
    header: Json,
    pub(super) claims: Json,
    /// `alg` of the header.
    pub(super) algorithm: String,
    /// `kid` of the header.
    pub(super) key_id: Option<String>,
    /// What the signature is of.
    pub(super) signed: String,
    pub(super) signature: String,
}

impl Token {
    pub(super) fn parse(text: &str) -> Result<Self, Challenge> {
        let malformed =
            |why: &str| Challenge::invalid_token(bits::MALFORMED, format!("the token is {why}"));
        if text.len() > MAX_LEN {
            return Err(malformed("longer than 16 KiB"));
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("not a JWT"));
        };
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice(&bytes).ok().filter(Json::is_object)
        };
        let header_json: Json = object(header).ok_or_else(|| malformed("not a JWT"))?;
        let claims_json = object(claims).ok_or_else(|| malformed("not a JWT"))?;
        let text_of = |name: &str| header_json.get(name).and_then(Json::as_str).map(str::to_owned);
        if header_json.get("crit").is_some() {
            return Err(malformed("using extensions that are not understood"));
        }
        Ok(Self {
            algorithm: text_of("alg").ok_or_else(|| malformed("not a JWT"))?,
            key_id: text_of("kid"),
            signed: format!("{header}.{claims}"),
            signature: signature.to_owned(),
            raw: text.to_owned(),
            header: header_json,
            claims: claims_json,
        })
    }

    /// Whom the token is of.
    pub(super) fn identity(&self) -> Identity {
        let subject = self.claims.get("sub").and_then(Json::as_str).unwrap_or_default();
        Identity { subject: subject.to_owned(), attributes: Arc::new(self.claims.clone()) }
    }

    /// What templates see as `.token`.
    pub(super) fn template_value(&self) -> Value {
        Value::map([
            ("Raw", Value::from(self.raw.as_str())),
            ("Header", Value::from(self.header.clone())),
            ("Claims", Value::from(self.claims.clone())),
            ("Signature", Value::from(self.signature.as_str())),
        ])
    }
}

/// Whether all of `wanted` are in the claims `scope` or `scp`, each a list or a text with blanks.
pub(super) fn check_scope(claims: &Json, wanted: &[String]) -> Result<(), Challenge> {
    let granted: Vec<&str> = ["scope", "scp"]
        .iter()
        .filter_map(|name| claims.get(name))
        .flat_map(|claim| match claim {
            Json::String(text) => text.split_whitespace().collect(),
            Json::Array(items) => items.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        })
        .collect();
    if wanted.iter().all(|scope| granted.contains(&scope.as_str())) {
        return Ok(());
    }
    let message = "the token lacks a scope that is needed here";
    let mut challenge = Challenge::new(403, Some("insufficient_scope"), message);
    challenge.scope = Some(wanted.join(" "));
    Err(challenge)
}
