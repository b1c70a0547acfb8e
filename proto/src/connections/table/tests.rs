use std::time::Duration;

use crate::connections::table::*;
use crate::testing::overlay::{Overlay, far, info, ip, native, session};
use crate::testing::parts::node;
use crate::wire::close;

/// Every state of a link, by name.
fn states() -> Vec<(&'static str, LinkState)> {
    let pending = PendingPeer { id: node(20), node: None, addresses: Vec::new(), requests_priority: false };
    vec![
        ("client", LinkState::Client),
        ("inbound", LinkState::ExerciseInbound { address: Some(far(21)) }),
        ("unnamed", LinkState::ExerciseInbound { address: None }),
        ("outbound", LinkState::ExerciseOutbound { address: far(22) }),
        ("standby", LinkState::Standby(native(20))),
        ("pending", LinkState::AwaitingAdmission(pending)),
        ("sent", LinkState::HelloSent(native(20))),
        ("verifying", LinkState::Verifying(native(20))),
        ("established", LinkState::Established(native(20))),
    ]
}

/// A table with one link, number 1.
fn one(dialled: Option<PeerAddress>, state: LinkState) -> LinkTable {
    let mut links = LinkTable::default();
    links.open(LinkId(1), ip(20), dialled, state, Instant::now());
    links
}

/// The names of the states for which something holds.
fn holds(wanted: impl Fn(&mut Link) -> bool) -> Vec<&'static str> {
    let mut held = Vec::new();
    for (name, state) in states() {
        if wanted(one(None, state).get_mut(LinkId(1)).expect("open")) {
            held.push(name);
        }
    }
    held
}

#[test]
fn each_state_says_who_is_at_the_other_end() {
    assert_eq!(holds(|link| link.native().is_some()), ["sent", "verifying", "established"]);
    assert_eq!(
        holds(|link| link.run() == Some((node(20), session(20)))),
        ["standby", "sent", "verifying", "established"]
    );
    assert_eq!(holds(|link| link.introduced().is_some()), ["verifying", "established"]);
    assert_eq!(holds(|link| link.is_exercise()), ["inbound", "unnamed", "outbound"]);
    assert_eq!(holds(|link| link.is_peer()), ["outbound", "established"]);
    assert_eq!(holds(|link| link.takes_transactions()), ["outbound", "established"]);
    assert_eq!(holds(|link| link.exercise_address().is_some()), ["inbound", "outbound"]);
    assert_eq!(holds(|link| link.verified_address().is_some()), ["outbound", "sent", "verifying", "established"]);
    let closing = |link: &mut Link| {
        link.closing = true;
        link.takes_transactions()
    };
    assert_eq!(holds(closing), [""; 0], "nothing is sent on a link that closes");
}

#[test]
fn a_peer_is_named_by_its_id_and_the_address_that_is_known_best() {
    let name = |node, address| PeerName { node, address };
    let twenty = Some(node(20));
    let expected = [
        name(None, None),
        name(None, Some(far(21))),
        name(None, None),
        name(None, Some(far(22))),
        name(twenty, Some(far(20))),
        name(twenty, None),
        name(twenty, Some(far(20))),
        name(twenty, Some(far(20))),
        name(twenty, Some(far(20))),
    ];
    for ((state, expected), (_, link)) in states().into_iter().zip(expected).zip(states()) {
        assert_eq!(one(None, link).name_of(LinkId(1)), expected, "{state:?}");
    }
    let pending = |node| PendingPeer { id: info(20).id, node, addresses: Vec::new(), requests_priority: false };
    let claims = one(None, LinkState::AwaitingAdmission(pending(Some(Box::new(info(20))))));
    assert_eq!(claims.name_of(LinkId(1)), name(twenty, Some(far(20))), "the address that it claims");
    let dialled = one(Some(far(33)), LinkState::AwaitingAdmission(pending(Some(Box::new(info(20))))));
    assert_eq!(dialled.name_of(LinkId(1)), name(twenty, Some(far(33))), "rather the one that was dialled");
    assert_eq!(one(Some(far(33)), LinkState::Client).name_of(LinkId(1)), name(None, Some(far(33))));
    assert_eq!(claims.name_of(LinkId(2)), name(None, None), "a link that is gone");
}

#[test]
fn the_first_address_that_is_confirmed_stays() {
    let mut links = LinkTable::default();
    links.open(LinkId(1), ip(20), None, LinkState::Client, Instant::now());
    links.get_mut(LinkId(1)).expect("open").confirm_address(&far(20));
    let peer = NativePeer { address: None, ..native(20) };
    for state in [LinkState::HelloSent, LinkState::Verifying, LinkState::Established] {
        links.set_native(LinkId(1), state(peer.clone()));
        let link = links.get_mut(LinkId(1)).expect("open");
        assert_eq!(link.verified_address(), None);
        link.confirm_address(&far(20));
        link.confirm_address(&far(21));
        assert_eq!(link.verified_address(), Some(&far(20)));
    }
}

#[test]
fn a_new_link_has_the_scope_and_the_address_group_of_its_other_end() {
    for (remote, scope, scored) in
        [("192.0.2.1", Scope::Public, true), ("10.0.0.1", Scope::Private, true), ("127.0.0.1", Scope::Loopback, false)]
    {
        let mut links = LinkTable::default();
        let now = Instant::now();
        links.open(LinkId(1), remote.parse().expect("an IP address"), None, LinkState::Client, now);
        let link = links.get(LinkId(1)).expect("open");
        assert_eq!((link.scope, link.address_group.is_some()), (scope, scored), "{remote}");
        assert_eq!((link.opened, link.heard, link.closing, link.flow), (now, now, false, Delivery::Live));
        assert_eq!(links.scope_of(LinkId(1)), scope);
    }
    assert_eq!(LinkTable::default().scope_of(LinkId(1)), Scope::Public, "a link that is gone may name least");
}

