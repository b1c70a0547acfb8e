//! Who gets a free slot, by one component without a node.

use std::time::Duration;

use crate::connections::table::{LinkState, NativePeer, PendingPeer};
use crate::id::LinkId;
use crate::membership::slots::{HELD, JOIN_TIMEOUT, PROBE_TIMEOUT};
use crate::peers::address_book::AddressState;
use crate::testing::overlay::{Overlay, call, far, info, native, session};
use crate::testing::parts::node;
use crate::timers::Timer;
use crate::wire::{Join, NodeInfo, Want, close};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Peer `n`, which has a cap, dials us and introduces itself.
pub(super) fn knock(overlay: &mut Overlay, n: u8) -> LinkId {
    let link = overlay.pending_peer(n);
    call!(overlay.on_introduced(link, &info(n), vec![far(n)]));
    link
}

/// The same, and it asks for a slot at once.
pub(super) fn ask(overlay: &mut Overlay, n: u8, insist: bool) -> LinkId {
    let link = knock(overlay, n);
    call!(overlay.on_join(link, &Join { insist, ..Join::default() }));
    link
}

pub(super) fn is_pending(overlay: &Overlay, link: LinkId) -> bool {
    matches!(overlay.conns.links.get(link).map(|link| &link.state), Some(LinkState::AwaitingAdmission(_)))
        && !overlay.closing(link)
}

pub(super) fn is_admitted(overlay: &Overlay, link: LinkId) -> bool {
    overlay.conns.links.get(link).is_some_and(|link| link.native().is_some() && !link.closing)
}

#[test]
fn a_slot_holds_one_node_however_many_links_lead_to_it() {
    let mut overlay = Overlay::capped(8);
    overlay.pending_peer(11);
    assert_eq!(overlay.membership.slots_taken(&overlay.cx, &overlay.conns, None), 0, "a client has none");
    overlay.accepted(12);
    overlay.conns.links.open(LinkId(1), crate::testing::overlay::ip(12), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(12)));
    assert_eq!(overlay.membership.slots_taken(&overlay.cx, &overlay.conns, None), 1);
    overlay.exercise(13);
    overlay.dialled(14);
    let closing = overlay.dialled(15);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    let closing = overlay.exercise(16);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    let Overlay { cx, conns, membership, .. } = &overlay;
    assert_eq!(membership.slots_taken(cx, conns, None), 3);
    assert_eq!((membership.slots_dialled(conns), membership.exercise_slots(&overlay.cx, conns)), (1, 1));
    assert_eq!(membership.free_slots(cx, conns), Some(5));
}

#[test]
fn a_reserved_slot_is_taken_until_its_time_except_for_the_node_that_was_referred() {
    let mut overlay = Overlay::capped(8);
    overlay.membership.slots.reserved = Some((node(50), overlay.cx.now + HELD));
    overlay.membership.search.healing = Some((far(60), overlay.cx.now + HELD));
    overlay.pass(HELD - MILLISECOND);
    let taken = |overlay: &Overlay, by| overlay.membership.slots_taken(&overlay.cx, &overlay.conns, by);
    assert_eq!((taken(&overlay, None), taken(&overlay, Some(node(51))), taken(&overlay, Some(node(50)))), (2, 2, 1));
    assert_eq!(overlay.membership.reserved_until(&overlay.cx), Some(overlay.cx.now + MILLISECOND));
    overlay.pass(MILLISECOND);
    assert_eq!(taken(&overlay, None), 0);
    assert_eq!(overlay.membership.reserved_until(&overlay.cx), None);
}

#[test]
fn a_view_is_full_at_its_cap_and_never_without_one() {
    let mut overlay = Overlay::capped(2);
    let full = |overlay: &Overlay| overlay.membership.is_full(&overlay.cx, &overlay.conns, None);
    overlay.accepted(11);
    assert!(!full(&overlay));
    overlay.accepted(12);
    assert!(full(&overlay));
    overlay.accepted(13);
    assert_eq!(overlay.membership.free_slots(&overlay.cx, &overlay.conns), Some(0), "one too many is not less");
    overlay.cx.config.max_peers = None;
    assert!(!full(&overlay));
    assert_eq!(overlay.membership.free_slots(&overlay.cx, &overlay.conns), None);
}

