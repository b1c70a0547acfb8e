//! The rules of a single node: the [`Monitor`] checks each step, [`check_addresses`] its addresses.
//!
//! A check returns the rule and what was seen. It looks at a node from outside: at its outputs and
//! at the addresses that it reports, and compares them with the state of the simulated network.
//! The fuzz targets include this file, so it uses nothing but the core.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::transaction::TransactionId;
use meshpool_proto::{Node as Core, Output};

/// The maximum timeouts of a node per second of virtual time, plus one per link: links that opened
/// together are checked together, every 15 s.
const TIMEOUTS_PER_SECOND: u32 = 200;

/// The maximum inputs of a node at one instant. More are a loop of outputs and inputs.
const INPUTS_AT_ONCE: u32 = 10_000;

/// A rule that every run must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// An address is being dialled or connected, not both.
    AttemptingAndConnectedAreDisjoint,
    /// A node lists neither itself nor an address of itself among its connections.
    NeverOurselves,
    /// A connected address belongs to a node with which a link is open.
    ConnectedIsLinked,
    /// No output names a link whose end was reported.
    NoOutputForClosedLink,
    /// An address is dialled once at a time.
    OneDialPerAddress,
    /// Pending dials and probes stay within the limit.
    DialsAreBounded,
    /// Who asks for a connection gets one only where the node dialled before.
    CallsBackWhereItDialled,
    /// A transaction is stored once.
    StoredOnce,
    /// Nothing is acknowledged before it is on disk.
    AcknowledgedAfterDisk,
    /// What was acknowledged stays in the pool.
    AcknowledgedIsKept,
    /// A node does not request the same timeout again, nor timeouts all the time.
    NoBusyLoop,
    /// Without faults the network becomes a full mesh, one link per pair of native nodes, and stays
    /// one.
    FullMesh,
    /// A node has no more links than its cap.
    DegreeWithinCap,
    /// Without faults a capped network becomes connected, each node has two links where there are
    /// two other nodes, and the links become stable.
    ConnectedOverlay,
    /// Without faults every link of a given graph is open.
    GraphIsLinked,
    /// Without faults all pools become equal.
    PoolsAgree,
    /// No peer that follows the protocol is banned.
    NoHonestPeerIsBanned,
    /// A node without an endpoint dials no node id, nobody probes one, and none is dialled while
    /// its node is linked.
    IdsAreDialledOnceAndNotProbed,
    /// No exercise peer is told a node id as an address.
    ExercisePeersAreToldNoIds,
    /// Nodes that reach each other over ids alone are linked again after their relay stopped, while
    /// they know another one, and links with direct paths go on.
    RelaysAreReplaced,
    /// An exercise peer is sent nothing that crashes one of its kind.
    ExercisePeersSurvive,
    /// A client whose link is open gets its ACK.
    ClientsAreAnswered,
    /// The core does not panic.
    NoPanic,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The virtual time.
    pub at: Duration,
    /// The node that broke it, if it was one.
    pub node: Option<usize>,
    /// The rule.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken at {:.3} s", self.invariant, self.at.as_secs_f64())?;
        if let Some(node) = self.node {
            write!(f, " by node {node}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// A rule and what was seen; the caller adds the time and the node.
pub type Violation = (Invariant, String);

/// What one run of one node did so far, as far as the rules need it.
#[derive(Debug, Default)]
pub struct Monitor {
    dialling: Vec<PeerAddress>,
    dialled: HashSet<PeerAddress>,
    probes: usize,
    held: HashSet<TransactionId>,
    second: u64,
    timeouts: u32,
    instant: Duration,
    inputs: u32,
}

impl Monitor {
    /// The monitor of a run that starts with these transactions in its pool.
    pub fn new(held: impl Iterator<Item = TransactionId>) -> Self {
        Self { held: held.collect(), ..Self::default() }
    }

    /// The node dials an address; `limit`: the maximum of pending dials and probes.
    pub fn on_dial(&mut self, address: &PeerAddress, limit: usize) -> Result<(), Violation> {
        if self.dialling.contains(address) {
            return Err((Invariant::OneDialPerAddress, format!("{address} is being dialled already")));
        }
        self.dialling.push(address.clone());
        self.dialled.insert(address.clone());
        self.check_dials(limit)
    }

    /// The node opens a connection for requests that a peer asked for.
    pub fn on_call_back(&self, address: &PeerAddress) -> Result<(), Violation> {
        match self.dialled.contains(address) {
            true => Ok(()),
            false => Err((Invariant::CallsBackWhereItDialled, format!("it never dialled {address}"))),
        }
    }

    /// The node probes an address.
    pub fn on_probe(&mut self, limit: usize) -> Result<(), Violation> {
        self.probes += 1;
        self.check_dials(limit)
    }

    /// A dial ended.
    pub fn on_dialled(&mut self, address: &PeerAddress) {
        self.dialling.retain(|dialling| dialling != address);
    }

    /// A probe ended.
    pub fn on_probed(&mut self) {
        self.probes -= 1;
    }

    /// The node stores a transaction, or another program wrote it into the pool file.
    pub fn on_store(&mut self, id: TransactionId) -> Result<(), Violation> {
        if self.held.insert(id) { Ok(()) } else { Err((Invariant::StoredOnce, format!("{id} is in the pool already"))) }
    }

    /// Transactions were removed from the pool file, so they may be stored again.
    pub fn on_removed(&mut self, ids: &[TransactionId]) {
        ids.iter().for_each(|id| _ = self.held.remove(id));
    }

    /// The node gets an input.
    pub fn on_input(&mut self, now: Duration) -> Result<(), Violation> {
        if self.instant != now {
            (self.instant, self.inputs) = (now, 0);
        }
        self.inputs += 1;
        if self.inputs > INPUTS_AT_ONCE {
            let detail = format!("more than {INPUTS_AT_ONCE} inputs at one instant: outputs lead to inputs in a loop");
            return Err((Invariant::NoBusyLoop, detail));
        }
        Ok(())
    }

    /// The node handled a timeout at `now`; `next` is its next deadline, and `links` counts its
    /// links.
    pub fn on_timeout(
        &mut self,
        now: Duration,
        next: Option<Duration>,
        links: impl FnOnce() -> usize,
    ) -> Result<(), Violation> {
        if next.is_some_and(|next| next <= now) {
            return Err((Invariant::NoBusyLoop, "after a timeout the next is due at once".to_owned()));
        }
        if self.second != now.as_secs() {
            (self.second, self.timeouts) = (now.as_secs(), 0);
        }
        self.timeouts += 1;
        if self.timeouts > TIMEOUTS_PER_SECOND {
            let limit = TIMEOUTS_PER_SECOND.saturating_add(u32::try_from(links()).unwrap_or(u32::MAX));
            if self.timeouts > limit {
                return Err((Invariant::NoBusyLoop, format!("more than {limit} timeouts in a second")));
            }
        }
        Ok(())
    }

    fn check_dials(&self, limit: usize) -> Result<(), Violation> {
        let pending = self.dialling.len() + self.probes;
        if pending > limit {
            let detail = format!("{pending} dials and probes are pending, the limit is {limit}");
            return Err((Invariant::DialsAreBounded, detail));
        }
        Ok(())
    }
}

/// Checks that a node keeps its cap.
pub fn check_degree(core: &Core, cap: Option<u32>) -> Result<(), Violation> {
    let linked = core.linked_peers();
    match cap {
        Some(cap) if linked > cap as usize => {
            Err((Invariant::DegreeWithinCap, format!("{linked} links, the cap is {cap}")))
        }
        _ => Ok(()),
    }
}

/// Checks where a node connects to by node id. `has_endpoint`: it can.
pub fn check_output(core: &Core, output: &Output, has_endpoint: bool) -> Result<(), Violation> {
    let (address, is_probe) = match output {
        Output::Dial { address, .. } => (address, false),
        Output::Probe { address, .. } => (address, true),
        _ => return Ok(()),
    };
    let Some(node) = address.node() else { return Ok(()) };
    let broken = |detail| Err((Invariant::IdsAreDialledOnceAndNotProbed, detail));
    if is_probe {
        return broken(format!("it probes {address}, which the link proves"));
    }
    if !has_endpoint {
        return broken(format!("it dials {address} and has no endpoint"));
    }
    if core.linked_nodes().contains(&node) {
        return broken(format!("it dials {address} and is linked to that node"));
    }
    Ok(())
}

/// Who is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The node that is checked.
    Itself,
    /// A node with an open link to it.
    Linked,
    /// Any other node, or nobody.
    NotLinked,
}

/// Compares the addresses that a core reports with the network. `own` is the address of the node.
pub fn check_addresses(core: &Core, own: &PeerAddress, owner: impl Fn(&PeerAddress) -> Owner) -> Result<(), Violation> {
    let (attempting, connected) = core.addresses();
    if let Some(both) = attempting.iter().find(|address| connected.contains(address)) {
        return Err((Invariant::AttemptingAndConnectedAreDisjoint, format!("{both} is in both sets")));
    }
    if attempting.contains(own) {
        return Err((Invariant::NeverOurselves, format!("it dials {own}")));
    }
    for address in &connected {
        match owner(address) {
            Owner::Linked => {}
            Owner::Itself => {
                return Err((Invariant::NeverOurselves, format!("it is connected to {address}, which is itself")));
            }
            Owner::NotLinked => {
                let detail = format!("it reports {address} as connected, and no link to it is open");
                return Err((Invariant::ConnectedIsLinked, detail));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invariant(result: Result<(), Violation>) -> Option<Invariant> {
        result.err().map(|(invariant, _)| invariant)
    }

    #[test]
    fn a_second_dial_of_one_address_is_seen() {
        let address: PeerAddress = "ws://localhost:4002".parse().expect("an address");
        let mut monitor = Monitor::default();
        assert_eq!(invariant(monitor.on_dial(&address, 2)), None);
        assert_eq!(invariant(monitor.on_dial(&address, 2)), Some(Invariant::OneDialPerAddress));
        monitor.on_dialled(&address);
        assert_eq!(invariant(monitor.on_dial(&address, 2)), None, "an answered dial may be repeated");
        assert_eq!(invariant(monitor.on_probe(2)), None);
        assert_eq!(invariant(monitor.on_probe(2)), Some(Invariant::DialsAreBounded));
    }

    #[test]
    fn a_connection_to_where_nothing_was_dialled_is_seen() {
        let [one, other] = ["ws://localhost:1", "ws://localhost:2"].map(|text| text.parse().expect("an address"));
        let mut monitor = Monitor::default();
        assert_eq!(invariant(monitor.on_dial(&one, 2)), None);
        monitor.on_dialled(&one);
        assert_eq!(invariant(monitor.on_call_back(&one)), None);
        assert_eq!(invariant(monitor.on_call_back(&other)), Some(Invariant::CallsBackWhereItDialled));
    }

    #[test]
    fn a_second_store_is_seen() {
        let (kept, new) = (TransactionId([1; 32]), TransactionId([2; 32]));
        let mut monitor = Monitor::new([kept].into_iter());
        assert_eq!(invariant(monitor.on_store(kept)), Some(Invariant::StoredOnce));
        assert_eq!(invariant(monitor.on_store(new)), None);
        assert_eq!(invariant(monitor.on_store(new)), Some(Invariant::StoredOnce));
    }

    #[test]
    fn a_busy_loop_is_seen() {
        let (now, later) = (Duration::from_secs(7), Duration::from_secs(8));
        let mut monitor = Monitor::default();
        assert_eq!(invariant(monitor.on_timeout(now, Some(now), || 0)), Some(Invariant::NoBusyLoop));
        for _ in 0..TIMEOUTS_PER_SECOND {
            assert_eq!(invariant(monitor.on_timeout(now, Some(later), || 0)), None);
        }
        assert_eq!(invariant(monitor.on_timeout(now, Some(later), || 0)), Some(Invariant::NoBusyLoop));
        assert_eq!(invariant(monitor.on_timeout(later, None, || 0)), None, "another second, another count");
    }

    #[test]
    fn links_that_are_checked_together_are_no_busy_loop() {
        let (now, later) = (Duration::from_secs(7), Duration::from_secs(8));
        let mut monitor = Monitor::default();
        for _ in 0..TIMEOUTS_PER_SECOND + 199 {
            assert_eq!(invariant(monitor.on_timeout(now, Some(later), || 199)), None, "a node of a mesh of 200");
        }
        assert_eq!(invariant(monitor.on_timeout(now, Some(later), || 199)), Some(Invariant::NoBusyLoop));
    }
}
