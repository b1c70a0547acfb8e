//! What must hold: after every step of a node ([`Watch`]), and of its addresses ([`check_addresses`]); `agreement.rs` has what all must come to together.
//!
//! A check returns what broke, never a bool. It looks at a node from outside only: at the orders that it gives and at the addresses that it
//! says it has, and compares them with what the simulated shell and network know to be true.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use meshpool_proto::Node as Core;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::transaction::TransactionId;

/// A node may ask to be woken this often per second of virtual time, and once more for each of its links, which are looked at every 15 s, those that opened
/// together together; besides, a node of a busy network needs a few.
pub const TIMEOUTS_PER_SECOND: u32 = 200;

/// A node is told this many facts at one instant at most: more, and its orders lead to facts that lead to the same orders.
const FACTS_AT_ONCE: u32 = 10_000;

/// A rule that every run must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// An address is being dialled or connected, not both.
    AttemptingAndConnectedAreDisjoint,
    /// A node lists neither itself nor an address of itself among its connections.
    NeverOurselves,
    /// A connected address leads to a node with which a link is open.
    ConnectedIsLinked,
    /// No order names a link whose end was reported.
    NoOrderForAClosedLink,
    /// An address is dialled once at a time.
    OneDialPerAddress,
    /// No more dials and probes are under way than the limits say.
    DialsAreBounded,
    /// A transaction is stored once.
    StoredOnce,
    /// Nothing is acknowledged before it is on disk.
    AcknowledgedAfterDisk,
    /// What was acknowledged stays in the pool.
    AcknowledgedIsKept,
    /// A node that was woken does not ask to be woken for the same time again, nor all the time.
    NoBusyLoop,
    /// Once nothing disturbs it, the network becomes a full mesh, one link per pair of full peers, and stays one.
    FullMesh,
    /// A node has no more links than its cap allows.
    DegreeWithinCap,
    /// Once nothing disturbs it, a network of capped nodes is connected, everybody has two links where there are two others, and all is at rest.
    ConnectedOverlay,
    /// Once nothing disturbs it, every link of a given graph is open.
    LinksAsWanted,
    /// Once nothing disturbs it, all pools are equal.
    PoolsAgree,
    /// Nobody is closed for misconduct who keeps the rules.
    NobodyHonestIsExpelled,
    /// A node of the exercise is sent nothing that one of its kind dies of.
    NothingKillsPlain,
    /// A client whose link is open gets its answer.
    ClientsAreAnswered,
    /// The core does not panic.
    NoPanic,
}

/// A broken rule: when, where, how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The virtual time.
    pub at: Duration,
    /// The node that broke it, where it is one.
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

/// What one run of one node has done so far, as far as rules speak of it.
#[derive(Debug, Default)]
pub struct Watch {
    dialling: Vec<PeerAddress>,
    probes: usize,
    held: HashSet<TransactionId>,
    second: u64,
    timeouts: u32,
    instant: Duration,
    facts: u32,
}

/// A rule and what was seen; the node adds when and where.
pub type Fault = (Invariant, String);

impl Watch {
    /// The watch of a run that starts with these transactions in its pool.
    pub fn new(held: impl Iterator<Item = TransactionId>) -> Self {
        Self { held: held.collect(), ..Self::default() }
    }

    /// The node orders a dial; `limit`: how many may be under way.
    pub fn on_dial(&mut self, address: &PeerAddress, limit: usize) -> Result<(), Fault> {
        if self.dialling.contains(address) {
            return Err((Invariant::OneDialPerAddress, format!("{address} is being dialled already")));
        }
        self.dialling.push(address.clone());
        self.check_dials(limit)
    }

    /// The node orders a probe.
    pub fn on_probe(&mut self, limit: usize) -> Result<(), Fault> {
        self.probes += 1;
        self.check_dials(limit)
    }

    /// A dial was answered.
    pub fn on_dialled(&mut self, address: &PeerAddress) {
        self.dialling.retain(|dialling| dialling != address);
    }

    /// A probe was answered.
    pub fn on_probed(&mut self) {
        self.probes -= 1;
    }

    /// The node orders to store, or another program wrote into its pool.
    pub fn on_store(&mut self, id: TransactionId) -> Result<(), Fault> {
        if self.held.insert(id) { Ok(()) } else { Err((Invariant::StoredOnce, format!("{id} is in the pool already"))) }
    }

    /// Transactions are gone from the pool: they may be stored again.
    pub fn on_lost(&mut self, ids: &[TransactionId]) {
        ids.iter().for_each(|id| _ = self.held.remove(id));
    }

    /// The node is told a fact.
    pub fn on_fact(&mut self, now: Duration) -> Result<(), Fault> {
        if self.instant != now {
            (self.instant, self.facts) = (now, 0);
        }
        self.facts += 1;
        if self.facts > FACTS_AT_ONCE {
            return Err((
                Invariant::NoBusyLoop,
                format!("more than {FACTS_AT_ONCE} facts at one instant: orders lead round and round"),
            ));
        }
        Ok(())
    }

    /// The node was woken at `now` and asks to be woken at `next` again; it has few links.
    pub fn on_timeout(&mut self, now: Duration, next: Option<Duration>) -> Result<(), Fault> {
        self.on_timeout_with(now, next, || 0)
    }

