//! The node's endpoint: it dials nodes by their id, accepts their connections, and keeps a
//! connection to its home relay, over which others reach it.
//!
//! It is started when it is first needed: until then there is no socket.

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use iroh::dns::{DnsResolver, FallbackMode};
use iroh::endpoint::{IncomingAddr, PortmapperConfig, QuicTransportConfig, VarInt, presets};
use iroh::tls::CaTlsConfig;
use iroh::{
    Endpoint, EndpointAddr, EndpointId, NetReportConfig, RelayConfig, RelayMap, RelayMode, SecretKey, TransportAddr,
    Watcher,
};
use iroh_relay::RelayQuicConfig;
use meshpool_proto::SourceGroup;
use meshpool_proto::address::{PeerAddress, RelayHint, Scope};
use meshpool_proto::causes::{DialError, RelayFault};
use meshpool_proto::dial_allowance::sources_of_name;
use meshpool_proto::id::NodeId;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::events::text::strip_control;
use crate::transport::dial_permit::{DialPermits, NamedBy, Permit};
use crate::transport::dial_progress::DialProgress;
use crate::transport::iroh::address_discovery;
use crate::transport::iroh::congestion::CubicWithProbes;
use crate::transport::iroh::connection::{Connections, remote};
use crate::transport::iroh::identity::WanIdentity;
use crate::transport::iroh::known_relays::{KnownRelay, KnownRelays, RELAYS};
use crate::transport::iroh::lookup::Lookup;
use crate::transport::iroh::outage::{self, Due, Outage};
use crate::transport::iroh::relay_ping::ping;
use crate::transport::iroh::relay_url;
use crate::transport::iroh::relay_watch::{Pinged, RelayWatch, ping_all};
use crate::transport::iroh::sent_watch::SentWatch;
use crate::transport::iroh::stream::IrohStream;
use crate::transport::race::race;
use crate::transport::resolver::{resolve, within};

/// The application protocol of links (RFC 7301).
const ALPN: &[u8] = b"p2p-node/1";
/// The window of a stream. What is sent and unread stays small, so that a link that is stuck shows
/// as one over TCP does, and a PRUNE takes back what still waits.
const WINDOW: u32 = 256 * 1024;
/// How often a path is kept alive: NATs forget a mapping after 30 s and more (RFC 4787, REQ-5), and
/// a path that is gone shows sooner.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a path may be silent before another one is used.
const PATH_SILENCE: Duration = Duration::from_secs(6);
/// How long all paths of a connection may be silent before it ends.
const SILENCE: Duration = Duration::from_secs(12);
/// How long no relay is connected before the user is warned.
const WARN_AFTER: Duration = Duration::from_secs(30);
/// How long all connections together have to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How often the home relay is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The pause before a new endpoint, if one could not be made.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The pauses before relays that have not answered, or are away, are looked up and asked again:
/// each is twice the one before, from the first to the longest.
const LOOK_UP_AFTER: Duration = Duration::from_secs(2);
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);

/// How long the relays of an address have to answer where there is another way, and how long they
/// are tried before the node is looked up.
const RELAYS_WITHIN: Duration = Duration::from_secs(1);
/// How much sooner a relay is asked than the next one that the user named: the first that answers
/// becomes the home relay.
const HEAD_START: Duration = Duration::from_millis(250);
/// How long a relay has to answer that did not do so at the start: the line may be slow.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
const NO_RELAY: &str =
    "no relay is known over which it could be reached; name one behind its address: iroh:<id>@host:port";
const NOT_PUBLISHED: &str = "no relay is known over which it could be reached, and the DHT has none of it: its node needs LOOKUP=dht and the same NETWORK, or name a relay behind its address: iroh:<id>@host:port";

/// The endpoint of a node. A clone shares it.
#[derive(Debug, Clone)]
pub(crate) struct Wan(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    node: NodeId,
    key: SecretKey,
    relays: Mutex<KnownRelays>,
    /// Those that the user named beside addresses, and this node's own.
    fixed: Vec<RelayHint>,
    /// Finds nodes by their id, if the user wants it.
    lookup: Option<Arc<Lookup>>,
    /// Wakes the task: it is wanted, or a relay was added.
    changed: Notify,
    wanted: watch::Sender<bool>,
    /// Whether the relays that the user named are known: their names have been resolved.
    named: watch::Sender<bool>,
    /// Wakes what asks relays again: one has not answered, or is away.
    looks_up: Notify,
    endpoint: watch::Sender<Option<Endpoint>>,
    /// Where others reach this node, for as long as its home relay is connected.
    address: watch::Sender<Option<PeerAddress>>,
    /// Why there is no endpoint, if one could not be made.
    unbound: Mutex<Option<String>>,
    connections: Arc<Connections>,
    /// How many dials wait for the engine.
    dials: AtomicUsize,
    /// [`WARN_AFTER`], or less in a test.
    warn_after: Duration,
    /// Whether links may have direct paths; not in a test of relays.
    has_direct_paths: bool,
}

