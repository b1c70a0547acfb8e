use std::collections::BTreeSet;

use crate::address::Scope;
use crate::connections::table::LinkState;
use crate::event::Event;
use crate::membership::shuffle::*;
use crate::testing::overlay::{Overlay, call, far, ip, native, session};
use crate::testing::parts::node;

const MILLISECOND: Duration = Duration::from_millis(1);

/// What waits and did not fail, and is drawn as good.
fn up(overlay: &mut Overlay, n: u8) -> PeerAddress {
    let address = overlay.learn(n);
    overlay.peers.book.get_mut(&address).expect("there").last_up = Some(overlay.cx.now);
    address
}

#[test]
fn shuffles_come_every_twenty_to_forty_seconds_and_sooner_while_a_known_peer_is_new() {
    let wait = |overlay: &mut Overlay| {
        overlay.membership.schedule_shuffle(&mut overlay.cx, &mut overlay.peers);
        overlay.due(&Timer::Shuffle).expect("set")
    };
    let usual = SHUFFLE_INTERVAL..SHUFFLE_INTERVAL * 2;
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    assert!(usual.contains(&wait(&mut overlay)));
    overlay.know(21);
    assert!((FIRST_SHUFFLE_INTERVAL..FIRST_SHUFFLE_INTERVAL * 2).contains(&wait(&mut overlay)));
    overlay.peers.book.get_mut(&far(21)).expect("there").failures = 1;
    assert!(usual.contains(&wait(&mut overlay)), "it failed");
    overlay.peers.book.get_mut(&far(21)).expect("there").failures = 0;
    overlay.peers.book.get_mut(&far(21)).expect("there").last_up = Some(overlay.cx.now);
    assert!(usual.contains(&wait(&mut overlay)), "it was of use");
    overlay.peers.book.get_mut(&far(21)).expect("there").last_up = None;
    overlay.peers.book.set_state(&far(21), AddressState::Attempting);
    assert!(usual.contains(&wait(&mut overlay)), "it is being tried");
}

#[test]
fn a_shuffle_dials_an_address_and_the_next_one_is_scheduled() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    call!(overlay.on_shuffle_due());
    assert_eq!(overlay.done().dials, [far(20)]);
    assert_eq!(overlay.peers.dialer.take_reason(&far(20)), Some(DialReason::Shuffle));
    assert_eq!(overlay.cx.counters.shuffles, 1);
    assert!(overlay.due(&Timer::Shuffle).is_some());
    overlay.cx.timers.cancel(&Timer::Shuffle);
    call!(overlay.on_shuffle_due());
    assert!(overlay.done().is_nothing(), "it is being dialled");
    assert!(overlay.due(&Timer::Shuffle).is_some());
    assert_eq!(overlay.cx.counters.shuffles, 1);
}

#[test]
fn no_shuffle_begins_at_the_end_or_while_joining() {
    for (down, joining) in [(true, false), (false, true)] {
        let mut overlay = Overlay::capped(8);
        overlay.learn(20);
        overlay.cx.shutting_down = down;
        if joining {
            overlay.membership.bootstrap.wait();
        }
        call!(overlay.on_shuffle_due());
        assert!(overlay.done().is_nothing());
        assert!(overlay.due(&Timer::Shuffle).is_some());
    }
}

#[test]
fn an_address_is_drawn_if_it_is_not_in_use_and_does_not_wait_after_a_failure() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(20);
    let can = |overlay: &Overlay| overlay.membership.can_shuffle(&overlay.cx, &overlay.peers, &far(20));
    assert!(can(&overlay));
    overlay.cx.timers.set(Timer::Dial(far(20)), overlay.cx.now);
    assert!(can(&overlay), "it waits, but not after a failure: it declined");
    overlay.peers.book.get_mut(&far(20)).expect("there").failures = 1;
    assert!(!can(&overlay));
    overlay.cx.timers.cancel(&Timer::Dial(far(20)));
    assert!(can(&overlay), "its back-off is over");
    for state in [AddressState::Connected(LinkId(1)), AddressState::Attempting, AddressState::Myself] {
        overlay.peers.book.set_state(&far(20), state);
        overlay.peers.book.get_mut(&far(20)).expect("there").failures = 0;
        assert!(!can(&overlay), "{state:?}");
    }
    assert!(!overlay.membership.can_shuffle(&overlay.cx, &overlay.peers, &far(99)));
}

