use crate::event::Event;
use crate::membership::bootstrap::*;
use crate::testing::net::Net;
use crate::testing::overlay::{Done, Overlay, call, far};
use crate::testing::parts::node;
use crate::timers::Timer;
use crate::wire::close;

/// A node that waits to join through the bootstrap node 20.
fn joining(cap: Option<u32>) -> Overlay {
    let mut overlay = Overlay::with(|config| {
        config.max_peers = cap;
        config.genesis = Some(far(20));
    });
    overlay.membership.bootstrap.wait();
    overlay
}

/// The same, and it is being asked.
fn asked(cap: Option<u32>) -> Overlay {
    let mut overlay = joining(cap);
    call!(overlay.begin_bootstrap());
    overlay.done();
    overlay.peers.book.set_state(&far(20), AddressState::Waiting);
    overlay.peers.dialer.take_reason(&far(20));
    overlay
}

fn steps(done: &Done) -> Vec<BootstrapStep> {
    let step = |event: &Event| match event {
        Event::Bootstrap(step) => Some(step.clone()),
        _ => None,
    };
    done.events.iter().filter_map(step).collect()
}

#[test]
fn the_bootstrap_node_is_asked_first_and_once_and_stays_a_known_peer() {
    let mut overlay = joining(Some(8));
    overlay.learn(30);
    call!(overlay.begin_bootstrap());
    let done = overlay.done();
    assert_eq!(done.dials, [far(20)]);
    assert_eq!(steps(&done), [BootstrapStep::Asking { address: far(20) }]);
    assert_eq!(overlay.peers.dialer.take_reason(&far(20)), Some(DialReason::Bootstrap));
    assert!(overlay.peers.book.get(&far(20)).expect("there").known);
    assert!(overlay.membership.bootstrap.is_joining());
    overlay.peers.book.set_state(&far(20), AddressState::Waiting);
    call!(overlay.begin_bootstrap());
    assert!(overlay.done().is_nothing());
    assert_eq!(call!(overlay.fill_slots()), None, "other searches wait");
}

#[test]
fn a_bootstrap_node_from_the_peer_cache_is_a_known_peer_too() {
    let mut overlay = joining(Some(8));
    overlay.cx.config.remembered_peers = vec![far(20).into(), far(30).into()];
    let Overlay { cx, peers, membership, .. } = &mut overlay;
    membership.begin(cx, peers);
    call!(overlay.begin_bootstrap());
    assert_eq!(overlay.done().dials, [far(20)]);
    for _ in 0..overlay.cx.config.limits.forget_failures {
        overlay.peers.book.back_off(&mut overlay.cx, &far(20));
    }
    assert!(overlay.peers.book.get(&far(20)).is_some_and(|peer| peer.known), "it may start last");
    assert!(overlay.peers.book.get(&far(30)).is_some_and(|peer| !peer.known));
}

#[test]
fn without_a_bootstrap_node_or_if_it_is_this_node_the_search_begins_at_once() {
    let mut overlay = Overlay::capped(8);
    overlay.membership.bootstrap.wait();
    overlay.learn(30);
    call!(overlay.begin_bootstrap());
    assert_eq!(overlay.done().dials, [far(30)]);
    assert!(!overlay.membership.bootstrap.is_joining());
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(8);
        config.genesis = Some(config.address.clone());
    });
    overlay.membership.bootstrap.wait();
    overlay.learn(30);
    call!(overlay.begin_bootstrap());
    let done = overlay.done();
    assert_eq!(steps(&done), [BootstrapStep::Ourselves { address: overlay.cx.config.address.clone() }]);
    assert_eq!(done.dials, [far(30)]);
}

#[test]
fn a_bootstrap_node_that_cannot_be_dialled_now_is_not_waited_for() {
    let mut overlay = joining(Some(8));
    overlay.know(20);
    overlay.peers.book.set_state(&far(20), AddressState::Attempting);
    overlay.learn(30);
    call!(overlay.begin_bootstrap());
    assert!(!overlay.membership.bootstrap.is_joining());
    assert_eq!(overlay.done().dials, [far(30)]);
}

#[test]
fn a_bootstrap_node_that_is_down_is_reported_with_the_number_of_others() {
    let mut overlay = asked(Some(8));
    overlay.learn(30);
    overlay.learn(31);
    call!(overlay.on_bootstrap_failed("refused"));
    let done = overlay.done();
    let failed = BootstrapStep::Failed { address: far(20), error: "refused".into(), others: 2 };
    assert_eq!(steps(&done), [failed]);
    assert!(!overlay.membership.bootstrap.is_joining() && !done.dials.is_empty());
    call!(overlay.on_bootstrap_failed("again"));
    assert!(steps(&overlay.done()).is_empty(), "once");
}

