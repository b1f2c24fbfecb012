//! Filter kind HMAC: a signed request, as RFC 9421 says or in a simple way. A signature passes once.

mod body;
mod compile;
mod key;
mod message;
mod simple;
mod spec;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gotemplate::Value;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{HeaderTemplates, Judge, Judged, Modification, Verdict, hexadecimal};
use crate::arguments::Arguments;
use crate::context::{Context, Identity};
use crate::need::{StoreAnswer, StoreCommand};
use crate::reply::Reply;
use crate::request::Request;
use body::Body;
use key::Key;
use message::Signature;

pub(crate) use compile::compile;
pub use spec::{Keys, Spec};

/// The arguments it takes.
pub(crate) const ARGUMENTS: &[&str] = &[];

/// How requests are signed.
#[derive(Debug)]
enum Profile {
    HttpSignatures {
        /// What each signature must cover.
        components: Vec<String>,
        require_nonce: bool,
        tag: Option<String>,
    },
    Simple,
}

/// Whether bodies must be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digests {
    Auto,
    Always,
    Never,
}

/// A compiled HMAC filter.
pub struct Hmac {
    /// `NAME.NAMESPACE`.
    name: String,
    profile: Profile,
    keys: HashMap<String, Key>,
    digests: Digests,
    max_age: Duration,
    clock_skew: Duration,
    once: bool,
    /// Of the answer 401.
    challenge: Vec<(&'static str, String)>,
    strip: bool,
    inject: HeaderTemplates,
}

impl fmt::Debug for Hmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hmac").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// A signature that is good, but for that it may have been used before.
struct Verified<'a> {
    key_id: &'a str,
    algorithm: &'static str,
    /// What can be used once.
    once: [u8; 32],
    /// From then on it is too old.
    until: Duration,
}

