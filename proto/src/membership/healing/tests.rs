use crate::event::Event;
use crate::membership::healing::*;
use crate::testing::overlay::{Overlay, call, far, session};
use crate::wire::close;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A node of partition 50, with a cap, that has had its root long enough.
fn settled(most: u32) -> Overlay {
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(most);
        config.session = session(50);
    });
    overlay.pass(ROOT_SETTLE);
    overlay
}

/// The node at address 90 is in partition `root`, as the other end of link 11 reported.
fn meet(overlay: &mut Overlay, root: u8) {
    call!(overlay.on_partition_learned(LinkId(11), &far(90), session(root)));
}

fn beacon(root: u8, seq: u64) -> Beacon {
    Beacon { root: session(root), seq }
}

#[test]
fn a_root_sends_a_beacon_to_its_native_peers_every_ten_seconds() {
    let mut overlay = settled(8);
    overlay.accepted(11);
    overlay.dialled(12);
    overlay.exercise(13);
    overlay.pending_peer(14);
    overlay.asking(15, DialReason::slot());
    let closing = overlay.accepted(16);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    overlay.done();
    overlay.membership.on_beacon_due(&mut overlay.cx, &mut overlay.conns);
    assert_eq!(overlay.due(&Timer::Partition), Some(BEACON_INTERVAL));
    let done = overlay.done();
    assert_eq!(done.sent("BEACON"), [11, 12]);
    assert_eq!(done.frames[0].1, beacon(50, 1).to_frame().as_str());
    overlay.membership.on_beacon_due(&mut overlay.cx, &mut overlay.conns);
    assert_eq!(overlay.done().frames[0].1, beacon(50, 2).to_frame().as_str());
}

#[test]
fn a_node_that_is_not_the_root_or_has_no_peer_sends_no_beacon() {
    let mut overlay = settled(8);
    overlay.membership.on_beacon_due(&mut overlay.cx, &mut overlay.conns);
    assert!(overlay.done().is_nothing(), "nobody is there");
    let link = overlay.accepted(11);
    overlay.membership.on_beacon(&mut overlay.cx, &mut overlay.conns, link, beacon(40, 1));
    overlay.membership.on_beacon_due(&mut overlay.cx, &mut overlay.conns);
    assert!(overlay.done().is_nothing(), "another one is the root");
    assert_eq!(overlay.due(&Timer::Partition), Some(BEACON_INTERVAL), "it watches that one");
}

#[test]
fn a_new_beacon_is_relayed_on_all_other_links() {
    let mut overlay = settled(8);
    overlay.accept_all(11..14);
    overlay.membership.on_beacon(&mut overlay.cx, &mut overlay.conns, LinkId(12), beacon(40, 7));
    let done = overlay.done();
    assert_eq!(done.sent("BEACON"), [11, 13]);
    assert!(done.frames.iter().all(|(_, frame)| frame == beacon(40, 7).to_frame().as_str()));
    overlay.membership.on_beacon(&mut overlay.cx, &mut overlay.conns, LinkId(11), beacon(40, 7));
    assert!(overlay.done().is_nothing(), "it is known by now");
}

#[test]
fn without_a_cap_beacons_are_ignored() {
    let mut overlay = settled(8);
    overlay.accepted(11);
    overlay.cx.config.max_peers = None;
    overlay.membership.on_beacon(&mut overlay.cx, &mut overlay.conns, LinkId(11), beacon(40, 1));
    overlay.membership.send_beacon(&mut overlay.cx, LinkId(11));
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.membership.partitions.root(), session(50));
}

#[test]
fn a_new_neighbor_gets_the_beacon_at_once() {
    let mut overlay = settled(8);
    overlay.membership.send_beacon(&mut overlay.cx, LinkId(11));
    assert_eq!(overlay.done().sent("BEACON"), [11]);
}

#[test]
fn with_a_free_slot_the_node_in_the_other_partition_is_dialled() {
    for root in [40, 60] {
        let mut overlay = settled(8);
        overlay.accepted(11);
        meet(&mut overlay, root);
        let done = overlay.done();
        assert_eq!(done.dials, [far(90)]);
        assert_eq!(done.codes(), [], "no link is released");
        assert!(matches!(done.events[0], Event::HealingPartition { gave_up: None, .. }), "{:?}", done.events);
        let reason = overlay.peers.dialer.take_reason(&far(90));
        assert_eq!(reason, Some(DialReason::Slot { high_priority: true, referred_by: None }));
        assert_eq!(overlay.membership.search.healing, None, "no slot stays reserved");
        assert_eq!(overlay.cx.counters.partitions_healed, 0);
    }
}

#[test]
fn without_a_free_slot_the_partition_with_the_greater_root_releases_a_link() {
    let mut overlay = settled(1);
    overlay.accepted(11);
    meet(&mut overlay, 60);
    assert!(overlay.done().is_nothing(), "the other side acts");
    assert!(overlay.membership.partitions.next_heal.is_none());
    meet(&mut overlay, 40);
    let done = overlay.done();
    assert_eq!(done.codes(), [(11, close::TRY_AGAIN_LATER)]);
    assert_eq!(done.dials, [far(90)]);
    assert!(
        matches!(&done.events[0], Event::HealingPartition { gave_up: Some(name), .. } if name.address == Some(far(11)))
    );
    assert_eq!(overlay.cx.counters.partitions_healed, 1);
}