    /// As [`Self::on_timeout`], for a node of any number of links, which are counted only where they matter.
    pub fn on_timeout_with(
        &mut self,
        now: Duration,
        next: Option<Duration>,
        links: impl FnOnce() -> usize,
    ) -> Result<(), Fault> {
        if next.is_some_and(|next| next <= now) {
            return Err((Invariant::NoBusyLoop, "after a timeout the next is due at once".to_owned()));
        }
        if self.second != now.as_secs() {
            (self.second, self.timeouts) = (now.as_secs(), 0);
        }
        self.timeouts += 1;
        if self.timeouts > TIMEOUTS_PER_SECOND {
            let most = TIMEOUTS_PER_SECOND.saturating_add(u32::try_from(links()).unwrap_or(u32::MAX));
            if self.timeouts > most {
                return Err((Invariant::NoBusyLoop, format!("more than {most} timeouts in a second")));
            }
        }
        Ok(())
    }

    fn check_dials(&self, limit: usize) -> Result<(), Fault> {
        let under_way = self.dialling.len() + self.probes;
        if under_way > limit {
            return Err((
                Invariant::DialsAreBounded,
                format!("{under_way} dials and probes are under way, {limit} are allowed"),
            ));
        }
        Ok(())
    }
}

/// Whether a node keeps its cap.
pub fn check_degree(core: &Core, most: Option<u32>) -> Result<(), Fault> {
    let linked = core.linked_peers();
    match most {
        Some(most) if linked > most as usize => {
            Err((Invariant::DegreeWithinCap, format!("{linked} links, {most} are allowed")))
        }
        _ => Ok(()),
    }
}

/// Compares what a core says of its addresses with the truth. `leads_to` finds the actor of an address; `linked` says whether a link to that
/// actor is open.
pub fn check_addresses(
    core: &Core,
    own: usize,
    leads_to: impl Fn(&PeerAddress) -> Option<usize>,
    linked: impl Fn(usize) -> bool,
) -> Result<(), Fault> {
    let (attempting, connected) = core.addresses();
    if let Some(both) = attempting.iter().find(|address| connected.contains(address)) {
        return Err((Invariant::AttemptingAndConnectedAreDisjoint, format!("{both} is in both sets")));
    }
    let ours = crate::network::Network::address(own);
    if attempting.contains(&ours) {
        return Err((Invariant::NeverOurselves, format!("it dials {ours}")));
    }
    for address in &connected {
        match leads_to(address) {
            Some(actor) if actor == own => {
                return Err((Invariant::NeverOurselves, format!("it is connected to {address}, which is itself")));
            }
            Some(actor) if linked(actor) => {}
            _ => {
                return Err((
                    Invariant::ConnectedIsLinked,
                    format!("it calls {address} connected, and no link to it is open"),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;

    fn invariant(result: Result<(), Fault>) -> Option<Invariant> {
        result.err().map(|(invariant, _)| invariant)
    }

    #[test]
    fn a_second_dial_of_one_address_is_seen() {
        let mut watch = Watch::default();
        assert_eq!(invariant(watch.on_dial(&Network::address(1), 2)), None);
        assert_eq!(invariant(watch.on_dial(&Network::address(1), 2)), Some(Invariant::OneDialPerAddress));
        watch.on_dialled(&Network::address(1));
        assert_eq!(invariant(watch.on_dial(&Network::address(1), 2)), None, "an answered dial may be repeated");
        assert_eq!(invariant(watch.on_probe(2)), None);
        assert_eq!(invariant(watch.on_probe(2)), Some(Invariant::DialsAreBounded));
    }

    #[test]
    fn a_second_store_is_seen() {
        let (kept, new) = (TransactionId([1; 32]), TransactionId([2; 32]));
        let mut watch = Watch::new([kept].into_iter());
        assert_eq!(invariant(watch.on_store(kept)), Some(Invariant::StoredOnce));
        assert_eq!(invariant(watch.on_store(new)), None);
        assert_eq!(invariant(watch.on_store(new)), Some(Invariant::StoredOnce));
    }

    #[test]
    fn a_busy_loop_is_seen() {
        let (now, later) = (Duration::from_secs(7), Duration::from_secs(8));
        let mut watch = Watch::default();
        assert_eq!(invariant(watch.on_timeout(now, Some(now))), Some(Invariant::NoBusyLoop));
        for _ in 0..TIMEOUTS_PER_SECOND {
            assert_eq!(invariant(watch.on_timeout(now, Some(later))), None);
        }
        assert_eq!(invariant(watch.on_timeout(now, Some(later))), Some(Invariant::NoBusyLoop));
        assert_eq!(invariant(watch.on_timeout(later, None)), None, "another second, another count");
    }

    #[test]
    fn links_that_are_looked_at_together_are_no_busy_loop() {
        let (now, later) = (Duration::from_secs(7), Duration::from_secs(8));
        let mut watch = Watch::default();
        for _ in 0..TIMEOUTS_PER_SECOND + 199 {
            assert_eq!(invariant(watch.on_timeout_with(now, Some(later), || 199)), None, "a node of a mesh of 200");
        }
        assert_eq!(invariant(watch.on_timeout_with(now, Some(later), || 199)), Some(Invariant::NoBusyLoop));
    }
}