#[test]
fn new_known_peers_come_first_then_known_ones_in_half_and_good_ones_in_three_of_eight_cases() {
    let mut overlay = Overlay::capped(8);
    overlay.know(20);
    up(&mut overlay, 21);
    overlay.learn(22);
    overlay.peers.book.get_mut(&far(22)).expect("there").failures = 1;
    for _ in 0..20 {
        assert_eq!(overlay.membership.shuffle_candidates(&mut overlay.cx, &mut overlay.peers), [far(20)], "new");
    }
    overlay.peers.book.get_mut(&far(20)).expect("there").last_up = Some(overlay.cx.now);
    let (mut known, mut good, mut all) = (0, 0, 0);
    for _ in 0..800 {
        let choice = overlay.membership.shuffle_candidates(&mut overlay.cx, &mut overlay.peers);
        match choice.len() {
            1 => known += usize::from(choice == [far(20)]),
            2 => good += usize::from(choice == [far(20), far(21)]),
            _ => all += usize::from(choice == [far(20), far(21), far(22)]),
        }
    }
    assert_eq!(known + good + all, 800);
    assert!((340..460).contains(&known) && (240..360).contains(&good), "{known}, {good}, {all}");
    assert!((60..140).contains(&all), "{all}");
}

#[test]
fn where_no_address_is_known_or_good_all_are_drawn() {
    let mut overlay = Overlay::capped(8);
    overlay.learn(22);
    overlay.peers.book.get_mut(&far(22)).expect("there").failures = 1;
    for _ in 0..20 {
        assert_eq!(overlay.membership.shuffle_candidates(&mut overlay.cx, &mut overlay.peers), [far(22)]);
    }
    overlay.peers.book.set_state(&far(22), AddressState::Attempting);
    assert!(overlay.membership.shuffle_candidates(&mut overlay.cx, &mut overlay.peers).is_empty());
}

#[test]
fn a_shuffle_may_be_brought_forward_for_one_address_but_not_put_off() {
    let mut overlay = Overlay::capped(8);
    (20..40).for_each(|n| _ = overlay.learn(n));
    let soon = overlay.cx.now + MILLISECOND * 5;
    overlay.membership.shuffle_soon(&mut overlay.cx, &far(33), soon);
    assert_eq!(overlay.due(&Timer::Shuffle), Some(MILLISECOND * 5));
    overlay.membership.shuffle_soon(&mut overlay.cx, &far(33), soon + MILLISECOND);
    assert_eq!(overlay.due(&Timer::Shuffle), Some(MILLISECOND * 5), "the earlier time stays");
    overlay.membership.shuffle_soon(&mut overlay.cx, &far(34), soon - MILLISECOND);
    assert_eq!(overlay.due(&Timer::Shuffle), Some(MILLISECOND * 4));
    call!(overlay.on_shuffle_due());
    assert_eq!(overlay.done().dials, [far(34)]);
    assert_eq!(overlay.membership.search.visit_next, None, "once");
    overlay.membership.search.visit_next = Some(far(34));
    call!(overlay.on_shuffle_due());
    let dials = overlay.done().dials;
    assert!(dials.len() == 1 && dials[0] != far(34), "it is in use, so another one is drawn");
}

