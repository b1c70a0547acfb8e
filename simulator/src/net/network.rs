//! The network between the actors: hosts, dials, wires, delays, partitions.
//!
//! It delivers in order per direction, with delay and jitter. A frame sent before a clean close
//! arrives; one in flight on a cut wire is lost; each end learns once that its link is over. While
//! two hosts are partitioned nothing arrives and nothing is lost: it arrives when the partition
//! ends, unless an end has given up by then.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use meshpool_proto::Challenge;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, NodeId, Nonce, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::address;
use super::clock::Clock;
use super::delivery_stats::DeliveryStats;
use super::endpoint::{Endpoint, Nat, Relay};
use super::event::Event;
use super::frame_cache::FrameCache;
use super::trace_hash::TraceHash;
use super::wire::{Dial, End, EndId, Item, Path, Process, Purpose, State, Wires};

/// How many bytes are in flight in one direction of a wire at most, as in socket buffers.
const WINDOW_BYTES: usize = 64 * 1024;
/// How fast an actor reads unless a fault slows it down, in bytes per second on each wire.
pub const READ_RATE: u64 = 50_000_000;

/// What the network reports to an actor.
#[derive(Debug)]
pub enum LinkEvent {
    /// A link is open. If the actor dialled it: the address, and the identity in the upgrade
    /// response.
    Opened(LinkId, Option<(PeerAddress, Option<UpgradeIdentity>)>),
    /// A text frame arrived.
    Text(LinkId, Frame),
    /// The pong to a mark arrived.
    Marked(LinkId, u64),
    /// A pong arrived.
    Pong(LinkId),
    /// The send queue of a link became shorter.
    Drained(LinkId),
    /// A link is over, with the cause.
    Closed(LinkId, String),
    /// A dial failed, with the error.
    DialFailed(PeerAddress, String),
    /// A probe for a link ended, with the identity of who answered, and whether it proves its id.
    Probed(LinkId, PeerAddress, Option<UpgradeIdentity>, bool),
}

/// Why an item cannot be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The link never existed, or its end was reported to the actor.
    NoLink,
    /// The payload queue is full.
    QueueFull,
}

/// The queue of a link that an item goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Written first. Overflowing it ends the link.
    Control,
    /// Bounded. An item that does not fit is rejected.
    Payload,
}

/// A machine with one process.
#[derive(Debug)]
pub struct Host {
    /// The process runs and listens.
    pub is_up: bool,
    /// The machine can be reached.
    has_power: bool,
    /// No connection comes in, as behind NAT: a dial to it times out.
    pub is_shielded: bool,
    /// What its packets pass, for paths between endpoints.
    pub nat: Nat,
    /// Its endpoint for links by node id, if it has one.
    pub endpoint: Option<Endpoint>,
    /// The relay that it serves for others, if it does.
    pub relay: Option<Relay>,
    /// How often the process was started.
    pub run: u32,
    /// The identity in its upgrade responses.
    pub identity: Option<UpgradeIdentity>,
    /// Its upgrade responses have a nonce.
    pub proves: bool,
    /// Its side of a partition.
    pub group: u8,
    /// How many bytes per second it reads on one wire.
    pub read_rate: u64,
    /// Its end of each link of this run, by link number.
    links: Vec<EndId>,
}

/// The quality of all paths.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// The delay of every item.
    pub delay: Duration,
    /// The maximum random addition to the delay.
    pub jitter: Duration,
    /// The fraction of dials that are refused although somebody listens.
    pub refused: f64,
}

