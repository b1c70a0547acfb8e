//! Refusals given and received, and slots that are won, by one component without a node.

use std::time::Duration;

use crate::address::{PeerAddress, Scope};
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::io::Output;
use crate::ip_prefix::SourceGroup;
use crate::membership::slots::tests::admission::ask;
use crate::membership::slots::{HELD, LONGEST_RETRY, RETRY_AFTER, SHORTEST_RETRY};
use crate::peers::address_book::AddressSource;
use crate::testing::overlay::{Overlay, call, far, session};
use crate::testing::parts::node;
use crate::timers::Timer;
use crate::wire::{Declined, RememberedAddress, RememberedExercise, close};

const SECOND: Duration = Duration::from_secs(1);

fn slot(high_priority: bool) -> DialReason {
    DialReason::Slot { high_priority, referred_by: None }
}

fn declined(addresses: &[u8]) -> Declined {
    Declined { addresses: addresses.iter().map(|n| far(*n)).collect(), ..Declined::default() }
}

#[test]
fn a_refused_peer_gets_other_addresses_a_time_and_our_partition() {
    let mut overlay = Overlay::capped(1);
    overlay.accepted(11);
    let link = ask(&mut overlay, 21, false);
    let done = overlay.done();
    assert_eq!(done.closed, [(21, close::TRY_AGAIN_LATER, "this node has no free slot".to_owned())]);
    let sent = done.declined(link).expect("DECLINED");
    assert_eq!((sent.addresses, sent.retry_after, sent.root), (vec![far(11)], 30, Some(session(0))));
    assert_eq!(overlay.cx.counters.slots_declined, 1);
    assert!(done.events.iter().any(|event| matches!(event, Event::Declined { others: 1, .. })), "{:?}", done.events);
}

#[test]
fn a_flood_of_refusals_is_logged_twenty_times_in_ten_seconds_and_counted_always() {
    let mut overlay = Overlay::capped(1);
    overlay.accepted(11);
    let logged = |overlay: &mut Overlay, n| {
        ask(overlay, n, false);
        overlay.done().names().iter().filter(|name| *name == "Declined").count()
    };
    let lines: usize = (20..50).map(|n| logged(&mut overlay, n)).sum();
    assert_eq!(lines, 20);
    overlay.pass(SECOND * 10);
    assert_eq!(logged(&mut overlay, 50), 1);
    assert_eq!(overlay.cx.counters.slots_declined, 31);
}

#[test]
fn a_refused_request_ends_its_link_and_the_first_address_named_is_asked_next() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.asking(21, slot(false));
    let refusal = Declined { dropped: 2, retry_after: 30, ..declined(&[30, 31]) };
    call!(overlay.on_declined(link, &refusal));
    let done = overlay.done();
    assert_eq!(done.closed, [(21, close::NORMAL, "goodbye".to_owned())]);
    assert_eq!(done.dials.first(), Some(&far(30)));
    assert_eq!((overlay.cx.counters.slots_refused, overlay.cx.counters.addresses_dropped), (1, 2));
    let refused = done.events.iter().find_map(|event| match event {
        Event::DeclinedBy { others, next, retry_in, .. } => Some((*others, next.clone(), *retry_in)),
        _ => None,
    });
    let (others, next, retry_in) = refused.expect("reported");
    assert_eq!((others, next), (2, Some(far(30))));
    assert!(retry_in >= RETRY_AFTER && retry_in <= RETRY_AFTER.mul_f64(1.5), "{retry_in:?}");
    assert_eq!(overlay.membership.search.refusals, 1);
    let peer = overlay.peers.book.get(&far(21)).expect("there");
    assert_eq!((peer.declines, peer.declined_until), (1, Some(overlay.cx.now + retry_in)));
    assert_eq!(peer.last_up, Some(overlay.cx.now), "it answered");
}

