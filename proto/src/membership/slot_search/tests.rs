mod links;

use crate::address::Scope;
use crate::membership::slot_search::*;
use crate::testing::overlay::{Overlay, beside, call, far, session};
use crate::testing::parts::node;
use crate::wire::mdns_record::Record;

const MILLISECOND: Duration = Duration::from_millis(1);

fn demand(overlay: &Overlay) -> Demand {
    overlay.membership.demand(&overlay.cx, &overlay.peers, &overlay.conns)
}

/// Begins a dial of peer `n` for a slot.
fn dial(overlay: &mut Overlay, n: u8, high_priority: bool) {
    overlay.learn(n);
    let reason = DialReason::Slot { high_priority, referred_by: None };
    assert!(dial_for(&mut overlay.cx, &mut overlay.peers, &overlay.conns, &far(n), reason));
}

#[test]
fn below_two_slots_the_demand_is_urgent_then_in_the_background_up_to_half() {
    // The cap, how many we dialled, how many we accepted, the demand.
    for (cap, dialled, accepted, wanted) in [
        (8, 0, 0, Demand::Urgent),
        (8, 0, 1, Demand::Urgent),
        (8, 0, 2, Demand::Background),
        (8, 3, 0, Demand::Background),
        (8, 4, 0, Demand::None),
        (8, 3, 4, Demand::Background),
        (8, 3, 5, Demand::None),
        (5, 2, 0, Demand::Background),
        (5, 3, 0, Demand::None),
        (2, 1, 0, Demand::Urgent),
        (2, 1, 1, Demand::None),
        (1, 0, 0, Demand::Urgent),
        (1, 0, 1, Demand::None),
    ] {
        let mut overlay = Overlay::capped(cap);
        overlay.dial_all(20..20 + dialled);
        overlay.accept_all(40..40 + accepted);
        assert_eq!(demand(&overlay), wanted, "{cap}, {dialled}, {accepted}");
    }
    assert_eq!(demand(&Overlay::mesh()), Demand::None);
}

#[test]
fn exercise_peers_do_not_count_as_the_two_links_that_are_urgent() {
    let mut overlay = Overlay::capped(8);
    overlay.exercise(20);
    overlay.exercise(21);
    overlay.accepted(22);
    assert_eq!(demand(&overlay), Demand::Urgent);
    overlay.accepted(23);
    assert_eq!(demand(&overlay), Demand::Background);
}

#[test]
fn dials_under_way_count_and_one_of_high_priority_twice() {
    let mut overlay = Overlay::capped(3);
    dial(&mut overlay, 20, false);
    assert_eq!(demand(&overlay), Demand::Urgent);
    dial(&mut overlay, 21, false);
    assert_eq!(demand(&overlay), Demand::None, "two of three are half, rounded up");
    let mut overlay = Overlay::capped(3);
    dial(&mut overlay, 20, true);
    assert_eq!(demand(&overlay), Demand::None, "another node is referred to us");
    let mut overlay = Overlay::capped(2);
    overlay.asking(20, DialReason::Slot { high_priority: true, referred_by: None });
    assert_eq!(demand(&overlay), Demand::None, "an open link that waits for the answer counts twice too");
    let mut overlay = Overlay::capped(2);
    let link = overlay.dialled(20);
    overlay.conns.set_reason(link, Some(DialReason::Slot { high_priority: true, referred_by: None }));
    assert_eq!(demand(&overlay), Demand::Urgent, "one that was answered once");
}

#[test]
fn a_shuffle_is_no_request_for_a_slot() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    assert!(dial_for(&mut overlay.cx, &mut overlay.peers, &overlay.conns, &far(20), DialReason::Shuffle));
    assert_eq!(overlay.membership.pending_slots(&overlay.peers), 0);
    dial(&mut overlay, 21, false);
    assert_eq!(overlay.membership.pending_slots(&overlay.peers), 1);
}

