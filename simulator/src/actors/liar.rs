//! Native peers that lie, one lie for each kind of message.
//!
//! A liar runs the real core, so it handshakes, answers and holds the pool as all others do. Its
//! lies change what goes out, answer some messages in place of the core, and send more every half
//! second. They stay below what a peer is banned for, where a lie can.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId, Nonce, Session};
use meshpool_proto::signature::{Purpose, Seal};
use meshpool_proto::transaction::{Origin, Transaction, TransactionId};
use meshpool_proto::wire::{
    Ack, AckStatus, Beacon, Broadcast, BroadcastFrame, CallBack, Declined, DialBack, ExerciseUpdate, Find, Found,
    Handshake, ImageInfo, Join, Message, NetworkFrame, NodeInfo, OtherSet, Sample, SearchId, Step, Summary, SyncFrame,
    TransactionFrame, Want, exercise_frame, graft_frame, prune_frame, want_frame,
};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use rand::RngExt;

use super::lie::Lie;
use super::simulated_key::signature;
use crate::net::event::Event;
use crate::net::frame_cache::Parsed;
use crate::net::network::{Network, Queue};
use crate::net::wire::Item;

/// How often a liar sends something of its own accord.
const TICK: Duration = Duration::from_millis(500);
/// How many items a trickle brings in each tick: just what a source must bring.
const TRICKLE: usize = 4;
/// How many transactions that do not exist a liar claims in one answer.
const INVENTED: usize = 50;
/// How many transactions a liar says to hold.
const CLAIMED: u64 = 1_000_000_000;
/// The bytes of an invented transaction, and of one in a stream: so the stream has 9 kB a second.
const BYTES: usize = 200;
const STREAM_BYTES: usize = 4_500;
/// How many nodes, addresses, origins and ids it invents at once.
const MANY: usize = 50;
/// How many nodes it announces in each tick, and how many of them with an address: the others cause
/// no dials, of which the checks allow so many a second.
const NODES: usize = 10;
const NODES_WITH_ADDRESS: usize = 1;

/// The state of a liar. One without lies is honest.
#[derive(Debug, Default)]
pub(super) struct Liar {
    lies: BTreeSet<Lie>,
    node: Option<(NodeId, Session)>,
    /// What its HANDSHAKE said of it.
    info: Option<NodeInfo>,
    /// Links that await its pool.
    streams: BTreeSet<LinkId>,
    /// Positions that it trickles on a link.
    trickles: BTreeMap<LinkId, VecDeque<u64>>,
    ticks: u64,
    invented: u64,
}

impl Liar {
    pub(super) fn lies(&self) -> &BTreeSet<Lie> {
        &self.lies
    }

