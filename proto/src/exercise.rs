//! Exercise peers: nodes of the exercise compare nothing and acknowledge nothing, and some die of a
//! TRANSACTION. This component keeps what is known of each, by its address.
//!
//! **What it has.** Behind the transactions on a link goes a ping with a number, a mark: once its
//! pong is here, the peer has read all before it. When the link ends, everything from the last such
//! position on is replayed after the next dial, also what came while there was no link. Neighbours
//! are told how long it lacks transactions, as it may come back to one of them.
//!
//! **Whether it checks types.** A program that takes each frame for a list of addresses dies of its
//! first TRANSACTION, within a few ten milliseconds. So only that time counts. After one such end
//! the next link is a trial: transactions are held back for [`TRIAL_DELAY`], to see the cause.
//! After [`DROPS`] it gets handshakes only, until [`quiet_time`] has passed or it sends a
//! TRANSACTION itself, which only a program does that checks types. What was held back is replayed
//! then. Neighbours are told, so that each of them need not find out for itself, and a restart
//! keeps it.
//!
//! What a node finds goes to all others as an update (`updates.rs`).
//!
//! **Who has a slot.** An exercise peer dials every address that it hears of, so with a cap a few
//! of them take all slots that such peers may have, and dial nobody again once they lost them. So a
//! node that had to refer one to others looks again a moment later, at a random time: if nobody
//! serves it, it gets the slot of one that others serve as well. While there is none, the node
//! looks again and again, for a while.
//!
//! The node calls it when a link to an exercise peer opens or ends, with marks, and with EXERCISE
//! messages of native peers. Connections keep the links; `store::replay` replays.

pub(crate) mod updates;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::address::{PeerAddress, Scope};
use crate::connections::Connections;
use crate::connections::table::{Delivery, Link, LinkState, LinkTable, OURSELVES, Party};
use crate::context::Context;
use crate::event::Event;
use crate::exercise::updates::Updates;
use crate::id::LinkId;
use crate::io::Output;
use crate::ip_prefix::IpPrefix;
use crate::limits;
use crate::peers::address_book::AddressBook;
use crate::store::Store;
use crate::store::replay::Replay;
use crate::timers::Timer;
use crate::util::rate_limit::RateLimit;
use crate::util::shares::Shares;
use crate::wire::{ExerciseUpdate, RememberedExercise};

/// How soon after its first TRANSACTION a link ends if that TRANSACTION ended the program. An
/// uncaught error ends one in some ten milliseconds; the rest is for a busy machine and a long
/// path.
const DROPS_WITHIN: Duration = Duration::from_millis(500);
/// A link that lives so long after its first TRANSACTION shows that the program checks types.
const SURVIVED_AFTER: Duration = Duration::from_secs(1);
/// After how many such ends it gets handshakes only: the first may be chance.
const DROPS: u32 = 2;
/// How long transactions are held back on a link after such an end. A program that is stopped by
/// hand ends at another moment.
const TRIAL_DELAY: Duration = Duration::from_secs(1);
/// How long it gets handshakes only: then its user may have corrected it. It doubles with each
/// further end …
const QUIET: Duration = Duration::from_secs(300);
/// … up to this.
const QUIET_MOST: Duration = Duration::from_secs(3_600);
/// A program that ends ends all its links: ours is seen to end within this time of the word of
/// another node.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How often a replay is looked at for a mark.
const REPLAY_POLL: Duration = Duration::from_secs(1);
/// How long it is remembered what a peer lacks. One that is away for longer is a newcomer.
const KEPT: Duration = Duration::from_secs(limits::EXERCISE_LACKS);
/// The most transactions that are replayed to one that was away.
const REPLAYED: u64 = 100_000;
/// How much earlier than told a replay for a neighbour's peer begins: the neighbour may have stored
/// the same transactions earlier or later than this node.
const MARGIN: Duration = Duration::from_secs(5);
/// How often the end of the pool is noted, to find the position of a time.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How much of the pool is replayed to a peer that another node was said to serve: that node may
/// have died, which only its neighbours notice at once.
const RECHECKED: Duration = Duration::from_secs(60);
/// A peer without a slot is looked at again within this time. The others hear meanwhile if one of
/// them took it.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// A node that serves a peer which lost a link elsewhere says so after one to two times this long:
/// if the peer is gone, that node knows it by then.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// The time between two slots that go from one exercise peer to another.
const SWAP_EVERY: Duration = Duration::from_secs(5);
/// How long a peer without a slot is looked at again and again, if there is none for it. It hears
/// of other nodes meanwhile.
const LOOK_FOR: Duration = Duration::from_secs(180);
/// How long after a mark the peer cache is written, if nothing else asks for it.
const SAVE_AFTER: Duration = Duration::from_secs(10);

