//! One topic beside the default one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::config::Config;
use crate::connections::table::{LinkState, LinkTable, NativePeer};
use crate::context::Context;
use crate::event::Event;
use crate::gossip::transactions::{Gossip, Received};
use crate::id::{LinkId, NodeId};
use crate::io::{HeldItem, Output, RequestId, TopicInput, TopicOutput, TopicSettings, TopicStatus};
use crate::limits::{self, Limits};
use crate::message_rules::MessageRates;
use crate::store::Store;
use crate::store::broadcast_store::BroadcastStore;
use crate::store::replay::Replay;
use crate::sync::{AntiEntropy, pool_sync};
use crate::timers::Timer;
use crate::topic_name::TopicName;
use crate::topics::retention::{NotKept, Retained};
use crate::transaction::{IdSet, InvalidTransaction, Transaction, TransactionId};
use crate::util::log_throttle::Window;
use crate::violation::Violation;
use crate::wire::{Message, SyncFrame, TransactionFrame};

/// How often it is said that members differ in what they can keep: it lasts until somebody changes
/// what they declare, or what is published.
const DIFFERS_EVERY: Duration = Duration::from_secs(60 * 60);

/// See the module. Its context is its own, so its timers and outputs are.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    /// The links to native peers that have the topic.
    pub(crate) links: LinkTable,
    /// How often each link brought each kind of message.
    pub(crate) rates: MessageRates,
    cx: Context,
    store: Store,
    replay: Replay,
    gossip: Gossip,
    sync: AntiEntropy,
    /// It stays empty: texts are broadcast to all nodes.
    broadcasts: BroadcastStore,
    /// `None`: everything is kept.
    retained: Option<Retained>,
    /// How many items came too early, or could not be judged yet.
    deferred: u64,
    /// The links to members that keep items by their time, from a later one on than this node. They
    /// take none without a time.
    by_time: BTreeSet<LinkId>,
    /// When it may be said that members differ in what they can keep.
    differs: Window,
}

impl Topic {
    pub(crate) fn new(node: &Context, number: u64, settings: TopicSettings, held: Vec<HeldItem>) -> Self {
        let TopicSettings { name, retention, time_of_day, place } = settings;
        let limits = &node.config.limits;
        let config = Config {
            known_peers: Vec::new(),
            remembered_peers: Vec::new(),
            remembered_exercise: Vec::new(),
            limits: Limits { unstored_bytes: limits.unstored_bytes / (limits::TOPICS + 1), ..limits.clone() },
            seed: node.config.seed.wrapping_add(number + 1),
            ..node.config.clone()
        };
        let rng = SmallRng::seed_from_u64(config.seed);
        let cx = Context::new(node.now, config, rng);
        let retained = retention.is_limited().then(|| Retained::new(node.now, retention, time_of_day, &held));
        let mut store = Store::new(held.iter().map(|item| (item.id, item.time)).collect()).in_file(place);
        store.set_bytes(held.iter().map(|item| u64::from(item.bytes)).sum());
        let mut gossip = Gossip::default();
        gossip.report_transactions(false);
        let mut topic = Self {
            name,
            links: LinkTable::default(),
            rates: MessageRates::default(),
            cx,
            store,
            replay: Replay::default(),
            gossip,
            sync: AntiEntropy::default(),
            broadcasts: BroadcastStore::default(),
            retained,
            deferred: 0,
            by_time: BTreeSet::new(),
            differs: Window::new(1, DIFFERS_EVERY),
        };
        topic.sync.schedule_round(&mut topic.cx);
        topic.retain();
        topic
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.cx.poll_output()
    }

    /// Begins an input.
    fn begin(&mut self, now: Instant) {
        self.cx.now = now;
        self.replay.begin_input(&self.store);
    }

    /// Adds a link to a member, and begins set reconciliation with it if it is the first.
    pub(crate) fn on_established(
        &mut self,
        now: Instant,
        link: LinkId,
        (remote, authenticated): (IpAddr, Option<NodeId>),
        peer: NativePeer,
        is_first: bool,
    ) {
        self.begin(now);
        let begins = is_first && self.cx.config.node < peer.id;
        self.links.open(link, remote, None, LinkState::Client, now);
        if let Some(node) = authenticated {
            self.links.authenticate(link, node);
        }
        self.links.set_native(link, LinkState::Established(peer));
        // As in the default topic: one of the two begins.
        if begins {
            self.sync.pool.compare(&mut self.cx, &self.links, &mut self.store, link);
        }
        self.sync.on_links_changed(&mut self.cx);
    }

