//! Links by node id: dials over relays, and paths that become direct and fall back.
//!
//! A dial reaches a node over a relay that both use now: the target is reached over it, and the
//! dialler knows it or finds it behind the address. While a relay is away nothing arrives over it
//! and nothing is lost, as QUIC sends again; each end gives the connection up after [`SILENCE`].

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::{LinkId, NodeId};
use rand::RngExt;

use super::address;
use super::endpoint::LOOK;
use super::event::Event;
use super::network::{LinkEvent, Network};
use super::wire::{Dial, End, EndId, Path, State};

/// How long nothing arrives on a connection between endpoints before it ends.
const SILENCE: Duration = Duration::from_secs(12);
/// How much longer an item takes over a relay.
const DETOUR: Duration = Duration::from_millis(40);
/// How many bytes per second a relay forwards on one link.
const RELAY_RATE: u64 = 256 * 1024;

impl Network {
    /// The address of an actor, as others see it.
    pub fn address_of(&self, actor: usize) -> PeerAddress {
        match self.has_nats {
            false => address::of(actor),
            true if self.hosts[actor].is_shielded => address::private(actor),
            true => address::public(actor),
        }
    }

    /// The node that a link proves, if it is between two endpoints.
    pub fn authenticated(&self, actor: usize, link: LinkId) -> Option<NodeId> {
        let end = self.end_id(actor, link).filter(|end| self.wires.path(end.wire).is_iroh())?;
        self.hosts[self.wires[end.other()].actor].identity.map(|identity| identity.node)
    }

    /// The paths of an actor's links between endpoints, for people.
    pub fn paths(&self, actor: usize) -> Vec<(LinkId, String, Duration)> {
        let path = |id: EndId| {
            let end = &self.wires[id];
            let (path, detour) = match self.wires.path(id.wire) {
                Path::Tcp => return None,
                Path::Relayed(relay) => (format!("relay {}", super::endpoint::hint(relay)), DETOUR),
                Path::Direct => ("direct".to_owned(), Duration::ZERO),
            };
            end.is_readable().then(|| (end.link, path, (self.conditions.delay + detour) * 2))
        };
        self.links(actor).filter_map(path).collect()
    }

    /// Which run of a relay an actor reaches.
    fn reaches_relay(&self, actor: usize, relay: usize) -> Option<u32> {
        let host = self.hosts.get(relay).filter(|host| host.is_up)?;
        let serves = host.relay.filter(|served| !served.is_stopped && !self.is_blocked(actor, relay))?;
        Some(serves.run)
    }

    /// Whether nothing arrives on a wire with this path.
    pub(super) fn is_path_blocked(&self, path: Path, ends: [usize; 2]) -> bool {
        match path {
            Path::Tcp | Path::Direct => self.is_blocked(ends[0], ends[1]),
            Path::Relayed(relay) => ends.iter().any(|end| self.reaches_relay(*end, relay).is_none()),
        }
    }

    /// What the path of a wire adds to the delay of an item.
    pub(super) fn detour(&mut self, wire: usize) -> Duration {
        match self.wires.path(wire) {
            Path::Relayed(_) => DETOUR.mul_f64(self.rng.random_range(0.5..1.5)),
            Path::Tcp | Path::Direct => Duration::ZERO,
        }
    }

    /// The most bytes per second on a wire; `rate`: what its reader takes.
    pub(super) fn rate_on(&self, wire: usize, rate: u64) -> u64 {
        if matches!(self.wires.path(wire), Path::Relayed(_)) { rate.min(RELAY_RATE) } else { rate }
    }

    /// The IP address from which a link of this path appears to come.
    pub(super) fn ip_over(&self, path: Path, other: usize) -> IpAddr {
        match path {
            // Of its own host, behind a NAT or not.
            _ if self.has_nats && other >= self.listening => Ipv4Addr::LOCALHOST.into(),
            Path::Relayed(relay) => self.ip_of(relay),
            Path::Tcp | Path::Direct => self.ip_of(other),
        }
    }

    /// The relay over which a dial by id meets its target.
    fn meeting_relay(&self, dialler: usize, target: usize, address: &PeerAddress) -> Option<usize> {
        let own = self.hosts[dialler].endpoint.iter().flat_map(|endpoint| endpoint.relays().iter().copied());
        let named = address.relays().iter().filter_map(|hint| {
            let at = PeerAddress::new(&hint.host(), hint.port()).ok()?;
            address::actor_at(&at).filter(|relay| *relay < self.listening)
        });
        let endpoint = self.hosts[target].endpoint.as_ref().filter(|_| self.hosts[target].is_up)?;
        named.chain(own).find(|relay| {
            let is_there = |run| endpoint.is_at(*relay, run) && self.reaches_relay(target, *relay) == Some(run);
            self.reaches_relay(dialler, *relay).is_some_and(is_there)
        })
    }

