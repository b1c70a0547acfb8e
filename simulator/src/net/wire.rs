//! Connections: each has two ends with their outgoing queues and what is in flight to the other
//! end.
//!
//! A wire keeps the order of what is sent in a direction, whatever the delays.
//! [`Network`](super::network::Network) moves the items.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;

/// What travels on a wire.
#[derive(Debug, Clone)]
pub enum Item {
    /// A text frame.
    Text(Frame),
    /// A WebSocket ping.
    Ping,
    /// A ping with a number, behind the payload.
    Mark(u64),
    /// Its pong.
    Marked(u64),
    /// A WebSocket pong.
    Pong,
    /// A close frame with its reason, the last item in its direction.
    Close(String),
    /// The response to a close frame.
    CloseEcho,
    /// A connection reset by the operating system.
    Reset,
}

impl Item {
    /// Its size in bytes, with an estimate for the WebSocket header.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(frame) => frame.len() + 8,
            _ => 8,
        }
    }
}

/// Why an actor dials.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// To open a link.
    Link,
    /// To verify the address that the peer on this accepted link announced.
    Probe(LinkId),
}

/// One run of an actor's process. An event for an earlier run is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The actor's number.
    pub actor: usize,
    /// How often its process was started.
    pub run: u32,
}

/// A dial, pending or answered.
#[derive(Debug, Clone)]
pub struct Dial {
    /// The dialler.
    pub from: Process,
    /// The actor that listens at the address, if there is one.
    pub target: Option<usize>,
    /// The address as the dialler named it.
    pub address: PeerAddress,
    /// Why it dials.
    pub purpose: Purpose,
    /// When the dial times out.
    pub deadline: Duration,
}

/// The way that the items of a wire take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// From host to host over TCP, as the target's address says.
    Tcp,
    /// Between two endpoints, over the relay of this actor.
    Relayed(usize),
    /// Between two endpoints, from host to host.
    Direct,
}

impl Path {
    /// Whether it is between two endpoints, which prove their ids to each other.
    pub fn is_iroh(self) -> bool {
        self != Self::Tcp
    }
}

/// The state of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The dialler has no response yet.
    Opening,
    /// Frames can be sent.
    Open,
    /// The actor closes it; what was queued before is written first.
    Closing,
    /// Over, and the actor knows.
    Closed,
}

/// One end of a wire: its number and its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndId {
    /// The number of the wire.
    pub wire: usize,
    /// It is the end that accepted.
    pub is_acceptor: bool,
}

impl EndId {
    /// The end that dialled.
    pub fn dialler(wire: usize) -> Self {
        Self { wire, is_acceptor: false }
    }

    /// The end that accepted.
    pub fn acceptor(wire: usize) -> Self {
        Self { wire, is_acceptor: true }
    }

    /// The other end of the same wire.
    pub fn other(self) -> Self {
        Self { is_acceptor: !self.is_acceptor, ..self }
    }
}

/// One end of a wire.
#[derive(Debug)]
pub struct End {
    /// The actor that holds this end.
    pub actor: usize,
    /// The actor's name for the link.
    pub link: LinkId,
    /// Whether it is open.
    pub state: State,
    /// The size of the queued payloads in bytes.
    pub payload_bytes: usize,
    control_bytes: usize,
    control: VecDeque<Item>,
    payload: VecDeque<Item>,
    /// The reason for which it closes once its queues are empty.
    pub(super) closing: Option<String>,
    /// A turn of the writer is scheduled.
    pub(super) write_scheduled: bool,
    /// The writer waits for room in the window, or for a partition to end.
    pub(super) is_blocked: bool,
    /// How many items were written: it shows whether the writer makes progress.
    pub(super) written: u64,
    /// What is on its way to the other end.
    pub(super) in_flight: VecDeque<Item>,
    pub(super) in_flight_bytes: usize,
    /// When the last item in flight arrives: nothing overtakes it.
    pub(super) last_arrival: Duration,
    /// How many arrivals a partition holds back.
    pub(super) held_back: usize,
    /// Its process was killed, and nothing told the other end.
    pub(super) vanished: bool,
    /// How often in a row its endpoint saw that nothing arrives.
    pub(super) silent: u32,
}