#[test]
fn searches_go_on_if_a_dial_for_them_never_has_its_turn() {
    for reason in [DialReason::slot(), DialReason::Bootstrap] {
        let mut net = Net::new(1);
        let (now, core) = (net.now, &mut net.cores[0]);
        core.cx.config.limits.dials_in_flight = 1;
        core.cx.config.genesis = Some(far(21));
        core.membership.bootstrap.wait();
        for n in [20, 21] {
            let crate::Node { cx, peers, connections, .. } = core;
            peers.book.add(&far(n), AddressSource::Known, now, &cx.config.limits);
            assert!(dial_for(cx, peers, connections, &far(n), reason.clone()));
        }
        core.peers.dialer.take_reason(&far(20));
        while core.poll_output().is_some() {}
        // Its node links to this one meanwhile, and claims the address, which is being verified.
        core.peers.book.set_state(&far(21), AddressState::Probing(LinkId(1)));
        core.handle(now, crate::Input::TaskPanicked);
        assert_eq!(core.peers.dialer.reasons().count(), 0, "{reason:?}");
        assert!(!core.membership.bootstrap.is_joining(), "{reason:?}");
        while core.poll_output().is_some() {}
    }
}

#[test]
fn without_a_cap_all_waiting_addresses_are_dialled_after_the_bootstrap_node() {
    let mut overlay = asked(None);
    overlay.learn(30);
    overlay.accepted(31);
    call!(overlay.on_bootstrap_failed("refused"));
    assert_eq!(overlay.dial_due(&far(30)), Some(std::time::Duration::ZERO));
    assert_eq!(overlay.dial_due(&far(31)), None, "it is linked");
    let mut capped = asked(Some(8));
    capped.learn(30);
    capped.accept_all(40..48);
    call!(capped.on_bootstrap_failed("refused"));
    assert_eq!(capped.dial_due(&far(30)), None);
}

#[test]
fn a_bootstrap_address_that_leads_to_ourselves_is_never_dialled_again() {
    let mut overlay = asked(Some(8));
    call!(overlay.on_bootstrap_ourselves(&far(20)));
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Myself));
    assert_eq!(steps(&overlay.done()), [BootstrapStep::Ourselves { address: far(20) }]);
    assert!(!overlay.membership.bootstrap.is_joining());
}

#[test]
fn the_nodes_that_it_names_are_tried_one_after_another() {
    let mut overlay = asked(Some(8));
    for n in [30, 31] {
        overlay.learn(n);
    }
    let ourselves = overlay.cx.config.address.clone();
    call!(overlay.on_bootstrap_named(&[ourselves, far(30), far(31)]));
    let done = overlay.done();
    assert_eq!((done.dials.clone(), steps(&done)), (vec![far(30)], vec![BootstrapStep::Named { address: far(30) }]));
    assert_eq!(overlay.peers.dialer.take_reason(&far(30)), Some(DialReason::slot()));
    call!(overlay.try_next_named());
    assert!(overlay.done().is_nothing(), "one at a time");
    call!(overlay.on_bootstrap_missed(&far(99)));
    assert!(overlay.done().is_nothing(), "that was another one");
    call!(overlay.on_bootstrap_missed(&far(30)));
    let done = overlay.done();
    assert_eq!((done.dials.clone(), steps(&done)), (vec![far(31)], vec![BootstrapStep::Named { address: far(31) }]));
    call!(overlay.on_bootstrap_missed(&far(31)));
    assert!(!overlay.membership.bootstrap.is_joining(), "none is left: the node searches as others do");
}

#[test]
fn a_named_node_that_cannot_be_dialled_is_skipped() {
    let mut overlay = asked(Some(8));
    overlay.learn(31);
    call!(overlay.on_bootstrap_named(&[far(30), far(31)]));
    let done = overlay.done();
    assert_eq!((done.dials.clone(), steps(&done)), (vec![far(31)], vec![BootstrapStep::Named { address: far(31) }]));
}

#[test]
fn a_bootstrap_node_that_knows_nobody_is_linked_itself() {
    let mut overlay = asked(Some(8));
    let ourselves = overlay.cx.config.address.clone();
    call!(overlay.on_bootstrap_named(&[ourselves]));
    let done = overlay.done();
    assert_eq!((done.dials.clone(), steps(&done)), (vec![far(20)], vec![BootstrapStep::Alone { address: far(20) }]));
    let link = overlay.dialled(20);
    call!(overlay.on_bootstrap_slot(link));
    let done = overlay.done();
    assert!(matches!(steps(&done)[..], [BootstrapStep::Joined { .. }]), "{:?}", done.events);
    assert!(done.sent("JOIN").is_empty(), "it named all that it knows");
    assert!(!overlay.membership.bootstrap.is_joining());
}

