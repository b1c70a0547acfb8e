//! What must hold after every fact.

use std::collections::BTreeSet;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::limits;
use meshpool_proto::wire::{AckStatus, Message};
use meshpool_proto::transaction::TransactionId;

use super::{Net, Node};
use crate::check::{Fault, check_addresses, check_degree};
use crate::network::Network;

/// What a broken rule looks like to a fuzzer.
#[track_caller]
pub(super) fn keep(result: Result<(), Fault>) {
    if let Err((rule, what)) = result {
        panic!("{rule:?} broken: {what}");
    }
}

impl Net {
    /// What a node sends is a message, and true where we can tell.
    pub(super) fn check_frame(&mut self, node: usize, text: &str) {
        let message = Message::parse(&mut self.parser, text);
        if let Message::Ack(ack) = message.unwrap_or_else(|error| panic!("{text} is sent: {error}"))
            && let Ok(id) = ack.id.parse::<TransactionId>()
        {
            let Node { disk, offered, .. } = &self.nodes[node];
            // A duplicate may be one of a broadcast, which is on no disk.
            let due = ack.status == AckStatus::Stored || ack.status == AckStatus::Duplicate && offered.contains(&id);
            assert!(!due || disk.places.contains_key(&id), "{text} is sent before {id} is on disk");
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(text.to_owned());
        }
    }

    /// What a core says of itself between two facts.
    pub(super) fn check(&self, node: usize) {
        let Node { core, links, config, .. } = &self.nodes[node];
        // Whose address is whose only strangers know: that some link is open is what can be asked.
        let leads_to = |address: &PeerAddress| Some(if *address == Network::address(node) { node } else { usize::MAX });
        keep(check_addresses(core, node, leads_to, |_| !links.is_empty()));
        keep(check_degree(core, config.max_peers));
        assert!(core.linked_peers() <= links.len(), "{} peers on {} links", core.linked_peers(), links.len());
    }

    /// What a node says to whoever asks.
    pub(crate) fn check_status(&self, node: usize) {
        let Node { core, config, disk, .. } = &self.nodes[node];
        let asked: Vec<TransactionId> = disk.present.keys().copied().collect();
        let status = core.status(self.now, &asked);
        let most = config.limits.peer_table + config.known_peers.len() + config.remembered_peers.len() + 1;
        assert!(status.known <= most, "{} addresses are known", status.known);
        assert!(status.peers.len() <= limits::STATUS_PEERS);
        assert_eq!(status.held, asked.len(), "what is on disk is held");
        let attempting: BTreeSet<_> = status.attempting.iter().collect();
        assert!(status.connected.iter().all(|address| !attempting.contains(address)));
    }
}
