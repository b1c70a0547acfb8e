//! Who takes whose slot, by one component without a node.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::address::PeerAddress;
use crate::connections::table::LinkState;
use crate::id::{LinkId, UpgradeIdentity};
use crate::membership::slots::tests::admission::{ask, is_admitted, knock};
use crate::membership::slots::{GROUP_EVERY, OLD, OLD_SWAP_INTERVAL, PRIORITY_INTERVAL, SWAP_INTERVAL, place_of};
use crate::peers::address_book::AddressState;
use crate::testing::overlay::{Overlay, beside, call, far, identity, info, ip, native, session};
use crate::testing::parts::node;
use crate::wire::{Join, NodeInfo, close};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A full node, all of whose links were accepted.
fn full() -> Overlay {
    let mut overlay = Overlay::capped(2);
    overlay.accept_all(11..13);
    overlay
}

/// A newcomer: its number, where its link comes from, and the address that it claims.
struct Newcomer {
    n: u8,
    path: IpAddr,
    address: Option<PeerAddress>,
}

/// A newcomer whose link comes from the address that it claims.
fn newcomer(n: u8) -> Newcomer {
    Newcomer { n, path: ip(n), address: Some(far(n)) }
}

/// Has a newcomer insist on a slot, on a new link. Returns the link, and whether its address is
/// probed.
fn insist(overlay: &mut Overlay, Newcomer { n, path, address }: Newcomer) -> (LinkId, bool) {
    let last = overlay.conns.links.iter().map(|(link, _)| link.0).max().unwrap_or(0);
    let link = LinkId(last.max(100) + 1);
    overlay.done();
    overlay.conns.links.open(link, path, None, LinkState::Client, overlay.cx.now);
    call!(overlay.on_introduced(link, &at(n, address), Vec::new()));
    call!(overlay.on_join(link, &Join { insist: true, ..Join::default() }));
    (link, !overlay.done().probes.is_empty())
}

fn may(overlay: &mut Overlay, newcomer: Newcomer) -> bool {
    insist(overlay, newcomer).1
}

