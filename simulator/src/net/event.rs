//! Everything that can be scheduled in a run.

use super::wire::{Dial, EndId, Process};
use crate::actors::lie::Lie;

/// A scheduled event.
#[derive(Debug)]
pub enum Event {
    /// A request to connect arrives at its target.
    Request(Box<Dial>),
    /// A dial failed, with the error.
    DialFailed(Box<Dial>, &'static str),
    /// The response to the upgrade arrives at the dialler of this wire.
    Answered(usize),
    /// The writer of an end runs.
    Write(EndId),
    /// An item that this end sent arrives at the other end.
    Arrive(EndId),
    /// An end learns that its connection is over, with the cause.
    Broken(EndId, &'static str),
    /// The write deadline of an end that had written so many items.
    WriteDeadline(EndId, u64),
    /// The path of a wire between two endpoints may become direct.
    Path(usize),
    /// The endpoint of a node looks at its home relay and its links.
    Look(Process),
    /// The timer of a node fires.
    Timer(Process),
    /// A liar says something of its own accord.
    Lie(Process),
    /// A disk write of a node ends.
    DiskWritten(Process),
    /// A fault begins or ends.
    Fault(Box<Fault>),
    /// A transaction enters the network.
    Enter(Box<NewTransaction>),
}

/// A fault of the network or of an actor, or the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// One of n open links breaks: the one with this number modulo n.
    Cut(u64),
    /// So many in a thousand open links break.
    CutPart(u16),
    /// A process is killed.
    Stop {
        /// The actor's number.
        actor: usize,
        /// The whole machine goes down, so its peers see no connection reset.
        power_lost: bool,
    },
    /// A process starts.
    Start(usize),
    /// Actors in different groups cannot reach each other.
    Split(Vec<u8>),
    /// The partition ends.
    Heal,
    /// The relay that an actor serves stops, with all links over it; the actor's process runs on.
    RelayStops(usize),
    /// It serves again. Those that were reached over it have to connect again.
    RelayServes(usize),
    /// One of n direct paths between endpoints ends: the one with this number modulo n. Its link
    /// goes on over a relay.
    PathEnds(u64),
    /// A native node that runs begins to tell these lies.
    Misbehave(usize, Vec<Lie>),
    /// A node's disk rejects writes.
    DiskFails(usize),
    /// A node's disk accepts writes again.
    DiskWorks(usize),
    /// An actor reads this many bytes per second on each link.
    ReadRate(usize, u64),
    /// The delay and the jitter of every item change, in milliseconds.
    Delays(u64, u64),
}

/// A transaction that enters the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransaction {
    /// How it enters.
    pub source: Source,
    /// The actor where it enters: a native node, or an exercise peer for [`Source::ExercisePeer`].
    pub actor: usize,
    /// Its JSON text.
    pub body: String,
}

/// How a transaction enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The application submits it.
    Application,
    /// A client sends it and requests an ACK.
    Client,
    /// Another program writes it into the pool file.
    PoolFile,
    /// The user of an exercise peer adds it.
    ExercisePeer,
    /// The application publishes it in a topic besides the default one.
    Topic(&'static str),
}

impl From<Fault> for Event {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<NewTransaction> for Event {
    fn from(transaction: NewTransaction) -> Self {
        Self::Enter(Box::new(transaction))
    }
}
