//! The states of addresses, and their timers.

use crate::peers::address_book::*;
use crate::testing::overlay::{Overlay, far};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn dials_and_probes_under_way_are_counted() {
    let mut book = AddressBook::default();
    let states = [
        (AddressState::Attempting, 1),
        (AddressState::Attempting, 1),
        (AddressState::Probing(LinkId(1)), 1),
        (AddressState::Waiting, 0),
        (AddressState::Queued, 0),
        (AddressState::Probing(LinkId(1)), 1),
        (AddressState::Connected(LinkId(1)), 0),
        (AddressState::Myself, 0),
    ];
    for (state, count) in states {
        book.set_state(&far(20), state);
        assert_eq!(book.in_flight(), count, "{state:?}");
    }
    assert_eq!(book.others(), 0, "our own address is no other");
    book.set_state(&far(21), AddressState::Attempting);
    book.set_state(&far(22), AddressState::Attempting);
    assert_eq!((book.in_flight(), book.others()), (2, 2));
    assert_eq!(book.attempting().collect::<Vec<_>>(), [&far(21), &far(22)]);
}

#[test]
fn an_address_is_made_due_if_it_waits_and_never_later_than_it_was() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    let at = |overlay: &mut Overlay, seconds: u32| {
        let Overlay { cx, peers, .. } = overlay;
        let at = cx.now + SECOND * seconds;
        peers.book.dial_at(cx, &address, at);
        overlay.dial_due(&address)
    };
    assert_eq!(at(&mut overlay, 5), Some(SECOND * 5));
    assert_eq!(at(&mut overlay, 6), Some(SECOND * 5));
    assert_eq!(at(&mut overlay, 4), Some(SECOND * 4));
    assert!(!overlay.peers.book.is_idle(&overlay.cx, &address));
    overlay.cx.timers.cancel(&Timer::Dial(address.clone()));
    assert!(overlay.peers.book.is_idle(&overlay.cx, &address));
    overlay.peers.book.set_state(&address, AddressState::Attempting);
    assert_eq!(at(&mut overlay, 1), None);
    assert!(!overlay.peers.book.is_idle(&overlay.cx, &address));
    assert!(!overlay.peers.book.is_idle(&overlay.cx, &far(99)));
    overlay.peers.book.dial_at(&mut overlay.cx, &far(99), Instant::now());
    assert_eq!(overlay.dial_due(&far(99)), None);
}

#[test]
fn each_failure_in_a_row_is_counted_and_the_address_waits() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    overlay.peers.book.set_state(&address, AddressState::Attempting);
    for failures in 1..=7 {
        let wait = overlay.peers.book.back_off(&mut overlay.cx, &address).expect("it is kept");
        assert_eq!(overlay.dial_due(&address), Some(wait));
        assert_eq!(overlay.peers.book.get(&address).expect("there").failures, failures);
        assert_eq!(overlay.state(&address), Some(AddressState::Waiting));
    }
    overlay.cx.timers.cancel(&Timer::Dial(address.clone()));
    assert_eq!(overlay.peers.book.back_off(&mut overlay.cx, &address), None, "the eighth");
    assert_eq!((overlay.state(&address), overlay.dial_due(&address)), (None, None));
}

#[test]
fn where_many_are_known_those_that_were_never_up_get_time_to_start() {
    let least = crate::limits::Limits::default().backoff_min;
    for (known, up, longer) in [(8, false, false), (9, false, true), (9, true, false)] {
        let mut overlay = Overlay::with(|config| config.known_peers = (20..20 + known).map(far).collect());
        let address = overlay.know(20);
        overlay.peers.book.get_mut(&address).expect("there").last_up = up.then_some(overlay.cx.now);
        let wait = overlay.peers.book.back_off(&mut overlay.cx, &address).expect("known");
        assert_eq!(wait > least, longer, "{known}, {up}: {wait:?}");
    }
}

#[test]
fn a_long_back_off_takes_the_longest_wait() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    overlay.peers.book.set_state(&address, AddressState::Connected(LinkId(1)));
    overlay.peers.book.back_off_long(&mut overlay.cx, &address);
    assert_eq!(overlay.dial_due(&address), Some(SECOND * 60));
    assert_eq!(overlay.state(&address), Some(AddressState::Waiting));
}

