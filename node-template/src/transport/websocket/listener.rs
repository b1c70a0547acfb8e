//! The listener: accepts connections, upgrades them within bounds, and hands them to the driver or
//! to the owner of a subprotocol.
//!
//! All that a stranger can do before the core knows of it is bounded here: the number of
//! connections, those of one address, and the time and bytes of an upgrade. None of it slows down
//! open links.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use meshpool_proto::Challenge;
use meshpool_proto::address::{PeerAddress, Scope};
use meshpool_proto::id::{Nonce, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::transport::accept_slots::{AcceptSlot, AcceptSlots, Bound, Kind};
use crate::transport::arrival::Arrival;
use crate::transport::bounded_stream::BoundedStream;
use crate::transport::iroh::connection::IrohConnection;
use crate::transport::iroh::endpoint as iroh;
use crate::transport::pending_upgrades::{PendingUpgrade, PendingUpgrades};
use crate::transport::raw_stream::RawStream;
use crate::transport::resolver::explain_zone;
use crate::transport::subprotocol::{Connection, Subprotocol};
use crate::transport::tls::Live;
use crate::transport::tls_detect::{self, CLOSED, CLOSED_IDENTITY, UpgradeError};
use crate::transport::websocket::origin::{self, Reached};
use crate::transport::websocket::plain_http::{Head, PageLocation, PlainRequest};
use crate::transport::websocket::read_buffer::ReadBuffer;
use crate::transport::websocket::socket::config;
use crate::transport::websocket::write_buffer::WriteBuffer;
use crate::util::byte_stream::ByteStream;
use crate::util::forwarded::{self, X_FORWARDED_FOR, is_of_proxies};
use crate::util::ip_range::IpRange;

/// The pause after accepting failed, mostly for want of file descriptors. It keeps the loop from
/// spinning, and is too short to be noticed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How many upgrades are under way from which on a connection over UDP has to validate its address
/// first: forged ones displace nobody. Below, it saves a round trip.
#[cfg(feature = "wan")]
const UNVALIDATED: usize = 64;

/// The address of clients behind a proxy on this machine that TRUSTED_PROXIES does not name: the
/// IPv4 dummy address (RFC 7600, section 4.8), which nobody has.
const BEHIND_UNKNOWN_PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));
/// The beginning of the answer to a request that asks for no WebSocket.
const NO_PAGE: &str = "this port is for nodes, which speak WebSocket";
/// The answer to a web page, or to a program that is taken for one.
const PAGE_ANSWER: &str =
    "web pages may not open this port; a program sends no Origin, or that of the address it dials\n";
/// The same for the log.
const PAGE_REFUSED: &str = "it sent the Origin of a web page; if it is a program of yours, let it send no Origin, or that of the address that it dials";

/// The answer of a relay to those that measure how far away it is.
const PING_ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The close reason of a closed node for a WebSocket without TLS.
const CLOSED_REASON: &str = "this network is closed: dial wss:// with a certificate of its authority";
/// The same for the log.
const NO_TLS: &str = "it spoke no TLS, so that node or client is in an open network, and this one is closed; if it is one of yours, issue it a certificate with 'cargo xtask issue-certificate' and dial wss://";