/// Why an endpoint is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// It accepts nothing any more.
    Closed,
    /// This relay answers, and no relay is connected.
    Unconnected(SocketAddr),
    /// A relay is gone, and no direct link is left. Those over other relays may be blocked.
    RelayGone,
    /// It sends nothing to any relay since this one is gone.
    Stalled(SocketAddr),
}

/// Counts a dial that waits for the engine until it is dropped.
struct Dial<'a>(&'a AtomicUsize);

impl<'a> Dial<'a> {
    fn begin(dials: &'a AtomicUsize) -> Self {
        dials.fetch_add(1, Ordering::Relaxed);
        Self(dials)
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The relays over which a node may be reached.
#[derive(Debug, Default)]
struct Candidates {
    answering: Vec<(RelayHint, SocketAddr)>,
    /// The permits for those that were not known.
    taken: Vec<Permit>,
    /// Why one that does not answer does not.
    failed: Option<io::Error>,
}

impl Candidates {
    fn relays(&self) -> impl Iterator<Item = SocketAddr> {
        self.answering.iter().map(|(_, at)| *at)
    }

    /// Returns why no relay answers. `unknown`: nobody has named one.
    fn error(&mut self, unknown: &'static str) -> io::Error {
        self.failed.take().unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, unknown))
    }
}

/// A connection that comes in, before anything is known of its other end but its address.
pub(crate) struct Incoming {
    incoming: iroh::endpoint::Incoming,
    connections: Arc<Connections>,
}

impl Wan {
    /// `fixed`: the relays that the user named beside addresses, and this node's own.
    pub(crate) fn new(identity: &WanIdentity, lookup: Option<Lookup>, fixed: Vec<RelayHint>) -> Self {
        Self(Arc::new(Shared {
            node: identity.node,
            key: SecretKey::from(identity.seed),
            relays: Mutex::default(),
            fixed,
            lookup: lookup.map(Arc::new),
            changed: Notify::new(),
            wanted: watch::Sender::new(false),
            named: watch::Sender::new(false),
            looks_up: Notify::new(),
            endpoint: watch::Sender::new(None),
            address: watch::Sender::new(None),
            unbound: Mutex::default(),
            connections: Arc::default(),
            dials: AtomicUsize::new(0),
            warn_after: WARN_AFTER,
            has_direct_paths: true,
        }))
    }

    fn relays(&self) -> MutexGuard<'_, KnownRelays> {
        // Each change leaves it in order.
        self.0.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the endpoint started, if it is not.
    pub(crate) fn start(&self) {
        self.0.wanted.send_replace(true);
    }

    /// Makes the relays of these addresses those that the user named, with those of the settings.
    /// Others that were count as learned from now on. Returns all of them, for
    /// [`Self::add_named`].
    pub(crate) fn name_relays(&self, known: &[PeerAddress]) -> Vec<RelayHint> {
        let named: Vec<_> = self.0.fixed.iter().chain(known.iter().flat_map(PeerAddress::relays)).cloned().collect();
        self.relays().set_named(&named);
        named
    }

    /// Returns whether a relay is known, or may answer soon.
    pub(crate) fn has_relays(&self) -> bool {
        let relays = self.relays();
        let may_answer = |(_, fault): &(RelayHint, RelayFault)| !matches!(fault, RelayFault::Unresolved(_));
        relays.home().is_some() || relays.unanswered().iter().any(may_answer)
    }

    /// Adds the relays that the user named, and has dials wait for no more of them.
    pub(crate) async fn add_named(&self, relays: Vec<RelayHint>) {
        self.add_named_by(relays, async |hint| resolve_hint(hint, Scope::Loopback).await, ping).await;
    }

