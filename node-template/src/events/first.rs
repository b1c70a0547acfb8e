//! The first events of a node's life: how it found its peers, and what it got from them. They are
//! kept for those who ask later, so a page that opens late can show them.
//!
//! Events of single transactions are no part of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::address::PeerAddress;
use crate::protocol::event::Event;
use crate::util::time_of_day::time_of_day;

/// How many events are kept: those of some minutes.
const EVENTS: usize = 200;
/// How many failed dials of one address are kept: a node that is not there must not fill the rest.
const FAILURES: u32 = 3;

/// An event with its time.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page shows it"))]
pub(crate) struct FirstEvent {
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) event: Event,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<FirstEvent>,
    /// The dials of each address that failed, until the list is full.
    failures: BTreeMap<PeerAddress, u32>,
    left_out: u64,
}

/// See the module. Clones share the list.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstEvents(Arc<Mutex<Kept>>);

impl FirstEvents {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Only the allocator can panic while the lock is held, and each change is whole by then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an event, if it is one of a node's life and there is room.
    pub(crate) fn record(&self, event: &Event) {
        if is_of_life(event) {
            self.lock().record(event);
        }
    }

    /// Returns the events, the first one first, and how many came later and were left out.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page shows it"))]
    pub(crate) fn list(&self) -> (Vec<FirstEvent>, u64) {
        let kept = self.lock();
        (kept.events.clone(), kept.left_out)
    }
}

impl Kept {
    fn record(&mut self, event: &Event) {
        if self.events.len() >= EVENTS || self.failed_often(event) {
            self.left_out += 1;
            return;
        }
        // In the order in which they followed from each other: the HANDSHAKE comes first, and what
        // it brought is part of it.
        if let Event::HandshakeReceived { peer, .. } = event {
            self.events.pop_if(|last| matches!(&last.event, Event::AddressesLearned { peer: by, .. } if by == peer));
            let up = self.events.pop_if(|last| matches!(&last.event, Event::PeerUp { peer: up, .. } if up == peer));
            self.push(event);
            self.events.extend(up);
        } else {
            self.push(event);
        }
        if self.events.len() >= EVENTS {
            self.failures = BTreeMap::new();
        }
    }

    fn push(&mut self, event: &Event) {
        self.events.push(FirstEvent { time: time_of_day(), event: event.clone() });
    }

    /// Counts a failed dial. Returns whether enough of its address are kept, or the dial that would
    /// follow.
    fn failed_often(&mut self, event: &Event) -> bool {
        match event {
            Event::DialFailed { address, .. } => {
                let failures = self.failures.entry(address.clone()).or_default();
                *failures += 1;
                *failures > FAILURES
            }
            Event::Dialling { address } => self.failures.get(address).is_some_and(|failures| *failures >= FAILURES),
            _ => false,
        }
    }
}

/// Returns whether an event is part of how a node finds its place in the network.
fn is_of_life(event: &Event) -> bool {
    matches!(
        event,
        Event::Dialling { .. }
            | Event::DialFailed { .. }
            | Event::SelfDialled { .. }
            | Event::LinkOpened { .. }
            | Event::HandshakeSent { .. }
            | Event::HandshakeReceived { .. }
            | Event::PeerUp { .. }
            | Event::PeerDown { .. }
            | Event::AddressesLearned { .. }
            | Event::LanPeerFound { .. }
            | Event::Replaying { .. }
            | Event::Synced { .. }
            | Event::Declined { .. }
            | Event::DeclinedBy { .. }
            | Event::RequestingSlot { .. }
            | Event::SlotSwapped { .. }
            | Event::SlotTaken { .. }
            | Event::HealingPartition { .. }
            | Event::Rewiring { .. }
            | Event::Bootstrap(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::causes::DialError;
    use crate::protocol::event::PeerName;
    use crate::protocol::id::LinkId;

    fn address(port: u16) -> PeerAddress {
        PeerAddress::new("localhost", port).expect("an address")
    }

    fn peer(port: u16) -> PeerName {
        PeerName { node: None, address: Some(address(port)) }
    }

    fn names(first: &FirstEvents) -> Vec<String> {
        let name = |first: &FirstEvent| {
            let text = format!("{:?}", first.event);
            text.split([' ', '(']).next().unwrap_or_default().to_owned()
        };
        first.list().0.iter().map(name).collect()
    }

    #[test]
    fn the_first_events_are_kept_and_later_ones_counted() {
        let first = FirstEvents::default();
        first.record(&Event::StoreRecovered);
        for port in 0..300 {
            first.record(&Event::Dialling { address: address(port + 1) });
        }
        let (events, left_out) = first.list();
        assert_eq!((events.len(), left_out), (EVENTS, 100));
        assert!(matches!(&events[0].event, Event::Dialling { address: first } if *first == address(1)));
        assert!(events.windows(2).all(|pair| pair[0].time <= pair[1].time));
        assert!(first.lock().failures.is_empty());
    }

    #[test]
    fn a_node_that_is_not_there_leaves_room_for_others() {
        let first = FirstEvents::default();
        for _ in 0..50 {
            first.record(&Event::Dialling { address: address(1) });
            let error = DialError::NobodyListens;
            first.record(&Event::DialFailed { address: address(1), error, retry_in: None });
        }
        first.record(&Event::Dialling { address: address(2) });
        let expected = ["Dialling", "DialFailed", "Dialling", "DialFailed", "Dialling", "DialFailed", "Dialling"];
        assert_eq!(names(&first), expected);
        assert_eq!(first.list().1, 94);
    }

    #[test]
    fn a_handshake_stands_before_what_followed_from_it() {
        let first = FirstEvents::default();
        let handshake =
            |port| Event::HandshakeReceived { link: LinkId(1), peer: peer(port), addresses: Vec::new(), more: 0 };
        first.record(&Event::PeerUp { peer: peer(1), dialled: true, peers: 1 });
        first.record(&Event::AddressesLearned { peer: peer(1), addresses: 2 });
        first.record(&handshake(1));
        assert_eq!(names(&first), ["HandshakeReceived", "PeerUp"], "what it brought is part of it");
        first.record(&Event::AddressesLearned { peer: peer(2), addresses: 2 });
        first.record(&handshake(1));
        assert_eq!(names(&first)[2..], ["AddressesLearned", "HandshakeReceived"], "another peer's stays");
    }
}
