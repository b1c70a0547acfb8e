use std::time::Duration;

use crate::connections::liveness::*;
use crate::connections::table::PendingPeer;
use crate::testing::overlay::{Overlay, info, ip, native};
use crate::testing::parts::node;

const MILLISECOND: Duration = Duration::from_millis(1);

fn ping_due(overlay: &mut Overlay, link: LinkId) {
    overlay.conns.on_ping_due(&mut overlay.cx, link);
}

fn silence_due(overlay: &mut Overlay, link: LinkId) {
    overlay.conns.on_silence_due(&mut overlay.cx, link);
}

#[test]
fn a_link_is_pinged_after_fifteen_seconds_of_silence_and_dead_after_forty_five() {
    for (silent, pings, closes) in [(0, 0, 0), (14_999, 0, 0), (15_000, 1, 0), (44_999, 1, 0), (45_000, 0, 1)] {
        let mut overlay = Overlay::mesh();
        let link = overlay.accepted(20);
        overlay.pass(MILLISECOND * silent);
        ping_due(&mut overlay, link);
        let done = overlay.done();
        assert_eq!((done.pings.len(), done.closed.len()), (pings, closes), "{silent}");
        assert_eq!(overlay.cx.counters.links_dead, closes as u64);
        if closes > 0 {
            assert_eq!(done.codes(), [(20, close::GOING_AWAY)]);
            assert_eq!(overlay.due(&Timer::Ping(link)), None);
        } else {
            assert_eq!(overlay.due(&Timer::Ping(link)), Some(Duration::from_secs(15)));
        }
    }
}

#[test]
fn a_link_that_closes_or_is_gone_is_not_pinged() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(20);
    overlay.conns.links.close(&mut overlay.cx, link, close::NORMAL, "");
    overlay.done();
    overlay.pass(Duration::from_secs(20));
    ping_due(&mut overlay, link);
    ping_due(&mut overlay, LinkId(99));
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.due(&Timer::Ping(link)), None);
}

#[test]
fn two_links_to_one_node_that_are_still_there_are_resolved() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(20);
    ping_due(&mut overlay, link);
    assert!(overlay.done().pings.is_empty());
    overlay.conns.links.open(LinkId(1), ip(20), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(1), LinkState::Established(native(20)));
    for either in [link, LinkId(1)] {
        ping_due(&mut overlay, either);
        assert_eq!(overlay.done().pings, [1], "the older one");
        assert_eq!(overlay.due(&Timer::Duplicate(LinkId(1))), Some(overlay.cx.config.limits.duplicate_deadline));
    }
}

#[test]
fn a_silent_client_is_closed_after_five_seconds_unless_it_waits_for_an_answer() {
    let mut overlay = Overlay::mesh();
    let link = overlay.pending_peer(20);
    overlay.pass(Duration::from_secs(2));
    overlay.conns.links.hear(overlay.cx.now, link);
    overlay.pass(Duration::from_secs(5) - MILLISECOND);
    silence_due(&mut overlay, link);
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.due(&Timer::Silence(link)), Some(MILLISECOND));
    overlay.pass(MILLISECOND);
    overlay.conns.links.get_mut(link).expect("open").acks_due = 1;
    silence_due(&mut overlay, link);
    assert!(overlay.done().is_nothing());
    assert_eq!(overlay.due(&Timer::Silence(link)), Some(Duration::from_secs(5)));
    overlay.conns.links.get_mut(link).expect("open").acks_due = 0;
    overlay.conns.links.set_judged(link, true);
    silence_due(&mut overlay, link);
    assert!(overlay.done().is_nothing(), "the application judges what it sent");
    assert_eq!(overlay.due(&Timer::Silence(link)), Some(Duration::from_secs(5)));
    overlay.conns.links.set_judged(link, false);
    silence_due(&mut overlay, link);
    assert_eq!(overlay.done().codes(), [(20, close::NORMAL)]);
}

