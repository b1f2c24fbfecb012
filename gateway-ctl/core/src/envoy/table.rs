//! Virtual hosts and route tables, put together from parts that are encoded already: a repeated
//! field of a message is the concatenation of its entries, so that a change of one route costs
//! the copying of the others and not their encoding.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{
    WireType, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::route::v3 as route;
use proto::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use proto::xds::core::v3::TypedExtensionConfig;
use proto::xds::r#type::matcher::v3::{Matcher, matcher};
use sha2::{Digest, Sha256};

const VIRTUAL_HOST_ROUTES: u32 = 3;
const ROUTE_LIST_ROUTES: u32 = 1;
const TABLE_VIRTUAL_HOSTS: u32 = 2;
const VIRTUAL_HOST_MATCHER: u32 = 21;
const MATCHER_TREE: u32 = 2;
const TREE_PREFIX_MAP: u32 = 3;

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
    let mut body = head(name, domain).encode_to_vec();
    let mut hash = Sha256::new_with_prefix(&body);
    for part in parts {
        body.extend_from_slice(&part.bytes);
        hash.update(&part.hashes);
    }
    entry_of_table(&body, hash)
}

/// Routes for paths that begin with `prefix`, as an entry of a map of buckets.
pub fn bucket(prefix: &str, parts: &[&Part]) -> Part {
    let map = [(prefix.to_owned(), route_list(parts))].into();
    list_part(prefix, parts, &matcher::matcher_tree::MatchMap { map })
}

/// Routes for paths that begin with no bucket's prefix.
pub fn other_routes(parts: &[&Part]) -> Part {
    let on_no_match = Some(Box::new(route_list(parts)));
    list_part("", parts, &Matcher { on_no_match, matcher_type: None })
}

fn list_part(prefix: &str, parts: &[&Part], message: &impl prost::Message) -> Part {
    let mut hash = Sha256::new_with_prefix([0]);
    hash.update(prefix);
    parts.iter().for_each(|p| hash.update(&p.hashes));
    Part { bytes: message.encode_to_vec().into(), hashes: hash.finalize().to_vec() }
}

/// A virtual host whose routes are found by the beginning of the path.
pub fn divided_virtual_host<'a>(
    name: &str,
    domain: &str,
    buckets: impl Iterator<Item = &'a Part> + Clone,
    others: Option<&'a Part>,
) -> Part {
    let path = HttpRequestHeaderMatchInput { header_name: ":path".to_owned() };
    let input = extension("path", "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", &path);
    let tree = matcher::MatcherTree { input: Some(input), tree_type: None }.encode_to_vec();
    let head = head(name, domain).encode_to_vec();
    let map_bytes = buckets.clone().map(|p| p.bytes.len()).sum();
    let tree_bytes = tree.len() + entry_length(TREE_PREFIX_MAP, map_bytes);
    let others_bytes = others.map_or(0, |p| p.bytes.len());
    let matcher_bytes = entry_length(MATCHER_TREE, tree_bytes) + others_bytes;
    let host_bytes = head.len() + entry_length(VIRTUAL_HOST_MATCHER, matcher_bytes);
    // Each message begins with its tag and length, so that all is copied once.
    let mut bytes = Vec::with_capacity(entry_length(TABLE_VIRTUAL_HOSTS, host_bytes));
    begin_entry(TABLE_VIRTUAL_HOSTS, host_bytes, &mut bytes);
    bytes.extend_from_slice(&head);
    begin_entry(VIRTUAL_HOST_MATCHER, matcher_bytes, &mut bytes);
    begin_entry(MATCHER_TREE, tree_bytes, &mut bytes);
    bytes.extend_from_slice(&tree);
    begin_entry(TREE_PREFIX_MAP, map_bytes, &mut bytes);
    let mut hash = Sha256::new_with_prefix(&head);
    for part in buckets.chain(others) {
        bytes.extend_from_slice(&part.bytes);
        hash.update(&part.hashes);
    }
    Part { bytes: bytes.into(), hashes: hash.finalize().to_vec() }
}

fn head(name: &str, domain: &str) -> route::VirtualHost {
    route::VirtualHost {
        name: name.to_owned(),
        domains: vec![domain.to_owned()],
        ..route::VirtualHost::default()
    }
}

fn entry_of_table(body: &[u8], hash: Sha256) -> Part {
    let mut bytes = Vec::with_capacity(body.len() + 8);
    put_entry(TABLE_VIRTUAL_HOSTS, body, &mut bytes);
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

fn route_list(parts: &[&Part]) -> matcher::OnMatch {
    let mut value = Vec::with_capacity(parts.iter().map(|p| p.bytes.len()).sum());
    for part in parts {
        put_as_list(&part.bytes, &mut value);
    }
    let type_url = "type.googleapis.com/envoy.config.route.v3.RouteList".to_owned();
    let typed_config = Some(prost_types::Any { type_url, value });
    let action = TypedExtensionConfig { name: "routes".to_owned(), typed_config };
    matcher::OnMatch {
        on_match: Some(matcher::on_match::OnMatch::Action(action)),
        ..matcher::OnMatch::default()
    }
}

/// Routes of a virtual host as those of a list: the same entries under another tag.
fn put_as_list(mut entries: &[u8], to: &mut Vec<u8>) {
    while let Some((_, after_tag)) = entries.split_first() {
        let mut body = after_tag;
        // What this module wrote can be read again.
        let Ok(length) = decode_varint(&mut body) else { return };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((route, next)) = body.split_at_checked(length) else { return };
        put_entry(ROUTE_LIST_ROUTES, route, to);
        entries = next;
    }
}

fn extension(
    name: &str,
    message_name: &str,
    message: &impl prost::Message,
) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: name.to_owned(),
        typed_config: Some(super::any(message_name, message)),
    }
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
    begin_entry(tag, body.len(), to);
    to.extend_from_slice(body);
}

fn begin_entry(tag: u32, length: usize, to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// Length of an entry with its tag, for a body of `length` bytes.
fn entry_length(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
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

    #[test]
    fn buckets_have_the_routes_as_they_are() {
        let one = route::Route { name: "one".to_owned(), ..route::Route::default() };
        let two = route::Route { name: "two".repeat(100), ..route::Route::default() };
        let both = routes(&[one.encode_to_vec(), two.encode_to_vec()]);
        let second = routes(&[two.encode_to_vec()]);
        let buckets = [bucket("/a", &[&both]), bucket("/b", &[&second])];
        let others = other_routes(&[&second]);
        let host = divided_virtual_host("h", "*", buckets.iter(), Some(&others));
        let head = Head { name: "t", ports_matter: false, http3_port: None };
        let (bytes, _) = table(&head, [&host].into_iter());
        let table = route::RouteConfiguration::decode(bytes).unwrap();
        let matcher = table.virtual_hosts[0].matcher.clone().unwrap();
        let Some(matcher::MatcherType::MatcherTree(tree)) = matcher.matcher_type else { panic!() };
        let Some(matcher::matcher_tree::TreeType::PrefixMatchMap(map)) = tree.tree_type else {
            panic!()
        };
        let list = |on: &matcher::OnMatch| {
            let Some(matcher::on_match::OnMatch::Action(action)) = &on.on_match else { panic!() };
            let any = action.typed_config.as_ref().unwrap();
            route::RouteList::decode(&*any.value).unwrap().routes
        };
        assert_eq!(list(&map.map["/a"]), [one, two.clone()]);
        assert_eq!(list(&map.map["/b"]), std::slice::from_ref(&two));
        assert_eq!(list(&matcher.on_no_match.unwrap()), [two]);
    }
}