#[test]
fn a_neighbor_is_asked_for_addresses_every_two_seconds() {
    let mut overlay = Overlay::capped(8);
    let ask = |overlay: &mut Overlay| {
        overlay.membership.asked.clear();
        overlay.membership.ask_neighbor(&mut overlay.cx, &mut overlay.conns, Want::Neighbours);
        overlay.done().sent("JOIN")
    };
    assert!(ask(&mut overlay).is_empty());
    overlay.pending_peer(11);
    overlay.exercise(12);
    overlay.asking(13, DialReason::slot());
    let closing = overlay.accepted(14);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    overlay.done();
    assert!(ask(&mut overlay).is_empty(), "none of these is a neighbor");
    overlay.accepted(15);
    assert_eq!(ask(&mut overlay), [15]);
    overlay.pass(NEIGHBOR_INTERVAL - MILLISECOND);
    assert!(ask(&mut overlay).is_empty());
    overlay.pass(MILLISECOND);
    assert_eq!(ask(&mut overlay), [15]);
    overlay.pass(NEIGHBOR_INTERVAL);
    overlay.membership.ask_neighbor(&mut overlay.cx, &mut overlay.conns, Want::Neighbours);
    assert!(overlay.done().is_nothing(), "its answer is awaited");
}

#[test]
fn any_of_the_neighbors_may_be_asked() {
    let mut overlay = Overlay::capped(8);
    overlay.accept_all(11..14);
    let mut asked = BTreeSet::new();
    for _ in 0..60 {
        overlay.membership.asked.clear();
        overlay.membership.ask_neighbor(&mut overlay.cx, &mut overlay.conns, Want::Random);
        asked.extend(overlay.done().sent("JOIN"));
        overlay.pass(NEIGHBOR_INTERVAL);
    }
    assert_eq!(asked, BTreeSet::from([11, 12, 13]));
}

#[test]
fn a_request_for_addresses_names_our_partition_only_with_a_cap() {
    for (cap, root) in [(Some(8), Some(session(0))), (None, None)] {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        let link = overlay.accepted(11);
        overlay.membership.request_peers(&mut overlay.cx, link, Want::Random);
        let join = overlay.done().join(link).expect("JOIN");
        assert_eq!((join.want, join.root, join.insist, join.moved_by), (Some(Want::Random), root, false, None));
        assert!(overlay.membership.asked.contains(&link));
    }
}

#[test]
fn an_answer_holds_our_free_slots_and_our_partition_with_a_cap() {
    for (cap, free, root) in [(Some(8), Some(7), Some(session(0))), (None, None, None)] {
        let mut overlay = Overlay::with(|config| config.max_peers = cap);
        let link = overlay.accepted(11);
        call!(overlay.on_peers_requested(link, Want::Random));
        let sample = overlay.done().sample(link).expect("PEERS");
        assert_eq!((sample.free, sample.root), (free, root));
    }
}

#[test]
fn at_most_eight_addresses_are_sent_and_not_that_of_the_asker() {
    for want in [Want::Random, Want::Neighbours] {
        let mut overlay = Overlay::capped(20);
        overlay.accept_all(11..23);
        call!(overlay.on_peers_requested(LinkId(11), want));
        let sample = overlay.done().sample(LinkId(11)).expect("PEERS").addresses;
        assert_eq!(sample.len(), SAMPLE_SIZE.min(if want == Want::Random { 6 } else { 8 }), "{want:?}");
        assert!(!sample.contains(&far(11)));
    }
}

#[test]
fn neighbors_are_those_to_whom_a_verified_address_leads() {
    let mut overlay = Overlay::capped(20);
    overlay.accepted(11);
    overlay.accepted(12);
    overlay.exercise(13);
    overlay.pending_peer(14);
    overlay.asking(15, DialReason::slot());
    let closing = overlay.accepted(16);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    // A peer that claims an address, and two links to one.
    let claimed = overlay.pending_peer(17);
    let peer = crate::connections::table::NativePeer { address: None, ..native(17) };
    overlay.conns.links.set_native(claimed, LinkState::Established(peer));
    overlay.conns.links.open(LinkId(1), ip(12), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(12)));
    let Overlay { cx, conns, membership, .. } = &mut overlay;
    let mut named = membership.neighbor_addresses(cx, conns, LinkId(11));
    named.sort_unstable();
    assert_eq!(named, [far(12), far(13)]);
    assert!(membership.neighbor_addresses(cx, conns, LinkId(99)).is_empty());
    assert!(!membership.neighbor_addresses(cx, conns, LinkId(1)).contains(&far(12)), "not to itself, on either link");
}

