//! From an address to a TCP connection.
//!
//! Only here is it known which IP addresses a name stands for. So the rule who may send us to which
//! address is applied here once more: a stranger's name that leads to this host or to a private
//! network is not dialled.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use meshpool_proto::address::{PeerAddress, Scope};
use meshpool_proto::dial_allowance::sources_of_name;
use tokio::net::TcpStream;

use crate::transport::dial_permit::{DialPermits, NamedBy, Permit, PutOff};
use crate::transport::race::race;

/// Connects to one of the IP addresses of a host, the first that answers.
pub(crate) async fn connect(address: &PeerAddress, reach: Scope) -> io::Result<TcpStream> {
    connect_unexplained(address, reach).await.map_err(|error| explain_zone(&address.host(), error))
}

async fn connect_unexplained(address: &PeerAddress, reach: Scope) -> io::Result<TcpStream> {
    if address.node().is_some() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "nodes alone dial iroh: addresses; name a ws:// address",
        ));
    }
    race(within(reach, resolve(&address.host(), address.port()).await?)?, TcpStream::connect).await
}

/// As [`connect`], on the word of a peer: each connection needs a permit for its IP address, which
/// is taken just before it is opened.
///
/// # Errors
/// The system's, or [`PutOff`](crate::transport::dial_permit::PutOff).
pub(crate) async fn connect_permitted(
    address: &PeerAddress,
    by: &NamedBy,
    permits: &Arc<DialPermits>,
) -> io::Result<(TcpStream, Permit)> {
    let sources = if address.is_name() { &sources_of_name(&by.sources) } else { &by.sources };
    let connect = async |at| {
        let permit = permits.take(sources, at).await?;
        Ok((TcpStream::connect(at).await?, permit))
    };
    let found = resolve(&address.host(), address.port()).await.map_err(|error| explain_zone(&address.host(), error))?;
    race(within(by.reach, found)?, connect).await.map_err(|error| explain_zone(&address.host(), error))
}

/// Names the zone where that of a link-local IPv6 address is missing, or is no interface of this
/// host. The system's words for both fit any other mistake too.
pub(crate) fn explain_zone(host: &str, error: io::Error) -> io::Error {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    let is_link_local = ip.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_unicast_link_local());
    // Resolvers have errors of their own, without a number of the system.
    let why = match (zone, error.kind()) {
        _ if !is_link_local => return error,
        (None, io::ErrorKind::InvalidInput) => {
            "a link-local address needs an interface of this machine as its zone, as in fe80::1%eth0".to_owned()
        }
        (Some(zone), kind)
            if kind != io::ErrorKind::PermissionDenied
                && error.raw_os_error().is_none()
                && PutOff::of(&error).is_none() =>
        {
            format!("{zone}, its zone behind the %, is no interface of this machine")
        }
        _ => return error,
    };
    io::Error::new(error.kind(), why)
}

/// Returns all addresses of a host. `localhost` is loopback by definition (RFC 6761) and is not
/// looked up.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(if host == "localhost" {
        vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
    } else {
        tokio::net::lookup_host((host, port)).await?.collect()
    })
}

/// Keeps the addresses to which the source of the name may send us. The result is dialled as it is:
/// a second look-up could give other addresses.
pub(crate) fn within(reach: Scope, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let any = !found.is_empty();
    let may: Vec<SocketAddr> = found.into_iter().filter(|at| reach.may_tell(Scope::of(at.ip()))).collect();
    if may.is_empty() && any {
        let why = "its name stands for an address on this host or in a private network, and it came from farther away; if you trust it, add it to known-peers.json";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_no_nearer_than_its_source() {
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

    /// An address that swallows what is sent to it: a listener whose queue is full, so that the
    /// kernel drops what asks for a connection (listen(2)).
    #[cfg(target_os = "linux")]
    async fn black_hole() -> (Vec<TcpStream>, tokio::net::TcpListener, SocketAddr) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let listener = socket.listen(0).expect("it listens");
        let at = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(FILLED, TcpStream::connect(at)).await {
            waiting.push(stream);
        }
        (waiting, listener, at)
    }

    /// A connection on loopback that takes longer is not made: the first retry comes after 1 s.
    #[cfg(target_os = "linux")]
    const FILLED: std::time::Duration = std::time::Duration::from_millis(100);

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_never_answers_keeps_nobody_from_the_next() {
        let (_waiting, _full, dead) = black_hole().await;
        let live = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let alive = live.local_addr().expect("bound");
        let stream = race(vec![dead, alive], TcpStream::connect).await.expect("one answers");
        assert_eq!(stream.peer_addr().expect("connected"), alive);
    }

    #[tokio::test]
    async fn a_zone_that_is_missing_or_none_is_named() {
        for (host, part) in [("fe80::1", "needs an interface"), ("fe80::1%nosuch0", "nosuch0, its zone")] {
            let error = connect(&PeerAddress::new(host, 9).expect(host), Scope::Interface).await.expect_err(host);
            // Other systems take the address without a zone, and find nobody there.
            assert!(error.to_string().contains(part) || cfg!(not(target_os = "linux")), "{host}: {error}");
        }
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(explain_zone("192.0.2.1", refused()).to_string(), refused().to_string());
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
