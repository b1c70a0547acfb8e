//! Node ids as addresses: our own, those that peers claim, and those that are told.

use super::*;
use crate::address::Scope;
use crate::connections::table::NativePeer;
use crate::testing::net::address;

/// The id of peer `n` as its address, with these relays.
fn by_id(n: u8, relays: &[&str]) -> PeerAddress {
    PeerAddress::of_node(node(n), relays.iter().map(|relay| relay.parse().expect("a relay")))
}

/// A node that dials ids, and has a relay.
fn wan() -> Overlay {
    let mut overlay = Overlay::with(|config| config.wan = true);
    overlay.cx.wan_address = Some(by_id(0, &["relay.example:1"]));
    overlay
}

/// Opens link `n` from peer `n` over iroh, by a path on this host.
fn over_iroh(overlay: &mut Overlay, n: u8) -> LinkId {
    let link = LinkId(n.into());
    overlay.conns.links.open(link, [127, 0, 0, 1].into(), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.authenticate(link, node(n));
    overlay.peers.access.authenticate(link, node(n));
    link
}

fn claiming(n: u8, address: PeerAddress) -> NodeInfo {
    NodeInfo { address: Some(address), max_peers: None, ..info(n) }
}

/// What peer `n` is told first: of us, and as our own address.
fn told(overlay: &mut Overlay, n: u8) -> (String, String) {
    let handshake = overlay.done().handshake(LinkId(n.into())).expect("it is answered");
    let own = handshake.node.and_then(|node| node.address).expect("an address");
    (handshake.addresses[0].to_string(), own.to_string())
}

#[test]
fn a_peer_is_told_our_address_by_web_socket_where_that_makes_sense_and_otherwise_our_id() {
    let id = wan().cx.wan_address.expect("there").to_string();
    let (near, far) = (address(0).to_string(), "ws://203.0.113.9:4001".to_owned());
    // Our address, whether others reach us by our id, and what a peer elsewhere is told.
    for (public, reachable, expected) in
        [(false, true, &id), (false, false, &near), (true, true, &far), (true, false, &far)]
    {
        let mut overlay = wan();
        if public {
            overlay.cx.config.address = far.parse().expect("an address");
        }
        overlay.cx.wan_address = overlay.cx.wan_address.filter(|_| reachable);
        let no_address = NodeInfo { address: None, ..info(20) };
        accept(&mut overlay, 20, &no_address);
        assert_eq!(told(&mut overlay, 20), (expected.clone(), expected.clone()), "{public} {reachable}");
        // A peer on this host is told where it can dial us without a detour.
        overlay.conns.links.open(LinkId(21), [127, 0, 0, 1].into(), None, LinkState::Client, overlay.cx.now);
        let no_address = NodeInfo { address: None, ..info(21) };
        overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, LinkId(21), &no_address);
        let local = if public { &far } else { &near };
        assert_eq!(told(&mut overlay, 21).0, *local);
    }
}

#[test]
fn the_id_of_a_peer_over_iroh_is_its_address_without_a_probe() {
    // With the relays that it names, and without a claim.
    for claim in [Some(by_id(20, &["relay.example:2"])), None] {
        let mut overlay = wan();
        let link = over_iroh(&mut overlay, 20);
        let info = NodeInfo { address: claim.clone(), ..info(20) };
        overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, &info);
        assert!(is_established(&overlay, link));
        let done = overlay.done();
        assert!(done.probes.is_empty() && done.sent("DIALBACK").is_empty(), "{done:?}");
        assert_eq!(overlay.state(&by_id(20, &[])), Some(AddressState::Connected(link)));
        let peer = overlay.conns.links.get(link).and_then(Link::native).expect("native");
        assert!(peer.proved && peer.address.is_none());
        let expected = claim.unwrap_or(by_id(20, &[])).to_string();
        assert_eq!(peer.wan.as_ref().map(ToString::to_string), Some(expected));
        assert_eq!(overlay.cx.counters.violations, 0);
    }
}

