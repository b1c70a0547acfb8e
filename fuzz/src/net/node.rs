//! A core with its runtime and folder. The runtime does what the core's interface promises and no
//! more, and checks every output.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::limits;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::{Ack, AckStatus, Message, SearchId, TransactionFrame};
use meshpool_proto::{
    Config, Input, Lane, Node as Core, Output, RequestId, Retention, TopicInput, TopicOutput, TopicSettings,
};

use super::disk::Disk;
use crate::rules::{Monitor, Owner, Violation, check_addresses, check_degree};
use crate::{names, planted};

/// A core, its runtime and its folder.
pub(crate) struct Node {
    pub(crate) core: Core,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// Dials without an answer.
    pub(crate) dials: Vec<PeerAddress>,
    /// Probes without an answer.
    pub(crate) probes: Vec<(LinkId, PeerAddress)>,
    /// Searches in the node's own image folder without an answer.
    pub(crate) image_searches: Vec<SearchId>,
    pub(crate) disk: Disk,
    pub(super) config: Config,
    pub(super) monitor: Monitor,
    /// All transactions that were received or submitted.
    offered: HashSet<TransactionId>,
    requests: HashMap<RequestId, TransactionId>,
    replays: BTreeMap<LinkId, Replay>,
}

/// An open link, as the runtime sees it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Its queue takes no payload.
    pub(super) is_full: bool,
    /// The core closed it, and its end was not reported yet.
    pub(super) is_closing: bool,
    /// It is gone, and its end is about to be reported.
    pub(super) has_ended: bool,
}

#[derive(Debug)]
struct Replay {
    from: u64,
    until: Option<u64>,
    synced: bool,
}

/// What an output leads to outside of the node.
pub(super) enum Effect {
    Dial(PeerAddress),
    Frame(LinkId, Frame),
    Ping(LinkId),
    Close(LinkId),
    /// The next input of the node.
    Next(Input),
    /// An input of the node after those that are queued.
    Later(Input),
}

/// Panics if a rule is broken, so that the fuzzer sees it.
#[track_caller]
fn keep(result: Result<(), Violation>) {
    if let Err((rule, what)) = result {
        panic!("{rule:?} broken: {what}");
    }
}

impl Node {
    pub(super) fn new(now: Instant, config: Config, pool: Vec<Transaction>) -> Self {
        let held: Vec<_> = pool.iter().map(|transaction| (transaction.id(), transaction.time())).collect();
        let mut disk = Disk::default();
        pool.into_iter().for_each(|transaction| disk.append(transaction));
        let mut core = Core::new(now, config.clone(), held);
        let settings = TopicSettings {
            name: names::topic(),
            retention: Retention { count: Some(4), ..Retention::default() },
            time_of_day: 1_700_000_000,
            place: "topics/a.json".to_owned(),
        };
        core.declare_topic(settings, Vec::new());
        Self {
            core,
            links: BTreeMap::new(),
            dials: Vec::new(),
            probes: Vec::new(),
            image_searches: Vec::new(),
            disk,
            config,
            monitor: Monitor::default(),
            offered: HashSet::new(),
            requests: HashMap::new(),
            replays: BTreeMap::new(),
        }
    }

    /// Gives an input to the core; `age` is the time since the start. Returns whether the runtime
    /// did so.
    pub(super) fn handle(&mut self, now: Instant, age: Duration, input: Input) -> bool {
        keep(self.monitor.on_input(age));
        match &input {
            // The runtime drops what still arrives on a link whose end was reported.
            Input::Received { link, .. }
            | Input::Replayed { link, .. }
            | Input::QueueFull { link }
            | Input::Pong { link }
                if !self.links.contains_key(link) =>
            {
                return false;
            }
            Input::Received { message: Ok(Message::Transaction(frame)), .. } => {
                self.offered.extend(frame.transaction.as_ref().ok().map(Transaction::id));
            }
            Input::Submit { request, transaction } => {
                self.offered.insert(transaction.id());
                self.requests.insert(*request, transaction.id());
            }
            Input::PoolAdded { transactions } => {
                transactions.iter().for_each(|transaction| self.disk.append(transaction.clone()));
            }
            Input::LinkClosed { link, .. } => {
                self.links.remove(link);
                self.replays.remove(link);
            }
            Input::PoolRemoved { ids } => self.disk.present.retain(|id, _| !ids.contains(id)),
            _ => {}
        }
        self.core.handle(now, input);
        true
    }

