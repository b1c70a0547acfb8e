//! Who is where in a network beyond one: public nodes, relays among them, and nodes behind NATs.
//!
//! The first nodes are public and relays on their own ports; some of them do not announce it. A
//! node behind a NAT has no address that others can dial: they reach it by its node id, over a
//! relay. Some public nodes have no endpoint, as those of earlier releases. Exercise peers are
//! public.

use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::NodeId;
use rand::RngExt;

use super::World;
use super::population::Population;
use crate::net::address;
use crate::net::endpoint::{Endpoint, Nat, Relay, hint};

/// How many nodes are relays: one of two nodes, two of four, three of five and more.
pub fn relays(population: Population) -> usize {
    population.native.div_ceil(2).min(3)
}

/// Where a node is, and what it has.
#[derive(Debug, Clone)]
struct Place {
    nat: Nat,
    /// The relays that its user named; `None`: it has no endpoint.
    named: Option<Vec<usize>>,
}

/// Where everybody is, and whom each knows at first.
#[derive(Debug)]
pub struct Layout {
    population: Population,
    places: Vec<Place>,
    /// Which relays are not announced.
    quiet: Vec<bool>,
    known: Vec<Vec<usize>>,
}

impl Layout {
    /// Draws the places. `known[i]` are the actors that actor i knows.
    pub fn draw(population: Population, known: Vec<Vec<usize>>, rng: &mut impl RngExt) -> Self {
        let relays = relays(population);
        let quiet: Vec<bool> = (0..relays).map(|_| rng.random_bool(0.7)).collect();
        let mut place = |actor: usize| {
            let mut named: Vec<usize> = (0..relays).filter(|_| rng.random_bool(0.2)).collect();
            let home = if actor < relays { actor } else { rng.random_range(0..relays) };
            named.retain(|relay| *relay != home);
            named.insert(0, home);
            if named.len() == 1 && relays > 1 && quiet.contains(&true) {
                // Where others cannot learn of it either, one relay alone would be the end.
                named.push((home + rng.random_range(1..relays)) % relays);
            }
            let nat = match rng.random_range(0..10) {
                _ if actor < relays => Nat::None,
                0..3 => Nat::Symmetric,
                3..7 => Nat::Home,
                // One node at least is behind a NAT.
                _ if actor + 1 == population.native => Nat::Home,
                _ => Nat::None,
            };
            let has_endpoint = actor < relays || nat != Nat::None || rng.random_bool(0.5);
            Place { nat, named: has_endpoint.then_some(named) }
        };
        let places = (0..population.native).map(&mut place).collect();
        Self { population, places, quiet, known }
    }

    /// The known-peers files of a world before its nodes have ids: those of the exercise peers.
    pub fn first_known(&self) -> Vec<Vec<PeerAddress>> {
        let public = |known: &Vec<usize>| known.iter().map(|known| address::public(self.public(*known))).collect();
        let exercise = self.known.iter().skip(self.population.native).map(public);
        std::iter::repeat_n(Vec::new(), self.population.native).chain(exercise).collect()
    }

    /// An actor, or the first node instead of one behind a NAT.
    fn public(&self, actor: usize) -> usize {
        if self.places.get(actor).is_some_and(|place| place.nat != Nat::None) { 0 } else { actor }
    }

    /// Places the actors of a world in which nothing runs yet.
    pub fn build(&self, world: &mut World, rng: &mut impl RngExt) {
        (world.net.is_public, world.net.has_nats) = (true, true);
        let ids: Vec<NodeId> = world.nodes().map(super::Node::id).collect();
        for (actor, place) in self.places.iter().enumerate() {
            let host = &mut world.net.hosts[actor];
            host.nat = place.nat;
            host.is_shielded = place.nat != Nat::None;
            host.endpoint = place.named.clone().map(Endpoint::new);
            host.relay = self.quiet.get(actor).map(|quiet| Relay { is_quiet: *quiet, ..Relay::default() });
            let mut known: Vec<_> =
                self.known[actor].iter().map(|known| self.address_of(*known, place, &ids, rng)).collect();
            if rng.random_bool(0.1) {
                // Nobody is there.
                known.push(address::public(self.population.all() + 100));
            }
            if place.named.is_some() && rng.random_bool(0.2) {
                known.push(PeerAddress::of_node(NodeId(rng.random()), [hint(0)]));
            }
            let node = world.node_mut(actor).expect("the first actors are native nodes");
            known.into_iter().for_each(|known| node.add_known_peer(known));
        }
    }

    /// How the user of a node at `from` writes another actor.
    fn address_of(&self, actor: usize, from: &Place, ids: &[NodeId], rng: &mut impl RngExt) -> PeerAddress {
        let Some(place) = self.places.get(actor) else { return address::public(actor) };
        match &place.named {
            // A node stays with the relay that took the place of its home relay, also once that is
            // back: an address that does not name the other one leads to it no more.
            Some(named) if from.named.is_some() && (place.nat != Nat::None || rng.random_bool(0.3)) => {
                let relays = named.iter().copied().chain(0..relays(self.population));
                PeerAddress::of_node(ids[actor], relays.map(hint))
            }
            _ => address::public(self.public(actor)),
        }
    }
}
