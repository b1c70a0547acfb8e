use std::time::Duration;

use crate::access::Access;
use crate::connections::lifecycle::*;
use crate::testing::net::{Net, id};
use crate::testing::overlay::{Overlay, far, identity, info, ip, native, session};
use crate::testing::parts::node;
use crate::violation::Violation;

fn accept(overlay: &mut Overlay, n: u8) -> LinkId {
    let link = LinkId(n.into());
    overlay.conns.on_accepted(&mut overlay.cx, &mut overlay.peers, link, ip(n));
    link
}

/// Peer `n` answers a dial on link `n`.
fn answer(overlay: &mut Overlay, n: u8, identity: Option<UpgradeIdentity>, admits_exercise: bool) -> LinkId {
    let (link, to) = (LinkId(n.into()), (ip(n), far(n)));
    overlay.learn(n);
    overlay.peers.book.set_state(&far(n), AddressState::Attempting);
    overlay.conns.on_dialled(&mut overlay.cx, &mut overlay.peers, link, to, identity, admits_exercise);
    link
}

/// Dials peer `n` for a shuffle.
fn dial(overlay: &mut Overlay, n: u8) {
    overlay.learn(n);
    let Overlay { cx, peers, .. } = overlay;
    let Peers { book, dialer, reputation, .. } = peers;
    assert!(dialer.dial_for(cx, book, reputation, &|_| None, &far(n), DialReason::Shuffle));
    overlay.done();
}

#[test]
fn an_accepted_link_is_a_client_until_it_says_more() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20);
    assert!(matches!(overlay.conns.links.get(link).map(|link| &link.state), Some(LinkState::Client)));
    assert_eq!(overlay.cx.counters.links_opened, 1);
    let limits = &overlay.cx.config.limits;
    assert_eq!(overlay.due(&Timer::Ping(link)), Some(limits.ping_interval));
    assert_eq!(overlay.due(&Timer::Silence(link)), Some(limits.client_silence));
    assert!(overlay.done().is_nothing() && overlay.raised().is_empty());
}

#[test]
fn a_link_is_refused_by_the_rules_then_by_a_ban_and_then_for_want_of_room() {
    let mut overlay = Overlay::with(|config| config.limits.inbound_links = 0);
    let denied = Access { denied: "20.20.0.1".parse().expect("a rule"), ..Access::default() };
    overlay.peers.access.set_rules(denied);
    let address_group = crate::ip_prefix::IpPrefix::address_group(ip(21)).expect("public");
    overlay.peers.reputation.add(overlay.cx.now, address_group, 1);
    overlay.peers.reputation.ban(overlay.cx.now, address_group, &Violation::breach("lies"));
    for n in 20..23 {
        accept(&mut overlay, n);
    }
    assert_eq!(overlay.done().codes(), [(20, close::POLICY), (21, close::POLICY)], "each once");
    let waits = overlay.conns.links.get(LinkId(22)).is_some_and(|link| link.refused.is_some());
    assert!(waits, "the last is referred to other nodes once it has introduced itself");
    let counters = &overlay.cx.counters;
    assert_eq!((counters.listed_refused, counters.links_banned, counters.links_evicted), (1, 1, 1));
}

#[test]
fn a_native_peer_that_answers_a_dial_waits_for_the_decision_of_membership() {
    let mut overlay = Overlay::mesh();
    dial(&mut overlay, 20);
    let link = answer(&mut overlay, 20, Some(identity(20)), true);
    assert_eq!(overlay.raised(), ["NativeDialled { link: link 20, reason: Some(Shuffle) }"]);
    let open = overlay.conns.links.get(link).expect("open");
    assert!(matches!(&open.state, LinkState::Standby(peer) if peer.address == Some(far(20))));
    assert_eq!((open.dialled.clone(), open.run()), (Some(far(20)), Some((node(20), session(20)))));
    assert!(overlay.done().is_nothing(), "nothing is sent yet");
    assert_eq!(overlay.peers.dialer.reasons().count(), 0);
}

