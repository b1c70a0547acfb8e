//! Addresses: one text for one address, and from how far away each makes sense.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meshpool::protocol::address::{PeerAddress, Scope};
use proptest::prelude::*;

use super::generated::{addresses, config};

/// What an IPv4 address must begin with, and how many bits of that count, to be less than public;
/// from the registry of RFC 6890.
const NEAR_V4: [([u8; 4], u32, Scope); 7] = [
    ([0, 0, 0, 0], 8, Scope::Loopback),
    ([127, 0, 0, 0], 8, Scope::Loopback),
    ([10, 0, 0, 0], 8, Scope::Private),
    ([100, 64, 0, 0], 10, Scope::Private),
    ([169, 254, 0, 0], 16, Scope::Private),
    ([172, 16, 0, 0], 12, Scope::Private),
    ([192, 168, 0, 0], 16, Scope::Private),
];

/// The same for IPv6; of an address that maps an IPv4 one (::ffff:0:0/96) it is the IPv4 address
/// that counts.
const NEAR_V6: [(Ipv6Addr, u32, Scope); 4] = [
    (Ipv6Addr::UNSPECIFIED, 128, Scope::Loopback),
    (Ipv6Addr::LOCALHOST, 128, Scope::Loopback),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Scope::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Scope::Private),
];

/// The first and the last number that share `bits` leading bits of `width` with `base`.
fn range(base: u128, bits: u32, width: u32) -> (u128, u128) {
    (base, base | 1u128.checked_shl(width - bits).map_or(u128::MAX, |size| size - 1))
}

fn near_v4() -> impl Iterator<Item = (u32, u32, Scope)> {
    NEAR_V4.into_iter().map(|(base, bits, scope)| {
        let (first, last) = range(u32::from_be_bytes(base).into(), bits, 32);
        (first as u32, last as u32, scope)
    })
}

fn near_v6() -> impl Iterator<Item = (u128, u128, Scope)> {
    NEAR_V6.into_iter().map(|(base, bits, scope)| {
        let (first, last) = range(base.to_bits(), bits, 128);
        (first, last, scope)
    })
}

fn expected_v4(ip: u32) -> Scope {
    let found = near_v4().find(|(first, last, _)| (first..=last).contains(&&ip));
    found.map_or(Scope::Public, |(_, _, scope)| scope)
}

fn expected_v6(ip: u128) -> Scope {
    const MAPPED: u128 = 0xffff << 32;
    if ip >> 32 == MAPPED >> 32 {
        return expected_v4(ip as u32);
    }
    let found = near_v6().find(|(first, last, _)| (first..=last).contains(&&ip));
    found.map_or(Scope::Public, |(_, _, scope)| scope)
}

/// Checks the scope of an IP address, alone and as a host.
fn check_scope(ip: IpAddr, expected: Scope) {
    assert_eq!(Scope::of(ip), expected, "{ip}");
    let address = PeerAddress::new(&ip.to_string(), 4001).unwrap();
    assert_eq!(address.scope(), expected, "{address}");
}

fn check_v4(ip: u32) {
    let ip = Ipv4Addr::from_bits(ip);
    check_scope(ip.into(), expected_v4(ip.to_bits()));
    check_scope(ip.to_ipv6_mapped().into(), expected_v4(ip.to_bits()));
}

fn check_v6(ip: u128) {
    check_scope(Ipv6Addr::from_bits(ip).into(), expected_v6(ip));
}

#[test]
fn every_near_range_ends_where_it_should() {
    for (first, last, scope) in near_v4() {
        assert_eq!((expected_v4(first), expected_v4(last)), (scope, scope));
        for ip in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
            check_v4(ip);
        }
    }
    for (first, last, _) in near_v6() {
        for ip in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
            check_v6(ip);
        }
    }
}

/// What looks like an address, often is one, and often is one of few.
fn looking_like_addresses() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[aA]\\.?[bB]?",
        "[a-z0-9._-]{1,12}",
        "(0|1|127|256|0x7f)(\\.(0|00|1|255)){0,4}",
        "\\[[0-9a-f:]{2,12}\\]",
        "\\[::ffff:1\\.0\\.0\\.[12]\\]",
        "\\PC{0,6}",
    ];
    ("(ws|WS|wss|w|http)", host, "(:0{0,3}[1-3]|:[0-9]{0,6}|)", "(|/|//|\\?|#a)")
        .prop_map(|(scheme, host, port, rest)| format!("{scheme}://{host}{port}{rest}"))
}

/// Another spelling of the same address.
fn respelled(address: &PeerAddress, upper: bool, zeros: usize, slash: bool) -> String {
    let host = address.host();
    let host = match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{}]", ip.segments().map(|segment| format!("{segment:04x}")).join(":")),
        _ => host,
    };
    let scheme = if address.is_secure() { "wss" } else { "ws" };
    let text = format!("{scheme}://{host}:{}{}{}", "0".repeat(zeros), address.port(), if slash { "/" } else { "" });
    if upper { text.to_ascii_uppercase() } else { text }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), like in looking_like_addresses(), host in any::<String>(), port: u16) {
        for text in [text, like] {
            if let Err(error) = text.parse::<PeerAddress>() {
                prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
            }
        }
        if let Ok(address) = PeerAddress::new(&host, port) {
            prop_assert_eq!(address.port(), port);
        }
    }

    #[test]
    fn the_text_of_what_was_read_is_normal(like in looking_like_addresses(), other in looking_like_addresses()) {
        let read = |text: &str| text.parse::<PeerAddress>();
        if let Ok(address) = read(&like) {
            let normal = address.to_string();
            prop_assert_eq!(read(&normal), Ok(address.clone()));
            prop_assert_eq!(read(&normal).unwrap().to_string(), normal.clone(), "normal is stable");
            prop_assert!(normal.len() <= like.len() + "[0:0:0:0]".len());
            if let Ok(other) = read(&other) {
                prop_assert_eq!(address == other, normal == other.to_string());
            }
        }
    }

    #[test]
    fn spellings_and_parts_of_an_address_lead_back_to_it(address in addresses(), upper: bool, zeros in 0usize..4, slash: bool) {
        let spelling = respelled(&address, upper, zeros, slash);
        prop_assert_eq!(spelling.parse(), Ok(address.clone()), "{}", spelling);
        let of_parts = PeerAddress::new(&address.host(), address.port()).unwrap();
        prop_assert_eq!(of_parts == address, !address.is_secure());
    }

    #[test]
    fn the_scope_of_an_ip_address_is_that_of_its_range(v4: u32, v6: u128) {
        check_v4(v4);
        check_v6(v6);
        for (first, last, _) in near_v4() {
            check_v4(first + v4 % (last - first));
        }
        for (first, last, _) in near_v6().filter(|(first, last, _)| first < last) {
            check_v6(first + v6 % (last - first));
        }
    }
}
