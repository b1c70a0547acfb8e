//! Node ids among addresses.

use super::*;
use crate::address::PeerAddress;
use crate::connections::table::NativePeer;
use crate::ip_prefix::NetworkGroup;
use crate::testing::overlay::{identity, info};
use crate::testing::parts::node;
use crate::wire::{Declined, Join, NodeInfo, Sample, Want};

fn by_id(n: u8) -> PeerAddress {
    PeerAddress::of_node(node(n), ["relay.example:1".parse().expect("a relay")])
}

fn capped(wan: bool) -> Overlay {
    Overlay::with(|config| (config.max_peers, config.wan) = (Some(8), wan))
}

#[test]
fn of_the_ids_in_peers_and_declined_those_that_can_be_dialled_are_taken() {
    for wan in [true, false] {
        let mut overlay = capped(wan);
        let link = overlay.accepted(20);
        overlay.membership.request_peers(&mut overlay.cx, link, Want::Random);
        let own = PeerAddress::of_node(overlay.cx.config.node, []);
        let sample = Sample { addresses: vec![by_id(30), far(31), own.clone()], dropped: 0, free: None, root: None };
        call!(overlay.on_peers(link, sample));
        let declined = Declined { addresses: vec![by_id(32)], retry_after: 60, ..Declined::default() };
        call!(overlay.on_declined(link, &declined));
        let taken = [by_id(30), far(31), own, by_id(32)].map(|address| overlay.state(&address).is_some());
        assert_eq!(taken, [wan, true, false, wan], "{wan}");
        assert_eq!(overlay.cx.counters.addresses_not_dialable, if wan { 0 } else { 3 });
        assert_eq!(overlay.cx.counters.violations, 0);
    }
}

#[test]
fn a_sample_names_each_peer_once_as_the_asker_reaches_it_and_not_the_asker() {
    let mut overlay = capped(true);
    let lan: PeerAddress = "ws://10.0.0.7:4001".parse().expect("an address");
    for (n, address, wan) in [(20, Some(lan), Some(by_id(20))), (21, None, Some(by_id(21))), (22, Some(far(22)), None)]
    {
        let link = overlay.pending_peer(n);
        let peer = NativePeer { address, wan, ..native(n) };
        overlay.conns.links.set_native(link, LinkState::Established(peer));
    }
    let mut named = |asker: u64| {
        let mut named = call!(overlay.sample_for(LinkId(asker)));
        named.sort_unstable();
        named
    };
    assert_eq!(named(22), [by_id(20), by_id(21)], "the private address is for the private network");
    assert_eq!(named(21), [far(22), by_id(20)]);
    assert_eq!(named(20), [far(22), by_id(21)]);
}

#[test]
fn a_proved_id_needs_no_probe_for_a_swap_and_its_victim_must_dial_ids() {
    // Whether the newcomer is proved, whether peers can be reached by their ids, and what follows.
    for (proved, ids, swaps) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut overlay = Overlay::with(|config| (config.max_peers, config.wan) = (Some(2), true));
        overlay.accept_all(11..13);
        for n in 11..13 {
            if ids {
                overlay.conns.links.get_mut(LinkId(n)).expect("open").confirm_address(&by_id(n as u8));
            }
        }
        let link = overlay.pending_peer(21);
        if proved {
            overlay.conns.links.authenticate(link, node(21));
            overlay.peers.access.authenticate(link, node(21));
        }
        let newcomer = NodeInfo { address: Some(by_id(21)), ..info(21) };
        call!(overlay.on_introduced(link, &newcomer, Vec::new()));
        call!(overlay.on_join(link, &Join { insist: true, ..Join::default() }));
        let done = overlay.done();
        let case = format!("{proved} {ids}");
        assert!(done.probes.is_empty(), "{case}");
        assert_eq!((overlay.closing(link), overlay.cx.counters.slots_swapped), (!swaps, u64::from(swaps)), "{case}");
        if swaps {
            let declined = done.declined(LinkId(11)).or(done.declined(LinkId(12))).expect("one is referred");
            assert_eq!(declined.addresses.first().map(ToString::to_string), Some(by_id(21).to_string()));
            assert_eq!(overlay.state(&by_id(21)), Some(AddressState::Connected(link)));
        }
    }
}

#[test]
fn ids_behind_one_relay_share_a_limit_of_requests_with_priority() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.wan) = (Some(4), true));
    overlay.accept_all(11..15);
    for n in 11..15 {
        overlay.conns.links.get_mut(LinkId(n)).expect("open").confirm_address(&by_id(n as u8));
    }
    let mut swaps = |link: u64, path: u8, n: u8| {
        overlay.pass(SECOND);
        overlay.conns.links.open(LinkId(link), ip(path), None, LinkState::Client, overlay.cx.now);
        overlay.conns.links.authenticate(LinkId(link), node(n));
        overlay.peers.access.authenticate(LinkId(link), node(n));
        call!(overlay.on_introduced(LinkId(link), &NodeInfo { address: Some(by_id(n)), ..info(n) }, Vec::new()));
        call!(overlay.on_join(LinkId(link), &Join { insist: true, ..Join::default() }));
        overlay.cx.counters.slots_swapped
    };
    assert_eq!([swaps(101, 40, 21), swaps(102, 40, 22), swaps(103, 41, 23)], [1, 1, 2]);
    assert_eq!(NetworkGroup::of(&by_id(1)), NetworkGroup::of(&by_id(2)));
}

#[test]
fn a_slot_is_not_sought_at_the_id_of_a_linked_node() {
    let mut overlay = capped(true);
    overlay.accepted(20);
    let source = AddressSource::Gossiped(Scope::Public, SourceGroup::Relayed);
    overlay.book(&by_id(20), source);
    overlay.book(&by_id(21), source);
    for _ in 0..4 {
        call!(overlay.fill_slots());
    }
    assert_eq!(overlay.done().dials, [by_id(21)]);
    assert_eq!(overlay.state(&by_id(20)).filter(|state| matches!(state, AddressState::Attempting)), None);
    assert_eq!(identity(21).node, node(21));
}

#[test]
fn a_bootstrap_node_that_cannot_be_dialled_is_not_waited_for() {
    for wan in [true, false] {
        let mut overlay =
            Overlay::with(|config| (config.max_peers, config.wan, config.genesis) = (Some(8), wan, Some(by_id(20))));
        overlay.membership.bootstrap.wait();
        call!(overlay.begin_bootstrap());
        assert_eq!((overlay.done().dials.len(), overlay.membership.bootstrap.is_joining()), (usize::from(wan), wan));
    }
}
