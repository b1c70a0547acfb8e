//! The dialer with an address book, a context and scores, without a node.

use crate::address::Scope;
use crate::id::LinkId;
use crate::limits::Limits;
use crate::peers::Peers;
use crate::peers::address_book::{AddressBook, AddressSource, AddressState};
use crate::peers::dialer::*;
use crate::testing::overlay::{Overlay, far};

/// Makes an address due; every claim of a link is unverified if `claims` says so.
fn due(overlay: &mut Overlay, address: &PeerAddress, claims: bool) -> Due {
    let Overlay { cx, peers, .. } = overlay;
    let Peers { book, dialer, reputation, .. } = peers;
    dialer.on_due(cx, book, reputation, &|_| claims.then_some(SourceGroup::Host), address.clone())
}

fn ended(overlay: &mut Overlay) {
    let Overlay { cx, peers, .. } = overlay;
    let Peers { book, dialer, reputation, .. } = peers;
    dialer.on_dial_ended(cx, book, reputation, &|_| None);
}

fn dial_for(overlay: &mut Overlay, address: &PeerAddress) -> bool {
    let Overlay { cx, peers, .. } = overlay;
    let Peers { book, dialer, reputation, .. } = peers;
    dialer.dial_for(cx, book, reputation, &|_| None, address, DialReason::Shuffle)
}

fn probe(overlay: &mut Overlay, link: u64, address: &PeerAddress) -> bool {
    let Overlay { cx, peers, .. } = overlay;
    peers.dialer.probe(cx, &mut peers.book, (LinkId(link), SourceGroup::Host), address)
}

fn probe_later(overlay: &mut Overlay, link: u64, address: &PeerAddress) -> bool {
    let Overlay { cx, peers, .. } = overlay;
    peers.dialer.probe_later(cx, &mut peers.book, LinkId(link), address)
}

#[test]
fn a_due_address_is_dialled() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    assert_eq!(due(&mut overlay, &address, false), Due::Settled);
    let done = overlay.done();
    assert_eq!((done.dials.clone(), done.names()), (vec![far(20)], vec!["Dialling".to_owned()]));
    assert_eq!((overlay.state(&address), overlay.cx.counters.dials), (Some(AddressState::Attempting), 1));
    assert_eq!(due(&mut overlay, &address, false), Due::Settled);
    assert_eq!(due(&mut overlay, &far(99), false), Due::Settled);
    assert!(overlay.done().is_nothing(), "it is in use, and the other one unknown");
}

#[test]
fn with_a_cap_an_address_is_dialled_for_a_reason_only() {
    let mut overlay = Overlay::capped(8);
    let address = overlay.learn(20);
    assert_eq!(due(&mut overlay, &address, false), Due::Idle);
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.state(&address), Some(AddressState::Waiting));
    overlay.cx.timers.set(Timer::Dial(address.clone()), overlay.cx.now);
    assert!(dial_for(&mut overlay, &address));
    assert_eq!((overlay.done().dials, overlay.dial_due(&address)), (vec![far(20)], None));
    assert_eq!(overlay.peers.dialer.reasons().collect::<Vec<_>>(), [&DialReason::Shuffle]);
    assert_eq!(overlay.peers.dialer.take_reason(&address), Some(DialReason::Shuffle));
    assert_eq!(overlay.peers.dialer.take_reason(&address), None);
}

/// Sets what an address has seen: its failures, and whether it led to a node.
fn seen(overlay: &mut Overlay, address: &PeerAddress, failures: u32, was_up: bool) {
    let now = overlay.cx.now;
    overlay.cx.timers.set(Timer::Dial(address.clone()), now + Duration::from_secs(50));
    let peer = overlay.peers.book.get_mut(address).expect("there");
    (peer.failures, peer.last_up) = (failures, was_up.then_some(now));
}