#[test]
fn without_a_link_to_release_nothing_is_dialled() {
    let mut overlay = settled(1);
    overlay.know(11);
    overlay.accepted(11);
    meet(&mut overlay, 40);
    assert!(overlay.done().is_nothing());
    assert!(overlay.state(&far(90)).is_some(), "its address is kept");
    assert_eq!(overlay.membership.search.healing, None);
    let mut overlay = settled(2);
    overlay.dial_all(11..13);
    meet(&mut overlay, 40);
    assert!(overlay.done().is_nothing(), "links that this node dialled stay");
}

#[test]
fn a_root_that_a_stranger_claims_has_its_address_visited_and_changes_no_link() {
    let mut overlay = settled(1);
    overlay.accepted(11);
    let link = overlay.pending_peer(20);
    let claim = |overlay: &mut Overlay, root| {
        call!(overlay.on_partition_claimed(link, &far(90), session(root)));
        assert!(overlay.done().is_nothing());
        overlay.due(&Timer::Shuffle)
    };
    assert_eq!(claim(&mut overlay, 50), None, "it is ours");
    let due = claim(&mut overlay, 1).expect("set");
    assert!(due < SHUFFLE_SPREAD, "{due:?}");
    assert_eq!(overlay.membership.search.visit_next, Some(far(90)));
    overlay.pass(due);
    call!(overlay.on_shuffle_due());
    assert_eq!(overlay.done().dials, [far(90)]);
    // Another claim has no shuffle sooner than one in fifteen seconds.
    overlay.cx.timers.cancel(&Timer::Shuffle);
    let due = claim(&mut overlay, 2).expect("set");
    assert!(due >= HEAL_INTERVAL - SHUFFLE_SPREAD, "{due:?}");
}

#[test]
fn the_own_partition_a_full_mesh_and_a_node_that_shuts_down_have_nothing_to_heal() {
    let mut overlay = settled(8);
    meet(&mut overlay, 50);
    overlay.cx.shutting_down = true;
    meet(&mut overlay, 40);
    overlay.cx.shutting_down = false;
    overlay.cx.config.max_peers = None;
    meet(&mut overlay, 40);
    assert!(overlay.done().is_nothing());
    assert_eq!((overlay.state(&far(90)), &overlay.membership.search.visit_next), (None, &None));
}

#[test]
fn a_root_that_is_too_young_is_looked_at_again_by_a_shuffle_as_soon_as_it_is_settled() {
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(8);
        config.session = session(50);
    });
    overlay.pass(ROOT_SETTLE - MILLISECOND);
    meet(&mut overlay, 40);
    assert!(overlay.done().dials.is_empty());
    assert_eq!(overlay.membership.search.visit_next, Some(far(90)));
    assert!(overlay.state(&far(90)).is_some());
    let due = overlay.due(&Timer::Shuffle).expect("set");
    assert!((MILLISECOND..MILLISECOND + SHUFFLE_SPREAD).contains(&due), "{due:?}");
    overlay.pass(MILLISECOND);
    meet(&mut overlay, 40);
    assert_eq!(overlay.done().dials, [far(90)]);
}

#[test]
fn partitions_are_healed_fifteen_to_thirty_seconds_apart() {
    let mut overlay = settled(8);
    meet(&mut overlay, 40);
    let next = overlay.membership.partitions.next_heal.expect("set");
    let wait = next - overlay.cx.now;
    assert!(wait >= HEAL_INTERVAL && wait < HEAL_INTERVAL * 2, "{wait:?}");
    overlay.done();
    overlay.learn(91);
    overlay.cx.now = next - MILLISECOND;
    call!(overlay.on_partition_learned(LinkId(11), &far(91), session(40)));
    assert!(overlay.done().dials.is_empty());
    overlay.cx.now = next;
    call!(overlay.on_partition_learned(LinkId(11), &far(91), session(40)));
    assert_eq!(overlay.done().dials, [far(91)]);
}

#[test]
fn the_node_is_dialled_once_its_address_is_idle_while_a_slot_is_reserved_for_it() {
    let mut overlay = settled(8);
    overlay.accepted(90);
    meet(&mut overlay, 40);
    assert!(overlay.done().dials.is_empty(), "the link on which it was met is open");
    assert!(overlay.membership.search.is_healing(overlay.cx.now));
    overlay.end(LinkId(90));
    overlay.pass(HEAL_TIMEOUT - MILLISECOND);
    call!(overlay.heal_partition());
    assert_eq!(overlay.done().dials, [far(90)]);
    overlay.membership.search.healing = Some((far(91), overlay.cx.now));
    overlay.learn(91);
    call!(overlay.heal_partition());
    assert!(overlay.done().dials.is_empty(), "its time is over");
}
