//! The address book, one row per address.

use std::time::Instant;

use crate::address::PeerAddress;
use crate::limits;
use crate::peers::Peers;
use crate::peers::address_book::{AddressState, Peer};
use crate::timers::{Timer, Timers};
use crate::wire::{PeerRow, PeerState};

/// Returns the rows: connected addresses first, then those being dialled, declined, failed, and all
/// others. Bans follow, which have room in any case. There are at most [`limits::STATUS_PEERS`].
pub(crate) fn rows(now: Instant, peers: &Peers, timers: &Timers) -> Vec<PeerRow> {
    let rows = peers.book.iter().filter_map(|(address, peer)| row(now, peers, timers, address, peer));
    let mut rows: Vec<PeerRow> = rows.collect();
    rows.sort_by(|one, other| (one.state, &one.address).cmp(&(other.state, &other.address)));
    let bans = peers.reputation.rows(now);
    rows.truncate(limits::STATUS_PEERS - bans.len());
    rows.extend(bans);
    rows
}

fn row(now: Instant, peers: &Peers, timers: &Timers, address: &PeerAddress, peer: &Peer) -> Option<PeerRow> {
    let dial = timers.due(&Timer::Dial(address.clone()));
    let declined = peer.declined_until.filter(|until| now < *until);
    let (state, until) = match peer.state {
        AddressState::Myself => return None,
        AddressState::Connected(_) => (PeerState::Connected, None),
        AddressState::Attempting | AddressState::Probing(_) | AddressState::Queued => (PeerState::Pending, None),
        AddressState::Waiting => match (declined, peers.reputation.banned_until(now, &peers.book, address)) {
            (Some(_), _) => (PeerState::Declined, declined),
            (None, Some(until)) => (PeerState::Banned, Some(until)),
            (None, None) if peer.failures > 0 && dial.is_some() => (PeerState::Failed, dial),
            (None, None) => (PeerState::Idle, dial),
        },
    };
    // Tenths are enough for a person, and keep the answer short.
    let seconds = until.map(|until| (until.saturating_duration_since(now).as_secs_f64() * 10.0).round() / 10.0);
    Some(PeerRow { address: address.to_string(), state, seconds, known: peer.known, cause: None })
}
