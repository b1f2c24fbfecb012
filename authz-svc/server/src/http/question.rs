//! A request over HTTP as the check that Envoy would make of it over gRPC. Pure.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Version};
use bytes::Bytes;
use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::config::core::v3::{Address, HeaderMap as Headers, HeaderValue, SocketAddress};
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};

use super::Settings;

/// What Envoy says of its own time-out.
const TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";
/// What belongs to the connection between the caller and us, and not to the request.
const OF_THE_CALL: &[&str] =
    &["host", "connection", "te", "transfer-encoding", "keep-alive", "proxy-connection", TIMEOUT];

/// What the caller puts before each path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathPrefix(String);

impl FromStr for PathPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_good = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
        if text.is_empty() || (text.starts_with('/') && text.bytes().all(is_good)) {
            return Ok(Self(text.trim_end_matches('/').to_owned()));
        }
        Err(format!("`{text}` is no beginning of a path; write it like /auth"))
    }
}

/// The header whose last address is the one that the caller saw, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress(Option<HeaderName>);

impl FromStr for ClientAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text == "none" {
            return Ok(Self(None));
        }
        let name = HeaderName::from_bytes(text.as_bytes());
        name.map(|name| Self(Some(name)))
            .map_err(|_| format!("`{text}` is no name of a header; write it like x-forwarded-for"))
    }
}

impl ClientAddress {
    fn of(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let last = headers.get_all(self.0.as_ref()?).iter().next_back()?;
        let text = last.to_str().ok()?.rsplit(',').next()?.trim();
        // Some write a port behind it.
        let of_socket = || text.parse::<std::net::SocketAddr>().map(|socket| socket.ip());
        text.parse().or_else(|_| of_socket()).ok()
    }
}

/// How long the caller waits, if it said so.
pub(super) fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    text.parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}

/// The check; or status and words of a refusal.
pub(super) fn check(
    settings: &Settings,
    head: &Parts,
    body: Bytes,
) -> Result<CheckRequest, (u16, &'static str)> {
    if head.method == Method::CONNECT {
        return Err((405, "CONNECT can be authorized over gRPC only"));
    }
    let host = host(head)?;
    let path = path(&settings.prefix, head)?;
    let text = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
    let headers = head.headers.iter().filter(|(name, _)| !OF_THE_CALL.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| HeaderValue {
        key: name.as_str().to_owned(),
        raw_value: Bytes::copy_from_slice(value.as_bytes()),
        ..HeaderValue::default()
    });
    let http = HttpRequest {
        id: text("x-request-id").unwrap_or_default().to_owned(),
        method: head.method.as_str().to_owned(),
        header_map: Some(Headers { headers: headers.collect() }),
        path,
        host,
        // What the client spoke; how the caller reaches us says nothing of it.
        scheme: text("x-forwarded-proto").unwrap_or("http").to_owned(),
        protocol: protocol(head.version).to_owned(),
        size: i64::try_from(body.len()).unwrap_or(i64::MAX),
        raw_body: body,
        ..HttpRequest::default()
    };
    Ok(CheckRequest {
        attributes: Some(AttributeContext {
            source: settings.client.of(&head.headers).map(peer),
            request: Some(Request { time: None, http: Some(http) }),
            ..AttributeContext::default()
        }),
    })
}

/// The original authority: callers leave it.
fn host(head: &Parts) -> Result<String, (u16, &'static str)> {
    const NONE: (u16, &str) = (400, "the request names no host");
    let mut named = head.headers.get_all(HOST).iter();
    let of_header = named.next().map(|host| host.to_str().map_err(|_| NONE)).transpose()?;
    if named.next().is_some() {
        return Err((400, "the request names two hosts"));
    }
    let of_target = head.uri.authority().map(|authority| authority.as_str());
    // An absolute target counts, whatever the header says (RFC 9112).
    let host = of_target.or(of_header).filter(|host| !host.is_empty()).ok_or(NONE)?;
    if host.contains('@') {
        return Err((400, "the host of the request has a user's name"));
    }
    Ok(host.to_owned())
}

