//! From an address to a TCP connection. What a name stands for is known only here, so the rule of who may tell which address is kept here once more: a
//! stranger's name that turns out to be this host, or a private network of ours, is not dialled.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

use crate::protocol::address::{PeerAddress, Scope};

/// Connects to one of the IP addresses that the host stands for. `localhost` is loopback by definition (RFC 6761) and asks no resolver.
pub(crate) async fn connect(address: &PeerAddress, reach: Scope) -> io::Result<TcpStream> {
    let (host, port) = (address.host(), address.port());
    let found = if host == "localhost" {
        vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
    } else {
        tokio::net::lookup_host((host.as_str(), port)).await?.collect()
    };
    TcpStream::connect(&within(reach, found)?[..]).await
}

/// Those that whoever told of the name may send us to. What was resolved is what is dialled: a second look-up could say something else.
fn within(reach: Scope, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let near = !found.is_empty();
    let may: Vec<SocketAddr> = found.into_iter().filter(|at| reach.may_tell(Scope::of(at.ip()))).collect();
    if may.is_empty() && near {
        let why = "its name stands for an address on this host or in a private network, and it was told from farther away; if you trust it, add it to known-peers.json";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_no_nearer_than_whoever_told_of_it() {
        let found = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>();
        let all =
            ["127.0.0.1:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1", "[::1]:1", "10.0.0.1:1", "[fd00::1]:1", "192.0.2.1:1"];
        for (reach, allowed) in [(Scope::Loopback, &all[..]), (Scope::Private, &all[4..]), (Scope::Public, &all[6..])] {
            assert_eq!(within(reach, found(&all)).expect("some are left"), found(allowed), "{reach:?}");
        }
        let refused = within(Scope::Public, found(&all[..6])).expect_err("none is left");
        assert!(refused.to_string().contains("known-peers.json"), "it says what to do: {refused}");
        assert_eq!(within(Scope::Public, Vec::new()).expect("nothing was refused"), []);
    }

    #[tokio::test]
    async fn a_strangers_name_for_this_host_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        // Resolved by the system as any other name would be.
        let address = PeerAddress::new("127.0.0.1", port).expect("an address");
        let refused = connect(&address, Scope::Private).await.expect_err("it is nearer than a private network");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        connect(&address, Scope::Loopback).await.expect("a loopback peer may send us there");
    }
}
