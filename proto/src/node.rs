//! The protocol: facts in, orders out. No socket, file, clock, runtime or thread is known here.
//!
//! One page of it. A node knows **addresses** (`peers.rs`) and dials them when they are due (`dialling.rs`). Each connection is a **link** (`links.rs`), and on
//! the links that it dials it introduces itself with a HANDSHAKE, in which every address stands that it has an open link to; whoever reads one dials what it is not
//! linked to, and so the mesh becomes full (`membership.rs`). A **transaction** is any JSON object, known by the hash of its canonical form (`transaction.rs`,
//! `json/`); who receives one that is new sends it on to all peers but the one that brought it, and has it stored (`gossip.rs`, `holdings.rs`). Full peers
//! tell each other whose transactions they get elsewhere, and so each origin grows a tree (`trees.rs`); what a break in a tree lets fall is found by comparing pools
//! (`reconcile.rs`, `offer.rs`); a link that is too slow is fed from the pool (`feed.rs`). A **broadcast** is a text to everybody, kept for ten minutes
//! (`broadcast.rs`, `catch_up.rs`); by their announcements nodes know who is in the network (`presence/`); images are searched in it (`images.rs`). Nodes on one
//! local network may be heard of there (`record.rs`, `discovery.rs`). What a stranger can
//! push against has a bound in `limits.rs`. The messages themselves are in `message/`.
//!
//! [`Node`] is driven by three calls and owns all state; `transport/` drives it on sockets, the simulator in virtual time. Time and randomness come in as
//! arguments, and no map whose order is random reaches an output: equal inputs give equal outputs.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::address::{PeerAddress, Scope};
use crate::connections::table::{Link, LinkTable, Role};
use crate::context::Context;
use crate::counters::Counters;
use crate::gossip::broadcasts::Broadcasts;
use crate::gossip::plumtree::Plumtree;
use crate::gossip::transactions::AckWaiters;
use crate::id::{LinkId, NodeId};
use crate::image_search::ImageSearch;
use crate::io::{Config, Input, Lane, Output};
use crate::membership::bootstrap::Bootstrap;
use crate::membership::partitions::Partitions;
use crate::membership::slots::Slots;
use crate::peers::access::AccessControl;
use crate::peers::address_book::{AddressBook, AddressSource, AddressState};
use crate::peers::dialer::Dialer;
use crate::peers::lan_discovery::LanDiscovery;
use crate::peers::reputation::Reputation;
use crate::presence::announcer::Presence;
use crate::store::Store;
use crate::store::replay::Replay;
use crate::sync::broadcast_sync::BroadcastSync;
use crate::sync::pool_sync::PoolSync;
use crate::timers::Timer;
use crate::transaction::TransactionId;
use crate::violation::{Violation, ViolationKind};
use crate::wire::close;
use crate::wire::{Malformed, Message, OtherSet, Status, StatusFrame};

/// A node's protocol state, all of it.
///
/// Three calls drive it: [`handle`](Self::handle) takes a fact in, [`poll_output`](Self::poll_output) gives the orders out until there are none, and
/// [`poll_timeout`](Self::poll_timeout) says when the next [`Input::Timeout`] is due. One task owns it; it holds no lock and knows no clock.
#[derive(Debug)]
pub struct Node {
    pub(crate) cx: Context,
    pub(crate) started: Instant,
    pub(crate) book: AddressBook,
    pub(crate) dialer: Dialer,
    pub(crate) lan: LanDiscovery,
    pub(crate) reputation: Reputation,
    pub(crate) access: AccessControl,
    pub(crate) links: LinkTable,
    pub(crate) membership: Slots,
    pub(crate) store: Store,
    pub(crate) replay: Replay,
    pub(crate) plumtree: Plumtree,
    pub(crate) pool_sync: PoolSync,
    pub(crate) ack_waiters: AckWaiters,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) broadcast_sync: BroadcastSync,
    pub(crate) presence: Presence,
    pub(crate) images: ImageSearch,
    /// What the runtime counts, as it last reported.
    pub(crate) runtime_counters: Vec<(&'static str, u64)>,
    /// Whether anybody wants to know of each transaction.
    pub(crate) tells_transactions: bool,
}

