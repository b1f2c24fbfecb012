//! The profile `simple`: one line of credentials, five lines that are signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::rfc2822::DateTimeParser;
use sha2::{Digest as _, Sha256};

use super::body::Body;
use super::message::authority;
use crate::filter::hexadecimal;
use crate::request::Request;

/// Longest credentials, in bytes.
const MAX_LEN: usize = 4 << 10;

/// Key id and signature of `Authorization: HMAC KEYID:SIGNATURE`; none when it is of another scheme.
///
/// # Errors
/// When it is of this scheme and not well formed.
pub(super) fn credentials(header: Option<&str>) -> Result<Option<(&str, Vec<u8>)>, ()> {
    let Some((scheme, rest)) = header.and_then(|h| h.trim().split_once(' ')) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("hmac") {
        return Ok(None);
    }
    if rest.len() > MAX_LEN {
        return Err(());
    }
    // Base64 has no colon; a key id may.
    let (id, signature) = rest.trim().rsplit_once(':').ok_or(())?;
    Ok(Some((id, STANDARD.decode(signature).map_err(|_| ())?)))
}

/// The header with the time, as it came, and the time in seconds since the Unix epoch. `X-Date` goes
/// first: browsers do not let scripts set `Date`.
pub(super) fn date(request: &Request) -> Option<(&str, u64)> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let text = request.header("x-date").or_else(|| request.header("date"))?;
    let time = PARSER.parse_timestamp(text).ok()?;
    Some((text, u64::try_from(time.as_second()).ok()?))
}

/// What was signed. `body` is none where bodies are not signed.
pub(super) fn base(request: &Request, date: &str, body: Option<&[u8]>) -> String {
    let digest = body.map_or_else(|| "-".to_owned(), |b| hexadecimal(&Sha256::digest(b)));
    let (method, host) = (request.method(), authority(request));
    format!("{method}\n{host}\n{}\n{date}\n{digest}", request.path_and_query())
}

/// The bytes to sign of a body; none when it is cut.
pub(super) fn bytes(body: Body<'_>) -> Option<&[u8]> {
    match body {
        Body::None => Some(&[]),
        Body::Whole(bytes) => Some(bytes),
        Body::Cut => None,
    }
}
