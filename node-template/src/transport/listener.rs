//! The server side: accepts connections, upgrades them within bounds, and hands them to the driver.
//!
//! Everything a stranger can do before the core knows of it is bounded here: how many connections there are, how many from one address, how long and how much an
//! upgrade may take. Nothing of it costs those who are linked already.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::images::{Images, wire};
use crate::protocol::access::Certified;
use crate::protocol::address::Scope;
use crate::protocol::id::UpgradeIdentity;
use crate::protocol::limits::Limits;
use crate::transport::link::byte_stream::Guarded;
use crate::transport::link::read_buffer::Inlet;
use crate::transport::link::write_buffer::Outlet;
use crate::transport::pending_upgrades::{Entry, HalfOpen};
use crate::transport::tls::Live;
use crate::transport::tls_detect::{self, Entered, NotEntered};
use crate::transport::{Arrival, Socket, websocket_config};

/// How long accepting rests when the system has no descriptor left: long enough not to spin, short enough that nobody notices.
const REST: Duration = Duration::from_millis(100);
/// How many more than there are places get in: the core decides which of all of them has to go.
const SPARE: usize = 8;
/// What is said to a connection beyond the bounds.
const NO_PLACE: &str = "this node has no place for another connection";

/// Binds the node's port on every address that `host` stands for: for `localhost` both 127.0.0.1 and, where there is IPv6, ::1.
///
/// # Errors
/// The system's, for the first address that can not be bound.
pub(crate) async fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    if host != "localhost" {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        return Ok(vec![TcpListener::bind((host, port)).await?]);
    }
    // With port 0 the system picks one for IPv4; that it is taken for IPv6 is rare, and then another is picked.
    for _ in 0..16 {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        match TcpListener::bind((Ipv6Addr::LOCALHOST, v4.local_addr()?.port())).await {
            Ok(v6) => return Ok(vec![v4, v6]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port == 0 => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // No IPv6 on this host.
            Err(_) => return Ok(vec![v4]),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// What all listeners of a node share.
pub(crate) struct Doorman {
    identity: HeaderValue,
    limits: Limits,
    places: Arc<Places>,
    pending_upgrades: Arc<HalfOpen>,
    inbox: mpsc::Sender<Arrival>,
    /// In a closed network everybody has to show a certificate.
    secure: Option<Arc<Live>>,
    images: Arc<Images>,
    /// Whether the next connection is to end accepting in a panic.
    #[cfg(test)]
    trip: std::sync::atomic::AtomicBool,
}

impl Doorman {
    pub(crate) fn new(
        identity: &UpgradeIdentity,
        limits: Limits,
        inbox: mpsc::Sender<Arrival>,
        secure: Option<Arc<Live>>,
        images: Arc<Images>,
    ) -> Self {
        let identity = HeaderValue::from_str(&identity.to_string())
            .expect("a identity is hexadecimal digits, hyphens and a slash");
        Self {
            identity,
            limits,
            places: Arc::default(),
            pending_upgrades: Arc::default(),
            inbox,
            secure,
            images,
            #[cfg(test)]
            trip: false.into(),
        }
    }

    /// Accepts connections for as long as it is polled, also after a fault of this program. Dropping it ends the upgrades that are under way.
    pub(crate) async fn keep_open(self: Arc<Self>, listener: TcpListener) {
        let listener = Arc::new(listener);
        loop {
            // A set of one: it ends its task when it is dropped.
            let mut door = JoinSet::new();
            door.spawn(Arc::clone(&self).run(Arc::clone(&listener)));
            if let Some(Err(error)) = door.join_next().await {
                tracing::error!("accepting connections ended in a fault of this program, and begins anew: {error}");
                self.inbox.send(Arrival::Panicked).await.unwrap_or_default();
                // Whatever it was may come again at once.
                tokio::time::sleep(REST).await;
            }
        }
    }

    async fn run(self: Arc<Self>, listener: Arc<TcpListener>) {
        let mut upgrades = JoinSet::new();
        let mut silenced = 0_u32;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => {
                        silenced = 0;
                        #[cfg(test)]
                        assert!(!self.trip.swap(false, std::sync::atomic::Ordering::Relaxed), "as a test wants it");
                        let entry = HalfOpen::enter(&self.pending_upgrades, remote.ip().to_canonical(), self.limits.pending_upgrades);
                        upgrades.spawn(Arc::clone(&self).receive(stream, remote, entry));
                    }
                    Err(error) if concerns_one(&error) => {}
                    Err(error) => {
                        // Said once per series: with no descriptor left this comes ten times a second.
                        if silenced == 0 {
                            tracing::warn!("can not accept a connection: {error}; if this stays, raise the limit of open files (ulimit -n)");
                        }
                        silenced = silenced.saturating_add(1);
                        tokio::time::sleep(REST).await;
                    }
                },
                Some(ended) = upgrades.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("an upgrade ended in a fault of this program: {error}");
                        self.inbox.send(Arrival::Panicked).await.unwrap_or_default();
                    }
                }
            }
        }
    }

    /// Upgrades a connection, unless it has to give way to another while it takes its time.
    async fn receive(self: Arc<Self>, stream: TcpStream, remote: SocketAddr, mut entry: Entry) {
        let upgraded = tokio::select! {
            upgraded = self.upgrade(stream, remote) => upgraded,
            () = entry.displaced() => {
                return tracing::debug!("{remote} was slow with its WebSocket upgrade, and gave way to others");
            }
        };
        // From here on it has a place, and who waits is not its other end but the driver.
        drop(entry);
        let Some(Upgraded { socket, remote, certified, place, transfer }) = upgraded else { return };
        if transfer {
            // It keeps its place among the connections, and is no link.
            Arc::clone(&self.images).serve(socket, remote, certified).await;
            drop(place);
        } else if self
            .inbox
            .send(Arrival::Accepted { socket: Box::new(socket), remote, place, certified })
            .await
            .is_err()
        {
            tracing::debug!("a connection came while this node was shutting down");
        }
    }

    /// Upgrades a connection and finds it a place.
    async fn upgrade(&self, stream: TcpStream, remote: SocketAddr) -> Option<Upgraded> {
        // Who comes from an address of ours is on this host, as much as who comes from loopback.
        let local = stream.local_addr().is_ok_and(|local| local.ip() == remote.ip());
        let upgraded = tokio::time::timeout(self.limits.upgrade_timeout, self.handshake(stream)).await;
        let (Entered { mut socket, certified }, transfer) = match upgraded {
            Ok(Ok(entered)) => entered,
            Ok(Err(NotEntered::WebSocket(error))) => {
                tracing::debug!("{remote} spoke no WebSocket: {error}");
                return None;
            }
            Ok(Err(NotEntered::TurnedAway(reason))) => {
                self.turn_away(remote, reason);
                return None;
            }
            Err(_) => {
                tracing::debug!("{remote} did not finish its WebSocket upgrade in time");
                return None;
            }
        };
        let Some(place) = Places::take(&self.places, remote.ip().to_canonical(), &self.limits) else {
            // For people; if the driver is busy it has better to do.
            self.inbox.try_send(Arrival::Refused { remote: remote.ip().to_canonical(), reason: NO_PLACE }).ok();
            // In a close frame: an HTTP error instead kills nodes of the exercise.
            let reason = CloseFrame { code: 1013.into(), reason: NO_PLACE.into() };
            // Politeness towards somebody who gets no place: if it fails, nothing is lost.
            let closing = tokio::time::timeout(self.limits.upgrade_timeout, socket.close(Some(reason))).await;
            tracing::debug!("{remote} was told that there is no place: {closing:?}");
            return None;
        };
        socket.get_mut().stream_mut().lift_allowance();
        let remote = if local { IpAddr::from(Ipv4Addr::LOCALHOST) } else { remote.ip().to_canonical() };
        Some(Upgraded { socket, remote, certified, place, transfer })
    }

    /// Tells the driver, for the log and the counters. One who knocks again and again is told of less.
    fn turn_away(&self, remote: SocketAddr, reason: String) {
        let told = self.inbox.try_send(Arrival::TurnedAway { remote: remote.ip().to_canonical(), reason });
        if told.is_err() {
            tracing::debug!("there is more to do than to count who is turned away");
        }
    }

    /// Upgrades; tells whether it is for a transfer.
    async fn handshake(&self, stream: TcpStream) -> Result<(Entered, bool), NotEntered> {
        let stream = Guarded::new(stream, self.limits.upgrade_bytes)?;
        let (stream, certified) = tls_detect::enter(stream, self.secure.as_deref()).await?;
        let mut transfer = false;
        #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
        let greet = |request: &Request, response: Response| {
            transfer = wants_transfer(request);
            self.greet(request, response)
        };
        let socket =
            accept_hdr_async_with_config(Outlet::new(Inlet::new(stream)), greet, Some(websocket_config())).await?;
        Ok((Entered { socket, certified }, transfer))
    }

    /// Refuses web pages, and puts our identity into the answer.
    #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
    fn greet(&self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        // A browser always says where a page came from, a node never does. Without this any web page could speak to a node on its reader's host.
        if request.headers().contains_key("origin") {
            let mut refusal = ErrorResponse::new(Some("web pages may not open this port\n".into()));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Err(refusal);
        }
        response.headers_mut().insert(UpgradeIdentity::HEADER, self.identity.clone());
        if wants_transfer(request) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::PROTOCOL));
        }
        Ok(response)
    }
}

