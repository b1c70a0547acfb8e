//! What follows when a dial or a link ends, and what is requested on a new link.

use crate::event::{BootstrapStep, Event};
use crate::id::NodeId;
use crate::membership::slot_search::tests::*;
use crate::testing::overlay::{ip, native};

/// Opens link `n` to peer `n`, which answered a dial: it is on standby.
fn answered(overlay: &mut Overlay, n: u8, reason: Option<DialReason>) -> LinkId {
    let link = LinkId(n.into());
    overlay.learn(n);
    overlay.conns.links.open(link, ip(n), Some(far(n)), LinkState::Standby(native(n)), overlay.cx.now);
    call!(overlay.on_native_dialled(link, reason));
    link
}

/// Ends link `n` as the node does, up to the last step, which follows.
fn closed(overlay: &mut Overlay, link: LinkId, answered: bool) {
    for address in overlay.peers.book.leading_to(link) {
        overlay.peers.book.set_state(&address, AddressState::Waiting);
        overlay.cx.timers.set(Timer::Dial(address), overlay.cx.now + Duration::from_secs(60));
    }
    let closed = overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, link).expect("it was open");
    call!(overlay.on_link_closed(&closed, answered, &"cut".into()));
}

#[test]
fn an_idle_address_may_be_asked_again_and_is_if_a_slot_is_wanted() {
    let mut overlay = Overlay::capped(8);
    let address = overlay.learn(20);
    overlay.peers.book.get_mut(&address).expect("there").declined_until = Some(overlay.cx.now);
    call!(overlay.on_address_idle(&address));
    assert_eq!(overlay.peers.book.get(&address).expect("there").declined_until, None);
    assert_eq!(overlay.done().dials, [far(20)]);
    overlay.accept_all(40..48);
    overlay.learn(21);
    call!(overlay.on_address_idle(&far(21)));
    assert!(overlay.done().is_nothing(), "no slot is wanted");
}

#[test]
fn a_join_says_what_its_link_was_dialled_for() {
    let slot = |high_priority, referred_by| DialReason::Slot { high_priority, referred_by };
    let by: Option<NodeId> = Some(node(9));
    for (reason, insist, want, moved_by) in [
        (slot(false, None), false, None, None),
        (slot(true, None), true, None, None),
        (slot(false, by), false, None, by),
        (DialReason::Shuffle, false, Some(Want::Random), None),
        (DialReason::Walk, false, Some(Want::Random), None),
        (DialReason::Bootstrap, false, Some(Want::Random), None),
        (DialReason::Redirect, false, None, None),
    ] {
        for cap in [Some(8), None] {
            let mut overlay = Overlay::with(|config| config.max_peers = cap);
            let link = overlay.asking(20, reason.clone());
            let Overlay { cx, peers, conns, membership } = &overlay;
            let frame = membership.join_frame(cx, peers, conns, link);
            let root = cap.map(|_| session(0));
            let said = cap.is_some() || insist || want.is_some();
            let expected = said.then(|| Join { insist, want, moved_by, root }.to_frame());
            let text = |frame: Option<Frame>| frame.map(|frame| frame.as_str().to_owned());
            assert_eq!(text(frame), text(expected), "{reason:?}, {cap:?}");
        }
    }
}

#[test]
fn a_node_without_a_cap_insists_only_where_it_was_declined_and_while_it_has_no_link() {
    for (cap, declines, linked, insists) in
        [(None, 1, false, true), (None, 0, false, false), (None, 1, true, false), (Some(8), 1, false, false)]
    {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        if linked {
            overlay.accepted(40);
        }
        let link = LinkId(20);
        overlay.learn(20);
        overlay.peers.book.get_mut(&far(20)).expect("there").declines = declines;
        overlay.conns.links.open(link, ip(20), Some(far(20)), LinkState::Standby(native(20)), overlay.cx.now);
        let Overlay { cx, peers, conns, membership } = &overlay;
        assert_eq!(membership.is_declined_and_alone(cx, peers, conns, link), insists, "{cap:?}, {declines}, {linked}");
        let join = membership.join_frame(cx, peers, conns, link);
        assert_eq!(join.is_some(), insists || cap.is_some());
    }
}