    pub(crate) fn on_link_closed(&mut self, now: Instant, link: LinkId, heir: Option<LinkId>) {
        if self.links.remove(link).is_none() {
            return;
        }
        self.begin(now);
        self.replay.on_link_closed(link);
        self.rates.on_link_closed(link);
        self.by_time.remove(&link);
        let Self { cx, links, store, gossip, sync, broadcasts, .. } = self;
        sync.on_link_closed(cx, links, store, broadcasts, link);
        sync.on_links_changed(cx);
        if gossip.on_link_closed(cx, links, link) {
            sync.fetch(cx, links, store);
        }
        // A node that has restarted may have other topics now.
        if let Some(heir) = heir.filter(|heir| links.get(*heir).is_some()) {
            sync.pool.compare(cx, links, store, heir);
        }
    }

    pub(crate) fn on_queue_full(&mut self, now: Instant, link: LinkId) {
        // It is about an output of the input before, which is why that is not begun.
        self.cx.now = now;
        self.replay.on_queue_full(&mut self.cx, &mut self.links, link);
    }

    /// Handles the end of a replay.
    pub(crate) fn on_replayed(&mut self, now: Instant, link: LinkId, position: u64) {
        self.begin(now);
        let Self { cx, links, store, replay, sync, .. } = self;
        if replay.on_replayed(cx, links, store, link, position) {
            sync.pool.compare(cx, links, store, link);
        }
    }

    /// Handles a message, which the rules were asked about.
    pub(crate) fn on_message(&mut self, now: Instant, link: LinkId, message: Message) -> Result<(), Violation> {
        self.begin(now);
        if let Message::Sync(SyncFrame::Since { floor, .. }) = &message
            && floor.time > 0
            && *floor > self.store.floor()
        {
            self.by_time.insert(link);
            self.warn_of_untimed(link);
        }
        let Self { cx, links, store, gossip, sync, .. } = self;
        match message {
            Message::Transaction(frame) => return self.on_transaction(link, frame),
            Message::Sync(frame) => return sync.pool.on_sync(cx, links, store, link, frame),
            Message::Want(ids) => {
                pool_sync::on_want(cx, store, link, &ids);
                let held: Vec<_> = ids.into_iter().filter(|id| store.index().holds(id)).collect();
                gossip.plumtree.on_peer_lacks(now, link, &held);
            }
            Message::Prune(origins) => gossip.plumtree.on_prune(cx, links, link, &origins),
            Message::Graft(origins) => {
                let broke = gossip.plumtree.on_graft(cx, links, link, &origins);
                if broke {
                    sync.fetch(cx, links, store);
                    sync.on_links_changed(cx);
                }
            }
            // An envelope holds no others.
            _ => {}
        }
        Ok(())
    }