/// Binds a port on every address of `host`: for `localhost` 127.0.0.1 and, where there is IPv6,
/// ::1.
///
/// # Errors
/// The system's, for the first address that cannot be bound.
pub(crate) async fn bind(host: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    if host != "localhost" {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let bound = TcpListener::bind((host, port)).await;
        return Ok(vec![bound.map_err(|error| explain_zone(host, error))?]);
    }
    // With port 0 the system picks a port for IPv4. If it is in use for IPv6, which is rare,
    // another is picked.
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

/// How this node looks from outside.
pub(crate) struct Outside {
    /// The address that it announces.
    pub(crate) address: PeerAddress,
    pub(crate) page: PageLocation,
    /// Whether it is a relay for others, which measure how far away it is.
    pub(crate) is_relay: bool,
    /// The reverse proxies whose X-Forwarded-For counts.
    pub(crate) trusted_proxies: Vec<IpRange>,
}

/// Accepts connections; shared by all listening sockets of a node.
pub(crate) struct Acceptor {
    identity: HeaderValue,
    outside: Outside,
    limits: Limits,
    slots: Arc<AcceptSlots>,
    pending_upgrades: Arc<PendingUpgrades>,
    arrivals: mpsc::Sender<Arrival>,
    /// In a closed network every connection has to show a certificate.
    credentials: Option<Arc<Live>>,
    subprotocols: Vec<Subprotocol>,
    /// Lets the next connection panic.
    #[cfg(test)]
    panics: std::sync::atomic::AtomicBool,
}

/// A connection that nothing was read from yet.
enum Incoming {
    Tcp(TcpStream),
    #[cfg_attr(not(feature = "wan"), expect(dead_code, reason = "there is none"))]
    Iroh(Box<iroh::Incoming>),
}

impl Incoming {
    async fn open(self) -> io::Result<RawStream> {
        match self {
            Self::Tcp(stream) => RawStream::tcp(stream),
            Self::Iroh(incoming) => Ok(RawStream::Iroh(Box::new(incoming.accept().await?))),
        }
    }
}

/// A connection that is upgraded and has a slot.
struct Accepted<'a> {
    connection: Connection,
    /// `None`: it is a client of the relay, which needs none.
    slot: Option<AcceptSlot>,
    /// The subprotocol that it asked for; `None`: it becomes a link.
    subprotocol: Option<&'a Subprotocol>,
}

impl Acceptor {
    pub(crate) fn new(
        identity: &UpgradeIdentity,
        outside: Outside,
        limits: Limits,
        arrivals: mpsc::Sender<Arrival>,
        credentials: Option<Arc<Live>>,
        subprotocols: Vec<Subprotocol>,
    ) -> Self {
        let identity = HeaderValue::from_str(&identity.to_string())
            .expect("an identity is hexadecimal digits, hyphens and a slash");
        Self {
            identity,
            outside,
            limits,
            slots: Arc::default(),
            pending_upgrades: Arc::default(),
            arrivals,
            credentials,
            subprotocols,
            #[cfg(test)]
            panics: false.into(),
        }
    }

    /// Counts an upgrade as under way.
    #[cfg(all(test, feature = "wan"))]
    pub(crate) fn pend(&self, ip: IpAddr) -> PendingUpgrade {
        self.pending_upgrades.add(ip, self.limits.pending_upgrades)
    }

