//! The network between the actors: hosts, dials, wires, and what happens to them.
//!
//! It delivers in order per direction, with delay and jitter; a frame sent before a polite close arrives, one in flight on a cut wire is lost;
//! each end learns of its end once. While the way between two hosts is blocked nothing arrives and nothing is lost: it comes when the way is
//! free again, unless an end has given up by then. Its events lead to at most one [`Report`] each, which the world hands to the actor.

mod events;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::texts::Texts;
use crate::trace::Trace;
use crate::trace_hash::TraceHash;
use crate::wire::{ACCEPTOR, DIALLER, Dial, End, Item, Purpose, State, Wire};
use crate::world::Event;

/// The port of the first actor; the others follow.
pub const FIRST_PORT: u16 = 4001;
/// How many actors share one host's ports.
const PORTS: usize = 50_000;
/// How many bytes are under way on a wire at most, as in a socket's buffers.
const WINDOW_BYTES: usize = 64 * 1024;

/// What the network has to tell an actor.
#[derive(Debug)]
pub enum Report {
    /// A link is open; with the dial if it is the actor's own.
    Opened(LinkId, Option<(PeerAddress, Option<UpgradeIdentity>)>),
    /// A frame came in.
    Text(LinkId, Frame),
    /// A pong came in.
    Pong(LinkId),
    /// A link is over.
    Closed(LinkId, String),
    /// A dial came to nothing.
    DialFailed(PeerAddress, String),
    /// A probe was answered, or not.
    Probed(LinkId, PeerAddress, Option<UpgradeIdentity>),
}

/// Why a frame could not be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The actor was told that this link is closed, or never had it.
    NoLink,
    /// A payload does not fit; the actor has not been told yet.
    Full,
}

/// How an item goes out on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// First, with room of its own; overflowing it ends the link.
    Control,
    /// A payload that was pushed: refused if it does not fit, and from then on until a feed is ordered.
    Payload,
    /// A payload read from the pool: it has its place in the queue even after a push was refused.
    Feed,
}

/// One machine with one process.
#[derive(Debug)]
pub struct Host {
    /// Whether the process runs and listens.
    pub up: bool,
    /// Whether it can be reached: a machine without power answers nothing.
    pub powered: bool,
    /// How often the process was started.
    pub run: u32,
    /// What its upgrade answers say.
    pub identity: Option<UpgradeIdentity>,
    /// Which part of a partition it is in.
    pub group: u8,
    /// How many bytes per second its reader takes on one wire.
    pub rate: u64,
    /// The wire and side of each link of this run, by number.
    links: Vec<(usize, usize)>,
}

/// The state of the weather.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// The time that every item takes.
    pub delay: Duration,
    /// The time that is added at random.
    pub jitter: Duration,
    /// The part of dials that are refused although somebody listens.
    pub refuse: f64,
}

/// Hosts, wires and the clock.
#[derive(Debug)]
pub struct Network {
    /// The time and what is to come.
    pub clock: Clock<Event>,
    /// Every choice of chance that the network makes.
    pub rng: Xoshiro256PlusPlus,
    /// The record of the run.
    pub trace: Trace,
    /// The hash over all inputs and outputs of the cores; `None`: it is not computed.
    pub trace_hash: Option<TraceHash>,
    /// One for each actor.
    pub hosts: Vec<Host>,
    /// Every wire there ever was.
    pub wires: Vec<Wire>,
    /// Delays and refusals.
    pub weather: Weather,
    /// The bounds that the shells keep.
    pub limits: Limits,
    /// How many actors can be dialled: the first ones.
    pub listening: usize,
    /// How many links peers dialled so far, clients not counted.
    pub dials: u64,
    /// How many bytes all ends wrote so far.
    pub bytes: u64,
    /// Whether every link seems to come from a public IP address, another one for each actor. From there no node takes or tells the loopback addresses of
    /// this network (the core's rule of scopes), so the nodes stay linked as their known-peers files say.
    pub public: bool,
    /// Who breaks rules on purpose: they alone may be expelled.
    pub liars: BTreeSet<usize>,
    /// What was read once is not read again.
    pub texts: Texts,
    /// What is measured; `None` where nothing is.
    pub ledger: Option<Ledger>,
    /// The ends whose writer or whose arrivals wait for a blocked way, and some whose do not any more.
    held_up: BTreeSet<(usize, usize)>,
    /// For a test of the checks: TRANSACTION frames for this actor vanish.
    pub lose_transactions_to: Option<usize>,
}