/// Link `n`, whose peer has no slot; `introduced`: it dialled, and sent its HANDSHAKE.
fn without_a_slot(overlay: &mut Overlay, n: u8, introduced: bool) -> LinkId {
    let link = overlay.pending_peer(n);
    let node_info = introduced.then(|| Box::new(info(n)));
    let pending = PendingPeer { id: node(n), node: node_info, addresses: Vec::new(), requests_priority: false };
    overlay.conns.links.get_mut(link).expect("open").state = LinkState::AwaitingAdmission(pending);
    link
}

#[test]
fn a_peer_without_a_slot_is_closed_like_a_client() {
    let mut overlay = Overlay::mesh();
    let link = without_a_slot(&mut overlay, 20, true);
    overlay.pass(Duration::from_secs(5) - MILLISECOND);
    silence_due(&mut overlay, link);
    assert!(overlay.done().is_nothing());
    overlay.pass(MILLISECOND);
    silence_due(&mut overlay, link);
    assert_eq!(overlay.done().codes(), [(20, close::NORMAL)]);
}

#[test]
fn a_node_that_was_dialled_for_addresses_has_its_time_whatever_else_it_sends() {
    let mut overlay = Overlay::mesh();
    let link = without_a_slot(&mut overlay, 20, false);
    overlay.pass(overlay.cx.config.limits.dial_timeout);
    overlay.conns.links.hear(overlay.cx.now, link);
    overlay.conns.links.get_mut(link).expect("open").acks_due = 1;
    silence_due(&mut overlay, link);
    assert_eq!(overlay.done().codes(), [(20, close::NORMAL)]);
    assert_eq!(overlay.due(&Timer::Silence(link)), None);
}

#[test]
fn a_node_that_we_dialled_must_send_its_handshake() {
    let mut overlay = Overlay::mesh();
    let link = overlay.asking(20, crate::dial_reason::DialReason::slot());
    silence_due(&mut overlay, link);
    assert_eq!(overlay.done().codes(), [(20, close::POLICY)]);
}

#[test]
fn a_linked_peer_may_be_silent() {
    let mut overlay = Overlay::mesh();
    overlay.accepted(20);
    overlay.exercise(21);
    overlay.pass(Duration::from_secs(60));
    for link in [20, 21, 99] {
        silence_due(&mut overlay, LinkId(link));
    }
    assert!(overlay.done().is_nothing());
}

#[test]
fn a_link_over_iroh_is_pinged_after_five_seconds_of_silence_and_dead_after_twelve() {
    let mut overlay = Overlay::mesh();
    let link = LinkId(20);
    overlay.peers.access.authenticate(link, node(20));
    overlay.conns.on_accepted(&mut overlay.cx, &mut overlay.peers, link, ip(20));
    overlay.conns.links.set_native(link, LinkState::Established(native(20)));
    assert_eq!(overlay.due(&Timer::Ping(link)), Some(PING_OVER_IROH));
    // Something came one second later, so the first look is too early.
    overlay.pass(Duration::from_secs(1));
    overlay.conns.links.hear(overlay.cx.now, link);
    let heard = overlay.cx.now;
    let mut seen = Vec::new();
    while let Some(due) = overlay.due(&Timer::Ping(link)) {
        overlay.pass(due);
        overlay.cx.timers.cancel(&Timer::Ping(link));
        ping_due(&mut overlay, link);
        let done = overlay.done();
        seen.push((overlay.cx.now.saturating_duration_since(heard).as_secs(), done.pings.len(), done.codes().len()));
    }
    assert_eq!(seen, [(4, 0, 0), (5, 1, 0), (10, 1, 0), (12, 0, 1)]);
    // An operator may want it sooner, and not later.
    let limits = Limits { ping_interval: Duration::from_secs(1), ..Limits::default() };
    assert_eq!(patience(&limits, true), (Duration::from_secs(1), DEAD_OVER_IROH));
    assert_eq!(patience(&limits, false), (Duration::from_secs(1), limits.dead_after));
}
