//! What the network's events do: each method is called by the world for the event of its name.

use std::time::Duration;

use meshpool_proto::id::LinkId;
use rand::RngExt;

use super::{Network, Report, WINDOW_BYTES};
use crate::wire::{ACCEPTOR, DIALLER, Dial, End, Item, Purpose, State, Wire};
use crate::world::Event;

impl Network {
    /// A request to connect comes to its target.
    pub fn on_request(&mut self, dial: Dial) -> Option<(usize, Report)> {
        let refused = self.weather.refuse > 0.0 && self.rng.random_bool(self.weather.refuse);
        let delay = self.delay();
        let host = dial.target.map(|target| &self.hosts[target]);
        match (dial.target, host) {
            (Some(target), _) if self.blocked(dial.actor, target) => {
                self.clock.at(dial.deadline, Event::Failed(Box::new(dial), "timed out"));
                None
            }
            (Some(target), Some(host)) if host.up && !refused => {
                let wire = self.wires.len();
                let link = LinkId(host.links.len() as u64);
                let acceptor = End::new(target, host.run, link, State::Open);
                let dialler = End::new(dial.actor, dial.run, LinkId(u64::MAX), State::Opening);
                self.wires.push(Wire { dial, ends: [dialler, acceptor] });
                self.hosts[target].links.push((wire, ACCEPTOR));
                self.wires[wire].ends[ACCEPTOR].last_arrival = self.clock.now() + delay;
                self.clock.after(delay, Event::Answered { wire });
                Some((target, Report::Opened(link, None)))
            }
            _ => {
                self.clock.after(delay, Event::Failed(Box::new(dial), "connection refused"));
                None
            }
        }
    }

    /// A dial failed for good.
    pub fn on_failed(&mut self, dial: Dial, error: &str) -> Option<(usize, Report)> {
        if self.hosts[dial.actor].run != dial.run || !self.hosts[dial.actor].up {
            return None;
        }
        let report = match dial.purpose {
            Purpose::Link => Report::DialFailed(dial.address, error.to_owned()),
            Purpose::Probe(link) => Report::Probed(link, dial.address, None),
        };
        Some((dial.actor, report))
    }

    /// The answer to an upgrade comes to the dialler.
    pub fn on_answered(&mut self, wire: usize) -> Option<(usize, Report)> {
        let dial = self.wires[wire].dial.clone();
        let acceptor = self.wires[wire].ends[ACCEPTOR].actor;
        let host = &self.hosts[dial.actor];
        if host.run != dial.run || !host.up {
            self.wires[wire].ends[DIALLER].shut();
            self.launch(wire, DIALLER, Item::Reset, Duration::ZERO);
            return None;
        }
        if self.wires[wire].ends[DIALLER].state == State::Closed || self.blocked(dial.actor, acceptor) {
            self.wires[wire].ends[DIALLER].shut();
            self.launch(wire, DIALLER, Item::Reset, Duration::ZERO);
            self.clock.at(dial.deadline, Event::Failed(Box::new(dial), "timed out"));
            return None;
        }
        let identity = self.hosts[acceptor].identity;
        let host = &mut self.hosts[dial.actor];
        let link = LinkId(host.links.len() as u64);
        let end = &mut self.wires[wire].ends[DIALLER];
        match dial.purpose {
            Purpose::Link => {
                end.state = State::Open;
                end.link = link;
                host.links.push((wire, DIALLER));
                Some((dial.actor, Report::Opened(link, Some((dial.address, identity)))))
            }
            Purpose::Probe(of) => {
                end.shut();
                self.launch(wire, DIALLER, Item::Close("probed".to_owned()), Duration::ZERO);
                Some((dial.actor, Report::Probed(of, dial.address, identity)))
            }
        }
    }