impl Node {
    /// A node that knows its peers' addresses and what its pool holds (identities and times, see [`time`](transaction::Transaction::time), in the order of their positions), and is linked to nobody. The first
    /// dials are due at once.
    pub fn new(now: Instant, config: Config, pool: Vec<(TransactionId, u64)>) -> Self {
        let rng = SmallRng::seed_from_u64(config.seed);
        let mut protocol = Self {
            started: now,
            book: AddressBook::default(),
            dialer: Dialer::default(),
            lan: LanDiscovery::default(),
            reputation: Reputation::default(),
            access: AccessControl::default(),
            links: LinkTable::default(),
            membership: Slots::new(Partitions::new(config.session, now), Bootstrap::default()),
            store: Store::new(pool),
            replay: Replay::default(),
            plumtree: Plumtree::default(),
            pool_sync: PoolSync::default(),
            ack_waiters: AckWaiters::default(),
            broadcasts: Broadcasts::default(),
            broadcast_sync: BroadcastSync::default(),
            presence: Presence::new(config.seed),
            images: ImageSearch::default(),
            runtime_counters: Vec::new(),
            tells_transactions: true,
            cx: Context::new(now, config, rng),
        };
        let (me, known) = (protocol.cx.config.address.clone(), protocol.cx.config.known_peers.clone());
        protocol.book.add(&me, AddressSource::Known, now, &protocol.cx.config.limits);
        protocol.book.set_state(&me, AddressState::Myself);
        for address in known {
            protocol.book.add(&address, AddressSource::Known, now, &protocol.cx.config.limits);
        }
        protocol.begin(now);
        protocol.schedule_round(now);
        protocol
    }

