//! Capped networks: every story on a few seeds, and what the simulator once found.

use std::time::Duration;

use simulator::overlay::{OverlayOutcome, OverlayPlan, Story};

fn plan(story: Story, seed: u64) -> OverlayPlan {
    // Small and middling networks, the tightest cap and loose ones, with and without genesis.
    let nodes = [5, 9, 20, 40][(seed % 4) as usize];
    let caps = [(3, 3), (3, 12), (4, 6), (2, 2)][(seed / 4 % 4) as usize];
    let spread = Duration::from_secs([0, 20][(seed % 2) as usize]);
    OverlayPlan { story, seed, nodes, caps, genesis: seed.is_multiple_of(3), spread, ..OverlayPlan::default() }
}

fn passes(plan: &OverlayPlan) -> OverlayOutcome {
    plan.run().unwrap_or_else(|broken| panic!("{broken}\nrepeat it: {}", plan.command()))
}

fn all_pass(story: Story) {
    for seed in 1..=12 {
        let outcome = passes(&plan(story, seed));
        assert!((1.0..=1.2).contains(&outcome.copies), "seed {seed}: {} copies", outcome.copies);
    }
}

#[test]
fn nodes_with_a_cap_find_each_other_in_any_order() {
    all_pass(Story::Form);
}

#[test]
fn churn_is_overcome() {
    all_pass(Story::Churn);
}

#[test]
fn a_network_that_lost_three_nodes_in_ten_is_one_again() {
    all_pass(Story::Third);
}

#[test]
fn a_cut_of_a_minute_heals() {
    all_pass(Story::Cut);
}

#[test]
fn networks_that_formed_apart_become_one() {
    all_pass(Story::Apart);
}

#[test]
fn a_genesis_node_that_starts_last_is_still_found() {
    // Once it was forgotten after eight dials in vain, and the node that had asked it stayed alone.
    let outcome = passes(&OverlayPlan { nodes: 200, caps: (3, 12), genesis: true, ..plan(Story::Form, 1) });
    assert!(outcome.formed < Duration::from_secs(120), "{:?}", outcome.formed);
}

#[test]
fn a_seed_repeats_its_run() {
    let (first, second) = (passes(&plan(Story::Cut, 7)), passes(&plan(Story::Cut, 7)));
    assert_eq!((first.healed, first.splits, first.copies), (second.healed, second.splits, second.copies));
}