    fn tells(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    /// Has it tell these lies.
    pub(super) fn set_lies(&mut self, lies: impl IntoIterator<Item = Lie>) {
        self.lies = lies.into_iter().collect();
    }

    /// Begins with a run of its node.
    pub(super) fn start(&mut self, net: &mut Network, actor: usize, node: NodeId, session: Session) {
        self.node = Some((node, session));
        self.streams.clear();
        self.trickles.clear();
        if !self.lies.is_empty() {
            self.begin(net, actor);
        }
    }

    /// Sends what it sends of its own accord from now on.
    pub(super) fn begin(&self, net: &mut Network, actor: usize) {
        net.clock.after(TICK.mul_f64(net.rng.random()), Event::Lie(net.process(actor)));
    }

    /// Returns whether what the core sends from its pool is held back.
    pub(super) fn holds_back(&self) -> bool {
        [Lie::Count, Lie::Stream, Lie::Answers, Lie::Trickle, Lie::Withheld].iter().any(|lie| self.tells(*lie))
    }

    /// Returns what goes out in place of a frame of the core, if anything.
    pub(super) fn outgoing(&mut self, net: &mut Network, frame: Frame) -> Option<Frame> {
        if self.lies.is_empty() {
            return Some(frame);
        }
        match net.frames.parse(&frame) {
            Parsed::Forwarded(..) | Parsed::Other(Ok(Message::Transaction(_))) if self.tells(Lie::Withheld) => None,
            Parsed::Forwarded(_, forwarded) if self.tells(Lie::Origins) && net.rng.random() => {
                let origin = Origin::Node(NodeId(net.rng.random()));
                forwarded.transaction.ok().map(|transaction| transaction.with_origin(&origin).frame().clone())
            }
            Parsed::Other(Ok(Message::Broadcast(_))) if self.tells(Lie::Broadcasts) => None,
            Parsed::Other(Ok(Message::Sync(SyncFrame::Summary(_)))) if self.claims() => {
                Some(SyncFrame::Summary(claim(net)).to_frame())
            }
            Parsed::Other(Ok(Message::Sync(SyncFrame::Reply(_)))) if self.claims() => {
                Some(SyncFrame::Reply(claim(net)).to_frame())
            }
            Parsed::Other(Ok(Message::Handshake(handshake))) if self.tells(Lie::Handshakes) => {
                self.info = handshake.node.clone().map(|node| NodeInfo { proof: None, ..node });
                let invented = (0..MANY).map(|_| invented_address(net));
                let addresses = handshake.addresses.iter().cloned().chain(invented.collect::<Vec<_>>()).collect();
                Some(Handshake { addresses, ..handshake }.to_frame())
            }
            Parsed::Other(Ok(Message::Peers(sample))) if self.tells(Lie::Peers) => {
                let addresses = (0..8).map(|_| invented_address(net)).collect();
                Some(Sample { addresses, free: Some(100), ..sample }.to_frame())
            }
            _ => Some(frame),
        }
    }

    fn claims(&self) -> bool {
        self.tells(Lie::Count) || self.tells(Lie::Stream)
    }

    /// Handles a frame in place of the core, which holds `pool`. Returns whether it did.
    pub(super) fn incoming(
        &mut self,
        net: &mut Network,
        actor: usize,
        link: LinkId,
        frame: &Parsed,
        pool: &[Transaction],
    ) -> bool {
        let Parsed::Other(Ok(message)) = frame else { return false };
        match message {
            Message::Sync(SyncFrame::Everything) if self.claims() => {
                self.streams.insert(link);
                true
            }
            Message::Sync(SyncFrame::Everything) if self.tells(Lie::Trickle) => {
                self.trickles.insert(link, (0..pool.len() as u64).collect());
                true
            }
            Message::Sync(SyncFrame::Everything) => self.holds_back(),
            Message::Sync(SyncFrame::Ask(_)) if self.tells(Lie::Silence) => true,
            Message::Sync(SyncFrame::Ask(step)) if self.tells(Lie::Answers) => {
                if let Some(message) = false_answer(net, step, pool) {
                    send(net, actor, link, SyncFrame::Answer(Step { number: step.number, message }).to_frame());
                }
                true
            }
            Message::Want(ids) if self.tells(Lie::Trickle) => {
                let wanted: BTreeSet<&TransactionId> = ids.iter().collect();
                let positions = pool.iter().enumerate().filter(|(_, held)| wanted.contains(&held.id()));
                let positions: Vec<u64> = positions.map(|(position, _)| position as u64).collect();
                self.trickles.entry(link).or_default().extend(positions);
                true
            }
            Message::Want(_) => self.holds_back(),
            Message::Broadcast(heard) if self.tells(Lie::Broadcasts) && heard.synced.is_none() => {
                self.rebroadcast(net, actor, &heard.broadcast);
                false
            }
            Message::Find(find) if self.tells(Lie::Found) => {
                self.answer_find(net, actor, link, find);
                true
            }
            _ => false,
        }
    }

    /// Sends another text under the id of a broadcast, with its own signature.
    fn rebroadcast(&self, net: &mut Network, actor: usize, heard: &Broadcast) {
        let Some((node, session)) = self.node else { return };
        let canonical = format!(r##"{{"id":"{}","message":"lie","time":1,"title":"#BROADCAST"}}"##, heard.id);
        let seal = Seal { signature: signature(node, Purpose::Broadcast, &canonical), canonical };
        let broadcast = Broadcast { message: "lie".into(), time: 1.0, seal: Some(Arc::new(seal)), ..heard.clone() };
        let origin = Some(Origin::Node(node));
        let frame = BroadcastFrame { broadcast, origin, ack: false, synced: None }.to_frame(session);
        send_all(net, actor, &frame);
    }

    fn answer_find(&self, net: &mut Network, actor: usize, link: LinkId, find: &Find) {
        let Some(name) = find.name.clone().or_else(|| "cat.png".parse().ok()) else { return };
        for _ in 0..8 {
            let images = vec![ImageInfo { name: name.clone(), size: 1, sha256: Some(net.rng.random()) }];
            let (node, address) = (NodeId(net.rng.random()), invented_address(net));
            send(net, actor, link, Found { id: find.id, node, address, images }.to_frame());
        }
    }

    /// Sends what it sends of its own accord.
    pub(super) fn on_tick(&mut self, net: &mut Network, actor: usize, pool: &[Transaction]) {
        self.ticks += 1;
        net.clock.after(TICK, Event::Lie(net.process(actor)));
        let Some((_, session)) = self.node else { return };
        let open: BTreeSet<LinkId> = links(net, actor).into_iter().collect();
        self.streams.retain(|link| open.contains(link));
        self.trickles.retain(|link, positions| open.contains(link) && !positions.is_empty());
        for link in self.streams.clone() {
            // Few and long: many would fill all pools, which is no lie.
            let stream = self.tells(Lie::Stream);
            if stream || self.ticks.is_multiple_of(3) {
                self.send_invented(net, actor, link, session, if stream { STREAM_BYTES } else { BYTES });
            }
        }
        for (link, positions) in &mut self.trickles {
            for position in positions.drain(..TRICKLE.min(positions.len())) {
                let Some(held) = usize::try_from(position).ok().and_then(|position| pool.get(position)) else {
                    continue;
                };
                send(net, actor, *link, TransactionFrame::sync_frame(held.body(), session));
            }
        }
        for link in &open {
            if self.tells(Lie::Answers) && self.ticks.is_multiple_of(3) {
                self.send_invented(net, actor, *link, session, BYTES);
            }
            for lie in self.lies.clone() {
                self.tell(net, actor, *link, lie, pool);
            }
        }
    }

    fn send_invented(&mut self, net: &mut Network, actor: usize, link: LinkId, session: Session, bytes: usize) {
        let body = self.invent(actor, bytes);
        send(net, actor, link, TransactionFrame::sync_frame(&body, session));
    }

    /// Makes a transaction of some more than these bytes that nobody else has.
    fn invent(&mut self, actor: usize, bytes: usize) -> String {
        self.invented += 1;
        format!(r#"{{"amount":{},"fromAddress":"liar {actor}","note":"{}"}}"#, self.invented, "x".repeat(bytes))
    }

    /// Sends what one lie says on one link.
    fn tell(&mut self, net: &mut Network, actor: usize, link: LinkId, lie: Lie, pool: &[Transaction]) {
        let Some((node, session)) = self.node else { return };
        let rarely = self.ticks.is_multiple_of(20);
        match lie {
            Lie::Wants => {
                for _ in 0..10 {
                    let ids: Vec<_> = (0..MANY).map(|_| TransactionId(net.rng.random())).collect();
                    send(net, actor, link, want_frame(&ids));
                }
                let first = net.rng.random_range(0..pool.len().max(1));
                let held: Vec<_> = pool.iter().skip(first).take(MANY).map(Transaction::id).collect();
                send(net, actor, link, want_frame(&held));
            }
            Lie::Flood => {
                let body = self.invent(actor, BYTES);
                send(net, actor, link, TransactionFrame::client_frame(&body, false));
            }
            Lie::Announcements => {
                for number in 0..NODES {
                    let frame = invented_announcement(net, number < NODES_WITH_ADDRESS);
                    send(net, actor, link, frame);
                }
            }
            Lie::Members if rarely => {
                send(net, actor, link, NetworkFrame::Question { after: None }.to_frame());
                send(net, actor, link, SyncFrame::Everything.to_frame_of(OtherSet::Nodes));
            }
            Lie::Status if rarely => {
                send(net, actor, link, Frame::from(r#"{"type":"STATUS","data":{}}"#));
            }
            Lie::Acks if rarely => {
                let id = TransactionId(net.rng.random()).to_string();
                send(net, actor, link, Ack { id, status: AckStatus::Stored, reason: None, links: 9 }.to_frame());
            }
            Lie::Prunes => {
                let all: Vec<_> = (0..net.listening).filter_map(|actor| net.hosts[actor].identity).collect();
                let origins: Vec<_> = all.into_iter().map(|identity| Origin::Node(identity.node)).collect();
                send(net, actor, link, prune_frame(&origins));
            }
            Lie::Grafts => send(net, actor, link, graft_frame(&[])),
            Lie::Handshakes if self.ticks.is_multiple_of(4) => {
                let addresses: Vec<_> = (0..MANY).map(|_| invented_address(net)).collect();
                let node = self.info.clone();
                if node.is_some() {
                    send(net, actor, link, Handshake { addresses, dropped: 0, node }.to_frame());
                }
            }
            Lie::Finds => {
                for _ in 0..10 {
                    let find = Find { id: SearchId(net.rng.random()), name: None, hops: 32 };
                    send(net, actor, link, find.to_frame());
                }
            }
            Lie::Joins => {
                let join = Join { insist: true, want: Some(Want::Random), moved_by: None, root: Some(session) };
                if self.ticks.is_multiple_of(4) {
                    send(net, actor, link, join.to_frame());
                }
            }
            Lie::Declines if rarely => {
                let addresses = (0..8).map(|_| invented_address(net)).collect();
                let declined = Declined { addresses, dropped: 0, retry_after: 600, reason: None, root: Some(session) };
                send(net, actor, link, declined.to_frame());
            }
            Lie::Beacons => {
                let root = Session::from_random([0; 16]);
                send(net, actor, link, Beacon { root, seq: self.ticks }.to_frame());
            }
            Lie::DialBacks if rarely => {
                if let Some(other) = net.other(actor, link).filter(|other| *other < net.listening) {
                    let address = crate::net::address::of(other);
                    send(net, actor, link, DialBack { address, error: Some("a lie".to_owned()) }.to_frame());
                }
            }
            Lie::Exercise if self.ticks.is_multiple_of(4) => {
                let news = |event| ExerciseUpdate {
                    address: invented_address(net),
                    drops: Some(1),
                    lacks: Some(1_000),
                    event: self.ticks * 8 + event,
                };
                let news: Vec<_> = (0..8).map(news).collect();
                send(net, actor, link, exercise_frame(&news));
            }
            Lie::CallBacks => {
                for _ in 0..10 {
                    let nonce = Nonce(net.rng.random());
                    send(net, actor, link, CallBack { nonce }.to_frame());
                }
            }
            Lie::Origins if rarely => {
                // Its neighbour's own transactions come from somebody else.
                if let Some(held) = pool.last() {
                    let held = held.clone().with_origin(&Origin::Node(node));
                    send(net, actor, link, held.frame().clone());
                }
            }
            _ => {}
        }
    }
}

/// The negentropy answer of a node that holds the pool and transactions that do not exist.
fn false_answer(net: &mut Network, step: &Step, pool: &[Transaction]) -> Option<Vec<u8>> {
    let mut claimed = NegentropyStorageVector::with_capacity(pool.len() + INVENTED);
    let held: BTreeSet<_> = pool.iter().map(|stored| (stored.time(), stored.id())).collect();
    let invented = (0..INVENTED).map(|_| (net.rng.random_range(1_600_000_000..1_800_000_000), net.rng.random()));
    for (time, id) in held.into_iter().map(|(time, id)| (time, id.0)).chain(invented) {
        claimed.insert(time, Id::from_byte_array(id)).ok()?;
    }
    claimed.seal().ok()?;
    Negentropy::owned(claimed, 48 * 1024).ok()?.reconcile(&step.message).ok()
}

fn claim(net: &mut Network) -> Summary {
    let sum = (0..4).map(|_| format!("{:016x}", net.rng.random::<u64>())).collect();
    Summary { count: CLAIMED, sum }
}

/// An address at which nobody listens, in the scope of the simulated links.
fn invented_address(net: &mut Network) -> PeerAddress {
    let port = net.rng.random_range(50_000..=u16::MAX);
    let host = if net.is_public { format!("198.19.{}.{}", port >> 8, port & 255) } else { "localhost".to_owned() };
    PeerAddress::new(&host, port).expect("the host and the port are valid")
}

/// An ANNOUNCE of a node that does not exist, signed with its key.
fn invented_announcement(net: &mut Network, with_address: bool) -> Frame {
    let (node, session) = (NodeId(net.rng.random()), Session::from_random(net.rng.random()));
    let peer = NodeId(net.rng.random());
    let address = if with_address { format!(r#""address":"{}","#, invented_address(net)) } else { String::new() };
    let canonical = format!(
        r#"{{{address}"interval":4000000000,"links":1000,"maxPeers":null,"node":"{node}","nodes":4000000000,"peers":["{peer}"],"seq":1,"session":"{session}","since":1}}"#
    );
    let signature = signature(node, Purpose::Announce, &canonical);
    Frame::from(format!(r#"{{"type":"ANNOUNCE","data":{canonical},"signature":"{signature}"}}"#))
}

/// The links of an actor that are open.
fn links(net: &Network, actor: usize) -> Vec<LinkId> {
    let open = net.links(actor).filter(|end| net.wires.is_link(end.wire) && net.wires[*end].is_readable());
    open.map(|end| net.wires[end].link).collect()
}

fn send_all(net: &mut Network, actor: usize, frame: &Frame) {
    for link in links(net, actor) {
        send(net, actor, link, frame.clone());
    }
}

fn send(net: &mut Network, actor: usize, link: LinkId, frame: Frame) {
    if net.send(actor, link, Item::Text(frame), Queue::Payload).is_err() {
        net.note(actor, "unsent", link.0, "");
    }
}
