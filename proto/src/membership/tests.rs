mod ids;

use std::time::Instant;

use crate::connections::table::LinkState;
use crate::membership::*;
use crate::peers::address_book::AddressState;
use crate::testing::overlay::{Overlay, call, far, ip, native, session};

const SECOND: Duration = Duration::from_secs(1);

/// Opens link `n` to peer `n`, on standby.
fn standby(overlay: &mut Overlay, link: u64, n: u8) -> LinkId {
    overlay.learn(n);
    overlay.conns.links.open(LinkId(link), ip(n), Some(far(n)), LinkState::Standby(native(n)), overlay.cx.now);
    LinkId(link)
}

#[test]
fn a_dial_that_reached_this_node_itself_is_closed_and_never_repeated() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
    overlay.membership.bootstrap.wait();
    let link = standby(&mut overlay, 20, 20);
    let outcome = DialOutcome::Ourselves { link };
    call!(overlay.on_dial_ended(&far(20), Some(DialReason::slot()), outcome.clone()));
    let done = overlay.done();
    assert_eq!(done.closed, [(20, close::NORMAL, "this is myself".to_owned())]);
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Myself));
    assert!(done.names().contains(&"SelfDialled".to_owned()), "{:?}", done.events);
    overlay.membership.bootstrap.wait();
    call!(overlay.on_dial_ended(&far(20), Some(DialReason::Bootstrap), outcome));
    assert!(!overlay.membership.bootstrap.is_joining(), "the bootstrap address is ours: the search begins");
}

#[test]
fn each_end_of_a_dial_lets_the_search_go_on() {
    for outcome in [DialOutcome::Failed("refused".into()), DialOutcome::Useless("why")] {
        let mut overlay = Overlay::capped(8);
        overlay.learn(21);
        call!(overlay.on_dial_ended(&far(20), Some(DialReason::slot()), outcome));
        assert_eq!(overlay.done().dials, [far(21)]);
    }
}

#[test]
fn an_exercise_peer_that_answered_is_redirected_if_it_gets_no_slot() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.exercise(20);
    assert!(call!(overlay.on_exercise_dialled(link, None, false)));
    assert!(overlay.done().is_nothing());
    assert!(!call!(overlay.on_exercise_dialled(link, None, true)));
    let done = overlay.done();
    assert_eq!((done.codes(), done.sent("HANDSHAKE")), (vec![(20, close::TRY_AGAIN_LATER)], vec![20]));
}

#[test]
fn an_exercise_peer_is_neither_a_bootstrap_node_nor_a_step_of_a_walk() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
    overlay.membership.bootstrap.wait();
    let link = overlay.exercise(20);
    assert!(call!(overlay.on_exercise_dialled(link, Some(DialReason::slot()), false)));
    assert!(overlay.membership.bootstrap.is_joining());
    call!(overlay.on_exercise_dialled(link, Some(DialReason::Bootstrap), false));
    assert!(!overlay.membership.bootstrap.is_joining());
    overlay.accept_all(40..48);
    overlay.done();
    overlay.learn(30);
    (overlay.membership.rewiring.steps, overlay.membership.rewiring.dials) = (1, 1);
    call!(overlay.on_exercise_dialled(link, None, false));
    assert!(overlay.done().dials.is_empty());
    call!(overlay.on_exercise_dialled(link, Some(DialReason::Walk), false));
    assert_eq!(overlay.done().dials, [far(30)]);
}

#[test]
fn an_exercise_peer_that_introduces_itself_is_taken_for_a_slot_or_its_addresses_are_dialled() {
    for (cap, dials) in [(Some(8), true), (None, false)] {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        let link = overlay.pending_peer(20);
        overlay.conns.links.get_mut(link).expect("open").state = LinkState::ExerciseInbound { address: Some(far(20)) };
        call!(overlay.on_exercise_introduced(link, &[far(20)]));
        assert_eq!(overlay.done().dials.len(), usize::from(dials));
        assert_eq!(overlay.dial_due(&far(20)), (!dials).then_some(Duration::ZERO));
    }
}

#[test]
fn a_link_on_standby_gets_its_slot_unless_the_last_one_is_taken() {
    let mut overlay = Overlay::capped(2);
    overlay.accepted(40);
    let link = standby(&mut overlay, 20, 20);
    call!(overlay.admit_standby(link));
    let done = overlay.done();
    assert!(done.handshake(link).is_some() && done.join(link).is_some());
    let last = standby(&mut overlay, 21, 21);
    call!(overlay.admit_standby(last));
    assert_eq!(overlay.done().codes(), [(21, close::NORMAL)]);
    let again = standby(&mut overlay, 22, 40);
    call!(overlay.admit_standby(again));
    assert!(overlay.done().handshake(again).is_some(), "its node holds a slot already");
}