#[test]
fn a_link_for_a_slot_gets_our_handshake_and_a_join() {
    let mut overlay = Overlay::capped(8);
    let link = answered(&mut overlay, 20, Some(DialReason::slot()));
    let done = overlay.done();
    assert_eq!(done.frames.len(), 2);
    assert_eq!(done.handshake(link).expect("first").node.map(|node| node.id), Some(node(0)));
    assert_eq!(done.join(link).expect("then"), Join { root: Some(session(0)), ..Join::default() });
    assert!(matches!(overlay.conns.links.get(link).map(|link| &link.state), Some(LinkState::HelloSent(_))));
    assert_eq!(overlay.conns.reason(link), Some(&DialReason::slot()));
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(link)));
    assert_eq!(overlay.due(&Timer::Silence(link)), Some(overlay.cx.config.limits.dial_timeout));
}

#[test]
fn a_link_for_addresses_takes_no_slot() {
    for reason in [DialReason::Shuffle, DialReason::Walk, DialReason::Bootstrap] {
        let mut overlay = Overlay::capped(8);
        let link = answered(&mut overlay, 20, Some(reason.clone()));
        let done = overlay.done();
        assert_eq!(done.join(link).expect("JOIN").want, Some(Want::Random), "{reason:?}");
        assert!(done.handshake(link).is_some());
        assert_eq!(overlay.membership.slots_taken(&overlay.cx, &overlay.conns, None), 0);
        assert!(overlay.membership.asked.contains(&link));
        assert_eq!(overlay.conns.reason(link), Some(&reason));
        assert_eq!(overlay.due(&Timer::Silence(link)), Some(overlay.cx.config.limits.dial_timeout));
        assert_eq!(overlay.conns.links.name_of(link).node, Some(node(20)));
    }
}

#[test]
fn a_dialled_link_is_closed_if_no_slot_is_left_or_it_was_to_redirect_an_exercise_peer() {
    let mut overlay = Overlay::capped(1);
    overlay.accepted(40);
    answered(&mut overlay, 20, Some(DialReason::slot()));
    answered(&mut overlay, 21, None);
    answered(&mut overlay, 22, Some(DialReason::Shuffle));
    assert_eq!(overlay.done().codes(), [(20, close::NORMAL), (21, close::NORMAL)], "a shuffle needs no slot");
    let mut overlay = Overlay::capped(8);
    answered(&mut overlay, 20, Some(DialReason::Redirect));
    let done = overlay.done();
    assert_eq!((done.codes(), done.frames.len()), (vec![(20, close::NORMAL)], 0));
    call!(overlay.on_native_dialled(LinkId(99), None));
    assert!(overlay.done().is_nothing(), "a link that is gone");
}

#[test]
fn a_dial_that_led_nowhere_goes_on_with_what_it_was_for() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    overlay.membership.rewiring.moved = Some((far(30), far(31), overlay.cx.now + MILLISECOND));
    call!(overlay.on_dial_missed(&far(30), Some(&DialReason::Shuffle), "refused"));
    assert!(overlay.membership.rewiring.moved.is_some(), "that was no request for a slot");
    assert_eq!(overlay.done().dials, [far(20)], "the search goes on");
    call!(overlay.on_dial_missed(&far(30), Some(&DialReason::slot()), "refused"));
    assert!(overlay.membership.rewiring.moved.is_none());
    (overlay.membership.rewiring.steps, overlay.membership.rewiring.dials) = (1, 1);
    overlay.accept_all(40..48);
    overlay.learn(21);
    overlay.done();
    call!(overlay.on_dial_missed(&far(30), Some(&DialReason::Walk), "refused"));
    assert_eq!(overlay.done().dials, [far(21)], "the walk begins again");
}

#[test]
fn a_dial_of_the_bootstrap_node_that_failed_ends_joining() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
    overlay.membership.bootstrap.wait();
    call!(overlay.on_dial_missed(&far(30), Some(&DialReason::slot()), "refused"));
    assert!(overlay.done().events.is_empty(), "another reason");
    overlay.membership.bootstrap.wait();
    call!(overlay.on_dial_missed(&far(20), Some(&DialReason::Bootstrap), "refused"));
    let failed = BootstrapStep::Failed { address: far(20), error: "refused".into(), others: 0 };
    assert!(overlay.done().events.iter().any(|event| matches!(event, Event::Bootstrap(step) if *step == failed)));
    assert!(!overlay.membership.bootstrap.is_joining());
}

#[test]
fn a_named_node_that_cannot_be_dialled_is_followed_by_the_next() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
    overlay.membership.bootstrap.wait();
    overlay.learn(31);
    (overlay.membership.bootstrap.trying, overlay.membership.bootstrap.named) = (Some(far(30)), [far(31)].into());
    call!(overlay.on_dial_missed(&far(30), Some(&DialReason::slot()), "refused"));
    assert_eq!(overlay.done().dials, [far(31)]);
}

