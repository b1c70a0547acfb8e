//! The records alone, with an address book and a context.

use std::net::Ipv4Addr;

use crate::peers::address_book::AddressState;
use crate::peers::lan_discovery::*;
use crate::testing::overlay::{Overlay, session};
use crate::testing::parts::node;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The address of node `n` on the local network.
fn at(n: u8) -> PeerAddress {
    PeerAddress::new(&Ipv4Addr::new(10, 7, 0, n).to_string(), 4001).expect("an address")
}

fn record(n: u8, free: Option<u32>) -> Record {
    Record { node: node(n), session: session(n), network: "test".into(), address: at(n), free }
}

/// A record is heard from the local network; returns whether the records are to be scanned.
fn hear_from(overlay: &mut Overlay, linked: &[u8], record: Result<Record, InvalidRecord>, scope: Scope) -> bool {
    let Overlay { cx, peers, .. } = overlay;
    let linked = linked.iter().map(|n| node(*n)).collect();
    peers.lan.on_discovered(cx, &mut peers.book, &linked, record, scope)
}

fn hear(overlay: &mut Overlay, record: Record) -> bool {
    hear_from(overlay, &[], Ok(record), Scope::Private)
}

fn scan(overlay: &mut Overlay, linked: &[u8]) -> bool {
    let Overlay { cx, peers, .. } = overlay;
    let linked = linked.iter().map(|n| node(*n)).collect();
    peers.lan.look_through(cx, &mut peers.book, &linked)
}

fn freest(overlay: &mut Overlay, linked: &[u8], lacking: bool) -> Option<PeerAddress> {
    let Overlay { cx, peers, .. } = overlay;
    let linked = linked.iter().map(|n| node(*n)).collect();
    peers.lan.freest(cx, &peers.book, &linked, lacking)
}

/// A node with an id above the records' if `greater`.
fn overlay(cap: Option<u32>, greater: bool) -> Overlay {
    Overlay::with(|config| {
        config.max_peers = cap;
        config.node = node(if greater { 200 } else { 1 });
    })
}

#[test]
fn records_of_ourselves_other_networks_and_other_scopes_are_left_out() {
    let mut overlay = overlay(None, true);
    let other = |change: fn(&mut Record)| {
        let mut record = record(20, None);
        change(&mut record);
        Ok(record)
    };
    let own = Ok(Record { session: overlay.cx.config.session, ..record(20, None) });
    assert!(!hear_from(&mut overlay, &[], own, Scope::Private));
    assert_eq!(overlay.cx.counters.records_heard, 0);
    assert!(!hear_from(&mut overlay, &[], Err(InvalidRecord("id")), Scope::Private));
    assert!(!hear_from(&mut overlay, &[], other(|record| record.network = "other".into()), Scope::Private));
    assert!(!hear_from(&mut overlay, &[], other(|record| record.address = at(20).secured()), Scope::Private));
    let home = other(|record| record.address = crate::testing::net::address(3));
    assert!(!hear_from(&mut overlay, &[], home.clone(), Scope::Private));
    let counters = &overlay.cx.counters;
    let counts =
        [counters.records_heard, counters.records_malformed, counters.records_foreign, counters.records_out_of_scope];
    assert_eq!(counts, [4, 1, 2, 1]);
    assert!(overlay.done().is_nothing() && overlay.peers.lan.records.is_empty());
    assert!(hear_from(&mut overlay, &[], home, Scope::Loopback), "from this host");
    overlay.cx.shutting_down = true;
    assert!(!hear(&mut overlay, record(21, None)));
}

#[test]
fn a_new_record_is_logged_twenty_times_in_ten_seconds_and_a_repeated_one_never() {
    let mut overlay = overlay(None, true);
    for n in 20..50 {
        hear(&mut overlay, record(n, None));
    }
    assert_eq!(overlay.done().events.len(), 20);
    overlay.pass(Duration::from_secs(10));
    hear(&mut overlay, record(20, Some(3)));
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.peers.lan.records[&session(20)].free, Some(3), "its slots are kept");
    hear(&mut overlay, Record { address: at(99), ..record(20, None) });
    assert_eq!(overlay.done().names(), ["LanPeerFound"], "it moved");
}