impl Network {
    /// A network without hosts.
    pub fn new(seed: u64, limits: Limits, print: bool) -> Self {
        Self {
            clock: Clock::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            trace: Trace::new(print),
            trace_hash: None,
            hosts: Vec::new(),
            wires: Vec::new(),
            weather: Weather { delay: Duration::from_millis(1), jitter: Duration::from_millis(4), refuse: 0.0 },
            limits,
            listening: 0,
            dials: 0,
            bytes: 0,
            public: false,
            liars: BTreeSet::new(),
            texts: Texts::default(),
            ledger: None,
            held_up: BTreeSet::new(),
            lose_transactions_to: None,
        }
    }

    /// Calls `record` with the trace hash and the time, if the hash is computed.
    pub fn hash(&mut self, record: impl FnOnce(&mut TraceHash, Duration)) {
        if let Some(hash) = &mut self.trace_hash {
            record(hash, self.clock.now());
        }
    }

    /// The address of an actor.
    pub fn address(actor: usize) -> PeerAddress {
        match actor / PORTS {
            0 => named("localhost", actor),
            host => named(&format!("127.1.0.{host}"), actor % PORTS),
        }
    }

    /// Another spelling of the address of an actor.
    pub fn alias(actor: usize) -> PeerAddress {
        named("127.0.0.1", actor)
    }

    /// Which actor an address leads to, whether it listens or not.
    pub fn target(&self, address: &PeerAddress) -> Option<usize> {
        let place = usize::from(address.port().checked_sub(FIRST_PORT)?);
        // Hosts beyond the first are 127.1.0.1, 127.1.0.2 and so on.
        let host = match address.host().parse() {
            Ok(IpAddr::V4(ip)) if ip.octets()[1] == 1 => usize::from(ip.octets()[3]),
            _ => 0,
        };
        let index = host * PORTS + place;
        (index < self.listening).then_some(index)
    }

    /// A process starts on its host: no link is left from before.
    pub fn start(&mut self, actor: usize, identity: Option<UpgradeIdentity>) {
        let host = &mut self.hosts[actor];
        host.up = true;
        host.powered = true;
        host.run += 1;
        host.identity = identity;
        host.links.clear();
    }

    /// Adds a machine; nothing runs on it yet.
    pub fn add_host(&mut self) {
        self.hosts.push(Host {
            up: false,
            powered: true,
            run: 0,
            identity: None,
            group: 0,
            rate: 50_000_000,
            links: Vec::new(),
        });
    }

    /// A process ends without a word. The system tells the others, unless the power is gone with it.
    pub fn stop(&mut self, actor: usize, power_lost: bool) {
        self.hosts[actor].up = false;
        self.hosts[actor].powered = !power_lost;
        for (wire, side) in std::mem::take(&mut self.hosts[actor].links) {
            let end = &mut self.wires[wire].ends[side];
            if end.state == State::Closed {
                continue;
            }
            end.shut();
            if !power_lost {
                self.launch(wire, side, Item::Reset, Duration::ZERO);
            }
        }
    }

    /// Opens a connection to an address.
    pub fn dial(&mut self, actor: usize, address: PeerAddress, purpose: Purpose) {
        let by_peer = actor < self.listening;
        self.dials += u64::from(by_peer && matches!(purpose, Purpose::Link));
        let deadline = self.clock.now() + self.limits.dial_timeout;
        let target = self.target(&address);
        let dial = Dial { actor, run: self.hosts[actor].run, target, address, purpose, deadline };
        let delay = self.delay();
        self.clock.after(delay, Event::Request(Box::new(dial)));
    }

    /// Queues an item on a link.
    pub fn send(&mut self, actor: usize, link: LinkId, item: Item, queue: Queue) -> Result<(), Refusal> {
        let (wire, side) = self.place(actor, link).ok_or(Refusal::NoLink)?;
        let (queue_limit, control_limit) = (self.limits.queue_bytes, self.limits.control_bytes);
        let end = &mut self.wires[wire].ends[side];
        match end.state {
            State::Closed | State::Opening => return Err(Refusal::NoLink),
            // A shell takes nothing more for a link that it was told to close.
            State::Closing => return Ok(()),
            State::Open => {}
        }
        let bytes = item.bytes();
        if queue == Queue::Control {
            end.control_bytes += bytes;
            end.control.push_back(item);
            if end.control_bytes > control_limit {
                self.clock.after(Duration::ZERO, Event::Broken { wire, side, cause: "its control queue overflowed" });
                return Ok(());
            }
        } else if end.payload_bytes + bytes > queue_limit {
            return Err(Refusal::Full);
        } else {
            end.payload_bytes += bytes;
            end.payload.push_back(item);
        }
        self.wake(wire, side);
        Ok(())
    }

