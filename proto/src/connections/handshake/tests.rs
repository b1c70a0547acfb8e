mod ids;

use crate::connections::handshake::*;
use crate::event::Event;
use crate::ip_prefix::SourceGroup;
use crate::testing::net::Net;
use crate::testing::overlay::{Overlay, far, identity, info, ip, native, session};
use crate::testing::parts::node;
use crate::violation::Violation;

/// A HANDSHAKE with these addresses comes on link `n`.
fn receive(overlay: &mut Overlay, n: u64, node: Option<NodeInfo>, addresses: &[PeerAddress]) {
    let handshake = Handshake { addresses: addresses.to_vec(), dropped: 1, node };
    let Overlay { cx, peers, conns, .. } = overlay;
    conns.on_handshake(cx, peers, LinkId(n), handshake).expect("a violation is counted at once");
}

/// Peer `n` is accepted on link `n`, as membership does.
fn accept(overlay: &mut Overlay, n: u8, info: &NodeInfo) -> LinkId {
    let link = overlay.pending_peer(n);
    overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, info);
    link
}

fn probed(overlay: &mut Overlay, n: u8, identity: Option<UpgradeIdentity>) {
    overlay.conns.on_probed(&mut overlay.cx, &mut overlay.peers, LinkId(n.into()), &far(n), (identity, false));
}

fn is_established(overlay: &Overlay, link: LinkId) -> bool {
    matches!(overlay.conns.links.get(link).map(|link| &link.state), Some(LinkState::Established(_)))
}

#[test]
fn a_native_peer_that_introduces_itself_on_an_accepted_link_is_left_to_membership() {
    let mut overlay = Overlay::mesh();
    overlay.pending_peer(20);
    receive(&mut overlay, 20, Some(info(20)), &[far(20), far(30)]);
    let raised = overlay.raised();
    assert!(raised.len() == 1 && raised[0].starts_with("Introduced"), "{raised:?}");
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.cx.counters.addresses_dropped, 1);
    receive(&mut overlay, 99, Some(info(20)), &[]);
    assert!(overlay.raised().is_empty(), "a link that is gone");
}

#[test]
fn on_a_dialled_link_the_handshake_establishes_it_once() {
    let mut overlay = Overlay::mesh();
    let link = overlay.asking(20, crate::dial_reason::DialReason::slot());
    overlay.cx.timers.set(Timer::Silence(link), overlay.cx.now);
    receive(&mut overlay, 20, Some(info(20)), &[far(20)]);
    assert!(is_established(&overlay, link));
    assert_eq!(overlay.due(&Timer::Silence(link)), None);
    let raised = overlay.raised();
    assert!(raised[0].starts_with("NeighborUp(link 20)") && raised[1].starts_with("AddressesLearned"), "{raised:?}");
    receive(&mut overlay, 20, Some(info(20)), &[far(30)]);
    let raised = overlay.raised();
    assert!(raised.len() == 1 && raised[0].starts_with("AddressesLearned"), "{raised:?}");
}

#[test]
fn ourselves_another_network_and_a_copy_of_our_folder_are_closed() {
    let mut overlay = Overlay::mesh();
    let (own, run) = (overlay.cx.config.node, overlay.cx.config.session);
    for (n, said, code) in [
        (20, NodeInfo { id: own, session: run, ..info(20) }, close::NORMAL),
        (21, NodeInfo { network: "other".into(), ..info(21) }, close::TRY_AGAIN_LATER),
        (22, NodeInfo { id: own, ..info(22) }, close::POLICY),
    ] {
        overlay.pending_peer(n);
        receive(&mut overlay, n.into(), Some(said), &[]);
        assert_eq!(overlay.done().codes(), [(n.into(), code)]);
    }
    assert!(overlay.raised().is_empty());
    // Another run of another node has the same session only by design: it is no copy of ours.
    overlay.pending_peer(23);
    receive(&mut overlay, 23, Some(NodeInfo { session: run, ..info(23) }), &[]);
    assert!(!overlay.closing(LinkId(23)));
}

