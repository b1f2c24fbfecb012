//! The request that is judged, as filters see it.

#[cfg(test)]
mod tests;
mod view;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use prost::Message as _;
use prost::bytes::Bytes;
use proto::envoy::service::auth::v3::CheckRequest;

use view::{HeaderView, HttpView, PeerView, View};

/// A view of Envoy's `CheckRequest`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Request(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    texts: Texts,
    method: Span,
    scheme: Span,
    authority: Span,
    target: Span,
    id: Span,
    protocol: Span,
    server_name: Span,
    /// Sorted by name; each name once.
    headers: Vec<(Span, Span)>,
    extensions: Vec<(Span, Span)>,
    body: Bytes,
    source: Peer,
    destination: Peer,
    message: Bytes,
    check: OnceLock<Box<CheckRequest>>,
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

/// Texts one after the other, so that a request takes one piece of the heap for all of them.
#[derive(Debug, Default)]
struct Texts(String);

/// A place in [`Texts`].
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
}

impl Texts {
    fn get(&self, span: Span) -> &str {
        self.0.get(span.start..span.end).unwrap_or_default()
    }

    fn push(&mut self, text: &str) -> Span {
        let start = self.0.len();
        self.0.push_str(text);
        Span { start, end: self.0.len() }
    }

    /// In lower case.
    fn push_lower(&mut self, text: &str) -> Span {
        let span = self.push(text);
        if let Some(own) = self.0.get_mut(span.start..span.end) {
            own.make_ascii_lowercase();
        }
        span
    }

    /// What stands at `span`, in lower case.
    fn lower(&mut self, span: Span) -> Span {
        if !self.get(span).bytes().any(|byte| byte.is_ascii_uppercase()) {
            return span;
        }
        let text = self.get(span).to_owned();
        self.push_lower(&text)
    }
}

impl Request {
    /// Reads what Envoy sent: a `CheckRequest` in protobuf's bytes.
    ///
    /// # Errors
    /// When it is none, or not about an HTTP request.
    pub fn decode(message: Bytes) -> Result<Self, &'static str> {
        let Some(view) = View::read(&message) else {
            // A copy: the body of what protobuf read would keep all of the message.
            let check = CheckRequest::decode(&*message).map_err(|_| "the check cannot be read")?;
            return Self::from_check(check);
        };
        let body = view.http.as_ref().map_or(Bytes::new(), |http| {
            let body = if http.raw_body.is_empty() { http.body } else { http.raw_body };
            message.slice_ref(body)
        });
        let mut inner = Inner::new(view)?;
        (inner.body, inner.message) = (body, message);
        Ok(Self(Arc::new(inner)))
    }

    /// Takes what Envoy said.
    ///
    /// # Errors
    /// When it is not about an HTTP request.
    pub fn from_check(check: CheckRequest) -> Result<Self, &'static str> {
        let view = View::of(&check);
        let body = view.http.as_ref().map_or(Bytes::new(), |http| {
            let body = if http.raw_body.is_empty() { http.body } else { http.raw_body };
            Bytes::copy_from_slice(body)
        });
        let mut inner = Inner::new(view)?;
        inner.body = body;
        inner.check = OnceLock::from(Box::new(check));
        Ok(Self(Arc::new(inner)))
    }

    /// As in `GET`.
    pub fn method(&self) -> &str {
        self.text(self.0.method)
    }

    /// `http` or `https`: that of the client, from `x-forwarded-proto` when Envoy set it.
    pub fn scheme(&self) -> &str {
        self.text(self.0.scheme)
    }

    /// `:authority`, lower case; may have a port.
    pub fn authority(&self) -> &str {
        self.text(self.0.authority)
    }

    /// Path without query, as Envoy normalised it; not percent-decoded.
    pub fn path(&self) -> &str {
        let target = self.path_and_query();
        &target[..target.find(['?', '#']).unwrap_or(target.len())]
    }

    /// After the first `?`; none without one.
    pub fn query(&self) -> Option<&str> {
        let (_, query) = self.path_and_query().split_once('?')?;
        query.split('#').next()
    }

    /// Path and query as they came.
    pub fn path_and_query(&self) -> &str {
        self.text(self.0.target)
    }

    /// `x-request-id`, or Envoy's own id of the request.
    pub fn id(&self) -> &str {
        self.text(self.0.id)
    }

    /// A header's value; `name` in lower case. Several are joined by a comma, cookies by `; `.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name).map(|value| self.text(value))
    }

    /// All headers, in the order of their names.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.headers.iter().map(|(name, value)| (self.text(*name), self.text(*value)))
    }

    /// The authority without its port; none when it has no port.
    pub fn host_without_port(&self) -> Option<&str> {
        let (host, port) = self.authority().rsplit_once(':')?;
        (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':'))
            .then_some(host)
    }

    /// The body, as far as Envoy sent it.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// As in `HTTP/1.1`; empty when unknown.
    pub fn protocol(&self) -> &str {
        self.text(self.0.protocol)
    }

    /// The client, or the proxy before Envoy.
    pub fn source(&self) -> &Peer {
        &self.0.source
    }

    /// Where the request came in.
    pub fn destination(&self) -> &Peer {
        &self.0.destination
    }

    /// The name that the client asked for in TLS; empty when unknown.
    pub fn server_name(&self) -> &str {
        self.text(self.0.server_name)
    }

    /// What Envoy's configuration says of the route (`context_extensions`), in the order of names.
    pub fn context_extensions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.extensions.iter().map(|(name, value)| (self.text(*name), self.text(*value)))
    }

    /// Whether the client speaks gRPC.
    pub fn is_grpc(&self) -> bool {
        self.header("content-type").is_some_and(|t| t.starts_with("application/grpc"))
    }

    /// Envoy's whole message, for the seldom case that somebody wants what is not above, as its
    /// metadata: it is read when this is called first.
    pub fn check(&self) -> &CheckRequest {
        // What the view read can be read.
        let read = || Box::new(CheckRequest::decode(&*self.0.message).unwrap_or_default());
        self.0.check.get_or_init(read)
    }

    fn text(&self, span: Span) -> &str {
        self.0.texts.get(span)
    }
}