#[test]
fn a_link_was_answered_unless_a_request_on_it_is_open() {
    let mut overlay = Overlay::capped(8);
    overlay.membership.asked.insert(LinkId(11));
    assert!(!overlay.membership.was_answered(LinkId(11)));
    assert!(overlay.membership.was_answered(LinkId(11)), "it is forgotten");
}

#[test]
fn addresses_go_to_the_other_link_of_the_node_or_back_off() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.dialled(20);
    overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(20)));
    overlay.peers.book.set_state(&far(21), AddressState::Connected(link));
    let release = |overlay: &mut Overlay, link, answered| {
        let closed = overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, link).expect("open");
        overlay.membership.release_addresses(&mut overlay.cx, &mut overlay.peers, &closed, answered);
    };
    release(&mut overlay, link, true);
    for n in [20, 21] {
        assert_eq!(overlay.state(&far(n)), Some(AddressState::Connected(LinkId(1))), "{n}");
    }
    release(&mut overlay, LinkId(1), true);
    for n in [20, 21] {
        assert_eq!(overlay.state(&far(n)), Some(AddressState::Waiting), "{n}");
        assert!(overlay.dial_due(&far(n)).is_some());
        assert_eq!(overlay.peers.book.get(&far(n)).expect("there").failures, 1);
    }
    let link = overlay.dialled(22);
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    release(&mut overlay, link, true);
    assert_eq!(overlay.dial_due(&far(22)), Some(SECOND * 60), "we closed it: it rests");
}

#[test]
fn a_full_mesh_has_no_partition() {
    assert_eq!(Overlay::mesh().membership.partition(&Overlay::mesh().cx), None);
    assert_eq!(Overlay::capped(8).membership.partition(&Overlay::capped(8).cx), Some(session(0)));
}

#[test]
fn in_a_full_mesh_every_new_address_is_dialled_and_reported() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(11);
    let home: PeerAddress = "ws://10.0.0.1:4001".parse().expect("private");
    let ourselves = overlay.cx.config.address.clone();
    call!(overlay.learn(link, &[far(11), far(30), home.clone(), ourselves.clone()]));
    assert_eq!(overlay.dial_due(&far(30)), Some(Duration::ZERO));
    assert_eq!((overlay.state(&home), overlay.state(&ourselves)), (None, None));
    let done = overlay.done();
    assert!(matches!(&done.events[..], [Event::AddressesLearned { addresses: 1, .. }]), "{:?}", done.events);
    call!(overlay.learn(link, &[far(11)]));
    assert!(overlay.done().is_nothing());
}

#[test]
fn with_a_cap_addresses_wait_until_a_slot_is_wanted() {
    let mut overlay = Overlay::capped(2);
    overlay.accept_all(11..13);
    call!(overlay.learn(LinkId(11), &[far(30)]));
    assert!(overlay.state(&far(30)).is_some());
    assert_eq!((overlay.dial_due(&far(30)), overlay.done().dials.len()), (None, 0));
}

#[test]
fn a_burst_of_new_addresses_is_dialled_at_once_and_then_one_a_second() {
    let mut overlay = Overlay::with(|config| config.limits.gossip_burst = 3);
    let link = overlay.accepted(11);
    let named: Vec<PeerAddress> = (30..36).map(far).collect();
    call!(overlay.learn(link, &named));
    let due: Vec<_> = named.iter().map(|address| overlay.dial_due(address).expect("set")).collect();
    assert_eq!(due, [0, 0, 0, 1, 2, 3].map(|seconds| SECOND * seconds));
    // Addresses of this host, which only this host may name, are exempt.
    let home = overlay.pending_peer(12);
    overlay.conns.links.get_mut(home).expect("open").scope = Scope::Loopback;
    let here: Vec<PeerAddress> = (1..9).map(crate::testing::net::address).collect();
    call!(overlay.learn(home, &here));
    assert!(here.iter().all(|address| overlay.dial_due(address) == Some(Duration::ZERO)));
}

#[test]
fn the_burst_comes_back_with_time() {
    let mut overlay = Overlay::with(|config| config.limits.gossip_burst = 2);
    let link = overlay.accepted(11);
    let allowed = |overlay: &mut Overlay| -> Instant {
        let Overlay { cx, conns, membership, .. } = overlay;
        membership.gossip.reserve(cx, conns.links.source_of(link).1, &far(30))
    };
    let now = overlay.cx.now;
    assert_eq!([allowed(&mut overlay), allowed(&mut overlay), allowed(&mut overlay)], [now, now, now + SECOND]);
    overlay.pass(SECOND * 3);
    let now = overlay.cx.now;
    assert_eq!([allowed(&mut overlay), allowed(&mut overlay), allowed(&mut overlay)], [now, now, now + SECOND]);
}