#[test]
fn a_sample_has_referred_nodes_then_neighbors_then_addresses_that_were_up_within_ten_minutes() {
    let mut overlay = Overlay::capped(20);
    overlay.accepted(11);
    overlay.accept_all(30..32);
    for n in [41, 42, 43] {
        overlay.membership.slots.note_referred(overlay.cx.now, far(n));
    }
    up(&mut overlay, 50);
    up(&mut overlay, 51);
    overlay.pass(FRESH - MILLISECOND);
    for n in [41, 42, 43] {
        overlay.membership.slots.note_referred(overlay.cx.now, far(n));
    }
    up(&mut overlay, 52);
    overlay.peers.book.get_mut(&far(52)).expect("there").failures = 1;
    up(&mut overlay, 53);
    overlay.peers.book.set_state(&far(53), AddressState::Attempting);
    overlay.learn(54);
    let sample = call!(overlay.sample_for(LinkId(11)));
    assert_eq!(sample[..2], [far(43), far(42)]);
    assert_eq!(sample[2..4].iter().collect::<BTreeSet<_>>(), [far(30), far(31)].iter().collect());
    assert_eq!(sample[4..].iter().collect::<BTreeSet<_>>(), [far(50), far(51)].iter().collect());
    overlay.pass(MILLISECOND);
    assert_eq!(call!(overlay.sample_for(LinkId(11))).len(), 4, "these were up ten minutes ago");
    assert!(call!(overlay.sample_for(LinkId(99))).is_empty());
}

#[test]
fn a_sample_names_each_address_once_and_neither_ours_nor_one_out_of_scope() {
    let mut overlay = Overlay::capped(20);
    overlay.accept_all(11..13);
    let ourselves = overlay.cx.config.address.clone();
    overlay.conns.links.get_mut(LinkId(11)).expect("open").scope = Scope::Loopback;
    let home: PeerAddress = "ws://10.0.0.1:4001".parse().expect("private");
    for address in [far(12), ourselves.clone()] {
        overlay.membership.slots.note_referred(overlay.cx.now, address);
    }
    assert_eq!(call!(overlay.sample_for(LinkId(11))), [far(12)]);
    overlay.membership.slots.referred.clear();
    overlay.membership.slots.note_referred(overlay.cx.now, home.clone());
    overlay.membership.slots.note_referred(overlay.cx.now, far(11));
    assert_eq!(call!(overlay.sample_for(LinkId(11))), [home, far(12)], "to this host anything");
    assert_eq!(call!(overlay.sample_for(LinkId(12))), [far(11)]);
}

/// Our request was sent on link 20, which was dialled for this.
fn asked(overlay: &mut Overlay, reason: Option<DialReason>) -> LinkId {
    let link = match reason {
        Some(reason) => overlay.asking(20, reason),
        None => overlay.dialled(20),
    };
    overlay.membership.asked.insert(link);
    link
}

fn sample(addresses: &[u8], free: Option<u32>) -> Sample {
    Sample { addresses: addresses.iter().map(|n| far(*n)).collect(), free, ..Sample::default() }
}

#[test]
fn an_answer_without_a_request_is_a_violation_and_teaches_nothing() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.accepted(11);
    call!(overlay.on_peers(link, sample(&[30], None)));
    assert_eq!((overlay.cx.counters.answers_unsolicited, overlay.cx.counters.violations), (1, 1));
    assert_eq!(overlay.state(&far(30)), None);
    assert!(overlay.done().dials.is_empty());
    let link = asked(&mut overlay, None);
    call!(overlay.on_peers(link, sample(&[30], None)));
    assert!(overlay.state(&far(30)).is_some());
    call!(overlay.on_peers(link, sample(&[31], None)));
    assert_eq!((overlay.cx.counters.answers_unsolicited, overlay.state(&far(31))), (2, None), "each request once");
}