#[test]
fn a_node_without_links_dials_two_addresses_at_once_and_searches_again_after_a_second() {
    let mut overlay = Overlay::capped(8);
    for n in 20..30 {
        overlay.learn(n);
    }
    let first = call!(overlay.fill_slots());
    let dials = overlay.done().dials;
    assert_eq!((dials.len(), dials.first().cloned()), (2, first), "others follow in the background");
    assert_eq!(overlay.due(&Timer::SlotSearch), Some(BACKGROUND_MIN));
    assert_eq!(call!(overlay.fill_slots()), None);
}

#[test]
fn no_search_begins_without_a_cap_at_the_end_and_while_joining() {
    let nothing = |overlay: &mut Overlay| {
        overlay.learn(20);
        assert_eq!(call!(overlay.fill_slots()), None);
        assert!(overlay.done().is_nothing());
        assert_eq!(overlay.due(&Timer::SlotSearch), None);
    };
    nothing(&mut Overlay::mesh());
    let mut overlay = Overlay::capped(8);
    overlay.cx.shutting_down = true;
    nothing(&mut overlay);
    let mut overlay = Overlay::capped(8);
    overlay.membership.bootstrap.wait();
    nothing(&mut overlay);
}

#[test]
fn the_search_timer_follows_the_demand_and_the_reserved_slot() {
    let mut urgent = Overlay::capped(8);
    call!(urgent.fill_slots());
    assert_eq!(urgent.due(&Timer::SlotSearch), Some(URGENT_INTERVAL));
    let mut none = Overlay::capped(1);
    none.accepted(20);
    call!(none.fill_slots());
    assert_eq!(none.due(&Timer::SlotSearch), None);
    let mut reserved = Overlay::capped(3);
    reserved.dial_all(20..22);
    let until = reserved.cx.now + Duration::from_secs(3);
    reserved.membership.slots.reserved = Some((node(50), until));
    call!(reserved.fill_slots());
    assert_eq!(reserved.due(&Timer::SlotSearch), Some(Duration::from_secs(3)), "the node may never come");
    let mut later = Overlay::capped(8);
    later.accept_all(20..22);
    later.membership.search.background_at = Some(later.cx.now + Duration::from_secs(9));
    call!(later.fill_slots());
    assert_eq!(later.due(&Timer::SlotSearch), Some(Duration::from_secs(9)));
    later.cx.timers.set(Timer::SlotSearch, later.cx.now + MILLISECOND);
    call!(later.fill_slots());
    assert_eq!(later.due(&Timer::SlotSearch), Some(MILLISECOND), "an earlier one stays");
    later.cx.timers.set(Timer::SlotSearch, later.cx.now + Duration::from_secs(99));
    call!(later.fill_slots());
    assert_eq!(later.due(&Timer::SlotSearch), Some(Duration::from_secs(9)), "a later one moves");
}

#[test]
fn a_background_search_dials_one_address_at_its_interval() {
    let mut overlay = Overlay::capped(8);
    overlay.accept_all(40..42);
    for n in 20..25 {
        overlay.learn(n);
    }
    assert!(call!(overlay.search_in_background()).is_some());
    let next = overlay.membership.search.background_at.expect("set") - overlay.cx.now;
    assert!((BACKGROUND_MIN.mul_f64(0.7)..BACKGROUND_MIN.mul_f64(1.3)).contains(&next), "{next:?}");
    assert_eq!(overlay.done().dials.len(), 1);
    overlay.pass(next);
    assert_eq!(call!(overlay.search_in_background()), None, "one is under way");
    let pending: Vec<_> = overlay.peers.book.attempting().cloned().collect();
    overlay.peers.dialer.take_reason(&pending[0]);
    overlay.membership.search.background_at = Some(overlay.cx.now + MILLISECOND);
    assert_eq!(call!(overlay.search_in_background()), None, "too soon");
    overlay.pass(MILLISECOND);
    assert!(call!(overlay.search_in_background()).is_some());
    assert_eq!(overlay.peers.dialer.reasons().next(), Some(&DialReason::slot()));
}