impl Inner {
    fn new(view: View<'_>) -> Result<Self, &'static str> {
        let View { source, destination, http, mut extensions, server_name } = view;
        let http = http.ok_or("the check has no HTTP request")?;
        let mut new =
            Self { source: source.into(), destination: destination.into(), ..Self::default() };
        let HttpView { id, method, path, host, scheme, protocol, mut headers, .. } = http;
        // Room for them all, and for what is written twice, in lower case.
        let length = headers.iter().map(|h| h.name.len() + h.value.len() + 2).sum::<usize>();
        let rest =
            method.len() + scheme.len() + host.len() + path.len() + id.len() + protocol.len();
        new.texts.0.reserve(length + rest + server_name.len() + 16);
        new.take_headers(&mut headers);
        let x_forwarded_proto = new.header("x-forwarded-proto");
        new.method = new.push_or(method, ":method");
        let scheme = x_forwarded_proto.unwrap_or_else(|| new.push_or(scheme, ":scheme"));
        new.scheme = new.texts.lower(scheme);
        let authority = new.push_or(host, ":authority");
        new.authority = new.texts.lower(authority);
        new.target = new.push_or(path, ":path");
        new.protocol = new.texts.push(protocol);
        new.server_name = new.texts.push(server_name);
        let named = new.header("x-request-id").filter(|id| id.start < id.end);
        new.id = named.unwrap_or_else(|| new.texts.push(id));
        // Sorting keeps the order of equal names, so the last one is the one that counts.
        extensions.sort_by_key(|(name, _)| *name);
        for (at, (name, value)) in extensions.iter().enumerate() {
            if extensions.get(at + 1).is_none_or(|(next, _)| next != name) {
                let pair = (new.texts.push(name), new.texts.push(value));
                new.extensions.push(pair);
            }
        }
        Ok(new)
    }

    fn header(&self, name: &str) -> Option<Span> {
        let order = |(own, _): &(Span, Span)| self.texts.get(*own).cmp(name);
        let at = self.headers.binary_search_by(order).ok()?;
        self.headers.get(at).map(|(_, value)| *value)
    }

    /// `text`, or when it is empty the header `name`.
    fn push_or(&mut self, text: &str, name: &str) -> Span {
        match self.header(name) {
            Some(value) if text.is_empty() => value,
            _ => self.texts.push(text),
        }
    }

    /// Takes all headers: of a name in the map the last one, then all of the list, joined.
    fn take_headers(&mut self, headers: &mut [HeaderView<'_>]) {
        let is_mixed = |h: &HeaderView<'_>| h.name.bytes().any(|byte| byte.is_ascii_uppercase());
        headers.sort_by(if headers.iter().any(is_mixed) { order } else { plain_order });
        self.headers.reserve(headers.len());
        for (at, header) in headers.iter().enumerate() {
            let is_next_same = |next: &HeaderView<'_>| next.name.eq_ignore_ascii_case(header.name);
            let next = headers.get(at + 1).filter(|next| is_next_same(next));
            if !header.is_listed && next.is_some_and(|next| !next.is_listed) {
                continue;
            }
            let joins = at.checked_sub(1).and_then(|before| headers.get(before));
            match self.headers.last_mut() {
                // It is the last text, so it can grow.
                Some((name, value)) if header.is_listed && joins.is_some_and(is_next_same) => {
                    let between = if self.texts.get(*name) == "cookie" { "; " } else { "," };
                    self.texts.push(between);
                    value.end = self.texts.push(&header.value).end;
                }
                _ => {
                    let name = self.texts.push_lower(header.name);
                    let value = self.texts.push(&header.value);
                    self.headers.push((name, value));
                }
            }
        }
    }
}

/// By name in lower case; of equal ones the map before the list, and within the map by the name as it
/// came, as protobuf's map has it.
fn order(a: &HeaderView<'_>, b: &HeaderView<'_>) -> Ordering {
    let within =
        |h: &HeaderView<'_>| if h.is_listed { Ordering::Equal } else { a.name.cmp(b.name) };
    let names = a.name.bytes().map(|byte| byte.to_ascii_lowercase());
    let names = names.cmp(b.name.bytes().map(|byte| byte.to_ascii_lowercase()));
    names.then(a.is_listed.cmp(&b.is_listed)).then_with(|| within(a))
}

/// The same of names that are in lower case.
fn plain_order(a: &HeaderView<'_>, b: &HeaderView<'_>) -> Ordering {
    a.name.cmp(b.name).then(a.is_listed.cmp(&b.is_listed))
}

impl From<PeerView<'_>> for Peer {
    fn from(view: PeerView<'_>) -> Self {
        Self {
            address: view.address.parse().ok(),
            port: u16::try_from(view.port).unwrap_or_default(),
            principal: view.principal.to_owned(),
            certificate: view.certificate.to_owned(),
        }
    }
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