#[test]
fn a_node_of_another_network_is_named_to_the_user_and_not_dialled_soon() {
    let mut overlay = Overlay::mesh();
    overlay.asking(20, crate::dial_reason::DialReason::slot());
    receive(&mut overlay, 20, Some(NodeInfo { network: "other".into(), ..info(20) }), &[]);
    let done = overlay.done();
    assert!(
        matches!(&done.events[..], [Event::Warning { text }] if text.contains("'other'") && text.contains("'test'"))
    );
    assert!(done.closed[0].2.contains("'test'") && done.closed[0].2.contains("'other'"), "{done:?}");
    assert_eq!(overlay.dial_due(&far(20)), Some(Duration::from_secs(60)));
}

#[test]
fn a_handshake_that_contradicts_the_upgrade_identity_closes_the_link() {
    for said in [NodeInfo { id: node(21), ..info(20) }, NodeInfo { session: session(9), ..info(20) }] {
        let mut overlay = Overlay::mesh();
        overlay.asking(20, crate::dial_reason::DialReason::slot());
        receive(&mut overlay, 20, Some(said), &[far(30)]);
        assert_eq!(overlay.done().codes(), [(20, close::POLICY)]);
        assert_eq!(overlay.cx.counters.violations, 1);
        assert!(overlay.raised().is_empty());
    }
}

#[test]
fn rules_and_bans_exclude_a_node_by_its_id() {
    let mut overlay = Overlay::mesh();
    let denied = node(20).to_string().parse().expect("a rule");
    overlay.peers.access.set_rules(crate::access::Access { denied, ..crate::access::Access::default() });
    overlay.peers.reputation.ban_node(overlay.cx.now, node(21), Duration::from_secs(60), &Violation::breach("lies"));
    for n in [20, 21] {
        overlay.pending_peer(n);
        receive(&mut overlay, n.into(), Some(info(n)), &[]);
    }
    assert_eq!(overlay.done().codes(), [(20, close::POLICY), (21, close::POLICY)]);
    assert!(overlay.raised().is_empty());
}

#[test]
fn a_node_without_an_upgrade_identity_stays_an_exercise_peer_whatever_it_says() {
    let mut overlay = Overlay::mesh();
    let link = overlay.exercise(20);
    receive(&mut overlay, 20, Some(info(20)), &[far(30)]);
    let raised = overlay.raised();
    assert!(raised.len() == 1 && raised[0].starts_with("AddressesLearned"), "{raised:?}");
    assert!(overlay.conns.links.get(link).is_some_and(Link::is_exercise));
    overlay.conns.links.open(LinkId(1), ip(21), Some(far(21)), LinkState::Standby(native(21)), overlay.cx.now);
    receive(&mut overlay, 1, Some(info(21)), &[far(30)]);
    assert!(overlay.raised().is_empty(), "on standby nothing counts");
}

#[test]
fn an_exercise_peer_that_introduces_itself_is_no_client_any_more() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    overlay.cx.timers.set(Timer::Silence(link), overlay.cx.now);
    receive(&mut overlay, 20, None, &[far(20), far(30)]);
    assert_eq!(overlay.conns.links.get(link).and_then(Link::exercise_address), Some(&far(20)));
    assert_eq!(overlay.due(&Timer::Silence(link)), None);
    receive(&mut overlay, 20, None, &[far(31)]);
    assert_eq!(overlay.conns.links.get(link).and_then(Link::exercise_address), Some(&far(20)), "the first one stays");
    let raised = overlay.raised();
    assert!(raised.len() == 2 && raised.iter().all(|event| event.starts_with("ExerciseIntroduced")), "{raised:?}");
    overlay.accepted(21);
    receive(&mut overlay, 21, None, &[far(31)]);
    receive(&mut overlay, 99, None, &[far(31)]);
    assert!(overlay.raised().is_empty(), "a native peer stays one");
    overlay.peers.access.set_rules(crate::access::Access { plain: false, ..crate::access::Access::default() });
    overlay.pending_peer(22);
    receive(&mut overlay, 22, None, &[far(22)]);
    assert_eq!(overlay.done().codes(), [(22, close::POLICY)]);
    assert!(overlay.raised().is_empty());
}