/// Hosts, wires and the clock.
#[derive(Debug)]
pub struct Network {
    /// Virtual time and the scheduled events.
    pub clock: Clock<Event>,
    /// The source of every random choice of the network.
    pub rng: Xoshiro256PlusPlus,
    /// Print every step to standard error.
    print: bool,
    /// The hash over all inputs and outputs of the cores, where it is computed.
    pub trace_hash: Option<TraceHash>,
    /// The hosts, by actor.
    pub hosts: Vec<Host>,
    /// All wires of the run.
    pub wires: Wires,
    /// The quality of all paths.
    pub conditions: Conditions,
    /// The limits that the nodes and their runtimes keep.
    pub limits: Limits,
    /// How many actors listen: the first ones.
    pub listening: usize,
    /// How many links listening actors dialled so far.
    pub dials: u64,
    /// How many bytes all ends wrote so far.
    pub bytes: u64,
    /// Every link appears to come from a public IP address, another one for each actor. Nodes then
    /// ignore the loopback addresses of this network (the core's address scopes), so the links stay
    /// those of the known-peers files.
    pub is_public: bool,
    /// Each actor has an IP address of its own, and some are behind NATs.
    pub has_nats: bool,
    /// The actors that break rules on purpose; only they may be banned.
    pub liars: BTreeSet<usize>,
    /// Parsed frames.
    pub frames: FrameCache,
    /// How transactions spread, where it is measured.
    pub stats: Option<DeliveryStats>,
    /// Ends that a partition may hold up.
    held_up: BTreeSet<EndId>,
    /// For a test of the checks: TRANSACTION frames to this actor are lost.
    pub lose_transactions_to: Option<usize>,
}

impl Network {
    /// A network without hosts.
    pub fn new(seed: u64, limits: Limits, print: bool) -> Self {
        Self {
            clock: Clock::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            print,
            trace_hash: None,
            hosts: Vec::new(),
            wires: Wires::default(),
            conditions: Conditions { delay: Duration::from_millis(1), jitter: Duration::from_millis(4), refused: 0.0 },
            limits,
            listening: 0,
            dials: 0,
            bytes: 0,
            is_public: false,
            has_nats: false,
            liars: BTreeSet::new(),
            frames: FrameCache::default(),
            stats: None,
            held_up: BTreeSet::new(),
            lose_transactions_to: None,
        }
    }

    /// Prints a step of an actor, if steps are printed; `usize::MAX` stands for no actor.
    pub fn note(&self, actor: usize, what: &str, number: u64, text: impl Display) {
        if self.print {
            let short: String = text.to_string().chars().take(240).collect();
            let who = if actor == usize::MAX { "all".to_owned() } else { format!("node {actor}") };
            let seconds = self.clock.now().as_secs_f64();
            measuring::note(format_args!("{seconds:>12.6} s  {who:<9} {what:<12} {number:<6} {short}"));
        }
    }

    /// Calls `record` with the trace hash and the time, if the hash is computed.
    pub fn hash(&mut self, record: impl FnOnce(&mut TraceHash, Duration)) {
        if let Some(hash) = &mut self.trace_hash {
            record(hash, self.clock.now());
        }
    }

    /// The actor that listens at an address, whether it runs or not.
    pub fn target(&self, address: &PeerAddress) -> Option<usize> {
        if let Some(node) = address.node() {
            return self.actor_of(node);
        }
        address::actor_at(address).filter(|actor| *actor < self.listening)
    }

    /// Returns the actor of a node.
    pub fn actor_of(&self, node: NodeId) -> Option<usize> {
        self.hosts.iter().position(|host| host.identity.is_some_and(|identity| identity.node == node))
    }

    /// Starts a process on its host.
    pub fn start(&mut self, actor: usize, identity: Option<UpgradeIdentity>) {
        let host = &mut self.hosts[actor];
        (host.is_up, host.has_power) = (true, true);
        host.run += 1;
        host.identity = identity;
        host.links.clear();
        host.relay.iter_mut().for_each(|relay| relay.run += 1);
        host.endpoint.iter_mut().for_each(Endpoint::start);
    }

    /// The current or last run of an actor's process.
    pub fn process(&self, actor: usize) -> Process {
        Process { actor, run: self.hosts[actor].run }
    }

    /// Whether a run of a process is the current one.
    fn runs(&self, process: Process) -> bool {
        let host = &self.hosts[process.actor];
        host.is_up && host.run == process.run
    }

    /// Adds a machine on which nothing runs.
    pub fn add_host(&mut self) {
        self.hosts.push(Host {
            is_up: false,
            has_power: true,
            is_shielded: false,
            nat: Nat::None,
            endpoint: None,
            relay: None,
            run: 0,
            identity: None,
            proves: false,
            group: 0,
            read_rate: READ_RATE,
            links: Vec::new(),
        });
    }

