//! What is special about nodes of the exercise: they may die of a TRANSACTION, and compare no
//! pools.

use std::time::Duration;

use crate::connections::table::{Delivery, Link, LinkState};
use crate::context::Context;
use crate::event::Event;
use crate::peers::address_book::AddressBook;

/// An exercise peer that drops its link this soon after its first TRANSACTION has probably died of
/// it. After doing so [`DROPS`] times in a row it gets handshakes only, for [`HANDSHAKES_ONLY`].
const DROPS_WITHIN: Duration = Duration::from_secs(2);
const DROPS: u32 = 2;
const HANDSHAKES_ONLY: Duration = Duration::from_secs(600);

/// Judges an exercise peer whose link ended: did it die of a TRANSACTION, and from where is it
/// replayed when it is back?
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
