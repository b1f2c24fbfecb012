//! `input`, as OPA's plugin for Envoy makes it: Envoy's message in the JSON of protobuf, and what is
//! parsed of it. Headers are those that earlier filters of the chain left.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::core::v3::{Address, Metadata};
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use serde_json::{Map, Value as Json, json};

use super::syntax::Syntax;
use crate::context::Context;
use crate::request::Request;
use crate::structure;

/// Why a request has no input.
pub(super) type Malformed = &'static str;

/// The parts of the input that policies read.
///
/// # Errors
/// When a part that they read cannot be parsed: they would take it for absent.
pub(super) fn build(context: &Context<'_>, syntax: &Syntax) -> Result<Json, Malformed> {
    let mut input = Map::new();
    let request = context.request;
    if syntax.reads("attributes") {
        input.insert("attributes".to_owned(), attributes(context));
    }
    if syntax.reads("version") {
        let version = json!({"encoding": "protojson", "ext_authz": "v3"});
        input.insert("version".to_owned(), version);
    }
    if syntax.reads("parsed_path") {
        input.insert("parsed_path".to_owned(), parsed_path(request.path())?);
    }
    if syntax.reads("parsed_query") {
        let query = parameters(request.query().unwrap_or_default().as_bytes());
        input.insert("parsed_query".to_owned(), query);
    }
    if syntax.reads("parsed_body") || syntax.reads("truncated_body") {
        let is_truncated = is_truncated(context);
        let body = match (is_truncated, syntax.reads("parsed_body")) {
            (false, true) => parsed_body(context)?,
            _ => Json::Null,
        };
        input.insert("parsed_body".to_owned(), body);
        input.insert("truncated_body".to_owned(), is_truncated.into());
    }
    if let Some(identity) = context.identity.filter(|_| syntax.reads("identity")) {
        let identity = json!({"subject": identity.subject, "claims": *identity.attributes});
        input.insert("identity".to_owned(), identity);
    }
    Ok(Json::Object(input))
}

/// The segments, decoded. Empty ones at the beginning are left out.
fn parsed_path(path: &str) -> Result<Json, Malformed> {
    let bytes = path.as_bytes();
    let is_escape = |at: usize| {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    };
    if (0..bytes.len()).any(|at| bytes[at] == b'%' && !is_escape(at)) {
        return Err("the path has a malformed escape");
    }
    let decoded = percent_encoding::percent_decode(bytes).decode_utf8_lossy();
    Ok(decoded.trim_start_matches('/').split('/').collect())
}

/// Of a query or a form: names to lists of values.
fn parameters(text: &[u8]) -> Json {
    let mut all = Map::new();
    for (name, value) in form_urlencoded::parse(text) {
        let values = all.entry(name.into_owned()).or_insert_with(|| Json::Array(Vec::new()));
        if let Json::Array(values) = values {
            values.push(value.into_owned().into());
        }
    }
    Json::Object(all)
}

/// Whether Envoy did not send all of the body.
fn is_truncated(context: &Context<'_>) -> bool {
    let length = context.request.header("content-length").and_then(|l| l.parse::<u64>().ok());
    length.is_some_and(|length| length > context.request.body().len() as u64)
        || context.request.header("x-envoy-auth-partial-body") == Some("true")
}

fn parsed_body(context: &Context<'_>) -> Result<Json, Malformed> {
    let body = context.request.body();
    let kind = context.request.header("content-type").unwrap_or_default();
    if body.is_empty() {
        return Ok(Json::Null);
    }
    if kind.contains("application/json") {
        return serde_json::from_slice(body).map_err(|_| "the body is no JSON");
    }
    if kind.contains("application/x-www-form-urlencoded") {
        return Ok(parameters(body));
    }
    Ok(Json::Null)
}

/// Fields that have their default are not there, as in the JSON of protobuf.
struct Fields(Map<String, Json>);

