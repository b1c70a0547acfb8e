//! Nodes that name the id of another one, and nodes of the previous release, which prove nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use meshpool_proto::LinkKind;
use meshpool_proto::id::NodeId;
use meshpool_proto::limits::Limits;
use simulator::actors::node::Node;
use simulator::net::address;
use simulator::net::event::{Fault, NewTransaction, Source};
use simulator::world::World;
use simulator::world::load::body;
use simulator::world::population::Population;

/// The honest nodes; all that follow are thieves.
const HONEST: usize = 4;
/// The node whose id is stolen.
const VICTIM: usize = 1;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Nodes that all know each other. Those after the honest ones know them and are known by nobody.
fn mesh(seed: u64, nodes: usize) -> World {
    let known = (0..nodes).map(|node| (0..HONEST).filter(|other| *other != node).map(address::of).collect()).collect();
    let mut world = World::new(seed, Population { native: nodes, exercise: 0 }, known, Limits::default(), false);
    for node in HONEST..nodes {
        world.net.liars.insert(node);
    }
    world
}

fn node(world: &World, node: usize) -> &Node {
    world.nodes().nth(node).expect("there is one")
}

fn id(world: &World, of: usize) -> NodeId {
    node(world, of).id()
}

/// The proved ids to which a node is linked.
fn proved(world: &World, of: usize) -> BTreeSet<NodeId> {
    let links = node(world, of).core().expect("it runs").open_links();
    let proved = links.iter().filter(|link| link.proved && link.kind == LinkKind::Native);
    proved.filter_map(|link| link.peer.node).collect()
}

fn assert_mesh(world: &World, seed: u64) {
    for one in 0..HONEST {
        let others: BTreeSet<_> = (0..HONEST).filter(|other| *other != one).map(|other| id(world, other)).collect();
        assert_eq!(proved(world, one), others, "seed {seed}: the links of node {one}");
    }
}

fn start(world: &mut World, at: u64, nodes: impl IntoIterator<Item = usize>) {
    nodes.into_iter().for_each(|node| world.at(seconds(at), Fault::Start(node)));
}

/// Three thieves dial all others and answer everything, each with the id of the victim.
fn steal(world: &mut World, proves: bool) {
    let victim = id(world, VICTIM);
    for thief in HONEST..HONEST + 3 {
        let thief = world.node_mut(thief).expect("there is one");
        (thief.impersonates, thief.proves) = (Some(victim), proves);
    }
}

#[test]
fn a_node_is_back_in_its_mesh_at_once_while_others_claim_its_id() {
    for (seed, proves) in (1..=8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = mesh(seed, HONEST + 3);
        world.net.is_public = seed % 2 == 0;
        steal(&mut world, proves);
        start(&mut world, 0, 0..HONEST);
        world.at(seconds(5), Fault::Stop { actor: VICTIM, power_lost: false });
        start(&mut world, 6, HONEST..HONEST + 3);
        start(&mut world, 20, [VICTIM]);
        world.run_until(seconds(19)).expect("no rule breaks");
        assert!(!proved(&world, 0).contains(&id(&world, VICTIM)), "seed {seed}: nobody proves a stolen id");
        world.run_until(seconds(23)).expect("no rule breaks");
        assert_mesh(&world, seed);
    }
}

#[test]
fn an_earlier_claim_of_an_id_does_not_keep_its_owner_out() {
    for seed in 1..=8 {
        let mut world = mesh(seed, HONEST + 3);
        world.net.is_public = seed % 2 == 0;
        steal(&mut world, false);
        start(&mut world, 0, (0..HONEST).filter(|node| *node != VICTIM));
        start(&mut world, 1, HONEST..HONEST + 3);
        start(&mut world, 10, [VICTIM]);
        world.run_until(seconds(13)).expect("no rule breaks");
        assert_mesh(&world, seed);
        // Nor do they come between later.
        let body = body(seed, 1);
        world.at(seconds(14), NewTransaction { source: Source::Application, actor: VICTIM, body });
        world.run_until(seconds(60)).expect("no rule breaks");
        assert_mesh(&world, seed);
        assert!((0..HONEST).all(|one| node(&world, one).pool().len() == 1), "seed {seed}");
    }
}

#[test]
fn nodes_of_the_previous_release_are_members_of_a_mixed_mesh() {
    for seed in 1..=8 {
        let mut world = mesh(seed, HONEST);
        for old in [0, 2] {
            world.node_mut(old).expect("there is one").proves = false;
        }
        start(&mut world, 0, 0..HONEST);
        world.run_until(seconds(10)).expect("no rule breaks");
        for one in 0..HONEST {
            assert_eq!(node(&world, one).linked().len(), HONEST - 1, "seed {seed}: the links of node {one}");
            let links = node(&world, one).core().expect("it runs").open_links();
            assert_eq!(links.len(), HONEST - 1, "seed {seed}: one link to each of the others");
        }
        assert_eq!(proved(&world, 1), [id(&world, 3)].into(), "seed {seed}: those of this release prove it");
        for number in 0..20 {
            let (actor, body) = (number % HONEST, body(seed, number));
            world.at(seconds(11), NewTransaction { source: Source::Application, actor, body });
        }
        world.run_until(seconds(40)).expect("no rule breaks");
        assert!((0..HONEST).all(|one| node(&world, one).pool().len() == 20), "seed {seed}");
        // Each knows all others as members, also from what those signed.
        for one in 0..HONEST {
            let core = node(&world, one).core().expect("it runs");
            assert_eq!(core.nodes(world.net.clock.instant()).len(), HONEST, "seed {seed}: node {one}");
        }
    }
}
