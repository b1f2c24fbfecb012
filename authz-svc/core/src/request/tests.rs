use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, Metadata, Pipe, SocketAddress,
};
use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest, TlsSession};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};

use super::*;

fn request(host: &str, path: &str) -> Request {
    let http = HttpRequest { host: host.into(), path: path.into(), ..HttpRequest::default() };
    Request::from_check(check(http)).unwrap()
}

fn check(http: HttpRequest) -> CheckRequest {
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
    let header = |raw: &'static str| HeaderValue {
        key: "X-A".into(),
        raw_value: raw.as_bytes().into(),
        ..HeaderValue::default()
    };
    let map = HeaderMap { headers: vec![header("1"), header("2")] };
    let r =
        Request::from_check(check(HttpRequest { header_map: Some(map), ..HttpRequest::default() }));
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

/// Everything that filters can see.
fn seen(request: &Request) -> impl PartialEq + std::fmt::Debug {
    let texts = [
        request.method(),
        request.scheme(),
        request.authority(),
        request.path(),
        request.query().unwrap_or("none"),
        request.path_and_query(),
        request.id(),
        request.protocol(),
        request.server_name(),
        request.host_without_port().unwrap_or("none"),
    ];
    let own = |pairs: Vec<(&str, &str)>| -> Vec<(String, String)> {
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    (
        texts.map(str::to_owned),
        own(request.headers().collect()),
        own(request.context_extensions().collect()),
        request.body().to_vec(),
        (request.source().clone(), request.destination().clone()),
        request.check().clone(),
    )
}

/// As protobuf reads the bytes, and the plainest code makes headers of that.
fn by_protobuf(bytes: &[u8]) -> Result<Request, &'static str> {
    let check = CheckRequest::decode(bytes).map_err(|_| "the check cannot be read")?;
    Request::from_check(check)
}

fn headers_by_hand(http: &HttpRequest) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> =
        http.headers.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.clone())).collect();
    for header in http.header_map.iter().flat_map(|m| &m.headers) {
        let raw = String::from_utf8_lossy(&header.raw_value).into_owned();
        let value = if header.raw_value.is_empty() { header.value.clone() } else { raw };
        let name = header.key.to_ascii_lowercase();
        let between = if name == "cookie" { "; " } else { "," };
        headers
            .entry(name)
            .and_modify(|v| {
                v.push_str(between);
                v.push_str(&value);
            })
            .or_insert(value);
    }
    headers
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-cA-C]{0,2}",
        Just("cookie".to_owned()),
        Just("Cookie".to_owned()),
        Just("x-request-id".to_owned()),
        Just("X-Forwarded-Proto".to_owned()),
        Just(":path".to_owned()),
        Just(":authority".to_owned()),
    ]
}

fn peer() -> impl Strategy<Value = attribute_context::Peer> {
    let socket = ("([0-9]{1,3}\\.){3}[0-9]{1,3}|::1|.{0,3}", any::<Option<u32>>(), any::<bool>());
    let address = prop::option::of(socket.prop_map(|(address, port, is_pipe)| {
        let socket = AddressKind::SocketAddress(SocketAddress {
            address,
            port_specifier: port.map(PortSpecifier::PortValue),
            ..SocketAddress::default()
        });
        let pipe = AddressKind::Pipe(Pipe { path: "/p".into(), mode: 0 });
        Address { address: Some(if is_pipe { pipe } else { socket }) }
    }));
    let labels = prop::collection::btree_map(".{0,2}", ".{0,2}", 0..2);
    (address, ".{0,3}", ".{0,3}", labels).prop_map(|(address, principal, certificate, labels)| {
        let principal = principal.clone();
        attribute_context::Peer {
            address,
            principal,
            certificate,
            labels,
            ..attribute_context::Peer::default()
        }
    })
}

fn http_request() -> impl Strategy<Value = HttpRequest> {
    let raw = (name(), ".{0,3}", prop::collection::vec(any::<u8>(), 0..4));
    let raw = raw.prop_map(|(key, value, raw)| HeaderValue { key, value, raw_value: raw.into() });
    let list = prop::option::of(prop::collection::vec(raw, 0..6));
    let texts = [".{0,4}", "[/a?#]{0,6}", "[aB:.0-9]{0,6}", "(https|HTTP)?", ".{0,4}"];
    let body = prop::collection::vec(any::<u8>(), 0..5);
    let map = prop::collection::btree_map(name(), ".{0,3}", 0..6);
    (map, list, texts, ".{0,3}", body).prop_map(|(headers, list, texts, body, raw_body)| {
        let [id, path, host, scheme, protocol] = texts;
        HttpRequest {
            id,
            method: "GET".to_owned(),
            headers,
            header_map: list.map(|headers| HeaderMap { headers }),
            path,
            host,
            scheme,
            protocol,
            body,
            raw_body: raw_body.into(),
            size: -1,
            ..HttpRequest::default()
        }
    })
}

