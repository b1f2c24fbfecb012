//! HTTP Message Signatures (RFC 9421): the fields of signatures, and what was signed.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, ListEntry, Parser};

use crate::request::Request;

/// Longest fields, in bytes.
const MAX_LEN: usize = 16 << 10;
/// Most signatures of a request.
const MAX_SIGNATURES: usize = 8;
/// Most components of a signature.
const MAX_COMPONENTS: usize = 64;
/// What stays as it is in `@query-param` (the URL standard's application/x-www-form-urlencoded set).
const FORM: AsciiSet = NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// A signature of a request.
#[derive(Debug)]
pub(super) struct Signature {
    covered: InnerList,
    /// The signature itself.
    pub bytes: Vec<u8>,
}

/// Reads `Signature-Input` and `Signature`. None when they are not well formed, or there are too many.
pub(super) fn read(input: &str, signatures: &str) -> Option<Vec<Signature>> {
    if input.len() + signatures.len() > MAX_LEN {
        return None;
    }
    let input: Dictionary = Parser::new(input).parse().ok()?;
    let mut signatures: Dictionary = Parser::new(signatures).parse().ok()?;
    if input.len() > MAX_SIGNATURES {
        return None;
    }
    let mut all = Vec::new();
    for (label, covered) in input {
        let ListEntry::InnerList(covered) = covered else { return None };
        let Some(ListEntry::Item(Item { bare_item: BareItem::ByteSequence(bytes), .. })) =
            signatures.swap_remove(&label)
        else {
            return None;
        };
        if covered.items.len() > MAX_COMPONENTS {
            return None;
        }
        all.push(Signature { covered, bytes });
    }
    Some(all)
}

impl Signature {
    /// A parameter that is text: `keyid`, `alg`, `nonce`, `tag`.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.covered.params.get(name)?.as_string().map(|s| s.as_str())
    }

    /// A parameter that is a time: `created`, `expires`; in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When it is there and no such time.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, ()> {
        let Some(value) = self.covered.params.get(name) else { return Ok(None) };
        let seconds = value.as_integer().and_then(|n| u64::try_from(i64::from(n)).ok());
        seconds.map(Some).ok_or(())
    }

    /// Whether it covers `required`, by itself or by a component that contains it.
    pub(super) fn covers(&self, required: &str) -> bool {
        self.covered.items.iter().any(|item| {
            // A part of a field (`key`) is not the field; its bytes (`bs`) are.
            let is_whole = item.params.keys().all(|k| k.as_str() == "bs");
            let name = item.bare_item.as_string().map(|s| s.as_str());
            is_whole
                && match name {
                    Some("@target-uri") => {
                        ["@target-uri", "@scheme", "@authority", "@path", "@query"]
                            .contains(&required)
                    }
                    Some("@request-target") => {
                        ["@request-target", "@path", "@query"].contains(&required)
                    }
                    name => name == Some(required),
                }
        })
    }

    /// What was signed (section 2.5).
    ///
    /// # Errors
    /// In words, when a component cannot be had of this request.
    pub(super) fn base(&self, request: &Request) -> Result<String, &'static str> {
        let mut base = String::new();
        let mut seen = HashSet::new();
        for item in &self.covered.items {
            let id = item.serialize();
            let value = component(request, item)?;
            if value.contains(['\r', '\n']) {
                return Err("a signed value has line breaks");
            }
            base.push_str(&id);
            base.push_str(": ");
            base.push_str(&value);
            base.push('\n');
            if !seen.insert(id) {
                return Err("a component is signed twice");
            }
        }
        let list = vec![ListEntry::InnerList(self.covered.clone())].serialize();
        base.push_str("\"@signature-params\": ");
        base.push_str(&list.ok_or("the signature's components cannot be written")?);
        Ok(base)
    }
}

/// The value of a component (sections 2.1 and 2.2).
fn component(request: &Request, item: &Item) -> Result<String, &'static str> {
    const UNKNOWN: &str = "a component is signed that is not supported";
    let name = item.bare_item.as_string().ok_or(UNKNOWN)?.as_str();
    if name == "@query-param" {
        return query_parameter(request, item);
    }
    if !name.starts_with('@') {
        return field(request, name, item);
    }
    if !item.params.is_empty() {
        return Err(UNKNOWN);
    }
    Ok(match name {
        "@method" => request.method().to_owned(),
        "@authority" => authority(request).to_owned(),
        "@scheme" => request.scheme().to_owned(),
        "@target-uri" => {
            let (scheme, authority) = (request.scheme(), authority(request));
            format!("{scheme}://{authority}{}", request.path_and_query())
        }
        "@request-target" => request.path_and_query().to_owned(),
        "@path" if request.path().is_empty() => "/".to_owned(),
        "@path" => request.path().to_owned(),
        "@query" => format!("?{}", request.query().unwrap_or_default()),
        _ => return Err(UNKNOWN),
    })
}

/// Without the port that the scheme has by itself.
pub(super) fn authority(request: &Request) -> &str {
    let authority = request.authority();
    let default = match request.scheme() {
        "https" => ":443",
        "http" => ":80",
        _ => return authority,
    };
    authority.strip_suffix(default).unwrap_or(authority)
}

fn field(request: &Request, name: &str, item: &Item) -> Result<String, &'static str> {
    const MISSING: &str = "a signed header is missing";
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the name of a signed header is not in lower case");
    }
    let value = request.header(name).ok_or(MISSING)?.trim_matches([' ', '\t']);
    let mut parameters = item.params.iter().map(|(k, v)| (k.as_str(), v));
    match (parameters.next(), parameters.next()) {
        (None, _) => Ok(value.to_owned()),
        (Some(("bs", BareItem::Boolean(true))), None) => {
            Ok(format!(":{}:", STANDARD.encode(value)))
        }
        (Some(("key", BareItem::String(key))), None) => {
            let members: Dictionary =
                Parser::new(value).parse().map_err(|_| "a signed header is no dictionary")?;
            let member = members.get(key.as_str()).ok_or(MISSING)?.clone();
            let text = match member {
                ListEntry::Item(item) => Some(item.serialize()),
                list => vec![list].serialize(),
            };
            text.ok_or(MISSING)
        }
        // `sf` needs to know the type of each header; `req` and `tr` are not of requests.
        _ => Err("a component is signed in a way that is not supported"),
    }
}

fn query_parameter(request: &Request, item: &Item) -> Result<String, &'static str> {
    const WRONG: &str = "a signed parameter of the query is not there exactly once";
    let name = match (item.params.len(), item.params.get("name")) {
        (1, Some(BareItem::String(name))) => name.as_str(),
        _ => return Err(WRONG),
    };
    let read = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let wanted = read(name);
    let pairs = request.query().unwrap_or_default().split('&').filter(|p| !p.is_empty());
    let mut values = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| read(name) == wanted)
        .map(|(_, value)| read(value));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(utf8_percent_encode(&value, &FORM).to_string()),
        _ => Err(WRONG),
    }
}