/// What is known of the exercise peer at one address.
#[derive(Debug, Default)]
struct Record {
    /// How often in a row its link ended at its first TRANSACTION, here or at another node.
    drops: u32,
    /// When the last such end was noted. A link that is older ended by the same.
    dropped: Option<Instant>,
    /// Until when it gets handshakes only.
    quiet_until: Option<Instant>,
    /// Whether transactions waited on the link that is open, or wait: no word of others has them
    /// wait once more on it.
    waited: bool,
    /// The drops that others told meanwhile, and when. They count if our link ends as well.
    doubted: Option<(u32, Instant)>,
    /// From which position it lacks transactions, and since when there is no link, as our own link
    /// showed. It stays until our own link served it: others may lie, and what is sent twice costs
    /// little.
    behind: Option<(u64, Instant)>,
    /// The same, as others told. Their word also ends it.
    told_behind: Option<(u64, Instant)>,
    /// Whether this node is to dial it again with a cap: it had a slot here, and lost the link by
    /// no decision of ours.
    lost: bool,
    /// The link to a native peer by which we heard that a node serves it. If that ends, it may lack
    /// transactions.
    served_by: Option<LinkId>,
    /// When that was heard first.
    served_since: Option<Instant>,
    /// Whether it had a slot here: it is dialled at the next start.
    linked: bool,
    /// Whether it was referred to others from here, and one of them serves it.
    referred: bool,
    /// How many links to it with a slot are open.
    links: usize,
    /// Its place in the share of who named it first.
    share: Option<(Party, u64)>,
    /// When the record last changed.
    changed: Option<Instant>,
    /// The last event that changed it.
    event: u64,
}

/// When an exercise peer was referred to others, and when it is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Referred {
    since: Instant,
    look: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Exercise {
    peers: BTreeMap<PeerAddress, Record>,
    /// Who named them first, each with a number: the first that a party named gives way first.
    shares: Shares<Party, (u64, PeerAddress)>,
    last_share: u64,
    /// Where the pool ended at past times, the oldest first.
    ends: VecDeque<(Instant, u64)>,
    marks: u64,
    updates: Updates,
    /// The peers that were referred to others.
    referred: BTreeMap<PeerAddress, Referred>,
    swaps: RateLimit,
    /// The peers that lost a link elsewhere and are served here, and when that is said.
    confirming: BTreeMap<PeerAddress, Instant>,
}

impl Exercise {
    /// Takes what was remembered of the last run.
    pub(crate) fn new(now: Instant, remembered: Vec<RememberedExercise>) -> Self {
        let peers = remembered.into_iter().take(limits::EXERCISE_PEERS).map(|peer| {
            let drops = peer.drops.min(limits::EXERCISE_DROPS);
            // Others may have told most of them.
            let quiet_until = (drops >= DROPS).then(|| now + QUIET);
            let behind = peer.position.map(|position| (position, now));
            let (lost, changed) = (behind.is_some(), Some(now));
            (peer.address, Record { drops, quiet_until, behind, lost, linked: lost, changed, ..Record::default() })
        });
        Self {
            peers: peers.collect(),
            shares: Shares::default(),
            last_share: 0,
            ends: VecDeque::new(),
            marks: 0,
            updates: Updates::default(),
            referred: BTreeMap::new(),
            swaps: RateLimit::default(),
            confirming: BTreeMap::new(),
        }
    }

