use std::time::Duration;

use crate::causes::ConnectionRefusal;
use crate::connections::eviction::*;
use crate::event::Event;
use crate::testing::overlay::{Overlay, ip, native};

const MILLISECOND: Duration = Duration::from_millis(1);

/// A node with room for so many accepted links.
fn room(links: usize) -> Overlay {
    Overlay::with(|config| config.limits.inbound_links = links)
}

/// Accepts one more link, and evicts if there is no room; returns which link was closed, or is to
/// be referred to other nodes.
fn accept(overlay: &mut Overlay, n: u8) -> Option<u64> {
    let link = overlay.pending_peer(n);
    overlay.conns.evict(&mut overlay.cx, &mut overlay.peers, link);
    let done = overlay.done();
    assert!(done.codes().iter().all(|(_, code)| *code == close::TRY_AGAIN_LATER));
    let waits = overlay.conns.links.get(link).is_some_and(|link| link.refused.is_some());
    let raised = overlay.raised();
    let referred = raised.iter().find_map(|event| event.strip_prefix("ToBeReferred { link: link "));
    let referred = referred.and_then(|rest| rest.split(',').next()?.parse().ok());
    done.codes().first().map(|(link, _)| *link).or(referred).or(waits.then_some(link.0))
}

#[test]
fn up_to_the_limit_nobody_is_closed_and_links_that_we_dialled_do_not_count() {
    let mut overlay = room(2);
    overlay.dial_all(40..44);
    let closing = overlay.accepted(50);
    overlay.conns.links.close(&mut overlay.cx, closing, close::NORMAL, "");
    overlay.done();
    assert_eq!((accept(&mut overlay, 20), accept(&mut overlay, 21)), (None, None));
    assert_eq!(overlay.cx.counters.links_evicted, 0);
    assert_eq!(accept(&mut overlay, 22), Some(22), "the newcomer: the others are clients that are not silent");
    assert_eq!(overlay.cx.counters.links_evicted, 1);
}

#[test]
fn the_client_that_was_silent_longest_goes_first() {
    let mut overlay = room(3);
    for n in [20, 21] {
        accept(&mut overlay, n);
    }
    overlay.accepted(15);
    overlay.pass(MILLISECOND);
    overlay.conns.links.hear(overlay.cx.now, LinkId(20));
    let silence = overlay.cx.config.limits.client_silence / 2;
    overlay.pass(silence - MILLISECOND * 2);
    assert_eq!(accept(&mut overlay, 22), Some(22), "none was silent for long enough");
    overlay.end(LinkId(22));
    overlay.pass(MILLISECOND);
    assert_eq!(accept(&mut overlay, 23), Some(21));
    overlay.end(LinkId(21));
    overlay.pass(MILLISECOND);
    overlay.conns.links.get_mut(LinkId(20)).expect("open").acks_due = 1;
    assert_eq!(accept(&mut overlay, 24), Some(24), "one that waits for an answer is not silent");
    let waiting = overlay.conns.links.get_mut(LinkId(20)).expect("open");
    (waiting.acks_due, waiting.judged) = (0, true);
    assert_eq!(accept(&mut overlay, 25), Some(25), "nor while the application judges");
}

#[test]
fn of_clients_silent_equally_long_the_older_goes() {
    let mut overlay = room(2);
    for n in [20, 21] {
        accept(&mut overlay, n);
    }
    overlay.pass(Duration::from_secs(5));
    assert_eq!(accept(&mut overlay, 22), Some(20));
}

/// Opens link `link`, established, from peer `n`: several may come from one network.
fn linked(overlay: &mut Overlay, link: u64, n: u8) {
    overlay.conns.links.open(LinkId(link), ip(n), None, LinkState::Client, overlay.cx.now);
    overlay.conns.links.set_native(LinkId(link), LinkState::Established(native(n)));
}

#[test]
fn the_youngest_link_of_the_network_with_most_links_goes() {
    let mut overlay = room(6);
    // The older half of seven stays: 1, 2 and 3. Of the others two come from network 21.
    for (link, n) in [(1, 20), (2, 20), (3, 20), (4, 21), (5, 21), (6, 22)] {
        linked(&mut overlay, link, n);
    }
    assert_eq!(accept(&mut overlay, 30), Some(5));
}

#[test]
fn links_of_known_peers_and_the_most_useful_ones_stay() {
    let mut overlay = room(6);
    overlay.know(21);
    for (link, n) in [(1, 20), (2, 20), (3, 20), (4, 21), (5, 22), (6, 22)] {
        linked(&mut overlay, link, n);
    }
    overlay
        .peers
        .book
        .set_state(&crate::testing::overlay::far(21), crate::peers::address_book::AddressState::Connected(LinkId(4)));
    overlay.conns.links.get_mut(LinkId(6)).expect("open").brought = 1;
    // Without 4 and 6 the older half is 1 and 2; of 3, 5 and the newcomer each has a network of its
    // own, so that the youngest goes.
    assert_eq!(accept(&mut overlay, 30), Some(30));
    overlay.end(LinkId(30));
    overlay.conns.links.get_mut(LinkId(6)).expect("open").brought = 0;
    assert_eq!(accept(&mut overlay, 31), Some(6));
}

#[test]
fn eight_links_are_kept_for_what_they_brought() {
    let mut overlay = room(10);
    for link in 1..=10 {
        linked(&mut overlay, link, 20);
        overlay.conns.links.get_mut(LinkId(link)).expect("open").brought = link;
    }
    // 3 to 10 brought most. Of 1, 2 and the newcomer the older half is 1; of the rest the newcomer
    // is the youngest.
    assert_eq!(accept(&mut overlay, 30), Some(30));
    overlay.end(LinkId(30));
    linked(&mut overlay, 11, 20);
    overlay.conns.evict(&mut overlay.cx, &mut overlay.peers, LinkId(11));
    let raised = overlay.raised();
    let referred = raised.iter().any(|event| event.starts_with("ToBeReferred { link: link 11,"));
    assert!(referred, "two of network 20: the younger; {raised:?}");
}

#[test]
fn an_eviction_is_logged_with_its_reason() {
    let mut overlay = room(1);
    accept(&mut overlay, 20);
    overlay.pass(Duration::from_secs(5));
    let link = overlay.pending_peer(21);
    overlay.conns.evict(&mut overlay.cx, &mut overlay.peers, link);
    let reasons = |overlay: &mut Overlay| {
        let done = overlay.done();
        let reason = |event: &Event| match event {
            Event::PeerRefused { from, reason, .. } => {
                Some((from.map(|from| from.to_string()), matches!(reason, ConnectionRefusal::Evicted(_))))
            }
            _ => None,
        };
        done.events.iter().filter_map(reason).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&mut overlay), [(Some("20.20.0.1".to_owned()), true)]);
    let link = overlay.pending_peer(22);
    overlay.conns.evict(&mut overlay.cx, &mut overlay.peers, link);
    assert_eq!(reasons(&mut overlay), [(Some("22.22.0.1".to_owned()), false)], "the newcomer itself");
}