#[test]
fn an_urgent_search_makes_ten_attempts_a_second() {
    let mut overlay = Overlay::capped(8);
    let spent = |overlay: &mut Overlay| (0..20).filter(|_| overlay.membership.spend_urgent(&mut overlay.cx)).count();
    assert_eq!(spent(&mut overlay), 10);
    overlay.pass(URGENT_INTERVAL - MILLISECOND);
    assert_eq!(spent(&mut overlay), 0);
    overlay.pass(MILLISECOND);
    assert_eq!(spent(&mut overlay), 10);
    overlay.learn(20);
    assert_eq!(call!(overlay.search_urgently()), None, "none is left");
}

#[test]
fn a_node_without_a_link_insists_after_three_refusals() {
    // The cap, how many links, how many refusals, whether it insists.
    for (cap, links, refusals, insists) in [
        (8, 0, 2, false),
        (8, 0, 3, true),
        (8, 1, 3, true),
        (8, 2, 3, false),
        (3, 1, 3, true),
        (2, 1, 3, false),
        (2, 0, 3, true),
    ] {
        let mut overlay = Overlay::capped(cap);
        overlay.accept_all(40..40 + links);
        overlay.membership.search.refusals = refusals;
        overlay.learn(20);
        assert_eq!(call!(overlay.search_urgently()), Some(far(20)));
        let reason = overlay.peers.dialer.take_reason(&far(20));
        let expected = DialReason::Slot { high_priority: insists, referred_by: None };
        assert_eq!(reason, Some(expected), "{cap}, {links}, {refusals}");
    }
}

#[test]
fn an_exercise_peer_is_no_link_for_which_a_node_need_not_insist() {
    let mut overlay = Overlay::capped(8);
    overlay.exercise(40);
    overlay.exercise(41);
    overlay.membership.search.refusals = PRIORITY_REFUSALS;
    overlay.learn(20);
    call!(overlay.search_urgently());
    assert!(overlay.peers.dialer.take_reason(&far(20)).is_some_and(|reason| reason.is_high_priority()));
}

#[test]
fn a_node_insists_at_one_address_every_ten_seconds() {
    let mut overlay = Overlay::capped(8);
    let address = overlay.learn(20);
    let spend = |overlay: &mut Overlay, address| {
        let Overlay { cx, peers, membership, .. } = overlay;
        membership.spend_priority(cx, peers, address)
    };
    assert!(spend(&mut overlay, &address));
    overlay.pass(PRIORITY_INTERVAL - MILLISECOND);
    assert!(!spend(&mut overlay, &address));
    overlay.membership.search.refusals = PRIORITY_REFUSALS;
    call!(overlay.search_urgently());
    assert_eq!(overlay.peers.dialer.take_reason(&address), Some(DialReason::slot()), "it asks politely");
    overlay.pass(MILLISECOND);
    assert!(spend(&mut overlay, &address), "a refused one does not count");
    assert!(!spend(&mut overlay, &far(99)), "an unknown address");
}

#[test]
fn without_an_idle_address_a_node_that_declined_is_asked_again_before_its_time() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    overlay.cx.timers.set(Timer::Dial(far(20)), overlay.cx.now + Duration::from_secs(60));
    assert_eq!(call!(overlay.search_urgently()), Some(far(20)));
    let done = overlay.done();
    assert_eq!((done.dials, done.events.len()), (vec![far(20)], 2), "RequestingSlot and Dialling");
    let reason = overlay.peers.dialer.take_reason(&far(20));
    assert_eq!(reason, Some(DialReason::Slot { high_priority: true, referred_by: None }));
    assert_eq!(overlay.membership.search.again_at, Some(overlay.cx.now + URGENT_INTERVAL));
    assert_eq!(overlay.peers.book.get(&far(20)).expect("there").priority_requested_at, Some(overlay.cx.now));
}

