//! The world of one run: the actors, the network between them, and the loop that moves both.
//!
//! The loop takes an event, gives it to the network or an actor, and checks the node concerned.
//! Actors are numbered: native nodes, then exercise peers, then clients. A run ends with the first
//! broken rule.

pub mod faults;
pub mod load;
pub mod population;
pub mod wan;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use meshpool_proto::Input;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::id::NodeId;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::{Transaction, TransactionId};
use rand::RngExt;

use crate::actors::client::Client;
use crate::actors::exercise_peer::{ExercisePeer, Variant};
use crate::actors::node::Node;
use crate::checks::rules::{Broken, Invariant};
use crate::net::delivery_stats::DeliveryStats;
use crate::net::event::{Event, Fault, NewTransaction, Source};
use crate::net::network::{LinkEvent, Network, READ_RATE};
use crate::net::wire::Process;
use population::Population;

/// Up to so many nodes a node is checked after each of its steps; in a larger world of n nodes
/// after every n-th step, because a check costs as much as the node has links.
const LARGE: usize = 64;

#[derive(Debug)]
enum Actor {
    Native(Box<Node>),
    Exercise(ExercisePeer),
    Client(Client),
}

/// All of a run.
#[derive(Debug)]
pub struct World {
    /// Hosts, wires and the clock.
    pub net: Network,
    population: Population,
    actors: Vec<Actor>,
    steps: usize,
    /// After every so many steps the node concerned is checked.
    check_every: usize,
    requests: u64,
    parser: Parser,
}

impl World {
    /// A world in which nothing runs yet. `known[i]` is the known-peers file of actor i.
    pub fn new(seed: u64, population: Population, known: Vec<Vec<PeerAddress>>, limits: Limits, print: bool) -> Self {
        let mut net = Network::new(seed, limits, print);
        net.listening = population.all();
        let mut actors = Vec::new();
        for (actor, known) in known.into_iter().enumerate() {
            net.add_host();
            actors.push(if actor < population.native {
                Actor::Native(Box::new(Node::new(actor, NodeId(net.rng.random()), known)))
            } else {
                Actor::Exercise(ExercisePeer::new(actor, known, Variant::draw(&mut net.rng)))
            });
        }
        let check_every = if population.native <= LARGE { 1 } else { population.native };
        Self { net, population, actors, steps: 0, check_every, requests: 0, parser: Parser::new() }
    }

    /// Measures deliveries from now on, and checks the nodes less often.
    pub fn measure(&mut self) {
        self.net.stats = Some(DeliveryStats::new(self.population.native));
        self.check_every = self.population.native;
    }

    /// How many actors there are.
    pub fn population(&self) -> Population {
        self.population
    }

