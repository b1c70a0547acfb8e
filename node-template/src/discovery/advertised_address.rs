//! By which address other machines reach this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::protocol::address::{InvalidAddress, PeerAddress, Scope};

/// Where others are told to dial a node that listens on `host` and says nothing else: there, or, where it listens on everything and `beyond` is said, at the address
/// of the interface that leads to `genesis` or to the network. Everything else that listens on everything is told as localhost.
///
/// # Errors
/// [`InvalidAddress`] if the host is none or the port is 0.
pub(crate) fn advertised(
    host: &str,
    port: u16,
    beyond: bool,
    genesis: Option<&PeerAddress>,
) -> Result<PeerAddress, InvalidAddress> {
    let listened: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match listened.filter(IpAddr::is_unspecified) {
        None => PeerAddress::new(host, port),
        Some(all) => match beyond.then(|| outward(all.is_ipv6(), genesis)).flatten() {
            Some(ip) => PeerAddress::new(&ip.to_string(), port),
            None => PeerAddress::new("localhost", port),
        },
    }
}

/// Whether a node that has this genesis node is to be reached from beyond its host.
pub(crate) fn is_beyond(genesis: Option<&PeerAddress>) -> bool {
    genesis.is_some_and(|address| address.scope() != Scope::Loopback)
}

fn outward(v6: bool, genesis: Option<&PeerAddress>) -> Option<IpAddr> {
    let genesis = genesis.and_then(|address| address.host().parse().ok());
    // Addresses for documentation (RFC 5737, RFC 3849): they stand for everybody who is reached by the default route.
    let everybody: [IpAddr; 2] =
        [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    let there = genesis.into_iter().chain(everybody).filter(|there: &IpAddr| v6 || there.is_ipv4());
    there.filter_map(towards).find(|ip| is_told(*ip)).or_else(|| any(v6))
}

/// The address that this machine has towards another one. Nothing is sent for that.
fn towards(there: IpAddr) -> Option<IpAddr> {
    let from: IpAddr = if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
    socket.connect(SocketAddr::new(there, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Whether others can dial it: a link-local IPv6 address says nothing without its interface.
fn is_told(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !ip.is_unspecified() && !link_local && Scope::of(ip) != Scope::Loopback
}

/// On a network without a way out: the address of the first interface.
fn any(v6: bool) -> Option<IpAddr> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.retain(|one| one.is_oper_up() && is_told(one.ip()) && (v6 || one.ip().is_ipv4()));
    interfaces.into_iter().min_by_key(|one| (one.ip().is_ipv6(), one.index, one.ip())).map(|one| one.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_as_it_is_and_everything_as_localhost_unless_others_are_to_come() {
        for (host, told) in [
            ("localhost", "ws://localhost:5"),
            ("10.0.0.7", "ws://10.0.0.7:5"),
            ("::1", "ws://[::1]:5"),
            ("[::1]", "ws://[::1]:5"),
            ("0.0.0.0", "ws://localhost:5"),
            ("[::]", "ws://localhost:5"),
        ] {
            let address = advertised(host, 5, false, None).expect(host);
            assert_eq!(address.to_string(), told);
            if !host.contains("0.0.0") && host != "[::]" {
                assert_eq!(advertised(host, 5, true, None), Ok(address));
            }
        }
        assert!(advertised("localhost", 0, true, None).is_err());
    }

    #[test]
    fn whoever_is_reached_by_loopback_is_told_no_other_address() {
        assert_eq!(towards(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::LOCALHOST.into()));
        for ip in ["127.0.0.1", "0.0.0.0", "::1", "::", "fe80::1"] {
            assert!(!is_told(ip.parse().expect(ip)), "{ip}");
        }
        assert!(is_told(Ipv4Addr::new(10, 0, 0, 7).into()));
        let address = advertised("0.0.0.0", 5, true, None).expect("an address");
        assert!(address.to_string() == "ws://localhost:5" || address.scope() != Scope::Loopback, "{address}");
    }
}
