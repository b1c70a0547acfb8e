use crate::event::Event;
use crate::id::LinkId;
use crate::membership::rewiring::*;
use crate::testing::overlay::{Overlay, call, far};
use crate::wire::close;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A node with two links that it dialled and one that it accepted.
fn linked() -> Overlay {
    let mut overlay = Overlay::capped(8);
    overlay.dialled(11);
    overlay.pass(MILLISECOND);
    overlay.dialled(12);
    overlay.accepted(13);
    overlay
}

/// A node with a walk under way, and so many known addresses that wait.
fn walking(addresses: u8) -> Overlay {
    let mut overlay = linked();
    (20..20 + addresses).for_each(|n| _ = overlay.learn(n));
    overlay.membership.rewiring.steps = STEPS;
    overlay.membership.rewiring.dials = DIALS;
    overlay
}

#[test]
fn a_node_moves_one_link_for_six_slots_three_at_most_and_none_below_a_cap_of_three() {
    for (cap, moves) in [(1, 0), (2, 0), (3, 1), (6, 1), (7, 2), (12, 2), (13, 3), (1_000, 3)] {
        let mut overlay = Overlay::capped(cap);
        overlay.membership.schedule_rewiring(&mut overlay.cx);
        assert_eq!(overlay.membership.rewiring.moves, moves, "a cap of {cap}");
        match overlay.due(&Timer::Rewire) {
            Some(due) => assert!((FIRST_MOVE..FIRST_MOVE * 5 / 2).contains(&due) && moves > 0, "{due:?}"),
            None => assert_eq!(moves, 0),
        }
    }
    let mut overlay = Overlay::mesh();
    overlay.membership.schedule_rewiring(&mut overlay.cx);
    assert_eq!(overlay.due(&Timer::Rewire), None);
}

#[test]
fn each_timer_is_one_move_and_begins_a_walk_if_enough_nodes_are_known() {
    // Three links are known too.
    for (known, walks) in [(MIN_ADDRESSES - 4, false), (MIN_ADDRESSES - 3, true)] {
        let mut overlay = walking(u8::try_from(known).expect("few"));
        overlay.membership.rewiring.moves = 2;
        call!(overlay.on_rewire_due());
        assert_eq!(overlay.membership.rewiring.moves, 1);
        let due = overlay.due(&Timer::Rewire).expect("another move follows");
        assert!((MOVE_INTERVAL..MOVE_INTERVAL * 2).contains(&due), "{due:?}");
        assert_eq!(overlay.done().dials.len(), usize::from(walks), "{known}");
        assert_eq!(overlay.cx.counters.shuffles, u64::from(walks));
    }
}

#[test]
fn after_the_last_move_no_timer_is_set() {
    let mut overlay = walking(40);
    overlay.membership.rewiring.moves = 1;
    call!(overlay.on_rewire_due());
    assert_eq!((overlay.membership.rewiring.moves, overlay.due(&Timer::Rewire)), (0, None));
    assert_eq!(overlay.done().dials.len(), 1);
    call!(overlay.on_rewire_due());
    assert!(overlay.done().is_nothing(), "there are no more");
}

#[test]
fn a_node_that_shuts_down_moves_nothing() {
    let mut overlay = walking(40);
    overlay.membership.rewiring.moves = 2;
    overlay.cx.shutting_down = true;
    call!(overlay.on_rewire_due());
    assert_eq!((overlay.membership.rewiring.moves, overlay.due(&Timer::Rewire)), (2, None));
    call!(overlay.on_walk_missed());
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.membership.rewiring.dials, DIALS);
}

#[test]
fn a_walk_begins_at_an_address_that_waits_and_did_not_fail() {
    let mut overlay = walking(3);
    overlay.peers.book.get_mut(&far(20)).expect("there").failures = 1;
    overlay.peers.book.set_state(&far(21), AddressState::Attempting);
    call!(overlay.walk_from_here());
    assert_eq!(overlay.done().dials, [far(22)]);
    assert_eq!(overlay.peers.dialer.take_reason(&far(22)), Some(DialReason::Walk));
    assert_eq!(overlay.membership.rewiring.dials, DIALS - 1);
}

#[test]
fn a_step_tries_one_address_after_another_within_its_dials() {
    let mut overlay = walking(0);
    overlay.learn(30);
    let refused: Vec<_> = (50..60).map(far).collect();
    let choice = [refused.clone(), vec![far(30)]].concat();
    call!(overlay.step(choice));
    assert_eq!(overlay.done().dials, [far(30)], "the others are not in the address book");
    overlay.membership.rewiring.dials = 3;
    call!(overlay.step(refused));
    assert_eq!(overlay.membership.rewiring.dials, 0);
    overlay.learn(31);
    call!(overlay.step(vec![far(31)]));
    assert!(overlay.done().dials.is_empty(), "no dial is left");
    assert_eq!(overlay.cx.counters.shuffles, 1);
}

#[test]
fn a_step_that_reached_nobody_is_taken_again_while_the_walk_lasts() {
    let mut overlay = walking(2);
    call!(overlay.on_walk_missed());
    assert_eq!(overlay.done().dials.len(), 1);
    overlay.membership.rewiring.steps = 0;
    call!(overlay.on_walk_missed());
    assert!(overlay.done().dials.is_empty());
}

