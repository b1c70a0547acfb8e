//! How this node found its place in the network: the first events of its life, one after the other.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as FromState;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::events::describe::{outcome, title};
use crate::events::first::FirstEvent;
use crate::http::activity::id_of;
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::protocol::event::{AddressOutcome, Event, PeerName};

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Counts from 1.
    number: usize,
    /// Milliseconds since 1970, with decimals.
    time: f64,
    kind: &'static str,
    text: String,
    /// The node that it is about, as in [`Node`](crate::http::view::Node::id).
    peer: Option<String>,
    address: Option<String>,
    /// The link that it is about; it may have ended.
    link: Option<u64>,
    /// Of a dial: the entry that named the address; `None`: a person did, or an earlier run.
    learned_from: Option<usize>,
    /// Of a HANDSHAKE: the first addresses in it.
    addresses: Vec<Named>,
    /// How many more there are.
    more: usize,
    /// The first transactions that a comparison brought.
    transactions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Named {
    address: String,
    /// What was done with it, as text that follows it; `None`: this node named it.
    text: Option<String>,
}

/// Handles `GET /api/timeline`.
pub(crate) async fn timeline(FromState(state): FromState<Shared>) -> Result<Response, Problem> {
    let (first, left_out) = state.node.first_events.list();
    Ok(Json(json!({ "entries": entries(&first), "more": left_out })).into_response())
}

/// Returns the entries, each with what earlier ones say of its peer and its address.
fn entries(first: &[FirstEvent]) -> Vec<Entry> {
    let mut links: BTreeMap<String, u64> = BTreeMap::new();
    let mut named_in: BTreeMap<String, usize> = BTreeMap::new();
    let mut entries = Vec::with_capacity(first.len());
    for (number, FirstEvent { time, event }) in (1..).zip(first) {
        let mut entry = Entry::new(number, *time, event);
        if let Some(peer) = &entry.peer {
            match entry.link {
                Some(link) => {
                    links.insert(peer.clone(), link);
                }
                None => entry.link = links.get(peer).copied(),
            }
        }
        match event {
            Event::HandshakeReceived { addresses, .. } => {
                for named in addresses.iter().filter(|named| is_taken(&named.outcome)) {
                    named_in.entry(named.address.to_string()).or_insert(number);
                }
            }
            Event::Dialling { address } => entry.learned_from = named_in.get(&address.to_string()).copied(),
            _ => {}
        }
        entries.push(entry);
    }
    entries
}

/// Returns whether this node learned of an address, or that it may be dialled, by a HANDSHAKE.
fn is_taken(outcome: &AddressOutcome) -> bool {
    matches!(outcome, AddressOutcome::Dialled { .. } | AddressOutcome::Kept | AddressOutcome::Waiting { .. })
}

impl Entry {
    fn new(number: usize, time: f64, event: &Event) -> Self {
        let mut entry = Self {
            number,
            time: (time * 1e6).round() / 1e3,
            kind: kind(event),
            text: title(event),
            peer: None,
            address: None,
            link: None,
            learned_from: None,
            addresses: Vec::new(),
            more: 0,
            transactions: Vec::new(),
        };
        match event {
            Event::Dialling { address } | Event::DialFailed { address, .. } | Event::SelfDialled { address } => {
                entry.address = Some(address.to_string());
            }
            Event::LinkOpened { link, address, node } => {
                let peer = PeerName { node: *node, address: Some(address.clone()) };
                entry.set_peer(&peer, Some(link.0));
            }
            Event::HandshakeSent { link, peer, addresses, more } => {
                entry.set_peer(peer, Some(link.0));
                let named = |address: &crate::protocol::address::PeerAddress| Named {
                    address: address.to_string(),
                    text: None,
                };
                (entry.addresses, entry.more) = (addresses.iter().map(named).collect(), *more);
            }
            Event::HandshakeReceived { link, peer, addresses, more } => {
                entry.set_peer(peer, Some(link.0));
                let named = addresses
                    .iter()
                    .map(|named| Named { address: named.address.to_string(), text: Some(outcome(&named.outcome)) });
                (entry.addresses, entry.more) = (named.collect(), *more);
            }
            Event::Synced { link, peer, first, .. } => {
                entry.set_peer(peer, Some(link.0));
                entry.transactions = first.iter().map(ToString::to_string).collect();
            }
            Event::PeerUp { peer, .. }
            | Event::PeerDown { peer, .. }
            | Event::AddressesLearned { peer, .. }
            | Event::LanPeerFound { peer, .. }
            | Event::Replaying { peer, .. }
            | Event::Declined { peer, .. }
            | Event::DeclinedBy { peer, .. }
            | Event::SlotTaken { peer, .. } => entry.set_peer(peer, None),
            _ => {}
        }
        entry
    }