#[test]
fn an_exercise_peers_own_address_follows_ours_or_is_the_first_or_last_that_leads_elsewhere() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(40);
    overlay.exercise(41);
    overlay.peers.book.set_state(&far(50), AddressState::Myself);
    let ours = overlay.cx.config.address.clone();
    for (named, own) in [
        (vec![far(20), far(30)], Some(far(20))),
        (vec![far(30), ours.clone(), far(20)], Some(far(20))),
        (vec![far(30), far(50), far(20)], Some(far(20))),
        (vec![far(20), far(30), ours.clone()], Some(far(20))),
        (vec![far(20), far(50), ours.clone()], Some(far(20))),
        (vec![far(40), far(30), far(20)], Some(far(20))),
        (vec![far(41), far(20)], Some(far(41))),
        (vec![ours.clone(), far(40)], Some(far(40))),
        (vec![far(40), far(30), ours.clone()], None),
        (vec![ours.clone()], None),
        (Vec::new(), None),
    ] {
        let found = overlay.conns.exercise_address(&overlay.cx, &overlay.peers.book, &named);
        assert_eq!(found, own, "{named:?}");
    }
}

#[test]
fn the_claimed_address_of_an_accepted_peer_is_probed_before_the_answer() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    let done = overlay.done();
    assert_eq!((done.probes, done.frames.len()), (vec![(20, far(20))], 0));
    assert_eq!(overlay.due(&Timer::Answer(link)), Some(ANSWER_AFTER));
    assert!(!is_established(&overlay, link) && overlay.raised().is_empty());
    assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), None);
    probed(&mut overlay, 20, Some(identity(20)));
    assert_eq!(overlay.done().sent("HANDSHAKE"), [20], "one answer");
    assert!(is_established(&overlay, link));
    assert_eq!(overlay.raised(), ["NeighborUp(link 20)"]);
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(link)));
    assert_eq!(overlay.peers.book.get(&far(20)).expect("there").last_up, Some(overlay.cx.now));
    assert_eq!(overlay.due(&Timer::Answer(link)), None);
}

#[test]
fn a_slow_probe_is_not_waited_for_and_a_second_handshake_follows_it() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    overlay.pass(ANSWER_AFTER);
    overlay.conns.answer(&mut overlay.cx, link);
    assert_eq!(overlay.done().sent("HANDSHAKE"), [20]);
    overlay.conns.answer(&mut overlay.cx, link);
    assert!(overlay.done().sent("HANDSHAKE").is_empty(), "once");
    probed(&mut overlay, 20, Some(identity(20)));
    assert_eq!(overlay.done().sent("HANDSHAKE"), [20]);
    assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), Some(&far(20)));
    overlay.conns.on_verified(&mut overlay.cx, &mut overlay.peers, link, &far(21));
    assert!(overlay.done().sent("HANDSHAKE").is_empty(), "another address of it is no news");
}

#[test]
fn a_closing_link_is_not_answered() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    overlay.done();
    overlay.conns.answer(&mut overlay.cx, link);
    assert!(overlay.done().is_nothing() && !is_established(&overlay, link));
    assert_eq!(overlay.due(&Timer::Answer(link)), None);
}

#[test]
fn an_address_out_of_scope_or_none_is_not_probed() {
    for address in [None, Some("ws://10.0.0.1:4001".parse().expect("private"))] {
        let mut overlay = Overlay::mesh();
        let link = accept(&mut overlay, 20, &NodeInfo { address, ..info(20) });
        let done = overlay.done();
        assert_eq!((done.probes.len(), done.sent("HANDSHAKE")), (0, vec![20]));
        assert!(is_established(&overlay, link));
        assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), None);
    }
}

#[test]
fn an_address_that_leads_to_the_node_already_is_not_probed_again() {
    let mut overlay = Overlay::mesh();
    overlay.conns.links.open(LinkId(1), ip(20), Some(far(20)), LinkState::Client, overlay.cx.now);
    let claims = NativePeer { proved: false, ..native(20) };
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(claims));
    overlay.peers.book.set_state(&far(20), AddressState::Connected(LinkId(1)));
    let link = accept(&mut overlay, 20, &info(20));
    let done = overlay.done();
    assert_eq!((done.probes.len(), done.pings.clone()), (0, vec![1]), "the two links are resolved");
    assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), Some(&far(20)));
    assert!(is_established(&overlay, link));
    assert_eq!(overlay.raised(), ["SecondLink(link 20)"], "it is a neighbor already");
    // Where another node is linked the address cannot be probed either: it is not confirmed.
    let mut overlay = Overlay::mesh();
    overlay.accepted(21);
    overlay.peers.book.set_state(&far(20), AddressState::Connected(LinkId(21)));
    let link = accept(&mut overlay, 20, &info(20));
    assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), None);
    assert!(is_established(&overlay, link));
}