    /// Accepts connections for as long as it is polled, also after a panic. Dropping it ends the
    /// upgrades and the connections to subprotocols.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let listener = Arc::new(listener);
        loop {
            // A set of one: it ends its task when it is dropped.
            let mut accepting = JoinSet::new();
            accepting.spawn(Arc::clone(&self).accept(Arc::clone(&listener)));
            if let Some(Err(error)) = accepting.join_next().await {
                tracing::error!(
                    "accepting connections ended in a fault of this program, and is started again: {error}"
                );
                self.arrivals.send(Arrival::Panicked).await.unwrap_or_default();
                // The cause may be there again at once.
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    async fn accept(self: Arc<Self>, listener: Arc<TcpListener>) {
        let mut upgrades = JoinSet::new();
        let mut suppressed = 0_u32;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => {
                        suppressed = 0;
                        #[cfg(test)]
                        assert!(!self.panics.swap(false, std::sync::atomic::Ordering::Relaxed), "for the test");
                        let pending = self.pending_upgrades.add(remote.ip().to_canonical(), self.limits.pending_upgrades);
                        upgrades.spawn(Arc::clone(&self).receive(Incoming::Tcp(stream), remote, pending));
                    }
                    Err(error) if concerns_one(&error) => {}
                    Err(error) => {
                        // Logged once per series: without descriptors this fails ten times a
                        // second.
                        if suppressed == 0 {
                            tracing::warn!("cannot accept a connection: {error}; if this stays, raise the limit of open files (ulimit -n)");
                        }
                        suppressed = suppressed.saturating_add(1);
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                },
                Some(ended) = upgrades.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!("an upgrade ended in a fault of this program: {error}");
                        self.arrivals.send(Arrival::Panicked).await.unwrap_or_default();
                    }
                }
            }
        }
    }

    /// Upgrades a connection that came over iroh, and hands it over.
    #[cfg(feature = "wan")]
    pub(crate) async fn receive_iroh(self: Arc<Self>, incoming: iroh::Incoming) {
        // Nobody has shown that it can be reached at its address: it may be anybody's.
        if self.pending_upgrades.total() >= UNVALIDATED && incoming.is_unvalidated() {
            return incoming.validate();
        }
        let remote = incoming.remote();
        let pending = self.pending_upgrades.add(remote.ip().to_canonical(), self.limits.pending_upgrades);
        self.receive(Incoming::Iroh(Box::new(incoming)), remote, pending).await;
    }

    /// Upgrades a connection, unless another displaces it meanwhile, and hands it over.
    async fn receive(self: Arc<Self>, incoming: Incoming, remote: SocketAddr, mut pending: PendingUpgrade) {
        let accepted = tokio::select! {
            accepted = self.upgrade(incoming, remote) => accepted,
            () = pending.displaced() => {
                return tracing::debug!("{remote} was slow with its WebSocket upgrade, and was displaced by others");
            }
        };
        let Some(Accepted { mut connection, slot, subprotocol }) = accepted else { return };
        let Some(slot) = slot else {
            // It has proved nothing yet, so others still displace it.
            connection.pending = Some(pending);
            if let Some(relay) = subprotocol {
                relay.serve(connection).await;
            }
            return;
        };
        // From here on it has a slot, and any delay is the driver's, not the other end's.
        drop(pending);
        if let Some(subprotocol) = subprotocol {
            // It is no link, but keeps its slot.
            subprotocol.serve(connection).await;
            drop(slot);
            return;
        }
        let arrival = Arrival::Accepted { connection: Box::new(connection), slot };
        if self.arrivals.send(arrival).await.is_err() {
            tracing::debug!("a connection came while this node was shutting down");
        }
    }

    /// Upgrades a connection and takes a slot for it.
    async fn upgrade(&self, incoming: Incoming, remote: SocketAddr) -> Option<Accepted<'_>> {
        let ip = remote.ip().to_canonical();
        let handshake = async {
            let stream = incoming.open().await?;
            // A connection from an address of ours comes from this host, as one from loopback does.
            let at = stream.local_addr()?;
            let from = match stream.iroh() {
                Some(iroh) => iroh.remote(),
                None if at.ip() == remote.ip() => IpAddr::from(Ipv4Addr::LOCALHOST),
                None => ip,
            };
            self.handshake(stream, at, from).await
        };
        let upgraded = tokio::time::timeout(self.limits.upgrade_timeout, handshake).await;
        let (mut connection, subprotocol) = match upgraded {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(UpgradeError::NoTls(_))) => return None,
            Ok(Err(UpgradeError::WebSocket(error))) => {
                tracing::debug!("{remote} spoke no WebSocket: {error}");
                return None;
            }
            Ok(Err(UpgradeError::PlainHttp)) => {
                tracing::debug!("{remote} asked for no WebSocket, and was told where the page is");
                return None;
            }
            Ok(Err(UpgradeError::Rejected(reason))) => {
                // For the log and the counters; if the driver is busy they can miss one.
                if self.arrivals.try_send(Arrival::Rejected { remote: ip, reason }).is_err() {
                    tracing::debug!("{remote} was rejected, which is not counted: the driver is busy");
                }
                return None;
            }
            Err(_) => {
                tracing::debug!("{remote} did not finish its WebSocket upgrade in time");
                return None;
            }
        };
        if subprotocol.is_some_and(|subprotocol| subprotocol.is_relay) {
            connection.socket.get_mut().stream_mut().lift_read_limit();
            return Some(Accepted { connection, slot: None, subprotocol });
        }
        // Behind a proxy it is another than that of the connection.
        let ip = if connection.remote.is_loopback() { ip } else { connection.remote };
        let taken = self.slots.take(connection.remote, kind(connection.iroh.as_ref()), &self.limits);
        let bound = match &taken {
            Ok(slot) => slot.beyond,
            Err(bound) => Some(*bound),
        };
        if let Some(bound) = bound {
            // For the log and the counters; if the driver is busy they can miss one.
            self.arrivals.try_send(Arrival::Refused { remote: ip, reason: bound.warning() }).ok();
        }
        // One with a subprotocol is no link, and cannot be referred.
        let beyond = bound.filter(|_| taken.is_err() || subprotocol.is_some());
        let (Ok(slot), None) = (taken, beyond) else {
            let reason = beyond.map(Bound::reason).unwrap_or_default();
            // In a close frame: an HTTP error would end exercise peers.
            let close = CloseFrame { code: 1013.into(), reason: reason.into() };
            // Whether the close frame arrives has no effect here.
            let closing = tokio::time::timeout(self.limits.upgrade_timeout, connection.socket.close(Some(close))).await;
            tracing::debug!("{remote} found no free slot, and was closed: {closing:?}");
            return None;
        };
        connection.socket.get_mut().stream_mut().lift_read_limit();
        Some(Accepted { connection, slot: Some(slot), subprotocol })
    }

    /// Detects TLS and upgrades. Returns the subprotocol that the other end asked for.
    async fn handshake(
        &self,
        stream: RawStream,
        local: SocketAddr,
        remote: IpAddr,
    ) -> Result<(Connection, Option<&Subprotocol>), UpgradeError> {
        let challenge = Challenge::Accepted { nonce: Nonce(rand::random()), local };
        let iroh = stream.iroh();
        let stream = BoundedStream::new(stream, self.limits.upgrade_bytes);
        let (stream, certified) = match tls_detect::accept(stream, self.credentials.as_deref()).await {
            Err(UpgradeError::NoTls(stream)) => return Err(self.refuse_open(stream).await),
            accepted => accepted?,
        };
        let mut stream = ReadBuffer::new(stream);
        if let Some(request) = plain_request(&mut stream).await? {
            if let Some(invalid) = request.invalid {
                let text = format!("this WebSocket upgrade {invalid}");
                tls_detect::answer(&mut stream, &request.answer("websocket", &text)).await;
                return Err(UpgradeError::Rejected(format!("its WebSocket upgrade {invalid}")));
            }
            if request.is_ping && self.outside.is_relay {
                tls_detect::answer(&mut stream, PING_ANSWER).await;
            } else {
                let text = format!("{NO_PAGE}; {}", self.outside.page.text(request.host.as_ref()));
                tls_detect::answer(&mut stream, &request.answer("websocket", &text)).await;
            }
            return Err(UpgradeError::PlainHttp);
        }
        let reached = Reached { local, from_here: remote.is_loopback(), announced: &self.outside.address };
        let (mut subprotocol, mut is_page, mut client) = (None, false, remote);
        #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
        let respond = |request: &Request, response: Response| {
            subprotocol = self.subprotocol_of(request);
            is_page = !origin::is_allowed(request, reached);
            // Over iroh no proxy is between: the other end would choose its address.
            if iroh.is_none() {
                client = self.client(request, remote);
            }
            self.respond(response, subprotocol, is_page, &challenge)
        };
        let accepted = accept_hdr_async_with_config(WriteBuffer::new(stream), respond, Some(config())).await;
        if is_page {
            return Err(UpgradeError::Rejected(PAGE_REFUSED.to_owned()));
        }
        let socket = accepted?;
        Ok((Connection { socket, remote: client, iroh, certified, challenge, pending: None }, subprotocol))
    }

    /// Returns whose a request is. A proxy of ours says so.
    ///
    /// Another proxy on this machine would make every stranger a program of this machine, which may
    /// do more than others. If its headers show it, its clients count as one stranger. What they
    /// say about themselves does not count: anybody can write it.
    fn client(&self, request: &Request, remote: IpAddr) -> IpAddr {
        let named = request.headers().get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?"));
        match forwarded::client(remote, named, &self.outside.trusted_proxies) {
            Some(client) if Scope::of(client) != Scope::Loopback => client,
            // The proxy's own machine is not this one.
            Some(_) => BEHIND_UNKNOWN_PROXY,
            None if remote.is_loopback() && request.headers().keys().any(|name| is_of_proxies(name.as_str())) => {
                BEHIND_UNKNOWN_PROXY
            }
            None => remote,
        }
    }

    /// Refuses a connection without TLS to a closed node. A valid upgrade is accepted and closed:
    /// an HTTP error would end nodes of the exercise. Other requests are answered by HTTP.
    async fn refuse_open(&self, stream: BoundedStream) -> UpgradeError {
        let mut stream = ReadBuffer::new(ByteStream::Plain(stream));
        match plain_request(&mut stream).await {
            Ok(Some(request)) => {
                let text = match request.invalid {
                    Some(invalid) => format!("{CLOSED}; this WebSocket upgrade {invalid}"),
                    None => format!("{CLOSED}; {}", self.outside.page.text(request.host.as_ref())),
                };
                tls_detect::answer(&mut stream, &request.answer("TLS/1.3, websocket", &text)).await;
            }
            Ok(None) => {
                // Nothing that it sends is read but its close frame, so a web page learns no more
                // than by the refusal of an open node.
                #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
                let respond = |_: &Request, mut response: Response| {
                    response.headers_mut().insert(UpgradeIdentity::HEADER, HeaderValue::from_static(CLOSED_IDENTITY));
                    Ok(response)
                };
                let upgraded = accept_hdr_async_with_config(WriteBuffer::new(stream), respond, Some(config())).await;
                let mut socket = match upgraded {
                    Ok(socket) => socket,
                    Err(error) => return error.into(),
                };
                let close = CloseFrame { code: 1008.into(), reason: CLOSED_REASON.into() };
                if socket.close(Some(close)).await.is_ok() {
                    // Until its close frame comes: closing with unread bytes would discard ours.
                    while let Some(Ok(_)) = socket.next().await {}
                }
            }
            Err(error) => return error.into(),
        }
        UpgradeError::Rejected(NO_TLS.to_owned())
    }

    /// Refuses web pages, and puts our identity and a nonce into the answer.
    #[expect(clippy::result_large_err, reason = "the library's callback is defined so")]
    fn respond(
        &self,
        mut response: Response,
        subprotocol: Option<&Subprotocol>,
        is_page: bool,
        challenge: &Challenge,
    ) -> Result<Response, ErrorResponse> {
        // Without this check any web page could use the node on its reader's host.
        if is_page {
            let mut refusal = ErrorResponse::new(Some(PAGE_ANSWER.to_owned()));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            let headers = refusal.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            headers.insert(CONTENT_LENGTH, PAGE_ANSWER.len().into());
            return Err(refusal);
        }
        response.headers_mut().insert(UpgradeIdentity::HEADER, self.identity.clone());
        if let Challenge::Accepted { nonce, .. } = challenge {
            let nonce = HeaderValue::from_str(&nonce.to_string()).expect("a nonce is hexadecimal digits");
            response.headers_mut().insert(Nonce::HEADER, nonce);
        }
        if let Some(subprotocol) = subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol.name()));
        }
        Ok(response)
    }

    /// The first registered subprotocol that an upgrade offers. Others are left unanswered, as RFC
    /// 6455 says: a client that needs one then gives up.
    fn subprotocol_of(&self, request: &Request) -> Option<&Subprotocol> {
        let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
        let mut names = offered.flat_map(|value| value.split(',')).map(str::trim);
        names.find_map(|name| self.subprotocols.iter().find(|subprotocol| subprotocol.name() == name))
    }
}

