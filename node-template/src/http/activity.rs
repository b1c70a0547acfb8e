//! What happened in one tick: counts, samples and lines for the page.

use serde::Serialize;
use tracing::Level;

use crate::events::describe::describe;
use crate::events::text::strip_control_max;
use crate::events::ways::{Way, Ways};
use crate::http::delays::Delays;
use crate::http::limits::{LINES, SAMPLES};
use crate::protocol::event::{Event, PeerName};
use crate::protocol::trace::SendDecision;
use crate::protocol::transaction::Transaction;
use crate::util::time_of_day::time_of_day;

/// The most characters of a broadcast in a line.
const MESSAGE_CHARACTERS: usize = 2_000;

/// One event as text.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// Counts lines since the node's start.
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    time: u64,
    kind: &'static str,
    level: &'static str,
    text: String,
    /// The text of a broadcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A transaction or broadcast that the page shows travelling.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    kind: &'static str,
    id: String,
    /// Id of its origin, as in [`View`](crate::http::view::View). `None` if unknown, or if it came
    /// by reconciliation.
    origin: Option<String>,
    /// Id of the neighbour that sent it; `None` if it is this node's own.
    via: Option<String>,
    /// Ids of the neighbours that it was sent to; `None` if that was not recorded.
    to: Option<Vec<String>>,
    links: usize,
}

/// The content of an `activity` frame.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Activity {
    pub(crate) transactions: u64,
    broadcasts: u64,
    /// Events that came faster than they were read.
    pub(crate) missed: u64,
    samples: Vec<Sample>,
    pub(crate) lines: Vec<Line>,
}

impl Activity {
    pub(crate) fn is_empty(&self) -> bool {
        self.transactions + self.broadcasts + self.missed == 0 && self.lines.is_empty()
    }

    /// Records an event. `number`: that of the last line.
    pub(crate) fn record(&mut self, event: &Event, (delays, ways): (&Delays, &Ways), number: &mut u64) {
        let mut message = None;
        match event {
            Event::Transaction { transaction, origin, peer, links } => {
                self.transactions += 1;
                if self.samples.len() >= SAMPLES {
                    return;
                }
                if origin.is_some()
                    && peer.is_some()
                    && let Some(seconds) = transaction_delay(transaction)
                {
                    delays.transaction(seconds);
                }
                self.samples.push(Sample {
                    kind: "transaction",
                    id: transaction.id().to_string(),
                    origin: origin.as_ref().map(ToString::to_string),
                    via: peer.as_ref().and_then(id_of),
                    to: ways.find(&transaction.id()).map(|way| receivers(&way)),
                    links: *links,
                });
            }
            Event::Broadcast { broadcast, sender, peer, links } => {
                self.broadcasts += 1;
                if peer.is_some() {
                    delays.broadcast(time_of_day() - broadcast.time);
                }
                if self.samples.len() >= 2 * SAMPLES {
                    return;
                }
                message = Some(strip_control_max(&broadcast.message, MESSAGE_CHARACTERS));
                self.samples.push(Sample {
                    kind: "broadcast",
                    id: broadcast.id.to_string(),
                    origin: id_of(sender),
                    via: peer.as_ref().and_then(id_of),
                    to: None,
                    links: *links,
                });
            }
            _ => {}
        }
        let (level, text) = describe(event);
        if self.lines.len() >= LINES
            || level > Level::INFO && message.is_none() && !matches!(event, Event::TransactionRefused { .. })
        {
            return;
        }
        *number += 1;
        let time = (time_of_day() * 1_000.0) as u64;
        self.lines.push(Line { number: *number, time, kind: kind(event), level: level_name(level), text, message });
    }
}

/// Returns the ids of the nodes that a transaction was sent to.
fn receivers(way: &Way) -> Vec<String> {
    let sent = way.trace.links.iter().filter(|traced| traced.decision == SendDecision::Sent);
    sent.filter_map(|traced| id_of(&traced.peer)).collect()
}

/// Returns a peer's id, as in [`View`](crate::http::view::View).
pub(crate) fn id_of(peer: &PeerName) -> Option<String> {
    match (&peer.node, &peer.address) {
        (Some(node), _) => Some(node.to_string()),
        (None, Some(address)) => Some(format!("plain:{address}")),
        (None, None) => None,
    }
}

/// Returns how old a transaction is, in seconds, if it has a `timeStamp` in milliseconds.
fn transaction_delay(transaction: &Transaction) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Stamped {
        #[serde(rename = "timeStamp")]
        time: f64,
    }
    let Stamped { time } = serde_json::from_str(transaction.body()).ok()?;
    Some(time_of_day() - time / 1_000.0)
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::PeerUp { .. } => "linked",
        Event::PeerDown { .. } => "lost",
        Event::NodeJoined { .. } => "joined",
        Event::NodeLeft { .. } => "left",
        Event::Transaction { .. } => "transaction",
        Event::Broadcast { .. } => "broadcast",
        Event::Dialling { .. }
        | Event::DialFailed { .. }
        | Event::SelfDialled { .. }
        | Event::AddressesLearned { .. }
        | Event::LinkOpened { .. }
        | Event::HandshakeSent { .. }
        | Event::HandshakeReceived { .. }
        | Event::LanPeerFound { .. } => "dial",
        Event::Stored { .. } | Event::StoreFailed { .. } | Event::StoreRecovered => "disk",
        Event::TransactionRefused { .. }
        | Event::Banned { .. }
        | Event::PeerRefused { .. }
        | Event::AccessDenied { .. }
        | Event::PeerFault { .. } => "refused",
        _ => "other",
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    }
}