#[test]
fn a_peer_that_announces_its_own_address_is_dialled_at_once_and_failures_there_are_forgotten() {
    // Own are the first address, and the last of an exercise peer, or the second of two.
    for (native, named, own) in [
        (true, vec![20, 21, 22], vec![20]),
        (true, vec![20, 21], vec![20, 21]),
        (false, vec![20, 21, 22], vec![20, 22]),
    ] {
        let mut overlay = Overlay::mesh();
        let link = if native { overlay.accepted(11) } else { overlay.pending_peer(11) };
        // It speaks from the host that it names first.
        overlay.conns.links.get_mut(link).expect("open").address_group = IpPrefix::address_group_at(&far(20));
        for n in [20, 21, 22] {
            overlay.learn(n);
            overlay.peers.book.get_mut(&far(n)).expect("there").failures = 5;
        }
        let addresses: Vec<_> = named.iter().map(|n| far(*n)).collect();
        call!(overlay.learn(link, &addresses));
        for n in named {
            let failures = overlay.peers.book.get(&far(n)).expect("there").failures;
            let due = overlay.dial_due(&far(n)).expect("set");
            let failures_left = if own.contains(&n) && n == 20 { 0 } else { 5 };
            let expected = (failures_left, if own.contains(&n) { Duration::ZERO } else { SECOND });
            assert_eq!((failures, due), expected, "{n} of {own:?}");
        }
        assert!(overlay.done().is_nothing(), "nothing is new");
    }
}

#[test]
fn an_own_address_whose_probe_waits_is_not_dialled_as_well() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(11);
    overlay.learn(20);
    overlay.peers.book.get_mut(&far(20)).expect("there").claimed = Some(link);
    call!(overlay.learn(link, &[far(20)]));
    assert_eq!(overlay.dial_due(&far(20)), None);
    overlay.peers.book.get_mut(&far(20)).expect("there").claimed = Some(LinkId(99));
    call!(overlay.learn(link, &[far(20)]));
    assert_eq!(overlay.dial_due(&far(20)), Some(Duration::ZERO), "another link claims it");
}

#[test]
fn an_address_that_declined_is_not_dialled_on_gossip_before_its_time() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(11);
    overlay.learn(21);
    overlay.peers.book.get_mut(&far(21)).expect("there").declined_until = Some(overlay.cx.now + SECOND);
    let named = [far(11), far(21), far(12)];
    call!(overlay.learn(link, &named));
    assert_eq!(overlay.dial_due(&far(21)), None);
    overlay.pass(SECOND);
    call!(overlay.learn(link, &named));
    assert_eq!(overlay.dial_due(&far(21)), Some(SECOND));
}

#[test]
fn a_full_address_book_lets_a_peer_displace_failed_addresses_a_few_at_a_time() {
    let mut overlay = Overlay::with(|config| (config.limits.peer_table, config.limits.gossip_burst) = (9, 2));
    let link = overlay.accepted(11);
    for n in 30..38 {
        overlay.learn(n);
        overlay.peers.book.get_mut(&far(n)).expect("there").failures = 1;
    }
    let named: Vec<_> = [11, 50, 51, 52, 53].map(far).to_vec();
    call!(overlay.learn(link, &named));
    let kept = (50..54).filter(|n| overlay.state(&far(*n)).is_some()).count();
    assert_eq!((kept, overlay.cx.counters.addresses_without_room), (2, 2));
    let done = overlay.done();
    assert!(matches!(done.events[..], [Event::AddressesLearned { addresses: 2, .. }]), "{:?}", done.events);
}

#[test]
fn where_nothing_can_be_displaced_gossip_finds_no_room_and_a_self_announced_address_does() {
    let mut overlay = Overlay::with(|config| config.limits.peer_table = 3);
    let link = overlay.accepted(11);
    overlay.learn(30);
    overlay.learn(31);
    call!(overlay.learn(link, &[far(50), far(51), far(52)]));
    assert!(overlay.state(&far(50)).is_some(), "it may displace one that was never tried");
    assert_eq!((overlay.state(&far(51)), overlay.state(&far(52))), (None, None));
    assert_eq!(overlay.cx.counters.addresses_without_room, 2);
}
