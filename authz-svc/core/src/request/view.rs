//! What is read of Envoy's `CheckRequest`, where it lies: in its bytes, or in a message that protobuf
//! read.

use std::borrow::Cow;

use proto::envoy::config::core::v3::address::Address as AddressKind;
use proto::envoy::config::core::v3::socket_address::PortSpecifier;
use proto::envoy::service::auth::v3::CheckRequest;
use proto::envoy::service::auth::v3::attribute_context::{self, HttpRequest};
use proto::wire::{Field, message, next, number, text};
use smallvec::SmallVec;

/// A view of a check.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    pub(super) source: PeerView<'a>,
    pub(super) destination: PeerView<'a>,
    pub(super) http: Option<HttpView<'a>>,
    pub(super) extensions: Pairs<'a>,
    pub(super) server_name: &'a str,
}

/// Of a map's entries the last of a key counts.
pub(super) type Pairs<'a> = SmallVec<[(&'a str, &'a str); 4]>;

#[derive(Debug, Default)]
pub(super) struct PeerView<'a> {
    pub(super) address: &'a str,
    pub(super) port: u32,
    pub(super) principal: &'a str,
    pub(super) certificate: &'a str,
}

#[derive(Debug, Default)]
pub(super) struct HttpView<'a> {
    pub(super) id: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) host: &'a str,
    pub(super) scheme: &'a str,
    pub(super) protocol: &'a str,
    /// Those of the map and those of the list.
    pub(super) headers: SmallVec<[HeaderView<'a>; 32]>,
    pub(super) body: &'a [u8],
    pub(super) raw_body: &'a [u8],
}

#[derive(Debug)]
pub(super) struct HeaderView<'a> {
    pub(super) name: &'a str,
    pub(super) value: Cow<'a, str>,
    /// In the list, where a name may stand more than once; in the map the last one counts.
    pub(super) is_listed: bool,
}

/// What a reader of a part says: none when it is not sure, and protobuf has to read all.
type Part<T> = Option<T>;

impl<'a> View<'a> {
    /// Reads the bytes. None when something is in them that Envoy does not send, or seldom: what
    /// stands twice, what is not known, metadata. Then it is protobuf's to say what they are. What
    /// this reads, protobuf reads, too, and as the same.
    pub(super) fn read(mut bytes: &'a [u8]) -> Part<Self> {
        let mut attributes = None;
        while let Some(field) = next(&mut bytes).ok()? {
            match field.number {
                1 => once(&mut attributes, message(&mut bytes, field).ok()?)?,
                _ => return None,
            }
        }
        Self::attributes(attributes.unwrap_or_default())
    }

    fn attributes(mut bytes: &'a [u8]) -> Part<Self> {
        let mut view = Self::default();
        let mut seen = 0_u32;
        while let Some(field) = next(&mut bytes).ok()? {
            if field.number != 10 {
                first(&mut seen, field)?;
            }
            let part = message(&mut bytes, field).ok()?;
            match field.number {
                1 => view.source = PeerView::read(part)?,
                2 => view.destination = PeerView::read(part)?,
                4 => view.http = request(part)?,
                10 => view.extensions.push(entry(part)?),
                11 | 13 if part.is_empty() => {}
                12 => view.server_name = session(part)?,
                _ => return None,
            }
        }
        Some(view)
    }

    /// What protobuf read.
    pub(super) fn of(check: &'a CheckRequest) -> Self {
        let Some(attributes) = &check.attributes else { return Self::default() };
        let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
        let pairs = attributes.context_extensions.iter();
        Self {
            source: attributes.source.as_ref().map(PeerView::of).unwrap_or_default(),
            destination: attributes.destination.as_ref().map(PeerView::of).unwrap_or_default(),
            http: http.map(HttpView::of),
            extensions: pairs.map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            server_name: attributes.tls_session.as_ref().map_or("", |session| &session.sni),
        }
    }
}

impl<'a> PeerView<'a> {
    fn read(mut bytes: &'a [u8]) -> Part<Self> {
        let (mut peer, mut seen) = (Self::default(), 0);
        while let Some(field) = next(&mut bytes).ok()? {
            first(&mut seen, field)?;
            match field.number {
                1 => (peer.address, peer.port) = address(message(&mut bytes, field).ok()?)?,
                2 => drop(text(&mut bytes, field).ok()?),
                4 => peer.principal = text(&mut bytes, field).ok()?,
                5 => peer.certificate = text(&mut bytes, field).ok()?,
                _ => return None,
            }
        }
        Some(peer)
    }

    fn of(peer: &'a attribute_context::Peer) -> Self {
        let socket = peer.address.as_ref().and_then(|a| match &a.address {
            Some(AddressKind::SocketAddress(socket)) => Some(socket),
            _ => None,
        });
        let port = socket.and_then(|s| match s.port_specifier {
            Some(PortSpecifier::PortValue(port)) => Some(port),
            _ => None,
        });
        Self {
            address: socket.map_or("", |s| &s.address),
            port: port.unwrap_or_default(),
            principal: &peer.principal,
            certificate: &peer.certificate,
        }
    }
}

