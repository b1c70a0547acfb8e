use std::time::Duration;

use crate::gossip::plumtree::*;
use crate::testing::parts::{client, context, drain, exercise, native, native_link, origin, transaction};
use crate::wire::close;

/// Native peers 1 to 4 on links of the same numbers, exercise peers 5 and 6, and a client, 7.
fn parts() -> (Plumtree, Context, LinkTable) {
    let (cx, mut links) = (context(), LinkTable::default());
    for n in 1..=4 {
        native(&cx, &mut links, n);
    }
    exercise(&cx, &mut links, 5);
    exercise(&cx, &mut links, 6);
    client(&cx, &mut links, 7);
    (Plumtree::default(), cx, links)
}

fn targets(plumtree: &mut Plumtree, cx: &Context, links: &LinkTable, of: Option<u8>, from: Option<u64>) -> Vec<u64> {
    let of = of.map(origin);
    let targets = plumtree.targets(cx, links, of.as_ref(), from.map(LinkId));
    assert_eq!(targets.exercise, targets.links.iter().any(|link| matches!(link.0, 5 | 6)));
    targets.links.iter().map(|link| link.0).collect()
}

#[test]
fn a_payload_goes_to_all_peers_but_its_origin_and_the_one_that_brought_it() {
    let (mut plumtree, cx, links) = parts();
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [1, 2, 3, 4, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), Some(7)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(3), Some(1)), [2, 4, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(9), Some(5)), [1, 2, 3, 4, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, None, Some(1)), [5, 6], "what was synced is found by comparisons");
}

/// Anybody can name the address of an exercise peer, and bring what that would then not get.
#[test]
fn what_a_link_from_elsewhere_brings_in_the_name_of_an_exercise_peer_goes_to_that_peer() {
    let (mut plumtree, cx, mut links) = parts();
    let address = links.get(LinkId(5)).and_then(Link::exercise_address).cloned();
    for (remote, targeted) in [([127, 0, 0, 1], false), ([203, 0, 113, 7], true)] {
        let inbound = client(&cx, &mut links, 8);
        let open = links.get_mut(inbound).expect("open");
        open.state = LinkState::ExerciseInbound { address: address.clone() };
        open.remote = remote.into();
        assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), Some(8)).contains(&5), targeted, "{remote:?}");
    }
}

#[test]
fn of_two_links_to_one_node_the_older_carries_payload_and_neither_brings_it_back() {
    let (mut plumtree, cx, mut links) = parts();
    native_link(&cx, &mut links, 8, 2);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [1, 2, 3, 4, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), Some(8)), [1, 3, 4, 5, 6]);
    links.get_mut(LinkId(2)).expect("open").closing = true;
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [1, 3, 4, 5, 6, 8]);
}

#[test]
fn links_that_lag_are_skipped_and_one_that_is_synced_is_not() {
    let (mut plumtree, cx, mut links) = parts();
    links.get_mut(LinkId(1)).expect("open").flow = Delivery::Lagging;
    links.get_mut(LinkId(2)).expect("open").flow = Delivery::Syncing { missed: true };
    links.get_mut(LinkId(5)).expect("open").flow = Delivery::Replaying { from: 0, pushed: 0, trying: 0 };
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [2, 3, 4, 6]);
}

#[test]
fn an_exercise_peer_is_sent_nothing_while_transactions_are_held_back() {
    let (mut plumtree, cx, mut links) = parts();
    for link in [5, 6] {
        links.get_mut(LinkId(link)).expect("open").withheld = true;
    }
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [1, 2, 3, 4]);
    for link in [5, 6] {
        links.get_mut(LinkId(link)).expect("open").withheld = false;
    }
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [1, 2, 3, 4, 5, 6]);
    assert!(!plumtree.targets(&cx, &links, None, Some(LinkId(9))).links.is_empty());
    links.get_mut(LinkId(5)).expect("open").closing = true;
    links.get_mut(LinkId(6)).expect("open").closing = true;
    assert_eq!(plumtree.targets(&cx, &links, None, None), Targets::default());
}

#[test]
fn a_peer_that_prunes_an_origin_gets_nothing_of_it_and_what_is_queued_is_dropped() {
    let (mut plumtree, mut cx, links) = parts();
    plumtree.on_first_copy(&mut cx, &links, &origin(9), Some(LinkId(1)));
    let origins = [origin(9), origin(0), origin(8), origin(4)];
    plumtree.on_prune(&mut cx, &links, LinkId(2), &origins);
    assert_eq!(drain(&mut cx), ["drop 2 2"], "not of ourselves, nor of one that nobody sent; a neighbour counts");
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(9), Some(1)), [3, 4, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(4), None), [1, 3, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(0), None), [1, 2, 3, 4, 5, 6]);
    plumtree.on_prune(&mut cx, &links, LinkId(2), &origins);
    assert!(drain(&mut cx).is_empty(), "no news");
    assert!(!plumtree.on_graft(&mut cx, &links, LinkId(2), &[origin(9)]));
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(9), Some(1)), [2, 3, 4, 5, 6]);
    assert!(drain(&mut cx).is_empty());
}