    async fn add_named_by<F>(
        &self,
        relays: Vec<RelayHint>,
        resolve: impl AsyncFn(&RelayHint) -> io::Result<Vec<SocketAddr>>,
        ask: impl Fn(SocketAddr) -> F,
    ) where
        F: Future<Output = io::Result<()>>,
    {
        let (resolve, ask) = (&resolve, &ask);
        let add = async |(index, hint): (u32, RelayHint)| {
            // A known one that is away is followed elsewhere.
            if self.relays().is_named(&hint) {
                return;
            }
            tokio::time::sleep(HEAD_START * index).await;
            match find(&hint, resolve, ask, RELAYS_WITHIN).await {
                Ok(at) if self.relays().add(hint.clone(), at, true) => self.0.changed.notify_one(),
                Ok(at) if !self.relays().is_at(at) => {
                    tracing::warn!("the relay {hint} is not used: {RELAYS} others are named already");
                }
                Ok(_) => {}
                Err(fault) => {
                    tracing::warn!("the relay {hint} {fault}; it is not used before it answers, and asked again");
                    self.relays().on_no_answer(hint, fault);
                    self.0.looks_up.notify_one();
                }
            }
        };
        join_all((0..).zip(relays).map(add)).await;
        self.0.named.send_replace(true);
    }

    /// Looks up and asks again the relays that the user named and that have not answered, or are
    /// away, for as long as it is polled: at the start of a host its network may not be up yet, and
    /// a relay may move.
    pub(crate) async fn look_up_again(&self) {
        self.look_up_again_by(async |hint| resolve_hint(hint, Scope::Loopback).await, ping).await;
    }

    async fn look_up_again_by<F>(
        &self,
        resolve: impl AsyncFn(&RelayHint) -> io::Result<Vec<SocketAddr>>,
        ask: impl Fn(SocketAddr) -> F,
    ) where
        F: Future<Output = io::Result<()>>,
    {
        let mut pause = LOOK_UP_AFTER;
        loop {
            let (unanswered, lost) = {
                let relays = self.relays();
                (relays.unanswered().to_vec(), relays.lost(Instant::now()))
            };
            if unanswered.is_empty() && lost.is_empty() {
                self.0.looks_up.notified().await;
                pause = LOOK_UP_AFTER;
                continue;
            }
            tokio::time::sleep(pause).await;
            pause = LOOK_UP_EVERY.min(pause * 2);
            for (hint, _) in unanswered {
                match find(&hint, &resolve, &ask, ASKED_WITHIN).await {
                    Ok(at) if self.relays().on_answer(hint.clone(), at) => {
                        tracing::info!("the relay {hint} answers now, and is used");
                        self.0.changed.notify_one();
                    }
                    Ok(_) => {}
                    Err(fault) => self.relays().on_still_no_answer(&hint, fault),
                }
            }
            for hint in lost {
                if let Ok(at) = find(&hint, &resolve, &ask, RELAYS_WITHIN).await
                    && self.relays().on_moved(&hint, at)
                {
                    tracing::info!("the relay {hint} is at {at} now, and used there");
                    self.0.changed.notify_one();
                }
            }
        }
    }

    /// Publishes where others reach this node for as long as it is polled, if the user wants it.
    pub(crate) async fn publish(&self) {
        if let Some(lookup) = &self.0.lookup {
            lookup.publish_all(self.address()).await;
        }
    }

    /// Returns where others reach this node, and follows it.
    pub(crate) fn address(&self) -> watch::Receiver<Option<PeerAddress>> {
        self.0.address.subscribe()
    }

    /// Returns the relay that this node is, or would be, reached over.
    pub(crate) fn home(&self) -> Option<RelayHint> {
        self.relays().home().map(|relay| relay.hint.clone())
    }

    /// Returns the relay that this node is, or would be, reached over, and why it is not.
    pub(crate) async fn home_fault(&self) -> Option<(RelayHint, RelayFault)> {
        let home = self.relays().home().cloned();
        match home {
            Some(home) => Some((home.hint.clone(), fault_of(&home).await)),
            None => self.relays().unanswered().first().cloned(),
        }
    }

