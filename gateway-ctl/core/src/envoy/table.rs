//! Virtual hosts and route tables, put together from parts that are encoded already: a repeated
//! field of a message is the concatenation of its entries, so that a change of one route costs
//! the copying of the others and not their encoding.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::route::v3 as route;
use sha2::{Digest, Sha256};

const VIRTUAL_HOST_ROUTES: u32 = 3;
const TABLE_VIRTUAL_HOSTS: u32 = 2;

/// Encoded entries of a repeated field, and their hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The entries, with their tags.
    pub bytes: Bytes,
    /// The hash of each entry, one after the other, so that it does not matter to the version how
    /// entries are divided into parts.
    pub hashes: Vec<u8>,
}

/// Routes as entries of a virtual host.
pub fn routes(encoded: &[Vec<u8>]) -> Part {
    let (mut bytes, mut hashes) = (Vec::new(), Vec::new());
    for route in encoded {
        put_entry(VIRTUAL_HOST_ROUTES, route, &mut bytes);
        hashes.extend_from_slice(&Sha256::digest(route));
    }
    Part { bytes: bytes.into(), hashes }
}

/// A virtual host as an entry of a table.
pub fn virtual_host<'a>(name: &str, domain: &str, parts: impl Iterator<Item = &'a Part>) -> Part {
    let head = route::VirtualHost {
        name: name.to_owned(),
        domains: vec![domain.to_owned()],
        ..route::VirtualHost::default()
    };
    let mut body = head.encode_to_vec();
    let mut hash = Sha256::new_with_prefix(&body);
    for part in parts {
        body.extend_from_slice(&part.bytes);
        hash.update(&part.hashes);
    }
    let mut bytes = Vec::with_capacity(body.len() + 8);
    put_entry(TABLE_VIRTUAL_HOSTS, &body, &mut bytes);
    Part { hashes: hash.finalize().to_vec(), bytes: bytes.into() }
}

/// What a table has besides its virtual hosts.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether a virtual host names a port.
    pub ports_matter: bool,
    /// The port where clients find HTTP/3.
    pub http3_port: Option<u16>,
}

/// A whole table, and its version.
pub fn table<'a>(
    head: &Head<'_>,
    hosts: impl Iterator<Item = &'a Part> + Clone,
) -> (Bytes, String) {
    let head = route::RouteConfiguration {
        name: head.name.to_owned(),
        ignore_port_in_host_matching: !head.ports_matter,
        response_headers_to_add: head.http3_port.map(http3_is_at).into_iter().collect(),
        // Clusters come before routes; one that went must not take the others' routes along.
        validate_clusters: Some(false),
        ..route::RouteConfiguration::default()
    };
    let length: usize = hosts.clone().map(|p| p.bytes.len()).sum();
    let head = head.encode_to_vec();
    let mut body = Vec::with_capacity(head.len() + length);
    body.extend_from_slice(&head);
    let mut hash = Sha256::new_with_prefix(&head);
    for part in hosts {
        body.extend_from_slice(&part.bytes);
        hash.update(&part.hashes);
    }
    (body.into(), super::hex(&hash.finalize()))
}

fn http3_is_at(port: u16) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: "alt-svc".to_owned(),
            value: format!("h3=\":{port}\"; ma=86400"),
            ..core::HeaderValue::default()
        }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..core::HeaderValueOption::default()
    }
}

fn put_entry(tag: u32, body: &[u8], to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(body.len() as u64, to);
    to.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_message() {
        let one = route::Route { name: "one".to_owned(), ..route::Route::default() };
        let two = route::Route { name: "two".to_owned(), ..route::Route::default() };
        let first = routes(&[one.encode_to_vec()]);
        let second = routes(&[two.encode_to_vec()]);
        let host = virtual_host("h", "*", [&first, &second].into_iter());
        let head = Head { name: "t", ports_matter: false, http3_port: None };
        let (bytes, _) = table(&head, [&host].into_iter());
        let table = route::RouteConfiguration::decode(bytes).unwrap();
        assert_eq!(table.virtual_hosts.len(), 1);
        assert_eq!(table.virtual_hosts[0].routes, [one, two]);
        assert!(table.ignore_port_in_host_matching);
    }
}