impl Fields {
    fn new() -> Self {
        Self(Map::new())
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn part(&mut self, name: &str, value: Option<Json>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn map<'a>(&mut self, name: &str, entries: impl Iterator<Item = (&'a str, Json)>) {
        let map: Map<String, Json> = entries.map(|(name, v)| (name.to_owned(), v)).collect();
        if !map.is_empty() {
            self.0.insert(name.to_owned(), Json::Object(map));
        }
    }

    fn end(self) -> Json {
        Json::Object(self.0)
    }
}

fn attributes(context: &Context<'_>) -> Json {
    let mut fields = Fields::new();
    let Some(given) = context.request.check().attributes.as_ref() else { return fields.end() };
    fields.part("source", given.source.as_ref().map(peer));
    fields.part("destination", given.destination.as_ref().map(peer));
    let request = given.request.as_ref().map(|request| {
        let mut fields = Fields::new();
        let time = request.time.as_ref().and_then(|time| {
            let time = jiff::Timestamp::new(time.seconds, time.nanos).ok()?;
            Some(time.to_string().into())
        });
        fields.part("time", time);
        fields.part("http", request.http.as_ref().map(|h| http(context, h)));
        fields.end()
    });
    fields.part("request", request);
    let extensions = given.context_extensions.iter();
    fields.map("contextExtensions", extensions.map(|(n, v)| (n.as_str(), v.as_str().into())));
    fields.part("metadataContext", given.metadata_context.as_ref().map(metadata));
    fields.part("routeMetadataContext", given.route_metadata_context.as_ref().map(metadata));
    let session = given.tls_session.as_ref().map(|session| {
        let mut fields = Fields::new();
        fields.text("sni", &session.sni);
        fields.end()
    });
    fields.part("tlsSession", session);
    fields.end()
}

fn http(context: &Context<'_>, http: &HttpRequest) -> Json {
    let mut fields = Fields::new();
    fields.text("id", &http.id);
    fields.text("method", context.request.method());
    fields.text("path", context.request.path_and_query());
    fields.text("host", host(context.request, http));
    fields.text("scheme", &http.scheme);
    fields.text("query", &http.query);
    fields.text("fragment", &http.fragment);
    fields.text("protocol", &http.protocol);
    // 64 bit are a text in the JSON of protobuf.
    let size = (http.size != 0).then(|| http.size.to_string().into());
    fields.part("size", size);
    let headers = context.changes.headers(context.request);
    fields.map("headers", headers.map(|(name, value)| (name, value.into())));
    fields.text("body", &http.body);
    if !http.raw_body.is_empty() {
        fields.text("rawBody", &STANDARD.encode(&http.raw_body));
    }
    fields.end()
}

/// As it was sent.
fn host<'a>(request: &'a Request, http: &'a HttpRequest) -> &'a str {
    if http.host.is_empty() { request.authority() } else { &http.host }
}

fn peer(peer: &Peer) -> Json {
    let mut fields = Fields::new();
    fields.part("address", peer.address.as_ref().map(address));
    fields.text("service", &peer.service);
    fields.map("labels", peer.labels.iter().map(|(n, v)| (n.as_str(), v.as_str().into())));
    fields.text("principal", &peer.principal);
    fields.text("certificate", &peer.certificate);
    fields.end()
}

fn address(address: &Address) -> Json {
    match &address.address {
        Some(AddressKind::SocketAddress(socket)) => {
            let mut fields = Fields::new();
            fields.text("address", &socket.address);
            match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => {
                    fields.part("portValue", Some((*port).into()));
                }
                Some(PortSpecifier::NamedPort(name)) => fields.text("namedPort", name),
                None => {}
            }
            json!({"socketAddress": fields.end()})
        }
        Some(AddressKind::Pipe(pipe)) => json!({"pipe": {"path": pipe.path}}),
        _ => json!({}),
    }
}

fn metadata(metadata: &Metadata) -> Json {
    let mut fields = Fields::new();
    let filters = metadata.filter_metadata.iter();
    let filters = filters.map(|(n, v)| (n.as_str(), Json::Object(structure::to_json(v.clone()))));
    fields.map("filterMetadata", filters);
    fields.end()
}