#[test]
fn the_answer_to_a_shuffle_ends_its_link_and_a_node_with_a_free_slot_is_asked_next() {
    for (free, hinted) in [(Some(1), true), (Some(0), false), (None, true)] {
        let mut overlay = Overlay::capped(8);
        overlay.accept_all(40..48);
        let link = asked(&mut overlay, Some(DialReason::Shuffle));
        call!(overlay.on_peers(link, Sample { dropped: 3, ..sample(&[30, 31], free) }));
        let done = overlay.done();
        assert_eq!((done.codes(), done.dials.len()), (vec![(20, close::NORMAL)], 0));
        let hints: Vec<_> = overlay.membership.search.hints.iter().cloned().collect();
        assert_eq!(hints, if hinted { vec![far(20)] } else { Vec::new() }, "{free:?}");
        assert_eq!(overlay.cx.counters.addresses_dropped, 3);
        assert!(overlay.state(&far(30)).is_some() && overlay.state(&far(31)).is_some());
    }
}

#[test]
fn the_answer_of_a_neighbor_gives_hints_and_its_link_stays() {
    let mut overlay = Overlay::capped(8);
    let link = asked(&mut overlay, None);
    let home: PeerAddress = "ws://10.0.0.1:4001".parse().expect("private");
    let answer = Sample { addresses: vec![far(30), home.clone(), far(31)], ..Sample::default() };
    call!(overlay.on_peers(link, answer));
    let done = overlay.done();
    assert!(done.closed.is_empty() && !overlay.closing(link));
    assert_eq!(done.dials, [far(30)], "the demand is urgent");
    assert_eq!(overlay.membership.search.hints, [far(31)]);
    assert_eq!((overlay.state(&home), overlay.cx.counters.addresses_out_of_scope), (None, 1));
}

#[test]
fn the_answer_on_a_walk_leads_to_its_next_step() {
    let mut overlay = Overlay::capped(8);
    overlay.accept_all(40..48);
    (overlay.membership.rewiring.steps, overlay.membership.rewiring.dials) = (3, 3);
    let link = asked(&mut overlay, Some(DialReason::Walk));
    call!(overlay.on_peers(link, sample(&[30], Some(0))));
    let done = overlay.done();
    assert_eq!((done.codes(), done.dials), (vec![(20, close::NORMAL)], vec![far(30)]));
    assert_eq!(overlay.peers.dialer.take_reason(&far(30)), Some(DialReason::Walk));
}

#[test]
fn the_answer_of_the_bootstrap_node_ends_its_link_and_names_whom_to_try() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (Some(8), Some(far(20))));
    overlay.membership.bootstrap.wait();
    let link = asked(&mut overlay, Some(DialReason::Bootstrap));
    call!(overlay.on_peers(link, sample(&[30], Some(0))));
    let done = overlay.done();
    assert_eq!((done.codes(), done.dials.len()), (vec![(20, close::NORMAL)], 0));
    assert_eq!(overlay.membership.bootstrap.named, [far(30)], "once the link is closed");
}

#[test]
fn the_partition_in_an_answer_is_looked_at() {
    let mut overlay = Overlay::capped(8);
    let link = asked(&mut overlay, Some(DialReason::Shuffle));
    call!(overlay.on_peers(link, Sample { root: Some(session(9)), ..sample(&[], None) }));
    assert_eq!(overlay.membership.search.visit_next, Some(far(20)));
}