#[test]
fn addresses_that_a_refusal_may_not_name_are_left_out() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.asking(21, slot(false));
    let home = "ws://10.0.0.1:4001".parse().expect("private");
    call!(overlay.on_declined(link, &Declined { addresses: vec![home, far(30)], ..Declined::default() }));
    assert_eq!(overlay.cx.counters.addresses_out_of_scope, 1);
    assert_eq!(overlay.done().dials, [far(30)]);
    assert!(overlay.state(&"ws://10.0.0.1:4001".parse().expect("private")).is_none());
}

#[test]
fn a_peer_that_gives_our_slot_away_sends_us_to_the_first_address_it_names() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.dialled(21);
    overlay.dialled(22);
    call!(overlay.on_declined(link, &declined(&[30, 31])));
    let done = overlay.done();
    assert_eq!(done.dials, [far(30)]);
    let reason = overlay.peers.dialer.take_reason(&far(30));
    assert_eq!(reason, Some(DialReason::Slot { high_priority: false, referred_by: Some(node(21)) }));
    let next = done.events.iter().find_map(|event| match event {
        Event::SlotTaken { next, .. } => Some(next.clone()),
        _ => None,
    });
    assert_eq!(next, Some(Some(far(30))));
    assert_eq!(overlay.membership.search.refusals, 0, "no request was refused");
}

#[test]
fn without_a_cap_the_addresses_of_a_refusal_are_dialled_as_those_of_a_handshake() {
    let mut overlay = Overlay::mesh();
    let link = overlay.dialled(21);
    call!(overlay.on_declined(link, &declined(&[30])));
    let done = overlay.done();
    assert!(done.dials.is_empty(), "its timer dials it");
    assert_eq!(overlay.dial_due(&far(30)), Some(Duration::ZERO));
    assert!(overlay.membership.search.hints.is_empty());
}

#[test]
fn each_refusal_in_a_row_doubles_the_wait_from_five_seconds_to_ten_minutes() {
    let mut overlay = Overlay::capped(8);
    let address = overlay.learn(21);
    let mut wait = |retry_after, declines| {
        let peer = overlay.peers.book.get_mut(&address).expect("there");
        (peer.declines, peer.failures) = (declines, 3);
        let Overlay { cx, peers, conns, membership } = &mut overlay;
        let wait = membership.note_declined(cx, peers, conns, &address, retry_after);
        let peer = peers.book.get(&address).expect("there");
        assert_eq!((peer.declines, peer.failures), (declines + 1, 0));
        assert_eq!((peer.declined_until, peer.last_up), (Some(cx.now + wait), Some(cx.now)));
        wait.as_secs_f64()
    };
    for (retry_after, declines, least) in [
        (0, 0, 5.0),
        (4, 0, 5.0),
        (6, 0, 6.0),
        (30, 0, 30.0),
        (30, 1, 60.0),
        (30, 2, 120.0),
        (30, 4, 480.0),
        (30, 5, 600.0),
        (5, 6, 320.0),
        (5, 60, 320.0),
        (599, 0, 599.0),
        (601, 0, 600.0),
        (u64::MAX, 0, 600.0),
    ] {
        let waited = wait(retry_after, declines);
        assert!((least..=least * 1.5).contains(&waited), "{retry_after} after {declines}: {waited}");
    }
    assert_eq!((SHORTEST_RETRY.as_secs(), LONGEST_RETRY.as_secs()), (5, 600));
    let Overlay { cx, peers, conns, membership } = &mut overlay;
    assert_eq!(membership.note_declined(cx, peers, conns, &far(77), 90), RETRY_AFTER, "an unknown address");
}

#[test]
fn a_node_without_a_cap_and_without_a_link_comes_back_soon() {
    for (linked, cap, least) in [(false, None, 5.0), (true, None, 90.0), (false, Some(8), 90.0)] {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        let address = overlay.learn(21);
        if linked {
            overlay.accepted(30);
        }
        let Overlay { cx, peers, conns, membership } = &mut overlay;
        let wait = membership.note_declined(cx, peers, conns, &address, 90).as_secs_f64();
        assert!((least..=least * 1.5).contains(&wait), "{linked}, {cap:?}: {wait}");
    }
}