#[test]
fn an_address_that_leads_to_us_is_reported_once_and_dialled_again_much_later() {
    let mut overlay = Overlay::mesh();
    let address = overlay.learn(20);
    overlay.cx.timers.set(Timer::Dial(address.clone()), overlay.cx.now);
    overlay.peers.book.found_self(&mut overlay.cx, &address);
    assert_eq!(overlay.done().names(), ["SelfDialled"]);
    let later = Some(SECOND * 60);
    assert_eq!((overlay.state(&address), overlay.dial_due(&address)), (Some(AddressState::Myself), later));
    overlay.peers.book.found_self(&mut overlay.cx, &address);
    overlay.peers.book.doubt_self(&overlay.cx, &address);
    assert_eq!(overlay.state(&address), Some(AddressState::Waiting), "another node may have it now");
    overlay.peers.book.found_self(&mut overlay.cx, &address);
    assert!(overlay.done().is_nothing(), "once");
    let own = overlay.cx.config.address.clone();
    overlay.peers.book.set_state(&own, AddressState::Myself);
    overlay.peers.book.doubt_self(&overlay.cx, &own);
    assert_eq!(overlay.state(&own), Some(AddressState::Myself), "that is ours");
}

#[test]
fn an_address_that_we_had_and_what_led_to_us_may_be_of_others_later() {
    let mut overlay = Overlay::mesh();
    let (old, alias, new) = (overlay.cx.config.address.clone(), overlay.learn(20), far(30));
    let Overlay { cx, peers, .. } = &mut overlay;
    peers.book.add(&old, AddressSource::Known, cx.now, &cx.config.limits);
    peers.book.set_state(&old, AddressState::Myself);
    peers.book.found_self(cx, &alias);
    peers.book.change_own(cx, &new);
    assert_eq!(overlay.cx.config.address, new);
    assert_eq!(
        [&old, &alias, &new].map(|at| overlay.state(at)),
        [None, Some(AddressState::Waiting), Some(AddressState::Myself)]
    );
    assert_eq!(overlay.dial_due(&alias), Some(Duration::ZERO), "it shows at once whose it is");
    assert_eq!(overlay.dial_due(&new), None);
    // One that the user names is dialled like others.
    overlay.cx.config.known_peers = vec![new.clone()];
    let Overlay { cx, peers, .. } = &mut overlay;
    peers.book.change_own(cx, &old);
    assert_eq!((overlay.state(&new), overlay.dial_due(&new)), (Some(AddressState::Waiting), Some(Duration::ZERO)));
    assert_eq!(overlay.state(&old), Some(AddressState::Myself));
}

#[test]
fn a_known_peer_that_led_to_us_is_dialled_when_the_user_names_it_again() {
    let mut overlay = Overlay::mesh();
    let alias = overlay.learn(20);
    let Overlay { cx, peers, .. } = &mut overlay;
    peers.book.found_self(cx, &alias);
    peers.book.set_known(cx, std::slice::from_ref(&alias));
    assert_eq!(overlay.state(&alias), Some(AddressState::Waiting));
}

#[test]
fn the_nearest_source_decides_how_near_a_name_may_lead() {
    let (mut book, now, limits) = (AddressBook::default(), Instant::now(), Limits::default());
    for (source, reach) in [
        (AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork), Scope::Public),
        (AddressSource::SelfAnnounced(Scope::Private, crate::ip_prefix::SourceGroup::LocalNetwork), Scope::Private),
        (AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork), Scope::Private),
        (AddressSource::Known, Scope::Loopback),
    ] {
        book.add(&far(20), source, now, &limits);
        assert_eq!(book.get(&far(20)).expect("there").reach, reach, "{source:?}");
    }
}

#[test]
fn links_to_known_peers_are_those_to_which_their_addresses_lead() {
    let mut overlay = Overlay::mesh();
    overlay.know(20);
    overlay.know(21);
    overlay.learn(22);
    for (n, link) in [(20, 1), (22, 2), (23, 1)] {
        overlay.peers.book.set_state(&far(n), AddressState::Connected(LinkId(link)));
    }
    assert_eq!(overlay.peers.book.known_links(), BTreeSet::from([LinkId(1)]));
    assert_eq!(overlay.peers.book.leading_to(LinkId(1)), [far(20), far(23)]);
    assert_eq!(overlay.peers.book.leading_to(LinkId(3)), []);
    let connected: Vec<_> = overlay.peers.book.connected().map(|(address, link)| (address.clone(), link.0)).collect();
    assert_eq!(connected, [(far(20), 1), (far(22), 2), (far(23), 1)]);
}