#[test]
fn a_probe_that_is_delayed_is_not_waited_for_in_a_full_mesh() {
    for (cap, waits) in [(None, false), (Some(8), true)] {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        for n in 20..25 {
            overlay.know(n);
            accept(&mut overlay, n, &info(n));
        }
        let done = overlay.done();
        assert_eq!(done.probes.len(), if waits { 5 } else { 4 });
        assert_eq!(done.sent("HANDSHAKE"), if waits { Vec::new() } else { vec![24] });
    }
}

#[test]
fn a_probe_that_finds_another_node_counts_against_the_peer() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    overlay.done();
    probed(&mut overlay, 20, Some(identity(21)));
    assert_eq!(overlay.cx.counters.violations, 1);
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Waiting));
    assert_eq!(overlay.dial_due(&far(20)), Some(Duration::ZERO), "somebody is there");
    let done = overlay.done();
    assert_eq!(done.sent("HANDSHAKE"), [20], "it is answered all the same");
    assert_eq!(done.names().iter().filter(|name| *name == "PeerFault").count(), 2);
    assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), None);
}

#[test]
fn a_probe_that_finds_another_run_or_nobody_is_no_violation() {
    for (found, failures) in [(Some(UpgradeIdentity { session: session(9), ..identity(20) }), 0), (None, 1)] {
        let mut overlay = Overlay::mesh();
        accept(&mut overlay, 20, &info(20));
        overlay.done();
        probed(&mut overlay, 20, found);
        assert_eq!(overlay.cx.counters.violations, 0);
        assert_eq!(overlay.peers.book.get(&far(20)).expect("there").failures, failures);
        assert_eq!(overlay.state(&far(20)), Some(AddressState::Waiting));
        assert!(overlay.dial_due(&far(20)).is_some());
        assert_eq!(overlay.done().names(), ["PeerFault", "HandshakeSent"], "for the debug log, and the answer");
    }
}

#[test]
fn a_probe_that_finds_this_node_shows_that_the_address_is_ours() {
    let mut overlay = Overlay::mesh();
    accept(&mut overlay, 20, &info(20));
    let own = UpgradeIdentity { node: overlay.cx.config.node, session: overlay.cx.config.session };
    probed(&mut overlay, 20, Some(own));
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Myself));
    assert_eq!(overlay.cx.counters.violations, 0);
}

#[test]
fn a_probe_that_ends_after_its_link_or_its_address_proves_nothing() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    overlay.done();
    probed(&mut overlay, 20, Some(identity(21)));
    assert_eq!(overlay.cx.counters.violations, 0, "the link closes");
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Waiting));
    let mut overlay = Overlay::mesh();
    accept(&mut overlay, 20, &info(20));
    overlay.peers.book.set_state(&far(20), AddressState::Connected(LinkId(9)));
    overlay.done();
    probed(&mut overlay, 20, None);
    assert_eq!(overlay.state(&far(20)), Some(AddressState::Connected(LinkId(9))), "it was dialled meanwhile");
    assert_eq!(overlay.done().sent("HANDSHAKE"), [20]);
}

#[test]
fn a_probe_that_was_put_off_says_nothing_about_the_address_and_is_made_later() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    overlay.done();
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    conns.on_probe_put_off(cx, peers, link, &far(20));
    let done = overlay.done();
    assert_eq!(done.names(), ["HandshakeSent"], "the answer");
    assert!(done.sent("DIALBACK").is_empty());
    assert!(is_established(&overlay, link) && overlay.dial_due(&far(20)).is_some());
    let at = overlay.peers.book.get(&far(20)).expect("there");
    assert_eq!((at.state, at.claimed), (AddressState::Waiting, Some(link)), "a probe, and no dial");
}

