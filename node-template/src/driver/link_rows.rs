//! The open links as people see them: the core says who is at the other end, the shell how much waits and how long a ping takes.

use std::time::{Duration, Instant};

use crate::driver::{Driver, Outgoing};
use crate::protocol::Lane;
use crate::protocol::LinkKind;
use crate::protocol::event::PeerName;
use crate::protocol::id::LinkId;
use crate::transport::link::send_queue::Item;

/// An open link.
#[derive(Debug, Clone)]
pub struct OpenLink {
    /// Its name in this run of the node.
    pub link: LinkId,
    /// Who is at the other end.
    pub peer: PeerName,
    /// What the other end is.
    pub kind: LinkKind,
    /// Whether we dialled.
    pub dialled: bool,
    /// How long it has been open.
    pub open_for: Duration,
    /// How long the latest measured ping took there and back.
    pub round_trip: Option<Duration>,
    /// How many bytes of payload wait to be sent on it.
    pub queued_bytes: usize,
}

impl Driver {
    /// Every open link; round-trip times that are old are measured anew meanwhile.
    pub(crate) fn open_links(&mut self) -> Vec<OpenLink> {
        let now = Instant::now();
        let mut open = Vec::new();
        for row in self.parts.protocol.open_links() {
            let Some(outgoing) = self.links.get_mut(&row.link) else { continue };
            if row.kind != LinkKind::Client && outgoing.trip.is_stale(now) {
                outgoing.ping();
            }
            open.push(OpenLink {
                link: row.link,
                peer: row.peer,
                kind: row.kind,
                dialled: row.dialled,
                open_for: now.saturating_duration_since(row.opened),
                round_trip: outgoing.trip.time(),
                queued_bytes: outgoing.queue.waiting(Lane::Payload),
            });
        }
        open
    }

    /// Notes how long a ping took.
    pub(crate) fn on_pong(&mut self, link: LinkId) {
        if let Some(outgoing) = self.links.get_mut(&link) {
            outgoing.trip.end(Instant::now());
        }
    }
}

impl Outgoing {
    /// Sends a WebSocket ping, and times it.
    pub(crate) fn ping(&mut self) {
        self.trip.begin(Instant::now());
        self.queue.push(Lane::Control, [Item::Ping], 0);
    }
}
