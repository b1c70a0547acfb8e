//! The peer table as a person sees it: one row per address, in the words of the status.

use std::time::Instant;

use crate::address::PeerAddress;
use crate::peers::address_book::{AddressState, Peer};
use crate::timers::Timer;
use crate::wire::{PeerRow, PeerState};
use crate::{Node, limits};

impl Node {
    /// The rows of the peer table: connected ones first, then those under way, declined, failed, and the rest; at most [`limits::STATUS_PEERS`].
    pub(crate) fn peer_rows(&self, now: Instant) -> Vec<PeerRow> {
        let mut rows: Vec<PeerRow> =
            self.peers.book.iter().filter_map(|(address, peer)| self.row(now, address, peer)).collect();
        rows.sort_by(|one, other| (one.state, &one.address).cmp(&(other.state, &other.address)));
        let kept = self.peers.reputation.rows(now);
        rows.truncate(limits::STATUS_PEERS - kept.len());
        rows.extend(kept);
        rows
    }

    fn row(&self, now: Instant, address: &PeerAddress, peer: &Peer) -> Option<PeerRow> {
        let wait = |until: Option<Instant>| until.map(|until| until.saturating_duration_since(now).as_secs_f64());
        let due = || self.cx.timers.due(&Timer::Dial(address.clone()));
        let (state, seconds) = match peer.state {
            AddressState::Myself => return None,
            AddressState::Connected(_) => (PeerState::Connected, None),
            AddressState::Attempting | AddressState::Probing(_) | AddressState::Queued => (PeerState::Pending, None),
            AddressState::Waiting if peer.declined_until.is_some_and(|until| now < until) => {
                (PeerState::Declined, wait(peer.declined_until))
            }
            AddressState::Waiting if self.peers.reputation.banned_until(now, &self.peers.book, address).is_some() => {
                (PeerState::Banned, wait(self.peers.reputation.banned_until(now, &self.peers.book, address)))
            }
            AddressState::Waiting if peer.failures > 0 && due().is_some() => (PeerState::Failed, wait(due())),
            AddressState::Waiting => (PeerState::Idle, wait(due())),
        };
        // Tenths are enough for a person, and a status then has a readable length.
        let seconds = seconds.map(|seconds| (seconds * 10.0).round() / 10.0);
        Some(PeerRow { address: address.to_string(), state, seconds, known: peer.known, cause: None })
    }
}
