//! How each transaction reached each node: copies, hops, delays, control frames.
//!
//! A *copy* is a TRANSACTION frame that an honest native node received; the ideal is one for each
//! node but the origin. *Hops* are counted along the path of the first copy. Transactions count for
//! the phase in which they entered, control frames for the phase in which they arrived.

use std::collections::HashMap;
use std::time::Duration;

use meshpool_proto::frame::Frame;
use meshpool_proto::transaction::TransactionId;

/// The hop count of a node that does not have the transaction yet.
const ABSENT: u8 = u8::MAX;

/// The control messages that are counted.
pub const CONTROL: [&str; 5] = ["HANDSHAKE", "SYNC", "WANT", "PRUNE", "GRAFT"];

#[derive(Debug)]
struct Spread {
    entered: Duration,
    phase: usize,
    /// The hops to each node.
    hops: Vec<u8>,
}

/// The figures of one phase.
#[derive(Debug, Clone, Default)]
pub struct PhaseStats {
    /// Transactions that entered.
    pub entered: usize,
    /// First copies.
    pub delivered: u64,
    /// All copies, first ones included.
    pub copies: u64,
    /// Copies sent by anti-entropy.
    pub synced: u64,
    /// First copies sent by anti-entropy.
    pub first_synced: u64,
    /// How many first copies took so many hops.
    pub hops: Vec<u64>,
    /// The delay of each first copy from the origin, in microseconds, unsorted.
    pub delays: Vec<u32>,
    /// Control frames, in the order of [`CONTROL`].
    pub frames: [u64; CONTROL.len()],
    /// The bytes of all frames but transactions.
    pub bytes: u64,
}

/// The figures of a run.
#[derive(Debug)]
pub struct DeliveryStats {
    spreads: HashMap<TransactionId, Spread>,
    phases: Vec<PhaseStats>,
    /// Copies to other nodes do not count.
    honest: Vec<bool>,
}

impl DeliveryStats {
    /// Starts the first phase of a network of so many nodes.
    pub fn new(nodes: usize) -> Self {
        Self { spreads: HashMap::new(), phases: vec![PhaseStats::default()], honest: vec![true; nodes] }
    }

    /// Starts the next phase.
    pub fn begin_phase(&mut self) {
        self.phases.push(PhaseStats::default());
    }

    /// The figures of the current phase so far.
    pub fn phase(&self) -> &PhaseStats {
        self.phases.last().expect("the first phase starts with the run")
    }

    /// Excludes a node: copies to it no longer count.
    pub fn exclude(&mut self, node: usize) {
        self.honest[node] = false;
    }

    /// Records a transaction that enters at a node.
    pub fn on_new(&mut self, now: Duration, id: TransactionId, origin: usize) {
        let phase = self.phases.len() - 1;
        let mut hops = vec![ABSENT; self.honest.len()];
        hops[origin] = 0;
        if self.spreads.insert(id, Spread { entered: now, phase, hops }).is_none() {
            self.phases[phase].entered += 1;
        }
    }

    /// Records a copy that arrives at `to`; `synced`: it was sent by anti-entropy.
    pub fn on_copy(&mut self, now: Duration, (id, synced): (TransactionId, bool), from: usize, to: usize) {
        let Some(spread) = self.spreads.get_mut(&id) else { return };
        let stats = &mut self.phases[spread.phase];
        let honest = self.honest[to];
        if honest {
            stats.copies += 1;
            stats.synced += u64::from(synced);
        }
        if spread.hops[to] != ABSENT {
            return;
        }
        // A sender that restarted may have it from its disk, with no hops on record.
        let hops = spread.hops.get(from).copied().unwrap_or(0).saturating_add(1).min(ABSENT - 1);
        spread.hops[to] = hops;
        if !honest {
            return;
        }
        stats.delivered += 1;
        stats.first_synced += u64::from(synced);
        let hops = usize::from(hops);
        if stats.hops.len() <= hops {
            stats.hops.resize(hops + 1, 0);
        }
        stats.hops[hops] += 1;
        stats.delays.push(u32::try_from((now - spread.entered).as_micros()).unwrap_or(u32::MAX));
    }

    /// Records any other frame that arrives.
    pub fn on_control(&mut self, frame: &Frame) {
        let stats = self.phases.last_mut().expect("the first phase starts with the run");
        let kind = frame.as_str().strip_prefix(r#"{"type":""#).and_then(|rest| rest.split('"').next());
        if let Some(index) = CONTROL.iter().position(|known| Some(*known) == kind) {
            stats.frames[index] += 1;
        }
        stats.bytes += frame.len() as u64;
    }
}

impl PhaseStats {
    /// Copies per first copy; 1 is ideal.
    pub fn copies_each(&self) -> f64 {
        self.per_delivery(self.copies)
    }

    /// The mean hops of first copies.
    pub fn mean_hops(&self) -> f64 {
        self.per_delivery(self.hops.iter().zip(0..).map(|(count, hops)| count * hops).sum())
    }

    /// The maximum hops of a first copy.
    pub fn most_hops(&self) -> usize {
        self.hops.iter().rposition(|count| *count > 0).unwrap_or(0)
    }

    /// A quantile of the delays of first copies, in milliseconds.
    pub fn delay(&self, quantile: f64) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let index = (delays.len().saturating_sub(1) as f64 * quantile).round() as usize;
        delays.get(index).map_or(0.0, |delay| f64::from(*delay) / 1000.0)
    }

    /// Control frames per first copy.
    pub fn control_each(&self) -> f64 {
        self.per_delivery(self.frames.iter().sum())
    }

    /// Bytes of control frames per first copy.
    pub fn control_bytes_each(&self) -> f64 {
        self.per_delivery(self.bytes)
    }

    fn per_delivery(&self, count: u64) -> f64 {
        count as f64 / self.delivered.max(1) as f64
    }
}
