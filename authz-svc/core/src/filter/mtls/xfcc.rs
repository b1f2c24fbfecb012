//! The header `x-forwarded-client-cert` as Envoy writes it: elements by proxies, apart by commas; in
//! each `Key=value` pairs, apart by semicolons; a value with one of `,;=` stands in double quotes, in
//! which a backslash takes the next character as it is.

/// Longest header, in bytes.
const MAX_LEN: usize = 256 << 10;
/// Most elements, and most pairs of one.
const MAX_PARTS: usize = 128;

/// One proxy's word about its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// URL-encoded PEM of the client's certificate.
    pub certificate: Option<String>,
    /// URL-encoded PEM of its whole chain, the client's first.
    pub chain: Option<String>,
    /// SHA-256 of the certificate, hexadecimal.
    pub hash: Option<String>,
    /// RFC 2253.
    pub subject: Option<String>,
    /// URIs of the certificate.
    pub uris: Vec<String>,
    /// DNS names of the certificate.
    pub dns_names: Vec<String>,
}

/// The last element: that of the nearest proxy. None when any part of the header is not well formed,
/// for then nobody knows where an element ends.
pub fn last(header: &str) -> Option<Element> {
    if header.len() > MAX_LEN {
        return None;
    }
    let (mut element, mut rest) = (Element::default(), header);
    for _ in 0..MAX_PARTS * MAX_PARTS {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([' ', '\t']);
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let (value, after) = value(after)?;
        element.add(key, value)?;
        let after = after.trim_start_matches([' ', '\t']);
        match after.chars().next() {
            None => return Some(element),
            Some(';') => rest = after.get(1..)?,
            Some(',') => {
                element = Element::default();
                rest = after.get(1..)?;
            }
            Some(_) => return None,
        }
    }
    None
}

/// The value at the beginning of `text`, and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        // A quote in the middle would be read by others in other ways.
        return (!value.contains('"')).then(|| (value.trim_matches([' ', '\t']).to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

impl Element {
    /// Adds a pair; none when it is one that may stand once and did already.
    fn add(&mut self, key: &str, value: String) -> Option<()> {
        let once = |field: &mut Option<String>, value| match field {
            Some(_) => None,
            None => {
                *field = Some(value);
                Some(())
            }
        };
        let list = |field: &mut Vec<String>, value| {
            // Envoy writes an empty one for a certificate without.
            if !String::is_empty(&value) {
                field.push(value);
            }
            (field.len() <= MAX_PARTS).then_some(())
        };
        match key.to_ascii_lowercase().as_str() {
            "cert" => once(&mut self.certificate, value),
            "chain" => once(&mut self.chain, value),
            "hash" => once(&mut self.hash, value),
            "subject" => once(&mut self.subject, value),
            "uri" => list(&mut self.uris, value),
            "dns" => list(&mut self.dns_names, value),
            // `By` is about the proxy.
            _ => Some(()),
        }
    }
}