#[test]
fn the_slot_of_an_exercise_peer_that_lost_its_link_is_held_for_it() {
    let mut overlay = Overlay::capped(4);
    overlay.accept_all(11..13);
    let taken = |overlay: &Overlay| overlay.membership.slots_taken(&overlay.cx, &overlay.conns, None);
    let admits = |overlay: &Overlay, n| overlay.membership.admits_exercise(&overlay.cx, &overlay.conns, &far(n));
    for n in [20, 21] {
        overlay.membership.hold_for_exercise(&overlay.cx, &far(n));
    }
    assert_eq!(taken(&overlay), 4);
    assert!(admits(&overlay, 20) && admits(&overlay, 21) && !admits(&overlay, 22));
    overlay.membership.release_for_exercise(&far(20));
    assert_eq!(taken(&overlay), 3);
    assert!(admits(&overlay, 22));
    overlay.pass(Duration::from_secs(90));
    assert_eq!(taken(&overlay), 2);
    // A node with one or two slots needs them for native peers.
    let mut overlay = Overlay::capped(2);
    overlay.membership.hold_for_exercise(&overlay.cx, &far(20));
    assert_eq!(taken(&overlay), 0);
}

#[test]
fn two_slots_are_kept_from_exercise_peers_but_one_may_always_come() {
    for (cap, most) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 6)] {
        let mut overlay = Overlay::capped(cap);
        let admits = |overlay: &Overlay| overlay.membership.admits_exercise(&overlay.cx, &overlay.conns, &far(99));
        for n in 0..most {
            assert!(admits(&overlay), "{n} of {cap}");
            overlay.exercise(20 + n);
        }
        assert!(!admits(&overlay), "{most} of {cap}");
    }
    let mut overlay = Overlay::capped(4);
    overlay.accept_all(11..15);
    assert!(!overlay.membership.admits_exercise(&overlay.cx, &overlay.conns, &far(99)), "there is no free slot");
    let mut overlay = Overlay::mesh();
    for n in 11..31 {
        overlay.exercise(n);
    }
    assert!(overlay.membership.admits_exercise(&overlay.cx, &overlay.conns, &far(99)), "a full mesh links to all");
}

#[test]
fn a_quarter_of_the_slots_is_kept_for_nodes_of_our_own_choice_while_there_are_any() {
    // The cap, how many we dialled, how many we accepted; whether one more gets a slot if there are
    // addresses to dial, and if there are none.
    for (cap, dialled, accepted, with, without) in [
        (8, 0, 5, true, true),
        (8, 0, 6, false, true),
        (8, 0, 7, false, true),
        (8, 0, 8, false, false),
        (8, 1, 5, true, true),
        (8, 1, 6, false, true),
        (8, 2, 5, true, true),
        (8, 2, 6, false, false),
        (4, 0, 2, true, true),
        (4, 0, 3, false, true),
        (4, 1, 2, true, true),
        (2, 0, 0, true, true),
        (2, 0, 1, false, true),
        (2, 1, 0, true, true),
        (1, 0, 0, true, true),
        (1, 0, 1, false, false),
    ] {
        let mut overlay = Overlay::capped(cap);
        overlay.dial_all(20..20 + dialled);
        overlay.accept_all(40..40 + accepted);
        let Overlay { cx, peers, conns, membership } = &overlay;
        assert_eq!(membership.has_slot_for(cx, peers, conns, None), without, "{cap}, {dialled}, {accepted}");
        overlay.learn(90);
        let Overlay { cx, peers, conns, membership } = &overlay;
        assert_eq!(membership.has_slot_for(cx, peers, conns, None), with, "{cap}, {dialled}, {accepted}: idle one");
    }
    let overlay = Overlay::mesh();
    let Overlay { cx, peers, conns, membership } = &overlay;
    assert!(membership.has_slot_for(cx, peers, conns, None));
}

#[test]
fn a_peer_with_a_cap_waits_for_its_join_and_another_does_so_only_if_there_is_no_slot() {
    let mut overlay = Overlay::capped(1);
    let plain = overlay.pending_peer(21);
    let uncapped = NodeInfo { max_peers: None, ..info(21) };
    call!(overlay.on_introduced(plain, &uncapped, vec![far(21), far(22)]));
    assert!(is_admitted(&overlay, plain));
    let raised = overlay.raised();
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert!(raised[0].starts_with("AddressesLearned") && raised[0].contains("22.22"), "{raised:?}");
    let capped = knock(&mut overlay, 23);
    assert!(is_pending(&overlay, capped));
    assert_eq!(overlay.due(&Timer::Answer(capped)), Some(JOIN_TIMEOUT));
    let other = overlay.pending_peer(24);
    call!(overlay.on_introduced(other, &NodeInfo { max_peers: None, ..info(24) }, Vec::new()));
    assert!(is_pending(&overlay, other), "it may request the slot with high priority");
    assert!(overlay.raised().is_empty());
}

