//! The world of one run: the actors, the network between them, and the step that moves all of it.
//!
//! One step takes one event, hands it to whom it concerns, and checks the node that had to do with it. Actors are numbered: the full peers, then
//! the plain peers, then the clients. The world ends with the first broken rule.

use std::time::Duration;

use meshpool_proto::Input;
use meshpool_proto::id::NodeId;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::{Transaction, TransactionId};
use rand::RngExt;

use crate::check::Broken;
use crate::client::Client;
use crate::faults::{Cast, FAST, Fault};
use crate::ledger::Ledger;
use crate::load::{Entry, Way};
use crate::network::{Network, Report};
use crate::node::Node;
use crate::plain::{Habits, Plain};
use crate::wire::Dial;

/// A node's addresses are compared with the truth after each of its steps in a world of at most so many nodes; in a larger one, of n nodes, after every
/// n-th step: a look costs as much as the node has links.
const LARGE: usize = 64;

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A request to connect comes to its target.
    Request(Box<Dial>),
    /// A dial failed.
    Failed(Box<Dial>, &'static str),
    /// The answer to an upgrade comes to the dialler.
    Answered {
        /// The new wire.
        wire: usize,
    },
    /// The writer of an end has a turn.
    Drain {
        /// Which wire.
        wire: usize,
        /// Which end.
        side: usize,
    },
    /// Something sent by an end arrives at the other.
    Arrive {
        /// Which wire.
        wire: usize,
        /// The sender's end.
        side: usize,
    },
    /// An end learns that its connection is over.
    Broken {
        /// Which wire.
        wire: usize,
        /// Which end.
        side: usize,
        /// Why.
        cause: &'static str,
    },
    /// An end that could not write is looked at again.
    Stuck {
        /// Which wire.
        wire: usize,
        /// Which end.
        side: usize,
        /// How much it had written.
        moved: u64,
    },
    /// A node's timer rings.
    Timer {
        /// Whose.
        actor: usize,
        /// Of which run.
        run: u32,
    },
    /// A node's write to its disk ends.
    Disk {
        /// Whose.
        actor: usize,
        /// Of which run.
        run: u32,
    },
    /// A fault, or its end.
    Fault(Box<Fault>),
    /// A transaction enters.
    Enter(Box<Entry>),
}

/// Whoever takes part.
#[derive(Debug)]
enum Actor {
    Full(Box<Node>),
    Plain(Plain),
    Client(Client),
}

/// The whole of a run.
#[derive(Debug)]
pub struct World {
    /// Hosts, wires, the clock and the trace.
    pub net: Network,
    cast: Cast,
    actors: Vec<Actor>,
    steps: usize,
    /// After every so many steps the addresses of the node concerned are compared with the truth.
    look_every: usize,
    requests: u64,
    parser: Parser,
}

impl World {
    /// A world in which nothing runs yet. `known[i]` are the addresses in the known-peers file of the actor i.
    pub fn new(
        seed: u64,
        cast: Cast,
        known: Vec<Vec<meshpool_proto::address::PeerAddress>>,
        limits: Limits,
        print: bool,
    ) -> Self {
        let mut net = Network::new(seed, limits, print);
        net.listening = cast.nodes + cast.plain;
        let mut actors = Vec::new();
        for (actor, known) in known.into_iter().enumerate() {
            net.add_host();
            actors.push(if actor < cast.nodes {
                Actor::Full(Box::new(Node::new(actor, NodeId(net.rng.random()), known)))
            } else {
                Actor::Plain(Plain::new(actor, known, Habits::draw(&mut net.rng)))
            });
        }
        let look_every = if cast.nodes <= LARGE { 1 } else { cast.nodes };
        Self { net, cast, actors, steps: 0, look_every, requests: 0, parser: Parser::new() }
    }

    /// From now on a transaction is followed on its way, and the world is looked at less often: what is measured is large, or there is much of it.
    pub fn measure(&mut self) {
        self.net.trace.silent = true;
        self.net.ledger = Some(Ledger::new(self.cast.nodes));
        self.look_every = self.cast.nodes;
    }

    /// Who is there.
    pub fn cast(&self) -> Cast {
        self.cast
    }