#[test]
fn the_end_of_a_link_is_followed_by_a_search_and_the_peer_cache_is_saved() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.accepted(40);
    overlay.learn(20);
    closed(&mut overlay, link, false);
    assert_eq!(overlay.done().dials.first(), Some(&far(20)));
    assert!(overlay.due(&Timer::PeerCache).is_some());
    let mut overlay = Overlay::capped(8);
    let link = overlay.pending_peer(40);
    closed(&mut overlay, link, false);
    assert!(overlay.due(&Timer::PeerCache).is_none(), "a client is no peer");
    let link = overlay.pending_peer(40);
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    closed(&mut overlay, link, false);
    assert!(overlay.due(&Timer::PeerCache).is_some());
}

#[test]
fn a_node_that_shuts_down_searches_no_more() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.accepted(40);
    overlay.learn(20);
    overlay.cx.shutting_down = true;
    closed(&mut overlay, link, false);
    assert!(overlay.done().is_nothing());
    assert!(overlay.due(&Timer::PeerCache).is_none());
}

#[test]
fn a_bootstrap_node_or_a_walk_that_closed_without_an_answer_has_failed() {
    for answered in [false, true] {
        let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
        overlay.membership.bootstrap.wait();
        let link = overlay.asking(20, DialReason::Bootstrap);
        closed(&mut overlay, link, answered);
        let failed = overlay
            .done()
            .events
            .iter()
            .any(|event| matches!(event, Event::Bootstrap(BootstrapStep::Failed { error, .. }) if error.to_string() == "cut"));
        assert_eq!(failed, !answered);
        let mut overlay = Overlay::capped(8);
        overlay.accept_all(40..48);
        overlay.learn(30);
        (overlay.membership.rewiring.steps, overlay.membership.rewiring.dials) = (1, 1);
        let link = overlay.asking(20, DialReason::Walk);
        closed(&mut overlay, link, answered);
        assert_eq!(overlay.done().dials.len(), usize::from(!answered), "the walk begins again");
    }
    let mut overlay = Overlay::capped(8);
    overlay.accept_all(40..48);
    overlay.learn(30);
    (overlay.membership.rewiring.steps, overlay.membership.rewiring.dials) = (1, 1);
    let link = overlay.asking(20, DialReason::Shuffle);
    closed(&mut overlay, link, false);
    assert!(overlay.done().dials.is_empty(), "that was no walk");
}

#[test]
fn the_end_of_a_link_lets_joining_go_on() {
    for dialled in [true, false] {
        let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
        overlay.membership.bootstrap.wait();
        overlay.learn(31);
        overlay.membership.bootstrap.named = [far(31)].into();
        let link = if dialled { overlay.dialled(30) } else { overlay.accepted(30) };
        overlay.membership.bootstrap.trying = dialled.then(|| far(30));
        closed(&mut overlay, link, true);
        assert_eq!(overlay.done().dials, [far(31)], "{dialled}");
    }
}

#[test]
fn a_reserved_slot_is_used_when_the_link_on_which_its_node_was_met_is_closed() {
    let mut overlay = Overlay::capped(8);
    overlay.accept_all(40..48);
    overlay.learn(30);
    overlay.membership.search.healing = Some((far(30), overlay.cx.now + MILLISECOND));
    closed(&mut overlay, LinkId(40), true);
    assert_eq!(overlay.done().dials, [far(30)]);
}

/// Settles the address of link 20, which has ended; returns whether it did.
fn settle(overlay: &mut Overlay, reason: Option<DialReason>, closing: bool, answered: bool) -> bool {
    let link = overlay.dialled(20);
    overlay.conns.links.get_mut(link).expect("open").closing = closing;
    overlay.peers.book.get_mut(&far(20)).expect("there").failures = 3;
    let Overlay { cx, peers, conns, membership } = overlay;
    let closed = conns.on_closed(cx, peers, link).expect("it was open");
    membership.settle_address(cx, peers, &far(20), &closed.link, reason.as_ref(), answered)
}

#[test]
fn an_address_that_declined_waits_for_its_time() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    let until = overlay.cx.now + Duration::from_secs(40);
    overlay.peers.book.get_mut(&far(20)).expect("there").declined_until = Some(until);
    assert!(settle(&mut overlay, Some(DialReason::Shuffle), true, true));
    assert_eq!(overlay.dial_due(&far(20)), Some(Duration::from_secs(40)));
    let peer = overlay.peers.book.get(&far(20)).expect("there");
    assert_eq!((peer.state, peer.failures, peer.last_up), (AddressState::Waiting, 0, Some(overlay.cx.now)));
    overlay.cx.now = until;
    overlay.cx.timers.cancel(&Timer::Dial(far(20)));
    assert!(!settle(&mut overlay, None, false, false), "its time is over");
}