#[test]
fn what_failed_while_the_line_was_cut_is_dialled_once_it_is_back() {
    let mut overlay = Overlay::with(|config| config.wan = true);
    let by_id = |n| PeerAddress::of_node(crate::testing::parts::node(n), []);
    let (linked, named) = (overlay.learn(20), overlay.book(&by_id(21), AddressSource::Known));
    let learned = overlay.book(&by_id(22), AddressSource::Gossiped(Scope::Public, SourceGroup::Host));
    let (known, fine, declined, dialled) = (overlay.know(23), overlay.learn(24), overlay.learn(25), overlay.learn(26));
    for (address, failures, was_up) in [
        (&linked, 7, true),
        (&named, 7, false),
        (&learned, 7, false),
        (&known, 7, false),
        (&fine, 0, true),
        (&declined, 7, true),
        (&dialled, 7, true),
    ] {
        seen(&mut overlay, address, failures, was_up);
    }
    let now = overlay.cx.now;
    overlay.peers.book.get_mut(&declined).expect("there").declined_until = Some(now + Duration::from_secs(50));
    overlay.cx.timers.cancel(&Timer::Dial(dialled.clone()));
    overlay.peers.book.set_state(&dialled, AddressState::Attempting);
    let back = |overlay: &mut Overlay| {
        let Overlay { cx, peers, .. } = overlay;
        peers.dialer.on_line_back(cx, &mut peers.book);
        let all = [&linked, &named, &learned, &known, &fine, &declined];
        all.map(|address| overlay.dial_due(address).is_some_and(|wait| wait <= REDIAL_WITHIN))
    };
    assert_eq!(back(&mut overlay), [true, true, false, false, false, false]);
    assert_eq!(overlay.dial_due(&dialled), None, "it is being dialled");
    assert_eq!(overlay.peers.book.get(&dialled).map(|peer| peer.failures), Some(0), "and again soon if that fails");
    for address in [&linked, &named] {
        seen(&mut overlay, address, 1, true);
    }
    overlay.pass(REDIAL_EVERY - Duration::from_millis(1));
    assert_eq!(back(&mut overlay), [false; 6], "a line that comes and goes");
    overlay.pass(Duration::from_millis(1));
    assert_eq!(back(&mut overlay)[..2], [true, true]);
}

#[test]
fn of_many_addresses_those_are_dialled_once_the_line_is_back_that_were_up_last() {
    let mut overlay = Overlay::mesh();
    let all: Vec<_> = (11..61).map(|n| overlay.learn(n)).collect();
    for address in &all {
        seen(&mut overlay, address, 7, true);
        overlay.pass(Duration::from_millis(1));
    }
    let Overlay { cx, peers, .. } = &mut overlay;
    peers.dialer.on_line_back(cx, &mut peers.book);
    let due: Vec<_> =
        all.iter().filter(|address| overlay.dial_due(address).is_some_and(|wait| wait <= REDIAL_WITHIN)).collect();
    assert_eq!(due, all[all.len() - REDIALS..].iter().collect::<Vec<_>>());
}

#[test]
fn nothing_is_dialled_during_the_shutdown() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    overlay.cx.shutting_down = true;
    assert_eq!(due(&mut overlay, &address, false), Due::Settled);
    assert!(!dial_for(&mut overlay, &address));
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.peers.dialer.reasons().count(), 0);
}

#[test]
fn an_address_in_use_is_not_dialled_for_a_reason() {
    for state in
        [AddressState::Attempting, AddressState::Queued, AddressState::Myself, AddressState::Probing(LinkId(1))]
    {
        let mut overlay = Overlay::capped(8);
        let address = overlay.learn(20);
        overlay.peers.book.set_state(&address, state);
        assert!(!dial_for(&mut overlay, &address), "{state:?}");
        assert_eq!(overlay.peers.dialer.reasons().count(), 0);
    }
}