#[test]
fn an_address_is_displaced_if_it_failed_may_be_forgotten_or_was_never_up_and_is_idle() {
    let limits = Limits { peer_table: 1, ..Limits::default() };
    let gossiped = AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork);
    let hello = AddressSource::SelfAnnounced(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork);
    // The state of the one address, its failures, how long ago it was up; which sources displace
    // it.
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
    for (state, failures, up, by_gossip, by_itself) in [
        (AddressState::Waiting, 0, None, false, true),
        (AddressState::Queued, 0, None, false, true),
        (AddressState::Waiting, 1, None, true, true),
        (AddressState::Waiting, 1, hours(1), true, true),
        (AddressState::Waiting, 0, hours(1), false, false),
        (AddressState::Waiting, 0, hours(24), true, true),
        (AddressState::Attempting, 1, None, false, false),
        (AddressState::Connected(LinkId(1)), 1, None, false, false),
    ] {
        for (source, displaces) in [(gossiped, by_gossip), (hello, by_itself)] {
            let (mut book, start) = (AddressBook::default(), Instant::now());
            book.add(&far(20), gossiped, start, &limits);
            let now = start + Duration::from_secs(100 * 3_600);
            let peer = book.get_mut(&far(20)).expect("there");
            (peer.failures, peer.last_up) = (failures, up.map(|up| now - up));
            book.set_state(&far(20), state);
            assert!(book.is_full(&limits));
            assert_eq!(
                book.add(&far(21), source, now, &limits),
                displaces,
                "{state:?}, {failures}, {up:?}, {source:?}"
            );
            assert_eq!(book.get(&far(20)).is_none(), displaces);
        }
    }
}

#[test]
fn an_address_that_its_node_named_is_displaced_by_others_of_its_own_group_alone() {
    let limits = Limits { peer_table: 1, ..Limits::default() };
    let group = |n| crate::ip_prefix::SourceGroup::of(std::net::IpAddr::from([203, 0, 113, n]));
    let source = |n| AddressSource::SelfAnnounced(Scope::Public, group(n));
    let (mut book, now) = (AddressBook::default(), Instant::now());
    assert!(book.add(&far(20), source(1), now, &limits));
    assert!(!book.add(&far(21), source(2), now, &limits), "many groups would keep it from being dialled");
    assert!(book.add(&far(21), source(1), now, &limits));
    assert!(book.get(&far(20)).is_none());
}

#[test]
fn an_address_that_was_never_up_is_displaced_before_one_that_was() {
    let limits = Limits { peer_table: 3, ..Limits::default() };
    let (mut book, now) = (AddressBook::default(), Instant::now());
    for (n, failures, up) in [(20, 9, Some(5)), (21, 1, None), (22, 9, Some(9))] {
        book.add(
            &far(n),
            AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
            now,
            &limits,
        );
        let peer = book.get_mut(&far(n)).expect("there");
        (peer.failures, peer.last_up) = (failures, up.map(|up| now + SECOND * up));
    }
    for (n, gone) in [(30, 21), (31, 20), (32, 22)] {
        assert!(book.add(
            &far(n),
            AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
            now,
            &limits
        ));
        assert_eq!(book.get(&far(gone)).map(|peer| peer.state), None, "{gone}");
    }
}

#[test]
fn addresses_that_the_user_named_are_outside_the_bound() {
    let limits = Limits { peer_table: 1, ..Limits::default() };
    let (mut book, now) = (AddressBook::default(), Instant::now());
    for n in 20..25 {
        assert!(book.add(&far(n), AddressSource::Known, now, &limits));
    }
    assert!(!book.is_full(&limits));
    assert!(book.add(
        &far(30),
        AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
        now,
        &limits
    ));
    assert!(
        book.is_full(&limits)
            && !book.add(
                &far(31),
                AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
                now,
                &limits
            )
    );
}

#[test]
fn an_address_in_use_is_not_forgotten() {
    let limits = Limits::default();
    let (mut book, now) = (AddressBook::default(), Instant::now());
    book.add(
        &far(20),
        AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork),
        now,
        &limits,
    );
    book.get_mut(&far(20)).expect("there").failures = limits.forget_failures - 1;
    assert!(!book.forget(&far(20), now, &limits), "one failure less");
    book.get_mut(&far(20)).expect("there").failures = limits.forget_failures;
    book.set_state(&far(20), AddressState::Attempting);
    assert!(!book.forget(&far(20), now, &limits));
    book.set_state(&far(20), AddressState::Queued);
    assert!(book.forget(&far(20), now, &limits));
    assert!(!book.forget(&far(20), now, &limits), "it is gone");
}
