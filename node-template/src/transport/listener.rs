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

use super::door::{self, Entered, NotEntered};
use super::secure::Live;
use super::stream::Guarded;
use super::{Arrival, websocket_config};
use crate::images::{Images, wire};
use crate::protocol::address::Scope;
use crate::protocol::identity::Greeting;
use crate::protocol::limits::Limits;

/// How long accepting rests when the system has no descriptor left: long enough not to spin, short enough that nobody notices.
const REST: Duration = Duration::from_millis(100);
/// How many connections over the limit are upgraded at once, only to be told so politely: an HTTP error instead kills nodes of the exercise.
const REFUSALS_AT_ONCE: usize = 64;

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
    greeting: HeaderValue,
    limits: Limits,
    places: Arc<Places>,
    inbox: mpsc::Sender<Arrival>,
    /// In a closed network everybody has to show a certificate.
    secure: Option<Arc<Live>>,
    images: Arc<Images>,
}

impl Doorman {
    pub(crate) fn new(
        greeting: &Greeting,
        limits: Limits,
        inbox: mpsc::Sender<Arrival>,
        secure: Option<Arc<Live>>,
        images: Arc<Images>,
    ) -> Self {
        let greeting = HeaderValue::from_str(&greeting.to_string())
            .expect("a greeting is hexadecimal digits, hyphens and a slash");
        Self { greeting, limits, places: Arc::default(), inbox, secure, images }
    }

    /// Accepts connections for as long as it is polled. Dropping it ends the upgrades that are under way.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut upgrades = JoinSet::new();
        let mut silenced = 0_u32;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => {
                        silenced = 0;
                        if let Some(place) = self.admit(remote) {
                            upgrades.spawn(Arc::clone(&self).upgrade(stream, remote, place));
                        }
                    }
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
                    }
                }
            }
        }
    }

    fn admit(&self, remote: SocketAddr) -> Option<Place> {
        let ip = remote.ip().to_canonical();
        let place = Places::take(&self.places, ip, &self.limits);
        if place.is_none() {
            tracing::debug!("{ip} is refused: there is no place for another connection");
        }
        place
    }

    async fn upgrade(self: Arc<Self>, stream: TcpStream, remote: SocketAddr, place: Place) {
        // Who comes from an address of ours is on this host, as much as who comes from loopback.
        let local = stream.local_addr().is_ok_and(|local| local.ip() == remote.ip());
        let upgraded = tokio::time::timeout(self.limits.upgrade_timeout, self.handshake(stream)).await;
        let (Entered { mut socket, certified }, transfer) = match upgraded {
            Ok(Ok(entered)) => entered,
            Ok(Err(NotEntered::WebSocket(error))) => return tracing::debug!("{remote} spoke no WebSocket: {error}"),
            Ok(Err(NotEntered::TurnedAway(reason))) => return self.turn_away(remote, reason),
            Err(_) => return tracing::debug!("{remote} did not finish its WebSocket upgrade in time"),
        };
        if place.is_refusal() {
            let reason =
                CloseFrame { code: 1013.into(), reason: "this node has no place for another connection".into() };
            // Politeness towards somebody who gets no place: if it fails, nothing is lost.
            let closing = tokio::time::timeout(self.limits.upgrade_timeout, socket.close(Some(reason))).await;
            return tracing::debug!("{remote} was told that there is no place: {closing:?}");
        }
        socket.get_mut().lift_allowance();
        let remote = if local { IpAddr::from(Ipv4Addr::LOCALHOST) } else { remote.ip().to_canonical() };
        if transfer {
            // It keeps its place among the connections, and is no link.
            return Arc::clone(&self.images).serve(socket, remote, certified).await;
        }
        if self.inbox.send(Arrival::Accepted { socket: Box::new(socket), remote, place, certified }).await.is_err() {
            tracing::debug!("a connection came while this node was shutting down");
        }
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
        let (stream, certified) = door::enter(stream, self.secure.as_deref()).await?;
        let mut transfer = false;
        #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
        let greet = |request: &Request, response: Response| {
            transfer = wants_transfer(request);
            self.greet(request, response)
        };
        let socket = accept_hdr_async_with_config(stream, greet, Some(websocket_config())).await?;
        Ok((Entered { socket, certified }, transfer))
    }

    /// Refuses web pages, and puts our greeting into the answer.
    #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
    fn greet(&self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        // A browser always says where a page came from, a node never does. Without this any web page could speak to a node on its reader's host.
        if request.headers().contains_key("origin") {
            let mut refusal = ErrorResponse::new(Some("web pages may not open this port\n".into()));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Err(refusal);
        }
        response.headers_mut().insert(Greeting::HEADER, self.greeting.clone());
        if wants_transfer(request) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::PROTOCOL));
        }
        Ok(response)
    }
}

/// Whether an upgrade is for a transfer of an image. Other subprotocols are left unanswered, as RFC 6455 has it: whoever insists on one gives up.
fn wants_transfer(request: &Request) -> bool {
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).any(|name| name.trim() == wire::PROTOCOL)
}

/// How many accepted connections there are, by IP address.
#[derive(Debug, Default)]
struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    refusals: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// The place of one accepted connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// `None`: over the limit, and only here to be told so.
    ip: Option<IpAddr>,
}

impl Places {
    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take(places: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Option<Place> {
        let mut taken = places.lock();
        let loopback = Scope::of(ip) == Scope::Loopback;
        let of_ip = taken.by_ip.get(&ip).copied().unwrap_or(0);
        if taken.all < limits.inbound_links && (loopback || of_ip < limits.inbound_per_ip) {
            taken.all += 1;
            taken.by_ip.insert(ip, of_ip + 1);
            return Some(Place { places: Arc::clone(places), ip: Some(ip) });
        }
        (taken.refusals < REFUSALS_AT_ONCE).then(|| {
            taken.refusals += 1;
            Place { places: Arc::clone(places), ip: None }
        })
    }
}

impl Place {
    fn is_refusal(&self) -> bool {
        self.ip.is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let Some(ip) = self.ip else {
            taken.refusals -= 1;
            return;
        };
        taken.all -= 1;
        if let Some(count) = taken.by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                taken.by_ip.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_number_and_address_and_given_back() {
        let limits = Limits { inbound_links: 5, inbound_per_ip: 2, ..Limits::default() };
        let places = Arc::new(Places::default());
        let take =
            |ip: &str| Places::take(&places, ip.parse().expect("an address"), &limits).expect("a place or a refusal");
        let kept = [take("192.0.2.1"), take("192.0.2.1")];
        assert!(kept.iter().all(|place| !place.is_refusal()));
        assert!(take("192.0.2.1").is_refusal(), "two from one address");
        let local: Vec<Place> = (0..3).map(|_| take("127.0.0.1")).collect();
        assert!(local.iter().all(|place| !place.is_refusal()), "loopback is exempt");
        assert!(take("192.0.2.2").is_refusal(), "five in all");
        drop(kept);
        assert!(!take("192.0.2.1").is_refusal());
        let refused: Vec<_> =
            (0..100).map(|_| Places::take(&places, "127.0.0.1".parse().expect("an address"), &limits)).collect();
        assert_eq!(refused.iter().flatten().filter(|place| place.is_refusal()).count(), REFUSALS_AT_ONCE);
        drop((local, refused));
        assert!(places.lock().by_ip.is_empty() && places.lock().all == 0);
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