fn any_check() -> impl Strategy<Value = CheckRequest> {
    let pairs = prop::collection::btree_map("[ab]{0,2}", ".{0,2}", 0..3);
    let peers = (prop::option::of(peer()), prop::option::of(peer()));
    let rest = (prop::option::of(".{0,3}"), any::<Option<bool>>());
    (peers, prop::option::of(http_request()), pairs, rest).prop_map(
        |((source, destination), http, context_extensions, (sni, metadata))| {
            let time = Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 7 });
            let entry = ("n".to_owned(), prost_types::Struct::default());
            let metadata_context = metadata.map(|is_full| Metadata {
                filter_metadata: is_full.then_some(entry).into_iter().collect(),
                ..Metadata::default()
            });
            CheckRequest {
                attributes: Some(AttributeContext {
                    source,
                    destination,
                    request: Some(attribute_context::Request { time, http }),
                    context_extensions,
                    metadata_context,
                    tls_session: sni.map(|sni| TlsSession { sni }),
                    ..AttributeContext::default()
                }),
            }
        },
    )
}

fn same(bytes: &[u8]) -> Result<(), TestCaseError> {
    let own = Request::decode(Bytes::copy_from_slice(bytes));
    match (own, by_protobuf(bytes)) {
        (Ok(own), Ok(theirs)) => {
            prop_assert_eq!(seen(&own), seen(&theirs));
            let http = own.check().attributes.clone().and_then(|a| a.request?.http).unwrap();
            let headers: BTreeMap<String, String> =
                own.headers().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(headers, headers_by_hand(&http));
        }
        (own, theirs) => {
            let words = |result: Result<Request, &'static str>| result.err();
            prop_assert_eq!(words(own), words(theirs));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn reads_what_protobuf_reads(check in any_check()) {
        same(&check.encode_to_vec())?;
    }

    /// A message with a byte changed, cut, or twice.
    #[test]
    fn agrees_with_protobuf_on_what_is_damaged(
        check in any_check(), at in any::<prop::sample::Index>(), byte: u8, how in 0..3,
    ) {
        let mut bytes = check.encode_to_vec();
        let at = at.index(bytes.len().max(1));
        match how {
            0 => if let Some(place) = bytes.get_mut(at) { *place = byte },
            1 => bytes.truncate(at),
            _ => bytes.extend(bytes.clone()),
        }
        same(&bytes)?;
    }

    #[test]
    fn agrees_with_protobuf_on_any_bytes(
        bytes in prop::collection::vec(prop_oneof![0_u8..40, any::<u8>()], 0..60),
    ) {
        same(&bytes)?;
    }
}

#[test]
fn what_envoy_sends_is_read_in_place() {
    let list = vec![HeaderValue {
        key: "a".into(),
        raw_value: (&b"1"[..]).into(),
        ..HeaderValue::default()
    }];
    let socket = AddressKind::SocketAddress(SocketAddress {
        address: "10.1.2.3".into(),
        port_specifier: Some(PortSpecifier::PortValue(80)),
        ..SocketAddress::default()
    });
    let peer = attribute_context::Peer {
        address: Some(Address { address: Some(socket) }),
        principal: "spiffe://a".into(),
        service: "s".into(),
        certificate: "-----".into(),
        ..attribute_context::Peer::default()
    };
    let http = HttpRequest {
        headers: [("b".to_owned(), "2".to_owned())].into(),
        header_map: Some(HeaderMap { headers: list }),
        raw_body: (&b"body"[..]).into(),
        query: "q".into(),
        fragment: "f".into(),
        size: -1,
        ..HttpRequest::default()
    };
    let message = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer.clone()),
            destination: Some(peer),
            request: Some(attribute_context::Request {
                time: Some(prost_types::Timestamp { seconds: -1, nanos: 1 }),
                http: Some(http),
            }),
            context_extensions: [("k".to_owned(), "v".to_owned())].into(),
            metadata_context: Some(Metadata::default()),
            route_metadata_context: Some(Metadata::default()),
            tls_session: Some(TlsSession { sni: "a.test".into() }),
        }),
    }
    .encode_to_vec();
    assert!(View::read(&message).is_some());
    let request = Request::decode(message.into()).unwrap();
    assert!(request.0.check.get().is_none(), "protobuf was not asked");
    assert_eq!((request.body(), request.source().port), (b"body".as_slice(), 80));
}