#[test]
fn of_a_waiting_peer_only_a_few_addresses_are_kept_and_the_first_handshake_counts() {
    for (cap, named, kept) in [(Some(8), 15, 15), (Some(8), 16, 16), (Some(8), 17, 16), (None, 17, 17)] {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        let link = overlay.pending_peer(21);
        let addresses: Vec<_> = (0..named).map(|n| far(30 + n)).collect();
        call!(overlay.on_introduced(link, &info(21), addresses.clone()));
        if cap.is_none() {
            assert!(is_pending(&overlay, link), "a peer with a cap sends JOIN to any node");
        }
        let pending = |overlay: &Overlay| match overlay.conns.links.get(link).map(|link| &link.state) {
            Some(LinkState::AwaitingAdmission(PendingPeer { addresses, .. })) => addresses.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(pending(&overlay), addresses[..kept]);
        overlay.pass(JOIN_TIMEOUT / 2);
        call!(overlay.on_introduced(link, &info(21), vec![far(99)]));
        assert_eq!(pending(&overlay), addresses[..kept]);
        assert_eq!(overlay.due(&Timer::Answer(link)), Some(JOIN_TIMEOUT / 2), "it wins no time");
    }
}

#[test]
fn a_peer_without_a_join_counts_as_one_that_asks_for_a_slot() {
    let mut overlay = Overlay::capped(1);
    let (first, second) = (knock(&mut overlay, 21), knock(&mut overlay, 22));
    assert!(call!(overlay.on_admission_due(first)));
    assert!(is_admitted(&overlay, first));
    assert!(call!(overlay.on_admission_due(second)));
    assert_eq!(overlay.done().codes(), [(22, close::TRY_AGAIN_LATER)]);
    assert_eq!(overlay.due(&Timer::Answer(second)), None);
    assert!(!call!(overlay.on_admission_due(first)), "it waits no more");
    assert!(!call!(overlay.on_admission_due(LinkId(99))));
    // On a link that we dialled for addresses nobody asked for a slot.
    let ours = overlay.dialled(23);
    let pending = PendingPeer { id: node(23), node: None, addresses: Vec::new(), requests_priority: false };
    overlay.conns.links.get_mut(ours).expect("open").state = LinkState::AwaitingAdmission(pending);
    overlay.done();
    assert!(call!(overlay.on_admission_due(ours)));
    assert!(overlay.done().is_nothing());
}

#[test]
fn a_join_is_answered_once_and_only_after_a_handshake() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.pending_peer(21);
    call!(overlay.on_join(link, &Join::default()));
    assert!(overlay.done().is_nothing());
    call!(overlay.on_introduced(link, &info(21), vec![far(21)]));
    call!(overlay.on_join(link, &Join::default()));
    assert!(is_admitted(&overlay, link));
    assert!(overlay.raised().iter().any(|event| event.starts_with("AddressesLearned")));
    let probes = overlay.done().probes;
    assert_eq!(probes, [(21, far(21))], "its address is verified");
    call!(overlay.on_join(link, &Join::default()));
    assert!(overlay.done().is_nothing() && overlay.raised().is_empty());
    call!(overlay.on_join(LinkId(99), &Join::default()));
}

#[test]
fn a_peer_that_asks_for_addresses_gets_them_and_no_slot() {
    let mut overlay = Overlay::capped(8);
    overlay.accepted(30);
    let link = knock(&mut overlay, 21);
    call!(overlay.on_join(link, &Join { want: Some(Want::Random), ..Join::default() }));
    let sample = overlay.done().sample(link).expect("PEERS");
    assert_eq!((sample.addresses, sample.free), (vec![far(30)], Some(7)));
    assert!(is_pending(&overlay, link));
    assert_eq!(overlay.due(&Timer::Answer(link)), None, "it is not taken for one that wants a slot");
    call!(overlay.on_join(link, &Join::default()));
    assert!(is_pending(&overlay, link), "it may not have both");
    let linked = overlay.accepted(31);
    call!(overlay.on_join(linked, &Join { want: Some(Want::Neighbours), ..Join::default() }));
    assert_eq!(overlay.done().sample(linked).expect("PEERS").addresses, [far(30)]);
}