#[test]
fn a_host_that_could_not_try_says_nothing_about_the_address_and_both_are_linked() {
    let told = |without_routes: &[usize]| {
        let mut net = Net::new(2);
        net.without_routes = without_routes.to_vec();
        let (_, accepted) = net.link(0, 1);
        net.pass(Duration::from_secs(30));
        assert_eq!(net.link_between(1, 0), accepted);
        let status = net.cores[0].status(net.now, &[]);
        assert!(net.cores[1].connections.links.get(accepted).is_some_and(Link::takes_transactions));
        status.dial_backs.map(|found| (found.reached, found.failed))
    };
    assert_eq!(told(&[]), Some((1, 0)));
    assert_eq!(told(&[1]), None);
}

#[test]
fn our_handshake_names_us_the_address_that_was_dialled_and_verified_peers_in_scope() {
    let mut overlay = Overlay::mesh();
    let link = overlay.dialled(20);
    overlay.accepted(21);
    overlay.exercise(22);
    overlay.pending_peer(23);
    let closing = overlay.accepted(24);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    let mut peer = native(25);
    peer.address = Some("ws://10.0.0.1:4001".parse().expect("private"));
    let private = overlay.pending_peer(25);
    overlay.conns.links.set_native(private, LinkState::Established(peer));
    overlay.conns.links.open(LinkId(1), ip(21), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(21)));
    overlay.done();
    overlay.conns.send_handshake(&mut overlay.cx, link);
    let sent = overlay.done().handshake(link).expect("HANDSHAKE");
    let ours = overlay.cx.config.address.clone();
    assert_eq!(sent.addresses, [ours.clone(), far(20), far(21), far(22)]);
    let said = sent.node.expect("native");
    assert_eq!((said.id, said.session, said.address), (node(0), session(0), Some(ours)));
    overlay.conns.send_handshake(&mut overlay.cx, LinkId(99));
    assert!(overlay.done().is_nothing());
}

#[test]
fn a_handshake_has_at_most_a_thousand_addresses() {
    let mut overlay = Overlay::mesh();
    let link = overlay.dialled(20);
    for n in 0..1_200_u16 {
        let address = PeerAddress::new("203.0.113.9", n + 1).expect("an address");
        let state = LinkState::ExerciseOutbound { address: address.clone() };
        overlay.conns.links.open(LinkId(1_000 + u64::from(n)), ip(21), Some(address), state, overlay.cx.now);
    }
    overlay.conns.send_handshake(&mut overlay.cx, link);
    let sent = overlay.done().handshake(link).expect("HANDSHAKE");
    assert_eq!((sent.addresses.len(), sent.dropped), (crate::limits::HANDSHAKE_ADDRESSES, 0));
    assert_eq!(sent.addresses[1], far(20));
}

#[test]
fn the_address_of_an_exercise_peer_is_passed_on_to_native_peers_that_may_learn_it() {
    let mut overlay = Overlay::mesh();
    overlay.accept_all(20..22);
    overlay.conns.links.get_mut(LinkId(21)).expect("open").scope = crate::address::Scope::Private;
    overlay.exercise(22);
    overlay.asking(23, crate::dial_reason::DialReason::slot());
    overlay.conns.pass_on_exercise(&mut overlay.cx, &far(30));
    let done = overlay.done();
    assert_eq!(done.sent("HANDSHAKE"), [20, 21]);
    let ours = overlay.cx.config.address.clone();
    assert_eq!(done.handshake(LinkId(20)).expect("HANDSHAKE").addresses, [ours, far(30)]);
    overlay.conns.pass_on_exercise(&mut overlay.cx, &"ws://10.0.0.1:4001".parse().expect("private"));
    assert_eq!(overlay.done().sent("HANDSHAKE"), [21]);
    let mut alone = Overlay::mesh();
    alone.conns.pass_on_exercise(&mut alone.cx, &far(30));
    assert!(alone.done().is_nothing());
}