#[test]
fn the_wait_until_nodes_are_asked_again_doubles_with_each_sixteen_refusals_up_to_ten_seconds() {
    for (refusals, seconds) in [(0, 1), (15, 1), (16, 2), (31, 2), (32, 4), (48, 8), (64, 10), (10_000, 10)] {
        let mut overlay = Overlay::capped(8);
        overlay.learn(20);
        overlay.membership.search.refusals = refusals;
        assert!(call!(overlay.ask_again(0, false)).is_some());
        let again = overlay.membership.search.again_at.map(|at| at - overlay.cx.now);
        assert_eq!(again, Some(Duration::from_secs(seconds)), "{refusals}");
        assert!(!overlay.done().names().contains(&"RequestingSlot".to_owned()), "it does not insist");
    }
}

#[test]
fn nodes_are_asked_again_one_at_a_time_and_not_those_that_failed_or_were_just_asked() {
    let again = |overlay: &mut Overlay, taken| call!(overlay.ask_again(taken, true));
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    dial(&mut overlay, 21, false);
    assert_eq!(again(&mut overlay, 0), None, "one is under way");
    overlay.peers.dialer.take_reason(&far(21));
    overlay.membership.search.again_at = Some(overlay.cx.now + MILLISECOND);
    assert_eq!(again(&mut overlay, 0), None, "too soon");
    overlay.pass(MILLISECOND);
    overlay.peers.book.get_mut(&far(20)).expect("there").failures = 1;
    assert_eq!(again(&mut overlay, 0), None, "it failed, and 21 is in use");
    overlay.peers.book.get_mut(&far(20)).expect("there").known = true;
    assert_eq!(again(&mut overlay, 1), None);
    overlay.peers.book.get_mut(&far(20)).expect("there").priority_requested_at = Some(overlay.cx.now);
    overlay.pass(PRIORITY_INTERVAL - MILLISECOND);
    assert_eq!(again(&mut overlay, 0), None, "it was asked a moment ago");
    overlay.pass(MILLISECOND);
    assert_eq!(again(&mut overlay, 0), Some(far(20)), "a known peer, and there is no link");
}

#[test]
fn with_nobody_to_dial_a_neighbor_is_asked_for_its_neighbors() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.accepted(40);
    assert_eq!(call!(overlay.search_urgently()), None);
    assert_eq!(overlay.done().join(link).expect("JOIN").want, Some(Want::Neighbours));
}

#[test]
fn hints_are_asked_first_if_they_are_idle() {
    let mut overlay = Overlay::capped(8);
    (20..24).for_each(|n| _ = overlay.learn(n));
    overlay.cx.timers.set(Timer::Dial(far(21)), overlay.cx.now);
    overlay.membership.search.hint(&[far(90), far(21), far(22), far(23)]);
    assert_eq!(call!(overlay.idle_address()), Some(far(22)), "90 is unknown, 21 waits for a time");
    assert_eq!(call!(overlay.idle_address()), Some(far(23)));
    assert!(overlay.membership.search.hints.is_empty());
}

#[test]
fn a_random_address_is_drawn_from_groups_without_a_link() {
    let mut overlay = Overlay::capped(8);
    overlay.accepted(20);
    let near = overlay
        .book(&beside(20, 9), AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork));
    assert_eq!(call!(overlay.idle_address()), Some(near), "rather one of the group than none");
    overlay.learn(21);
    for _ in 0..20 {
        assert_eq!(call!(overlay.idle_address()), Some(far(21)));
    }
    let home = overlay.book(&crate::testing::net::address(7), AddressSource::Known);
    overlay.peers.book.set_state(&far(21), AddressState::Attempting);
    assert_eq!(call!(overlay.idle_address()), Some(home), "addresses of this host are in no group");
}

#[test]
fn without_a_link_any_idle_address_is_drawn() {
    let mut overlay = Overlay::capped(8);
    assert_eq!(call!(overlay.idle_address()), None);
    overlay.learn(20);
    overlay.book(&beside(20, 9), AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork));
    let drawn: BTreeSet<PeerAddress> = (0..50).filter_map(|_| call!(overlay.idle_address())).collect();
    assert_eq!(drawn.len(), 2);
}

