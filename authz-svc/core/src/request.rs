//! The request that is judged, as filters see it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::service::auth::v3::CheckRequest;
use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};

/// A view of Envoy's `CheckRequest`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    method: String,
    scheme: String,
    authority: String,
    target: String,
    id: String,
    headers: BTreeMap<String, String>,
    source: Peer,
    destination: Peer,
    check: Arc<CheckRequest>,
}

/// One end of the connection to Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address; none for a socket without one.
    pub address: Option<IpAddr>,
    /// Its port; 0 when unknown.
    pub port: u16,
    /// Authenticated name, as a SPIFFE id; empty without mutual TLS.
    pub principal: String,
    /// URL-encoded PEM of its certificate, when Envoy sends it; else empty.
    pub certificate: String,
}

impl Request {
    /// Reads what Envoy sent.
    ///
    /// # Errors
    /// When it is not about an HTTP request.
    pub fn from_check(check: CheckRequest) -> Result<Self, &'static str> {
        let attributes = check.attributes.as_ref().ok_or("the check has no HTTP request")?;
        let http = attributes
            .request
            .as_ref()
            .and_then(|r| r.http.as_ref())
            .ok_or("the check has no HTTP request")?;
        let headers = headers(http);
        let get = |name: &str| headers.get(name).cloned();
        let or = |text: &str, name: &str| {
            if text.is_empty() { get(name).unwrap_or_default() } else { text.to_owned() }
        };
        let scheme = get("x-forwarded-proto").unwrap_or_else(|| or(&http.scheme, ":scheme"));
        Ok(Self {
            method: or(&http.method, ":method"),
            scheme: scheme.to_ascii_lowercase(),
            authority: or(&http.host, ":authority").to_ascii_lowercase(),
            target: or(&http.path, ":path"),
            id: get("x-request-id").filter(|id| !id.is_empty()).unwrap_or_else(|| http.id.clone()),
            source: peer(attributes.source.as_ref()),
            destination: peer(attributes.destination.as_ref()),
            headers,
            check: Arc::new(check),
        })
    }

    /// As in `GET`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// `http` or `https`: that of the client, from `x-forwarded-proto` when Envoy set it.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// `:authority`, lower case; may have a port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path without query, as Envoy normalised it; not percent-decoded.
    pub fn path(&self) -> &str {
        &self.target[..self.target.find(['?', '#']).unwrap_or(self.target.len())]
    }

    /// After the first `?`; none without one.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, q)| q.split('#').next().unwrap_or_default())
    }

    /// Path and query as they came.
    pub fn path_and_query(&self) -> &str {
        &self.target
    }

    /// `x-request-id`, or Envoy's own id of the request.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A header's value; `name` in lower case. Several are joined by a comma, cookies by `; `.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// All headers, in the order of their names.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The authority without its port; none when it has no port.
    pub fn host_without_port(&self) -> Option<&str> {
        let (host, port) = self.authority.rsplit_once(':')?;
        (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':'))
            .then_some(host)
    }

    /// The body, as far as Envoy sent it.
    pub fn body(&self) -> &[u8] {
        let Some(http) = self.http() else { return &[] };
        if http.raw_body.is_empty() { http.body.as_bytes() } else { &http.raw_body }
    }

    /// As in `HTTP/1.1`; empty when unknown.
    pub fn protocol(&self) -> &str {
        self.http().map_or("", |h| &h.protocol)
    }

    /// The client, or the proxy before Envoy.
    pub fn source(&self) -> &Peer {
        &self.source
    }

    /// Where the request came in.
    pub fn destination(&self) -> &Peer {
        &self.destination
    }

    /// The name that the client asked for in TLS; empty when unknown.
    pub fn server_name(&self) -> &str {
        let session = self.check.attributes.as_ref().and_then(|a| a.tls_session.as_ref());
        session.map_or("", |t| &t.sni)
    }

    /// Whether the client speaks gRPC.
    pub fn is_grpc(&self) -> bool {
        self.header("content-type").is_some_and(|t| t.starts_with("application/grpc"))
    }

    /// Envoy's whole message.
    pub fn check(&self) -> &CheckRequest {
        &self.check
    }

    fn http(&self) -> Option<&HttpRequest> {
        self.check.attributes.as_ref()?.request.as_ref()?.http.as_ref()
    }
}

fn peer(peer: Option<&attribute_context::Peer>) -> Peer {
    let Some(peer) = peer else { return Peer::default() };
    let socket = peer.address.as_ref().and_then(|a| match &a.address {
        Some(AddressKind::SocketAddress(socket)) => Some(socket),
        _ => None,
    });
    let port = socket.and_then(|s| match s.port_specifier {
        Some(proto::envoy::config::core::v3::socket_address::PortSpecifier::PortValue(port)) => {
            u16::try_from(port).ok()
        }
        _ => None,
    });
    Peer {
        address: socket.and_then(|s| s.address.parse().ok()),
        port: port.unwrap_or_default(),
        principal: peer.principal.clone(),
        certificate: peer.certificate.clone(),
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
        let name = header.key.to_ascii_lowercase();
        let between = if name == "cookie" { "; " } else { "," };
        headers
            .entry(name)
            .and_modify(|v| {
                v.push_str(between);
                v.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    headers
}

/// A request and what filters changed of it so far.
#[derive(Clone, Debug, Default)]
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
        assert_eq!((r.authority(), r.path()), ("shop.example:8443", "/a/b"));
        assert_eq!(r.query(), Some("q=1"));
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