#[test]
fn an_address_that_may_be_forgotten_is_not_dialled() {
    let mut overlay = Overlay::capped(8);
    let address = overlay.learn(20);
    overlay.peers.book.get_mut(&address).expect("there").failures = overlay.cx.config.limits.forget_failures;
    assert!(!dial_for(&mut overlay, &address));
    assert_eq!(overlay.state(&address), None);
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.peers.dialer.reasons().count(), 0);
}

#[test]
fn a_banned_address_waits_for_the_end_of_its_ban() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    let until = overlay.cx.now + Duration::from_secs(9);
    overlay.peers.book.get_mut(&address).expect("there").banned_until = Some(until);
    assert!(!dial_for(&mut overlay, &address), "it is put off");
    assert_eq!(overlay.dial_due(&address), Some(Duration::from_secs(9)));
    assert!(overlay.done().is_nothing());
    overlay.cx.now = until;
    due(&mut overlay, &address, false);
    assert_eq!(overlay.done().dials, [address]);
}

#[test]
fn no_more_dials_than_allowed_are_under_way_and_the_first_that_waits_is_next() {
    let mut overlay = Overlay::with(|config| config.limits = Limits { dials_in_flight: 2, ..Limits::default() });
    for n in 20..25 {
        let address = overlay.learn(n);
        due(&mut overlay, &address, false);
    }
    assert_eq!(overlay.done().dials, [far(20), far(21)]);
    assert_eq!(overlay.state(&far(22)), Some(AddressState::Queued));
    ended(&mut overlay);
    assert!(overlay.done().is_nothing(), "both are under way");
    overlay.peers.book.set_state(&far(20), AddressState::Waiting);
    // 22 was linked meanwhile: it is passed over.
    overlay.peers.book.set_state(&far(22), AddressState::Connected(LinkId(1)));
    ended(&mut overlay);
    assert_eq!(overlay.done().dials, [far(23)]);
    for n in [21, 23] {
        overlay.peers.book.set_state(&far(n), AddressState::Waiting);
    }
    ended(&mut overlay);
    assert_eq!(overlay.done().dials, [far(24)]);
}

#[test]
fn a_dial_that_waits_for_others_counts_as_under_way() {
    let mut overlay = Overlay::with(|config| {
        config.max_peers = Some(8);
        config.limits.dials_in_flight = 1;
    });
    let (first, second) = (overlay.learn(20), overlay.learn(21));
    assert!(dial_for(&mut overlay, &first) && dial_for(&mut overlay, &second));
    assert_eq!(overlay.done().dials, [far(20)]);
    overlay.peers.book.set_state(&first, AddressState::Waiting);
    ended(&mut overlay);
    assert_eq!(overlay.done().dials, [far(21)]);
    assert_eq!(overlay.peers.dialer.take_reason(&second), Some(DialReason::Shuffle));
}