#[test]
fn an_address_that_answered_our_request_is_idle_at_once() {
    for reason in [DialReason::Shuffle, DialReason::Walk, DialReason::Bootstrap] {
        let mut overlay = Overlay::capped(8);
        assert!(settle(&mut overlay, Some(reason.clone()), true, true));
        assert_eq!(overlay.dial_due(&far(20)), None, "{reason:?}");
        assert!(!settle(&mut overlay, Some(reason), false, false), "without an answer it backs off");
        let mut mesh = Overlay::mesh();
        assert!(settle(&mut mesh, Some(DialReason::Bootstrap), true, true));
        assert_eq!(mesh.dial_due(&far(20)), Some(Duration::ZERO), "in a full mesh it is dialled");
    }
}

#[test]
fn an_address_whose_link_we_closed_rests_for_a_minute_with_a_cap() {
    let mut overlay = Overlay::capped(8);
    assert!(settle(&mut overlay, Some(DialReason::slot()), true, true));
    assert_eq!(overlay.dial_due(&far(20)), Some(RELEASED_WAIT));
    assert!(!settle(&mut overlay, Some(DialReason::slot()), false, true), "the other end closed");
    assert!(!settle(&mut Overlay::mesh(), None, true, true));
    let mut down = Overlay::capped(8);
    down.cx.shutting_down = true;
    assert!(!settle(&mut down, None, true, true));
}

/// An exercise peer at address `n` introduced itself on link `n`, and named others.
fn introduce(overlay: &mut Overlay, n: u8, named: &[PeerAddress]) -> LinkId {
    let link = overlay.pending_peer(n);
    overlay.conns.links.get_mut(link).expect("open").state = LinkState::ExerciseInbound { address: Some(far(n)) };
    assert!(call!(overlay.admit_exercise(link, named)));
    link
}

#[test]
fn an_exercise_peer_is_dialled_back_for_a_slot() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    overlay.peers.book.get_mut(&far(20)).expect("there").failures = 2;
    let link = introduce(&mut overlay, 20, &[far(20), far(30)]);
    let done = overlay.done();
    assert_eq!((done.dials, done.closed), (vec![far(20)], Vec::new()));
    assert_eq!(overlay.peers.dialer.take_reason(&far(20)), Some(DialReason::Exercise));
    assert_eq!(overlay.peers.book.get(&far(20)).expect("there").failures, 0);
    assert_eq!(overlay.state(&far(30)), Some(AddressState::Waiting), "what it names is kept");
    assert!(!overlay.closing(link));
}

#[test]
fn an_exercise_peer_without_a_slot_is_dialled_to_be_redirected_every_ten_seconds() {
    let mut overlay = Overlay::capped(1);
    overlay.accepted(40);
    introduce(&mut overlay, 20, &[far(30)]);
    let done = overlay.done();
    assert_eq!((done.codes(), done.dials), (vec![(20, close::TRY_AGAIN_LATER)], vec![far(20)]));
    assert_eq!(overlay.peers.dialer.take_reason(&far(20)), Some(DialReason::Redirect));
    assert!(overlay.state(&far(30)).is_some());
    overlay.peers.book.set_state(&far(20), AddressState::Waiting);
    overlay.end(LinkId(20));
    overlay.pass(PRIORITY_INTERVAL - MILLISECOND);
    introduce(&mut overlay, 20, &[]);
    let done = overlay.done();
    assert_eq!(
        (done.codes(), done.dials),
        (vec![(20, close::TRY_AGAIN_LATER)], Vec::new()),
        "it was redirected a moment ago"
    );
    overlay.end(LinkId(20));
    overlay.pass(MILLISECOND);
    introduce(&mut overlay, 20, &[]);
    assert_eq!(overlay.done().dials, [far(20)]);
}

#[test]
fn an_exercise_peer_that_is_linked_is_neither_dialled_nor_closed() {
    let mut overlay = Overlay::capped(1);
    overlay.exercise(21);
    overlay.peers.book.set_state(&far(20), AddressState::Connected(LinkId(21)));
    introduce(&mut overlay, 20, &[far(30)]);
    assert!(overlay.done().is_nothing());
    assert!(overlay.state(&far(30)).is_some());
}