#[test]
fn a_peer_over_iroh_with_an_address_by_web_socket_has_it_verified() {
    let mut overlay = wan();
    let link = over_iroh(&mut overlay, 20);
    overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, &claiming(20, far(20)));
    assert_eq!(overlay.done().probes, [(20, far(20))]);
    probed(&mut overlay, 20, Some(identity(20)));
    let open = overlay.conns.links.get(link).expect("open");
    assert_eq!(open.verified_address(), Some(&far(20)));
    let told = [Scope::Loopback, Scope::Public].map(|scope| open.address_for(scope).map(ToString::to_string));
    assert_eq!(told, [Some(far(20).to_string()), Some(far(20).to_string())]);
    assert!(open.is_at(&far(20)) && open.is_at(&by_id(20, &[])) && !open.is_at(&far(21)));
    // A private address makes no sense beyond it.
    let mut overlay = wan();
    let link = over_iroh(&mut overlay, 20);
    overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, &claiming(20, address(3)));
    assert!(overlay.done().probes.is_empty(), "nothing on this host is dialled for it");
    assert_eq!(overlay.cx.counters.addresses_out_of_scope, 1);
}

#[test]
fn over_web_socket_a_claimed_id_counts_if_it_is_that_of_the_link_and_proved() {
    for (claimed, proved, taken, violations) in [(20, true, true, 0), (20, false, false, 0), (21, true, false, 1)] {
        let mut overlay = wan();
        let link = overlay.pending_peer(20);
        if proved {
            let certified = crate::access::Certified { node: node(20), fingerprint: [1; 32] };
            overlay.peers.access.certify(link, certified);
        }
        let address = by_id(claimed, &["relay.example:2"]);
        overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, &claiming(20, address.clone()));
        let case = format!("{claimed} {proved}");
        assert!(is_established(&overlay, link), "{case}: it is answered at once");
        assert!(overlay.done().probes.is_empty(), "{case}");
        let wan = overlay.conns.links.get(link).and_then(Link::native).and_then(|peer| peer.wan.clone());
        assert_eq!(wan.map(|wan| wan.to_string()), Some(address.to_string()).filter(|_| taken), "{case}");
        assert_eq!(overlay.state(&address), taken.then_some(AddressState::Connected(link)), "{case}");
        assert_eq!(overlay.cx.counters.violations, violations, "{case}");
    }
}

#[test]
fn a_node_that_dials_no_ids_ignores_them() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    let certified = crate::access::Certified { node: node(20), fingerprint: [1; 32] };
    overlay.peers.access.certify(link, certified);
    let own = by_id(20, &["relay.example:2"]);
    overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, link, &claiming(20, own.clone()));
    assert!(is_established(&overlay, link));
    assert_eq!((overlay.state(&own), overlay.cx.counters.addresses_not_dialable), (None, 1));
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    assert!(!conns.may_learn(cx, &mut peers.book, link, &by_id(30, &[])));
    assert!(conns.may_learn(cx, &mut peers.book, link, &far(30)));
    assert_eq!((cx.counters.addresses_not_dialable, cx.counters.violations), (2, 0));
}

#[test]
fn our_id_is_ours_whatever_its_relays() {
    let mut overlay = wan();
    let link = overlay.accepted(20);
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    for own in [by_id(0, &[]), by_id(0, &["other.example:9"])] {
        assert!(cx.is_own(&own) && !conns.may_learn(cx, &mut peers.book, link, &own));
    }
    assert!(!cx.is_own(&by_id(1, &[])) && cx.is_own(&address(0)));
}

#[test]
fn of_a_peer_with_two_addresses_the_one_in_scope_is_told() {
    let mut overlay = wan();
    let lan: PeerAddress = "ws://10.0.0.7:4001".parse().expect("an address");
    let peer = NativePeer { address: Some(lan.clone()), wan: Some(by_id(21, &["relay.example:2"])), ..native(21) };
    overlay.conns.links.open(LinkId(21), [10, 0, 0, 7].into(), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(21), LinkState::Established(peer));
    overlay.conns.links.open(LinkId(22), [10, 0, 0, 8].into(), None, LinkState::Client, overlay.cx.now);
    for (n, from) in [(22, None), (23, Some(()))] {
        if from.is_some() {
            overlay.pending_peer(n);
        }
        let nowhere = NodeInfo { address: None, ..info(n) };
        overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, LinkId(n.into()), &nowhere);
    }
    let done = overlay.done();
    let names = |n| done.handshake(LinkId(n)).expect("it is answered").addresses[1].to_string();
    assert_eq!(names(22), lan.to_string(), "on the same network");
    assert_eq!(names(23), by_id(21, &["relay.example:2"]).to_string(), "elsewhere, with its relays");
}