#[test]
fn a_peer_may_name_addresses_in_its_scope_and_not_ours() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    let home: PeerAddress = "ws://10.0.0.1:4001".parse().expect("private");
    let name = PeerAddress::new("example.org", 4001).expect("an address");
    overlay.book(&name, AddressSource::Gossiped(crate::address::Scope::Public, SourceGroup::of(ip(30))));
    let may = |overlay: &mut Overlay, address: &PeerAddress| {
        overlay.conns.may_learn(&mut overlay.cx, &mut overlay.peers.book, link, address)
    };
    assert!(may(&mut overlay, &far(30)) && !may(&mut overlay, &home));
    assert_eq!(overlay.cx.counters.addresses_out_of_scope, 1);
    overlay.conns.links.get_mut(link).expect("open").scope = crate::address::Scope::Loopback;
    assert!(may(&mut overlay, &home) && may(&mut overlay, &name));
    assert_eq!(overlay.peers.book.get(&name).expect("there").reach, crate::address::Scope::Loopback);
    let ours = overlay.cx.config.address.clone();
    assert!(!may(&mut overlay, &ours));
    assert_eq!(overlay.cx.counters.addresses_out_of_scope, 1, "ours is no fault");
}

#[test]
fn a_neighbor_is_up_with_its_first_established_link() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(20);
    overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(20)));
    overlay.conns.established(&mut overlay.cx, LinkId(1));
    assert_eq!(overlay.raised(), ["SecondLink(link 1)"], "it has another");
    overlay.conns.links.get_mut(LinkId(20)).expect("open").closing = true;
    overlay.conns.established(&mut overlay.cx, LinkId(1));
    assert_eq!(overlay.raised(), ["NeighborUp(link 1)"]);
    overlay.conns.links.get_mut(LinkId(20)).expect("open").closing = false;
    overlay.conns.links.set_native(LinkId(20), LinkState::HelloSent(native(20)));
    overlay.conns.established(&mut overlay.cx, LinkId(1));
    assert_eq!(overlay.raised(), ["NeighborUp(link 1)"], "the other one waits for its HANDSHAKE");
    overlay.pending_peer(21);
    overlay.conns.established(&mut overlay.cx, LinkId(21));
    assert!(overlay.raised().is_empty());
}

#[test]
fn a_peer_is_unverified_until_an_address_is_seen_to_lead_to_it() {
    let mut overlay = Overlay::mesh();
    let link = accept(&mut overlay, 20, &info(20));
    assert_eq!(overlay.conns.unverified(link), Some(overlay.conns.links.source_of(link).1));
    probed(&mut overlay, 20, Some(identity(20)));
    assert_eq!(overlay.conns.unverified(link), None);
    overlay.pending_peer(21);
    assert_eq!([21, 99].map(|link| overlay.conns.unverified(LinkId(link))), [None; 2]);
}

#[test]
fn a_verified_address_stays_when_the_peer_is_accepted_again() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    overlay.conns.links.set_native(link, LinkState::Verifying(native(20)));
    let unknown = NodeInfo { address: None, ..info(20) };
    overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, &unknown);
    assert_eq!(overlay.conns.links.get(link).and_then(Link::verified_address), Some(&far(20)));
}

/// What peer `n` found of our address.
fn found(overlay: &mut Overlay, n: u64, reached: bool) {
    let error = (!reached).then(|| "timed out".to_owned());
    let found = DialBack { address: overlay.cx.config.address.clone(), error };
    assert_eq!(overlay.conns.on_dial_back(&mut overlay.cx, LinkId(n), found), Ok(()));
}

/// A node at a public address, which dialled peers 20, 21 and 24, and which 26 and 27 dialled.
fn public() -> Overlay {
    let mut overlay = Overlay::with(|config| config.address = "ws://203.0.113.9:4001".parse().expect("an address"));
    overlay.dial_all(20..22);
    overlay.dialled(24);
    overlay.accept_all(26..28);
    // One more in the network of peer 20: a liar with two nodes.
    let beside = crate::testing::overlay::beside(20, 9);
    let remote = beside.host().parse().expect("an IP address");
    overlay.conns.links.open(LinkId(1), remote, Some(beside), LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(25)));
    overlay
}