#[test]
fn the_reason_of_a_dial_whose_turn_never_comes_is_given_back() {
    let banned = |overlay: &mut Overlay, address: &PeerAddress| {
        let until = overlay.cx.now + Duration::from_secs(9);
        overlay.peers.book.get_mut(address).expect("there").banned_until = Some(until);
        overlay.peers.book.set_state(&far(20), AddressState::Waiting);
        overlay.peers.dialer.take_reason(&far(20));
        ended(overlay);
    };
    let probed = |overlay: &mut Overlay, address: &PeerAddress| {
        overlay.peers.book.set_state(&far(20), AddressState::Connected(LinkId(1)));
        overlay.peers.dialer.take_reason(&far(20));
        assert!(probe(overlay, 7, address));
    };
    let linked = |overlay: &mut Overlay, address: &PeerAddress| {
        overlay.peers.dialer.take_reason(&far(20));
        overlay.peers.book.set_state(address, AddressState::Connected(LinkId(7)));
    };
    let displaced = |overlay: &mut Overlay, address: &PeerAddress| {
        overlay.peers.dialer.take_reason(&far(20));
        overlay.cx.config.limits.peer_table = 2;
        overlay.peers.book.get_mut(address).expect("there").failures = 1;
        assert_ne!(overlay.learn(22), *address);
        assert_eq!(overlay.state(address), None);
    };
    let ways: [fn(&mut Overlay, &PeerAddress); 4] = [banned, probed, linked, displaced];
    for (number, way) in ways.into_iter().enumerate() {
        let mut overlay = Overlay::with(|config| {
            config.max_peers = Some(8);
            config.limits.dials_in_flight = 1;
        });
        let (first, second) = (overlay.learn(20), overlay.learn(21));
        assert!(dial_for(&mut overlay, &first) && dial_for(&mut overlay, &second));
        let Peers { dialer, book, .. } = &mut overlay.peers;
        assert_eq!(dialer.take_unused(book), None, "{number}: both are under way");
        way(&mut overlay, &second);
        let Peers { dialer, book, .. } = &mut overlay.peers;
        assert_eq!(dialer.take_unused(book), Some((second, DialReason::Shuffle)), "{number}");
        assert_eq!((dialer.take_unused(book), dialer.reasons().count()), (None, 0), "{number}");
    }
}

#[test]
fn an_order_names_the_groups_that_named_the_address_the_user_first() {
    let mut overlay = Overlay::mesh();
    let groups: Vec<SourceGroup> = (1..6).map(|n| SourceGroup::of(std::net::IpAddr::from([203, 0, 113, n]))).collect();
    let known = overlay.book(&far(20), AddressSource::Known);
    let learned = overlay.book(&far(21), AddressSource::Gossiped(Scope::Public, groups[0]));
    for address in [&known, &learned] {
        for group in [&groups[..], &groups[4..]].concat() {
            overlay.peers.book.note_source(address, Scope::Public, group);
        }
        due(&mut overlay, address, false);
    }
    let ordered = std::iter::from_fn(|| overlay.cx.poll_output()).filter_map(|output| match output {
        Output::Dial { sources, .. } => Some(sources),
        _ => None,
    });
    let expected = [[&[SourceGroup::User], &groups[2..5]].concat(), groups[1..5].to_vec()];
    assert_eq!(ordered.collect::<Vec<_>>(), expected, "four at most, the latest ones");
}

#[test]
fn this_host_is_dialled_as_often_as_there_are_addresses() {
    let mut overlay = Overlay::mesh();
    for n in 1..20 {
        let address = overlay.book(&crate::testing::net::address(n), AddressSource::Known);
        due(&mut overlay, &address, false);
    }
    assert_eq!(overlay.done().dials.len(), 19);
}

#[test]
fn a_dial_reaches_no_nearer_than_who_named_the_address_could() {
    let name = PeerAddress::new("example.org", 4001).expect("an address");
    for (source, address, reach) in [
        (AddressSource::Known, name.clone(), Scope::Loopback),
        (
            AddressSource::Gossiped(Scope::Private, crate::ip_prefix::SourceGroup::LocalNetwork),
            name.clone(),
            Scope::Private,
        ),
        (AddressSource::SelfAnnounced(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork), name, Scope::Public),
        (AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork), far(20), Scope::Public),
        (
            AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
            crate::testing::net::address(3),
            Scope::Loopback,
        ),
    ] {
        let mut overlay = Overlay::mesh();
        overlay.book(&address, source);
        due(&mut overlay, &address, false);
        let dialled = std::iter::from_fn(|| overlay.cx.poll_output()).find_map(|output| match output {
            Output::Dial { reach, .. } => Some(reach),
            _ => None,
        });
        assert_eq!(dialled, Some(reach), "{address} of {source:?}");
    }
}