fn at(n: u8, address: Option<PeerAddress>) -> NodeInfo {
    NodeInfo { address, ..info(n) }
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn high_priority_requests_are_half_a_second_apart() {
    let mut overlay = full();
    assert!(may(&mut overlay, newcomer(21)));
    overlay.pass(SWAP_INTERVAL - MILLISECOND);
    assert!(!may(&mut overlay, newcomer(22)));
    overlay.pass(MILLISECOND);
    assert!(may(&mut overlay, newcomer(22)), "a refused one does not count");
    assert!(!may(&mut overlay, newcomer(23)));
}

#[test]
fn a_request_that_cannot_be_granted_keeps_nobody_out() {
    let private = "ws://10.0.0.1:4001".parse().expect("private");
    for address in [None, Some(private), Some(crate::testing::net::address(0))] {
        let mut overlay = full();
        assert!(!may(&mut overlay, Newcomer { address: address.clone(), ..newcomer(21) }), "{address:?}");
        assert!(may(&mut overlay, newcomer(22)), "{address:?}");
        // Not even one of its own network.
        overlay.pass(SWAP_INTERVAL);
        assert!(may(&mut overlay, newcomer(21)), "{address:?}");
    }
    let mut overlay = full();
    let link = overlay.pending_peer(21);
    call!(overlay.on_introduced(link, &NodeInfo { max_peers: Some(1), ..info(21) }, Vec::new()));
    call!(overlay.on_join(link, &Join { insist: true, ..Join::default() }));
    assert!(overlay.done().probes.is_empty() && may(&mut overlay, newcomer(22)), "no room for two links");
    // All links are those of known peers.
    let mut overlay = full();
    for n in [11, 12] {
        overlay.know(n);
        overlay.peers.book.get_mut(&far(n)).expect("there").known = true;
    }
    assert!(!may(&mut overlay, newcomer(21)));
    assert!(overlay.membership.slots.priority_requests.is_empty() && overlay.membership.slots.swapped.is_none());
}

#[test]
fn one_node_has_a_high_priority_request_in_ten_seconds() {
    let mut overlay = full();
    // It is on this host, and names a new address each time.
    let from_here =
        |overlay: &mut Overlay, host| may(overlay, Newcomer { path: HERE, address: Some(far(host)), n: 21 });
    assert!(from_here(&mut overlay, 31));
    overlay.pass(PRIORITY_INTERVAL - MILLISECOND);
    assert!(!from_here(&mut overlay, 32));
    overlay.pass(MILLISECOND);
    assert!(from_here(&mut overlay, 32));
}

#[test]
fn one_network_has_a_high_priority_request_in_a_minute_whatever_it_names() {
    let mut overlay = full();
    let name = |text: &str| Some(text.parse().expect("an address"));
    let other = "31.31.7.9".parse().expect("in the network of 31");
    assert!(may(&mut overlay, Newcomer { address: name("ws://one.example:4001"), ..newcomer(31) }));
    overlay.pass(GROUP_EVERY - MILLISECOND);
    assert!(!may(&mut overlay, Newcomer { path: other, address: name("ws://two.example:4001"), n: 22 }));
    assert!(may(&mut overlay, newcomer(32)), "another network");
    overlay.pass(MILLISECOND);
    assert!(!may(&mut overlay, newcomer(33)), "that was a moment ago");
    overlay.pass(SWAP_INTERVAL);
    assert!(may(&mut overlay, Newcomer { path: other, address: name("ws://two.example:4001"), n: 22 }));
}

#[test]
fn the_network_of_an_address_counts_once_its_node_has_a_slot() {
    let mut overlay = full();
    // A stranger elsewhere names an address in the network of 31, where another node answers.
    let (link, probed) = insist(&mut overlay, Newcomer { address: Some(far(31)), ..newcomer(21) });
    assert!(probed);
    call!(overlay.on_pending_probed(link, &far(31), (Some(identity(31)), false)));
    overlay.pass(SWAP_INTERVAL);
    let (link, probed) = insist(&mut overlay, Newcomer { address: Some(beside(31, 7)), ..newcomer(22) });
    assert!(probed, "a claim alone keeps nobody out");
    // Two are probed before the first of them gets its slot.
    overlay.pass(SWAP_INTERVAL);
    let (second, probed) = insist(&mut overlay, Newcomer { address: Some(beside(31, 8)), ..newcomer(23) });
    assert!(probed);
    assert!(call!(overlay.on_pending_probed(link, &beside(31, 7), (Some(identity(22)), false))));
    assert!(is_admitted(&overlay, link));
    assert!(call!(overlay.on_pending_probed(second, &beside(31, 8), (Some(identity(23)), false))));
    assert!(overlay.closing(second));
    let third = |overlay: &mut Overlay| may(overlay, Newcomer { address: Some(beside(31, 9)), ..newcomer(24) });
    overlay.pass(GROUP_EVERY - MILLISECOND);
    assert!(!third(&mut overlay));
    overlay.pass(MILLISECOND);
    assert!(third(&mut overlay));
}

#[test]
fn nodes_on_this_host_do_not_share_a_limit() {
    let mut overlay = full();
    for link in overlay.conns.links.iter().map(|(link, _)| link).collect::<Vec<_>>() {
        overlay.conns.links.get_mut(link).expect("open").scope = crate::address::Scope::Loopback;
    }
    for n in [21, 22, 23] {
        let address = Some(crate::testing::net::address(n.into()));
        assert!(may(&mut overlay, Newcomer { n, path: HERE, address }));
        overlay.pass(SWAP_INTERVAL);
    }
}

#[test]
fn a_swap_needs_an_address_that_others_can_dial_and_room_for_two_links() {
    for (newcomer, probes) in [
        (info(21), true),
        (NodeInfo { max_peers: None, ..info(21) }, true),
        (NodeInfo { max_peers: Some(2), ..info(21) }, true),
        (NodeInfo { max_peers: Some(1), ..info(21) }, false),
        (at(21, None), false),
        (at(21, Some("ws://10.0.0.1:4001".parse().expect("private"))), false),
        (at(21, Some(crate::testing::net::address(0))), false),
    ] {
        let mut overlay = full();
        let link = overlay.pending_peer(21);
        call!(overlay.on_introduced(link, &newcomer, Vec::new()));
        call!(overlay.on_join(link, &Join { insist: true, ..Join::default() }));
        assert_eq!(overlay.done().probes.len(), usize::from(probes), "{newcomer:?}");
        assert_eq!(overlay.closing(link), !probes, "{newcomer:?}");
    }
}

#[test]
fn an_address_that_cannot_be_probed_now_gets_no_swap() {
    let mut overlay = full();
    overlay.learn(21);
    overlay.peers.book.set_state(&far(21), AddressState::Attempting);
    let link = ask(&mut overlay, 21, true);
    assert!(overlay.closing(link));
}

#[test]
fn the_slot_goes_to_the_newcomer_and_its_holder_is_referred_to_it() {
    let mut overlay = full();
    overlay.conns.links.get_mut(LinkId(12)).expect("open").brought = 1;
    let link = ask(&mut overlay, 21, true);
    overlay.done();
    assert!(call!(overlay.on_pending_probed(link, &far(21), (Some(identity(21)), false))));
    let done = overlay.done();
    assert_eq!(done.codes(), [(11, close::TRY_AGAIN_LATER)]);
    let declined = done.declined(LinkId(11)).expect("DECLINED");
    assert_eq!((declined.addresses.first(), declined.retry_after), (Some(&far(21)), 60));
    assert_eq!(declined.addresses.iter().filter(|address| **address == far(21)).count(), 1);
    assert_eq!(declined.root, Some(session(0)));
    assert!(is_admitted(&overlay, link));
    assert_eq!(overlay.cx.counters.slots_swapped, 1);
    assert_eq!(overlay.membership.slots.lately_referred(overlay.cx.now).collect::<Vec<_>>(), [&far(11)]);
    let raised = overlay.raised();
    let swapped = raised.iter().find(|event| event.contains("SlotSwapped")).expect("reported");
    assert!(swapped.contains("21.21") && swapped.contains("11.11"), "{swapped}");
    assert_eq!(overlay.membership.slots.swapped_old, None, "the link was young");
}

#[test]
fn a_probe_that_finds_another_node_or_none_ends_in_a_refusal() {
    let other_run = UpgradeIdentity { session: session(99), ..identity(21) };
    for found in [None, Some(identity(22)), Some(other_run)] {
        let mut overlay = full();
        let link = ask(&mut overlay, 21, true);
        overlay.done();
        assert!(call!(overlay.on_pending_probed(link, &far(21), (found, false))));
        assert_eq!(overlay.done().codes(), [(21, close::TRY_AGAIN_LATER)], "{found:?}");
        assert_eq!(overlay.state(&far(21)), Some(AddressState::Waiting));
        assert_eq!((overlay.cx.counters.slots_swapped, overlay.cx.counters.slots_declined), (0, 1));
    }
}

#[test]
fn a_slot_that_became_free_meanwhile_is_given_without_a_swap() {
    let mut overlay = full();
    let link = ask(&mut overlay, 21, true);
    overlay.end(LinkId(11));
    overlay.done();
    assert!(call!(overlay.on_pending_probed(link, &far(21), (Some(identity(21)), false))));
    assert!(is_admitted(&overlay, link) && !overlay.closing(LinkId(12)));
    assert_eq!(overlay.cx.counters.slots_swapped, 0);
}

#[test]
fn a_newcomer_is_refused_if_no_link_may_be_swapped_any_more() {
    let mut overlay = full();
    let link = ask(&mut overlay, 21, true);
    for n in [11, 12] {
        overlay.know(n);
        overlay.peers.book.get_mut(&far(n)).expect("there").known = true;
    }
    overlay.done();
    assert!(call!(overlay.on_pending_probed(link, &far(21), (Some(identity(21)), false))));
    assert_eq!(overlay.done().codes(), [(21, close::TRY_AGAIN_LATER)]);
}

#[test]
fn other_probes_are_not_taken_for_one_of_a_newcomer() {
    let mut overlay = full();
    assert!(!call!(overlay.on_pending_probed(LinkId(11), &far(11), (Some(identity(11)), false))), "it is linked");
    assert!(!call!(overlay.on_pending_probed(LinkId(99), &far(21), (None, false))), "it is gone");
    let waiting = knock(&mut overlay, 21);
    assert!(!call!(overlay.on_pending_probed(waiting, &far(21), (Some(identity(21)), false))), "it did not insist");
    let closing = ask(&mut overlay, 22, true);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    assert!(!call!(overlay.on_pending_probed(closing, &far(22), (Some(identity(22)), false))), "it is closing");
}

#[test]
fn links_are_released_in_the_order_of_their_use() {
    let mut overlay = Overlay::capped(20);
    overlay.dialled(30);
    overlay.accepted(31);
    overlay.accepted(32);
    overlay.conns.links.get_mut(LinkId(32)).expect("open").brought = 1;
    overlay.pass(OLD);
    overlay.accepted(33);
    overlay.accepted(34);
    overlay.conns.links.get_mut(LinkId(34)).expect("open").brought = 1;
    overlay.dialled(35);
    let accepted = [33, 34, 31, 32].map(LinkId);
    assert_eq!(call!(overlay.links_to_release(false)), accepted, "young before old, idle before useful");
    assert_eq!(call!(overlay.links_to_release(true)), [33, 34, 31, 32, 35, 30].map(LinkId));
}

#[test]
fn links_of_known_peers_exercise_peers_and_two_to_one_node_are_not_released() {
    let mut overlay = Overlay::capped(20);
    overlay.know(30);
    overlay.accepted(30);
    overlay.exercise(31);
    overlay.pending_peer(32);
    let closing = overlay.accepted(33);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    overlay.asking(34, crate::dial_reason::DialReason::slot());
    for link in [1, 2] {
        overlay.conns.links.open(LinkId(link), ip(35), None, LinkState::Client, overlay.cx.now);
        overlay.conns.links.set_native(LinkId(link), LinkState::Established(native(35)));
    }
    assert_eq!(call!(overlay.links_to_release(true)), [], "none of these");
    // A link that we dialled to the same node would keep the slot.
    overlay.accepted(37);
    overlay.conns.links.open(LinkId(3), ip(37), Some(far(37)), LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(3), LinkState::HelloSent(native(37)));
    overlay.accepted(36);
    assert_eq!(call!(overlay.links_to_release(false)), [LinkId(36)]);
    overlay.conns.links.close(&mut overlay.cx, LinkId(1), close::NORMAL, "");
    assert!(call!(overlay.links_to_release(false)).contains(&LinkId(2)), "the other link to its node is closing");
}

#[test]
fn old_links_are_swapped_once_a_minute() {
    let mut overlay = full();
    overlay.pass(OLD - MILLISECOND);
    let swap = |overlay: &mut Overlay| {
        let Overlay { cx, peers, conns, membership } = overlay;
        membership.link_to_swap(cx, peers, conns, &far(21))
    };
    overlay.membership.slots.swapped_old = Some(overlay.cx.now);
    assert!(swap(&mut overlay).is_some(), "they are not old yet");
    overlay.pass(MILLISECOND);
    assert_eq!(swap(&mut overlay), None);
    overlay.pass(OLD_SWAP_INTERVAL - MILLISECOND * 2);
    assert_eq!(swap(&mut overlay), None);
    overlay.pass(MILLISECOND);
    assert!(swap(&mut overlay).is_some());
    overlay.membership.slots.swapped_old = None;
    let link = ask(&mut overlay, 21, true);
    assert!(call!(overlay.on_pending_probed(link, &far(21), (Some(identity(21)), false))));
    assert_eq!(overlay.membership.slots.swapped_old, Some(overlay.cx.now), "that was one");
}

#[test]
fn a_link_is_swapped_only_if_its_other_end_may_learn_the_address_of_the_newcomer() {
    let mut overlay = full();
    let home: PeerAddress = "ws://192.168.0.7:4001".parse().expect("private");
    let Overlay { cx, peers, conns, membership } = &mut overlay;
    assert_eq!(membership.link_to_swap(cx, peers, conns, &home), None);
    conns.links.get_mut(LinkId(12)).expect("open").scope = crate::address::Scope::Private;
    assert_eq!(membership.link_to_swap(cx, peers, conns, &home), Some(LinkId(12)));
}

#[test]
fn a_peer_is_referred_to_others_and_waits_a_minute() {
    let mut overlay = full();
    call!(overlay.refer(LinkId(11), None, "why"));
    let done = overlay.done();
    assert_eq!(done.closed, [(11, close::TRY_AGAIN_LATER, "why".to_owned())]);
    let declined = done.declined(LinkId(11)).expect("DECLINED");
    assert_eq!((declined.addresses, declined.retry_after), (vec![far(12)], 60));
    assert_eq!(overlay.membership.slots.lately_referred(overlay.cx.now).count(), 1);
    // A peer whose address was not verified is not named to others.
    let mut peer = native(13);
    (peer.id, peer.address) = (node(13), None);
    overlay.conns.links.open(LinkId(13), ip(13), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(13), LinkState::Established(peer));
    call!(overlay.refer(LinkId(13), Some(&far(12)), "why"));
    assert_eq!(overlay.membership.slots.lately_referred(overlay.cx.now).count(), 1);
    let declined = overlay.done().declined(LinkId(13)).expect("DECLINED");
    assert_eq!(declined.addresses, [far(12), far(11)], "the one given comes first, and once");
}

#[test]
fn an_id_is_in_no_network_group_that_has_swapped() {
    assert_eq!(place_of(&PeerAddress::of_node(node(1), [])), None);
    assert!(place_of(&far(20)).is_some());
}