#[test]
fn the_partition_in_a_refusal_is_looked_at() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.asking(21, slot(false));
    call!(overlay.on_declined(link, &Declined { root: Some(session(9)), ..declined(&[]) }));
    assert_eq!(overlay.membership.search.visit_next, Some(far(21)), "our own root is too young to act");
}

#[test]
fn after_a_refusal_another_node_of_that_partition_is_met() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.asking(21, slot(false));
    call!(overlay.on_declined(link, &Declined { root: Some(session(9)), ..declined(&[30]) }));
    assert_eq!(overlay.membership.search.visit_next, Some(far(30)), "the first one would refuse again");
}

#[test]
fn a_slot_that_is_won_ends_the_search_for_it() {
    let mut overlay = Overlay::capped(1);
    overlay.membership.search.refused();
    overlay.membership.search.refused();
    let link = overlay.asking(21, slot(false));
    let peer = overlay.peers.book.get_mut(&far(21)).expect("there");
    (peer.declines, peer.declined_until) = (3, Some(overlay.cx.now + SECOND));
    call!(overlay.on_slot_won(link));
    let peer = overlay.peers.book.get(&far(21)).expect("there");
    assert_eq!((peer.declines, peer.declined_until, peer.last_up), (0, None, Some(overlay.cx.now)));
    assert_eq!(overlay.membership.search.refusals, 0);
    assert_eq!(overlay.done().sent("BEACON"), [21]);
    assert_eq!(overlay.due(&Timer::PeerCache), Some(SECOND * 3));
    assert_eq!(overlay.membership.slots.reserved, None, "it was no high priority request");
}

#[test]
fn after_a_high_priority_request_a_slot_is_reserved_for_the_node_that_is_referred_to_us() {
    for (cap, reserved) in [(1, false), (2, true)] {
        let mut overlay = Overlay::capped(cap);
        let link = overlay.asking(21, slot(true));
        call!(overlay.on_slot_won(link));
        let expected = reserved.then(|| (node(21), overlay.cx.now + HELD));
        assert_eq!(overlay.membership.slots.reserved, expected, "a cap of {cap}");
    }
    let mut overlay = Overlay::capped(4);
    let link = overlay.accepted(21);
    call!(overlay.on_slot_won(link));
    assert_eq!(overlay.membership.slots.reserved, None, "it asked us");
}

#[test]
fn a_node_with_a_cap_begins_with_a_search_and_its_timers() {
    let remembered: Vec<_> = (20..25).map(far).collect();
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(8);
        config.remembered_peers = remembered.iter().cloned().map(Into::into).collect();
        config.known_peers = vec![far(30)];
    });
    overlay.know(30);
    overlay.membership.begin(&mut overlay.cx, &mut overlay.peers);
    assert!(remembered.iter().all(|address| overlay.state(address).is_some()));
    assert!(remembered.iter().all(|address| !overlay.peers.book.get(address).expect("there").known));
    for timer in [Timer::SlotSearch, Timer::Partition] {
        assert_eq!(overlay.due(&timer), Some(Duration::ZERO), "{timer:?}");
    }
    assert!(overlay.due(&Timer::Shuffle).is_some() && overlay.due(&Timer::Rewire).is_some());
    assert!(overlay.membership.bootstrap.is_joining());
    assert!(overlay.done().is_nothing(), "no dial comes before the first input");
    assert_eq!(overlay.dial_due(&far(30)), None);
}

#[test]
fn a_node_without_a_cap_begins_with_all_known_peers_or_with_its_bootstrap_node() {
    let plain = |genesis: Option<crate::address::PeerAddress>| {
        let mut overlay = Overlay::with(|config| {
            config.known_peers = vec![far(30)];
            config.remembered_peers = vec![far(20).into()];
            config.genesis = genesis;
        });
        overlay.know(30);
        overlay.membership.begin(&mut overlay.cx, &mut overlay.peers);
        overlay
    };
    let overlay = plain(None);
    assert_eq!(overlay.dial_due(&far(30)), Some(Duration::ZERO));
    assert_eq!((overlay.due(&Timer::SlotSearch), overlay.state(&far(20))), (None, None));
    assert!(!overlay.membership.bootstrap.is_joining());
    let overlay = plain(Some(far(40)));
    assert_eq!(overlay.dial_due(&far(30)), None, "it waits for the bootstrap node");
    assert_eq!(overlay.due(&Timer::SlotSearch), Some(Duration::ZERO));
    assert!(overlay.state(&far(20)).is_some() && overlay.membership.bootstrap.is_joining());
    assert!(overlay.due(&Timer::Shuffle).is_none() && overlay.due(&Timer::Partition).is_none());
}