impl End {
    pub(super) fn new(actor: usize, link: LinkId, state: State) -> Self {
        Self {
            actor,
            link,
            state,
            payload_bytes: 0,
            control_bytes: 0,
            control: VecDeque::new(),
            payload: VecDeque::new(),
            closing: None,
            write_scheduled: false,
            is_blocked: false,
            written: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            last_arrival: Duration::ZERO,
            held_back: 0,
            vanished: false,
            silent: 0,
        }
    }

    /// Queues a control frame. Returns how many bytes of control frames are queued.
    pub(super) fn push_control(&mut self, item: Item) -> usize {
        self.control_bytes += item.bytes();
        self.control.push_back(item);
        self.control_bytes
    }

    pub(super) fn push_payload(&mut self, item: Item) {
        self.payload_bytes += item.bytes();
        self.payload.push_back(item);
    }

    /// Takes the next item to write: control frames first, a close last.
    pub(super) fn pop(&mut self) -> Option<Item> {
        if let Some(item) = self.control.pop_front() {
            self.control_bytes -= item.bytes();
            return Some(item);
        }
        if let Some(item) = self.payload.pop_front() {
            self.payload_bytes -= item.bytes();
            return Some(item);
        }
        self.closing.take().map(Item::Close)
    }

    /// Whether anything waits to be written.
    pub(super) fn has_queued(&self) -> bool {
        !self.control.is_empty() || !self.payload.is_empty() || self.closing.is_some()
    }

    /// Closes the end and drops what was not written.
    pub(super) fn shut(&mut self) {
        self.state = State::Closed;
        (self.control, self.payload) = (VecDeque::new(), VecDeque::new());
        (self.control_bytes, self.payload_bytes) = (0, 0);
        self.closing = None;
    }

    /// Whether frames may still arrive.
    pub fn is_readable(&self) -> bool {
        matches!(self.state, State::Open | State::Closing)
    }
}

/// All connections of a run, by number; none is removed.
#[derive(Debug, Default)]
pub struct Wires(Vec<Wire>);

#[derive(Debug)]
struct Wire {
    dial: Dial,
    ends: [End; 2],
    path: Path,
}

impl Wires {
    /// Adds a wire with the end of its dialler and that of its acceptor. Returns its number.
    pub(super) fn push(&mut self, dial: Dial, ends: [End; 2], path: Path) -> usize {
        self.0.push(Wire { dial, ends, path });
        self.0.len() - 1
    }

    /// The dial that made a wire.
    pub(super) fn dial(&self, wire: usize) -> &Dial {
        &self.0[wire].dial
    }

    /// The actors at the ends of a wire, the dialler first.
    pub fn actors(&self, wire: usize) -> [usize; 2] {
        [0, 1].map(|end| self.0[wire].ends[end].actor)
    }

    /// The path that a wire has now.
    pub fn path(&self, wire: usize) -> Path {
        self.0[wire].path
    }

    pub(super) fn set_path(&mut self, wire: usize, path: Path) {
        self.0[wire].path = path;
    }

    /// Whether both ends of a wire hold it for an open link.
    pub fn is_link(&self, wire: usize) -> bool {
        let Wire { dial, ends, .. } = &self.0[wire];
        matches!(dial.purpose, Purpose::Link) && ends.iter().all(|end| end.state == State::Open)
    }

    /// The wires that are open links, in the order in which they were opened.
    pub fn open_links(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(|wire| self.is_link(*wire))
    }
}

impl Index<EndId> for Wires {
    type Output = End;

    fn index(&self, id: EndId) -> &End {
        &self.0[id.wire].ends[usize::from(id.is_acceptor)]
    }
}

impl IndexMut<EndId> for Wires {
    fn index_mut(&mut self, id: EndId) -> &mut End {
        &mut self.0[id.wire].ends[usize::from(id.is_acceptor)]
    }
}