#[test]
fn the_next_step_leads_to_an_address_that_the_node_named_and_not_back() {
    let mut overlay = walking(4);
    overlay.membership.rewiring.last = Some(far(20));
    overlay.peers.book.set_state(&far(22), AddressState::Attempting);
    // 20 is where the walk came from, 22 is in use, 60 is unknown.
    let named = [far(20), far(22), far(60), far(21)];
    call!(overlay.on_walked(far(40), &named, Some(0)));
    assert_eq!(overlay.done().dials, [far(21)]);
    let walk = &overlay.membership.rewiring;
    assert_eq!((walk.steps, walk.last.clone()), (STEPS - 1, Some(far(40))));
    call!(overlay.on_walked(far(21), &[far(40), far(20)], Some(0)));
    assert_eq!(overlay.done().dials, [far(20)], "two steps back is allowed");
}

#[test]
fn a_node_that_names_nobody_has_the_walk_begin_again() {
    let mut overlay = walking(1);
    call!(overlay.on_walked(far(40), &[], Some(3)));
    assert_eq!(overlay.done().dials, [far(20)]);
    assert_eq!(overlay.membership.rewiring.steps, STEPS - 1);
}

#[test]
fn a_walk_does_not_end_at_a_node_without_a_cap() {
    let mut overlay = walking(2);
    overlay.membership.rewiring.steps = 1;
    call!(overlay.on_walked(far(40), &[far(20)], None));
    assert_eq!(overlay.membership.rewiring.steps, 1);
    let done = overlay.done();
    assert_eq!((done.dials, done.closed), (vec![far(20)], Vec::new()));
}

#[test]
fn at_the_end_of_a_walk_a_link_that_we_dialled_moves_there() {
    let mut overlay = walking(1);
    overlay.membership.rewiring.steps = 1;
    overlay.conns.links.get_mut(LinkId(11)).expect("open").brought = 1;
    call!(overlay.on_walked(far(20), &[far(30)], Some(0)));
    let done = overlay.done();
    assert_eq!(done.codes(), [(12, close::TRY_AGAIN_LATER)], "the link that brought nothing");
    assert_eq!(done.dials, [far(20)]);
    let reason = overlay.peers.dialer.take_reason(&far(20));
    assert_eq!(reason, Some(DialReason::Slot { high_priority: true, referred_by: None }));
    assert!(matches!(&done.events[0], Event::Rewiring { from, to } if from.address == Some(far(12)) && *to == far(20)));
    assert_eq!(overlay.cx.counters.links_rewired, 1);
    let moved = (far(20), far(12), overlay.cx.now + MOVE_TIMEOUT * 2);
    assert_eq!(overlay.membership.rewiring.moved, Some(moved));
    assert_eq!(done.declined(LinkId(12)).expect("DECLINED").retry_after, 60);
}

#[test]
fn the_end_of_a_walk_is_dialled_within_five_seconds_if_its_address_is_in_use() {
    let mut overlay = walking(0);
    overlay.accepted(20);
    overlay.membership.rewiring.steps = 1;
    call!(overlay.on_walked(far(20), &[], Some(0)));
    assert!(overlay.done().dials.is_empty());
    assert_eq!(overlay.membership.search.healing, Some((far(20), overlay.cx.now + MOVE_TIMEOUT)));
}

#[test]
fn nothing_moves_without_two_links_without_one_that_we_dialled_and_while_a_slot_is_reserved() {
    let rewires = |overlay: &mut Overlay| {
        overlay.learn(20);
        overlay.membership.rewiring.steps = 1;
        call!(overlay.on_walked(far(20), &[], Some(0)));
        overlay.cx.counters.links_rewired
    };
    let mut alone = Overlay::capped(8);
    alone.dialled(11);
    assert_eq!(rewires(&mut alone), 0);
    let mut accepted = Overlay::capped(8);
    accepted.accept_all(11..14);
    assert_eq!(rewires(&mut accepted), 0);
    let mut healing = linked();
    healing.membership.search.healing = Some((far(90), healing.cx.now + MILLISECOND));
    assert_eq!(rewires(&mut healing), 0);
    healing.pass(MILLISECOND);
    assert_eq!(rewires(&mut healing), 1);
    let mut two = Overlay::capped(8);
    two.dial_all(11..13);
    assert_eq!(rewires(&mut two), 1);
}

#[test]
fn a_move_that_finds_no_slot_goes_back_to_its_old_end() {
    let mut overlay = linked();
    let until = overlay.cx.now + MOVE_TIMEOUT * 2;
    let moved = Some((far(20), far(11), until));
    overlay.membership.rewiring.moved = moved.clone();
    overlay.cx.timers.set(Timer::Dial(far(11)), overlay.cx.now + MOVE_INTERVAL);
    overlay.membership.on_rewire_missed(&mut overlay.cx, &far(21));
    assert_eq!(overlay.membership.rewiring.moved, moved, "that was another address");
    overlay.cx.now = until - MILLISECOND;
    overlay.membership.on_rewire_missed(&mut overlay.cx, &far(20));
    assert_eq!(overlay.membership.rewiring.moved, None);
    assert_eq!(overlay.dial_due(&far(11)), None, "it is idle");
    assert_eq!(overlay.membership.search.hints, [far(11)]);
    overlay.membership.search.hints.clear();
    overlay.membership.rewiring.moved = moved;
    overlay.cx.now = until;
    overlay.membership.on_rewire_missed(&mut overlay.cx, &far(20));
    assert!(overlay.membership.search.hints.is_empty(), "too late");
}