    fn on_transaction(&mut self, link: LinkId, frame: TransactionFrame) -> Result<(), Violation> {
        let TransactionFrame { transaction, origin, synced, .. } = frame;
        let transaction = match transaction {
            Ok(transaction) => transaction,
            Err(error) => return self.on_invalid(link, &error),
        };
        let (id, bytes) = (transaction.id(), transaction.body().len());
        if !self.store.index().holds(&id)
            && let Some(Err(refused)) = self.retained.as_mut().map(|kept| kept.check(self.cx.now, &transaction))
        {
            self.on_not_kept(link, &id, refused);
            return Ok(());
        }
        let Self { cx, links, store, gossip, sync, retained, .. } = self;
        let held = store.accepted();
        let received = Received { transaction: transaction.clone(), origin, ack: false, synced };
        let new = gossip.on_transaction(cx, links, store, link, received);
        if let Some(retained) = retained.as_mut().filter(|_| store.accepted() > held) {
            retained.insert(cx.now, &transaction);
        }
        sync.pool.on_brought(cx, store, link, &id, (bytes, new));
        if new {
            sync.on_synced(cx, links, link, id);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn has_refused(&self, id: &TransactionId) -> bool {
        self.sync.pool.has_refused(id)
    }

    /// Forgets that an item was refused: it is one that the application takes.
    pub(crate) fn forget_refusal(&mut self, id: &TransactionId) {
        self.sync.pool.forget_refusal(id);
    }

    /// Handles data that is no item, or none that the application takes. Members check what they
    /// pass on, but their rules may differ.
    fn on_invalid(&mut self, link: LinkId, error: &InvalidTransaction) -> Result<(), Violation> {
        match error.id() {
            Some(id) if error.is_put_off() => {
                self.sync.pool.on_put_off(&id);
                return Ok(());
            }
            Some(id) => self.sync.pool.on_refused(self.cx.now, id),
            None => return Err(Violation::breach(format!("TRANSACTION: {error}"))),
        }
        match error {
            // What becomes of it comes later.
            InvalidTransaction::Deferred { .. } => {
                self.deferred += 1;
                return Ok(());
            }
            InvalidTransaction::Ignored { .. } => {
                self.cx.counters.transactions_ignored += 1;
                return Ok(());
            }
            _ => self.cx.counters.transactions_refused += 1,
        }
        let (peer, reason) = (self.links.name_of(link), error.to_string());
        self.cx.notify(Event::TransactionRefused { peer, reason });
        Ok(())
    }

    /// Handles an item that retention does not keep. A member that keeps more may push it, so it is
    /// no fault.
    fn on_not_kept(&mut self, link: LinkId, id: &TransactionId, refused: NotKept) {
        match &refused {
            NotKept::Old(_) => {
                self.cx.counters.transactions_ignored += 1;
                self.sync.pool.on_refused(self.cx.now, *id);
            }
            NotKept::Never(reason) => {
                self.cx.counters.transactions_ignored += 1;
                self.sync.pool.on_refused(self.cx.now, *id);
                let peer = self.links.name_of(link);
                self.warn_of_difference(format!("an item of {peer} is neither kept nor passed on here: {reason}"));
            }
            NotKept::NotYet(_) => {
                self.deferred += 1;
                self.sync.pool.on_put_off(id);
                let (peer, reason) = (self.links.name_of(link), refused.reason());
                self.cx.notify(Event::TransactionRefused { peer, reason });
            }
        }
    }

    /// Warns of items here that a member does not take, since they have no time.
    fn warn_of_untimed(&mut self, link: LinkId) {
        let count = self.store.untimed();
        if count > 0 {
            let peer = self.links.name_of(link);
            self.warn_of_difference(format!(
                "items without a timeStamp are held here ({count}), and {peer} keeps items by it: it neither takes nor passes them on; publish items with one, or declare the topic without retention there"
            ));
        }
    }

    /// Warns of something that members cannot keep alike.
    fn warn_of_difference(&mut self, text: String) {
        if self.differs.admit(self.cx.now) {
            self.cx.notify(Event::Warning { text });
        }
    }

    pub(crate) fn on_input(&mut self, now: Instant, input: TopicInput) {
        self.begin(now);
        let Self { cx, links, store, gossip, retained, .. } = self;
        match input {
            TopicInput::Submit { request, transaction } => self.on_submit(request, transaction),
            TopicInput::Stored { ids } => {
                gossip.on_stored(cx, links, store, ids);
                self.retain();
            }
            TopicInput::StoreFailed { error } => store.on_write_failed(cx, error),
            TopicInput::StoreRecovered => store.on_write_recovered(cx),
            TopicInput::Added { transactions } => {
                if let Some(retained) = retained {
                    transactions.iter().for_each(|transaction| retained.insert(cx.now, transaction));
                }
                gossip.on_pool_added(cx, links, store, transactions);
                self.retain();
            }
            TopicInput::Removed { ids } => self.on_removed(&ids),
            TopicInput::Replayed { link, position } => self.on_replayed(now, link, position),
        }
        self.store.watch_room(&mut self.cx);
    }

    fn on_submit(&mut self, request: RequestId, transaction: Transaction) {
        self.forget_refusal(&transaction.id());
        let Self { cx, links, store, gossip, retained, .. } = self;
        let refused = retained.as_mut().and_then(|retained| retained.check(cx.now, &transaction).err());
        if let Some(refused) = refused.filter(|_| !store.index().holds(&transaction.id())) {
            return cx.output(Output::Submitted { request, outcome: Err(refused.reason()) });
        }
        let held = store.accepted();
        gossip.on_submit(cx, links, store, request, transaction.clone());
        if let Some(retained) = retained.as_mut().filter(|_| store.accepted() > held) {
            retained.insert(cx.now, &transaction);
        }
    }

    /// Handles the loss of items from the file. With retention they are forgotten: a position that
    /// waited for its item would have the file keep all that come after it in its index.
    fn on_removed(&mut self, ids: &[TransactionId]) {
        let Self { cx, store, retained, .. } = self;
        let Some(retained) = retained else { return store.remove(ids) };
        // One that another program put into the file waits for the disk too, at its old position.
        let waiting: IdSet = store.index().unstored(0).map(|(_, waiting)| waiting.id()).collect();
        let (waiting, lost): (Vec<_>, Vec<_>) = ids.iter().copied().partition(|id| waiting.contains(id));
        store.remove(&waiting);
        let gone = store.forget(&retained.remove_these(&lost), retained.floor());
        if !gone.is_empty() {
            cx.output(Output::Topic { topic: 0, output: TopicOutput::Forget { ids: gone } });
        }
    }

    /// Removes what retention does not keep.
    fn retain(&mut self) {
        let Self { cx, store, retained: Some(retained), .. } = self else { return };
        let removed = retained.remove(cx.now, |id| store.index().is_stored(id));
        let untimed = retained.take_untimed();
        let ids = store.forget(&removed, retained.floor());
        if !ids.is_empty() {
            // Who takes it knows the number.
            cx.output(Output::Topic { topic: 0, output: TopicOutput::Forget { ids } });
        }
        if untimed > 0 {
            self.warn_of_difference(format!(
                "items without a timeStamp are removed ({untimed}): this topic keeps items by it; write items with one, or declare the topic without retention"
            ));
        }
    }

    pub(crate) fn set_time_of_day(&mut self, now: Instant, seconds: u64) {
        if self.retained.as_mut().is_some_and(|retained| retained.set_time_of_day(now, seconds)) {
            self.sync.pool.forget_refused();
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let due = self.retained.as_ref().and_then(Retained::due);
        self.cx.timers.next().into_iter().chain(due).min()
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.begin(now);
        while let Some(timer) = self.cx.timers.pop_due(now) {
            let Self { cx, links, store, sync, broadcasts, gossip, .. } = self;
            match timer {
                Timer::Reconcile => sync.on_round_due(cx, links, store, broadcasts),
                Timer::Wants => sync.on_wants_due(cx, links, store),
                Timer::Grafts => gossip.plumtree.on_grafts_due(cx),
                // The components of a topic set no others.
                _ => {}
            }
        }
        if self.retained.as_ref().and_then(Retained::due).is_some_and(|due| due <= now) {
            self.retain();
        }
    }

    pub(crate) fn shut_down(&mut self) {
        self.cx.shutting_down = true;
    }

    pub(crate) fn is_disk_awaited(&self) -> bool {
        self.gossip.is_disk_awaited()
    }

    pub(crate) fn unstored_bytes(&self) -> usize {
        if self.store.is_writable() { self.store.index().unstored_bytes() } else { 0 }
    }

    pub(crate) fn status(&self) -> TopicStatus {
        let (index, counters) = (self.store.index(), &self.cx.counters);
        let mut members = BTreeMap::new();
        for (link, open) in self.links.iter() {
            let Some(peer) = open.native() else { continue };
            // Of two links to a node one is compared.
            let lacks = self.store.untimed() > 0 && self.by_time.contains(&link);
            *members.entry(peer.id).or_insert(false) |= self.sync.pool.is_reconciled(link) && !lacks;
        }
        TopicStatus {
            name: self.name.clone(),
            count: index.count(),
            bytes: self.store.bytes(),
            end: index.end(),
            reconciled: members.values().filter(|reconciled| **reconciled).count(),
            members: members.into_keys().collect(),
            writable: self.store.is_writable() && self.store.fullness(&self.cx.config.limits).is_none(),
            refused: counters.transactions_refused,
            ignored: counters.transactions_ignored,
            deferred: self.deferred,
            times: self.store.times(),
        }
    }
}