    /// Handles a dial by id.
    pub(super) fn on_id_request(&mut self, dial: Dial) -> Option<(usize, LinkEvent)> {
        let dialler = dial.from.actor;
        let knows_none = dial.address.relays().is_empty()
            && self.hosts[dialler].endpoint.as_ref().is_none_or(|endpoint| endpoint.relays().is_empty());
        if knows_none {
            let delay = self.delay();
            self.clock.after(delay, Event::DialFailed(Box::new(dial), "no relay is known"));
            return None;
        }
        let target = dial.address.node().and_then(|node| self.actor_of(node));
        let met = target.and_then(|target| Some((target, self.meeting_relay(dialler, target, &dial.address)?)));
        let Some((target, relay)) = met else {
            self.clock.at(dial.deadline, Event::DialFailed(Box::new(dial), "timed out"));
            return None;
        };
        let delay = self.delay() + DETOUR;
        let event = self.open(dial, target, Path::Relayed(relay), delay);
        if let Some((_, LinkEvent::Opened(link, _))) = &event
            && let Some(end) = self.end_id(target, *link)
        {
            self.schedule_path(end.wire);
        }
        event
    }

    fn schedule_path(&mut self, wire: usize) {
        let [one, other] = self.wires.actors(wire);
        if self.hosts[one].nat.is_punched(self.hosts[other].nat) {
            // Mostly at once; a packet that is lost takes a second, a report of the NAT several.
            let most = if self.rng.random_range(0..4) == 0 { 8_000 } else { 300 };
            let delay = Duration::from_millis(self.rng.random_range(50..most));
            self.clock.after(delay, Event::Path(wire));
        }
    }

    /// Makes the path of a wire direct, if the two hosts reach each other. They agree on it over
    /// the relay.
    pub(super) fn on_path(&mut self, wire: usize) {
        let ends = [EndId::dialler(wire), EndId::acceptor(wire)];
        let actors = self.wires.actors(wire);
        if ends.iter().any(|end| self.wires[*end].state == State::Closed) || self.wires.path(wire) == Path::Direct {
            return;
        }
        if self.is_blocked(actors[0], actors[1]) || self.is_wire_blocked(ends[0]) {
            self.schedule_path(wire);
            return;
        }
        self.note(actors[0], "direct", wire as u64, format_args!("to node {}", actors[1]));
        self.wires.set_path(wire, Path::Direct);
    }

    /// Ends a direct path. Its link goes on over a relay of both, if there is one.
    pub fn end_path(&mut self, number: u64) {
        let direct: Vec<_> = self.direct_links().collect();
        if direct.is_empty() {
            return;
        }
        let wire = direct[(number % direct.len() as u64) as usize];
        let [one, other] = self.wires.actors(wire);
        let relays = self.hosts[one].endpoint.iter().chain(&self.hosts[other].endpoint);
        let mut relays = relays.flat_map(|endpoint| endpoint.relays().iter().copied());
        let relay = relays.find(|relay| !self.is_path_blocked(Path::Relayed(*relay), [one, other]));
        if let Some(relay) = relay {
            self.note(one, "relayed", wire as u64, format_args!("to node {other} over {relay}"));
            self.wires.set_path(wire, Path::Relayed(relay));
            self.schedule_path(wire);
        }
    }

    /// The wires that are open links with a direct path between endpoints.
    pub fn direct_links(&self) -> impl Iterator<Item = usize> {
        self.wires.open_links().filter(|wire| self.wires.path(*wire) == Path::Direct)
    }

    /// Looks at the home relay and the links of an actor's endpoint. Returns where the node is
    /// reached if that changed.
    pub fn look(&mut self, actor: usize, node: NodeId) -> Option<Option<PeerAddress>> {
        let home = self.hosts[actor].endpoint.as_ref()?.relays().first().copied();
        let run = home.and_then(|relay| self.reaches_relay(actor, relay));
        for id in self.links(actor).collect::<Vec<_>>() {
            let silent = self.wires.path(id.wire).is_iroh() && self.wires[id].is_readable() && self.is_wire_blocked(id);
            let end: &mut End = &mut self.wires[id];
            end.silent = if silent { end.silent + 1 } else { 0 };
            if LOOK * end.silent >= SILENCE {
                self.clock.after(Duration::ZERO, Event::Broken(id, "timed out"));
            }
        }
        let now = self.clock.now();
        self.hosts[actor].endpoint.as_mut()?.on_look(run, node, now)
    }
}