#[test]
fn an_exercise_peer_that_answers_is_linked_or_redirected() {
    for (reason, admits, redirects) in [(false, true, false), (false, false, true), (true, true, true)] {
        let mut overlay = Overlay::mesh();
        if reason {
            overlay.learn(20);
            let Overlay { cx, peers, .. } = &mut overlay;
            let Peers { book, dialer, reputation, .. } = peers;
            dialer.dial_for(cx, book, reputation, &|_| None, &far(20), DialReason::Redirect);
        }
        let link = answer(&mut overlay, 20, None, admits);
        let raised = overlay.raised();
        assert!(raised[0].starts_with("ExerciseDialled { link: link 20"), "{raised:?}");
        assert!(raised[0].ends_with(&format!("redirects: {redirects} }}")), "{raised:?}");
        assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(link)));
        assert_eq!(overlay.conns.links.get(link).and_then(Link::exercise_address), Some(&far(20)));
    }
}

#[test]
fn this_node_itself_and_a_copy_of_its_folder_are_told_apart() {
    let mut overlay = Overlay::mesh();
    let own = UpgradeIdentity { node: overlay.cx.config.node, session: overlay.cx.config.session };
    answer(&mut overlay, 20, Some(own), true);
    let raised = overlay.raised();
    assert!(raised[0].contains("Ourselves { link: link 20 }"), "{raised:?}");
    assert!(overlay.done().is_nothing(), "membership closes it");
    // A liar can answer with our id: the user is warned of a node that has proved it.
    for (n, proved, event) in [(21, false, "PeerFault"), (22, true, "Warning")] {
        if proved {
            overlay.peers.access.authenticate(LinkId(n.into()), own.node);
        }
        answer(&mut overlay, n, Some(UpgradeIdentity { session: session(9), ..own }), true);
        let done = overlay.done();
        assert_eq!((done.codes(), done.sent("HANDSHAKE")), (vec![(n.into(), close::POLICY)], vec![n.into()]));
        assert_eq!(done.names(), ["HandshakeSent", event]);
        assert_eq!(overlay.dial_due(&far(n)), Some(Duration::from_secs(60)));
        let raised = overlay.raised();
        assert!(raised[0].contains("Useless"), "{raised:?}");
    }
}

#[test]
fn a_copy_that_is_dialled_is_shown_that_another_node_has_its_key() {
    let mut net = Net::signed(2);
    let signer = std::sync::Arc::new(net.pretend(0));
    let copy = &mut net.cores[1].cx.config;
    (copy.node, copy.signer) = (id(0), signer);
    net.link(0, 1);
    let warned = [0, 1].map(|node| {
        let copied =
            |event: &&Event| matches!(event, Event::Warning { text } if text.contains("its folder was copied"));
        net.events[node].iter().filter(copied).count()
    });
    assert_eq!(warned, [0, 1], "the one that was dialled has proved nothing yet");
}

#[test]
fn an_address_that_a_proved_node_does_not_name_is_not_its_own_whatever_answers_there() {
    for (proved, claimed, verified) in
        [(true, Some(far(20)), true), (true, Some(far(21)), false), (true, None, false), (false, None, true)]
    {
        let mut overlay = Overlay::mesh();
        let peer = NativePeer { address: None, proved, ..native(20) };
        overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
        overlay.conns.links.set_native(LinkId(1), LinkState::Established(peer));
        overlay.conns.links.get_mut(LinkId(1)).expect("open").claimed = claimed.clone();
        answer(&mut overlay, 20, Some(identity(20)), true);
        let case = format!("proved: {proved}, it names {claimed:?}");
        let shown = overlay.conns.links.get(LinkId(1)).and_then(Link::verified_address);
        assert_eq!(shown, Some(&far(20)).filter(|_| verified), "{case}");
        assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(LinkId(1))), "{case}: it is not dialled");
        assert_eq!(overlay.done().pings, [1], "{case}");
    }
}

