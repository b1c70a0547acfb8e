//! One connection: two ends, each with two outgoing queues and what is under way towards the other.
//!
//! A wire keeps the order of what is sent in a direction, whatever the delays. It decides nothing: [`Network`](crate::network::Network) moves
//! what is in it.

use std::collections::VecDeque;
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;

/// The end that dialled.
pub const DIALLER: usize = 0;
/// The end that accepted.
pub const ACCEPTOR: usize = 1;

/// What travels on a wire.
#[derive(Debug, Clone)]
pub enum Item {
    /// A text frame.
    Text(Frame),
    /// A WebSocket ping.
    Ping,
    /// Its answer.
    Pong,
    /// A close frame: nothing follows it in its direction.
    Close(String),
    /// The answer to a close frame.
    CloseEcho,
    /// The system's word that the other process is gone.
    Reset,
}

impl Item {
    /// How many bytes it takes on the way.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(frame) => frame.len() + 8,
            _ => 8,
        }
    }
}

/// Why a wire was made.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// To become a link.
    Link,
    /// To read the identity of whoever answers, for an accepted link of the dialler.
    Probe(LinkId),
}

/// A dial under way, or done.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Who dials.
    pub actor: usize,
    /// Which run of the dialler.
    pub run: u32,
    /// Whom: `None` where nobody has that address.
    pub target: Option<usize>,
    /// The address as it was ordered.
    pub address: PeerAddress,
    /// What for.
    pub purpose: Purpose,
    /// When it fails if nothing is heard.
    pub deadline: Duration,
}

/// Where an end is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The dialler has no answer yet.
    Opening,
    /// Frames can be sent.
    Open,
    /// A close was ordered; what was queued before goes first.
    Closing,
    /// Over, and the actor knows.
    Closed,
}

/// One side of a wire.
#[derive(Debug)]
pub struct End {
    /// Whose end this is.
    pub actor: usize,
    /// Which run of the actor.
    pub run: u32,
    /// The name that the actor knows it by.
    pub link: LinkId,
    /// Where it is in its life.
    pub state: State,
    /// Frames that go first.
    pub control: VecDeque<Item>,
    /// Transactions.
    pub payload: VecDeque<Item>,
    /// The bytes in `control`.
    pub control_bytes: usize,
    /// The bytes in `payload`.
    pub payload_bytes: usize,
    /// Why this end closes, once it does.
    pub closing: Option<String>,
    /// Whether a turn of the writer is scheduled.
    pub draining: bool,
    /// Whether the writer waits for room under way, or for a blocked way to become free.
    pub parked: bool,
    /// How many items were written: a writer that stands still is seen by it.
    pub moved: u64,
    /// What is on its way to the other end.
    pub flight: VecDeque<Item>,
    /// The bytes in `flight`.
    pub flight_bytes: usize,
    /// When the last item in flight arrives: nothing overtakes it.
    pub last_arrival: Duration,
    /// How many arrivals came to nothing because the way was blocked.
    pub stalled: usize,
}

impl End {
    /// An end without a history.
    pub fn new(actor: usize, run: u32, link: LinkId, state: State) -> Self {
        Self {
            actor,
            run,
            link,
            state,
            control: VecDeque::new(),
            payload: VecDeque::new(),
            control_bytes: 0,
            payload_bytes: 0,
            closing: None,
            draining: false,
            parked: false,
            moved: 0,
            flight: VecDeque::new(),
            flight_bytes: 0,
            last_arrival: Duration::ZERO,
            stalled: 0,
        }
    }

    /// What is written next; control frames go first, a close last.
    pub fn next_item(&mut self) -> Option<Item> {
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
    pub fn waits(&self) -> bool {
        !self.control.is_empty() || !self.payload.is_empty() || self.closing.is_some()
    }

    /// Forgets what was not written: the end is closed.
    pub fn shut(&mut self) {
        self.state = State::Closed;
        self.control = VecDeque::new();
        self.payload = VecDeque::new();
        (self.control_bytes, self.payload_bytes) = (0, 0);
        self.closing = None;
    }

    /// Whether frames may still come in.
    pub fn listens(&self) -> bool {
        matches!(self.state, State::Open | State::Closing)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    /// The dial that made it.
    pub dial: Dial,
    /// [`DIALLER`] and [`ACCEPTOR`].
    pub ends: [End; 2],
}

impl Wire {
    /// Whether both ends hold it for a link in use.
    pub fn is_link(&self) -> bool {
        matches!(self.dial.purpose, Purpose::Link) && self.ends.iter().all(|end| end.state == State::Open)
    }
}