    /// Closes a link once what is queued on it is written.
    pub fn close(&mut self, actor: usize, link: LinkId, reason: String) -> Result<(), Refusal> {
        let (wire, side) = self.place(actor, link).ok_or(Refusal::NoLink)?;
        let end = &mut self.wires[wire].ends[side];
        match end.state {
            State::Closed | State::Opening => return Err(Refusal::NoLink),
            State::Closing => return Ok(()),
            State::Open => end.state = State::Closing,
        }
        end.closing = Some(reason);
        self.wake(wire, side);
        self.clock.after(self.limits.write_deadline, Event::Broken { wire, side, cause: "the close was not answered" });
        Ok(())
    }

    /// The end that an actor calls by this name.
    pub fn end(&mut self, actor: usize, link: LinkId) -> Option<&mut End> {
        let (wire, side) = self.place(actor, link)?;
        Some(&mut self.wires[wire].ends[side])
    }

    /// The actor at the other side of a link.
    pub fn other(&self, actor: usize, link: LinkId) -> Option<usize> {
        let (wire, side) = self.place(actor, link)?;
        Some(self.wires[wire].ends[1 - side].actor)
    }

    /// The IP address from which the other side of a link seems to come.
    pub fn remote(&self, actor: usize, link: LinkId) -> IpAddr {
        match self.other(actor, link).and_then(|other| u16::try_from(other).ok()) {
            // The network for tests of devices (RFC 2544): public, and used by nobody.
            Some(other) if self.public => {
                Ipv4Addr::from([198, 18, other.to_be_bytes()[0], other.to_be_bytes()[1]]).into()
            }
            _ => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// The wires of an actor's links, live and past, with the side that is its own.
    pub fn links(&self, actor: usize) -> impl Iterator<Item = (&Wire, usize)> {
        self.hosts[actor].links.iter().map(|(wire, side)| (&self.wires[*wire], *side))
    }

    fn place(&self, actor: usize, link: LinkId) -> Option<(usize, usize)> {
        self.hosts[actor].links.get(usize::try_from(link.0).ok()?).copied()
    }

    /// Whether nothing gets from one host to the other.
    pub fn blocked(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.hosts[a], &self.hosts[b]);
        a.group != b.group || !a.powered || !b.powered
    }

    /// Cuts a wire: what is under way is lost, and both ends learn it in their time.
    pub fn cut(&mut self, wire: usize) {
        for side in [DIALLER, ACCEPTOR] {
            let end = &mut self.wires[wire].ends[side];
            end.flight.clear();
            end.flight_bytes = 0;
            end.stalled = 0;
            let delay = self.delay();
            self.clock.after(delay, Event::Broken { wire, side, cause: "connection reset" });
        }
    }

    /// After a change of partitions or power: what was held up moves again.
    pub fn resume(&mut self) {
        for (wire, side) in std::mem::take(&mut self.held_up) {
            let [a, b] = &self.wires[wire].ends;
            if self.blocked(a.actor, b.actor) {
                self.held_up.insert((wire, side));
                continue;
            }
            self.wires[wire].ends[side].parked = false;
            let delay = self.delay();
            for _ in 0..std::mem::take(&mut self.wires[wire].ends[side].stalled) {
                self.clock.after(delay, Event::Arrive { wire, side });
            }
            self.wake(wire, side);
        }
    }

    /// Draws the time that something takes on its way.
    fn delay(&mut self) -> Duration {
        self.weather.delay + self.weather.jitter.mul_f64(self.rng.random())
    }

    /// Lets the writer of an end have a turn, if it has something to write and none is due already.
    fn wake(&mut self, wire: usize, side: usize) {
        let end = &mut self.wires[wire].ends[side];
        if !end.draining && !end.parked && end.waits() && end.listens() {
            end.draining = true;
            self.clock.after(Duration::ZERO, Event::Drain { wire, side });
        }
    }

    /// Puts an item on its way to the other end, behind everything sent before; `writing`: how long it takes to write.
    fn launch(&mut self, wire: usize, side: usize, item: Item, writing: Duration) {
        let delay = self.delay();
        let now = self.clock.now();
        self.bytes += item.bytes() as u64;
        let end = &mut self.wires[wire].ends[side];
        end.last_arrival = end.last_arrival.max(now + writing + delay);
        end.flight_bytes += item.bytes();
        end.flight.push_back(item);
        self.clock.at(end.last_arrival, Event::Arrive { wire, side });
    }
}

fn named(host: &str, actor: usize) -> PeerAddress {
    let port = u16::try_from(actor)
        .ok()
        .and_then(|actor| FIRST_PORT.checked_add(actor))
        .expect("a run has fewer actors than there are ports");
    PeerAddress::new(host, port).expect("the host is a name, and the port is not 0")
}