#[test]
fn new_addresses_are_kept_and_in_a_full_mesh_dialled() {
    for cap in [Some(8), None] {
        let mut overlay = Overlay::with(|config| {
            config.max_peers = cap;
            config.limits.peer_table = 2;
        });
        let link = overlay.pending_peer(11);
        let known = overlay.learn(30);
        let new = call!(overlay.add_addresses(link, &[known, far(31), far(32), far(33)]));
        assert_eq!((new, overlay.cx.counters.addresses_without_room), (1, 2));
        assert_eq!((overlay.dial_due(&far(31)).is_some(), overlay.dial_due(&far(30))), (cap.is_none(), None));
        assert_eq!(overlay.state(&far(32)), None);
    }
}

#[test]
fn of_a_handshake_sixteen_addresses_are_read_with_a_cap() {
    let mut overlay = Overlay::capped(8);
    let link = overlay.accepted(11);
    let named: Vec<_> = (30..47).map(far).collect();
    call!(overlay.learn_for_slots(link, &named));
    assert!(overlay.state(&far(45)).is_some() && overlay.state(&far(46)).is_none());
    let done = overlay.done();
    assert!(matches!(&done.events[0], Event::AddressesLearned { addresses: 16, peer } if peer.node == Some(node(11))));
    assert!(!done.dials.is_empty(), "the demand is urgent");
    call!(overlay.learn_for_slots(link, &named[..2]));
    assert!(!overlay.done().names().contains(&"AddressesLearned".to_owned()), "they are known");
    let home: PeerAddress = "ws://10.0.0.1:4001".parse().expect("private");
    call!(overlay.learn_for_slots(link, std::slice::from_ref(&home)));
    assert_eq!(overlay.state(&home), None);
}

#[test]
fn the_peer_cache_is_saved_three_seconds_after_the_first_change() {
    let mut overlay = Overlay::capped(8);
    overlay.membership.save_peer_cache_later(&mut overlay.cx);
    assert_eq!(overlay.due(&Timer::PeerCache), Some(PEER_CACHE_DELAY));
    overlay.pass(MILLISECOND);
    overlay.membership.save_peer_cache_later(&mut overlay.cx);
    assert_eq!(overlay.due(&Timer::PeerCache), Some(PEER_CACHE_DELAY - MILLISECOND), "one write for several");
    for (cap, genesis, down, saved) in
        [(None, None, false, true), (None, Some(far(20)), false, true), (Some(8), None, true, false)]
    {
        let mut overlay = Overlay::with(|config| (config.max_peers, config.genesis) = (cap, genesis));
        overlay.cx.shutting_down = down;
        overlay.membership.save_peer_cache_later(&mut overlay.cx);
        assert_eq!(overlay.due(&Timer::PeerCache).is_some(), saved, "{cap:?}, {down}");
    }
}

#[test]
fn the_peer_cache_has_linked_addresses_then_those_that_were_up_last() {
    let mut overlay = Overlay::capped(8);
    overlay.accepted(40);
    up(&mut overlay, 21);
    overlay.pass(MILLISECOND);
    up(&mut overlay, 20);
    overlay.learn(22);
    overlay.learn(23);
    overlay.peers.book.set_state(&far(23), AddressState::Myself);
    overlay.membership.save_peer_cache(&mut overlay.cx, &mut overlay.peers, Vec::new());
    let saved = |overlay: &mut Overlay| match &overlay.done().others[..] {
        [Output::SavePeerCache { addresses, .. }] => addresses.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(saved(&mut overlay), [far(40), far(20), far(21)].map(Into::into));
    for port in 1..=300 {
        let address = PeerAddress::new("203.0.113.9", port).expect("an address");
        overlay.book(&address, AddressSource::Gossiped(Scope::Public, crate::ip_prefix::SourceGroup::LocalNetwork));
        overlay.peers.book.get_mut(&address).expect("there").last_up = Some(overlay.cx.now);
    }
    overlay.membership.save_peer_cache(&mut overlay.cx, &mut overlay.peers, Vec::new());
    assert_eq!(saved(&mut overlay).len(), limits::PEER_CACHE);
}
