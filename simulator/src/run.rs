//! One run: a scenario, a seed, and what came of it.
//!
//! The nodes start, transactions enter and faults happen until the time of faults is over; then everything is mended, and within [`SETTLE`] the
//! network must be a full mesh with equal pools. It must stay so through a quiet time, and then one more transaction from every node must reach
//! every node. A plan and nothing else decides what happens: equal plans give equal traces.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::TransactionId;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::check::{Broken, Invariant};
use crate::faults::{self, Cast, Fault, Scenario};
use crate::load;
use crate::network::Network;
use crate::wire::DIALLER;
use crate::world::{Event, World};

/// After the last fault a network has this long to become a full mesh, and as long again for equal pools: a dead link is found in 45 s, and an
/// address is dialled again after at most 60 s. Both at their longest together are rare.
pub const SETTLE: Duration = Duration::from_secs(90);
/// How long the settled network is watched.
const QUIET: Duration = Duration::from_secs(20);
/// How long a pair may have more or fewer links than one in the quiet: a duel, and the dials around it.
const DISTURBED: Duration = Duration::from_secs(5);
/// How long the last transactions have to reach everybody.
const SPREAD: Duration = Duration::from_secs(5);
/// How often the network is looked at while it settles.
const LOOK: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which faults.
    pub scenario: Scenario,
    /// What every choice is drawn from.
    pub seed: u64,
    /// Who takes part.
    pub cast: Cast,
    /// How long transactions enter and faults happen.
    pub length: Duration,
    /// Print every step to standard error.
    pub print: bool,
    /// For a test of the checks: something is wrong on purpose.
    pub sabotage: Option<Sabotage>,
}

/// What can be made wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// TRANSACTION frames to node 0 vanish.
    LoseTransactions,
    /// Node 0 stores each transaction twice.
    StoreTwice,
    /// Node 0 is never told that a link is closed.
    ForgetClosed,
    /// Node 0 is told that a transaction is on disk before it is.
    PretendStored,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How long it took to a full mesh: from the last start, or from the last fault.
    pub meshed: Option<Duration>,
    /// How many different transactions the fullest pool holds.
    pub transactions: usize,
    /// How many TRANSACTION frames full peers received.
    pub received: u64,
    /// How many of them brought nothing new.
    pub duplicates: u64,
    /// How many links peers dialled.
    pub dials: u64,
    /// The hash of the trace.
    pub hash: u64,
    /// The rule that broke, if one did.
    pub result: Result<(), Broken>,
}

impl Plan {
    /// The command that runs this plan again.
    pub fn command(&self) -> String {
        format!(
            "cargo run -p simulator -- --scenario {} --seed {} --nodes {} --plain {} --minutes {} --trace",
            format!("{:?}", self.scenario).to_lowercase(),
            self.seed,
            self.cast.nodes,
            self.cast.plain,
            self.length.as_secs_f64() / 60.0,
        )
    }

    /// Runs the plan. A panic of the core is an outcome like any other.
    pub fn run(&self) -> Outcome {
        let mut world = self.world();
        let mut meshed = None;
        let result = catch_unwind(AssertUnwindSafe(|| self.play(&mut world, &mut meshed))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let detail = text.unwrap_or("a panic without words").to_owned();
            Err(Broken { at: world.net.clock.now(), node: None, invariant: Invariant::NoPanic, detail })
        });
        let received = world.nodes().map(|node| node.counts.received).sum();
        let submitted: u64 = world.nodes().map(|node| node.counts.submitted).sum();
        let stored: u64 = world.nodes().map(|node| node.counts.stored).sum();
        Outcome {
            meshed,
            transactions: world.nodes().map(|node| node.pool().len()).max().unwrap_or(0),
            received,
            duplicates: (received + submitted).saturating_sub(stored),
            dials: world.net.dials,
            hash: world.net.trace.hash(),
            result,
        }
    }

    /// The world before anything runs, with all that will happen to it scheduled.
    pub(crate) fn world(&self) -> World {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let known = known_peers(self.cast, self.scenario, &mut rng);
        let mut limits = Limits::default();
        if matches!(self.scenario, Scenario::Slow | Scenario::Mixed) {
            // Small enough that a slow reader's queue fills.
            limits.queue_bytes = 16 * 1024;
        }
        let mut world = World::new(rng.random(), self.cast, known, limits, self.print);
        if self.scenario == Scenario::Mixed {
            world.net.weather.refuse = 0.05;
        }
        let spread = [0, 10, 2_000][rng.random_range(0..3)];
        for actor in 0..self.cast.nodes + self.cast.plain {
            let at = Duration::from_millis(rng.random_range(0..=spread));
            world.net.clock.at(at, Event::Fault(Box::new(Fault::Start(actor))));
        }
        for (at, fault) in faults::schedule(self.scenario, self.cast, self.length, &mut rng) {
            world.net.clock.at(at, Event::Fault(Box::new(fault)));
        }
        let interval = Duration::from_millis(500);
        for (at, entry) in load::schedule(self.cast, self.seed, self.length, interval, &mut rng) {
            world.net.clock.at(at, Event::Enter(Box::new(entry)));
        }
        if self.sabotage == Some(Sabotage::LoseTransactions) {
            world.net.lose_transactions_to = Some(0);
        }
        world.node_mut(0).into_iter().for_each(|node| node.sabotage = self.sabotage);
        world
    }

    pub(crate) fn play(&self, world: &mut World, meshed: &mut Option<Duration>) -> Result<(), Broken> {
        if self.scenario == Scenario::Mesh {
            *meshed = Some(settle(world, World::check_mesh)?);
        }
        world.run_until(self.length)?;
        world.mend()?;
        let time = settle(world, World::check_mesh)?;
        meshed.get_or_insert(time);
        settle(world, |world| world.check_pools().and_then(|()| world.check_mesh()))?;
        watch(world)?;
        self.last_round(world)
    }

    /// One more transaction from everybody to everybody.
    fn last_round(&self, world: &mut World) -> Result<(), Broken> {
        let mut ids = Vec::new();
        let mut parser = meshpool_proto::json::Parser::new();
        for entry in load::round(self.cast, self.seed, 1_000_000) {
            let transaction = meshpool_proto::transaction::Transaction::parse(&mut parser, &entry.body);
            if entry.actor < self.cast.nodes || speaks(world, entry.actor) {
                ids.extend(transaction.map(|transaction| transaction.id()));
            }
            world.net.clock.after(Duration::ZERO, Event::Enter(Box::new(entry)));
        }
        let ids: Vec<TransactionId> = ids;
        world.run_until(world.net.clock.now() + SPREAD)?;
        world.check_held(&ids)?;
        world.check_pools()?;
        world.check_clients()?;
        world.check_mesh()
    }
}