    /// The writer of an end has a turn. Returns whose queue became shorter.
    pub fn on_drain(&mut self, wire: usize, side: usize) -> Option<(usize, LinkId)> {
        let [a, b] = &self.wires[wire].ends;
        let blocked = self.blocked(a.actor, b.actor);
        let rate = self.hosts[self.wires[wire].ends[1 - side].actor].rate;
        let end = &mut self.wires[wire].ends[side];
        end.draining = false;
        if !end.listens() {
            return None;
        }
        if blocked || end.flight_bytes >= WINDOW_BYTES {
            end.parked = true;
            let moved = end.moved;
            self.held_up.insert((wire, side));
            let event = Event::Stuck { wire, side, moved };
            self.clock.after(self.limits.write_deadline, event);
            return None;
        }
        let item = end.next_item()?;
        end.moved += 1;
        let whose = (end.actor, end.link);
        let writing = Duration::from_nanos(item.bytes() as u64 * 1_000_000_000 / rate.max(1));
        self.launch(wire, side, item, writing);
        let end = &mut self.wires[wire].ends[side];
        if end.waits() {
            end.draining = true;
            self.clock.after(writing, Event::Drain { wire, side });
        }
        Some(whose)
    }

    /// An end that had something to write is looked at again after the write deadline.
    pub fn on_stuck(&mut self, wire: usize, side: usize, moved: u64) -> Option<(usize, Report)> {
        let end = &self.wires[wire].ends[side];
        if end.moved == moved && end.waits() {
            self.on_broken(wire, side, "nothing could be written for too long")
        } else {
            None
        }
    }

    /// Something sent by the end `side` comes to the other.
    pub fn on_arrive(&mut self, wire: usize, side: usize) -> Option<(usize, Report)> {
        let [a, b] = &self.wires[wire].ends;
        if self.blocked(a.actor, b.actor) {
            self.wires[wire].ends[side].stalled += 1;
            self.held_up.insert((wire, side));
            return None;
        }
        let sender = &mut self.wires[wire].ends[side];
        let item = sender.flight.pop_front()?;
        sender.flight_bytes -= item.bytes();
        sender.parked = false;
        self.wake(wire, side);
        let end = &self.wires[wire].ends[1 - side];
        let (actor, link, listens) = (end.actor, end.link, end.listens());
        match item {
            Item::Close(_) | Item::CloseEcho | Item::Reset if !listens => None,
            _ if !listens => {
                // Nobody is there any more: the system says so to whoever still writes.
                let delay = self.delay();
                self.clock.after(delay, Event::Broken { wire, side, cause: "connection reset" });
                None
            }
            Item::Text(frame) if self.lose_transactions_to == Some(actor) && frame.as_str().contains("TRANSACTION") => {
                None
            }
            Item::Text(frame) => Some((actor, Report::Text(link, frame))),
            Item::Pong => Some((actor, Report::Pong(link))),
            Item::Ping => {
                self.launch(wire, 1 - side, Item::Pong, Duration::ZERO);
                None
            }
            Item::Close(reason) => {
                self.wires[wire].ends[1 - side].shut();
                self.launch(wire, 1 - side, Item::CloseEcho, Duration::ZERO);
                Some((actor, Report::Closed(link, reason)))
            }
            Item::CloseEcho => self.on_broken(wire, 1 - side, "closed"),
            Item::Reset => self.on_broken(wire, 1 - side, "connection reset"),
        }
    }

    /// An end learns that its connection is over, if it does not know yet.
    pub fn on_broken(&mut self, wire: usize, side: usize, cause: &str) -> Option<(usize, Report)> {
        let end = &mut self.wires[wire].ends[side];
        let was = end.state;
        if was == State::Closed {
            return None;
        }
        end.shut();
        let (actor, link) = (end.actor, end.link);
        // An end that gave up alone tells the other, which may believe that all is well.
        self.launch(wire, side, Item::Reset, Duration::ZERO);
        (was != State::Opening).then(|| (actor, Report::Closed(link, cause.to_owned())))
    }
}