    /// Returns what is to be remembered over a restart.
    pub(crate) fn remembered(&self, links: &LinkTable, book: &AddressBook) -> Vec<RememberedExercise> {
        let position = |address: &PeerAddress, record: &Record| {
            let linked = links.iter().filter(|(_, link)| leads_to(link, address));
            let behind = [record.behind, record.told_behind].into_iter().flatten().map(|(position, _)| position);
            linked.filter_map(|(_, link)| link.acknowledged).min().or(behind.min())
        };
        let worth = |record: &Record| record.linked || record.drops > 0;
        let mut peers: Vec<_> = self.peers.iter().filter(|(_, record)| worth(record)).collect();
        peers.sort_by_key(|(_, record)| std::cmp::Reverse(record.changed));
        let peers = peers.into_iter().take(limits::PEER_CACHE).map(|(address, record)| RememberedExercise {
            address: address.clone(),
            reach: book.remembered_reach(address),
            drops: record.drops,
            position: Some(record).filter(|record| record.linked).and_then(|record| position(address, record)),
        });
        peers.collect()
    }

    /// Notes from time to time where the pool ends.
    pub(crate) fn begin_input(&mut self, now: Instant, store: &Store) {
        if self.ends.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= NOTE_EVERY) {
            self.ends.push_back((now, store.index().coming_end()));
            while self.ends.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > KEPT + MARGIN) {
                self.ends.pop_front();
            }
        }
    }

    /// Handles a link to an exercise peer that has a slot: its HANDSHAKE went out. What it lacks is
    /// replayed, unless it first has to show that it checks types.
    pub(crate) fn on_linked(
        &mut self,
        cx: &mut Context,
        connections: &mut Connections,
        store: &Store,
        replay: &mut Replay,
        link: LinkId,
        address: &PeerAddress,
    ) {
        let Connections { links, .. } = connections;
        let end = store.index().coming_end();
        let now = cx.now;
        let rechecked = self.position_at(now, RECHECKED);
        let record = self.record(now, OURSELVES, address);
        (record.lost, record.linked, record.changed) = (false, true, Some(now));
        record.links += 1;
        let behind = record.lacks_from(now);
        (record.behind, record.told_behind) = (None, None);
        // All nodes that a newcomer finds link to it within a moment.
        let served = record.served_since.filter(|since| now.saturating_duration_since(*since) >= MARGIN);
        let from = behind.or(served.map(|_| rechecked)).unwrap_or(end);
        let from = from.min(end).max(end.saturating_sub(REPLAYED));
        let held_until = match record.quiet_until.filter(|_| record.is_quiet(now)) {
            Some(until) => Some(until),
            None => (record.drops > 0).then(|| now + TRIAL_DELAY),
        };
        (record.waited, record.doubted) = (record.is_quiet(now), None);
        let Some(open) = links.get_mut(link) else { return };
        open.acknowledged = Some(from);
        open.withheld = held_until.is_some();
        match held_until {
            Some(until) => cx.timers.set(Timer::Exercise(link), until),
            None => resume(cx, links, store, replay, link),
        }
        self.publish(cx, links, ExerciseUpdate { address: address.clone(), drops: None, lacks: Some(0), event: 0 });
    }

    /// Handles the timer of a link to an exercise peer: releases what was held back, notes that it
    /// survived, or sends a mark.
    pub(crate) fn on_due(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &Store,
        replay: &mut Replay,
        link: LinkId,
    ) {
        let now = cx.now;
        let Some(open) = links.get_mut(link).filter(|link| !link.closing) else { return };
        let LinkState::ExerciseOutbound { address } = &open.state else { return };
        let record = self.peers.get_mut(address);
        if open.withheld {
            let quiet = record.and_then(|record| record.quiet_until).filter(|until| now < *until);
            if let Some(until) = quiet {
                return cx.timers.set(Timer::Exercise(link), until);
            }
            open.withheld = false;
            return resume(cx, links, store, replay, link);
        }
        let mut next = None;
        if let (Some(first), Some(record)) = (open.first_payload, record.filter(|record| record.drops > 0)) {
            let survived = first + SURVIVED_AFTER;
            if now >= survived {
                record.clear(now);
            } else {
                next = Some(survived);
            }
        }
        if open.unmarked {
            let at = match open.flow {
                Delivery::Live => open.mark_due,
                _ => Some(now + REPLAY_POLL),
            };
            if at.is_none_or(|at| at <= now) {
                self.marks += 1;
                let number = self.marks;
                open.unmarked = false;
                open.marks.push_back((number, store.index().coming_end()));
                open.unanswered.get_or_insert(now);
                cx.output(Output::Mark { link, number });
            } else {
                next = next.min(at).or(at);
            }
        }
        if let Some(at) = next {
            cx.timers.set(Timer::Exercise(link), at);
        }
    }

    /// Handles the pong to a mark: the peer read all that was sent before it.
    pub(crate) fn on_marked(&mut self, cx: &mut Context, links: &mut LinkTable, link: LinkId, number: u64) {
        let Some(open) = links.get_mut(link) else { return };
        while let Some(&(mark, position)) = open.marks.front()
            && mark <= number
        {
            open.marks.pop_front();
            open.acknowledged = open.acknowledged.max(Some(position));
        }
        open.unanswered = (!open.marks.is_empty()).then_some(cx.now);
        if !cx.shutting_down && cx.timers.due(&Timer::PeerCache).is_none() {
            cx.timers.set(Timer::PeerCache, cx.now + SAVE_AFTER);
        }
    }

    /// Handles a TRANSACTION from an exercise peer. A program that takes it for a list of addresses
    /// sends none, so this one checks types.
    pub(crate) fn on_transaction(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        let Some(source) = links.get(link) else { return };
        let LinkState::ExerciseInbound { address: Some(address) } = &source.state else { return };
        // Anybody can name its address, and have it sent what ends it.
        let from = IpPrefix::address_group(source.remote);
        let listens_there = match IpPrefix::address_group_at(address) {
            Some(there) => from == Some(there),
            None if address.scope() == Scope::Loopback => from.is_none(),
            None => links.iter().any(|(_, dialled)| source.is_exercise_peer_at(dialled)),
        };
        if !listens_there {
            return;
        }
        let Some(record) = self.peers.get_mut(address).filter(|record| record.drops > 0) else { return };
        record.clear(cx.now);
        for (link, _) in links.iter().filter(|(_, link)| link.withheld && leads_to(link, address)) {
            cx.timers.set(Timer::Exercise(link), cx.now);
        }
    }

    /// Handles the end of a link: judges whether its first TRANSACTION ended the program, and notes
    /// what the peer lacks.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, closed: &Link) {
        cx.timers.cancel(&Timer::Exercise(link));
        self.on_server_lost(cx, links, link, closed);
        let LinkState::ExerciseOutbound { address } = &closed.state else { return };
        let Some(acknowledged) = closed.acknowledged else { return };
        let now = cx.now;
        let record = self.record(now, OURSELVES, address);
        record.links = record.links.saturating_sub(1);
        // One of the links to the same program may have ended before.
        let from = record.behind.map_or(acknowledged, |(from, _)| from.min(acknowledged));
        record.behind = Some((from, now));
        record.lost = !closed.is_released();
        let after_first = closed.first_payload.map(|first| now.saturating_duration_since(first));
        let mut update = ExerciseUpdate { address: address.clone(), drops: None, lacks: None, event: 0 };
        if after_first.is_some_and(|after| after < DROPS_WITHIN)
            && !closed.closing
            && record.dropped.is_none_or(|dropped| dropped <= closed.opened)
        {
            record.drop(now);
            update.drops = Some(record.drops);
            if record.drops >= DROPS {
                let minutes = quiet_time(record.drops).as_secs() / 60;
                let text = format!(
                    "{address} drops its connection at every TRANSACTION; for {minutes} minutes it gets handshakes only, and then what it lacks (its code may not check the type of a message)"
                );
                // A stranger may play any number of such peers.
                if cx.may_warn() {
                    cx.notify(Event::Warning { text });
                }
            }
        } else if after_first.is_some_and(|after| after >= SURVIVED_AFTER) {
            record.clear(now);
        } else if let Some((drops, told)) = record.doubted.take()
            && now.saturating_duration_since(told) < ENDS_WITHIN
            && !closed.closing
        {
            record.believe(now, drops);
            update.drops = Some(drops);
        }
        update.lacks = Some(self.lacks(now, from));
        // Another node serves it: it lacks nothing.
        let swapped = closed.is_released() && is_served(&self.peers, address);
        if !cx.shutting_down && !swapped {
            self.publish(cx, links, update);
        }
    }

    /// Handles the end of a link to a native peer: the exercise peers that it served lack what came
    /// since, wherever they come back to. A node that still serves one says so. One that was linked
    /// here is looked at again soon, as after a referral.
    fn on_server_lost(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, closed: &Link) {
        let now = cx.now;
        let from = self.position_at(now, now.saturating_duration_since(closed.heard) + MARGIN);
        let (mut lost, mut alone) = (Vec::new(), Vec::new());
        for (address, record) in self.peers.iter_mut().filter(|(_, record)| record.served_by == Some(link)) {
            record.set_server(now, None);
            if links.iter().any(|(_, link)| leads_to(link, address)) {
                continue;
            }
            // It may have had no other node, and dials nobody by itself.
            if cx.config.max_peers.is_some() && (record.linked || record.referred) {
                alone.push(address.clone());
            }
            if record.tell_behind(now, from) {
                lost.push(address.clone());
            }
        }
        for address in alone {
            self.look_soon(cx, &address);
        }
        let lacks = Some(self.lacks(now, from));
        for address in if cx.shutting_down { Vec::new() } else { lost } {
            self.publish(cx, links, ExerciseUpdate { address, drops: None, lacks, event: 0 });
        }
    }

    /// Returns for how many seconds a peer lacks transactions that lacks those from a position on.
    fn lacks(&self, now: Instant, from: u64) -> u64 {
        let before = self.ends.iter().rev().find(|(_, end)| *end <= from).map(|(at, _)| *at);
        before.map_or(KEPT, |at| now.saturating_duration_since(at)).as_secs() + 1
    }

    /// Returns whether a node with a cap is to dial an address again: an exercise peer had a slot
    /// here and lost it. That holds after [`KEPT`] too, when it is a newcomer, as after the sleep
    /// of a laptop: the address book backs off, and forgets an address at which nobody answers.
    pub(crate) fn is_lost(&self, address: &PeerAddress) -> bool {
        self.peers.get(address).is_some_and(|record| record.lost)
    }

    /// Notes that an exercise peer was referred to other nodes. It is looked at again soon.
    pub(crate) fn on_referred(&mut self, cx: &mut Context, address: &PeerAddress) {
        if let Some(record) = self.peers.get_mut(address) {
            record.lost = false;
        }
        self.look_soon(cx, address);
    }

    fn look_soon(&mut self, cx: &mut Context, address: &PeerAddress) {
        if self.referred.len() < limits::EXERCISE_PEERS && !self.referred.contains_key(address) {
            let look = cx.now + cx.rng.random_range(LOOK_AGAIN / 3..LOOK_AGAIN);
            self.referred.insert(address.clone(), Referred { since: cx.now, look });
            self.set_look_timer(cx);
        }
    }

    fn set_look_timer(&self, cx: &mut Context) {
        let looks = self.referred.values().map(|referred| referred.look);
        if let Some(at) = looks.chain(self.confirming.values().copied()).min() {
            cx.timers.set(Timer::ExerciseLook, at);
        }
    }

    /// Says which peers are still served here although they lost a link elsewhere, those that are
    /// due.
    pub(crate) fn confirm(&mut self, cx: &mut Context, links: &LinkTable) {
        let due = self.confirming.iter().filter(|(_, at)| **at <= cx.now).map(|(address, _)| address.clone());
        for address in due.collect::<Vec<_>>() {
            self.confirming.remove(&address);
            let serves = |link: &Link| !link.closing && link.acknowledged.is_some() && link.unanswered.is_none();
            if links.iter().any(|(_, link)| leads_to(link, &address) && serves(link)) {
                self.publish(cx, links, ExerciseUpdate { address, drops: None, lacks: Some(0), event: 0 });
            }
        }
        self.set_look_timer(cx);
    }

    /// Returns a referred peer that is to be looked at now and that nobody serves, as far as is
    /// known. It is looked at again after that, for a while: [`Self::on_served`] ends it.
    pub(crate) fn next_without_slot(&mut self, cx: &mut Context, links: &LinkTable) -> Option<PeerAddress> {
        loop {
            let due = self.referred.iter().find(|(_, referred)| referred.look <= cx.now);
            let Some((address, referred)) = due.map(|(address, referred)| (address.clone(), *referred)) else {
                self.set_look_timer(cx);
                return None;
            };
            self.referred.remove(&address);
            if let Some(record) = self.peers.get_mut(&address).filter(|record| record.served_by.is_some()) {
                record.referred = true;
                continue;
            }
            if links.iter().any(|(_, link)| leads_to(link, &address)) {
                continue;
            }
            if cx.now.saturating_duration_since(referred.since) < LOOK_FOR {
                let look = cx.now + cx.rng.random_range(SWAP_EVERY..SWAP_EVERY * 2);
                self.referred.insert(address.clone(), Referred { look, ..referred });
            }
            return Some(address);
        }
    }

    /// Notes that a native peer answers where an exercise peer was: that is not dialled again.
    pub(crate) fn on_native(&mut self, address: &PeerAddress) {
        self.referred.remove(address);
        if let Some(record) = self.peers.get_mut(address) {
            (record.lost, record.linked, record.referred) = (false, false, false);
        }
    }

    /// Notes that a referred peer is dialled for a slot.
    pub(crate) fn on_served(&mut self, address: &PeerAddress) {
        self.referred.remove(address);
    }

    /// Returns the link to an exercise peer that others serve as well: its slot may go to one that
    /// has none.
    pub(crate) fn link_to_swap(&mut self, cx: &mut Context, links: &LinkTable) -> Option<LinkId> {
        let served = links.iter().filter(|(_, link)| match &link.state {
            LinkState::ExerciseOutbound { address } => !link.closing && is_served(&self.peers, address),
            _ => false,
        });
        let served: Vec<LinkId> = served.map(|(id, _)| id).collect();
        let chosen = *served.choose(&mut cx.rng)?;
        self.swaps.spend(cx.now, SWAP_EVERY, SWAP_EVERY).ok().map(|()| chosen)
    }

    /// Tells a new neighbour what is known of exercise peers that drop their link or lack
    /// transactions.
    pub(crate) fn on_neighbor_up(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        for (address, record) in self.peers.iter_mut().filter(|(_, record)| record.event == 0) {
            // It was found without an event: the server of the peer was lost, or we were restarted.
            record.event = self.updates.number(cx, address);
        }
        let known = self.peers.iter().filter_map(|(address, record)| {
            // That another serves it is known less surely.
            let serves = links.iter().any(|(_, link)| leads_to(link, address) && link.acknowledged.is_some());
            let lacks = match (record.served_by, record.lacks_from(cx.now)) {
                _ if serves => Some(0),
                (None, Some(from)) => Some(self.lacks(cx.now, from)).filter(|lacks| *lacks < KEPT.as_secs()),
                _ => None,
            };
            let drops = (record.drops > 0).then_some(record.drops);
            let event = record.event;
            (drops.is_some() || lacks.is_some()).then(|| ExerciseUpdate {
                address: address.clone(),
                drops,
                lacks,
                event,
            })
        });
        let known: Vec<ExerciseUpdate> = known.collect();
        if let Some(scope) = updates::scope_of(links, link) {
            updates::send_to(cx, vec![link], scope, &known);
        }
    }

    /// Handles EXERCISE: what a native peer knows of exercise peers. What is new here goes on to
    /// the other neighbours.
    pub(crate) fn on_updates(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        connections: &mut Connections,
        link: LinkId,
        updates: Vec<ExerciseUpdate>,
    ) {
        for update in updates {
            // A node id is no address of an exercise peer.
            if update.address.node().is_none()
                && connections.may_learn(cx, book, link, &update.address)
                && self.updates.is_first(cx.now, &update.address, update.event)
                && self.take(cx, &mut connections.links, link, &update)
            {
                self.updates.queue(update);
            }
        }
        self.updates.send(cx, &connections.links);
    }

    /// Tells the neighbours what this node found.
    fn publish(&mut self, cx: &mut Context, links: &LinkTable, update: ExerciseUpdate) {
        let event = self.updates.number(cx, &update.address);
        if let Some(record) = self.peers.get_mut(&update.address) {
            record.event = event;
        }
        self.updates.queue(ExerciseUpdate { event, ..update });
        self.updates.send(cx, links);
    }

    /// Sends the updates that are still queued.
    pub(crate) fn send_updates(&mut self, cx: &mut Context, links: &LinkTable) {
        self.updates.send(cx, links);
    }

    /// Takes what a native peer knows of one exercise peer; returns whether it is new.
    fn take(&mut self, cx: &mut Context, links: &mut LinkTable, by: LinkId, update: &ExerciseUpdate) -> bool {
        let now = cx.now;
        let by_party = links.party_of(Some(by));
        let is_linked = self.peers.get(&update.address).is_some_and(|record| record.links > 0);
        let linked: Vec<LinkId> = links
            .iter()
            .take_while(|_| is_linked)
            .filter(|(_, link)| !link.closing && link.acknowledged.is_some() && leads_to(link, &update.address))
            .map(|(id, _)| id)
            .collect();
        // Our own experience outranks the word of others.
        let survived = linked.iter().filter_map(|link| links.get(*link)?.first_payload);
        let survived = survived.into_iter().any(|first| now.saturating_duration_since(first) >= SURVIVED_AFTER);
        let from = update.lacks.map(|seconds| self.position_at(now, Duration::from_secs(seconds) + MARGIN));
        let record = self.record(now, by_party, &update.address);
        let mut new = false;
        if let Some(drops) = update.drops
            && drops > record.drops
            && !survived
        {
            if record.waited && !linked.is_empty() {
                record.doubted = Some((drops, now));
            } else {
                record.believe(now, drops);
                record.waited = record.is_quiet(now);
                new = true;
                for link in &linked {
                    if let Some(open) = links.get_mut(*link).filter(|open| open.first_payload.is_none()) {
                        open.withheld = true;
                        cx.timers.set(Timer::Exercise(*link), now + TRIAL_DELAY);
                    }
                }
            }
        }
        let record = self.record(now, by_party, &update.address);
        record.event = update.event;
        match (update.lacks, from) {
            (Some(0), _) => {
                new |= record.set_server(now, Some(by)).is_none();
                new |= linked.is_empty() && record.told_behind.take().is_some();
            }
            (Some(1..), Some(from)) => {
                new |= record.set_server(now, None).is_some();
                if !linked.is_empty() {
                    let at = now + cx.rng.random_range(CONFIRM_AFTER..CONFIRM_AFTER * 2);
                    self.confirming.entry(update.address.clone()).or_insert(at);
                    self.set_look_timer(cx);
                } else {
                    new |= record.tell_behind(now, from);
                }
            }
            _ => {}
        }
        new
    }

    /// Returns where the pool ended this long ago, or a moment before.
    fn position_at(&self, now: Instant, ago: Duration) -> u64 {
        let earlier = self.ends.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= ago);
        earlier.or(self.ends.front()).map_or(0, |(_, end)| *end)
    }

    /// Returns the record of an address. A new one displaces one that is not linked: the first of
    /// the party that named most.
    fn record(&mut self, now: Instant, by: Party, address: &PeerAddress) -> &mut Record {
        if !self.peers.contains_key(address) {
            if self.peers.len() >= limits::EXERCISE_PEERS {
                self.make_room();
            }
            self.last_share += 1;
            self.shares.insert(by, (self.last_share, address.clone()), 1);
            let share = Some((by, self.last_share));
            self.peers.insert(address.clone(), Record { share, changed: Some(now), ..Record::default() });
        }
        self.peers.entry(address.clone()).or_default()
    }

    fn make_room(&mut self) {
        let is_linked = |address: &PeerAddress| self.peers.get(address).is_some_and(|record| record.links > 0);
        let crowded = self.shares.of_largest().find(|(_, address)| !is_linked(address));
        // Those of the last run have no share, and neither has a party whose peers are all linked.
        let oldest = || {
            let idle = self.peers.iter().filter(|(_, record)| record.links == 0);
            idle.min_by_key(|(_, record)| record.changed).map(|(address, _)| address.clone())
        };
        if let Some(address) = crowded.map(|(_, address)| address.clone()).or_else(oldest)
            && let Some(Record { share: Some((by, number)), .. }) = self.peers.remove(&address)
        {
            self.shares.remove(by, &(number, address), 1);
        }
    }
}