/// Whether a plain peer has a socket of its own to a full peer: it speaks on no other, and it never redials one that broke.
fn speaks(world: &World, plain: usize) -> bool {
    let mut links = world.net.links(plain);
    links.any(|(wire, side)| side == DIALLER && wire.is_link() && wire.ends[1 - side].actor < world.cast().nodes)
}

/// Runs until a check passes. Returns how long that took.
fn settle(world: &mut World, check: impl Fn(&World) -> Result<(), Broken>) -> Result<Duration, Broken> {
    let start = world.net.clock.now();
    loop {
        let now = world.net.clock.now();
        match check(world) {
            Ok(()) => return Ok(now - start),
            Err(broken) if now - start >= SETTLE => return Err(broken),
            Err(_) => world.run_until(now + LOOK)?,
        }
    }
}

/// Watches the settled network: it may be disturbed for a moment, as by a dial that was under way, and must come back.
fn watch(world: &mut World) -> Result<(), Broken> {
    let end = world.net.clock.now() + QUIET;
    let mut good = world.net.clock.now();
    while world.net.clock.now() < end {
        world.run_until(world.net.clock.now() + LOOK)?;
        match world.check_mesh() {
            Ok(()) => good = world.net.clock.now(),
            Err(broken) if world.net.clock.now() - good > DISTURBED => return Err(broken),
            Err(_) => {}
        }
    }
    Ok(())
}

/// What stands in each actor's known-peers file. However it is drawn, each actor is in reach of all others, and every plain peer stands in the
/// file of a full one: it may start before everybody that it knows, and never dials again.
fn known_peers(cast: Cast, scenario: Scenario, rng: &mut impl RngExt) -> Vec<Vec<PeerAddress>> {
    let all = cast.nodes + cast.plain;
    let shape = rng.random_range(0..3);
    let mut known: Vec<Vec<usize>> = vec![Vec::new(); all];
    for actor in 1..all {
        let earlier = actor.min(cast.nodes);
        known[actor].push(match shape {
            0 => 0,
            1 => earlier - 1,
            _ => rng.random_range(0..earlier),
        });
        if rng.random_bool(0.3) {
            known[actor].push(rng.random_range(0..cast.nodes));
        }
        if actor >= cast.nodes {
            known[rng.random_range(0..cast.nodes)].push(actor);
        }
    }
    let aliases = matches!(scenario, Scenario::Mesh | Scenario::Mixed) && rng.random_bool(0.5);
    let mut list_of = |known: Vec<usize>| {
        // A full peer says who it is, whatever name it was dialled by. A plain one can not: two names of it are two peers.
        let mut spell = |actor| {
            let alias = aliases && actor < cast.nodes && rng.random_bool(0.5);
            if alias { Network::alias(actor) } else { Network::address(actor) }
        };
        let mut list: Vec<_> = known.into_iter().map(&mut spell).collect();
        if rng.random_bool(0.1) {
            // Nobody listens there.
            list.push(Network::address(all + 100));
        }
        list
    };
    known.into_iter().map(&mut list_of).collect()
}
