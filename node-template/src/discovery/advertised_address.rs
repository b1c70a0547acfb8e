//! The address by which other machines reach this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use meshpool_proto::address::{InvalidAddress, PeerAddress, Scope};

/// The address to advertise of a node that listens on `host` and has no ADDRESS: that host.
///
/// For a host that means all interfaces, it is the address of the interface that leads to `genesis`
/// or to the network if `beyond` is set, and otherwise localhost.
///
/// # Errors
/// [`InvalidAddress`] if the host is none or the port is 0.
pub(crate) fn advertised(
    host: &str,
    port: u16,
    beyond: bool,
    genesis: Option<&PeerAddress>,
) -> Result<PeerAddress, InvalidAddress> {
    match listened(host).filter(IpAddr::is_unspecified) {
        None => PeerAddress::new(host, port).map(PeerAddress::without_zone),
        Some(all) => match beyond.then(|| outward(all.is_ipv6(), genesis)).flatten() {
            Some(ip) => PeerAddress::new(&ip.to_string(), port),
            None => PeerAddress::new("localhost", port),
        },
    }
}

fn listened(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a host to listen on means all interfaces.
pub(crate) fn is_unspecified(host: &str) -> bool {
    listened(host).is_some_and(|ip| ip.is_unspecified())
}

/// Whether a node with this genesis node is to be reached from other hosts.
pub(crate) fn is_beyond(genesis: Option<&PeerAddress>) -> bool {
    // A node by its id is reached through NATs, whatever this one listens on.
    genesis.is_some_and(|address| address.node().is_none() && address.scope() != Scope::Loopback)
}

fn outward(v6: bool, genesis: Option<&PeerAddress>) -> Option<IpAddr> {
    let genesis = genesis.and_then(|address| address.host().parse().ok());
    // Addresses for documentation (RFC 5737, RFC 3849): they stand for all that the default route
    // reaches.
    let anywhere: [IpAddr; 2] =
        [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    let there = genesis.into_iter().chain(anywhere).filter(|there: &IpAddr| v6 || there.is_ipv4());
    there.filter_map(towards).find(|ip| is_dialable(*ip)).or_else(|| any(v6))
}

/// The address that this machine has towards another one. No packet is sent.
fn towards(there: IpAddr) -> Option<IpAddr> {
    let from: IpAddr = if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
    socket.connect(SocketAddr::new(there, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Whether others can dial it. A link-local IPv6 address is incomplete without its interface.
fn is_dialable(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !ip.is_unspecified() && !link_local && Scope::of(ip) != Scope::Loopback
}

/// The address of the first interface, for a network without a default route.
fn any(v6: bool) -> Option<IpAddr> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|one| one.is_oper_up() && is_dialable(one.ip()) && (v6 || one.ip().is_ipv4()));
    interfaces.into_iter().min_by_key(|one| (one.ip().is_ipv6(), one.index, one.ip())).map(|one| one.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_advertised_as_it_is_and_all_interfaces_as_localhost_unless_beyond_is_set() {
        for (host, expected) in [
            ("localhost", "ws://localhost:5"),
            ("10.0.0.7", "ws://10.0.0.7:5"),
            ("::1", "ws://[::1]:5"),
            ("[::1]", "ws://[::1]:5"),
            ("0.0.0.0", "ws://localhost:5"),
            ("[::]", "ws://localhost:5"),
        ] {
            let address = advertised(host, 5, false, None).expect(host);
            assert_eq!(address.to_string(), expected);
            if !host.contains("0.0.0") && host != "[::]" {
                assert_eq!(advertised(host, 5, true, None), Ok(address));
            }
        }
        assert!(advertised("localhost", 0, true, None).is_err());
    }

    #[test]
    fn a_destination_on_loopback_gives_no_other_address() {
        assert_eq!(towards(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::LOCALHOST.into()));
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::", "fe80::1"] {
            assert!(!is_dialable(ip.parse().expect(ip)), "{ip}");
        }
        assert!(is_dialable(Ipv4Addr::new(10, 0, 0, 7).into()));
        let address = advertised("0.0.0.0", 5, true, None).expect("an address");
        assert!(address.to_string() == "ws://localhost:5" || address.scope() != Scope::Loopback, "{address}");
    }
}