impl Record {
    /// Counts an end at the first TRANSACTION.
    fn drop(&mut self, now: Instant) {
        self.drops = (self.drops + 1).min(limits::EXERCISE_DROPS);
        self.dropped = Some(now);
        self.changed = Some(now);
        self.quiet_until = (self.drops >= DROPS).then(|| now + quiet_time(self.drops));
    }

    /// Takes the word of another node for a number of ends. It holds transactions back no longer
    /// than the first such end here would.
    fn believe(&mut self, now: Instant, drops: u32) {
        self.drops = drops - 1;
        self.drop(now);
        self.quiet_until = self.quiet_until.map(|until| until.min(now + QUIET));
    }

    /// Returns from which position it lacks transactions, if it has not been away for so long that
    /// it is a newcomer.
    fn lacks_from(&self, now: Instant) -> Option<u64> {
        let fresh = |(_, since): &(u64, Instant)| now.saturating_duration_since(*since) < KEPT;
        [self.behind, self.told_behind].into_iter().flatten().filter(fresh).map(|(from, _)| from).min()
    }

    /// Takes the word of others that it lacks transactions from a position on, unless they said so
    /// before; returns whether that is new.
    fn tell_behind(&mut self, now: Instant, from: u64) -> bool {
        let new = self.told_behind.is_none_or(|(_, since)| now.saturating_duration_since(since) >= KEPT);
        if new {
            self.told_behind = Some((from, now));
        }
        new
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }

