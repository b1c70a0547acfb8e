//! What became of the addresses in a HANDSHAKE, for people: read from the address book before and
//! after membership took them in.

use std::time::Instant;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::context::Context;
use crate::event::{AddressOutcome, Event, NamedAddress};
use crate::id::LinkId;
use crate::limits;
use crate::peers::Peers;
use crate::peers::address_book::{AddressState, Peer};
use crate::timers::Timer;

/// The addresses of a HANDSHAKE that is being handled, with their states before.
pub(crate) struct NamedAddresses {
    before: Vec<(PeerAddress, Option<AddressState>)>,
    more: usize,
}

impl NamedAddresses {
    /// Notes the states. Only the first addresses are reported.
    pub(crate) fn before(peers: &Peers, addresses: &[PeerAddress]) -> Self {
        let shown = addresses.iter().take(limits::REPORTED_ADDRESSES);
        let before = shown.map(|address| (address.clone(), peers.book.get(address).map(|peer| peer.state)));
        Self { before: before.collect(), more: addresses.len().saturating_sub(limits::REPORTED_ADDRESSES) }
    }

    /// Reports what was done with each.
    pub(crate) fn report(self, cx: &mut Context, peers: &Peers, connections: &Connections, link: LinkId) {
        let scope = connections.links.scope_of(link);
        let outcome = |(address, before): (PeerAddress, Option<AddressState>)| {
            let due = cx.timers.due(&Timer::Dial(address.clone()));
            let outcome = match (peers.book.get(&address), before) {
                _ if cx.is_own(&address) => AddressOutcome::Ourselves,
                (Some(peer), before) => outcome(cx.now, peer, before, due),
                (None, _) if !scope.may_tell(address.scope()) => AddressOutcome::OutOfScope,
                (None, _) if !cx.can_dial(&address) => AddressOutcome::NotDialable,
                (None, _) => AddressOutcome::NoRoom,
            };
            NamedAddress { address, outcome }
        };
        let addresses = self.before.into_iter().map(outcome).collect();
        cx.notify(Event::HandshakeReceived { link, peer: connections.links.name_of(link), addresses, more: self.more });
    }
}

/// Returns what was done with an address that the book has. `due`: when it is dialled.
fn outcome(now: Instant, peer: &Peer, before: Option<AddressState>, due: Option<Instant>) -> AddressOutcome {
    let due = due.map(|due| due.saturating_duration_since(now));
    match (peer.state, due) {
        (AddressState::Myself, _) => AddressOutcome::Ourselves,
        (AddressState::Connected(_), _) => AddressOutcome::Connected,
        (AddressState::Probing(_), _) => AddressOutcome::Verifying,
        (AddressState::Attempting | AddressState::Queued, _) if before.is_some_and(|state| state == peer.state) => {
            AddressOutcome::Attempting
        }
        (AddressState::Attempting | AddressState::Queued, _) => AddressOutcome::Dialled { after: Default::default() },
        (AddressState::Waiting, Some(after)) if before.is_none() || after.is_zero() => {
            AddressOutcome::Dialled { after }
        }
        (AddressState::Waiting, None) if before.is_none() => AddressOutcome::Kept,
        (AddressState::Waiting, retry_in) => AddressOutcome::Waiting { failures: peer.failures, retry_in },
    }
}

#[cfg(test)]
mod tests;