    /// Checks the deadlines after a timeout; `age` and `next` are times since the start.
    pub(super) fn on_timeout(&mut self, age: Duration, next: Option<Duration>) {
        keep(self.monitor.on_timeout(age, next, || 0));
    }

    /// Checks an output and carries it out.
    pub(super) fn carry_out(&mut self, output: Output) -> Vec<Effect> {
        match output {
            Output::Dial { address, .. } => {
                keep(self.monitor.on_dial(&address, self.config.limits.dials_in_flight));
                return vec![Effect::Dial(address)];
            }
            Output::Probe { link, address, .. } => {
                keep(self.monitor.on_probe(self.config.limits.dials_in_flight));
                self.probes.push((link, address));
            }
            Output::Send { links, frame, lane } => {
                assert!(frame.len() <= limits::MESSAGE_BYTES, "too long a message: {frame:?}");
                return links.into_iter().map(|link| self.send(link, frame.clone(), Some(lane))).collect();
            }
            Output::Ping { link } => {
                assert!(self.links.contains_key(&link), "a ping on {link:?}, whose end was reported");
                return vec![Effect::Ping(link)];
            }
            Output::Close { link, reason, .. } => {
                assert!(reason.len() <= limits::CLOSE_REASON_BYTES, "{reason:?}");
                let open = self.links.get_mut(&link).unwrap_or_else(|| panic!("{link:?} is closed already"));
                assert!(!std::mem::replace(&mut open.is_closing, true), "{link:?} is closed twice");
                self.replays.remove(&link);
                return vec![Effect::Close(link)];
            }
            Output::Store { transaction } => return self.store(transaction),
            Output::Replay { link, from, until, synced } => {
                assert!(self.links.contains_key(&link), "a replay on {link:?}, whose end was reported");
                self.replays.insert(link, Replay { from, until, synced });
                return self.replay(link);
            }
            Output::ReplayPositions { link, positions } => {
                assert!(positions.is_sorted() && self.links.contains_key(&link));
                // Planted: a row that is never found.
                let wanted = positions.iter().filter(|position| !planted::is_due(|| **position == 13));
                let found = wanted.filter_map(|position| self.disk.at(*position));
                let session = self.config.session;
                let frames = found.map(|found| TransactionFrame::sync_frame(found.body(), session));
                return frames.map(|frame| self.send(link, frame, None)).collect();
            }
            Output::SubmissionStored { request } => {
                let id = self.requests.remove(&request).expect("what is stored was submitted");
                assert!(self.disk.was_written(&id), "{id} is reported as stored before it is on disk");
            }
            Output::Trace(_) => {}
            Output::FindLocalImages { search, .. } => self.image_searches.push(search),
            Output::SavePeerCache { addresses, exercise } => {
                assert!(addresses.len() <= limits::PEER_CACHE && exercise.len() <= limits::PEER_CACHE);
            }
            Output::CallBack { address, .. } => keep(self.monitor.on_call_back(&address)),
            Output::Mark { link, .. } => {
                assert!(self.links.contains_key(&link), "a mark on {link:?}, whose end was reported");
            }
            // What the topic stores is not read again: its rows are those of a file, as the pool's.
            Output::Topic { topic, output } => {
                let input = match output {
                    TopicOutput::Store { transaction } => TopicInput::Stored { ids: vec![transaction.id()] },
                    TopicOutput::Replay { link, until, from, .. } => {
                        assert!(self.links.contains_key(&link), "a replay on {link:?}, whose end was reported");
                        TopicInput::Replayed { link, position: until.unwrap_or(from) }
                    }
                    TopicOutput::ReplayPositions { link, positions } => {
                        assert!(positions.is_sorted() && self.links.contains_key(&link));
                        return Vec::new();
                    }
                    TopicOutput::Forget { .. } => return Vec::new(),
                };
                return vec![Effect::Later(Input::Topic { topic, input })];
            }
            Output::Submitted { .. }
            | Output::BroadcastSent { .. }
            | Output::ImageOffer { .. }
            | Output::ImageSearchOver { .. }
            | Output::DropQueued { .. }
            | Output::AdvertiseSlots { .. }
            | Output::PauseReading { .. }
            | Output::Notify(_) => {}
        }
        Vec::new()
    }