    /// Notes by which link we heard that a node serves the peer, if one does; returns the last.
    fn set_server(&mut self, now: Instant, by: Option<LinkId>) -> Option<LinkId> {
        self.served_since = by.and(self.served_since.or(Some(now)));
        std::mem::replace(&mut self.served_by, by)
    }

    /// Notes that the program checks types.
    fn clear(&mut self, now: Instant) {
        (self.drops, self.quiet_until, self.doubted, self.changed) = (0, None, None, Some(now));
    }
}

/// Returns whether another node serves an exercise peer, as far as is known.
fn is_served(peers: &BTreeMap<PeerAddress, Record>, address: &PeerAddress) -> bool {
    peers.get(address).is_some_and(|record| record.served_by.is_some())
}

/// Returns how long a peer gets handshakes only after a number of ends in a row.
fn quiet_time(drops: u32) -> Duration {
    let doublings = drops.saturating_sub(DROPS).min(8);
    QUIET.saturating_mul(1 << doublings).min(QUIET_MOST)
}

/// Replays what an exercise peer lacks, if anything.
fn resume(cx: &mut Context, links: &mut LinkTable, store: &Store, replay: &mut Replay, link: LinkId) {
    let from = links.get(link).and_then(|open| open.acknowledged);
    if let Some(from) = from.filter(|from| *from < store.index().coming_end()) {
        // Those that wait for the disk are pushed at the end of each replay.
        replay.resume(cx, links, link, from.min(store.index().end()));
        if let Some(open) = links.get_mut(link) {
            open.note_payload(cx, link);
        }
    }
}

fn leads_to(link: &Link, address: &PeerAddress) -> bool {
    matches!(&link.state, LinkState::ExerciseOutbound { address: at } if at == address)
}

#[cfg(test)]
mod tests;
