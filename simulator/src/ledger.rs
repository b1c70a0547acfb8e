//! What is measured: how each transaction of a run came to each node.
//!
//! A **copy** is a TRANSACTION frame that an honest full peer received; the ideal is one for each node but the origin. A **hop** is counted along the way of
//! the first copy. The ledger looks at frames from outside, as they arrive; no node is asked. Transactions belong to the phase in which they
//! entered, control frames to the one in which they arrived.

use std::collections::HashMap;
use std::time::Duration;

use meshpool_proto::frame::Frame;
use meshpool_proto::transaction::TransactionId;

/// Where a node has not got a transaction yet.
const ABSENT: u8 = u8::MAX;

/// The kinds of control frames, as they are counted.
pub const CONTROL: [&str; 5] = ["HANDSHAKE", "SYNC", "WANT", "PRUNE", "GRAFT"];

/// One transaction on its way.
#[derive(Debug)]
struct Passage {
    entered: Duration,
    phase: usize,
    /// By how many hops it came to each node; shared texts make ids, not bodies, the key.
    hops: Vec<u8>,
}

/// What one phase came to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Transactions that entered.
    pub entered: usize,
    /// First copies.
    pub delivered: u64,
    /// All copies, first ones included.
    pub copies: u64,
    /// Copies that came in answer to a comparison.
    pub synced: u64,
    /// First copies that did.
    pub first_synced: u64,
    /// How many first copies came by how many hops.
    pub hops: Vec<u64>,
    /// How long each first copy took from the origin, in microseconds, in no order.
    pub delays: Vec<u32>,
    /// Control frames, by the kinds of [`CONTROL`].
    pub frames: [u64; CONTROL.len()],
    /// Their bytes.
    pub bytes: u64,
}

/// The book of a run.
#[derive(Debug)]
pub struct Ledger {
    passages: HashMap<TransactionId, Passage>,
    phases: Vec<Figures>,
    /// Whose copies count: a node that lies says nothing about the protocol.
    honest: Vec<bool>,
}

impl Ledger {
    /// A book for so many nodes, in its first phase.
    pub fn new(nodes: usize) -> Self {
        Self { passages: HashMap::new(), phases: vec![Figures::default()], honest: vec![true; nodes] }
    }

    /// Another phase begins.
    pub fn begin_phase(&mut self) {
        self.phases.push(Figures::default());
    }

    /// What the present phase came to so far.
    pub fn phase(&self) -> &Figures {
        self.phases.last().expect("the first phase begins with the book")
    }

    /// From now on copies to this node do not count.
    pub fn distrust(&mut self, node: usize) {
        self.honest[node] = false;
    }

    /// A transaction enters at a node.
    pub fn enter(&mut self, now: Duration, id: TransactionId, origin: usize) {
        let phase = self.phases.len() - 1;
        let mut hops = vec![ABSENT; self.honest.len()];
        hops[origin] = 0;
        if self.passages.insert(id, Passage { entered: now, phase, hops }).is_none() {
            self.phases[phase].entered += 1;
        }
    }

    /// A copy comes from one node to another.
    pub fn copy(&mut self, now: Duration, (id, synced): (TransactionId, bool), from: usize, to: usize) {
        let Some(passage) = self.passages.get_mut(&id) else { return };
        let figures = &mut self.phases[passage.phase];
        let honest = self.honest[to];
        if honest {
            figures.copies += 1;
            figures.synced += u64::from(synced);
        }
        if passage.hops[to] != ABSENT {
            return;
        }
        // A sender that restarted may have it from its disk alone: it had it all the same.
        let hop = passage.hops.get(from).copied().unwrap_or(0).saturating_add(1).min(ABSENT - 1);
        passage.hops[to] = hop;
        if !honest {
            return;
        }
        figures.delivered += 1;
        figures.first_synced += u64::from(synced);
        let place = usize::from(hop);
        if figures.hops.len() <= place {
            figures.hops.resize(place + 1, 0);
        }
        figures.hops[place] += 1;
        figures.delays.push(u32::try_from((now - passage.entered).as_micros()).unwrap_or(u32::MAX));
    }

    /// Any other frame arrives.
    pub fn control(&mut self, frame: &Frame) {
        let figures = self.phases.last_mut().expect("the first phase begins with the book");
        let kind = frame.as_str().strip_prefix(r#"{"type":""#).and_then(|rest| rest.split('"').next());
        if let Some(place) = CONTROL.iter().position(|known| Some(*known) == kind) {
            figures.frames[place] += 1;
        }
        figures.bytes += frame.len() as u64;
    }
}

impl Figures {
    /// Copies for each first copy that there was: 1 is ideal.
    pub fn copies_each(&self) -> f64 {
        self.copies as f64 / self.delivered.max(1) as f64
    }

    /// The mean of the hops of first copies.
    pub fn mean_hops(&self) -> f64 {
        let sum: u64 = self.hops.iter().zip(0..).map(|(count, hops)| count * hops).sum();
        sum as f64 / self.delivered.max(1) as f64
    }

    /// The most hops that a first copy took.
    pub fn most_hops(&self) -> usize {
        self.hops.iter().rposition(|count| *count > 0).unwrap_or(0)
    }

    /// The delay, in milliseconds, that this part of first copies did not exceed.
    pub fn delay(&self, part: f64) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let place = (delays.len().saturating_sub(1) as f64 * part).round() as usize;
        delays.get(place).map_or(0.0, |delay| f64::from(*delay) / 1000.0)
    }

    /// Control frames for each first copy.
    pub fn control_each(&self) -> f64 {
        self.frames.iter().sum::<u64>() as f64 / self.delivered.max(1) as f64
    }

    /// Bytes of control frames for each first copy.
    pub fn control_bytes_each(&self) -> f64 {
        self.bytes as f64 / self.delivered.max(1) as f64
    }
}