fn path(prefix: &PathPrefix, head: &Parts) -> Result<String, (u16, &'static str)> {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    match target.strip_prefix(&prefix.0) {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some("*") if prefix.0.is_empty() => Ok("*".to_owned()),
        _ => Err((400, "the path does not begin as it should; see --http-path-prefix")),
    }
}

fn peer(address: IpAddr) -> Peer {
    let socket = SocketAddress { address: address.to_string(), ..SocketAddress::default() };
    let address = Some(Address { address: Some(AddressKind::SocketAddress(socket)) });
    Peer { address, ..Peer::default() }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use axum::http;

    use super::*;

    fn settings(prefix: &str, client: &str) -> Settings {
        Settings { prefix: prefix.parse().unwrap(), client: client.parse().unwrap() }
    }

    fn read(
        settings: &Settings,
        target: &str,
        headers: &[(&str, &[u8])],
    ) -> Result<authz_core::Request, (u16, &'static str)> {
        let mut request = http::Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let check = check(settings, &head, Bytes::from_static(b"body"))?;
        Ok(authz_core::Request::from_check(check).unwrap())
    }

    #[test]
    fn a_request_is_the_client_s() {
        let request = read(
            &settings("/auth/", "x-forwarded-for"),
            "/auth/a?b=1",
            &[
                ("host", b"Shop.test:8"),
                ("x-forwarded-proto", b"https"),
                ("x-forwarded-for", b"9.9.9.9"),
                ("x-forwarded-for", b"8.8.8.8, 10.0.0.1"),
                ("x-request-id", b"r"),
                ("connection", b"close"),
                ("te", b"trailers"),
                ("x-bad", b"\xff"),
            ],
        )
        .unwrap();
        assert_eq!((request.method(), request.path_and_query()), ("GET", "/a?b=1"));
        assert_eq!((request.scheme(), request.authority()), ("https", "shop.test:8"));
        assert_eq!((request.id(), request.body()), ("r", b"body".as_slice()));
        assert_eq!(request.source().address, Some([10, 0, 0, 1].into()));
        assert_eq!(request.header("x-forwarded-for"), Some("9.9.9.9,8.8.8.8, 10.0.0.1"));
        assert_eq!(request.header("x-bad"), Some("\u{fffd}"));
        assert_eq!((request.header("te"), request.header("connection")), (None, None));
    }

    #[test]
    fn without_a_word_the_client_s_address_is_not_known() {
        let headers: [(&str, &[u8]); 2] = [("host", b"a"), ("x-forwarded-for", b"10.0.0.1")];
        let request = read(&settings("", "none"), "/", &headers).unwrap();
        assert_eq!(request.source().address, None);
        let request = read(&settings("", "x-real-ip"), "/", &headers).unwrap();
        assert_eq!(request.source().address, None);
        let headers: [(&str, &[u8]); 2] = [("host", b"a"), ("x-forwarded-for", b"[::1]:7")];
        let request = read(&settings("", "X-Forwarded-For"), "/", &headers).unwrap();
        assert_eq!(request.source().address, Some("::1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        let plain = settings("", "none");
        for (settings, target, headers) in [
            (&plain, "/", &[] as &[(&str, &[u8])]),
            (&plain, "/", &[("host", b"a"), ("host", b"b")]),
            (&plain, "/", &[("host", b"")]),
            (&plain, "/", &[("host", b"\xff")]),
            (&plain, "http://me@a.test/", &[("host", b"a")]),
            (&settings("/auth", "none"), "/authors", &[("host", b"a")]),
            (&settings("/auth", "none"), "/", &[("host", b"a")]),
        ] {
            assert_eq!(read(settings, target, headers).unwrap_err().0, 400, "{target} {headers:?}");
        }
        let request = read(&plain, "http://b.test/x", &[("host", b"a")]).unwrap();
        assert_eq!((request.authority(), request.path()), ("b.test", "/x"));
        for bad in ["auth", "/a b", "/a?b"] {
            assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
        }
        assert!("x y".parse::<ClientAddress>().is_err());
    }
}
