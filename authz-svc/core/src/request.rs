//! The request that is judged, as filters see it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::envoy::service::auth::v3::CheckRequest;
use proto::envoy::service::auth::v3::attribute_context::HttpRequest;

/// A view of Envoy's `CheckRequest`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// As in `GET`.
    pub method: String,
    /// `:authority`, lower case.
    pub authority: String,
    /// Path without query, as Envoy normalised it; not percent-decoded.
    pub path: String,
    /// `x-request-id`, or Envoy's own id of the request.
    pub id: String,
    /// Lower-case names; several values joined by a comma.
    headers: BTreeMap<String, String>,
}

impl Request {
    /// Reads what Envoy sent.
    ///
    /// # Errors
    /// When it is not about an HTTP request.
    pub fn from_check(check: CheckRequest) -> Result<Self, &'static str> {
        let http = check
            .attributes
            .and_then(|a| a.request)
            .and_then(|r| r.http)
            .ok_or("the check has no HTTP request")?;
        let headers = headers(&http);
        let get = |name: &str| headers.get(name).cloned();
        let authority =
            if http.host.is_empty() { get(":authority").unwrap_or_default() } else { http.host };
        let path = if http.path.is_empty() { get(":path").unwrap_or_default() } else { http.path };
        let end = path.find(['?', '#']).unwrap_or(path.len());
        Ok(Self {
            method: if http.method.is_empty() {
                get(":method").unwrap_or_default()
            } else {
                http.method
            },
            authority: authority.to_ascii_lowercase(),
            path: path[..end].to_owned(),
            id: get("x-request-id").filter(|id| !id.is_empty()).unwrap_or(http.id),
            headers,
        })
    }

    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// All headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The authority without its port; none when it has no port.
    pub fn host_without_port(&self) -> Option<&str> {
        let (host, port) = self.authority.rsplit_once(':')?;
        (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':'))
            .then_some(host)
    }
}

/// Envoy sends `headers`, or with `encode_raw_headers` `header_map` with raw bytes.
fn headers(http: &HttpRequest) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> =
        http.headers.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.clone())).collect();
    for header in http.header_map.iter().flat_map(|m| &m.headers) {
        let value = if header.raw_value.is_empty() {
            Cow::Borrowed(header.value.as_str())
        } else {
            String::from_utf8_lossy(&header.raw_value)
        };
        headers
            .entry(header.key.to_ascii_lowercase())
            .and_modify(|v| {
                v.push(',');
                v.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    headers
}

/// A request and what filters changed of it so far.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<String, Option<String>>);

impl Changes {
    /// The header as filters that come later see it.
    pub fn header<'a>(&'a self, request: &'a Request, name: &str) -> Option<&'a str> {
        match self.0.get(name) {
            Some(changed) => changed.as_deref(),
            None => request.header(name),
        }
    }

    /// All headers as filters that come later see them.
    pub fn headers<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = (&'a str, &'a str)> {
        let kept = request.headers().filter(|(name, _)| !self.0.contains_key(*name));
        let changed = self.0.iter().filter_map(|(k, v)| v.as_deref().map(|v| (k.as_str(), v)));
        kept.chain(changed)
    }

    /// Sets a header (lower-case name), or removes it.
    pub fn set(&mut self, name: String, value: Option<String>) {
        self.0.insert(name, value);
    }

    /// The difference to `request`: what to set and what to remove.
    pub fn difference(self, request: &Request) -> (Vec<(String, String)>, Vec<String>) {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, value) in self.0 {
            match value {
                Some(value) if request.header(&name) != Some(&value) => set.push((name, value)),
                None if request.header(&name).is_some() => remove.push(name),
                _ => {}
            }
        }
        (set, remove)
    }
}

/// Whether a filter may set the header `name` (lower case): not the pseudo headers nor `host`,
/// which Envoy refuses.
pub fn is_settable(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.len() <= 256 && name != "host" && name.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, path: &str) -> Request {
        let http = HttpRequest { host: host.into(), path: path.into(), ..HttpRequest::default() };
        Request::from_check(check(http)).unwrap()
    }

    fn check(http: HttpRequest) -> CheckRequest {
        use proto::envoy::service::auth::v3::{AttributeContext, attribute_context};
        CheckRequest {
            attributes: Some(AttributeContext {
                request: Some(attribute_context::Request { http: Some(http), time: None }),
                ..AttributeContext::default()
            }),
        }
    }

    #[test]
    fn host_and_path_are_taken_apart() {
        let r = request("Shop.Example:8443", "/a/b?q=1#f");
        assert_eq!((r.authority.as_str(), r.path.as_str()), ("shop.example:8443", "/a/b"));
        assert_eq!(r.host_without_port(), Some("shop.example"));
        assert_eq!(request("[::1]:80", "/").host_without_port(), Some("[::1]"));
        assert_eq!(request("a.test", "/").host_without_port(), None);
    }

    #[test]
    fn raw_headers_are_read_too() {
        use proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
        let header = |raw: &'static str| HeaderValue {
            key: "X-A".into(),
            raw_value: raw.as_bytes().into(),
            ..HeaderValue::default()
        };
        let map = HeaderMap { headers: vec![header("1"), header("2")] };
        let r = Request::from_check(check(HttpRequest {
            header_map: Some(map),
            ..HttpRequest::default()
        }));
        assert_eq!(r.unwrap().header("x-a"), Some("1,2"));
    }

    #[test]
    fn only_the_difference_is_told() {
        let http = HttpRequest {
            headers: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            ..HttpRequest::default()
        };
        let r = Request::from_check(check(http)).unwrap();
        let mut changes = Changes::default();
        changes.set("a".into(), Some("1".into()));
        changes.set("b".into(), None);
        changes.set("c".into(), Some("3".into()));
        changes.set("d".into(), None);
        assert_eq!(changes.header(&r, "b"), None);
        let (set, remove) = changes.difference(&r);
        assert_eq!(set, [("c".to_owned(), "3".to_owned())]);
        assert_eq!(remove, ["b"]);
    }
}