#[test]
fn a_probe_takes_the_place_of_a_dial_within_the_same_limits() {
    let mut overlay = Overlay::with(|config| config.limits.dials_in_flight = 1);
    let address = overlay.learn(20);
    overlay.cx.timers.set(Timer::Dial(address.clone()), overlay.cx.now);
    assert!(probe(&mut overlay, 7, &address));
    assert_eq!(overlay.done().probes, [(7, far(20))]);
    assert_eq!(overlay.state(&address), Some(AddressState::Probing(LinkId(7))));
    assert_eq!((overlay.dial_due(&address), overlay.cx.counters.probes), (None, 1));
    let other = overlay.learn(21);
    assert!(!probe(&mut overlay, 7, &other), "no room");
    overlay.peers.book.set_state(&address, AddressState::Connected(LinkId(7)));
    assert!(!probe(&mut overlay, 7, &address), "it is in use");
    overlay.peers.book.set_state(&other, AddressState::Queued);
    assert!(probe(&mut overlay, 7, &other), "one that waits for a dial may be probed");
    assert!(!probe(&mut overlay, 7, &far(99)), "an unknown address");
}

#[test]
fn a_probe_is_counted_for_the_claimant_whoever_else_named_the_address() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    overlay.peers.book.note_source(&address, Scope::Public, SourceGroup::User);
    let claims = |overlay: &mut Overlay| {
        std::iter::from_fn(|| overlay.cx.poll_output()).find_map(|output| match output {
            Output::Probe { sources, .. } => Some(sources),
            _ => None,
        })
    };
    assert!(probe(&mut overlay, 7, &address));
    assert_eq!(claims(&mut overlay), Some(vec![SourceGroup::Host]));
    overlay.peers.book.set_state(&address, AddressState::Waiting);
    overlay.peers.book.get_mut(&address).expect("there").claimed = Some(LinkId(7));
    due(&mut overlay, &address, true);
    assert_eq!(claims(&mut overlay), Some(vec![SourceGroup::Host]), "a probe that was put off");
}

#[test]
fn a_claim_that_waits_is_probed_when_its_address_is_due() {
    for (unverified, probed) in [(true, true), (false, false)] {
        let mut overlay = Overlay::mesh();
        let address = overlay.learn(20);
        overlay.peers.book.get_mut(&address).expect("there").claimed = Some(LinkId(7));
        due(&mut overlay, &address, unverified);
        let done = overlay.done();
        assert_eq!((done.probes.len(), done.dials.len()), (usize::from(probed), usize::from(!probed)));
        assert_eq!(overlay.peers.book.get(&address).expect("there").claimed, None);
    }
}

#[test]
fn a_claim_that_cannot_be_probed_now_is_dialled() {
    let mut overlay = Overlay::with(|config| config.limits.dials_in_flight = 0);
    let address = overlay.learn(20);
    overlay.peers.book.get_mut(&address).expect("there").claimed = Some(LinkId(7));
    due(&mut overlay, &address, true);
    assert_eq!(overlay.state(&address), Some(AddressState::Queued));
}

/// A node that knows so many addresses, from 1 on.
fn knowing(addresses: usize) -> Overlay {
    let mut overlay = Overlay::mesh();
    for n in 1..=addresses {
        overlay.book(&crate::testing::net::address(n), AddressSource::Known);
    }
    overlay
}

#[test]
fn of_many_claims_to_known_addresses_four_are_probed_at_once_and_one_more_every_tenth_of_a_second() {
    let mut overlay = knowing(10);
    let at = crate::testing::net::address;
    let later: Vec<bool> = (1..=7).map(|n| probe_later(&mut overlay, n as u64, &at(n))).collect();
    assert_eq!(later, [false, false, false, false, true, true, true]);
    let due: Vec<_> = (5..=7).map(|n| overlay.dial_due(&at(n)).expect("set").as_millis()).collect();
    assert_eq!(due, [1_100, 1_200, 1_300]);
    assert_eq!(overlay.peers.book.get(&at(5)).expect("there").claimed, Some(LinkId(5)));
    assert_eq!(overlay.dial_due(&at(1)), None);
    overlay.pass(PROBE_EVERY);
    assert!(probe_later(&mut overlay, 8, &at(8)), "seven were used in a tenth of a second");
    overlay.pass(PROBE_EVERY * 6);
    assert!(!probe_later(&mut overlay, 9, &at(9)));
}