#[test]
fn a_node_of_the_local_network_that_announces_no_slot_is_asked_first_only_while_links_are_lacking() {
    for (linked, first) in [(1, true), (2, false)] {
        let mut overlay = Overlay::capped(8);
        overlay.accept_all(80..80 + linked);
        (20..60).for_each(|n| _ = overlay.learn(n));
        let (id, session) = (node(20), session(20));
        let record = Record { node: id, session, network: "test".into(), address: far(20), free: Some(0) };
        let Overlay { cx, peers, .. } = &mut overlay;
        peers.lan.on_discovered(cx, &mut peers.book, &BTreeSet::new(), Ok(record), Scope::Private);
        // Records decide every other choice.
        let chosen: Vec<bool> = (0..6).map(|_| call!(overlay.idle_address()) == Some(far(20))).collect();
        assert_eq!(chosen[0] && chosen[2] && chosen[4], first, "{chosen:?}");
    }
}

#[test]
fn a_search_can_go_on_while_a_request_is_under_way_or_an_address_is_idle() {
    let can = |overlay: &Overlay| overlay.membership.can_search(&overlay.cx, &overlay.peers);
    let mut overlay = Overlay::capped(8);
    assert!(!can(&overlay));
    overlay.learn(20);
    assert!(can(&overlay));
    overlay.cx.timers.set(Timer::Dial(far(20)), overlay.cx.now);
    assert!(!can(&overlay));
    dial(&mut overlay, 21, false);
    assert!(can(&overlay));
}

#[test]
fn searches_do_not_wait_for_the_dial_of_an_exercise_peer() {
    let mut overlay = Overlay::capped(8);
    overlay.accept_all(40..42);
    overlay.learn(20);
    overlay.learn(30);
    assert!(call!(overlay.dial_exercise(&far(30))));
    assert_eq!(overlay.membership.pending_slots(&overlay.peers), 0);
    assert_eq!(call!(overlay.search_in_background()), Some(far(20)));
}

/// How often an exercise peer at `from` that names `address` again and again has us dial it within
/// `time`. Each dial fails.
fn dials_of_named(overlay: &mut Overlay, from: u8, address: &PeerAddress, time: Duration) -> usize {
    let until = overlay.cx.now + time;
    let (mut dials, mut link) = (0, 1_000);
    while overlay.cx.now < until {
        link += 1;
        let inbound = LinkState::ExerciseInbound { address: Some(address.clone()) };
        overlay.conns.links.open(LinkId(link), crate::testing::overlay::ip(from), None, inbound, overlay.cx.now);
        call!(overlay.admit_exercise(LinkId(link), &[]));
        if !overlay.done().dials.is_empty() {
            dials += 1;
            overlay.peers.dialer.take_reason(address);
            overlay.peers.book.back_off(&mut overlay.cx, address);
        }
        overlay.conns.links.remove(LinkId(link));
        overlay.pass(Duration::from_millis(50));
    }
    dials
}

#[test]
fn an_exercise_peer_that_names_another_host_does_not_shorten_its_back_off() {
    // With a free slot, and without.
    for (cap, linked) in [(8, 2), (2, 2)] {
        let mut overlay = Overlay::capped(cap);
        overlay.accept_all(40..40 + linked);
        assert_eq!(dials_of_named(&mut overlay, 20, &far(60), Duration::from_secs(59)), 1, "{cap}");
        assert_eq!(dials_of_named(&mut overlay, 20, &far(60), Duration::from_secs(60)), 1, "{cap}");
        assert_eq!(overlay.peers.book.get(&far(60)).map(|peer| peer.failures), Some(2), "{cap}: they count");
    }
    let mut overlay = Overlay::capped(8);
    assert!(dials_of_named(&mut overlay, 20, &far(20), Duration::from_secs(1)) > 10, "its own host is its own");
}

#[test]
fn an_exercise_peer_whose_address_is_not_known_any_more_gets_no_slot_of_another() {
    let mut overlay = Overlay::capped(3);
    overlay.exercise(20);
    call!(overlay.serve_exercise(&far(60), Some(LinkId(20))));
    assert!(overlay.done().is_nothing());
}