    /// Returns why there is no endpoint, if one could not be made.
    pub(crate) fn bind_fault(&self) -> Option<String> {
        self.0.unbound.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether an endpoint could be made. Warns of the first of several failures in a row.
    fn on_bound(&self, failed: Option<&io::Error>) {
        let failed = failed.map(ToString::to_string);
        let before = std::mem::replace(&mut *self.0.unbound.lock().unwrap_or_else(PoisonError::into_inner), failed);
        match (before, self.bind_fault()) {
            (None, Some(error)) => {
                tracing::warn!(
                    "links over iroh are not possible now: {error}; it is tried again every {} s",
                    RETRY_AFTER.as_secs()
                );
            }
            (Some(_), None) => tracing::info!("links over iroh are possible again"),
            _ => {}
        }
    }

    /// Takes up a relay that is a linked peer, at the IP address of that link: its name may lead to
    /// another host by now. It is asked once, which needs a permit as any other connection that the
    /// word of a peer leads to.
    pub(crate) async fn learn_relay(
        &self,
        (hint, at): (RelayHint, SocketAddr),
        sources: &[SourceGroup],
        permits: &Arc<DialPermits>,
    ) {
        if self.relays().works(at) {
            return;
        }
        let asked = async {
            let _permit = permits.take(sources, at).await?;
            tokio::time::timeout(RELAYS_WITHIN, ping(at)).await?
        };
        match asked.await {
            Err(error) => tracing::debug!("the relay {hint} at {at} is not used: {error}"),
            Ok(()) if self.relays().add(hint, at, false) => self.0.changed.notify_one(),
            Ok(()) => {}
        }
    }

    /// Opens a stream to the node of an address. Each connection to a relay that is not known yet
    /// needs a permit, as any other that the word of a peer leads to.
    ///
    /// # Errors
    /// What a person can do about it.
    pub(crate) async fn connect(
        &self,
        address: &PeerAddress,
        by: &NamedBy,
        permits: &Arc<DialPermits>,
        progress: &DialProgress,
    ) -> io::Result<(IrohStream, Vec<Permit>)> {
        let node = address.node().ok_or(io::ErrorKind::InvalidInput)?;
        let id = EndpointId::from_bytes(&node.0)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "its node id is no public key"))?;
        let hints = address.relays().to_vec();
        // Those that the user named may be known in a moment.
        let has_other = || !self.relays().usable().is_empty();
        let mut candidates = self.candidates(hints, by, permits, has_other, progress).await;
        if candidates.answering.is_empty() {
            self.0.named.subscribe().wait_for(|named| *named).await.map_err(io::Error::other)?;
        }
        let mut over: HashSet<SocketAddr> = candidates.relays().chain(self.relays().usable()).collect();
        let is_known = !over.is_empty();
        if !is_known {
            let unanswered = self.relays().unanswered().first().cloned();
            candidates.failed = candidates.failed.or(unanswered.map(|(relay, fault)| relay_error(relay, fault)));
            let published =
                self.published(node, by, permits, progress).await.ok_or_else(|| candidates.error(NO_RELAY))?;
            candidates = published;
            over = candidates.relays().collect();
            if over.is_empty() {
                return Err(candidates.error(NOT_PUBLISHED));
            }
        }
        let usable = |known: &&KnownRelay| candidates.taken.is_empty() && over.contains(&known.at);
        let unasked = self.relays().all().iter().filter(usable).map(|known| (known.hint.clone(), known.at)).collect();
        self.start();
        let mut endpoints = self.0.endpoint.subscribe();
        let endpoint = endpoints.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        let endpoint = endpoint.ok_or(io::ErrorKind::NotConnected)?;
        let _dial = Dial::begin(&self.0.dials);
        let connect = |over: HashSet<SocketAddr>| {
            let paths = over.into_iter().map(|at| TransportAddr::Relay(relay_url::of(at)));
            endpoint.connect(EndpointAddr::from_parts(id, paths), ALPN)
        };
        let mut connecting = pin!(connect(over));
        // The node may have left the relays that are known.
        let elsewhere = async {
            if !is_known {
                return None;
            }
            tokio::time::sleep(RELAYS_WITHIN).await;
            self.published(node, by, permits, progress).await.filter(|published| !published.answering.is_empty())
        };
        let connection = tokio::select! {
            connection = &mut connecting => connection,
            elsewhere = elsewhere => match elsewhere {
                Some(elsewhere) => {
                    let over = elsewhere.relays().collect();
                    candidates.taken.extend(elsewhere.taken);
                    connect(over).await
                }
                None => {
                    tokio::select! {
                        connection = connecting => connection,
                        error = self.none_answers(unasked, progress) => return Err(error),
                    }
                }
            },
        };
        let connection = connection.map_err(|error| match endpoints.has_changed() {
            Ok(true) => io::Error::new(io::ErrorKind::ConnectionAborted, "its endpoint was replaced meanwhile"),
            _ => io::Error::other(error),
        })?;
        let streams = connection.open_bi().await?;
        Ok((IrohStream::new(connection, streams, &self.0.connections), candidates.taken))
    }

    /// Pings known relays over which a dial takes long. Ends if none of them answers; otherwise it
    /// notes that the node does not.
    async fn none_answers(&self, relays: Vec<(RelayHint, SocketAddr)>, progress: &DialProgress) -> io::Error {
        let note = |relay: &RelayHint, fault| progress.note(DialError::Relay { relay: Box::new(relay.clone()), fault });
        if let Some((relay, _)) = relays.first() {
            let is_connected = self.0.address.borrow().is_some();
            note(relay, if is_connected { RelayFault::NodeAway } else { RelayFault::Silent });
            if is_connected {
                return pending().await;
            }
        }
        let ask = |(relay, at): (RelayHint, SocketAddr)| async move { (ping(at).await, relay) };
        let mut asked: FuturesUnordered<_> = relays.into_iter().map(ask).collect();
        let mut failed = None;
        while let Some((answer, relay)) = asked.next().await {
            match answer {
                Ok(()) => {
                    let known = self.relays().all().iter().find(|known| known.hint == relay).cloned();
                    let refused = known.and_then(|known| known.refused().map(ToOwned::to_owned));
                    note(&relay, refused.map_or(RelayFault::NodeAway, RelayFault::Refused));
                    return pending().await;
                }
                Err(error) => failed = failed.or(Some(no_answer(relay, &error))),
            }
        }
        match failed {
            Some(failed) => failed,
            None => pending().await,
        }
    }

    /// Pings these relays concurrently and returns those that answer. The others are waited for up
    /// to [`RELAYS_WITHIN`] once there is an alternative: one that answered, or `has_other`.
    async fn candidates(
        &self,
        relays: Vec<RelayHint>,
        by: &NamedBy,
        permits: &Arc<DialPermits>,
        has_other: impl Fn() -> bool,
        progress: &DialProgress,
    ) -> Candidates {
        let note = |relay: &RelayHint, fault| progress.note(DialError::Relay { relay: Box::new(relay.clone()), fault });
        let ask = |hint: RelayHint| async move {
            note(&hint, RelayFault::Silent);
            let found = resolve_hint(&hint, by.reach).await.map_err(|error| not_found(&hint, error))?;
            // The engine has one send queue for all relays: a relay that is away would block it.
            if let Some(at) = found.iter().find(|at| self.relays().works(**at)) {
                return Ok((hint, *at, None));
            }
            // Nobody proves that a hint is right: it is no better than the record of a name.
            let sources = sources_of_name(&by.sources);
            let ask = async |at| {
                let permit = permits.take(&sources, at).await?;
                ping(at).await.map_err(|error| no_answer(hint.clone(), &error))?;
                Ok((at, permit))
            };
            let (at, permit) = race(found, ask).await?;
            note(&hint, RelayFault::NodeAway);
            Ok((hint, at, Some(permit)))
        };
        let mut asked: FuturesUnordered<_> = relays.into_iter().map(ask).collect();
        let mut candidates = Candidates::default();
        let mut enough = pin!(tokio::time::sleep(RELAYS_WITHIN));
        loop {
            tokio::select! {
                found = asked.next() => match found {
                    Some(Ok((hint, at, permit))) => {
                        if candidates.answering.is_empty() && !has_other() {
                            enough.as_mut().reset(tokio::time::Instant::now() + RELAYS_WITHIN);
                        }
                        candidates.answering.push((hint, at));
                        candidates.taken.extend(permit);
                    }
                    Some(Err(error)) => candidates.failed = Some(error),
                    None => break,
                },
                () = &mut enough => {
                    if !candidates.answering.is_empty() || has_other() {
                        break;
                    }
                    enough.as_mut().reset(tokio::time::Instant::now() + RELAYS_WITHIN);
                }
            }
        }
        candidates
    }

    /// Returns the relays that a node has published; `None` if nodes are not looked up. A node
    /// without a relay of its own is reached over those, too.
    async fn published(
        &self,
        node: NodeId,
        by: &NamedBy,
        permits: &Arc<DialPermits>,
        progress: &DialProgress,
    ) -> Option<Candidates> {
        let relays = self.0.lookup.as_ref()?.find(node, by.sources.contains(&SourceGroup::User)).await;
        // They are the node's own words, no matter who named it.
        let by = NamedBy { reach: Scope::Public, sources: by.sources.clone() };
        let candidates = self.candidates(relays, &by, permits, || false, progress).await;
        if self.home().is_none() {
            for (relay, at) in &candidates.answering {
                if self.relays().add(relay.clone(), *at, false) {
                    self.0.changed.notify_one();
                }
            }
        }
        Some(candidates)
    }

    /// Runs the endpoint for as long as it is polled. `accept` takes what comes in.
    pub(crate) async fn run<F>(self, accept: impl Fn(Incoming) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut wanted = self.0.wanted.subscribe();
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let (mut closing, mut outage) = (JoinSet::new(), Outage::new(self.0.warn_after));
        loop {
            let home = self.relays().home().map(|home| home.at);
            match self.bind(home).await {
                Ok(endpoint) => {
                    self.on_bound(None);
                    self.0.endpoint.send_replace(Some(endpoint.clone()));
                    let why = self.drive(&endpoint, home, &mut outage, &accept).await;
                    self.0.endpoint.send_replace(None);
                    log_replaced(why);
                    // One that does not end in time goes on beside the next.
                    closing.spawn(async move { endpoint.close().await });
                    while let Ok(Some(_)) = tokio::time::timeout(CLOSE_WITHIN, closing.join_next()).await {}
                }
                Err(error) => {
                    self.on_bound(Some(&error));
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Warns that no relay is connected, and says of each what is wrong.
    async fn warn_of_outage(&self) {
        let relays = self.relays().all().to_vec();
        let faults = relays.iter().map(async |relay| format!("{} {}", relay.hint, fault_of(relay).await));
        tracing::warn!(
            "no relay could be reached for {} s: the relay {}; it is tried again and again",
            self.0.warn_after.as_secs(),
            join_all(faults).await.join("; the relay ")
        );
    }

    /// Ends the endpoint, with all connections and that to the relay.
    pub(crate) async fn close(&self) {
        if let Some(lookup) = &self.0.lookup {
            lookup.close();
        }
        if let Some(endpoint) = self.0.endpoint.send_replace(None)
            && tokio::time::timeout(CLOSE_WITHIN, endpoint.close()).await.is_err()
        {
            tracing::debug!("some connections over iroh did not end in time");
        }
    }

    /// Makes an endpoint that knows this relay.
    async fn bind(&self, home: Option<SocketAddr>) -> io::Result<Endpoint> {
        let resolver = DnsResolver::builder().with_system_defaults().with_fallback_mode(FallbackMode::Never).build();
        let mut reports = NetReportConfig::minimal();
        // Where UDP is blocked they are the only way to find the home relay.
        reports.https_probes = true;
        let relays = RelayMap::empty();
        if let Some(home) = home {
            relays.insert(relay_url::of(home), relay(home));
        }
        let mut builder = Endpoint::builder(presets::Minimal)
            .secret_key(self.0.key.clone())
            .alpns(vec![ALPN.to_vec()])
            .relay_mode(RelayMode::Custom(relays))
            .dns_resolver(resolver)
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(reports)
            .ca_tls_config(CaTlsConfig::custom_server_cert_verifier(Arc::new(address_discovery::any_certificate)))
            .transport_config(transport());
        if !self.0.has_direct_paths {
            builder = builder.clear_ip_transports();
        }
        builder.bind().await.map_err(io::Error::other)
    }

    /// Accepts connections and follows the home relay, until the endpoint is stuck, or may be.
    /// `given`: the relay that the endpoint knows.
    async fn drive<F>(
        &self,
        endpoint: &Endpoint,
        mut given: Option<SocketAddr>,
        outage: &mut Outage,
        accept: &impl Fn(Incoming) -> F,
    ) -> Replaced
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mut accepting, mut asking, mut waiting) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let (mut watch, mut sent) = (RelayWatch::default(), SentWatch::default());
        // The last relay that went away: packets may wait for it in the engine.
        let mut lost = None;
        // A relay that answers although none is connected.
        let mut answers = None;
        self.relays().on_new_endpoint();
        let mut homes = endpoint.home_relay_status().stream();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => {
                        let connections = Arc::clone(&self.0.connections);
                        accepting.spawn(accept(Incoming { incoming, connections }));
                    }
                    None => return Replaced::Closed,
                },
                Some(ended) = accepting.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("accepting a connection ended in a fault of this program: {error}");
                    }
                }
                _ = self.0.changed.notified() => {}
                _ = homes.next() => {}
                _ = look.tick() => {
                    for silent in watch.look(self.0.connections.relayed(), Instant::now()) {
                        let known = self.relays().all().iter().map(|known| known.at).collect::<Vec<_>>();
                        let others = watch.relays().chain(known).filter(|other| *other != silent).collect();
                        asking.spawn(async move { (silent, ping_all(silent, others, ping).await) });
                    }
                    if !self.relays().lost(Instant::now()).is_empty() {
                        self.0.looks_up.notify_one();
                    }
                }
                Some(found) = waiting.join_next() => {
                    match found {
                        Ok(Some(at)) => answers = Some(at),
                        Ok(None) => {}
                        Err(error) => tracing::error!("asking relays ended in a fault of this program: {error}"),
                    }
                }
                Some(asked) = asking.join_next() => {
                    match asked {
                        Ok((silent, pinged)) if watch.is_silent(silent) => {
                            let leaves = match pinged {
                                Pinged::Gone => true,
                                Pinged::Both => {
                                    watch.answers_again(silent) && self.relays().on_mute(silent, Instant::now())
                                }
                                Pinged::NoOther => false,
                            };
                            if leaves {
                                lost = Some(silent);
                                if self.leave(silent, pinged) == 0 {
                                    return Replaced::RelayGone;
                                }
                            }
                        }
                        Ok(_) => {}
                        Err(error) => tracing::error!("asking a relay ended in a fault of this program: {error}"),
                    }
                }
            }
            let home = given.map(relay_url::of);
            let status =
                endpoint.home_relay_status().get().into_iter().find(|status| Some(status.url()) == home.as_ref());
            let connected = status.as_ref().is_some_and(|status| status.is_connected());
            if let Some((at, status)) = given.zip(status.as_ref()) {
                match status.auth_denied_reason() {
                    Some(why) => self.on_refused(at, why),
                    None if status.last_error().is_some() => self.relays().on_not_refused(at),
                    None => {}
                }
            }
            let now = Instant::now();
            let wanted = {
                let mut relays = self.relays();
                if given.is_some() && given == relays.home().map(|home| home.at) && relays.on_home(connected, now) {
                    lost = given;
                }
                relays.home().map(|home| home.at)
            };
            if let Some(lost) = lost {
                let is_needed = self.0.dials.load(Ordering::Relaxed) > 0 || !self.0.connections.relayed().is_empty();
                let bytes = endpoint.metrics().socket.send_relay.get();
                if sent.is_stalled(bytes, connected && is_needed, now) {
                    return Replaced::Stalled(lost);
                }
            }
            self.tell(connected);
            match outage.look(connected || given.is_none(), now) {
                Due::Nothing => {}
                Due::Ask => {
                    let asked = self.relays().to_ping(given);
                    waiting.spawn(outage::still_answering(asked, ping));
                }
                Due::Warn => {
                    let warning = self.clone();
                    waiting.spawn(async move {
                        warning.warn_of_outage().await;
                        None
                    });
                }
                Due::Over(time) => tracing::info!("a relay is connected again, after {} s", time.as_secs()),
            }
            // Open connections are a sign that it works.
            if let Some(at) = answers.take()
                && !connected
                && self.0.connections.is_empty()
                && outage.replaces(now)
            {
                self.relays().prefer(at);
                return Replaced::Unconnected(at);
            }
            if wanted != given {
                if let Some(at) = given {
                    endpoint.remove_relay(&relay_url::of(at)).await;
                }
                if let Some(at) = wanted {
                    tracing::debug!("this node is now reached over the relay {at}");
                    endpoint.insert_relay(relay_url::of(at), relay(at)).await;
                }
                given = wanted;
            }
        }
    }

    /// Notes and logs why a relay refuses this node.
    fn on_refused(&self, at: SocketAddr, why: &str) {
        if let Some(relay) = self.relays().on_refused(at, strip_control(why)) {
            tracing::warn!(
                "the relay {} refuses this node: {}; name another one in RELAYS or known-peers.json",
                relay.hint,
                relay.refused().unwrap_or_default()
            );
        }
    }

    /// Closes the links over a relay that is gone, or forwards nothing. Their nodes are dialled
    /// again over other relays. Returns how many direct links there are.
    fn leave(&self, gone: SocketAddr, pinged: Pinged) -> usize {
        self.relays().on_gone(gone, Instant::now());
        let (closed, direct) = self.0.connections.close_over(gone);
        let fault = match pinged {
            Pinged::Gone | Pinged::NoOther => "does not answer",
            Pinged::Both => "answers, but forwards nothing",
        };
        tracing::info!("the relay {gone} {fault}: closed the links over it ({closed}), dialling over another one");
        direct
    }

    /// Tells where this node is reached: over its home relay, or one of those that take its place.
    fn tell(&self, connected: bool) {
        let address = connected.then(|| {
            let relays = self.relays().told();
            PeerAddress::of_node(self.0.node, relays)
        });
        self.0.address.send_if_modified(|told| {
            // Two addresses of one node are equal whatever their relays.
            let relays = |address: &Option<PeerAddress>| address.as_ref().map(|address| address.relays().to_vec());
            let changes = relays(told) != relays(&address);
            if changes {
                *told = address;
            }
            changes
        });
    }
}

