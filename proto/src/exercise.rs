//! Exercise peers, which have no set reconciliation and may drop their link after a TRANSACTION.
//!
//! The node calls it when a link has ended. It decides whether the peer gets handshakes only for
//! some time, and from which pool position it is replayed when it comes back.

use std::time::Duration;

use crate::connections::table::{Delivery, Link, LinkState};
use crate::context::Context;
use crate::event::Event;
use crate::peers::address_book::AddressBook;

/// How soon after its first TRANSACTION an exercise peer drops its link, if that TRANSACTION is the
/// probable cause.
const DROPS_WITHIN: Duration = Duration::from_secs(2);
/// After how many such drops in a row it gets handshakes only: the first may be chance.
const DROPS: u32 = 2;
/// How long it gets handshakes only. Then its user may have corrected the program.
const HANDSHAKES_ONLY: Duration = Duration::from_secs(600);

/// Handles the end of a link to an exercise peer: counts drops after a TRANSACTION, and notes the
/// pool position for its replay.
pub(crate) fn on_link_closed(cx: &mut Context, book: &mut AddressBook, closed: &Link) {
    let LinkState::ExerciseOutbound { address } = &closed.state else { return };
    let Some(peer) = book.get_mut(address) else { return };
    peer.behind = match closed.flow {
        Delivery::Replaying { from, .. } => Some(from),
        Delivery::Live | Delivery::Syncing { .. } | Delivery::Lagging => None,
    };
    let Some(first) = closed.first_payload else { return };
    let dropped = !closed.closing
        && cx.now.saturating_duration_since(first) < DROPS_WITHIN
        && first.saturating_duration_since(closed.opened) < DROPS_WITHIN;
    peer.recoils = if dropped { peer.recoils + 1 } else { 0 };
    if peer.recoils >= DROPS {
        peer.recoils = 0;
        peer.handshakes_only_until = Some(cx.now + HANDSHAKES_ONLY);
        let text = format!(
            "{address} drops its connection at every TRANSACTION; for ten minutes it gets handshakes only (its code may not check the type of a message)"
        );
        cx.notify(Event::Warning { text });
    }
}