#[test]
fn an_exercise_peer_is_not_told_our_address_while_nobody_reaches_us() {
    // Who says what of our address: the link, and whether its peer reached us. Then whether the
    // exercise peer dialled us itself, and whether it is told.
    for (said, dialled_us, told) in [
        (vec![], false, true),
        (vec![(20, false)], false, true),
        (vec![(20, false), (1, false)], false, true),
        (vec![(20, false), (21, false)], false, false),
        (vec![(20, false), (21, false)], true, true),
        (vec![(20, false), (21, false), (24, true)], false, true),
        // Strangers that dialled us have verified nothing.
        (vec![(26, false), (27, false)], false, true),
        (vec![(20, false), (21, false), (26, true)], false, false),
    ] {
        let mut overlay = public();
        let ours = overlay.cx.config.address.clone();
        let link = overlay.exercise(22);
        if dialled_us {
            let inbound = LinkState::ExerciseInbound { address: Some(far(22)) };
            overlay.conns.links.open(LinkId(2), ip(22), None, inbound, overlay.cx.now);
        }
        for (from, reached) in &said {
            found(&mut overlay, *from, *reached);
        }
        overlay.done();
        overlay.conns.send_handshake(&mut overlay.cx, link);
        let sent = overlay.done().handshake(link).expect("HANDSHAKE").addresses;
        assert_eq!(sent.contains(&ours), told, "{said:?}, {dialled_us}");
        assert!(sent.contains(&far(22)) && sent.contains(&far(21)), "{sent:?}");
    }
}

#[test]
fn an_exercise_peer_that_was_not_told_our_address_learns_it_once_it_is_reached() {
    let mut overlay = public();
    let ours = overlay.cx.config.address.clone();
    let told_before = overlay.exercise(22);
    overlay.conns.send_handshake(&mut overlay.cx, told_before);
    found(&mut overlay, 20, false);
    found(&mut overlay, 21, false);
    let (link, gone) = (overlay.exercise(23), overlay.exercise(28));
    for link in [link, gone] {
        overlay.conns.send_handshake(&mut overlay.cx, link);
    }
    assert!(!overlay.done().handshake(link).expect("HANDSHAKE").addresses.contains(&ours));
    overlay.end(gone);
    found(&mut overlay, 21, false);
    assert!(overlay.done().sent("HANDSHAKE").is_empty());
    found(&mut overlay, 21, true);
    let done = overlay.done();
    assert_eq!(done.sent("HANDSHAKE"), [23]);
    assert!(done.handshake(link).expect("HANDSHAKE").addresses.contains(&ours));
    for reached in [false, true] {
        found(&mut overlay, 21, reached);
    }
    assert!(overlay.done().sent("HANDSHAKE").is_empty(), "once");
}

#[test]
fn an_address_that_is_no_url_everywhere_is_not_told_to_an_exercise_peer_nor_a_zone_to_anybody() {
    let zoned: PeerAddress = "ws://[fe80::1%eth0]:5001".parse().expect("an address");
    let named: PeerAddress = "ws://xn--bcher-kva.example:4001".parse().expect("an address");
    for (dialled, to_native) in [(&zoned, false), (&named, true)] {
        let mut overlay = Overlay::mesh();
        overlay.dialled(20);
        let peer = NativePeer { address: Some(named.clone()), ..native(21) };
        overlay.conns.links.open(LinkId(21), ip(21), Some(named.clone()), LinkState::Client, overlay.cx.now);
        overlay.conns.links.set_native(LinkId(21), LinkState::Established(peer));
        let exercise = LinkState::ExerciseOutbound { address: dialled.clone() };
        overlay.conns.links.open(LinkId(1), ip(22), Some(dialled.clone()), exercise, overlay.cx.now);
        overlay.conns.links.open(LinkId(2), ip(23), Some(dialled.clone()), LinkState::Client, overlay.cx.now);
        let peer = NativePeer { address: Some(dialled.clone()), ..native(23) };
        overlay.conns.links.set_native(LinkId(2), LinkState::HelloSent(peer));
        for link in [LinkId(1), LinkId(2)] {
            overlay.conns.send_handshake(&mut overlay.cx, link);
        }
        let done = overlay.done();
        let told = |link| done.handshake(link).expect("HANDSHAKE").addresses;
        assert_eq!(told(LinkId(1)), [far(20)], "{dialled}");
        assert_eq!(told(LinkId(2)).contains(dialled), to_native, "{dialled}");
        assert!(told(LinkId(2)).contains(&named), "native peers know the same names");
    }
}
