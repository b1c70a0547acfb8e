//! The node: it owns the components, and routes inputs, internal events, messages and timers to
//! them.
//!
//! The runtime and the simulator call it. It decides nothing itself, except the order in which
//! components handle what concerns several of them. That order is part of the behaviour: outputs
//! follow it.
//!
//! - `on_received` routes messages, after the checks that hold for all of them.
//! - `on_internal` routes what lower layers raised, in the order of raising.
//! - `on_timer` routes timers.
//! - `judge` penalizes the violations that handlers return.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::access::Certified;
use crate::address::{PeerAddress, Scope};
use crate::causes::{DialError, LinkEnd};
use crate::config::Config;
use crate::connections::Connections;
use crate::connections::group_slots::SHARED;
use crate::connections::named_addresses::NamedAddresses;
use crate::connections::table::{Link, LinkState};
use crate::context::Context;
use crate::counters::Counters;
use crate::event::Event;
use crate::exercise::Exercise;
use crate::gossip::broadcasts::Broadcasts;
use crate::gossip::transactions::{self, Gossip, Received};
use crate::id::{LinkId, NodeId, Nonce, UpgradeIdentity};
use crate::image_search::ImageSearch;
use crate::internal_event::{DialOutcome, InternalEvent};
use crate::io::{Direction, HeldItem, Input, Lane, Output, TopicSettings, TopicStatus};
use crate::ip_prefix::IpPrefix;
use crate::membership::Membership;
use crate::message_rules::{MessageKind, MessageRates, Verdict};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::peers::dialer::Due;
use crate::presence::announcer::Presence;
use crate::status::links::{self, LinkRow};
use crate::status::location::{self, Location};
use crate::status::{network, peers};
use crate::store::Store;
use crate::store::replay::Replay;
use crate::sync::{AntiEntropy, broadcast_sync, pool_sync};
use crate::timers::Timer;
use crate::topics::Topics;
use crate::transaction::{Origin, TransactionId};
use crate::violation::{Violation, ViolationKind};
use crate::wire::close;
use crate::wire::{Malformed, Member, Message, NetworkFrame, OtherSet, Status, StatusFrame, TransactionFrame};

/// The core of a node: its whole protocol state.
///
/// Three calls drive it, see the [crate's page](crate): [`handle`](Self::handle),
/// [`poll_output`](Self::poll_output) and [`poll_timeout`](Self::poll_timeout). One task owns it;
/// it has no lock and no clock.
#[derive(Debug)]
pub struct Node {
    pub(crate) cx: Context,
    pub(crate) started: Instant,
    pub(crate) peers: Peers,
    pub(crate) connections: Connections,
    pub(crate) membership: Membership,
    pub(crate) store: Store,
    pub(crate) replay: Replay,
    pub(crate) gossip: Gossip,
    pub(crate) sync: AntiEntropy,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) presence: Presence,
    pub(crate) images: ImageSearch,
    pub(crate) exercise: Exercise,
    pub(crate) topics: Topics,
    /// The counters of the runtime, as it last reported them.
    pub(crate) runtime_counters: Vec<(&'static str, u64)>,
    /// The paths of links, as it last reported them.
    pub(crate) link_paths: Vec<(LinkId, String, Duration)>,
    /// How often each link brought each kind of message.
    rates: MessageRates,
}

impl Node {
    /// Creates a node without links. `pool` holds the ids and
    /// [times](crate::transaction::Transaction::time) of the stored transactions in the order of
    /// their positions. The first dials are due at once.
    pub fn new(now: Instant, config: Config, pool: Vec<(TransactionId, u64)>) -> Self {
        let rng = SmallRng::seed_from_u64(config.seed);
        let cx = Context::new(now, config, rng);
        let mut node = Self {
            started: now,
            peers: Peers::default(),
            connections: Connections::default(),
            membership: Membership::new(&cx),
            store: Store::new(pool),
            replay: Replay::default(),
            gossip: Gossip::default(),
            sync: AntiEntropy::default(),
            broadcasts: Broadcasts::default(),
            presence: Presence::new(cx.config.seed),
            images: ImageSearch::default(),
            exercise: Exercise::new(now, cx.config.remembered_exercise.clone()),
            topics: Topics::default(),
            runtime_counters: Vec::new(),
            link_paths: Vec::new(),
            rates: MessageRates::default(),
            cx,
        };
        let (own, known) = (node.cx.config.address.clone(), node.cx.config.known_peers.clone());
        let own_id = Some(PeerAddress::of_node(node.cx.config.node, [])).filter(|_| node.cx.config.wan);
        for own in own_id.into_iter().chain([own]) {
            node.peers.book.add(&own, AddressSource::Known, now, &node.cx.config.limits);
            node.peers.book.set_state(&own, AddressState::Myself);
        }
        for address in known.iter().filter(|address| node.cx.can_dial(address)) {
            node.peers.book.add(address, AddressSource::Known, now, &node.cx.config.limits);
        }
        node.membership.begin(&mut node.cx, &mut node.peers);
        node.sync.schedule_round(&mut node.cx);
        node
    }

    /// Declares a topic besides the default one, before the first input. `held` are the items that
    /// are stored, in the order of their positions. Outputs may follow: retention removes some.
    ///
    /// # Panics
    /// If there are [`TOPICS`](crate::limits::TOPICS) already, or one of that name.
    pub fn declare_topic(&mut self, settings: TopicSettings, held: Vec<HeldItem>) {
        self.topics.declare(&mut self.cx, settings, held);
        self.membership.schedule_member_search(&mut self.cx);
    }

    /// Returns what is known of a topic; `None` if it was not declared.
    pub fn topic_status(&self, topic: usize) -> Option<TopicStatus> {
        self.topics.status(topic)
    }