#[test]
fn an_exercise_peer_whose_address_is_unknown_or_out_of_scope_is_not_dialled() {
    for address in [None, Some("ws://10.0.0.1:4001".parse().expect("private"))] {
        let mut overlay = Overlay::capped(8);
        let link = overlay.pending_peer(20);
        overlay.conns.links.get_mut(link).expect("open").state = LinkState::ExerciseInbound { address };
        assert!(call!(overlay.admit_exercise(link, &[far(30)])));
        assert!(overlay.done().is_nothing());
        assert_eq!(overlay.state(&far(30)), None);
    }
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    overlay.conns.links.get_mut(link).expect("open").state = LinkState::ExerciseInbound { address: Some(far(20)) };
    assert!(!call!(overlay.admit_exercise(link, &[far(30)])), "a full mesh has no slots");
    assert!(overlay.done().is_nothing());
}

#[test]
fn a_redirected_exercise_peer_gets_other_addresses_and_not_ours() {
    let mut overlay = Overlay::capped(2);
    overlay.accept_all(40..42);
    let link = overlay.exercise(20);
    overlay.redirect(link);
    let done = overlay.done();
    let mut handshake = done.handshake(link).expect("HANDSHAKE");
    handshake.addresses.sort_unstable();
    assert_eq!((handshake.addresses, handshake.node), (vec![far(40), far(41)], None));
    assert_eq!(done.codes(), [(20, close::TRY_AGAIN_LATER)]);
    assert_eq!(overlay.cx.counters.exercise_redirected, 1);
    assert!(matches!(done.events[..], [Event::Declined { others: 2, .. }]), "{:?}", done.events);
}

#[test]
fn an_exercise_peer_whose_slot_goes_to_another_hears_of_others() {
    let mut overlay = Overlay::capped(2);
    overlay.accept_all(40..41);
    let link = overlay.exercise(20);
    overlay.learn(21);
    call!(overlay.serve_exercise(&far(21), Some(link)));
    let done = overlay.done();
    let handshake = done.handshake(link).expect("HANDSHAKE");
    assert_eq!((handshake.addresses, handshake.node), (vec![far(40)], None));
    assert_eq!(done.codes(), [(20, close::TRY_AGAIN_LATER)]);
}

#[test]
fn a_redirected_exercise_peer_is_told_only_of_nodes_with_an_open_link() {
    let mut overlay = Overlay::capped(3);
    overlay.accept_all(40..44);
    // One that went, one that was declined, one that was referred to others, one whose link closes,
    // one that is silent for longer than any live node, and one that answers no mark.
    overlay.learn(50);
    overlay.peers.book.get_mut(&far(50)).expect("there").last_up = Some(overlay.cx.now);
    overlay.learn(51);
    let declined = overlay.peers.book.get_mut(&far(51)).expect("there");
    (declined.last_up, declined.declines) = (Some(overlay.cx.now), 1);
    let referred = overlay.accepted(52);
    call!(overlay.refer(referred, None, "for the test"));
    overlay.end(referred);
    overlay.conns.links.close(&mut overlay.cx, LinkId(41), close::NORMAL, "for the test");
    let limits = &overlay.cx.config.limits;
    overlay.pass(limits.ping_interval * 2 + limits.duplicate_deadline);
    let still = overlay.exercise(44);
    overlay.conns.links.get_mut(still).expect("linked").unanswered = Some(overlay.cx.now);
    overlay.pass(Duration::from_secs(1));
    for heard in [40, 43, 44, 20] {
        overlay.conns.links.hear(overlay.cx.now, LinkId(heard));
    }
    let link = overlay.exercise(20);
    overlay.done();
    overlay.redirect(link);
    let mut named = overlay.done().handshake(link).expect("HANDSHAKE").addresses;
    named.sort_unstable();
    assert_eq!(named, [far(40), far(43)]);
    assert_eq!(overlay.cx.counters.exercise_redirected, 1);
}

#[test]
fn an_exercise_peer_is_redirected_to_nobody_rather_than_to_a_dead_node() {
    let mut overlay = Overlay::capped(1);
    overlay.exercise(21);
    let link = overlay.exercise(20);
    overlay.end(LinkId(21));
    overlay.peers.book.get_mut(&far(21)).expect("there").last_up = Some(overlay.cx.now);
    overlay.redirect(link);
    assert_eq!(overlay.done().handshake(link).expect("HANDSHAKE").addresses, []);
}