impl Incoming {
    /// Where it comes from: the address of the path, or of the relay.
    pub(crate) fn remote(&self) -> SocketAddr {
        remote(match self.incoming.remote_addr() {
            IncomingAddr::Ip(at) => Some(at),
            IncomingAddr::Relay { url, .. } => relay_url::at(&url),
            _ => None,
        })
    }

    /// Returns whether it came from an IP address at which nobody has been reached yet.
    pub(crate) fn is_unvalidated(&self) -> bool {
        matches!(self.incoming.remote_addr(), IncomingAddr::Ip(_)) && !self.incoming.remote_addr_validated()
    }

    /// Asks the other end to come again with a token that is sent to its address (RFC 9000, section
    /// 8.1.2). Nothing is kept of it.
    pub(crate) fn validate(self) {
        if self.incoming.retry().is_err() {
            tracing::debug!("a connection over iroh was refused: it has a token already");
        }
    }

    /// Finishes the handshake, and takes the stream that the other end opens.
    pub(crate) async fn accept(self) -> io::Result<IrohStream> {
        let connection = self.incoming.await.map_err(io::Error::other)?;
        let streams = connection.accept_bi().await?;
        Ok(IrohStream::new(connection, streams, &self.connections))
    }
}

fn relay(at: SocketAddr) -> Arc<RelayConfig> {
    // One firewall rule: UDP of the same number.
    Arc::new(RelayConfig::new(relay_url::of(at), Some(RelayQuicConfig::new(at.port()))))
}