#[test]
fn a_second_link_to_a_linked_node_shows_that_its_address_is_right_and_is_resolved() {
    let mut overlay = Overlay::mesh();
    let peer = NativePeer { address: None, ..native(20) };
    overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(peer));
    overlay.conns.links.get_mut(LinkId(1)).expect("open").claimed = Some(far(20));
    answer(&mut overlay, 20, Some(identity(20)), true);
    assert_eq!(overlay.conns.links.get(LinkId(1)).and_then(Link::verified_address), Some(&far(20)));
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(LinkId(1))));
    let done = overlay.done();
    assert_eq!((done.pings.clone(), done.sent("HANDSHAKE")), (vec![1], vec![1]));
    let raised = overlay.raised();
    assert!(raised[0].contains("Useless") && raised.len() == 1, "{raised:?}");
}

#[test]
fn a_dialled_peer_that_the_rules_exclude_is_closed_and_not_dialled_soon() {
    for (access, identity) in [
        (Access { denied: node(20).to_string().parse().expect("a rule"), ..Access::default() }, Some(identity(20))),
        (Access { plain: false, ..Access::default() }, None),
    ] {
        let mut overlay = Overlay::mesh();
        overlay.peers.access.set_rules(access);
        answer(&mut overlay, 20, identity, true);
        assert_eq!(overlay.done().codes(), [(20, close::POLICY)]);
        assert_eq!(overlay.dial_due(&far(20)), Some(Duration::from_secs(60)));
        let raised = overlay.raised();
        assert!(raised.len() == 1 && raised[0].contains("Useless"), "{raised:?}");
    }
}

#[test]
fn a_dialled_peer_that_is_banned_is_closed() {
    let mut overlay = Overlay::mesh();
    let address_group = crate::ip_prefix::IpPrefix::address_group(ip(20)).expect("public");
    overlay.peers.reputation.add(overlay.cx.now, address_group, 1);
    overlay.peers.reputation.ban(overlay.cx.now, address_group, &Violation::breach("lies"));
    let link = answer(&mut overlay, 20, Some(identity(20)), true);
    overlay.conns.after_dialled(&mut overlay.cx, &mut overlay.peers, link);
    assert_eq!(overlay.done().codes(), [(20, close::POLICY)]);
}

#[test]
fn with_a_link_all_that_belongs_to_it_ends() {
    let mut overlay = Overlay::mesh();
    let link = overlay.dialled(20);
    overlay.conns.set_reason(link, Some(DialReason::Walk));
    overlay.conns.set_reason(link, None);
    assert_eq!(overlay.conns.reason(link), Some(&DialReason::Walk), "no reason changes nothing");
    let timers = [Timer::Ping(link), Timer::Silence(link), Timer::Answer(link), Timer::Duplicate(link)];
    for timer in &timers {
        overlay.cx.timers.set(timer.clone(), overlay.cx.now);
    }
    let close = |overlay: &mut Overlay, link| overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, link);
    let closed = close(&mut overlay, link).expect("it was open");
    assert_eq!((closed.id, closed.reason), (link, Some(DialReason::Walk)));
    assert_eq!((closed.heir, closed.standby), (None, None));
    assert!(timers.iter().all(|timer| overlay.due(timer).is_none()));
    assert_eq!(overlay.conns.reasons().count(), 0);
    assert!(close(&mut overlay, link).is_none());
}

#[test]
fn another_link_to_the_node_inherits_and_otherwise_the_one_on_standby() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(20);
    overlay.conns.links.open(LinkId(1), ip(20), Some(far(20)), LinkState::Standby(native(20)), overlay.cx.now);
    overlay.conns.links.open(LinkId(2), ip(20), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(2), LinkState::Established(native(20)));
    let close = |overlay: &mut Overlay, link| {
        let closed = overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, LinkId(link)).expect("open");
        (closed.heir.map(|link| link.0), closed.standby.map(|link| link.0))
    };
    assert_eq!(close(&mut overlay, 2), (Some(20), None));
    assert_eq!(close(&mut overlay, 20), (None, Some(1)));
    overlay.exercise(21);
    assert_eq!(close(&mut overlay, 21), (None, None));
}

