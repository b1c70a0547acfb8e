//! Inbound eviction: which accepted link is closed when there are too many.
//!
//! Links that we dialled are not counted, so no number of newcomers displaces one. Silent clients
//! go first. Of the other accepted links, those of known peers, those that brought most new
//! transactions and the older half of the rest stay. Of what is left, the youngest link of the
//! network with most links is closed; if nothing is left, the newcomer is.
//!
//! A native peer is referred to other nodes, as one that is declined; a newcomer once it has
//! introduced itself.
//!
//! That is the order of Bitcoin Core's `SelectNodeToEvict`, with transactions brought in place of
//! its several measures. To stay, an attacker must have been useful, or linked for long, or come
//! from many networks. [`Connections::on_accepted`] calls it.

use std::collections::BTreeMap;

use crate::causes::ConnectionRefusal;
use crate::connections::Connections;
use crate::connections::table::{Link, LinkState};
use crate::context::Context;
use crate::id::LinkId;
use crate::internal_event::InternalEvent;
use crate::ip_prefix::IpPrefix;
use crate::peers::Peers;
use crate::wire::close;

/// How many links are kept for the transactions that they brought: as many as Bitcoin Core keeps by
/// ping time.
const USEFUL: usize = 8;
/// How many newcomers without a slot may wait to be referred to others.
const REFERRALS: usize = 8;

impl Connections {
    /// Closes an accepted link if there are more than there may be; `newcomer` was accepted last.
    pub(super) fn evict(&mut self, cx: &mut Context, peers: &mut Peers, newcomer: LinkId) {
        if self.links.accepted().count() <= cx.config.limits.inbound_links {
            return;
        }
        let victim = self.select_victim(cx, peers, newcomer);
        cx.counters.links_evicted += 1;
        let address_group = self.links.get(victim).and_then(|link| link.address_group);
        let most = cx.config.limits.inbound_links;
        let reason = if victim == newcomer { ConnectionRefusal::Full(most) } else { ConnectionRefusal::Evicted(most) };
        peers.refusals.log(cx, address_group, reason);
        let reason = "this node has no room for another connection".to_owned();
        let referred = self.links.iter().filter(|(_, link)| link.refused.is_some() && !link.closing).count();
        if self.links.get(victim).is_some_and(|link| link.introduced().is_some()) {
            cx.raise(InternalEvent::ToBeReferred { link: victim, reason, newcomer: None });
        } else if victim == newcomer && referred < REFERRALS {
            self.refuse_later(cx, victim, reason);
        } else {
            self.links.close(cx, victim, close::TRY_AGAIN_LATER, &reason);
        }
    }

    fn select_victim(&self, cx: &Context, peers: &Peers, newcomer: LinkId) -> LinkId {
        let known = self.known_links(peers);
        // A client that waits for an answer is not silent.
        let silence = cx.config.limits.client_silence / 2;
        let silent = |link: &Link| {
            matches!(link.state, LinkState::Client)
                && !link.awaits_ack()
                && cx.now.saturating_duration_since(link.heard) >= silence
        };
        let quietest =
            self.links.accepted().filter(|(_, link)| silent(link)).min_by_key(|(id, link)| (link.heard, *id));
        if let Some((client, _)) = quietest {
            return client;
        }
        // Other clients are never closed here. The newcomer is one so far, but may become a peer.
        let candidates =
            self.links.accepted().filter(|(id, link)| *id == newcomer || !matches!(link.state, LinkState::Client));
        let mut rest: Vec<(LinkId, &Link)> = candidates.filter(|(id, _)| !known.contains(id)).collect();
        rest.sort_by_key(|(id, link)| (std::cmp::Reverse(link.brought), *id));
        let useful = rest.iter().take(USEFUL).filter(|(_, link)| link.brought > 0).count();
        rest.drain(..useful);
        rest.sort_by_key(|(id, _)| *id);
        rest.drain(..rest.len() / 2);
        let mut networks: BTreeMap<Option<IpPrefix>, (usize, LinkId)> = BTreeMap::new();
        for (id, link) in rest {
            let (count, youngest) = networks.entry(link.address_group.map(IpPrefix::network)).or_insert((0, id));
            *count += 1;
            *youngest = id;
        }
        networks.into_values().max().map_or(newcomer, |(_, youngest)| youngest)
    }
}

#[cfg(test)]
mod tests;
