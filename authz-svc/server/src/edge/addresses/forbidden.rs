//! Addresses that no configuration may have called: there a cloud tells a machine its credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Outside of the link-local networks: Alibaba Cloud, Azure, Oracle Cloud.
const METADATA: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Amazon EC2.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether the address must not be called.
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || METADATA.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6 == METADATA_V6
                || embedded(v6).is_some_and(|v4| is_forbidden(v4.into()))
        }
    }
}

/// The IPv4 address in an IPv4-mapped, IPv4-compatible, 6to4 or NAT64 (RFC 6052) one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |a: u16, b: u16| Ipv4Addr::from(u32::from(a) << 16 | u32::from(b));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => Some(v4(a, b)),
        // Not the loopback address.
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 => Some(v4(a, b)),
        [0x2002, a, b, ..] => Some(v4(a, b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_cannot_be_reached_in_any_spelling() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "fd00:ec2::254",
            "::",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(is_forbidden(text.parse().unwrap()), "{text}");
        }
        for text in
            ["127.0.0.1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "::1", "fd00::1", "2001:db8::1"]
        {
            assert!(!is_forbidden(text.parse().unwrap()), "{text}");
        }
    }
}