    /// Kills a process. Its connections are reset, unless the machine loses power too.
    pub fn stop(&mut self, actor: usize, power_lost: bool) {
        self.hosts[actor].is_up = false;
        self.hosts[actor].has_power = !power_lost;
        for end in std::mem::take(&mut self.hosts[actor].links) {
            if self.wires[end].state == State::Closed {
                continue;
            }
            self.wires[end].shut();
            if self.wires.path(end.wire).is_iroh() {
                // No system says it for the process: the other end only hears nothing any more.
                self.wires[end].vanished = true;
            } else if !power_lost {
                self.launch(end, Item::Reset, Duration::ZERO);
            }
        }
    }

    /// Dials an address.
    pub fn dial(&mut self, actor: usize, address: PeerAddress, purpose: Purpose) {
        let by_peer = actor < self.listening;
        self.dials += u64::from(by_peer && matches!(purpose, Purpose::Link));
        let deadline = self.clock.now() + self.limits.dial_timeout;
        let target = self.target(&address);
        let dial = Dial { from: self.process(actor), target, address, purpose, deadline };
        let delay = self.delay();
        self.clock.after(delay, Event::Request(Box::new(dial)));
    }

    /// Queues an item on a link.
    pub fn send(&mut self, actor: usize, link: LinkId, item: Item, queue: Queue) -> Result<(), SendError> {
        let id = self.end_id(actor, link).ok_or(SendError::NoLink)?;
        let end = &mut self.wires[id];
        match end.state {
            State::Closed | State::Opening => return Err(SendError::NoLink),
            // A runtime ignores what is sent on a link that it is closing.
            State::Closing => return Ok(()),
            State::Open => {}
        }
        if queue == Queue::Control {
            if end.push_control(item) > self.limits.control_bytes {
                self.clock.after(Duration::ZERO, Event::Broken(id, "its control queue overflowed"));
                return Ok(());
            }
        } else if end.payload_bytes + item.bytes() > self.limits.queue_bytes {
            return Err(SendError::QueueFull);
        } else {
            end.push_payload(item);
        }
        self.wake(id);
        Ok(())
    }

    /// Closes a link after what is queued on it is written.
    pub fn close(&mut self, actor: usize, link: LinkId, reason: String) -> Result<(), SendError> {
        let id = self.end_id(actor, link).ok_or(SendError::NoLink)?;
        let end = &mut self.wires[id];
        match end.state {
            State::Closed | State::Opening => return Err(SendError::NoLink),
            State::Closing => return Ok(()),
            State::Open => end.state = State::Closing,
        }
        end.closing = Some(reason);
        self.wake(id);
        self.clock.after(self.limits.write_deadline, Event::Broken(id, "the close was not answered"));
        Ok(())
    }

    /// The end of a link, if the actor has it.
    pub fn end(&self, actor: usize, link: LinkId) -> Option<&End> {
        self.end_id(actor, link).map(|id| &self.wires[id])
    }

    /// The actor at the other end of a link.
    pub fn other(&self, actor: usize, link: LinkId) -> Option<usize> {
        self.end_id(actor, link).map(|id| self.wires[id.other()].actor)
    }

    /// The IP address from which the other end of a link appears to come.
    pub fn remote(&self, actor: usize, link: LinkId) -> IpAddr {
        let end = self.end_id(actor, link);
        end.map_or(Ipv4Addr::LOCALHOST.into(), |end| {
            self.ip_over(self.wires.path(end.wire), self.wires[end.other()].actor)
        })
    }