impl<'a> HttpView<'a> {
    fn read(mut bytes: &'a [u8]) -> Part<Self> {
        let (mut http, mut seen) = (Self::default(), 0);
        while let Some(field) = next(&mut bytes).ok()? {
            if field.number == 3 {
                let (name, value) = entry(message(&mut bytes, field).ok()?)?;
                http.headers.push(HeaderView { name, value: value.into(), is_listed: false });
                continue;
            }
            first(&mut seen, field)?;
            match field.number {
                1 => http.id = text(&mut bytes, field).ok()?,
                2 => http.method = text(&mut bytes, field).ok()?,
                4 => http.path = text(&mut bytes, field).ok()?,
                5 => http.host = text(&mut bytes, field).ok()?,
                6 => http.scheme = text(&mut bytes, field).ok()?,
                7 | 8 => drop(text(&mut bytes, field).ok()?),
                9 => drop(number(&mut bytes, field).ok()?),
                10 => http.protocol = text(&mut bytes, field).ok()?,
                11 => http.body = text(&mut bytes, field).ok()?.as_bytes(),
                12 => http.raw_body = message(&mut bytes, field).ok()?,
                13 => http.list(message(&mut bytes, field).ok()?)?,
                _ => return None,
            }
        }
        Some(http)
    }

    /// `HeaderMap`.
    fn list(&mut self, mut bytes: &'a [u8]) -> Part<()> {
        while let Some(field) = next(&mut bytes).ok()? {
            if field.number != 1 {
                return None;
            }
            let header = listed(message(&mut bytes, field).ok()?)?;
            self.headers.push(header);
        }
        Some(())
    }

    fn of(http: &'a HttpRequest) -> Self {
        let map = http.headers.iter().map(|(name, value)| HeaderView {
            name,
            value: value.into(),
            is_listed: false,
        });
        let list = http.header_map.iter().flat_map(|map| &map.headers).map(|header| HeaderView {
            name: &header.key,
            value: value(&header.value, &header.raw_value),
            is_listed: true,
        });
        Self {
            id: &http.id,
            method: &http.method,
            path: &http.path,
            host: &http.host,
            scheme: &http.scheme,
            protocol: &http.protocol,
            headers: map.chain(list).collect(),
            body: http.body.as_bytes(),
            raw_body: &http.raw_body,
        }
    }
}

/// Takes a field that stands once.
fn once<T>(place: &mut Option<T>, value: T) -> Part<()> {
    place.replace(value).is_none().then_some(())
}

/// Notes a field that stands once; none when it did before.
fn first(seen: &mut u32, field: Field) -> Part<()> {
    let bit = 1_u32.checked_shl(field.number)?;
    let is_new = *seen & bit == 0;
    *seen |= bit;
    is_new.then_some(())
}

/// An entry of a map of texts.
fn entry(mut bytes: &[u8]) -> Part<(&str, &str)> {
    let mut pair = ("", "");
    while let Some(field) = next(&mut bytes).ok()? {
        match field.number {
            1 => pair.0 = text(&mut bytes, field).ok()?,
            2 => pair.1 = text(&mut bytes, field).ok()?,
            _ => return None,
        }
    }
    Some(pair)
}

/// `HeaderValue`.
fn listed(mut bytes: &[u8]) -> Part<HeaderView<'_>> {
    let (mut name, mut plain, mut raw) = ("", "", [].as_slice());
    while let Some(field) = next(&mut bytes).ok()? {
        match field.number {
            1 => name = text(&mut bytes, field).ok()?,
            2 => plain = text(&mut bytes, field).ok()?,
            3 => raw = message(&mut bytes, field).ok()?,
            _ => return None,
        }
    }
    Some(HeaderView { name, value: value(plain, raw), is_listed: true })
}

/// With `encode_raw_headers` Envoy sends bytes.
fn value<'a>(plain: &'a str, raw: &'a [u8]) -> Cow<'a, str> {
    if raw.is_empty() { plain.into() } else { String::from_utf8_lossy(raw) }
}

/// `Request`: its time is not read, its HTTP request is.
fn request(mut bytes: &[u8]) -> Part<Option<HttpView<'_>>> {
    let (mut http, mut seen) = (None, 0);
    while let Some(field) = next(&mut bytes).ok()? {
        first(&mut seen, field)?;
        let part = message(&mut bytes, field).ok()?;
        match field.number {
            1 => time(part)?,
            2 => http = Some(HttpView::read(part)?),
            _ => return None,
        }
    }
    Some(http)
}

/// `google.protobuf.Timestamp`.
fn time(mut bytes: &[u8]) -> Part<()> {
    while let Some(field) = next(&mut bytes).ok()? {
        match field.number {
            1 | 2 => drop(number(&mut bytes, field).ok()?),
            _ => return None,
        }
    }
    Some(())
}

/// `TLSSession`.
fn session(mut bytes: &[u8]) -> Part<&str> {
    let mut name = "";
    while let Some(field) = next(&mut bytes).ok()? {
        match field.number {
            1 => name = text(&mut bytes, field).ok()?,
            _ => return None,
        }
    }
    Some(name)
}

/// `Address` that is a `SocketAddress`.
fn address(mut bytes: &[u8]) -> Part<(&str, u32)> {
    let mut socket = None;
    while let Some(field) = next(&mut bytes).ok()? {
        match field.number {
            1 => once(&mut socket, message(&mut bytes, field).ok()?)?,
            _ => return None,
        }
    }
    let mut bytes = socket.unwrap_or_default();
    let (mut address, mut port) = ("", 0);
    while let Some(field) = next(&mut bytes).ok()? {
        match field.number {
            // Protocol.
            1 => drop(number(&mut bytes, field).ok()?),
            2 => address = text(&mut bytes, field).ok()?,
            3 => port = u32::try_from(number(&mut bytes, field).ok()?).ok()?,
            _ => return None,
        }
    }
    Some((address, port))
}