    /// Queues a frame; without a lane it is a row of the pool file.
    fn send(&self, link: LinkId, frame: Frame, lane: Option<Lane>) -> Effect {
        let open = self.links.get(&link);
        let open = open.unwrap_or_else(|| panic!("{link:?} is sent to, and its end was reported: {frame:?}"));
        if open.is_full && lane == Some(Lane::Payload) {
            Effect::Next(Input::QueueFull { link })
        } else {
            Effect::Frame(link, frame)
        }
    }

    fn store(&mut self, transaction: Transaction) -> Vec<Effect> {
        let id = transaction.id();
        assert!(self.offered.contains(&id), "{id} was neither received nor submitted");
        // Planted: as though nobody had removed it from the file.
        let held = self.disk.has(&id) || planted::is_due(|| self.disk.was_written(&id));
        assert!(!held, "{id} is stored twice");
        self.disk.waiting.push_back(transaction);
        if !self.disk.is_immediate {
            return Vec::new();
        }
        self.disk.write(usize::MAX);
        vec![Effect::Later(Input::Stored { ids: vec![id] })]
    }

    /// Replays the pool file on all links that wait for it.
    pub(super) fn replay_all(&mut self) -> Vec<Effect> {
        let links: Vec<_> = self.replays.keys().copied().collect();
        links.into_iter().flat_map(|link| self.replay(link)).collect()
    }

    /// Sends what the core wants replayed on a link, if its queue has room.
    pub(super) fn replay(&mut self, link: LinkId) -> Vec<Effect> {
        if self.links.get(&link).is_none_or(|link| link.is_full || link.is_closing || link.has_ended) {
            return Vec::new();
        }
        let Some(Replay { from, until, synced }) = self.replays.remove(&link) else { return Vec::new() };
        let end = until.unwrap_or(u64::MAX).min(self.disk.len());
        let session = self.config.session;
        let frame = |body| {
            if synced {
                TransactionFrame::sync_frame(body, session)
            } else {
                TransactionFrame::client_frame(body, false)
            }
        };
        let rows = (from..end).filter_map(|position| self.disk.at(position));
        let mut effects: Vec<_> = rows.map(|row| self.send(link, frame(row.body()), None)).collect();
        effects.push(Effect::Later(Input::Replayed { link, position: end.max(from) }));
        effects
    }

    /// Checks an ACK: what it calls stored must be on disk.
    pub(super) fn check_ack(&self, ack: &Ack) {
        if let Ok(id) = ack.id.parse::<TransactionId>() {
            // A duplicate may be one of a broadcast, which is on no disk.
            let is_duplicate = ack.status == AckStatus::Duplicate && self.offered.contains(&id);
            let due = ack.status == AckStatus::Stored || is_duplicate;
            assert!(!due || self.disk.was_written(&id), "{ack:?} is sent before {id} is on disk");
        }
    }

    /// Checks what the core reports about its links and addresses.
    pub(super) fn check(&self) {
        let own = &self.config.address;
        // Only strangers know whose address is whose, so the check is that any link is open.
        let other = if self.links.is_empty() { Owner::NotLinked } else { Owner::Linked };
        keep(check_addresses(&self.core, own, |address| if address == own { Owner::Itself } else { other }));
        keep(check_degree(&self.core, self.config.max_peers));
        let (peers, links) = (self.core.linked_peers(), self.links.len());
        assert!(peers <= links, "{peers} peers on {links} links");
    }

    /// Checks the STATUS of the core.
    pub(super) fn check_status(&self, now: Instant) {
        let Config { limits: bounds, known_peers, remembered_peers, .. } = &self.config;
        let present: Vec<TransactionId> = self.disk.present.keys().copied().collect();
        let status = self.core.status(now, &present);
        let most = bounds.peer_table + known_peers.len() + remembered_peers.len() + 1;
        assert!(status.known <= most, "{} addresses are known", status.known);
        assert!(status.peers.len() <= limits::STATUS_PEERS);
        assert_eq!(status.held, present.len(), "what is on disk is held");
        let attempting: BTreeSet<_> = status.attempting.iter().collect();
        assert!(status.connected.iter().all(|address| !attempting.contains(address)));
    }
}