/// Whether accepting failed for one connection, which is gone, and not for all (accept(2)): then the next need not wait.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Whether an upgrade is for a transfer of an image. Other subprotocols are left unanswered, as RFC 6455 has it: whoever insists on one gives up.
fn wants_transfer(request: &Request) -> bool {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).any(|name| name.trim() == wire::PROTOCOL)
}

/// A connection that is a WebSocket by now, and has a place.
struct Upgraded {
    socket: Socket,
    remote: IpAddr,
    certified: Option<Certified>,
    place: Place,
    /// Whether somebody wants an image over it.
    transfer: bool,
}

/// How many accepted connections there are, by IP address.
#[derive(Debug, Default)]
struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// The place of one accepted connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    ip: IpAddr,
}

impl Places {
    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take(places: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Option<Place> {
        let mut taken = places.lock();
        let loopback = Scope::of(ip) == Scope::Loopback;
        let of_ip = taken.by_ip.get(&ip).copied().unwrap_or(0);
        if taken.all >= limits.inbound_links + SPARE || (!loopback && of_ip >= limits.inbound_per_ip) {
            return None;
        }
        taken.all += 1;
        taken.by_ip.insert(ip, of_ip + 1);
        Some(Place { places: Arc::clone(places), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(count) = taken.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                taken.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::panics::Faults;

    #[test]
    fn places_are_bounded_by_number_and_address_and_given_back() {
        let limits = Limits { inbound_links: 5, inbound_per_ip: 2, ..Limits::default() };
        let places = Arc::new(Places::default());
        let take = |ip: &str| Places::take(&places, ip.parse().expect("an address"), &limits);
        let kept = [take("192.0.2.1"), take("192.0.2.1")];
        assert!(kept.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none(), "two from one address");
        let local: Vec<_> = (0..3 + SPARE).map(|_| take("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some), "loopback is exempt");
        assert!(take("192.0.2.2").is_none(), "five in all, and the spare ones");
        drop(kept);
        assert!(take("192.0.2.1").is_some());
        drop(local);
        assert!(places.lock().by_ip.is_empty() && places.lock().all == 0);
    }

    #[tokio::test]
    async fn a_panic_while_accepting_costs_one_connection() {
        let identity = "00".repeat(32) + "/00000000-0000-4000-8000-000000000000";
        let (inbox, mut arrivals) = mpsc::channel(8);
        let identity = identity.parse().expect("a identity");
        let home = tempfile::tempdir().expect("a folder");
        let images = Images::open(home.path(), Limits::default(), mpsc::channel(1).0, None, Faults::default());
        let doorman = Arc::new(Doorman::new(&identity, Limits::default(), inbox, None, images));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let at = listener.local_addr().expect("bound");
        doorman.trip.store(true, std::sync::atomic::Ordering::Relaxed);
        let door = tokio::spawn(doorman.keep_open(listener));
        let lost = TcpStream::connect(at).await.expect("a connection");
        assert!(matches!(arrivals.recv().await, Some(Arrival::Panicked)));
        let (_next, _) = tokio_tungstenite::connect_async(format!("ws://{at}")).await.expect("it accepts again");
        assert!(matches!(arrivals.recv().await, Some(Arrival::Accepted { .. })));
        door.abort();
        drop(lost);
    }

    #[tokio::test]
    async fn connections_that_wait_for_the_driver_are_not_taken_for_slow_ones() {
        let identity = "00".repeat(32) + "/00000000-0000-4000-8000-000000000000";
        let (inbox, mut arrivals) = mpsc::channel(1);
        let home = tempfile::tempdir().expect("a folder");
        let limits = Limits { pending_upgrades: 2, ..Limits::default() };
        let images = Images::open(home.path(), limits.clone(), mpsc::channel(1).0, None, Faults::default());
        let doorman = Arc::new(Doorman::new(&identity.parse().expect("a identity"), limits, inbox, None, images));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let door = tokio::spawn(doorman.keep_open(listener));
        // The driver takes nothing meanwhile.
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(tokio_tungstenite::connect_async(format!("ws://{at}")).await.expect("it is upgraded"));
        }
        for number in 0..10 {
            assert!(matches!(arrivals.recv().await, Some(Arrival::Accepted { .. })), "connection {number}");
        }
        door.abort();
    }

    #[tokio::test]
    async fn localhost_is_both_loopback_addresses_on_one_port() {
        let listeners = bind("localhost", 0).await.expect("a free port");
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(|listener| listener.local_addr().expect("bound")).collect();
        assert_eq!(addresses[0].ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
        let taken = bind("localhost", addresses[0].port()).await.expect_err("the port is taken");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