#[test]
fn no_more_of_the_peer_cache_is_read_than_is_written() {
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(8);
        let port = |port| crate::address::PeerAddress::new("203.0.113.9", port).expect("an address");
        config.remembered_peers = (1..=300).map(port).map(Into::into).collect();
    });
    overlay.membership.begin(&mut overlay.cx, &mut overlay.peers);
    assert_eq!(overlay.peers.book.others(), 256);
}

#[test]
fn a_name_of_the_local_network_may_lead_there_after_a_restart_too() {
    let name = |host: &str| PeerAddress::new(host, 5001).expect("an address");
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(8);
        let near = RememberedAddress { address: name("pc7.lan"), reach: Scope::Private };
        config.remembered_peers = vec![near, name("example.org").into()];
        let (address, reach) = (name("pc8.lan"), Scope::Private);
        config.remembered_exercise = vec![RememberedExercise { address, reach, drops: 0, position: Some(7) }];
    });
    overlay.membership.begin(&mut overlay.cx, &mut overlay.peers);
    let reached = [("pc7.lan", Scope::Private), ("pc8.lan", Scope::Private), ("example.org", Scope::Public)];
    for (host, reach) in reached {
        assert_eq!(overlay.peers.book.reach_of(&name(host)), reach, "{host}");
    }
    // It is saved again as it was.
    for (host, _) in reached {
        overlay.peers.book.get_mut(&name(host)).expect("there").last_up = Some(overlay.cx.now);
    }
    // What an IP address and a name of this host lead to they show themselves.
    for near in ["192.168.1.7", "localhost"].map(name) {
        overlay.book(&near, AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host));
        overlay.peers.book.get_mut(&near).expect("there").last_up = Some(overlay.cx.now);
    }
    overlay.done();
    overlay.membership.save_peer_cache(&mut overlay.cx, &mut overlay.peers, Vec::new());
    let [Output::SavePeerCache { addresses, .. }] = &overlay.done().others[..] else { panic!("it is saved") };
    let saved: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(
        saved,
        [
            "ws://example.org:5001",
            "ws://localhost:5001",
            "ws://pc7.lan:5001 private",
            "ws://pc8.lan:5001 private",
            "ws://192.168.1.7:5001"
        ]
    );
}

#[test]
fn a_referral_ends_the_back_off_of_an_address_once_in_a_minute() {
    let mut overlay = Overlay::capped(8);
    // It is not forgotten when its dials fail.
    overlay.know(60);
    let refer = |overlay: &mut Overlay, n: u8| {
        overlay.peers.book.back_off(&mut overlay.cx, &far(60));
        let link = overlay.dialled(n);
        let declined = Declined { addresses: vec![far(60)], ..Declined::default() };
        call!(overlay.on_declined(link, &declined));
        overlay.peers.dialer.take_reason(&far(60));
        overlay.done().dials
    };
    assert_eq!(refer(&mut overlay, 20), [far(60)]);
    assert!(refer(&mut overlay, 21).is_empty(), "a liar may aim us at it");
    overlay.pass(Duration::from_secs(60));
    assert_eq!(refer(&mut overlay, 22), [far(60)]);
    // One that waits for nothing is dialled at once.
    overlay.learn(61);
    let link = overlay.dialled(23);
    call!(overlay.on_declined(link, &Declined { addresses: vec![far(61)], ..Declined::default() }));
    assert_eq!(overlay.done().dials, [far(61)]);
}
