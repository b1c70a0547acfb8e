//! Topics with different members, with partitions and restarts.

use simulator::experiments::topics;

#[test]
fn each_member_of_a_topic_holds_all_of_it_and_no_other_node_anything() {
    for seed in 0..8 {
        if let Err(broken) = topics::run(seed, false) {
            panic!("seed {seed}: {broken}");
        }
    }
}

#[test]
fn members_find_each_other_among_strangers_in_a_network_with_a_cap() {
    for seed in 0..3 {
        if let Err(broken) = topics::run_capped(seed, false) {
            panic!("seed {seed}: {broken}");
        }
    }
}