fn log_replaced(why: Replaced) {
    match why {
        Replaced::Closed | Replaced::RelayGone => tracing::debug!("a new endpoint is started: {why:?}"),
        Replaced::Unconnected(at) => {
            tracing::debug!("the relay {at} answers, and is not connected: a new endpoint is started");
        }
        Replaced::Stalled(gone) => tracing::info!(
            "nothing could be sent over any relay since {gone} is gone: a new endpoint is started, and the links over iroh are opened again"
        ),
    }
}

/// Returns the addresses of a relay, at least one.
async fn resolve_hint(hint: &RelayHint, reach: Scope) -> io::Result<Vec<SocketAddr>> {
    let found = within(reach, resolve(&hint.host(), hint.port()).await?)?;
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

/// Returns the first of the addresses of a relay at which it answers: a name may stand for
/// addresses of both families, and the relay listen on one of them alone. `within`: how long it has
/// for that.
async fn find<F>(
    hint: &RelayHint,
    resolve: &impl AsyncFn(&RelayHint) -> io::Result<Vec<SocketAddr>>,
    ask: &impl Fn(SocketAddr) -> F,
    within: Duration,
) -> Result<SocketAddr, RelayFault>
where
    F: Future<Output = io::Result<()>>,
{
    let found = resolve(hint).await.map_err(|error| RelayFault::Unresolved(error.to_string()))?;
    let answers = race(found, |at| async move { ask(at).await.map(|()| at) });
    match tokio::time::timeout(within, answers).await {
        Ok(answer) => answer.map_err(|error| shown_by(&error)),
        Err(_) => Err(RelayFault::Silent),
    }
}

/// Says that a name leads nowhere. That it leads too near is another error.
fn not_found(relay: &RelayHint, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return error;
    }
    relay_error(relay.clone(), RelayFault::Unresolved(error.to_string()))
}