#[test]
fn the_next_one_waits_until_the_link_to_the_bootstrap_node_is_closed() {
    let mut overlay = asked(Some(8));
    overlay.learn(30);
    let link = overlay.asking(20, DialReason::Bootstrap);
    call!(overlay.on_bootstrap_named(&[far(30)]));
    assert!(overlay.done().is_nothing());
    overlay.end(link);
    call!(overlay.try_next_named());
    assert_eq!(overlay.done().dials, [far(30)]);
    let mut overlay = joining(Some(8));
    overlay.learn(30);
    call!(overlay.begin_bootstrap());
    overlay.done();
    call!(overlay.on_bootstrap_named(&[far(30)]));
    assert!(overlay.done().is_nothing(), "nor while it is dialled again");
}

#[test]
fn an_answer_after_joining_has_ended_is_ignored() {
    let mut overlay = asked(Some(8));
    call!(overlay.on_bootstrap_failed("refused"));
    overlay.done();
    overlay.learn(30);
    overlay.membership.search.background_at = Some(overlay.cx.now + std::time::Duration::from_secs(9));
    call!(overlay.on_bootstrap_named(&[far(30)]));
    call!(overlay.try_next_named());
    assert!(overlay.done().is_nothing());
    assert!(overlay.membership.bootstrap.named.is_empty());
}

#[test]
fn the_node_that_gives_a_slot_is_asked_for_its_neighbors() {
    let mut overlay = asked(Some(8));
    overlay.learn(30);
    call!(overlay.on_bootstrap_named(&[far(30)]));
    overlay.done();
    let link = overlay.dialled(30);
    call!(overlay.on_bootstrap_slot(link));
    let done = overlay.done();
    assert!(matches!(&steps(&done)[..], [BootstrapStep::Joined { peer }] if peer.node == Some(node(30))));
    assert_eq!(done.join(link).expect("JOIN").want, Some(Want::Neighbours));
    assert!(!overlay.membership.bootstrap.is_joining());
    overlay.membership.on_bootstrap_neighbors(&mut overlay.cx, &mut overlay.conns, link, 5);
    let neighbors = steps(&overlay.done());
    assert!(matches!(neighbors[..], [BootstrapStep::Neighbours { addresses: 5, .. }]), "{neighbors:?}");
    overlay.membership.on_bootstrap_neighbors(&mut overlay.cx, &mut overlay.conns, link, 5);
    assert!(overlay.done().is_nothing(), "once");
    call!(overlay.on_bootstrap_slot(link));
    assert!(overlay.done().is_nothing(), "it has joined");
}

#[test]
fn neighbors_of_another_node_are_not_reported_as_those_of_the_one_being_tried() {
    let mut overlay = asked(Some(8));
    overlay.membership.bootstrap.trying = Some(far(30));
    let other = overlay.dialled(31);
    overlay.membership.on_bootstrap_neighbors(&mut overlay.cx, &mut overlay.conns, other, 5);
    assert!(overlay.done().is_nothing());
}

#[test]
fn the_node_being_tried_may_dial_us_first() {
    let mut overlay = asked(Some(8));
    overlay.membership.bootstrap.trying = Some(far(30));
    let link = overlay.accepted(30);
    call!(overlay.on_bootstrap_slot(link));
    assert!(matches!(steps(&overlay.done())[..], [BootstrapStep::Joined { .. }]));
}

#[test]
fn two_links_to_other_nodes_end_joining_too_and_one_does_not() {
    let mut overlay = asked(Some(8));
    overlay.membership.bootstrap.trying = Some(far(30));
    let link = overlay.accepted(40);
    call!(overlay.on_bootstrap_slot(link));
    assert!(overlay.membership.bootstrap.is_joining());
    let link = overlay.accepted(41);
    call!(overlay.on_bootstrap_slot(link));
    assert!(!overlay.membership.bootstrap.is_joining());
    assert!(steps(&overlay.done()).is_empty());
}

#[test]
fn a_peer_without_an_address_is_not_taken_for_the_one_being_tried() {
    let mut overlay = asked(Some(8));
    assert_eq!(overlay.membership.bootstrap.trying, None);
    let link = overlay.pending_peer(40);
    call!(overlay.on_bootstrap_slot(link));
    assert!(overlay.membership.bootstrap.is_joining() && steps(&overlay.done()).is_empty());
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    assert_eq!(overlay.due(&Timer::SlotSearch), None);
}