/// Returns what a connection is, for the bounds on accepted ones.
fn kind(iroh: Option<&IrohConnection>) -> Kind {
    match iroh {
        Some(iroh) if iroh.is_relayed() => {
            let iroh = iroh.clone();
            Kind::Relayed(Box::new(move || iroh.direct()))
        }
        _ => Kind::Direct,
    }
}

/// Reads the head of a request ahead. Returns it unless the library is to read it.
async fn plain_request(stream: &mut ReadBuffer<ByteStream<BoundedStream>>) -> io::Result<Option<PlainRequest>> {
    loop {
        match Head::read(stream.unread()) {
            Head::Plain(request) => return Ok(Some(request)),
            Head::ForLibrary => return Ok(None),
            // The library sees the end too.
            Head::Incomplete if std::future::poll_fn(|cx| stream.poll_more(cx)).await? == 0 => return Ok(None),
            Head::Incomplete => {}
        }
    }
}

/// Whether accepting failed for one connection only, which is gone (accept(2)): then the next need
/// not wait.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;

    /// An acceptor on a free port, and what it reports.
    async fn acceptor(
        arrivals: usize,
        limits: Limits,
        subprotocols: Vec<Subprotocol>,
    ) -> (Arc<Acceptor>, TcpListener, SocketAddr, mpsc::Receiver<Arrival>) {
        let identity = ("00".repeat(32) + "/00000000-0000-4000-8000-000000000000").parse().expect("an identity");
        let (sender, receiver) = mpsc::channel(arrivals);
        let address = "ws://localhost:4001".parse().expect("an address");
        let outside = Outside { address, page: PageLocation::default(), is_relay: false, trusted_proxies: Vec::new() };
        let acceptor = Acceptor::new(&identity, outside, limits, sender, None, subprotocols);
        let acceptor = Arc::new(acceptor);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let at = listener.local_addr().expect("bound");
        (acceptor, listener, at, receiver)
    }

    #[tokio::test]
    async fn a_panic_while_accepting_costs_one_connection() {
        let (acceptor, listener, at, mut arrivals) = acceptor(8, Limits::default(), Vec::new()).await;
        acceptor.panics.store(true, std::sync::atomic::Ordering::Relaxed);
        let accepting = tokio::spawn(acceptor.run(listener));
        let lost = TcpStream::connect(at).await.expect("a connection");
        assert!(matches!(arrivals.recv().await, Some(Arrival::Panicked)));
        let (_next, _) = tokio_tungstenite::connect_async(format!("ws://{at}")).await.expect("it accepts again");
        assert!(matches!(arrivals.recv().await, Some(Arrival::Accepted { .. })));
        accepting.abort();
        drop(lost);
    }

    #[tokio::test]
    async fn connections_that_wait_for_the_driver_are_not_taken_for_slow_ones() {
        let limits = Limits { pending_upgrades: 2, ..Limits::default() };
        let (acceptor, listener, at, mut arrivals) = acceptor(1, limits, Vec::new()).await;
        let accepting = tokio::spawn(acceptor.run(listener));
        // The driver takes nothing meanwhile.
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(tokio_tungstenite::connect_async(format!("ws://{at}")).await.expect("it is upgraded"));
        }
        for number in 0..10 {
            assert!(matches!(arrivals.recv().await, Some(Arrival::Accepted { .. })), "connection {number}");
        }
        accepting.abort();
    }

    #[tokio::test]
    async fn a_registered_subprotocol_is_served_and_every_other_connection_is_a_link() {
        let served = Subprotocol::new("test.served", |mut connection: Connection| async move {
            connection.socket.close(None).await.unwrap_or_default();
        });
        let (acceptor, listener, at, mut arrivals) = acceptor(1, Limits::default(), vec![served]).await;
        let accepting = tokio::spawn(acceptor.run(listener));
        let mut request = format!("ws://{at}").into_client_request().expect("a request");
        let offered = HeaderValue::from_static("other, test.served");
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offered);
        let (mut socket, response) = tokio_tungstenite::connect_async(request).await.expect("it is upgraded");
        assert_eq!(response.headers()[SEC_WEBSOCKET_PROTOCOL], "test.served");
        assert!(socket.next().await.expect("a close frame").expect("sound").is_close());
        let (_link, response) = tokio_tungstenite::connect_async(format!("ws://{at}")).await.expect("it is upgraded");
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
        assert!(matches!(arrivals.recv().await, Some(Arrival::Accepted { .. })));
        accepting.abort();
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