    /// The native nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.actors.iter().filter_map(|actor| if let Actor::Native(node) = actor { Some(&**node) } else { None })
    }

    /// The exercise peers.
    pub fn exercise_peers(&self) -> impl Iterator<Item = &ExercisePeer> {
        self.actors.iter().filter_map(|actor| if let Actor::Exercise(peer) = actor { Some(peer) } else { None })
    }

    /// The clients, including those that are done.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.actors.iter().filter_map(|actor| if let Actor::Client(client) = actor { Some(client) } else { None })
    }

    /// A native node, to configure it or to break it for a test of the checks.
    pub fn node_mut(&mut self, actor: usize) -> Option<&mut Node> {
        if let Some(Actor::Native(node)) = self.actors.get_mut(actor) { Some(node) } else { None }
    }

    /// An exercise peer, to give it habits.
    pub fn exercise_mut(&mut self, actor: usize) -> Option<&mut ExercisePeer> {
        if let Some(Actor::Exercise(peer)) = self.actors.get_mut(actor) { Some(peer) } else { None }
    }

    /// Whether an actor's process runs.
    pub fn is_up(&self, actor: usize) -> bool {
        match &self.actors[actor] {
            Actor::Native(node) => node.is_up(),
            Actor::Exercise(peer) => peer.is_up(),
            Actor::Client(_) => true,
        }
    }

    /// The virtual time since the start.
    pub fn now(&self) -> Duration {
        self.net.clock.now()
    }

    /// Schedules a fault, a transaction or another event.
    pub fn at(&mut self, at: Duration, event: impl Into<Event>) {
        self.net.clock.at(at, event.into());
    }

    /// Gives an input to a native node, if it runs.
    ///
    /// # Errors
    /// A rule that it breaks.
    pub fn handle(&mut self, actor: usize, input: Input) -> Result<(), Broken> {
        match &mut self.actors[actor] {
            Actor::Native(node) => node.handle(&mut self.net, input),
            Actor::Exercise(_) | Actor::Client(_) => Ok(()),
        }
    }

    /// Removes transactions from the pool file of a native node.
    ///
    /// # Errors
    /// A rule that it breaks.
    pub fn remove_from_file(&mut self, actor: usize, ids: Vec<TransactionId>) -> Result<(), Broken> {
        match &mut self.actors[actor] {
            Actor::Native(node) => node.remove_from_file(&mut self.net, ids),
            Actor::Exercise(_) | Actor::Client(_) => Ok(()),
        }
    }

    /// Runs an experiment. A panic of a core counts as a broken rule.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn play<T>(&mut self, play: impl FnOnce(&mut Self) -> Result<T, Broken>) -> Result<T, Broken> {
        catch_unwind(AssertUnwindSafe(|| play(self))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(self.broken(Invariant::NoPanic, None, text.unwrap_or("a panic without a text").to_owned()))
        })
    }

    /// Runs until a virtual time.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn run_until(&mut self, end: Duration) -> Result<(), Broken> {
        while let Some(event) = self.net.clock.next(end) {
            self.steps += 1;
            let touched = self.on_event(event)?;
            if let Some(Actor::Native(node)) = touched.map(|actor| &self.actors[actor])
                && self.steps.is_multiple_of(self.check_every)
            {
                node.check(&self.net)?;
            }
        }
        Ok(())
    }

    /// Runs for a time.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Broken> {
        self.run_until(self.now() + time)
    }

    /// Runs until a check passes, which is repeated at this interval. Returns how long that took.
    ///
    /// # Errors
    /// The first rule that broke, or what the check returns after `within`.
    pub fn settle(
        &mut self,
        within: Duration,
        interval: Duration,
        check: impl Fn(&Self) -> Result<(), Broken>,
    ) -> Result<Duration, Broken> {
        let start = self.now();
        loop {
            let elapsed = self.now() - start;
            match check(self) {
                Ok(()) => return Ok(elapsed),
                Err(broken) if elapsed >= within => return Err(broken),
                Err(_) => self.run_for(interval)?,
            }
        }
    }

    /// Checks all native nodes.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check_all(&self) -> Result<(), Broken> {
        self.nodes().try_for_each(|node| node.check(&self.net))
    }

    /// A rule that is broken now.
    pub fn broken(&self, invariant: Invariant, node: Option<usize>, detail: String) -> Broken {
        Broken { at: self.now(), node, invariant, detail }
    }

    /// Returns the actor that handled the event, if one did.
    fn on_event(&mut self, event: Event) -> Result<Option<usize>, Broken> {
        match event {
            Event::Timer(process) => self.on_process_event(process, Node::on_timer),
            Event::Look(process) => self.on_process_event(process, Node::on_look),
            Event::Lie(process) => self.on_process_event(process, Node::on_lie),
            Event::DiskWritten(process) => self.on_process_event(process, Node::on_disk_written),
            Event::Fault(fault) => self.apply(&fault).map(|()| None),
            Event::Enter(transaction) => self.enter(&transaction),
            event => {
                let Some((actor, event)) = self.net.on_event(event) else { return Ok(None) };
                self.on_link_event(actor, event)?;
                Ok(Some(actor))
            }
        }
    }

    fn on_link_event(&mut self, actor: usize, event: LinkEvent) -> Result<(), Broken> {
        match &mut self.actors[actor] {
            Actor::Native(node) => node.on_link_event(&mut self.net, event),
            Actor::Exercise(peer) => {
                let result = peer.on_link_event(&mut self.net, event);
                result.map_err(|(invariant, detail)| self.broken(invariant, Some(actor), detail))
            }
            Actor::Client(client) => {
                client.on_link_event(&mut self.net, event);
                Ok(())
            }
        }
    }

    /// Calls a handler of a native node, unless that run of its process is over.
    fn on_process_event(
        &mut self,
        Process { actor, run }: Process,
        handler: fn(&mut Node, &mut Network) -> Result<(), Broken>,
    ) -> Result<Option<usize>, Broken> {
        match &mut self.actors[actor] {
            Actor::Native(node) if self.net.hosts[actor].run == run && node.is_up() => handler(node, &mut self.net)?,
            _ => return Ok(None),
        }
        Ok(Some(actor))
    }

    /// Begins or ends a fault. One that no longer applies does nothing.
    ///
    /// # Errors
    /// A rule that a starting node breaks.
    pub fn apply(&mut self, fault: &Fault) -> Result<(), Broken> {
        self.net.note(usize::MAX, "fault", 0, format_args!("{fault:?}"));
        match fault {
            Fault::Cut(number) => {
                let links: Vec<_> = self.net.wires.open_links().collect();
                if !links.is_empty() {
                    self.net.cut(links[(number % links.len() as u64) as usize]);
                }
            }
            Fault::CutPart(part) => {
                for wire in self.net.wires.open_links().collect::<Vec<_>>() {
                    if self.net.rng.random_range(0..1000) < *part {
                        self.net.cut(wire);
                    }
                }
            }
            Fault::Misbehave(actor, lies) => {
                if let Actor::Native(node) = &mut self.actors[*actor] {
                    node.misbehave(&mut self.net, lies);
                    self.net.liars.insert(*actor);
                }
                if let Some(stats) = &mut self.net.stats {
                    stats.exclude(*actor);
                }
            }
            Fault::Stop { actor, power_lost } if self.is_up(*actor) => match &mut self.actors[*actor] {
                Actor::Native(node) => node.stop(&mut self.net, *power_lost),
                Actor::Exercise(peer) => peer.stop(&mut self.net, *power_lost),
                Actor::Client(_) => {}
            },
            Fault::Start(actor) if !self.is_up(*actor) => {
                match &mut self.actors[*actor] {
                    Actor::Native(node) => node.start(&mut self.net)?,
                    Actor::Exercise(peer) => peer.start(&mut self.net),
                    Actor::Client(_) => {}
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
            Fault::RelayStops(actor) => {
                self.net.hosts[*actor].relay.iter_mut().for_each(|relay| relay.is_stopped = true);
            }
            Fault::RelayServes(actor) => {
                if let Some(relay) = self.net.hosts[*actor].relay.as_mut().filter(|relay| relay.is_stopped) {
                    (relay.is_stopped, relay.run) = (false, relay.run + 1);
                    self.net.resume();
                }
            }
            Fault::PathEnds(number) => self.net.end_path(*number),
            Fault::DiskFails(actor) | Fault::DiskWorks(actor) => {
                if let Some(node) = self.node_mut(*actor) {
                    node.set_disk_fails(matches!(fault, Fault::DiskFails(_)));
                }
            }
            Fault::ReadRate(actor, rate) => self.net.hosts[*actor].read_rate = *rate,
            Fault::Delays(delay, jitter) => {
                self.net.conditions.delay = Duration::from_millis(*delay);
                self.net.conditions.jitter = Duration::from_millis(*jitter);
            }
        }
        Ok(())
    }

    /// Ends all faults, and starts all processes that do not run.
    ///
    /// # Errors
    /// A rule that a starting node breaks.
    pub fn end_faults(&mut self) -> Result<(), Broken> {
        self.apply(&Fault::Heal)?;
        self.apply(&Fault::Delays(1, 4))?;
        self.net.conditions.refused = 0.0;
        for actor in 0..self.population.all() {
            self.apply(&Fault::ReadRate(actor, READ_RATE))?;
            self.apply(&Fault::DiskWorks(actor))?;
            if self.net.hosts[actor].relay.is_some() {
                self.apply(&Fault::RelayServes(actor))?;
            }
            self.apply(&Fault::Start(actor))?;
        }
        Ok(())
    }

    /// Enters a transaction, if its actor runs. Returns the native node that handled it, if one
    /// did.
    fn enter(&mut self, new: &NewTransaction) -> Result<Option<usize>, Broken> {
        if !self.is_up(new.actor) {
            return Ok(None);
        }
        let transaction = Transaction::parse(&mut self.parser, &new.body).expect("the load is valid transactions");
        if let Some(stats) = &mut self.net.stats {
            stats.on_new(self.net.clock.now(), transaction.id(), new.actor);
        }
        match (&mut self.actors[new.actor], new.source) {
            (Actor::Native(node), Source::Application) => {
                self.requests += 1;
                node.submit(&mut self.net, self.requests, transaction)?;
                return Ok(Some(new.actor));
            }
            (Actor::Native(node), Source::Topic(topic)) => {
                self.requests += 1;
                node.publish(&mut self.net, self.requests, topic, transaction)?;
                return Ok(Some(new.actor));
            }
            (Actor::Native(node), Source::PoolFile) => {
                node.add_to_file(&mut self.net, transaction)?;
                return Ok(Some(new.actor));
            }
            (Actor::Native(_), _) => {
                let actor = self.actors.len();
                self.net.add_host();
                self.net.hosts[actor].group = self.net.hosts[new.actor].group;
                self.actors.push(Actor::Client(Client::start(&mut self.net, actor, new.actor, &new.body)));
            }
            (Actor::Exercise(peer), _) => peer.submit(&mut self.net, &new.body),
            (Actor::Client(_), _) => {}
        }
        Ok(None)
    }
}