#[test]
fn the_partition_that_a_join_names_is_reported_if_the_address_of_its_node_may_be_learned() {
    for (address, reported) in [
        (Some(far(21)), true),
        (None, false),
        (Some("ws://10.0.0.1:4001".parse().expect("private")), false),
        (Some(crate::testing::net::address(0)), false),
    ] {
        let mut overlay = Overlay::capped(8);
        let link = overlay.pending_peer(21);
        call!(overlay.on_introduced(link, &NodeInfo { address, ..info(21) }, Vec::new()));
        call!(overlay.on_join(link, &Join { root: Some(session(9)), ..Join::default() }));
        let raised = overlay.raised();
        let learned = raised.iter().filter(|event| event.starts_with("PartitionLearned")).count();
        assert_eq!(learned, usize::from(reported), "{raised:?}");
    }
    let mut overlay = Overlay::capped(8);
    let link = overlay.accepted(21);
    call!(overlay.on_join(link, &Join { root: Some(session(9)), ..Join::default() }));
    assert_eq!(overlay.raised().len(), 1, "also of one that is linked");
}

#[test]
fn a_second_link_to_a_linked_node_needs_no_slot() {
    for proved in [false, true] {
        let mut overlay = Overlay::capped(1);
        overlay.conns.links.open(LinkId(1), crate::testing::overlay::ip(21), None, LinkState::Client, overlay.cx.now);
        let first = NativePeer { proved, ..native(21) };
        overlay.conns.links.set_native(LinkId(1), LinkState::Established(first));
        let (again, other) = (ask(&mut overlay, 21, false), ask(&mut overlay, 22, false));
        assert_eq!(is_admitted(&overlay, again), !proved, "who only claims the id of a proved node is a stranger");
        assert!(overlay.closing(other));
    }
}

#[test]
fn a_reserved_slot_goes_to_the_node_that_was_referred_once() {
    let mut overlay = Overlay::capped(2);
    overlay.accepted(11);
    overlay.membership.slots.reserved = Some((node(50), overlay.cx.now + HELD));
    let stranger = ask(&mut overlay, 21, false);
    assert!(overlay.closing(stranger));
    let wrong = knock(&mut overlay, 22);
    call!(overlay.on_join(wrong, &Join { moved_by: Some(node(51)), ..Join::default() }));
    assert!(overlay.closing(wrong), "another node gave its slot away");
    assert!(overlay.membership.slots.reserved.is_some());
    let referred = knock(&mut overlay, 23);
    call!(overlay.on_join(referred, &Join { moved_by: Some(node(50)), ..Join::default() }));
    assert!(is_admitted(&overlay, referred));
    assert!(overlay.membership.slots.reserved.is_none());
}

#[test]
fn a_referral_by_another_node_leaves_the_reservation_alone() {
    let mut overlay = Overlay::capped(4);
    overlay.membership.slots.reserved = Some((node(50), overlay.cx.now + HELD));
    for moved_by in [None, Some(node(51))] {
        let link = knock(&mut overlay, if moved_by.is_some() { 22 } else { 21 });
        call!(overlay.on_join(link, &Join { moved_by, ..Join::default() }));
        assert!(is_admitted(&overlay, link));
        assert!(overlay.membership.slots.reserved.is_some());
    }
}

#[test]
fn a_node_that_insists_gets_a_slot_that_is_kept_for_our_own_choice() {
    let mut overlay = Overlay::capped(4);
    overlay.accept_all(11..14);
    overlay.learn(90);
    let (politely, insisting) = (ask(&mut overlay, 21, false), ask(&mut overlay, 22, true));
    assert!(overlay.closing(politely) && is_admitted(&overlay, insisting));
    assert_eq!(overlay.membership.slots_taken(&overlay.cx, &overlay.conns, None), 4);
    assert_eq!(overlay.cx.counters.slots_swapped, 0);
}

#[test]
fn a_full_node_probes_the_address_of_a_node_that_insists() {
    let mut overlay = Overlay::capped(2);
    overlay.accept_all(11..13);
    let link = ask(&mut overlay, 21, true);
    assert_eq!(overlay.done().probes, [(21, far(21))]);
    assert!(is_pending(&overlay, link));
    assert_eq!(overlay.due(&Timer::Answer(link)), Some(PROBE_TIMEOUT));
    assert_eq!(overlay.state(&far(21)), Some(AddressState::Probing(link)));
    assert!(call!(overlay.on_admission_due(link)));
    assert_eq!(overlay.done().codes(), [(21, close::TRY_AGAIN_LATER)], "the probe took too long");
}