/// A table with links 1 and 3 to node 20, and link 2 to node 21.
fn doubles() -> LinkTable {
    let mut links = LinkTable::default();
    for (link, n) in [(1, 20), (2, 21), (3, 20)] {
        links.open(LinkId(link), ip(n), None, LinkState::Client, Instant::now());
        links.set_native(LinkId(link), LinkState::Established(native(n)));
    }
    links
}

#[test]
fn the_links_of_a_node_are_found_the_older_first() {
    let mut links = doubles();
    let find = |links: &LinkTable, n, except: Option<u64>| {
        links.to_node(node(n), except.map(LinkId)).map(|(link, peer)| (link.0, peer.id))
    };
    assert_eq!(find(&links, 20, None), Some((1, node(20))));
    assert_eq!(find(&links, 20, Some(1)), Some((3, node(20))));
    assert_eq!(find(&links, 21, None), Some((2, node(21))));
    assert_eq!((find(&links, 21, Some(2)), find(&links, 22, None)), (None, None));
    links.get_mut(LinkId(1)).expect("open").closing = true;
    assert_eq!(find(&links, 20, None), Some((3, node(20))), "a closing one does not count");
    assert_eq!(links.native_ids(), BTreeSet::from([node(20), node(21)]));
    links.get_mut(LinkId(2)).expect("open").closing = true;
    assert_eq!(links.native_ids(), BTreeSet::from([node(20)]));
}

#[test]
fn nodes_with_more_than_one_link_are_counted_as_links_come_and_go() {
    let mut links = doubles();
    assert!(links.has_doubles());
    assert_eq!(links.nodes(), 2);
    links.set_native(LinkId(3), LinkState::Established(native(20)));
    links.remove(LinkId(3)).expect("open");
    assert!(!links.has_doubles(), "a state that is set again counts once");
    assert_eq!(links.nodes(), 2);
    links.remove(LinkId(1)).expect("open");
    assert_eq!(links.nodes(), 1);
    assert!(links.remove(LinkId(1)).is_none());
    let mut links = doubles();
    links.open(LinkId(4), ip(20), None, LinkState::Client, Instant::now());
    links.set_native(LinkId(4), LinkState::Established(native(20)));
    links.remove(LinkId(1));
    assert!(links.has_doubles(), "two of three are left");
    links.remove(LinkId(3));
    assert!(!links.has_doubles());
    links.remove(LinkId(4));
    assert!(!links.has_doubles());
    links.set_native(LinkId(99), LinkState::Established(native(20)));
    assert_eq!(links.nodes(), 1, "a link that is gone");
    links.open(LinkId(5), ip(22), None, LinkState::Client, Instant::now());
    links.set_native(LinkId(5), LinkState::Client);
    assert_eq!(links.nodes(), 1, "no native peer");
}

#[test]
fn a_node_is_one_peer_however_many_links_it_has() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(20);
    overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(20)));
    overlay.exercise(21);
    overlay.pending_peer(22);
    overlay.asking(23, crate::dial_reason::DialReason::slot());
    let closing = overlay.accepted(24);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    assert_eq!(overlay.conns.links.peers(), 2);
}

#[test]
fn a_link_is_closed_once_with_a_reason_that_fits_into_a_close_frame() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    let long = "ä".repeat(limits::CLOSE_REASON_BYTES);
    overlay.conns.links.close(&mut overlay.cx, link, close::POLICY, &long);
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "again");
    overlay.conns.links.close(&mut overlay.cx, LinkId(99), close::NORMAL, "gone");
    let closed = overlay.done().closed;
    assert_eq!(closed.len(), 1, "{closed:?}");
    let (code, reason) = (closed[0].1, &closed[0].2);
    assert_eq!((code, reason.len()), (close::POLICY, limits::CLOSE_REASON_BYTES - 1), "no character is cut in two");
    assert!(overlay.closing(link));
}

#[test]
fn silence_on_a_link_that_was_not_read_is_excused() {
    let mut links = doubles();
    let later = links.get(LinkId(1)).expect("open").heard + Duration::from_secs(9);
    let heard = |links: &LinkTable| [1, 2, 3].map(|link| links.get(LinkId(link)).expect("open").heard == later);
    links.excuse(later, Some(LinkId(2)));
    assert_eq!(heard(&links), [false, true, false]);
    links.hear(later, LinkId(3));
    links.hear(later, LinkId(99));
    assert_eq!(heard(&links), [false, true, true]);
    links.excuse(later, None);
    assert_eq!(heard(&links), [true, true, true]);
}

#[test]
fn the_user_is_warned_of_a_peer_once_in_a_while_and_the_rest_goes_to_the_debug_log() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(20);
    for text in ["one", "two"] {
        overlay.conns.links.warn(&mut overlay.cx, link, text.into());
    }
    assert_eq!(overlay.done().names(), ["Warning", "PeerFault"]);
    overlay.conns.links.log_fault(&mut overlay.cx, link, "three".into());
    let done = overlay.done();
    let [Event::PeerFault { link: at, peer, text }] = &done.events[..] else { panic!("{done:?}") };
    assert_eq!((*at, peer.node, text.as_str()), (link, Some(node(20)), "three"));
}