#[test]
fn with_no_room_the_oldest_record_goes_and_that_of_a_linked_node_last() {
    let mut overlay = overlay(None, true);
    let many = |n: usize| {
        let [high, low] = u16::try_from(n).expect("few").to_be_bytes();
        let session = Session::from_random([7, high, low, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        Record { session, node: node((n % 2) as u8 + 20), ..record(30, None) }
    };
    for n in 0..limits::RECORDS {
        hear_from(&mut overlay, &[20], Ok(many(n)), Scope::Private);
        overlay.pass(MILLISECOND);
    }
    assert_eq!(overlay.cx.counters.records_without_room, 0);
    hear_from(&mut overlay, &[20], Ok(many(5_000)), Scope::Private);
    assert_eq!((overlay.peers.lan.records.len(), overlay.cx.counters.records_without_room), (limits::RECORDS, 1));
    assert!(overlay.peers.lan.records.contains_key(&many(0).session), "its node is linked");
    assert!(!overlay.peers.lan.records.contains_key(&many(1).session));
    let known = Record { address: at(77), ..many(2) };
    hear_from(&mut overlay, &[20], Ok(known), Scope::Private);
    assert_eq!(overlay.cx.counters.records_without_room, 1, "a changed record takes no more room");
}

#[test]
fn a_record_of_a_known_address_has_it_dialled_a_second_later_in_a_full_mesh() {
    for (cap, linked, known, dialled) in [
        (None, false, true, true),
        (None, true, true, false),
        (None, false, false, false),
        (Some(8), false, true, false),
    ] {
        let mut overlay = overlay(cap, true);
        if known {
            overlay.book(&at(20), AddressSource::Gossiped(Scope::Private, crate::ip_prefix::SourceGroup::LocalNetwork));
        }
        hear_from(&mut overlay, if linked { &[20] } else { &[] }, Ok(record(20, None)), Scope::Private);
        assert_eq!(overlay.dial_due(&at(20)), dialled.then_some(DEFER), "{cap:?}, {linked}, {known}");
    }
}

#[test]
fn an_ended_record_is_counted_once() {
    let mut overlay = overlay(None, true);
    hear(&mut overlay, record(20, None));
    for _ in 0..2 {
        overlay.peers.lan.on_expired(&mut overlay.cx, session(20));
    }
    assert_eq!(overlay.cx.counters.records_ended, 1);
    assert!(!scan(&mut overlay, &[]), "there are none");
}

#[test]
fn the_node_with_the_lower_id_dials_at_once_and_the_other_a_second_later() {
    for (cap, greater, wait) in
        [(None, false, Duration::ZERO), (None, true, DEFER), (Some(8), false, GATHER), (Some(8), true, DEFER)]
    {
        let mut overlay = overlay(cap, greater);
        hear(&mut overlay, record(20, None));
        if !wait.is_zero() {
            overlay.pass(wait - MILLISECOND);
            assert!(scan(&mut overlay, &[]));
            assert_eq!(overlay.state(&at(20)), None);
            assert_eq!(overlay.due(&Timer::Discover), Some(MILLISECOND));
            overlay.pass(MILLISECOND);
        }
        assert!(scan(&mut overlay, &[]));
        assert_eq!(overlay.state(&at(20)), Some(AddressState::Waiting));
        assert_eq!(overlay.dial_due(&at(20)).is_some(), cap.is_none(), "with a cap it waits for a slot");
        assert_eq!(overlay.due(&Timer::Discover), Some(LOOK_EVERY));
        assert_eq!(overlay.peers.book.get(&at(20)).expect("there").reach, Scope::Private);
    }
}

#[test]
fn a_second_run_of_our_own_folder_is_dialled_a_second_later() {
    let mut overlay = overlay(None, false);
    hear(&mut overlay, Record { node: node(1), ..record(20, None) });
    scan(&mut overlay, &[]);
    assert_eq!(overlay.state(&at(20)), None);
    overlay.pass(DEFER);
    scan(&mut overlay, &[]);
    assert!(overlay.state(&at(20)).is_some());
}

#[test]
fn two_records_of_one_address_need_room_for_one() {
    let mut overlay = overlay(None, false);
    hear(&mut overlay, record(20, None));
    hear(&mut overlay, Record { address: at(20), ..record(21, None) });
    scan(&mut overlay, &[]);
    assert_eq!((overlay.peers.book.others(), overlay.cx.counters.addresses_without_room), (1, 0));
}

#[test]
fn linked_nodes_known_addresses_and_those_tried_a_moment_ago_are_passed_over() {
    let mut overlay = overlay(None, false);
    hear(&mut overlay, record(20, None));
    assert!(scan(&mut overlay, &[20]));
    assert_eq!(overlay.state(&at(20)), None, "linked");
    overlay.book(&at(20), AddressSource::Gossiped(Scope::Private, crate::ip_prefix::SourceGroup::LocalNetwork));
    scan(&mut overlay, &[]);
    assert_eq!(overlay.peers.lan.records[&session(20)].tried, None, "known");
    let forget = |overlay: &mut Overlay| {
        overlay.peers.book.get_mut(&at(20)).expect("there").failures = 99;
        let Overlay { cx, peers, .. } = overlay;
        assert!(peers.book.forget(&at(20), cx.now, &cx.config.limits));
    };
    forget(&mut overlay);
    // What was forgotten is not taken again from gossip for the longest back-off.
    overlay.pass(Duration::from_secs(60));
    scan(&mut overlay, &[]);
    forget(&mut overlay);
    overlay.pass(AGAIN - MILLISECOND);
    scan(&mut overlay, &[]);
    assert_eq!(overlay.state(&at(20)), None);
    overlay.pass(MILLISECOND);
    scan(&mut overlay, &[]);
    assert!(overlay.state(&at(20)).is_some());
    overlay.cx.shutting_down = true;
    assert!(!scan(&mut overlay, &[]));
}

#[test]
fn records_add_addresses_at_the_rate_of_a_peer() {
    let mut overlay = overlay(None, false);
    overlay.cx.config.limits.gossip_burst = 3;
    for n in 20..26 {
        hear(&mut overlay, record(n, None));
    }
    scan(&mut overlay, &[]);
    assert_eq!(overlay.peers.book.others(), 3);
    assert_eq!(overlay.due(&Timer::Discover), Some(Duration::from_secs(1)), "the next one");
    overlay.pass(Duration::from_secs(1) - MILLISECOND);
    scan(&mut overlay, &[]);
    assert_eq!(overlay.peers.book.others(), 3);
    overlay.pass(MILLISECOND);
    scan(&mut overlay, &[]);
    assert_eq!(overlay.peers.book.others(), 4);
}

#[test]
fn records_of_this_host_have_no_rate() {
    let mut overlay = overlay(None, false);
    overlay.cx.config.limits.gossip_burst = 1;
    for n in 20..26 {
        let here = Record { address: crate::testing::net::address(n.into()), ..record(n, None) };
        hear_from(&mut overlay, &[], Ok(here), Scope::Loopback);
    }
    scan(&mut overlay, &[]);
    assert_eq!(overlay.peers.book.others(), 6);
}

#[test]
fn a_full_address_book_has_no_room_for_a_record() {
    let mut overlay = overlay(None, false);
    overlay.cx.config.limits.peer_table = 0;
    hear(&mut overlay, record(20, None));
    scan(&mut overlay, &[]);
    assert_eq!((overlay.state(&at(20)), overlay.cx.counters.addresses_without_room), (None, 1));
}

#[test]
fn the_freest_idle_node_is_chosen_every_other_time() {
    let mut overlay = overlay(Some(8), false);
    for (n, free) in [(20, Some(2)), (21, Some(5)), (22, Some(0))] {
        hear(&mut overlay, record(n, free));
        overlay.book(&at(n), AddressSource::Gossiped(Scope::Private, crate::ip_prefix::SourceGroup::LocalNetwork));
    }
    let chosen: Vec<_> = (0..4).map(|_| freest(&mut overlay, &[], false)).collect();
    assert_eq!(chosen, [Some(at(21)), None, Some(at(21)), None]);
    assert_eq!(freest(&mut overlay, &[21], false), Some(at(20)), "the freest is linked");
    freest(&mut overlay, &[], false);
    assert_eq!(freest(&mut overlay, &[20, 21], false), None, "none announces a slot");
    assert_eq!(freest(&mut overlay, &[20, 21], true), Some(at(22)), "while links are lacking any will do");
    freest(&mut overlay, &[], false);
    overlay.peers.book.set_state(&at(21), AddressState::Attempting);
    assert_eq!(freest(&mut overlay, &[], false), Some(at(20)), "the freest is in use");
    freest(&mut overlay, &[], false);
    hear(&mut overlay, record(22, None));
    assert_eq!(freest(&mut overlay, &[], false), Some(at(22)), "a node without a cap has a slot for every node");
}

#[test]
fn free_slots_are_announced_at_the_start_and_when_they_change() {
    let mut overlay = overlay(Some(8), false);
    hear(&mut overlay, record(20, None));
    overlay.done();
    let announced = |overlay: &mut Overlay| {
        let outputs = overlay.done().others;
        let free = outputs.iter().map(|output| match output {
            Output::AdvertiseSlots { free } => *free,
            other => panic!("{other:?}"),
        });
        free.collect::<Vec<_>>()
    };
    overlay.peers.lan.on_started(&mut overlay.cx, Some(3));
    assert_eq!(announced(&mut overlay), [Some(3)]);
    assert!(overlay.peers.lan.records.is_empty(), "earlier records are dropped");
    assert_eq!(overlay.due(&Timer::Advertise), Some(ADVERTISE_EVERY));
    overlay.peers.lan.advertise(&mut overlay.cx, Some(3));
    assert_eq!(announced(&mut overlay), []);
    overlay.peers.lan.advertise(&mut overlay.cx, Some(2));
    assert_eq!(announced(&mut overlay), [Some(2)]);
    overlay.peers.lan.on_started(&mut overlay.cx, Some(2));
    assert_eq!(announced(&mut overlay), [Some(2)], "discovery was started again");
    overlay.cx.timers.cancel(&Timer::Advertise);
    overlay.peers.lan.on_started(&mut overlay.cx, None);
    assert_eq!((announced(&mut overlay), overlay.due(&Timer::Advertise)), (vec![None], None), "no cap: once");
    overlay.cx.shutting_down = true;
    overlay.peers.lan.advertise(&mut overlay.cx, Some(9));
    assert_eq!(announced(&mut overlay), []);
}