    /// Takes a fact in. Afterwards [`Self::poll_output`] must be called until it returns `None`, and then [`Self::poll_timeout`] once.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.cx.is_drained(), "every output is taken before the next input is handled");
        self.cx.now = now;
        if !matches!(input, Input::QueueFull { .. }) {
            self.replay.begin_input(&self.store);
        }
        match input {
            Input::Received { link, message } => self.on_received(now, link, message),
            Input::Duplicates { link, copies } => self.on_repeated(now, link, &copies),
            Input::Stored { ids } => self.on_stored(ids),
            Input::Submit { request, transaction } => self.on_submit(now, request, transaction),
            Input::Broadcast { request, message, time } => self.on_own_broadcast(now, request, message, time),
            Input::LinkOpened { link, remote, direction } => self.on_link_opened(now, link, remote, direction),
            Input::LinkClosed { link, cause } => self.on_link_closed(now, link, cause),
            Input::ProtocolError { link, what } => self.on_broke(link, &what),
            Input::TaskPanicked => self.cx.counters.tasks_panicked += 1,
            Input::RuntimeCounters { counts } => self.runtime_counters = counts,
            Input::BytesWritten { bytes } => self.cx.counters.peers_sent_bytes += bytes,
            Input::ConnectionRefused { remote, reason } => self.on_refused(now, remote, &reason),
            Input::QueueFull { link } => self.replay.on_queue_full(&mut self.cx, &mut self.links, link),
            Input::Replayed { link, position } => self.on_replayed(link, position),
            Input::Pong { link } => self.on_pong(now, link),
            Input::ReadsPaused { link } => self.links.excuse(now, link),
            Input::DialFailed { address, error } => self.on_dial_failed(now, address, error),
            Input::Probed { link, address, identity } => self.on_probed(now, link, address, identity),
            Input::StoreFailed { error } => self.store.on_write_failed(&mut self.cx, error),
            Input::StoreRecovered => self.store.on_write_recovered(&mut self.cx),
            Input::PoolAdded { transactions } => self.on_found(now, transactions),
            Input::PoolRemoved { ids } => self.store.remove(&ids),
            Input::PeerCertified { link, certified } => self.on_certified(link, certified),
            Input::AccessChanged { access } => self.on_access(now, access),
            Input::ConnectionRejected { remote, reason } => self.on_turned_away(now, remote, &reason),
            Input::ImageSearch { search, name } => self.on_search(now, search, name),
            Input::ImageSearchDone { search } => self.on_search_done(search),
            Input::LocalImages { search, images } => self.on_looked_up(now, search, images),
            Input::DiscoveryStarted => self.on_discovering(now),
            Input::RecordDiscovered { record, scope } => self.on_discovered(now, record, scope),
            Input::RecordExpired { session } => self.on_undiscovered(session),
            Input::Timeout => self.on_timeout(now),
            Input::Shutdown => self.on_shutdown(),
        }
    }

    /// The next order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.poll_output()
    }

    /// When [`Input::Timeout`] is due; `None` if never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.cx.timers.next()
    }

    /// The node's status. `asked`: identities of which the asker wants to know how many are on disk.
    pub fn status(&self, now: Instant, asked: &[TransactionId]) -> Status {
        Status {
            node: self.cx.config.node.to_string(),
            session: self.cx.config.session.to_string(),
            agent: self.cx.config.agent.clone(),
            network: self.cx.config.network.clone(),
            address: self.cx.config.address.to_string(),
            uptime: now.saturating_duration_since(self.started).as_secs(),
            connected: self.linked_names(),
            attempting: self.book.attempting().map(ToString::to_string).collect(),
            max_peers: self.cx.config.max_peers,
            peers: self.peer_rows(now),
            known: self.book.others(),
            pool: self.store.index().summary(),
            writable: self.store.is_writable(),
            held: asked.iter().filter(|id| self.store.index().is_stored(id)).count(),
            counters: {
                let all = self.cx.counters.entries().chain(self.runtime_counters.iter().copied());
                all.map(|(name, count)| (name.to_owned(), count)).collect()
            },
        }
    }

    /// The addresses that are being dialled, and those that lead to the other end of an open link: disjoint, and never our own.
    pub fn addresses(&self) -> (Vec<PeerAddress>, Vec<PeerAddress>) {
        let connected = self.book.connected().map(|(address, _)| address.clone());
        (self.book.attempting().cloned().collect(), connected.collect())
    }

    /// How many nodes we are linked to: each full peer once, each plain peer once.
    pub fn linked_peers(&self) -> usize {
        self.links.peers()
    }

    /// The full peers that we are linked to, each once, in the order of their ids.
    pub fn linked_nodes(&self) -> Vec<NodeId> {
        let open = self.links.iter().filter(|(_, link)| link.takes_transactions());
        let nodes: std::collections::BTreeSet<NodeId> =
            open.filter_map(|(_, link)| link.full()).map(|peer| peer.id).collect();
        nodes.into_iter().collect()
    }

    /// To how many full peers a link leads that we dialled.
    pub fn dialled_nodes(&self) -> usize {
        self.places_dialled()
    }

    /// Whether [`Event::Transaction`] is told of what peers and the application bring, from now on; at first it is. In a busy node it is nearly all that is told, and
    /// mostly nobody listens.
    pub fn tell_transactions(&mut self, tell: bool) {
        self.tells_transactions = tell;
    }

    /// How many of these transactions are held. To be asked for a batch before it is handled one by one: tables of a million are in no cache, and looks into them that do
    /// not wait for each other take a fraction of the time.
    pub fn count_held(&self, ids: impl Iterator<Item = TransactionId>) -> usize {
        ids.filter(|id| self.store.index().holds(id)).count()
    }

    /// Whether a client or the application waits until the disk has something.
    pub fn is_disk_awaited(&self) -> bool {
        self.ack_waiters.is_any()
    }

    /// How many bytes of accepted transactions wait for the disk. Above [`unstored_bytes`](limits::Limits::unstored_bytes) the shell stops reading.
    pub fn unstored_bytes(&self) -> usize {
        self.store.index().unstored_bytes()
    }

    /// Whether the pool's file takes writes, as far as is known.
    pub fn is_writable(&self) -> bool {
        self.store.is_writable()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.cx.counters
    }

    pub(crate) fn on_received(&mut self, now: Instant, link: LinkId, message: Result<Message, Malformed>) {
        if self.links.get(link).is_none_or(|link| link.closing) {
            return;
        }
        self.links.hear(now, link);
        if !matches!(message, Ok(Message::Handshake(_))) && self.refuses_client(now, link) {
            return;
        }
        match message {
            Ok(Message::Transaction(_)) if self.is_guest(link) => {
                self.fault(link, "TRANSACTION: you have no place here yet");
            }
            Ok(Message::Transaction(delivery)) => self.on_transaction(now, link, delivery),
            Ok(Message::Handshake(handshake)) => self.on_handshake(now, link, handshake),
            Ok(Message::Sync(frame)) => self.on_sync(now, link, frame),
            Ok(Message::SyncOther(OtherSet::Broadcasts, frame)) => self.on_sync_broadcasts(now, link, frame),
            Ok(Message::SyncOther(OtherSet::Nodes, frame)) => self.on_sync_nodes(now, link, &frame),
            Ok(Message::Broadcast(frame)) => self.on_broadcast(now, link, frame),
            Ok(Message::Announce(frame)) => self.on_announce(now, link, frame),
            Ok(Message::Network(frame)) => self.on_network(now, link, &frame),
            Ok(Message::Want(ids)) => {
                self.send_wanted_broadcasts(now, link, &ids);
                self.on_want(link, &ids);
            }
            Ok(Message::Prune(origins)) => self.on_prune(link, &origins),
            Ok(Message::Graft(origins)) => self.on_graft(now, link, &origins),
            Ok(Message::Join(join)) => self.on_join(now, link, &join),
            Ok(Message::Peers(sample)) => self.on_peers(now, link, sample),
            Ok(Message::Declined(declined)) => self.on_declined(now, link, &declined),
            Ok(Message::Beacon(beacon)) => self.on_beacon(now, link, beacon),
            Ok(Message::Find(find)) => self.on_find(now, link, find),
            Ok(Message::Found(found)) => self.on_image_found(now, link, found),
            Ok(Message::Status(StatusFrame::Question { holds })) => self.on_status_question(now, link, &holds),
            Ok(message @ (Message::Status(StatusFrame::Answer(_)) | Message::Ack(_))) => {
                self.cx.counters.answers_unsolicited += 1;
                self.offend(link, ViolationKind::Unsolicited, &format!("{}: nobody asked; ignored", message.kind()));
            }
            Ok(Message::Unknown(kind)) => {
                self.cx.counters.messages_unknown += 1;
                self.links.log_fault(
                    &mut self.cx,
                    link,
                    format!("sent a message of the unknown type {kind:?}; ignored"),
                );
            }
            Err(error) => {
                self.cx.counters.frames_malformed += 1;
                let json = matches!(error, Malformed::Json(_));
                self.offend(
                    link,
                    if json { ViolationKind::Malformed } else { ViolationKind::Breach },
                    &error.to_string(),
                );
                if json {
                    self.links.close(&mut self.cx, link, close::INVALID_DATA, "a message is one JSON object");
                }
            }
        }
    }

    /// Status is told to this host alone: it names addresses, and answering costs more than asking.
    pub(crate) fn on_status_question(&mut self, now: Instant, link: LinkId, holds: &[TransactionId]) {
        if self.links.get(link).is_some_and(|link| link.scope == Scope::Loopback) {
            let frame = StatusFrame::Answer(Box::new(self.status(now, holds))).to_frame();
            self.cx.send(vec![link], frame, Lane::Control);
        } else {
            self.offend(link, ViolationKind::Unsolicited, "STATUS: only clients on this host are answered");
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.cx.timers.pop_due(now) {
            match timer {
                Timer::Dial(address) => self.on_dial_due(now, address),
                Timer::Ping(link) => self.on_ping_due(now, link),
                Timer::Silence(link) => self.on_silence(now, link),
                Timer::Answer(link) => {
                    if !self.on_guest_over(now, link) {
                        self.answer(now, link);
                    }
                }
                Timer::Seek => {
                    self.begin_genesis(now);
                    self.seek(now);
                }
                Timer::Visit => self.on_visit_due(now),
                Timer::Beacon => self.on_beacon_due(now),
                Timer::Mix => self.on_mix_due(now),
                Timer::Remember => self.remember(),
                Timer::Discover => self.discover(now),
                Timer::Advertise => self.advertise(now),
                Timer::Reconcile => self.on_reconcile_due(now),
                Timer::Duel(link) => self.on_duel_over(now, link),
                Timer::Announce => self.on_announce_due(now),
                Timer::Introduce => self.on_introduce_due(now),
                Timer::TellNodes => self.on_tell_due(now),
                Timer::Sweep => self.on_sweep_due(now),
                Timer::Search(search) => self.on_search_due(search),
                Timer::Untold => self.on_untold_due(now),
            }
        }
    }

    pub(crate) fn on_ping_due(&mut self, now: Instant, link: LinkId) {
        let limits = &self.cx.config.limits;
        let Some(open) = self.links.get(link).filter(|link| !link.closing) else {
            return;
        };
        let silent = now.saturating_duration_since(open.heard);
        let interval = limits.ping_interval;
        if silent >= limits.dead_after {
            self.cx.counters.links_dead += 1;
            self.links.close(&mut self.cx, link, close::GOING_AWAY, "nothing was heard from you");
            return;
        }
        if silent >= interval {
            self.cx.output(Output::Ping { link });
        }
        self.cx.timers.set(Timer::Ping(link), now + interval);
        // Two links to one node are settled when the second opens; should that have failed, they are settled now.
        let twin = self.links.get(link).and_then(Link::full).and_then(|peer| self.links.to_node(peer.id, Some(link)));
        if let Some((twin, _)) = twin {
            self.begin_duel(now, twin.min(link));
        }
    }

    /// A link on which no HANDSHAKE came has been silent for a while: a client that forgot to close, or one that was never any of ours.
    pub(crate) fn on_silence(&mut self, now: Instant, link: LinkId) {
        let Some(open) = self.links.get(link) else { return };
        match &open.role {
            Role::Client | Role::AwaitingAdmission(_) => {}
            // It answered our dial as a full peer does, and then did not introduce itself.
            Role::Native(peer) if !peer.hello_received => {
                return self.links.close(&mut self.cx, link, close::POLICY, "you did not send your HANDSHAKE");
            }
            _ => return,
        }
        let patience = self.cx.config.limits.client_silence;
        let until = if open.acks_due > 0 { now + patience } else { open.heard + patience };
        if until > now {
            self.cx.timers.set(Timer::Silence(link), until);
        } else {
            self.links.close(&mut self.cx, link, close::NORMAL, "silent for too long");
        }
    }

    pub(crate) fn on_shutdown(&mut self) {
        self.cx.shutting_down = true;
        if self.cx.config.max_peers.is_some() || self.cx.config.genesis.is_some() {
            self.remember();
        }
        self.announce_leaving();
        let open: Vec<LinkId> = self.links.iter().map(|(link, _)| link).collect();
        for link in open {
            self.links.close(&mut self.cx, link, close::GOING_AWAY, "this node is shutting down");
        }
    }

    /// The nodes that we are linked to, as people know them, each once.
    pub(crate) fn linked_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (_, link) in self.links.iter().filter(|(_, link)| link.takes_transactions()) {
            let name = link.name();
            let name = match (name.address, name.node) {
                (Some(address), _) => address.to_string(),
                (None, Some(node)) => node.to_string(),
                (None, None) => continue,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Penalizes the peer at the other end of a link if it broke a rule.
    pub(crate) fn judge(&mut self, link: LinkId, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.offend(link, violation.kind, &violation.text);
        }
    }

    pub(crate) fn fault(&mut self, link: LinkId, text: &str) {
        self.offend(link, ViolationKind::Breach, text);
    }

    // Calls of gossip and sync.

    fn on_replayed(&mut self, link: LinkId, position: u64) {
        if self.replay.on_replayed(&mut self.cx, &mut self.links, &self.store, link, position) {
            self.compare_pools(self.cx.now, link);
            self.compare_broadcasts(self.cx.now, link);
        }
    }

    /// Goes on with an exercise peer that lagged when its last link ended.
    pub(crate) fn resume_plain(&mut self, now: Instant, link: LinkId, address: &PeerAddress) {
        let Some(peer) = self.book.get_mut(address) else { return };
        if peer.handshakes_only_until.is_some_and(|until| now < until) {
            return;
        }
        if let Some(from) = peer.behind.take() {
            self.replay.resume(&mut self.cx, &mut self.links, link, from);
        }
    }
}