    fn set_peer(&mut self, peer: &PeerName, link: Option<u64>) {
        self.peer = id_of(peer);
        self.address = peer.address.as_ref().map(ToString::to_string);
        self.link = link;
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Dialling { .. } => "dial",
        Event::DialFailed { .. } => "failed",
        Event::SelfDialled { .. } => "self",
        Event::LinkOpened { .. } => "upgrade",
        Event::HandshakeSent { .. } => "handshake sent",
        Event::HandshakeReceived { .. } => "handshake received",
        Event::AddressesLearned { .. } | Event::LanPeerFound { .. } => "learned",
        Event::PeerUp { .. } => "linked",
        Event::PeerDown { .. } => "lost",
        Event::Synced { .. } => "synced",
        Event::Replaying { .. } => "replaying",
        _ => "membership",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::address::PeerAddress;
    use crate::protocol::event::NamedAddress;
    use crate::protocol::id::{LinkId, NodeId};
    use crate::protocol::transaction::TransactionId;

    fn address(port: u16) -> PeerAddress {
        PeerAddress::new("localhost", port).expect("an address")
    }

    #[test]
    fn an_entry_names_its_link_and_where_an_address_was_learned() {
        let peer = PeerName { node: Some(NodeId([1; 32])), address: Some(address(4001)) };
        let named = |port, outcome| NamedAddress { address: address(port), outcome };
        let dialled = AddressOutcome::Dialled { after: Default::default() };
        let events = [
            Event::Dialling { address: address(4001) },
            Event::LinkOpened { link: LinkId(1), address: address(4001), node: peer.node },
            Event::HandshakeReceived {
                link: LinkId(1),
                peer: peer.clone(),
                addresses: vec![named(4001, AddressOutcome::Connected), named(4002, dialled)],
                more: 3,
            },
            Event::PeerUp { peer: peer.clone(), dialled: true, peers: 1 },
            Event::Dialling { address: address(4002) },
            Event::Synced { link: LinkId(1), peer: peer.clone(), transactions: 2, first: vec![TransactionId([7; 32])] },
        ];
        let first = events.map(|event| FirstEvent { time: 1.5, event });
        let entries = entries(&first);
        let links: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.link, entry.learned_from)).collect();
        let expected = [
            ("dial", None, None),
            ("upgrade", Some(1), None),
            ("handshake received", Some(1), None),
            ("linked", Some(1), None),
            ("dial", None, Some(3)),
            ("synced", Some(1), None),
        ];
        assert_eq!(links, expected);
        let named: Vec<_> =
            entries[2].addresses.iter().map(|named| (named.address.as_str(), named.text.as_deref())).collect();
        assert_eq!(
            named,
            [("ws://localhost:4001", Some("is linked already")), ("ws://localhost:4002", Some("is dialled"))]
        );
        assert_eq!((entries[2].more, &entries[5].transactions), (3, &vec!["07".repeat(32)]));
        assert_eq!((entries[0].number, entries[0].time), (1, 1_500.0));
    }
}