    pub(super) fn ip_of(&self, actor: usize) -> IpAddr {
        match u16::try_from(actor) {
            // The benchmark range of RFC 2544: public, and in use nowhere.
            Ok(actor) if self.is_public => {
                Ipv4Addr::from([198, 18, actor.to_be_bytes()[0], actor.to_be_bytes()[1]]).into()
            }
            _ => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// What an actor and the other end of a link sign, as the actor knows it.
    pub fn challenge(&self, actor: usize, link: LinkId, is_dialled: bool) -> Option<Challenge> {
        let id = self.end_id(actor, link)?;
        let nonce = |dialler: bool| {
            let mut nonce = [u8::from(dialler); 32];
            nonce[..8].copy_from_slice(&(id.wire as u64).to_be_bytes());
            Nonce(nonce)
        };
        let other = self.wires[id.other()].actor;
        Some(if is_dialled {
            let answered = self.hosts[other].proves.then(|| nonce(false));
            Challenge::Dialled { nonce: nonce(true), answered, ip: self.ip_of(other) }
        } else {
            let port = self.wires.dial(id.wire).address.port();
            Challenge::Accepted { nonce: nonce(false), local: SocketAddr::new(self.ip_of(actor), port) }
        })
    }

    /// The actor's ends of its links in this run, open or not.
    pub fn links(&self, actor: usize) -> impl Iterator<Item = EndId> {
        self.hosts[actor].links.iter().copied()
    }

    pub(super) fn end_id(&self, actor: usize, link: LinkId) -> Option<EndId> {
        self.hosts[actor].links.get(usize::try_from(link.0).ok()?).copied()
    }

    /// Whether a partition or a lost machine is between two hosts.
    pub(super) fn is_blocked(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        a.group != b.group || !a.has_power || !b.has_power
    }

    pub(super) fn is_wire_blocked(&self, id: EndId) -> bool {
        let ends = [id, id.other()].map(|end| &self.wires[end]);
        ends.iter().any(|end| end.vanished) || self.is_path_blocked(self.wires.path(id.wire), ends.map(|end| end.actor))
    }

    /// Cuts a wire: what is in flight is lost, and both ends learn it after a delay.
    pub fn cut(&mut self, wire: usize) {
        for id in [EndId::dialler(wire), EndId::acceptor(wire)] {
            let end = &mut self.wires[id];
            end.in_flight.clear();
            end.in_flight_bytes = 0;
            end.held_back = 0;
            let delay = self.delay();
            self.clock.after(delay, Event::Broken(id, "connection reset"));
        }
    }

    /// Resumes what was held up, after a change of partitions or power.
    pub fn resume(&mut self) {
        for id in std::mem::take(&mut self.held_up) {
            if self.is_wire_blocked(id) {
                self.held_up.insert(id);
                continue;
            }
            self.wires[id].is_blocked = false;
            let delay = self.delay();
            for _ in 0..std::mem::take(&mut self.wires[id].held_back) {
                self.clock.after(delay, Event::Arrive(id));
            }
            self.wake(id);
        }
    }

    /// Handles an event of the network. Returns what it reports to an actor.
    pub fn on_event(&mut self, event: Event) -> Option<(usize, LinkEvent)> {
        match event {
            Event::Request(dial) => self.on_request(*dial),
            Event::DialFailed(dial, error) => self.on_dial_failed(*dial, error),
            Event::Answered(wire) => self.on_answered(wire),
            Event::Write(end) => self.on_write(end),
            Event::Arrive(end) => self.on_arrive(end),
            Event::Broken(end, cause) => self.on_broken(end, cause),
            Event::WriteDeadline(end, written) => self.on_write_deadline(end, written),
            Event::Path(wire) => {
                self.on_path(wire);
                None
            }
            Event::Timer(_)
            | Event::Look(_)
            | Event::Lie(_)
            | Event::DiskWritten(_)
            | Event::Fault(_)
            | Event::Enter(_) => None,
        }
    }

    fn on_request(&mut self, dial: Dial) -> Option<(usize, LinkEvent)> {
        if dial.address.node().is_some() {
            return self.on_id_request(dial);
        }
        let refused = self.conditions.refused > 0.0 && self.rng.random_bool(self.conditions.refused);
        let delay = self.delay();
        match dial.target {
            Some(target) if self.is_unreachable(dial.from.actor, target) => {
                self.clock.at(dial.deadline, Event::DialFailed(Box::new(dial), "timed out"));
                None
            }
            Some(target) if self.hosts[target].is_up && !refused => self.open(dial, target, Path::Tcp, delay),
            _ => {
                self.clock.after(delay, Event::DialFailed(Box::new(dial), "connection refused"));
                None
            }
        }
    }

    /// Whether no dial from a host gets to another one. Clients are on the host of their target.
    fn is_unreachable(&self, from: usize, target: usize) -> bool {
        let is_local = self.has_nats && from >= self.listening;
        (self.hosts[target].is_shielded && !is_local) || self.is_blocked(from, target)
    }

    /// Opens a wire: its target accepts now, and the dialler learns it after a delay.
    pub(super) fn open(
        &mut self,
        dial: Dial,
        target: usize,
        path: Path,
        delay: Duration,
    ) -> Option<(usize, LinkEvent)> {
        let link = LinkId(self.hosts[target].links.len() as u64);
        let dialler = End::new(dial.from.actor, LinkId(u64::MAX), State::Opening);
        let wire = self.wires.push(dial, [dialler, End::new(target, link, State::Open)], path);
        let acceptor = EndId::acceptor(wire);
        self.hosts[target].links.push(acceptor);
        self.wires[acceptor].last_arrival = self.clock.now() + delay;
        self.clock.after(delay, Event::Answered(wire));
        Some((target, LinkEvent::Opened(link, None)))
    }

    fn on_dial_failed(&mut self, dial: Dial, error: &str) -> Option<(usize, LinkEvent)> {
        let event = match dial.purpose {
            Purpose::Link => LinkEvent::DialFailed(dial.address, error.to_owned()),
            Purpose::Probe(link) => LinkEvent::Probed(link, dial.address, None, false),
        };
        self.runs(dial.from).then_some((dial.from.actor, event))
    }

    fn on_answered(&mut self, wire: usize) -> Option<(usize, LinkEvent)> {
        let dial = self.wires.dial(wire).clone();
        let (id, actor) = (EndId::dialler(wire), dial.from.actor);
        if !self.runs(dial.from) {
            self.wires[id].shut();
            self.wires[id].vanished = self.wires.path(wire).is_iroh();
            self.launch(id, Item::Reset, Duration::ZERO);
            return None;
        }
        if self.wires[id].state == State::Closed || self.is_wire_blocked(id) {
            self.wires[id].shut();
            self.launch(id, Item::Reset, Duration::ZERO);
            self.clock.at(dial.deadline, Event::DialFailed(Box::new(dial), "timed out"));
            return None;
        }
        let Host { identity, proves, .. } = self.hosts[self.wires[id.other()].actor];
        match dial.purpose {
            Purpose::Link => {
                let host = &mut self.hosts[actor];
                let link = LinkId(host.links.len() as u64);
                host.links.push(id);
                let end = &mut self.wires[id];
                (end.state, end.link) = (State::Open, link);
                Some((actor, LinkEvent::Opened(link, Some((dial.address, identity)))))
            }
            Purpose::Probe(link) => {
                self.wires[id].shut();
                self.launch(id, Item::Close("probed".to_owned()), Duration::ZERO);
                Some((actor, LinkEvent::Probed(link, dial.address, identity, proves)))
            }
        }
    }

    fn on_write(&mut self, id: EndId) -> Option<(usize, LinkEvent)> {
        // A connection between endpoints takes what fits into its window, whatever becomes of it.
        let is_blocked = !self.wires.path(id.wire).is_iroh() && self.is_wire_blocked(id);
        let rate = self.rate_on(id.wire, self.hosts[self.wires[id.other()].actor].read_rate);
        let end = &mut self.wires[id];
        end.write_scheduled = false;
        if !end.is_readable() {
            return None;
        }
        if is_blocked || end.in_flight_bytes >= WINDOW_BYTES {
            end.is_blocked = true;
            let deadline = Event::WriteDeadline(id, end.written);
            self.held_up.insert(id);
            self.clock.after(self.limits.write_deadline, deadline);
            return None;
        }
        let item = end.pop()?;
        end.written += 1;
        let drained = (end.actor, LinkEvent::Drained(end.link));
        let writing = Duration::from_nanos(item.bytes() as u64 * 1_000_000_000 / rate.max(1));
        self.launch(id, item, writing);
        let end = &mut self.wires[id];
        if end.has_queued() {
            end.write_scheduled = true;
            self.clock.after(writing, Event::Write(id));
        }
        Some(drained)
    }

    fn on_write_deadline(&mut self, id: EndId, written: u64) -> Option<(usize, LinkEvent)> {
        let end = &self.wires[id];
        let is_stuck = end.written == written && end.has_queued();
        if is_stuck { self.on_broken(id, "nothing could be written for too long") } else { None }
    }

    /// Delivers an item from the end `id` to the other end.
    fn on_arrive(&mut self, id: EndId) -> Option<(usize, LinkEvent)> {
        if self.is_wire_blocked(id) {
            self.wires[id].held_back += 1;
            self.held_up.insert(id);
            return None;
        }
        let sender = &mut self.wires[id];
        let item = sender.in_flight.pop_front()?;
        sender.in_flight_bytes -= item.bytes();
        sender.is_blocked = false;
        self.wake(id);
        let receiver = &self.wires[id.other()];
        let (actor, link, is_readable) = (receiver.actor, receiver.link, receiver.is_readable());
        match item {
            Item::Close(_) | Item::CloseEcho | Item::Reset if !is_readable => None,
            _ if !is_readable => {
                // The receiver is gone: its system resets the connection.
                let delay = self.delay();
                self.clock.after(delay, Event::Broken(id, "connection reset"));
                None
            }
            Item::Text(frame) if self.lose_transactions_to == Some(actor) && frame.as_str().contains("TRANSACTION") => {
                None
            }
            Item::Text(frame) => Some((actor, LinkEvent::Text(link, frame))),
            Item::Mark(number) => {
                self.launch(id.other(), Item::Marked(number), Duration::ZERO);
                None
            }
            Item::Marked(number) => Some((actor, LinkEvent::Marked(link, number))),
            Item::Pong => Some((actor, LinkEvent::Pong(link))),
            Item::Ping => {
                self.launch(id.other(), Item::Pong, Duration::ZERO);
                None
            }
            Item::Close(reason) => {
                self.wires[id.other()].shut();
                self.launch(id.other(), Item::CloseEcho, Duration::ZERO);
                Some((actor, LinkEvent::Closed(link, reason)))
            }
            Item::CloseEcho => self.on_broken(id.other(), "closed"),
            Item::Reset => self.on_broken(id.other(), "connection reset"),
        }
    }

    fn on_broken(&mut self, id: EndId, cause: &str) -> Option<(usize, LinkEvent)> {
        let end = &mut self.wires[id];
        let was = end.state;
        if was == State::Closed {
            return None;
        }
        end.shut();
        let closed = (end.actor, LinkEvent::Closed(end.link, cause.to_owned()));
        // The other end may not know yet.
        self.launch(id, Item::Reset, Duration::ZERO);
        (was != State::Opening).then_some(closed)
    }

    /// Draws the delay of an item.
    pub(super) fn delay(&mut self) -> Duration {
        self.conditions.delay + self.conditions.jitter.mul_f64(self.rng.random())
    }

    /// Schedules the writer of an end, if it has something to write and is not scheduled yet.
    fn wake(&mut self, id: EndId) {
        let end = &mut self.wires[id];
        if !end.write_scheduled && !end.is_blocked && end.has_queued() && end.is_readable() {
            end.write_scheduled = true;
            self.clock.after(Duration::ZERO, Event::Write(id));
        }
    }

    /// Sends an item to the other end, after everything sent before; `writing`: the time to write
    /// it.
    fn launch(&mut self, id: EndId, item: Item, writing: Duration) {
        let delay = self.delay() + self.detour(id.wire);
        let now = self.clock.now();
        self.bytes += item.bytes() as u64;
        let end = &mut self.wires[id];
        end.last_arrival = end.last_arrival.max(now + writing + delay);
        end.in_flight_bytes += item.bytes();
        end.in_flight.push_back(item);
        self.clock.at(end.last_arrival, Event::Arrive(id));
    }
}
