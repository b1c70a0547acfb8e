//! From an address to a TCP connection.
//!
//! Only here is it known which IP addresses a name stands for. So the rule who may send us to which
//! address is applied here once more: a stranger's name that leads to this host or to a private
//! network is not dialled.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use meshpool_proto::address::{PeerAddress, Scope};
use meshpool_proto::dial_allowance::sources_of_name;
use tokio::net::TcpStream;

use crate::system::is_out_of_files;
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
    let found = within(by.reach, found)?;
    race(found.clone(), connect)
        .await
        .map_err(|error| NotTried::explain(&found, explain_zone(&address.host(), error), has_route))
}

/// The error of a connection that this host could not even try: it has no route to any of the IP
/// addresses, or no socket left. It says nothing about the other end.
#[derive(Debug)]
pub(crate) struct NotTried(io::Error);

impl fmt::Display for NotTried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for NotTried {}

impl NotTried {
    /// Returns whether an error is one.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Self>)
    }

    /// Makes an error one if the host is its cause. A router far away says with the same number
    /// that a network or a host is unreachable, so the number alone does not tell.
    fn explain(found: &[SocketAddr], error: io::Error, has_route: impl Fn(SocketAddr) -> bool) -> io::Error {
        if PutOff::of(&error).is_some() || found.is_empty() {
            return error;
        }
        let no_socket = error.kind() == io::ErrorKind::AddrNotAvailable || is_out_of_files(&error);
        if no_socket || !found.iter().any(|at| has_route(*at)) {
            return io::Error::new(error.kind(), Self(error));
        }
        error
    }
}

/// Returns whether this host has a route to an address. To connect a UDP socket looks the route up,
/// and sends nothing.
fn has_route(to: SocketAddr) -> bool {
    let own: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(own).and_then(|socket| socket.connect(to)).is_ok()
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

    #[test]
    fn what_this_host_cannot_try_is_told_from_what_others_refuse() {
        let [four, six] = ["192.0.2.1:1", "[2001:db8::1]:1"].map(|text| text.parse().expect("an address"));
        let judged = |found: &[SocketAddr], kind: io::ErrorKind, routes: &[SocketAddr]| {
            let error = NotTried::explain(found, io::Error::new(kind, "why"), |at| routes.contains(&at));
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, "why"), "the cause stays");
            NotTried::is(&error)
        };
        let (network, host) = (io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable);
        for kind in [network, host, io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable] {
            assert!(judged(&[six], kind, &[four]), "{kind}: a host without IPv6");
        }
        for kind in [network, host, io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut] {
            assert!(!judged(&[six], kind, &[six]), "{kind}: others said so");
            assert!(!judged(&[four, six], kind, &[four]), "{kind}: one of both was tried");
        }
        assert!(judged(&[four], io::ErrorKind::AddrNotAvailable, &[four]), "no port is left");
        assert!(!judged(&[], io::ErrorKind::NotFound, &[]), "a name that stands for nothing");
        let put_off = io::Error::other(PutOff { until: std::time::Instant::now() });
        assert!(!NotTried::is(&NotTried::explain(&[six], put_off, |_| false)));
        #[cfg(unix)]
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE] {
            assert!(NotTried::is(&NotTried::explain(&[four], errno.into(), |_| true)), "{errno}: no socket is left");
        }
    }

    #[tokio::test]
    async fn the_system_says_where_it_has_a_route() {
        assert!(has_route((Ipv4Addr::LOCALHOST, 1).into()));
        // Linux connects no TCP to all hosts of a link.
        if cfg!(target_os = "linux") {
            let permits = DialPermits::new(&meshpool_proto::limits::Limits::default());
            let by = NamedBy { reach: Scope::Loopback, sources: vec![meshpool_proto::SourceGroup::Host] };
            let address = PeerAddress::new("255.255.255.255", 9).expect("an address");
            let error = connect_permitted(&address, &by, &permits).await.expect_err("it is no host");
            assert!(NotTried::is(&error), "{error:?}");
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            drop(listener);
            let address = PeerAddress::new("127.0.0.1", port).expect("an address");
            let error = connect_permitted(&address, &by, &permits).await.expect_err("nobody listens");
            assert!(!NotTried::is(&error), "{error:?}");
        }
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
