//! The endpoint of a node for links by node id: a model of what the runtime does around iroh.
//!
//! It knows up to three relays, and is reached over one of them: its home relay. Once that is away
//! for `PATIENCE` the next one takes its place. Where the node is reached is reported to the core
//! as the runtime does: all relays, for as long as the home relay is connected.

use std::time::Duration;

use meshpool_proto::address::{PeerAddress, RelayHint};
use meshpool_proto::id::NodeId;

use super::address;

/// How often the endpoint looks at its home relay.
pub const LOOK: Duration = Duration::from_secs(1);
/// How long the home relay may be away before another one takes its place.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many relays are kept.
const RELAYS: usize = 3;

/// What stands between a host and the rest of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// Nothing: everybody reaches it.
    None,
    /// It keeps the port, whatever the target is, and lets in what answers.
    Home,
    /// Another port for each target, so that nobody knows where to send the first packet.
    Symmetric,
}

impl Nat {
    /// Whether two hosts get a direct path, once they know of each other over a relay.
    pub fn is_punched(self, other: Self) -> bool {
        self == Self::None || other == Self::None || (self, other) == (Self::Home, Self::Home)
    }
}

/// A relay, on the port of its node.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relay {
    /// How often it was started: who was connected to an earlier run has to connect again.
    pub run: u32,
    /// It does not serve although its node runs.
    pub is_stopped: bool,
    /// Its node does not say that it is a relay: only those use it whose users named it.
    pub is_quiet: bool,
}

/// An endpoint.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// The relays that the user named, by actor.
    named: Vec<usize>,
    /// The relays that are known in this run, the home relay first.
    relays: Vec<usize>,
    /// Which run of the home relay it is connected to.
    connection: Option<u32>,
    /// Since when the home relay is away.
    away: Option<Duration>,
    /// What the core was told last.
    told: Option<Vec<usize>>,
}

/// The relay of an actor, as others are told of it.
pub fn hint(relay: usize) -> RelayHint {
    address::public(relay).as_relay().expect("it has a host and a port")
}

impl Endpoint {
    /// An endpoint of which the user named these relays.
    pub fn new(named: Vec<usize>) -> Self {
        Self { relays: named.clone(), named, ..Self::default() }
    }

    /// Starts with the node's process: what was learned before is forgotten.
    pub fn start(&mut self) {
        *self = Self::new(std::mem::take(&mut self.named));
    }

    /// Takes up the relay of a peer.
    pub fn learn(&mut self, relay: usize) {
        if !self.relays.contains(&relay) && self.relays.len() < RELAYS {
            self.relays.push(relay);
        }
    }

    /// The relays that it knows, the home relay first.
    pub fn relays(&self) -> &[usize] {
        &self.relays
    }

    /// Whether it is connected to this run of a relay, so that others reach it there.
    pub fn is_at(&self, relay: usize, run: u32) -> bool {
        self.relays.first() == Some(&relay) && self.connection == Some(run)
    }

    /// Notes which run of the home relay can be reached. Returns the node's address if it changed.
    pub fn on_look(&mut self, run: Option<u32>, node: NodeId, now: Duration) -> Option<Option<PeerAddress>> {
        self.connection = run;
        if run.is_some() || self.relays.is_empty() {
            self.away = None;
        } else if self.relays.len() > 1 && now.saturating_sub(*self.away.get_or_insert(now)) >= PATIENCE {
            self.relays.rotate_left(1);
            self.away = Some(now);
        }
        let tells = run.map(|_| self.relays.clone());
        if tells == self.told {
            return None;
        }
        self.told = tells;
        Some(self.told.as_ref().map(|relays| PeerAddress::of_node(node, relays.iter().copied().map(hint))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_relay_takes_the_place_of_one_that_stays_away() {
        let mut endpoint = Endpoint::new(vec![4]);
        let node = NodeId([1; 32]);
        let look = |endpoint: &mut Endpoint, run, seconds| {
            let told = endpoint.on_look(run, node, Duration::from_secs(seconds));
            told.map(|address| address.map(|address| address.relays().to_vec()))
        };
        assert_eq!(look(&mut endpoint, Some(1), 0), Some(Some(vec![hint(4)])));
        assert!(endpoint.is_at(4, 1) && !endpoint.is_at(4, 2) && !endpoint.is_at(3, 1));
        endpoint.learn(3);
        assert_eq!(look(&mut endpoint, Some(1), 1), Some(Some(vec![hint(4), hint(3)])));
        assert_eq!(look(&mut endpoint, None, 2), Some(None));
        assert_eq!(look(&mut endpoint, None, 6), None);
        assert_eq!(endpoint.relays(), [4, 3]);
        assert_eq!(look(&mut endpoint, None, 7), None);
        assert_eq!(look(&mut endpoint, Some(1), 8), Some(Some(vec![hint(3), hint(4)])));
        endpoint.start();
        assert_eq!(endpoint.relays(), [4], "what was learned is gone");
    }

    #[test]
    fn a_symmetric_nat_meets_public_hosts_only() {
        assert!(Nat::Home.is_punched(Nat::Home) && Nat::Symmetric.is_punched(Nat::None));
        assert!(!Nat::Home.is_punched(Nat::Symmetric) && !Nat::Symmetric.is_punched(Nat::Symmetric));
    }
}