/// Status and words.
type Refusal = (u16, &'static str);

const MISSING: Refusal = (401, "a signature is missing");
const MALFORMED: Refusal = (401, "the signature cannot be read");
const WRONG: Refusal = (401, "the signature is not valid");
const CUT: Refusal = (413, "not all of the body is known, so that it cannot be verified");

impl Judge for Hmac {
    fn judge(&self, context: &Context<'_>, _: &Arguments) -> Judged {
        let reply = |status, words| Reply::json(status, words, context.request_id());
        let deny = |(status, words): Refusal| {
            let challenge = self.challenge.iter().filter(|_| status == 401);
            let reply = challenge.fold(reply(status, words), |r, (n, v)| r.with_header(n, v));
            Ok(Verdict::Deny(reply))
        };
        // What filters made of the headers was not signed.
        let signatures = match self.read(context.request) {
            Ok(signatures) => signatures,
            Err(refusal) => return deny(refusal),
        };
        let verified = match self.verify(context.request, &signatures, context.now) {
            Ok(verified) => verified,
            Err(refusal) => return deny(refusal),
        };
        if self.once {
            let life = verified.until.saturating_sub(context.now) + Duration::from_secs(1);
            let key = format!("hmac:{}", hexadecimal(&verified.once));
            match context.store(StoreCommand::Add(key, vec![1], life))? {
                Ok(StoreAnswer::Done) => {}
                Ok(StoreAnswer::Exists) => return deny((401, "the signature was used before")),
                Ok(StoreAnswer::Value(_)) | Err(_) => {
                    let words = "nobody can say whether this signature was used before; try again";
                    return Ok(Verdict::Error(reply(503, words)));
                }
            }
        }
        Ok(self.allow(context, &verified))
    }
}

/// The signatures of a request.
enum Found<'a> {
    Http(Vec<Signature>),
    Simple(&'a str, Vec<u8>),
}

impl Hmac {
    fn read<'a>(&self, request: &'a Request) -> Result<Found<'a>, Refusal> {
        match self.profile {
            Profile::Simple => match simple::credentials(request.header("authorization")) {
                Ok(Some((id, signature))) => Ok(Found::Simple(id, signature)),
                Ok(None) => Err(MISSING),
                Err(()) => Err(MALFORMED),
            },
            Profile::HttpSignatures { .. } => {
                let header = |name| request.header(name).ok_or(MISSING);
                let (input, signatures) = (header("signature-input")?, header("signature")?);
                Ok(Found::Http(message::read(input, signatures).ok_or(MALFORMED)?))
            }
        }
    }

    fn verify<'a>(
        &self,
        request: &'a Request,
        found: &'a Found<'a>,
        now: Duration,
    ) -> Result<Verified<'a>, Refusal> {
        let signatures = match found {
            Found::Simple(id, signature) => return self.verify_simple(request, id, signature, now),
            Found::Http(signatures) => signatures,
        };
        let mut refusal = WRONG;
        for signature in signatures {
            // Others are for others: they have keys that this filter does not know, or another tag.
            let Some((key_id, key)) = self.own(signature) else { continue };
            match self.verify_http(request, signature, key_id, key, now) {
                Ok(verified) => return Ok(verified),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    /// Key id and key of a signature that this filter is to look at.
    fn own<'a>(&self, signature: &'a Signature) -> Option<(&'a str, &Key)> {
        let Profile::HttpSignatures { tag, .. } = &self.profile else { return None };
        let is_tagged = tag.is_none() || signature.text("tag") == tag.as_deref();
        let id = signature.text("keyid").filter(|_| is_tagged)?;
        Some((id, self.keys.get(id)?))
    }

    fn verify_http<'a>(
        &self,
        request: &Request,
        signature: &Signature,
        key_id: &'a str,
        key: &Key,
        now: Duration,
    ) -> Result<Verified<'a>, Refusal> {
        let Profile::HttpSignatures { components, require_nonce, .. } = &self.profile else {
            return Err(WRONG);
        };
        if signature.text("alg").is_some_and(|alg| alg != key.algorithm) {
            return Err((401, "the signature's algorithm is not the key's"));
        }
        let created = signature.time("created").map_err(|()| MALFORMED)?;
        let created = created.ok_or((401, "the signature does not say when it was made"))?;
        let expires = signature.time("expires").map_err(|()| MALFORMED)?;
        let mut until = self.timely(Duration::from_secs(created), now)?;
        if let Some(expires) = expires {
            let end = Duration::from_secs(expires) + self.clock_skew;
            if end < now {
                return Err((401, "the signature expired"));
            }
            until = until.min(end);
        }
        let needs = |name: &str| name != "@query" || request.query().is_some();
        if components.iter().any(|name| needs(name) && !signature.covers(name)) {
            return Err((401, "the signature does not cover all that it must"));
        }
        let nonce = signature.text("nonce");
        if *require_nonce && nonce.is_none() {
            return Err((401, "the signature has no nonce"));
        }
        let base = signature.base(request).map_err(|words| (401, words))?;
        if !key.verify(base.as_bytes(), &signature.bytes) {
            return Err(WRONG);
        }
        self.verify_body(request, signature.covers("content-digest"))?;
        // Not the signature's bytes: another one can be made of an ECDSA signature by anybody.
        let once = match nonce {
            Some(nonce) => self.once(&["nonce", key_id, nonce]),
            None => self.once(&["base", key_id, &base]),
        };
        Ok(Verified { key_id, algorithm: key.algorithm, once, until })
    }

    fn verify_body(&self, request: &Request, is_covered: bool) -> Result<(), Refusal> {
        let body = Body::of(request);
        let is_needed = match self.digests {
            Digests::Never => return Ok(()),
            Digests::Always => true,
            Digests::Auto => body != Body::None,
        };
        if !is_covered {
            let words = "the signature does not cover the body (content-digest)";
            return if is_needed { Err((401, words)) } else { Ok(()) };
        }
        let bytes = simple::bytes(body).ok_or(CUT)?;
        let field = request.header("content-digest").unwrap_or_default();
        let good = body::has_digest(field, bytes);
        if good { Ok(()) } else { Err((401, "the body is not the one that was signed")) }
    }

    fn verify_simple<'a>(
        &self,
        request: &Request,
        key_id: &'a str,
        signature: &[u8],
        now: Duration,
    ) -> Result<Verified<'a>, Refusal> {
        let date = simple::date(request).ok_or((401, "the date is missing or cannot be read"))?;
        let until = self.timely(Duration::from_secs(date.1), now)?;
        let body = match self.digests {
            Digests::Never => None,
            Digests::Auto | Digests::Always => Some(simple::bytes(Body::of(request)).ok_or(CUT)?),
        };
        let base = simple::base(request, date.0, body);
        let key = self.keys.get(key_id).filter(|k| k.verify(base.as_bytes(), signature));
        let key = key.ok_or(WRONG)?;
        let once = self.once(&["base", key_id, &base]);
        Ok(Verified { key_id, algorithm: key.algorithm, once, until })
    }

    /// Until when a signature of this time passes.
    fn timely(&self, created: Duration, now: Duration) -> Result<Duration, Refusal> {
        if created > now + self.clock_skew {
            return Err((401, "the signature is from the future"));
        }
        let until = created.saturating_add(self.max_age);
        if until < now {
            return Err((401, "the signature is too old"));
        }
        Ok(until)
    }

    fn once(&self, parts: &[&str]) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [self.name.as_str()].iter().chain(parts) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn allow(&self, context: &Context<'_>, verified: &Verified<'_>) -> Verdict {
        let data = Value::map([
            ("keyID", Value::from(verified.key_id)),
            ("httpRequestHeader", context.header_value()),
        ]);
        let Ok(headers) = self.inject.render(&data) else {
            let words = "a header of this request cannot be made from its signature";
            return Verdict::Fail(Reply::json(500, words, context.request_id()));
        };
        let mut headers = context.settable(headers);
        if self.strip {
            let names: &[&str] = match self.profile {
                Profile::HttpSignatures { .. } => &["signature-input", "signature"],
                Profile::Simple => &["authorization"],
            };
            let removed = names.iter().filter(|n| !headers.iter().any(|(h, _)| h == *n));
            let removed: Vec<_> = removed.map(|n| ((*n).to_owned(), None)).collect();
            headers.extend(removed);
        }
        let attributes = json!({"keyID": verified.key_id, "algorithm": verified.algorithm});
        Verdict::Allow(Box::new(Modification {
            headers,
            identity: Some(Identity {
                subject: verified.key_id.to_owned(),
                attributes: Arc::new(attributes),
            }),
            ..Modification::default()
        }))
    }
}

#[cfg(test)]
mod tests;