#[test]
fn exercise_peers_are_told_no_ids_and_name_none() {
    let mut overlay = wan();
    over_iroh(&mut overlay, 21);
    overlay.conns.accept(&mut overlay.cx, &mut overlay.peers, LinkId(21), &claiming(21, by_id(21, &[])));
    overlay.accepted(22);
    let link = overlay.exercise(20);
    overlay.done();
    assert_eq!(overlay.conns.listening(&overlay.cx, link), [far(22)]);
    overlay.conns.send_handshake(&mut overlay.cx, link);
    let done = overlay.done();
    let frame = &done.frames[0].1;
    assert!(frame.contains(&far(22).to_string()) && !frame.contains("iroh"), "{frame}");
    // Nor does its own word make one an address of an exercise peer.
    let pending = overlay.pending_peer(30);
    receive(&mut overlay, 30, None, &[by_id(40, &[]), far(30)]);
    assert_eq!(overlay.conns.links.get(pending).and_then(Link::exercise_address), Some(&far(30)));
    let raised = overlay.raised();
    assert!(raised.iter().all(|event| !event.contains("iroh")), "{raised:?}");
    // What is passed on of one to native peers names us as each of them reaches us.
    overlay.conns.pass_on_exercise(&mut overlay.cx, &far(20));
    let done = overlay.done();
    let own = overlay.cx.wan_address.clone().expect("there");
    assert_eq!(done.handshake(LinkId(22)).expect("native").addresses, [own, far(20)]);
}

#[test]
fn the_id_of_a_linked_node_is_not_dialled() {
    let mut overlay = wan();
    overlay.accepted(20);
    let id = by_id(20, &[]);
    overlay.book(&id, AddressSource::Gossiped(Scope::Public, SourceGroup::Relayed));
    let now = overlay.cx.now;
    overlay.peers.book.dial_at(&mut overlay.cx, &id, now);
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    assert!(conns.leads_to_linked(cx, &mut peers.book, &id));
    assert_eq!((overlay.state(&id), overlay.dial_due(&id)), (Some(AddressState::Connected(LinkId(20))), None));
    // A link that is being opened counts, and a claim does not.
    over_iroh(&mut overlay, 21);
    let claim = overlay.pending_peer(22);
    overlay.conns.links.set_native(claim, LinkState::Established(NativePeer { proved: false, ..native(22) }));
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    let leads = [21, 22].map(|n| conns.leads_to_linked(cx, &mut peers.book, &by_id(n, &[])));
    assert_eq!(leads, [true, false]);
}

#[test]
fn a_dialled_id_of_a_node_that_is_linked_already_is_noted_and_not_reported_to_it() {
    let mut overlay = wan();
    let older = overlay.accepted(20);
    let id = by_id(20, &["relay.example:2"]);
    overlay.book(&id, AddressSource::Known);
    let newer = LinkId(30);
    overlay.peers.access.authenticate(newer, node(20));
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    conns.on_dialled(cx, peers, newer, (ip(20), id.clone()), Some(identity(20)), true);
    assert_eq!(overlay.state(&id), Some(AddressState::Connected(older)));
    assert!(overlay.conns.links.get(older).is_some_and(|open| open.is_at(&id)));
    let done = overlay.done();
    assert_eq!((done.pings.as_slice(), done.sent("DIALBACK")), (&[20][..], Vec::new()));
    overlay.conns.on_pong(&mut overlay.cx, &mut overlay.peers, older);
    assert_eq!(overlay.done().codes(), [(30, close::NORMAL)], "the one over iroh");
}

#[test]
fn a_dialled_id_is_the_address_of_its_node() {
    let mut overlay = wan();
    let (link, id) = (LinkId(20), by_id(20, &["relay.example:2"]));
    overlay.book(&id, AddressSource::Known);
    overlay.peers.access.authenticate(link, node(20));
    let Overlay { cx, peers, conns, .. } = &mut overlay;
    conns.on_dialled(cx, peers, link, (ip(20), id.clone()), Some(identity(20)), true);
    let open = overlay.conns.links.get(link).expect("open");
    let LinkState::Standby(peer) = &open.state else { panic!("{:?}", open.state) };
    assert_eq!((peer.proved, peer.address.clone(), peer.wan.clone()), (true, None, Some(id.clone())));
    overlay.conns.promote(&mut overlay.cx, &mut overlay.peers, link, None);
    let hello = overlay.done().handshake(link).expect("it is sent");
    assert_eq!((hello.addresses[1].to_string(), hello.node.expect("ours").proof), (id.to_string(), None));
    receive(&mut overlay, 20, Some(info(20)), &[]);
    assert!(is_established(&overlay, link) && overlay.conns.links.get(link).is_some_and(Link::is_proved));
}