#[test]
fn copies_are_pruned_but_not_of_their_sender_s_own_nor_ours_nor_on_links_of_others() {
    let (mut plumtree, mut cx, mut links) = parts();
    plumtree.on_first_copy(&mut cx, &links, &origin(9), Some(LinkId(1)));
    for (link, of) in [(1, 9), (2, 2), (2, 0), (5, 9), (7, 9), (8, 9)] {
        plumtree.on_copy(&mut cx, &links, LinkId(link), &origin(of));
    }
    assert!(drain(&mut cx).is_empty());
    plumtree.on_copy(&mut cx, &links, LinkId(2), &origin(9));
    assert_eq!(drain(&mut cx), [format!("control [2] {{type:PRUNE,data:[{}]}}", origin(9))]);
    links.close(&mut cx, LinkId(3), close::NORMAL, "");
    drain(&mut cx);
    plumtree.on_copy(&mut cx, &links, LinkId(3), &origin(9));
    assert!(drain(&mut cx).is_empty());
    assert_eq!((cx.counters.prunes_sent, cx.counters.grafts_sent), (1, 0));
}

#[test]
fn a_client_s_transaction_is_ours_and_has_no_parent() {
    let (mut plumtree, mut cx, links) = parts();
    plumtree.on_first_copy(&mut cx, &links, &origin(0), Some(LinkId(7)));
    plumtree.on_first_copy(&mut cx, &links, &origin(9), Some(LinkId(7)));
    plumtree.on_first_copy(&mut cx, &links, &origin(9), None);
    assert!(!plumtree.on_link_closed(&mut cx, &links, LinkId(7)));
    plumtree.on_copy(&mut cx, &links, LinkId(1), &origin(9));
    assert!(drain(&mut cx).is_empty(), "the first copy from a peer makes it the parent");
    assert!(plumtree.on_link_closed(&mut cx, &links, LinkId(1)));
}

#[test]
fn a_direct_link_becomes_the_parent_and_prunes_all_others_at_once() {
    let (mut plumtree, mut cx, links) = parts();
    plumtree.on_first_copy(&mut cx, &links, &origin(3), Some(LinkId(3)));
    let prune = |link: u8| format!("control [{link}] {{type:PRUNE,data:[{}]}}", origin(3));
    assert_eq!(drain(&mut cx), [prune(1), prune(2), prune(4)]);
    plumtree.on_first_copy(&mut cx, &links, &origin(3), Some(LinkId(3)));
    plumtree.on_first_copy(&mut cx, &links, &origin(3), Some(LinkId(1)));
    plumtree.on_copy(&mut cx, &links, LinkId(2), &origin(3));
    assert!(drain(&mut cx).is_empty(), "they were told a moment ago");
    cx.now += Duration::from_secs(1);
    plumtree.on_first_copy(&mut cx, &links, &origin(3), Some(LinkId(1)));
    assert_eq!(drain(&mut cx), [prune(1)]);
    assert_eq!(cx.counters.prunes_sent, 4);
}

#[test]
fn a_link_to_the_origin_that_is_new_takes_over_from_the_old_parent() {
    let (mut plumtree, mut cx, mut links) = parts();
    plumtree.on_first_copy(&mut cx, &links, &origin(9), Some(LinkId(1)));
    native(&cx, &mut links, 9);
    plumtree.on_copy(&mut cx, &links, LinkId(2), &origin(9));
    let prune = |link: u8| format!("control [{link}] {{type:PRUNE,data:[{}]}}", origin(9));
    assert_eq!(drain(&mut cx), [prune(1), prune(2), prune(3), prune(4)]);
    links.remove(LinkId(9));
    assert!(plumtree.on_link_closed(&mut cx, &links, LinkId(9)));
    let graft = format!("control [1, 2, 3, 4] {{type:GRAFT,data:[{}]}}", origin(9));
    assert_eq!(drain(&mut cx), [graft], "only native peers know trees");
    assert_eq!(cx.counters.grafts_sent, 4);
}

#[test]
fn a_parent_that_grafts_has_lost_its_way_and_all_others_are_asked() {
    let (mut plumtree, mut cx, links) = parts();
    for of in [9, 8, 1] {
        plumtree.on_first_copy(&mut cx, &links, &origin(of), Some(LinkId(1)));
    }
    plumtree.on_first_copy(&mut cx, &links, &origin(7), Some(LinkId(2)));
    drain(&mut cx);
    assert!(plumtree.on_graft(&mut cx, &links, LinkId(1), &[origin(9), origin(7), origin(1)]));
    assert_eq!(drain(&mut cx), [format!("control [2, 3, 4] {{type:GRAFT,data:[{}]}}", origin(9))]);
    assert!(plumtree.on_graft(&mut cx, &links, LinkId(1), &[]), "of all that are left");
    assert_eq!(drain(&mut cx), [format!("control [2, 3, 4] {{type:GRAFT,data:[{}]}}", origin(8))]);
    assert!(!plumtree.on_graft(&mut cx, &links, LinkId(1), &[]));
    cx.shutting_down = true;
    assert!(!plumtree.on_graft(&mut cx, &links, LinkId(2), &[]), "it makes no difference any more");
    assert!(drain(&mut cx).is_empty());
}