    /// Handles an input. Afterwards [`Self::poll_output`] must be called until it returns `None`,
    /// and then [`Self::poll_timeout`] once.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.cx.is_drained(), "every output is taken before the next input is handled");
        self.cx.now = now;
        if !matches!(input, Input::QueueFull { .. }) {
            self.replay.begin_input(&self.store);
            self.exercise.begin_input(now, &self.store);
        }
        match input {
            Input::Received { link, message } => self.on_received(now, link, message),
            Input::Duplicates { link, copies } => self.on_duplicates(link, &copies),
            Input::Stored { ids } => {
                let Self { cx, connections, store, gossip, .. } = self;
                gossip.on_stored(cx, &mut connections.links, store, ids);
            }
            Input::Submit { request, transaction } => {
                let Self { cx, connections, store, gossip, sync, .. } = self;
                sync.pool.forget_refusal(&transaction.id());
                gossip.on_submit(cx, &mut connections.links, store, request, transaction);
            }
            Input::Broadcast { request, message, time } => {
                let Self { cx, connections, gossip, broadcasts, .. } = self;
                broadcasts.on_own(cx, &connections.links, &mut gossip.plumtree, request, message, time);
            }
            Input::LinkOpened { link, remote, direction } => self.on_link_opened(link, remote, direction),
            Input::LinkClosed { link, cause } => self.on_link_closed(link, cause),
            Input::ProtocolError { link, what } => {
                self.connections.on_protocol_error(&mut self.cx, &mut self.peers, link, &what);
            }
            Input::TaskPanicked => self.cx.counters.tasks_panicked += 1,
            Input::RuntimeCounters { counts } => self.runtime_counters = counts,
            Input::BytesWritten { bytes } => self.cx.counters.peers_sent_bytes += bytes,
            Input::ConnectionRefused { remote, reason } => {
                self.cx.counters.connections_refused += 1;
                self.peers.refusals.log(&mut self.cx, IpPrefix::address_group(remote), reason);
            }
            Input::QueueFull { link } => {
                self.replay.on_queue_full(&mut self.cx, &mut self.connections.links, link);
                self.topics.on_queue_full(&mut self.cx, &self.connections.links, link);
            }
            Input::Replayed { link, position } => self.on_replayed(link, position),
            Input::Pong { link } => self.connections.on_pong(&mut self.cx, &mut self.peers, link),
            Input::Marked { link, number } => {
                self.exercise.on_marked(&mut self.cx, &mut self.connections.links, link, number);
            }
            Input::ReadsPaused { link } => self.connections.links.excuse(now, link),
            Input::Judging { link, judges } => self.connections.links.set_judged(link, judges),
            Input::DialFailed { address, error } => self.on_dial_failed(address, error, None),
            Input::DialPutOff { address, until } => self.on_dial_put_off(address, until),
            Input::Probed { link, address, identity, proves } => self.on_probed(link, &address, (identity, proves)),
            Input::NotProbed { link, address } => self.on_probe_put_off(link, &address),
            Input::PoolSize { bytes } => self.store.set_bytes(bytes),
            Input::StoreFailed { error } => self.store.on_write_failed(&mut self.cx, error),
            Input::StoreRecovered => self.store.on_write_recovered(&mut self.cx),
            Input::PoolAdded { transactions } => {
                let Self { cx, connections, store, gossip, .. } = self;
                gossip.on_pool_added(cx, &mut connections.links, store, transactions);
            }
            Input::PoolRemoved { ids } => self.store.remove(&ids),
            Input::PeerCertified { link, certified } => self.peers.access.certify(link, certified),
            Input::KnownPeersChanged { addresses } => self.on_known_peers_changed(addresses),
            Input::LinkChallenged { link, challenge } => self.connections.on_challenged(link, challenge),
            Input::NodeAuthenticated { link, node } => self.peers.access.authenticate(link, node),
            Input::AccessChanged { access } => {
                self.connections.on_access_changed(&mut self.cx, &mut self.peers, access);
            }
            Input::BansLifted { who } => self.peers.reputation.lift(&mut self.peers.book, &who),
            Input::ConnectionRejected { remote, reason } => {
                self.peers.access.log_connection(&mut self.cx, remote, &reason);
            }
            Input::ImageSearch { search, name } => {
                let Self { cx, connections: Connections { links, .. }, images, presence, .. } = self;
                images.on_search(cx, links, presence.is_linked_to_all(links), search, name);
            }
            Input::ImageSearchDone { search } => self.images.on_search_done(&mut self.cx, search),
            Input::LocalImages { search, images } => {
                self.images.on_local_images(&mut self.cx, &self.connections.links, search, images);
            }
            Input::AddressChanged { address } => {
                self.peers.book.change_own(&mut self.cx, &address);
                self.connections.reachability.on_address_changed(&mut self.cx);
            }
            Input::LinkPaths { paths } => self.link_paths = paths,
            Input::WanStarted => self.on_wan_started(),
            Input::WanChanged { address } => self.on_wan_changed(address),
            Input::DiscoveryStarted => {
                let free = self.free_slots();
                self.peers.lan.on_started(&mut self.cx, free);
            }
            Input::RecordDiscovered { record, scope } => {
                let linked = self.connections.links.native_ids();
                let Peers { book, lan, .. } = &mut self.peers;
                if lan.on_discovered(&mut self.cx, book, &linked, record, scope) {
                    self.look_through_records();
                }
            }
            Input::RecordExpired { session } => self.peers.lan.on_expired(&mut self.cx, session),
            Input::Topic { topic, input } => {
                self.topics.on_input(&mut self.cx, &self.connections.links, topic, input);
            }
            Input::TimeOfDay { seconds } => self.topics.set_time_of_day(&self.cx, seconds),
            Input::Timeout => self.on_timeout(now),
            Input::Shutdown => self.on_shutdown(),
        }
        self.drain();
        self.store.watch_room(&mut self.cx);
    }

    /// Handles the internal events that components raised, until there are none left.
    fn drain(&mut self) {
        while let Some(event) = self.cx.poll_internal().or_else(|| self.unused_dial()) {
            self.on_internal(event);
        }
    }

    /// Returns the end of a dial whose turn did not come.
    fn unused_dial(&mut self) -> Option<InternalEvent> {
        let Peers { dialer, book, .. } = &mut self.peers;
        let (address, reason) = dialer.take_unused(book)?;
        let outcome = DialOutcome::Useless("it was linked, banned or displaced before its turn to be dialled");
        Some(InternalEvent::DialEnded { address, reason: Some(reason), outcome })
    }

    fn on_internal(&mut self, event: InternalEvent) {
        let Self { cx, peers, connections, membership, presence, .. } = self;
        match event {
            InternalEvent::AddressIdle(address) if self.exercise.is_lost(&address) => {
                membership.dial_exercise(cx, peers, connections, &address);
            }
            InternalEvent::AddressIdle(address) => membership.on_address_idle(cx, peers, connections, &address),
            InternalEvent::DialEnded { address, reason, outcome } => {
                membership.on_dial_ended(cx, peers, connections, &address, reason, outcome);
            }
            InternalEvent::ExerciseDialled { link, address, reason, redirects } => {
                membership.release_for_exercise(&address);
                if membership.on_exercise_dialled(cx, peers, connections, link, reason, redirects) {
                    self.connections.send_handshake(&mut self.cx, link);
                    let Self { cx, connections, store, replay, exercise, membership, .. } = self;
                    exercise.on_linked(cx, connections, store, replay, link, &address);
                    connections.notify_up(cx, link);
                    connections.pass_on_exercise(cx, &address);
                    membership.save_peer_cache_later(cx);
                } else {
                    self.exercise.on_referred(&mut self.cx, &address);
                }
            }
            InternalEvent::NativeDialled { link, reason } => {
                membership.on_native_dialled(cx, peers, connections, link, reason);
            }
            InternalEvent::StandbyFreed(link) => membership.admit_standby(cx, peers, connections, link),
            InternalEvent::Introduced { link, node, addresses } => {
                membership.on_introduced(cx, peers, connections, link, &node, addresses);
            }
            InternalEvent::ToBeReferred { link, reason, newcomer } => {
                let heard_within = presence.heard_within(&connections.links);
                let linked = |nodes| presence.linked_elsewhere(nodes);
                let shared =
                    newcomer.and_then(|node| connections.share_slot(cx, peers, (link, node), heard_within, linked));
                if let Some(shared) = shared {
                    membership.refer(cx, peers, connections, shared, None, SHARED);
                }
                membership.refer(cx, peers, connections, link, None, &reason);
            }
            InternalEvent::ExerciseIntroduced { link, addresses } => {
                let named = NamedAddresses::before(peers, &addresses);
                membership.on_exercise_introduced(cx, peers, connections, link, &addresses);
                named.report(cx, peers, connections, link);
            }
            InternalEvent::NeighborUp(link) => {
                connections.notify_up(cx, link);
                membership.on_slot_won(cx, peers, connections, link);
                self.on_neighbor_up(link);
            }
            InternalEvent::SecondLink(link) => self.topics.on_established(cx, &connections.links, link, false),
            InternalEvent::AddressesLearned { link, addresses } => {
                let named = NamedAddresses::before(peers, &addresses);
                membership.learn(cx, peers, connections, link, &addresses);
                named.report(cx, peers, connections, link);
            }
            InternalEvent::NodeAnnounced { link, node, address, source, patience } => {
                membership.on_node_announced(cx, peers, connections, link, (&address, source, node), patience);
            }
            InternalEvent::PartitionLearned { link, address, root } => {
                membership.on_partition_claimed(cx, peers, connections, link, &address, root);
            }
            InternalEvent::Notify(event) => cx.notify(event),
        }
    }

    /// Begins set reconciliation with a new neighbor, and announces this node to it.
    fn on_neighbor_up(&mut self, link: LinkId) {
        let Some(id) = self.connections.links.get(link).and_then(Link::native).map(|peer| peer.id) else { return };
        // Only the node with the lower id begins; if the pools differ, the other one answers.
        let Self { cx, connections, store, sync, .. } = self;
        if cx.config.node < id {
            sync.pool.compare(cx, &connections.links, store, link);
        }
        sync.on_links_changed(cx);
        self.topics.on_established(&mut self.cx, &self.connections.links, link, true);
        self.greet(link);
    }

    /// Tells a native peer that may have just started what it cannot ask for.
    fn greet(&mut self, link: LinkId) {
        let Self { cx, connections, broadcasts, sync, presence, exercise, .. } = self;
        sync.broadcasts.compare(cx, &connections.links, &mut broadcasts.store, link);
        presence.on_neighbor_up(cx, &connections.links, link);
        exercise.on_neighbor_up(cx, &connections.links, link);
    }

    fn on_link_opened(&mut self, link: LinkId, remote: IpAddr, direction: Direction) {
        let Self { cx, peers, connections, membership, .. } = self;
        match direction {
            Direction::Accepted => connections.on_accepted(cx, peers, link, remote),
            Direction::AcceptedBeyond { reason } => connections.on_accepted_beyond(cx, peers, link, remote, reason),
            Direction::Dialled { address, identity } => {
                let node = identity.as_ref().map(|identity| identity.node);
                if node.is_some() {
                    // The port was one of an exercise peer before.
                    self.exercise.on_native(&address);
                    membership.release_for_exercise(&address);
                }
                cx.notify(Event::LinkOpened { link, address: address.clone(), node });
                let admits_exercise = membership.admits_exercise(cx, connections, &address);
                connections.on_dialled(cx, peers, link, (remote, address), identity, admits_exercise);
                self.drain();
                self.connections.after_dialled(&mut self.cx, &mut self.peers, link);
                self.dial_next();
            }
        }
        if self.cx.shutting_down {
            self.connections.links.close(&mut self.cx, link, close::GOING_AWAY, "this node is shutting down");
        }
    }

    fn on_link_closed(&mut self, link: LinkId, cause: LinkEnd) {
        let Some(closed) = self.connections.on_closed(&mut self.cx, &mut self.peers, link) else { return };
        let answered = self.membership.was_answered(link);
        self.replay.on_link_closed(link);
        self.rates.on_link_closed(link);
        let Self { cx, connections, store, broadcasts, sync, .. } = self;
        sync.on_link_closed(cx, &connections.links, store, &broadcasts.store, link);
        if closed.link.native().is_some() {
            sync.on_links_changed(cx);
        }
        self.presence.on_link_closed(link);
        self.images.on_link_closed(link);
        let Self { cx, connections, store, gossip, sync, .. } = self;
        if gossip.on_link_closed(cx, &connections.links, link) {
            sync.fetch(cx, &connections.links, store);
        }
        self.topics.on_link_closed(&mut self.cx, &self.connections.links, link, closed.heir);
        self.exercise.on_link_closed(&mut self.cx, &self.connections.links, link, &closed.link);
        // The peer may have restarted before its old link was known to be dead.
        let run_of = |link| self.connections.links.get(link).and_then(Link::run);
        if let Some(heir) = closed.heir.filter(|heir| run_of(*heir) != closed.link.run()) {
            self.greet(heir);
        }
        let Self { cx, peers, connections, membership, exercise, .. } = self;
        if let LinkState::ExerciseOutbound { address } = &closed.link.state
            && exercise.is_lost(address)
        {
            membership.hold_for_exercise(cx, address);
        }
        membership.release_addresses(cx, peers, &closed, answered);
        match (closed.heir, closed.standby) {
            (Some(heir), _) => self.sync.pool.compare(cx, &connections.links, &mut self.store, heir),
            (None, Some(standby)) => membership.admit_standby(cx, peers, connections, standby),
            (None, None) => {}
        }
        if closed.heir.is_none() {
            self.connections.notify_down(&mut self.cx, &closed.link, cause.clone());
            if closed.link.is_peer() {
                self.presence.on_links_changed(&mut self.cx, &self.connections.links);
            }
        }
        self.look_for_announced();
        let Self { cx, peers, connections, membership, .. } = self;
        membership.on_link_closed(cx, peers, connections, &closed, answered, &cause);
    }

    /// Handles a dial that failed. `not_before`: when the address may be dialled again.
    fn on_dial_failed(&mut self, address: PeerAddress, error: DialError, not_before: Option<Instant>) {
        let Self { cx, peers, .. } = self;
        cx.counters.dials_failed += 1;
        peers.dialer.on_dial_failed(cx.now, &address);
        let put_off = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(cx.now));
        let retry_in = peers.book.back_off(cx, &address).map(|wait| wait.max(put_off));
        cx.notify(Event::DialFailed { address: address.clone(), error: error.clone(), retry_in });
        self.dial_next();
        let reason = self.peers.dialer.take_reason(&address);
        let Self { cx, peers, connections, membership, .. } = self;
        membership.on_dial_ended(cx, peers, connections, &address, reason, DialOutcome::Failed(error));
    }

    /// Handles a dial or probe that the allowance put off. For the back-off it counts as a failed
    /// one, so that a thousand names for one host are soon forgotten.
    fn on_dial_put_off(&mut self, address: PeerAddress, until: Instant) {
        self.cx.counters.dials_put_off += 1;
        match self.peers.book.get(&address).map(|peer| peer.state) {
            Some(AddressState::Probing(link)) => self.on_probe_put_off(link, &address),
            Some(AddressState::Attempting) => {
                self.on_dial_failed(address.clone(), DialError::PutOff, Some(until));
            }
            _ => {}
        }
        self.peers.book.dial_no_sooner(&mut self.cx, &address, until);
    }

    fn on_probed(&mut self, link: LinkId, address: &PeerAddress, found: (Option<UpgradeIdentity>, bool)) {
        let Self { cx, peers, connections, membership, .. } = self;
        if !membership.on_pending_probed(cx, peers, connections, link, address, found) {
            connections.on_probed(cx, peers, link, address, found);
        }
        self.drain();
        self.dial_next();
    }

    fn on_probe_put_off(&mut self, link: LinkId, address: &PeerAddress) {
        let Self { cx, peers, connections, membership, .. } = self;
        if !membership.on_pending_probed(cx, peers, connections, link, address, (None, false)) {
            connections.on_probe_put_off(cx, peers, link, address);
        }
        self.drain();
        self.dial_next();
    }

    /// Begins the next queued dials.
    fn dial_next(&mut self) {
        let Peers { book, dialer, reputation, .. } = &mut self.peers;
        let connections = &self.connections;
        dialer.on_dial_ended(&mut self.cx, book, reputation, &|link| connections.unverified(link));
    }

    fn on_dial_due(&mut self, address: PeerAddress) {
        if self.connections.leads_to_linked(&mut self.cx, &mut self.peers.book, &address) {
            return;
        }
        let Peers { book, dialer, reputation, .. } = &mut self.peers;
        let connections = &self.connections;
        let unverified = |link| connections.unverified(link);
        book.doubt_self(&self.cx, &address);
        if dialer.on_due(&mut self.cx, book, reputation, &unverified, address.clone()) == Due::Idle {
            self.cx.raise(InternalEvent::AddressIdle(address));
        }
    }

    /// Has a node that lacks links try those that were announced and that it is not linked to.
    fn look_for_announced(&mut self) {
        let Self { cx, peers, connections, membership, presence, .. } = self;
        if membership.lacks_links(cx, connections) {
            let announced = presence.not_linked(cx, &connections.links);
            Membership::on_links_lacking(cx, peers, &announced);
        }
    }

    /// Moves a link to a member of a topic of which too few are linked.
    fn seek_member(&mut self) {
        let Self { cx, peers, connections, membership, presence, .. } = self;
        let links = &connections.links;
        let beyond = membership.topics_in_turn(cx).find_map(|topic| {
            let name = cx.topics[topic].clone();
            let has_topic =
                |link| links.get(link).and_then(Link::native).is_some_and(|peer| peer.topics.contains(topic));
            let members = presence.members_beyond(cx, links, &name, has_topic);
            (!members.is_empty()).then_some(members)
        });
        let mut few = |cx: &mut Context| {
            let topic = membership.lacking_topic(cx, connections)?;
            let name = cx.topics[topic].clone();
            Some(presence.members_not_linked(cx, links, &name))
        };
        let members = beyond.or_else(|| few(cx)).unwrap_or_default();
        membership.seek_member(cx, peers, connections, &members);
        membership.schedule_member_search(cx);
    }

    fn look_through_records(&mut self) {
        let linked = self.connections.links.native_ids();
        let Peers { book, lan, .. } = &mut self.peers;
        if lan.look_through(&mut self.cx, book, &linked) {
            self.fill_slots();
        }
    }

    fn fill_slots(&mut self) {
        let Self { cx, peers, connections, membership, .. } = self;
        membership.fill_slots(cx, peers, connections);
    }

    fn free_slots(&self) -> Option<u32> {
        self.membership.free_slots(&self.cx, &self.connections)
    }

    /// Returns the next output; `None` if all were taken.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.cx.poll_output()
    }

    /// Returns when [`Input::Timeout`] is due; `None` if no timer is set.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Without other topics there is nothing to compare.
        self.cx.timers.next().into_iter().chain(self.topics.next_timeout()).min()
    }

    /// Returns the status of the node. It counts how many of the transactions `asked` are on disk.
    pub fn status(&self, now: Instant, asked: &[TransactionId]) -> Status {
        Status {
            node: self.cx.config.node.to_string(),
            session: self.cx.config.session.to_string(),
            agent: self.cx.config.agent.clone(),
            network: self.cx.config.network.clone(),
            address: self.cx.config.address.to_string(),
            dial_backs: self.connections.reachability.summary(),
            uptime: now.saturating_duration_since(self.started).as_secs(),
            connected: links::linked_names(&self.connections.links),
            exercise: links::linked_exercise(&self.connections.links),
            by_id: self.cx.wan_address.as_ref().map(ToString::to_string),
            paths: links::paths(&self.connections.links, &self.link_paths),
            attempting: self.peers.book.attempting().map(ToString::to_string).collect(),
            max_peers: self.cx.config.max_peers,
            peers: peers::rows(now, &self.peers, &self.cx.timers),
            known: self.peers.book.others(),
            pool: self.store.index().summary(),
            writable: self.store.is_writable(),
            pool_full: self.store.fullness(&self.cx.config.limits).is_some(),
            alone_seconds: None,
            certificate_begins: None,
            certificate_expires: None,
            topics: self.topics.rows(),
            held: asked.iter().filter(|id| self.store.index().is_stored(id)).count(),
            counters: {
                let all = self.cx.counters.entries().chain(self.runtime_counters.iter().copied());
                all.map(|(name, count)| (name.to_owned(), count)).collect()
            },
        }
    }

    /// Returns the addresses that are being dialled, and those that lead to the other end of an
    /// open link: disjoint, and never our own.
    pub fn addresses(&self) -> (Vec<PeerAddress>, Vec<PeerAddress>) {
        let connected = self.peers.book.connected().map(|(address, _)| address.clone());
        (self.peers.book.attempting().cloned().collect(), connected.collect())
    }

    /// Returns how many peers are linked: each native peer once, each exercise peer once.
    pub fn linked_peers(&self) -> usize {
        self.connections.links.peers()
    }

    /// Returns the linked native peers, each once, in the order of their ids.
    pub fn linked_nodes(&self) -> Vec<NodeId> {
        links::linked_nodes(&self.connections.links)
    }

    /// Returns every link that is open and not closing, the oldest first.
    pub fn open_links(&self) -> Vec<LinkRow> {
        let pool = &self.sync.pool;
        links::rows(&self.connections.links, |link| pool.last_compared(link).map(|_| pool.is_reconciled(link)))
    }

    /// Returns every node that is known to be in the network, in the order of ids, this one
    /// included.
    pub fn nodes(&self, now: Instant) -> Vec<Member> {
        network::members(&self.cx, &self.connections.links, &self.presence, now)
    }

    /// Returns how many links to native peers we dialled.
    pub fn dialled_nodes(&self) -> usize {
        self.membership.slots_dialled(&self.connections)
    }

    /// Sets whether [`Event::Transaction`] is reported from now on; at first it is. In a busy node
    /// most events are of this kind, and mostly there is no address group.
    pub fn tell_transactions(&mut self, tell: bool) {
        self.gossip.report_transactions(tell);
    }

    /// Sets how many of the next new transactions are traced: [`Output::Trace`] follows each. At
    /// first 0 are traced.
    pub fn trace_transactions(&mut self, next: usize) {
        self.gossip.trace_transactions(next);
    }

    /// Returns how many of these transactions are held. A runtime calls it for a batch before it
    /// handles the batch one by one. The index does not fit in the CPU cache, and issuing the
    /// look-ups of a batch together overlaps the cache misses.
    pub fn count_held(&self, ids: impl Iterator<Item = TransactionId>) -> usize {
        ids.filter(|id| self.store.index().holds(id)).count()
    }

    /// Returns whether a client or the application waits for a write to the disk.
    pub fn is_disk_awaited(&self) -> bool {
        self.gossip.is_disk_awaited() || self.topics.is_disk_awaited()
    }

    /// Returns how many bytes of accepted transactions wait for the disk. Above
    /// [`unstored_bytes`](crate::limits::Limits::unstored_bytes) the runtime stops reading.
    pub fn unstored_bytes(&self) -> usize {
        self.store.index().unstored_bytes() + self.topics.unstored_bytes()
    }

    /// Returns whether the last write to the pool file succeeded.
    pub fn is_writable(&self) -> bool {
        self.store.is_writable()
    }

    /// Returns the counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.cx.counters
    }

    /// Routes a message to its component, once it was judged by [`message_rules`].
    pub(crate) fn on_received(&mut self, now: Instant, link: LinkId, message: Result<Message, Malformed>) {
        let Some(open) = self.connections.links.receive(now, link) else { return self.on_late(message) };
        let (sender, refused) = (open.sender(), open.refused.is_some());
        let own = matches!(&message, Ok(Message::Announce(frame)) if open.is_own(frame.announcement.node));
        if !matches!(message, Ok(Message::Handshake(_)))
            && ((sender.is_client() && self.connections.refuse_client(&mut self.cx, &mut self.peers, link))
                || (refused && self.connections.end_refused(&mut self.cx, link)))
        {
            return;
        }
        let message = match message {
            Ok(message) => message,
            Err(error) => return self.on_malformed(link, &error),
        };
        let kind = MessageKind::of(&message, own);
        match self.rates.judge(now, link, sender, kind) {
            Verdict::Handle => self.on_message(now, link, message),
            Verdict::Pause(time) => {
                self.cx.output(Output::PauseReading { link, time });
                self.on_message(now, link, message);
            }
            Verdict::Ignore => self.on_ignored(link, kind, message),
            Verdict::Refuse(violation) => {
                self.on_ignored(link, kind, message);
                self.judge(link, Err(violation));
            }
            Verdict::Drop => self.on_dropped(link, kind, message),
        }
    }

    /// Handles what comes on a link that closes. It is not taken, and a transaction that was
    /// deferred before may be asked for again.
    fn on_late(&mut self, message: Result<Message, Malformed>) {
        match message {
            Ok(Message::Transaction(TransactionFrame { transaction: Ok(transaction), .. })) => {
                self.sync.pool.forget_refusal(&transaction.id());
            }
            Ok(Message::Topic(frame)) => self.topics.on_late(&frame),
            _ => {}
        }
    }

    /// Counts a message whose sender may not send it.
    fn on_ignored(&mut self, link: LinkId, kind: MessageKind, message: Message) {
        match kind {
            MessageKind::Ack | MessageKind::StatusAnswer | MessageKind::NetworkAnswer | MessageKind::Declined => {
                self.cx.counters.answers_unsolicited += 1;
            }
            _ => {}
        }
        if let Message::Unknown(kind) = message {
            self.cx.counters.messages_unknown += 1;
            let text = format!("sent a message of the unknown type {kind:?}; ignored");
            self.connections.links.log_fault(&mut self.cx, link, text);
        }
    }

    /// Counts a message above the rate of its kind. A client is told that its broadcast does not go
    /// out.
    fn on_dropped(&mut self, link: LinkId, kind: MessageKind, message: Message) {
        let counters = &mut self.cx.counters;
        match kind {
            MessageKind::Find => counters.finds_dropped += 1,
            MessageKind::Found => counters.founds_dropped += 1,
            MessageKind::Announce | MessageKind::AnnounceOwn => counters.announcements_refused += 1,
            _ => counters.messages_dropped += 1,
        }
        if let Message::Broadcast(frame) = message {
            Broadcasts::reject(&mut self.cx, link, &frame, "more broadcasts than are taken of one connection");
        }
    }

    fn on_malformed(&mut self, link: LinkId, error: &Malformed) {
        self.cx.counters.frames_malformed += 1;
        let json = matches!(error, Malformed::Json(_));
        let kind = if json { ViolationKind::Malformed } else { ViolationKind::Breach };
        self.judge(link, Err(Violation::new(kind, error.to_string())));
        if json {
            self.connections.links.close(&mut self.cx, link, close::INVALID_DATA, "a message is one JSON object");
        }
    }

    #[inline]
    fn on_message(&mut self, now: Instant, link: LinkId, message: Message) {
        match message {
            Message::Transaction(frame) => {
                self.exercise.on_transaction(&mut self.cx, &self.connections.links, link);
                self.on_transaction(link, frame);
            }
            Message::Handshake(handshake) => {
                let result = self.connections.on_handshake(&mut self.cx, &mut self.peers, link, handshake);
                self.judge(link, result);
            }
            Message::Sync(frame) => {
                let Self { cx, connections, store, sync, .. } = self;
                let result = sync.pool.on_sync(cx, &mut connections.links, store, link, frame);
                self.judge(link, result);
            }
            Message::SyncOther(by @ (OtherSet::Broadcasts | OtherSet::BroadcastDigests), frame) => {
                let Self { cx, connections, broadcasts, sync, .. } = self;
                let store = &mut broadcasts.store;
                let result = sync.broadcasts.on_sync(cx, &connections.links, store, link, (by, frame));
                self.judge(link, result);
            }
            Message::SyncOther(OtherSet::Nodes, frame) => {
                let Self { cx, presence, .. } = self;
                let result = presence.on_sync(cx, link, &frame);
                self.judge(link, result);
            }
            Message::Broadcast(frame) => {
                let Self { cx, connections, gossip, broadcasts, presence, sync, .. } = self;
                let links = &connections.links;
                let name_of = |node| presence.name_of(links, node);
                let (id, bytes) = (frame.broadcast.id, frame.broadcast.message.len());
                let result = broadcasts.on_broadcast(cx, links, &mut gossip.plumtree, name_of, link, frame);
                if let Ok(Some(digest)) = result {
                    sync.broadcasts.on_brought(cx, &broadcasts.store, link, (digest, id), bytes);
                }
                self.judge(link, result.map(|_| ()));
            }
            Message::Announce(frame) => {
                let result = self.presence.on_announce(&mut self.cx, &self.connections.links, link, frame);
                self.judge(link, result);
            }
            Message::Network(frame) => {
                self.on_network(link, &frame);
            }
            Message::Want(ids) => {
                let Self { cx, store, gossip, broadcasts, .. } = self;
                broadcast_sync::on_want(cx, &mut broadcasts.store, link, &ids);
                pool_sync::on_want(cx, store, link, &ids);
                let held: Vec<_> = ids.into_iter().filter(|id| store.index().holds(id)).collect();
                gossip.plumtree.on_peer_lacks(now, link, &held);
            }
            Message::Prune(origins) => {
                let Self { cx, connections, gossip, .. } = self;
                gossip.plumtree.on_prune(cx, &connections.links, link, &origins);
            }
            Message::Graft(origins) => {
                let Self { cx, connections, store, gossip, sync, .. } = self;
                if gossip.plumtree.on_graft(cx, &connections.links, link, &origins) {
                    sync.fetch(cx, &connections.links, store);
                    sync.on_links_changed(cx);
                }
            }
            Message::Join(join) => {
                let Self { cx, peers, connections, membership, .. } = self;
                membership.on_join(cx, peers, connections, link, &join);
            }
            Message::Peers(sample) => {
                let Self { cx, peers, connections, membership, .. } = self;
                membership.on_peers(cx, peers, connections, link, sample);
            }
            Message::Declined(declined) => {
                let Self { cx, peers, connections, membership, .. } = self;
                membership.on_declined(cx, peers, connections, link, &declined);
            }
            Message::Beacon(beacon) => {
                let Self { cx, connections, membership, .. } = self;
                membership.on_beacon(cx, connections, link, beacon);
            }
            Message::DialBack(dial_back) => {
                let result = self.connections.on_dial_back(&mut self.cx, link, dial_back);
                self.judge(link, result);
            }
            Message::CallBack(call_back) => {
                location::on_call_back(&mut self.cx, &self.connections.links, link, call_back);
            }
            Message::Find(find) => {
                self.images.on_find(&mut self.cx, &self.connections.links, link, find);
            }
            Message::Found(found) => {
                self.images.on_found(&mut self.cx, &self.connections.links, link, found);
            }
            Message::Topic(frame) => {
                let sender = self.connections.links.get(link).map(Link::sender);
                let Self { cx, connections, topics, .. } = self;
                let result =
                    sender.map_or(Ok(()), |sender| topics.on_message(cx, &connections.links, link, sender, *frame));
                self.judge(link, result);
            }
            Message::Exercise(news) => {
                let Self { cx, peers, connections, exercise, .. } = self;
                exercise.on_updates(cx, &mut peers.book, connections, link, news);
            }
            Message::Status(StatusFrame::Question { holds }) => {
                self.on_status(link, &holds);
            }
            // The rules ignore them.
            Message::Ack(_) | Message::Status(StatusFrame::Answer(_)) | Message::Unknown(_) => {}
        }
    }

    fn on_status(&mut self, link: LinkId, holds: &[TransactionId]) {
        let frame = StatusFrame::Answer(Box::new(self.status(self.cx.now, holds))).to_frame();
        self.cx.send(vec![link], frame, Lane::Control);
    }

    fn on_network(&mut self, link: LinkId, frame: &NetworkFrame) {
        let NetworkFrame::Question { after } = frame else { return };
        let Self { cx, connections, presence, .. } = self;
        let frame = network::answer_after(cx, &connections.links, presence, *after);
        cx.send(vec![link], frame, Lane::Control);
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.cx.timers.pop_due(now) {
            self.on_timer(timer);
            self.drain();
        }
        if self.topics.next_timeout().is_some_and(|due| due <= now) {
            self.topics.on_timeout(&mut self.cx, &self.connections.links);
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        let Self { cx, peers, connections, membership, .. } = self;
        match timer {
            Timer::Dial(address) => self.on_dial_due(address),
            Timer::NextDial => self.dial_next(),
            Timer::Ping(link) => connections.on_ping_due(cx, link),
            Timer::Silence(link) => connections.on_silence_due(cx, link),
            Timer::Answer(link) => {
                if !membership.on_admission_due(cx, peers, connections, link) {
                    connections.answer(cx, link);
                }
            }
            Timer::SlotSearch => {
                membership.begin_bootstrap(cx, peers, connections);
                self.look_for_announced();
                self.fill_slots();
            }
            Timer::Shuffle => membership.on_shuffle_due(cx, peers, connections),
            Timer::Partition => membership.on_beacon_due(cx, connections),
            Timer::Rewire => membership.on_rewire_due(cx, peers, connections),
            Timer::PeerCache => {
                let exercise = self.exercise.remembered(&connections.links, &peers.book);
                membership.save_peer_cache(cx, peers, exercise);
            }
            Timer::Exercise(link) => {
                self.exercise.on_due(cx, &mut connections.links, &self.store, &mut self.replay, link);
            }
            Timer::ExerciseLook => {
                self.exercise.confirm(cx, &connections.links);
                while let Some(address) = self.exercise.next_without_slot(cx, &connections.links) {
                    let admitted = membership.admits_exercise(cx, connections, &address);
                    let mut swap = || self.exercise.link_to_swap(cx, &connections.links);
                    let swapped = if admitted { None } else { swap() };
                    if membership.serve_exercise(cx, peers, connections, &address, swapped) {
                        self.exercise.on_served(&address);
                    }
                }
            }
            Timer::ExerciseUpdates => self.exercise.send_updates(cx, &connections.links),
            Timer::Discover => self.look_through_records(),
            Timer::Advertise => {
                let free = self.free_slots();
                self.peers.lan.advertise(&mut self.cx, free);
            }
            Timer::Reconcile => {
                self.sync.on_round_due(cx, &connections.links, &mut self.store, &mut self.broadcasts.store);
            }
            Timer::WantBroadcasts => {
                self.sync.on_want_broadcasts_due(cx, &connections.links, &mut self.broadcasts.store);
            }
            Timer::Grafts => self.gossip.plumtree.on_grafts_due(cx),
            Timer::Wants => self.sync.on_wants_due(cx, &connections.links, &mut self.store),
            Timer::Duplicate(link) => connections.on_duplicate_due(cx, link),
            Timer::Announce => self.presence.on_announce_due(cx, &connections.links),
            Timer::AnnounceToNew => self.presence.on_announce_to_new_due(cx, &connections.links),
            Timer::SendNodes => self.presence.on_send_nodes_due(cx),
            Timer::RequestNodes => self.presence.on_request_due(cx, &connections.links),
            Timer::ExpireNodes => self.presence.on_expire_due(cx, &connections.links),
            Timer::Search(search) => self.images.on_search_due(cx, search),
            Timer::RefusalLog => self.peers.refusals.on_due(&mut self.cx),
            Timer::Unreachable => connections.reachability.on_due(cx, &connections.links),
            Timer::SeekMembers => self.seek_member(),
        }
    }

    fn on_known_peers_changed(&mut self, addresses: Vec<PeerAddress>) {
        let Self { cx, peers, .. } = self;
        peers.book.set_known(cx, &addresses);
        cx.config.known_peers = addresses;
        self.dial_known();
    }

    fn dial_known(&mut self) {
        let Self { cx, peers, .. } = self;
        if cx.config.max_peers.is_none() {
            peers.dialer.dial_known(cx, &peers.book);
        } else {
            self.fill_slots();
        }
    }

    /// Takes up the node ids among the known peers, which could not be dialled until now.
    fn on_wan_started(&mut self) {
        let Self { cx, peers, .. } = self;
        if std::mem::replace(&mut cx.config.wan, true) {
            return;
        }
        let own = PeerAddress::of_node(cx.config.node, []);
        peers.book.add(&own, AddressSource::Known, cx.now, &cx.config.limits);
        peers.book.set_state(&own, AddressState::Myself);
        let known = cx.config.known_peers.clone();
        peers.book.set_known(cx, &known);
        self.dial_known();
    }

    /// Handles another way by which others reach this node by its id.
    fn on_wan_changed(&mut self, address: Option<PeerAddress>) {
        debug_assert!(address.as_ref().is_none_or(|address| self.cx.is_own(address)), "it is our own node id");
        let told = |cx: &Context| cx.own_address(Scope::Public).to_string();
        let before = told(&self.cx);
        if let Some(address) = &address {
            // The runtime has what it takes, maybe since now.
            self.on_wan_started();
            self.peers.book.add(address, AddressSource::Known, self.cx.now, &self.cx.config.limits);
            self.peers.book.set_state(address, AddressState::Myself);
        }
        let home = |address: &Option<PeerAddress>| address.as_ref().map(|address| address.relays().first().cloned());
        let moves = address.is_some() && home(&address) != home(&self.cx.wan_address);
        self.cx.wan_address = address;
        if moves {
            // The line of this node is back, or others are reached over another relay.
            self.peers.dialer.on_line_back(&mut self.cx, &mut self.peers.book);
        }
        self.connections.reachability.on_wan_changed(&mut self.cx);
        if told(&self.cx) != before {
            self.presence.on_links_changed(&mut self.cx, &self.connections.links);
        }
    }

    pub(crate) fn on_shutdown(&mut self) {
        self.cx.shutting_down = true;
        let exercise = self.exercise.remembered(&self.connections.links, &self.peers.book);
        let Self { cx, peers, membership, .. } = self;
        membership.save_peer_cache(cx, peers, exercise);
        self.topics.shut_down();
        self.presence.announce_leaving(&mut self.cx, &self.connections.links);
        let open: Vec<LinkId> = self.connections.links.iter().map(|(link, _)| link).collect();
        for link in open {
            self.connections.links.close(&mut self.cx, link, close::GOING_AWAY, "this node is shutting down");
        }
    }

    /// Penalizes the peer at the other end of a link if it broke a rule.
    pub(crate) fn judge(&mut self, link: LinkId, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.connections.penalize(&mut self.cx, &mut self.peers, link, &violation);
        }
    }

    /// Returns whether a node may fetch images over a separate connection, which has no HANDSHAKE.
    pub fn may_fetch(&self, remote: IpAddr, certified: Option<Certified>) -> bool {
        self.peers.access.may_fetch(self.cx.config.node, remote, certified)
    }

    /// Returns where a node can be reached for a request.
    pub fn locate(&self, node: NodeId) -> Location {
        location::locate(&self.cx, &self.connections.links, &self.presence, node)
    }

    /// Asks a node for a connection for requests, over the link that it dialled. Returns whether
    /// there is such a link.
    pub fn call_back(&mut self, node: NodeId, nonce: Nonce) -> bool {
        location::call_back(&mut self.cx, &self.connections.links, node, nonce)
    }

    /// Returns where others can dial this node by WebSocket.
    pub fn address(&self) -> &PeerAddress {
        &self.cx.config.address
    }

    /// Returns an address that was seen to lead to the peer at the other end of a link: it was
    /// dialled, or verified.
    pub fn verified_address(&self, link: LinkId) -> Option<&PeerAddress> {
        self.connections.links.get(link).and_then(Link::verified_address)
    }

    /// Returns whether the user named an address.
    pub fn is_known_peer(&self, address: &PeerAddress) -> bool {
        self.peers.book.get(address).is_some_and(|peer| peer.known)
    }

    /// Returns whether a node that has proved its id may send requests.
    ///
    /// # Errors
    /// The reason, for the other end.
    pub fn may_request(
        &self,
        now: Instant,
        remote: IpAddr,
        certified: Option<Certified>,
        node: NodeId,
    ) -> Result<(), String> {
        let Peers { reputation, access, .. } = &self.peers;
        if self.is_banned(now, remote) || reputation.ban_of_node(now, node).is_some() {
            return Err("you are banned here".to_owned());
        }
        access.request_refusal(self.cx.config.node, remote, certified, node).map_or(Ok(()), Err)
    }

    /// Returns whether this node has to do with an address at all, as far as that can be said
    /// without knowing who is there: it is not banned, and no rule for addresses denies it.
    pub fn may_connect(&self, now: Instant, remote: IpAddr) -> bool {
        !self.is_banned(now, remote) && !self.peers.access.denies(remote)
    }

    fn is_banned(&self, now: Instant, remote: IpAddr) -> bool {
        let ban = |address_group| self.peers.reputation.ban_of(now, address_group);
        IpPrefix::address_group(remote).and_then(ban).is_some()
    }

    // Calls of gossip and sync.

    fn on_transaction(&mut self, link: LinkId, frame: TransactionFrame) {
        let TransactionFrame { transaction, origin, ack, synced } = frame;
        let Self { cx, connections, store, gossip, .. } = self;
        match transaction {
            Ok(transaction) => {
                let (id, bytes) = (transaction.id(), transaction.body().len());
                let received = Received { transaction, origin, ack, synced };
                let new = gossip.on_transaction(cx, &mut connections.links, store, link, received);
                self.sync.pool.on_brought(cx, store, link, &id, (bytes, new));
                if new {
                    self.sync.on_synced(cx, &connections.links, link, id);
                }
            }
            Err(error) => {
                // Only native peers compare pools, and check what they pass on.
                let native = connections.links.get(link).is_some_and(|link| link.native().is_some());
                match error.id() {
                    // It may give way to what came on another link.
                    Some(id) if error.is_put_off() => self.sync.pool.on_put_off(&id),
                    Some(id) if native => self.sync.pool.on_refused(cx.now, id),
                    None if native => self.judge(link, Err(Violation::breach(format!("TRANSACTION: {error}")))),
                    _ => {}
                }
                transactions::reject_invalid(&mut self.cx, &self.connections.links, link, &error, ack);
            }
        }
    }

    fn on_duplicates(&mut self, link: LinkId, copies: &[(Option<Origin>, u32)]) {
        let Self { cx, connections, gossip, .. } = self;
        connections.links.hear(cx.now, link);
        gossip.on_duplicates(cx, &connections.links, link, copies);
    }

    fn on_replayed(&mut self, link: LinkId, position: u64) {
        let Self { cx, connections, store, replay, broadcasts, sync, .. } = self;
        if replay.on_replayed(cx, &mut connections.links, store, link, position) {
            sync.compare(cx, &connections.links, store, &mut broadcasts.store, link);
        }
        self.topics.on_room(&mut self.cx, &self.connections.links, link);
    }
}

#[cfg(test)]
mod tests;