#[test]
fn the_last_link_of_a_peer_is_reported_with_the_number_of_those_left() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(30);
    let (peer, client) = (overlay.accepted(20), overlay.pending_peer(21));
    overlay.conns.notify_up(&mut overlay.cx, peer);
    overlay.conns.notify_up(&mut overlay.cx, LinkId(99));
    let done = overlay.done();
    let [Event::PeerUp { peer: name, dialled: false, peers: 2 }] = &done.events[..] else { panic!("{done:?}") };
    assert_eq!(name.node, Some(info(20).id));
    for link in [peer, client] {
        let closed = overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, link).expect("open");
        overlay.conns.notify_down(&mut overlay.cx, &closed.link, "gone".into());
    }
    let done = overlay.done();
    assert!(
        matches!(&done.events[..], [Event::PeerDown { cause, peers: 1, .. }] if *cause == LinkEnd::from("gone")),
        "{done:?}"
    );
    let dialled = overlay.dialled(22);
    overlay.conns.notify_up(&mut overlay.cx, dialled);
    assert!(matches!(overlay.done().events[..], [Event::PeerUp { dialled: true, peers: 2, .. }]));
}

#[test]
fn a_peer_that_closes_before_its_handshake_is_a_failed_dial() {
    let mut overlay = Overlay::mesh();
    overlay.asking(20, DialReason::slot());
    overlay.cx.timers.set(Timer::Dial(far(20)), overlay.cx.now + Duration::from_secs(7));
    let mut down = |closing| {
        let link = overlay.conns.links.get_mut(LinkId(20)).expect("open");
        link.closing = closing;
        let link = overlay.conns.links.get(LinkId(20)).expect("open");
        overlay.conns.notify_down(&mut overlay.cx, link, "reset".into());
        overlay.done().events
    };
    let events = down(false);
    let [Event::DialFailed { address, error, retry_in }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (address, error, *retry_in),
        (&far(20), &DialError::Ended("reset".into()), Some(Duration::from_secs(7)))
    );
    assert!(down(true).is_empty(), "we closed it");
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(21);
    overlay.conns.links.set_native(link, LinkState::Verifying(native(21)));
    let open = overlay.conns.links.get(link).expect("open");
    overlay.conns.notify_down(&mut overlay.cx, open, "reset".into());
    assert!(overlay.done().is_nothing(), "it dialled us");
}

#[test]
fn a_link_that_lasted_a_minute_ends_the_back_off_of_its_address() {
    for (seconds, failures) in [(59, 4), (60, 1)] {
        let mut overlay = Overlay::mesh();
        let link = overlay.dialled(20);
        overlay.peers.book.get_mut(&far(20)).expect("there").failures = 3;
        overlay.pass(Duration::from_secs(seconds));
        let closed = overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, link).expect("open");
        Connections::redial_later(&mut overlay.cx, &mut overlay.peers, &far(20), &closed.link);
        let peer = overlay.peers.book.get(&far(20)).expect("there");
        assert_eq!((peer.failures, peer.last_up, peer.state), (failures, Some(overlay.cx.now), AddressState::Waiting));
        assert!(overlay.dial_due(&far(20)).is_some());
    }
    let mut overlay = Overlay::mesh();
    let link = overlay.dialled(20);
    overlay.cx.shutting_down = true;
    let closed = overlay.conns.on_closed(&mut overlay.cx, &mut overlay.peers, link).expect("open");
    Connections::redial_later(&mut overlay.cx, &mut overlay.peers, &far(20), &closed.link);
    assert_eq!((overlay.state(&far(20)), overlay.dial_due(&far(20))), (Some(AddressState::Waiting), None));
}
