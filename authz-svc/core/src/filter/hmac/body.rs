//! The body of a request, as far as Envoy told it, and its digest (RFC 9530).

use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use crate::request::Request;

/// What is known of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// There is none.
    None,
    /// All of it.
    Whole(&'a [u8]),
    /// There is one, or may be, and not all of it is known.
    Cut,
}

impl<'a> Body<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        let bytes = request.body();
        let is_told_whole = request.header("x-envoy-auth-partial-body") == Some("false");
        match request.header("content-length") {
            Some(length) => match length.parse::<usize>() {
                Ok(0) if bytes.is_empty() => Self::None,
                Ok(length) if length == bytes.len() => Self::Whole(bytes),
                _ => Self::Cut,
            },
            // A client may send that header, too, where Envoy sends no bodies; then there are none.
            None if is_told_whole && !bytes.is_empty() => Self::Whole(bytes),
            None if bytes.is_empty() && is_without(request) => Self::None,
            None => Self::Cut,
        }
    }
}

/// Whether a request of this method has no body when nothing says that it has.
fn is_without(request: &Request) -> bool {
    let methods = ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"];
    methods.contains(&request.method()) && request.header("transfer-encoding").is_none()
}

/// Whether `field` (`Content-Digest`) has a digest by SHA-256 or SHA-512, and none that is not the
/// body's.
pub(super) fn has_digest(field: &str, body: &[u8]) -> bool {
    let Ok(digests) = Parser::new(field).parse::<Dictionary>() else { return false };
    let mut known = 0;
    for (name, entry) in &digests {
        let ListEntry::Item(item) = entry else { return false };
        let BareItem::ByteSequence(given) = &item.bare_item else { return false };
        let right: bool = match name.as_str() {
            "sha-256" => given.ct_eq(Sha256::digest(body).as_slice()).into(),
            "sha-512" => given.ct_eq(Sha512::digest(body).as_slice()).into(),
            // RFC 9530 knows others, which are broken.
            _ => continue,
        };
        if !right {
            return false;
        }
        known += 1;
    }
    known > 0
}
