use std::time::Duration;

use super::*;
use crate::testing::overlay::{Overlay, call, far};

const SECOND: Duration = Duration::from_secs(1);

/// Returns what is reported of a HANDSHAKE with these addresses on a link.
fn reported(overlay: &mut Overlay, link: LinkId, addresses: &[PeerAddress]) -> (Vec<AddressOutcome>, usize) {
    let named = NamedAddresses::before(&overlay.peers, addresses);
    call!(overlay.learn(link, addresses));
    let Overlay { cx, peers, conns, .. } = overlay;
    named.report(cx, peers, conns, link);
    match overlay.done().events.pop() {
        Some(Event::HandshakeReceived { link: on, addresses: named, more, .. }) => {
            assert_eq!(on, link);
            assert!(named.iter().map(|named| &named.address).eq(addresses.iter().take(named.len())));
            (named.into_iter().map(|named| named.outcome).collect(), more)
        }
        other => panic!("not reported: {other:?}"),
    }
}

#[test]
fn each_address_is_reported_with_what_was_done_with_it() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(11);
    overlay.dialled(12);
    overlay.learn(13);
    overlay.peers.book.set_state(&far(13), AddressState::Attempting);
    overlay.learn(14);
    overlay.peers.book.set_state(&far(14), AddressState::Probing(link));
    overlay.learn(15);
    overlay.peers.book.get_mut(&far(15)).expect("there").failures = 3;
    let later = overlay.cx.now + SECOND * 7;
    overlay.peers.book.dial_at(&mut overlay.cx, &far(15), later);
    overlay.know(16);
    overlay.peers.book.set_state(&far(16), AddressState::Myself);
    let home: PeerAddress = "ws://10.0.0.1:4001".parse().expect("private");
    let named =
        [far(11), far(12), far(13), far(14), far(15), far(16), overlay.cx.config.address.clone(), far(30), home];
    let expected = [
        AddressOutcome::Connected,
        AddressOutcome::Connected,
        AddressOutcome::Attempting,
        AddressOutcome::Verifying,
        AddressOutcome::Waiting { failures: 3, retry_in: Some(SECOND * 7) },
        AddressOutcome::Ourselves,
        AddressOutcome::Ourselves,
        AddressOutcome::Dialled { after: Duration::ZERO },
        AddressOutcome::OutOfScope,
    ];
    assert_eq!(reported(&mut overlay, link, &named), (expected.to_vec(), 0));
}

#[test]
fn with_a_cap_new_addresses_are_kept_and_a_full_book_refuses() {
    let mut overlay = Overlay::with(|config| (config.max_peers, config.limits.peer_table) = (Some(1), 2));
    let link = overlay.accepted(11);
    let (outcomes, _) = reported(&mut overlay, link, &[far(11), far(30), far(31), far(32)]);
    assert_eq!(outcomes[0], AddressOutcome::Connected);
    assert_eq!(outcomes[1], AddressOutcome::Kept);
    assert!(outcomes.contains(&AddressOutcome::NoRoom), "{outcomes:?}");
    let (outcomes, _) = reported(&mut overlay, link, &[far(30)]);
    assert_eq!(outcomes, [AddressOutcome::Waiting { failures: 0, retry_in: None }]);
}

#[test]
fn a_long_list_is_reported_in_part() {
    let mut overlay = Overlay::mesh();
    let link = overlay.accepted(11);
    let named: Vec<PeerAddress> =
        (1..=100).map(|port| PeerAddress::new("11.11.0.1", port).expect("an address")).collect();
    let (outcomes, more) = reported(&mut overlay, link, &named);
    assert_eq!((outcomes.len(), more), (limits::REPORTED_ADDRESSES, 100 - limits::REPORTED_ADDRESSES));
}
