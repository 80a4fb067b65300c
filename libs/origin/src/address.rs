//! What kind of place an IP address is, by whatever spelling it came.
//!
//! Owns: the classification of the very address that is dialled. Never: names, configuration, I/O. An IPv6 address
//! that carries an IPv4 one (mapped, compatible, NAT64, 6to4) is judged by the address it carries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds that the dialling rules tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Anywhere on the Internet.
    Public,
    /// Inside: private, carrier-grade NAT, unique local, loopback. Only for hosts the operator listed.
    Internal(&'static str),
    /// Link-local, metadata services, and what is no destination at all. Only where the operator wrote the address itself.
    Forbidden(&'static str),
}

/// Metadata services that stand outside of the link-local range: Alibaba, Azure's wire server, Oracle.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
/// Metadata services by IPv6: AWS and Google.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// The kind of place behind an address.
pub fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(v4) => place_v4(v4),
        IpAddr::V6(v6) => match carried(v6) {
            Some(v4) => place_v4(v4),
            None => place_v6(v6),
        },
    }
}

fn place_v4(v4: Ipv4Addr) -> Place {
    let [a, b, c, _] = v4.octets();
    match (a, b, c) {
        _ if METADATA_V4.contains(&v4) => Place::Forbidden("a metadata service"),
        (169, 254, _) => Place::Forbidden("link-local"),
        (0, _, _) => Place::Forbidden("unspecified"),
        (224..=255, _, _) => Place::Forbidden("multicast or reserved"),
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 51, 100) | (203, 0, 113) => {
            Place::Forbidden("reserved for documentation or protocols")
        }
        (127, _, _) => Place::Internal("loopback"),
        (10, _, _) | (172, 16..=31, _) | (192, 168, _) => Place::Internal("private"),
        (100, 64..=127, _) => Place::Internal("shared (carrier-grade NAT)"),
        (198, 18..=19, _) => Place::Internal("for benchmarks"),
        _ => Place::Public,
    }
}

fn place_v6(v6: Ipv6Addr) -> Place {
    let [first, second, ..] = v6.segments();
    match first {
        _ if METADATA_V6.contains(&v6) => Place::Forbidden("a metadata service"),
        _ if v6 == Ipv6Addr::LOCALHOST => Place::Internal("loopback"),
        _ if v6 == Ipv6Addr::UNSPECIFIED => Place::Forbidden("unspecified"),
        0xfe80..=0xfebf => Place::Forbidden("link-local"),
        0xfec0..=0xfeff | 0xfc00..=0xfdff => Place::Internal("unique local"),
        0xff00..=0xffff => Place::Forbidden("multicast"),
        0x2001 if second == 0xdb8 => Place::Forbidden("reserved for documentation"),
        // Teredo hides its IPv4 destination in a way nobody needs here.
        0x2001 if second == 0 => Place::Forbidden("a tunnel"),
        0x2000..=0x3fff => Place::Public,
        _ => Place::Forbidden("outside of the unicast range"),
    }
}

/// The IPv4 address an IPv6 one stands for.
fn carried(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match v6.segments() {
        // ::ffff:a.b.c.d, ::ffff:0:a.b.c.d (translated), and NAT64 (well-known and local-use)
        [0, 0, 0, 0, 0, 0xffff, g, h]
        | [0, 0, 0, 0, 0xffff, 0, g, h]
        | [0x64, 0xff9b, 0 | 1, _, _, _, g, h] => Some(low(g, h)),
        // ::a.b.c.d (compatible), but not :: and ::1
        [0, 0, 0, 0, 0, 0, g, h] if g != 0 || h > 1 => Some(low(g, h)),
        // 6to4
        [0x2002, b, c, ..] => Some(low(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Place {
        place(text.parse().unwrap())
    }

    #[test]
    fn the_internet_is_public() {
        for address in
            ["1.1.1.1", "140.82.121.3", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"]
        {
            assert_eq!(of(address), Place::Public, "{address}");
        }
    }

    #[test]
    fn what_is_inside_is_inside_by_every_spelling() {
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::192.168.0.1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "fec0::1",
            "::ffff:0:10.0.0.1",
        ] {
            assert!(matches!(of(address), Place::Internal(_)), "{address}: {:?}", of(address));
        }
    }

    #[test]
    fn metadata_and_link_local_are_forbidden_by_every_spelling() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "192.0.2.1",
            "fd20:ce::254",
            "192.0.0.192",
            "4000::1",
        ] {
            assert!(matches!(of(address), Place::Forbidden(_)), "{address}: {:?}", of(address));
        }
    }
}