#[test]
fn later_claims_do_not_put_a_probe_off() {
    let mut overlay = knowing(10);
    let at = crate::testing::net::address;
    for n in 1..=4 {
        probe_later(&mut overlay, n as u64, &at(n));
    }
    assert!(probe_later(&mut overlay, 5, &at(5)));
    let due = overlay.dial_due(&at(5));
    assert!(probe_later(&mut overlay, 6, &at(5)));
    assert_eq!(overlay.dial_due(&at(5)), due);
    assert_eq!(overlay.peers.book.get(&at(5)).expect("there").claimed, Some(LinkId(6)), "the last claim counts");
    // A dial that was to come before is put off: it is the probe that comes.
    overlay.cx.timers.set(Timer::Dial(at(6)), overlay.cx.now);
    assert!(probe_later(&mut overlay, 7, &at(6)));
    assert!(overlay.dial_due(&at(6)) > Some(PROBE_LATER));
}

#[test]
fn at_most_fifty_probes_wait_and_the_next_are_made_at_once() {
    let mut overlay = knowing(120);
    let waits = (1..=120).filter(|n| probe_later(&mut overlay, *n as u64, &crate::testing::net::address(*n))).count();
    assert_eq!(waits, PROBES_WAITING as usize);
    let last = crate::testing::net::address(54);
    assert_eq!(overlay.dial_due(&last), Some(PROBE_LATER + PROBE_EVERY * PROBES_WAITING));
    assert_eq!(overlay.dial_due(&crate::testing::net::address(55)), None);
    overlay.pass(PROBE_EVERY);
    assert!(probe_later(&mut overlay, 1, &crate::testing::net::address(55)), "the first of them is under way");
    assert!(!probe_later(&mut overlay, 1, &crate::testing::net::address(56)));
}

#[test]
fn only_known_addresses_that_wait_have_their_probe_delayed() {
    let mut overlay = knowing(10);
    let at = crate::testing::net::address;
    for n in 1..=4 {
        probe_later(&mut overlay, n as u64, &at(n));
    }
    let learned = overlay.learn(20);
    assert!(!probe_later(&mut overlay, 20, &learned), "others do not know it yet");
    overlay.peers.book.set_state(&at(5), AddressState::Attempting);
    assert!(!probe_later(&mut overlay, 5, &at(5)), "it is in use");
    assert!(!probe_later(&mut overlay, 99, &far(99)));
    assert!(probe_later(&mut overlay, 6, &at(6)), "these did not count");
    assert_eq!(overlay.dial_due(&at(6)), Some(PROBE_LATER + PROBE_EVERY));
}

#[test]
fn known_peers_are_dialled_from_our_own_address_on_eight_at_once_and_then_one_in_two_milliseconds() {
    let at = crate::testing::net::address;
    let mut overlay = Overlay::with(|config| {
        config.address = at(5);
        config.known_peers = (1..=12).rev().map(at).collect();
    });
    for n in 1..=12 {
        overlay.book(&at(n), AddressSource::Known);
    }
    let Overlay { cx, peers, .. } = &mut overlay;
    peers.dialer.dial_known(cx, &peers.book);
    let order: Vec<usize> = (6..=12).chain(1..=5).collect();
    let due: Vec<_> = order.iter().map(|n| overlay.dial_due(&at(*n)).expect("set").as_millis()).collect();
    assert_eq!(due, [0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 6, 8]);
}

#[test]
fn a_book_without_an_address_has_the_farthest_reach() {
    assert_eq!(AddressBook::default().reach_of(&far(20)), Scope::Public);
}