/// Returns why a relay does not serve this node.
async fn fault_of(relay: &KnownRelay) -> RelayFault {
    match (tokio::time::timeout(RELAYS_WITHIN, ping(relay.at)).await, relay.refused()) {
        // It did so while it was connected last; a relay that is away refuses nobody.
        (Ok(Ok(())), Some(why)) => RelayFault::Refused(why.to_owned()),
        // A server of web pages may answer anything with 200, and a proxy may pass no upgrade on.
        (Ok(Ok(())), None) => RelayFault::NoRelay,
        (Ok(Err(error)), _) => shown_by(&error),
        (Err(_), _) => RelayFault::Silent,
    }
}

/// Says what a ping shows of a relay.
fn no_answer(relay: RelayHint, error: &io::Error) -> io::Error {
    relay_error(relay, shown_by(error))
}

fn relay_error(relay: RelayHint, fault: RelayFault) -> io::Error {
    io::Error::other(DialError::Relay { relay: Box::new(relay), fault })
}

/// Returns what the error of a ping shows.
fn shown_by(error: &io::Error) -> RelayFault {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            RelayFault::NoRelay
        }
        _ => RelayFault::Silent,
    }
}

fn transport() -> QuicTransportConfig {
    let silence = SILENCE.try_into().expect("it fits in a QUIC integer");
    QuicTransportConfig::builder()
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .default_path_max_idle_timeout(PATH_SILENCE)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .congestion_controller_factory(Arc::new(CubicWithProbes::new(WINDOW.into())))
        .build()
}

#[cfg(test)]
mod tests;