    /// The full peers.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.actors.iter().filter_map(|actor| if let Actor::Full(node) = actor { Some(&**node) } else { None })
    }

    /// The plain peers.
    pub fn plains(&self) -> impl Iterator<Item = &Plain> {
        self.actors.iter().filter_map(|actor| if let Actor::Plain(plain) = actor { Some(plain) } else { None })
    }

    /// The clients, those that are done included.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.actors.iter().filter_map(|actor| if let Actor::Client(client) = actor { Some(client) } else { None })
    }

    /// Hands a fact to a full peer, if it runs.
    ///
    /// # Errors
    /// A rule that it breaks.
    pub fn fact(&mut self, actor: usize, input: Input) -> Result<(), Broken> {
        match &mut self.actors[actor] {
            Actor::Full(node) => node.fact(&mut self.net, input),
            Actor::Plain(_) | Actor::Client(_) => Ok(()),
        }
    }

    /// Removes transactions from the file of a full peer's pool, if it runs.
    ///
    /// # Errors
    /// A rule that it breaks.
    pub fn lose(&mut self, actor: usize, ids: Vec<TransactionId>) -> Result<(), Broken> {
        match &mut self.actors[actor] {
            Actor::Full(node) => node.lose(&mut self.net, ids),
            Actor::Plain(_) | Actor::Client(_) => Ok(()),
        }
    }

    /// A full peer, to break it for a test of the checks.
    pub fn node_mut(&mut self, actor: usize) -> Option<&mut Node> {
        if let Some(Actor::Full(node)) = self.actors.get_mut(actor) { Some(node) } else { None }
    }

    /// Whether an actor's process runs.
    pub fn is_up(&self, actor: usize) -> bool {
        match &self.actors[actor] {
            Actor::Full(node) => node.is_up(),
            Actor::Plain(plain) => plain.is_up(),
            Actor::Client(_) => true,
        }
    }

    /// Runs until a virtual time.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn run_until(&mut self, end: Duration) -> Result<(), Broken> {
        while let Some(event) = self.net.clock.next(end) {
            self.steps += 1;
            let touched = self.happen(event)?;
            if let Some(Actor::Full(node)) = touched.map(|actor| &self.actors[actor])
                && self.steps.is_multiple_of(self.look_every)
            {
                node.check(&self.net)?;
            }
        }
        Ok(())
    }

    /// Compares what every full peer says of its addresses with the truth.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_all(&self) -> Result<(), Broken> {
        self.nodes().try_for_each(|node| node.check(&self.net))
    }

    /// Does what an event says. Returns the actor that was told of it.
    fn happen(&mut self, event: Event) -> Result<Option<usize>, Broken> {
        let report = match event {
            Event::Request(dial) => self.net.on_request(*dial),
            Event::Failed(dial, error) => self.net.on_failed(*dial, error),
            Event::Answered { wire } => self.net.on_answered(wire),
            Event::Arrive { wire, side } => self.net.on_arrive(wire, side),
            Event::Broken { wire, side, cause } => self.net.on_broken(wire, side, cause),
            Event::Stuck { wire, side, moved } => self.net.on_stuck(wire, side, moved),
            Event::Drain { wire, side } => return self.on_drain(wire, side),
            Event::Timer { actor, run } => return self.tell(actor, run, |node, net| node.on_timer(net)),
            Event::Disk { actor, run } => return self.tell(actor, run, |node, net| node.on_disk(net)),
            Event::Fault(fault) => {
                self.apply(&fault)?;
                None
            }
            Event::Enter(entry) => return self.enter(&entry),
        };
        let Some((actor, report)) = report else { return Ok(None) };
        self.report(actor, report)?;
        Ok(Some(actor))
    }

    fn report(&mut self, actor: usize, report: Report) -> Result<(), Broken> {
        match &mut self.actors[actor] {
            Actor::Full(node) => node.report(&mut self.net, report)?,
            Actor::Plain(plain) => plain.report(&mut self.net, report).map_err(|(invariant, detail)| Broken {
                at: self.net.clock.now(),
                node: Some(actor),
                invariant,
                detail,
            })?,
            Actor::Client(client) => client.report(&mut self.net, report),
        }
        Ok(())
    }

    /// Tells a full peer something, unless the run of it that was meant is over.
    fn tell(
        &mut self,
        actor: usize,
        run: u32,
        what: impl FnOnce(&mut Node, &mut Network) -> Result<(), Broken>,
    ) -> Result<Option<usize>, Broken> {
        match &mut self.actors[actor] {
            Actor::Full(node) if self.net.hosts[actor].run == run && node.is_up() => what(node, &mut self.net)?,
            _ => return Ok(None),
        }
        Ok(Some(actor))
    }

    /// A writer had its turn. Returns the full peer that was told of it, if one was.
    fn on_drain(&mut self, wire: usize, side: usize) -> Result<Option<usize>, Broken> {
        if let Some((actor, link)) = self.net.on_drain(wire, side)
            && let Actor::Full(node) = &mut self.actors[actor]
        {
            node.on_drained(&mut self.net, link)?;
            return Ok(Some(actor));
        }
        Ok(None)
    }

    /// Brings a fault about, or ends it. One that does not apply any more does nothing.
    ///
    /// # Errors
    /// A rule that a starting node breaks.
    pub fn apply(&mut self, fault: &Fault) -> Result<(), Broken> {
        self.net.trace.note(self.net.clock.now(), usize::MAX, "fault", 0, format_args!("{fault:?}"));
        match fault {
            Fault::Cut(pick) => {
                let links: Vec<_> = (0..self.net.wires.len()).filter(|wire| self.net.wires[*wire].is_link()).collect();
                if !links.is_empty() {
                    self.net.cut(links[(pick % links.len() as u64) as usize]);
                }
            }
            Fault::CutPart(part) => {
                let links: Vec<_> = (0..self.net.wires.len()).filter(|wire| self.net.wires[*wire].is_link()).collect();
                for wire in links {
                    if self.net.rng.random_range(0..1000) < *part {
                        self.net.cut(wire);
                    }
                }
            }
            Fault::Turn(actor, conduct) => {
                if let Some(node) = self.node_mut(*actor) {
                    node.conduct = *conduct;
                    self.net.liars.insert(*actor);
                }
                if let Some(ledger) = &mut self.net.ledger {
                    ledger.distrust(*actor);
                }
            }
            Fault::Stop { actor, power_lost } if self.is_up(*actor) => match &mut self.actors[*actor] {
                Actor::Full(node) => node.stop(&mut self.net, *power_lost),
                Actor::Plain(plain) => plain.stop(&mut self.net, *power_lost),
                Actor::Client(_) => {}
            },
            Fault::Start(actor) if !self.is_up(*actor) => {
                match &mut self.actors[*actor] {
                    Actor::Full(node) => node.start(&mut self.net)?,
                    Actor::Plain(plain) => plain.start(&mut self.net),
                    Actor::Client(client) => client.start(&mut self.net),
                }
                self.net.resume();
            }
            Fault::Stop { .. } | Fault::Start(_) => {}
            Fault::Split(groups) => {
                for (host, group) in self.net.hosts.iter_mut().zip(groups) {
                    host.group = *group;
                }
            }
            Fault::Heal => {
                self.net.hosts.iter_mut().for_each(|host| host.group = 0);
                self.net.resume();
            }
            Fault::DiskFails(actor) | Fault::DiskWorks(actor) => {
                if let Some(node) = self.node_mut(*actor) {
                    node.set_disk_failing(matches!(fault, Fault::DiskFails(_)));
                }
            }
            Fault::Reads(actor, rate) => self.net.hosts[*actor].rate = *rate,
            Fault::Weather(delay, jitter) => {
                self.net.weather.delay = Duration::from_millis(*delay);
                self.net.weather.jitter = Duration::from_millis(*jitter);
            }
        }
        Ok(())
    }

    /// Ends all faults: everybody runs, reads and writes, and reaches everybody.
    ///
    /// # Errors
    /// A rule that a starting node breaks.
    pub fn mend(&mut self) -> Result<(), Broken> {
        self.apply(&Fault::Heal)?;
        self.apply(&Fault::Weather(1, 4))?;
        self.net.weather.refuse = 0.0;
        for actor in 0..self.net.listening {
            self.apply(&Fault::Reads(actor, FAST))?;
            self.apply(&Fault::DiskWorks(actor))?;
            self.apply(&Fault::Start(actor))?;
        }
        Ok(())
    }

    /// A transaction enters, if its place runs. Returns the full peer that was told of it, if one was.
    fn enter(&mut self, entry: &Entry) -> Result<Option<usize>, Broken> {
        if !self.is_up(entry.actor) {
            return Ok(None);
        }
        let transaction =
            Transaction::parse(&mut self.parser, &entry.body).expect("the load is made of valid transactions");
        if let Some(ledger) = &mut self.net.ledger {
            ledger.enter(self.net.clock.now(), transaction.id(), entry.actor);
        }
        match (&mut self.actors[entry.actor], entry.way) {
            (Actor::Full(node), Way::Submit) => {
                self.requests += 1;
                node.submit(&mut self.net, self.requests, transaction)?;
                return Ok(Some(entry.actor));
            }
            (Actor::Full(node), Way::File) => {
                node.find(&mut self.net, transaction)?;
                return Ok(Some(entry.actor));
            }
            (Actor::Full(_), _) => {
                let group = self.net.hosts[entry.actor].group;
                let actor = self.actors.len();
                self.net.add_host();
                self.net.hosts[actor].group = group;
                let mut client = Client::new(actor, entry.actor, &entry.body);
                client.start(&mut self.net);
                self.actors.push(Actor::Client(client));
            }
            (Actor::Plain(plain), _) => plain.submit(&mut self.net, &entry.body),
            (Actor::Client(_), _) => {}
        }
        Ok(None)
    }
}