#[test]
fn more_orphans_than_a_frame_names_are_all() {
    for (orphans, named) in [(limits::ORIGINS, limits::ORIGINS), (limits::ORIGINS + 1, 0)] {
        let (mut plumtree, mut cx, links) = parts();
        for n in 0..orphans {
            let mut id = [77; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            plumtree.on_first_copy(&mut cx, &links, &Origin::Node(crate::id::NodeId(id)), Some(LinkId(1)));
        }
        assert!(plumtree.on_link_closed(&mut cx, &links, LinkId(1)));
        let sent = drain(&mut cx);
        assert_eq!(sent[0].matches("4d4d").count() > 0, named > 0);
        let names = sent[0].split_once("data:[").expect("a list").1.split(',').filter(|name| name.len() > 60).count();
        assert_eq!(names, named);
    }
}

/// However many trees a stranger breaks, each neighbour is sent less than it takes.
#[test]
fn neighbours_are_sent_so_many_grafts_at_once_and_the_rest_in_one() {
    let (mut plumtree, mut cx, links) = parts();
    let of = |n: u32| {
        let mut id = [77; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Origin::Node(crate::id::NodeId(id))
    };
    let break_trees = |plumtree: &mut Plumtree, cx: &mut Context, from: u32, to: u32| {
        for n in from..to {
            plumtree.on_first_copy(cx, &links, &of(n), Some(LinkId(1)));
            assert!(plumtree.on_graft(cx, &links, LinkId(1), &[of(n)]));
        }
        drain(cx).len()
    };
    let at_once = GRAFTS_AT_ONCE;
    assert_eq!(break_trees(&mut plumtree, &mut cx, 0, at_once + 40), at_once as usize);
    assert_eq!(cx.timers.due(&Timer::Grafts), Some(cx.now + GRAFTS_WAIT));
    cx.now += GRAFTS_WAIT;
    cx.timers.cancel(&Timer::Grafts);
    plumtree.on_grafts_due(&mut cx);
    let names = |frame: &str| frame.matches("4d4d").count() > 0;
    let sent = drain(&mut cx);
    assert!(sent[0].starts_with("control [2, 3, 4] ") && names(&sent[0]), "{sent:?}");
    assert_eq!((sent.len(), sent[0].matches("4d4d,").count() > 38), (1, true), "{sent:?}");
    assert_eq!(break_trees(&mut plumtree, &mut cx, 0, 10 + 2_000), 20, "as many as time gave back");
    plumtree.on_link_closed(&mut cx, &links, LinkId(2));
    drain(&mut cx);
    plumtree.on_grafts_due(&mut cx);
    let sent = drain(&mut cx);
    assert!(sent.len() == 1 && sent[0].starts_with("control [3, 4] "), "not on a closed link: {sent:?}");
    assert!(!names(&sent[0]), "all");
    let per_second = 1.0 / GRAFT_EVERY.as_secs_f64() + 1.0 / GRAFTS_WAIT.as_secs_f64();
    assert!(at_once < limits::GRAFTS_AT_ONCE && per_second < f64::from(limits::GRAFTS_PER_SECOND));
}

#[test]
fn a_node_without_neighbours_still_has_to_compare() {
    let (mut plumtree, mut cx, mut links) = (Plumtree::default(), context(), LinkTable::default());
    native(&cx, &mut links, 1);
    plumtree.on_first_copy(&mut cx, &links, &origin(9), Some(LinkId(1)));
    links.remove(LinkId(1));
    assert!(plumtree.on_link_closed(&mut cx, &links, LinkId(1)));
    assert!(drain(&mut cx).is_empty());
}

#[test]
fn a_peer_that_lacks_what_was_pushed_a_moment_ago_is_sent_its_origin_again() {
    let (mut plumtree, mut cx, links) = parts();
    for (n, of) in [(1, 9), (2, 8)] {
        plumtree.remember(transaction(n).id(), &origin(of));
        plumtree.on_first_copy(&mut cx, &links, &origin(of), Some(LinkId(1)));
        plumtree.on_prune(&mut cx, &links, LinkId(2), &[origin(of)]);
    }
    plumtree.on_peer_lacks(cx.now, LinkId(2), &[transaction(1).id(), transaction(3).id()]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(9), Some(1)), [2, 3, 4, 5, 6]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(8), Some(1)), [3, 4, 5, 6]);
    plumtree.on_peer_lacks(cx.now, LinkId(2), &[]);
    for _ in 1..LACKS_AT_ONCE {
        plumtree.on_peer_lacks(cx.now, LinkId(2), &[transaction(3).id()]);
    }
    plumtree.on_peer_lacks(cx.now, LinkId(2), &[transaction(2).id()]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(8), Some(1)), [3, 4, 5, 6], "too often to be looked at");
    cx.now += LACKS_EVERY;
    plumtree.on_peer_lacks(cx.now, LinkId(2), &[transaction(2).id()]);
    assert_eq!(targets(&mut plumtree, &cx, &links, Some(8), Some(1)), [2, 3, 4, 5, 6]);
}
