//! Who has to go when every place for accepted links is taken: whoever is of least use, and never somebody that a flood of newcomers could choose.
//!
//! Links that we dialled are not counted here, so no number of newcomers displaces one. Of the accepted ones stay those of known peers, those that brought most that was
//! new, and the older half of the rest; of what is left, the youngest goes of the address group that has most. That is the order of Bitcoin Core's
//! `SelectNodeToEvict`, with transactions brought in place of its several measures: to stay, an attacker must have been useful, or long there, or come from many networks. Before
//! all of these go clients that say nothing, and if nobody is left the newcomer itself is told that there is no place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::Node;
use crate::connections::table::{Link, Role};
use crate::id::LinkId;
use crate::peers::reputation::AddressGroup;
use crate::wire::close;

/// How many links are kept for what they brought.
const USEFUL: usize = 8;

impl Node {
    /// A connection was accepted: if there are more than there are places, somebody goes.
    pub(crate) fn make_place(&mut self, now: Instant, newcomer: LinkId) {
        let accepted = self.links.iter().filter(|(_, link)| link.dialled.is_none() && !link.closing).count();
        if accepted <= self.cx.config.limits.inbound_links {
            return;
        }
        let victim = self.least_useful(now, newcomer);
        self.cx.counters.links_evicted += 1;
        if victim != newcomer {
            let group = self.links.get(victim).and_then(|link| link.group);
            self.tell_refusal(now, group, "its place went to another connection");
        } else {
            let group = self.links.get(newcomer).and_then(|link| link.group);
            self.tell_refusal(now, group, "this node has no place for another connection");
        }
        self.links.close(&mut self.cx, victim, close::TRY_AGAIN_LATER, "this node has no place for another connection");
    }

    fn least_useful(&self, now: Instant, newcomer: LinkId) -> LinkId {
        let known: BTreeSet<LinkId> = self
            .book
            .connected()
            .filter(|(address, _)| self.book.get(address).is_some_and(|peer| peer.known))
            .map(|(_, link)| link)
            .collect();
        let accepted = || self.links.iter().filter(|(_, link)| link.dialled.is_none() && !link.closing);
        // A client that waits for an answer is not silent.
        let silence = self.cx.config.limits.client_silence / 2;
        let silent = |link: &Link| {
            matches!(link.role, Role::Client)
                && link.acks_due == 0
                && now.saturating_duration_since(link.heard) >= silence
        };
        let quietest = accepted().filter(|(_, link)| silent(link)).min_by_key(|(id, link)| (link.heard, *id));
        if let Some((client, _)) = quietest {
            return client;
        }
        // Clients come and go by themselves; the newcomer is one so far, but stands for whoever it may become.
        let peers = accepted().filter(|(id, link)| *id == newcomer || !matches!(link.role, Role::Client));
        let mut rest: Vec<(LinkId, &Link)> = peers.filter(|(id, _)| !known.contains(id)).collect();
        rest.sort_by_key(|(id, link)| (std::cmp::Reverse(link.brought), *id));
        let useful = rest.iter().take(USEFUL).filter(|(_, link)| link.brought > 0).count();
        rest.drain(..useful);
        rest.sort_by_key(|(id, _)| *id);
        rest.drain(..rest.len() / 2);
        let mut groups: BTreeMap<Option<AddressGroup>, (usize, LinkId)> = BTreeMap::new();
        for (id, link) in rest {
            let (count, youngest) = groups.entry(link.group.map(AddressGroup::network)).or_insert((0, id));
            *count += 1;
            *youngest = id;
        }
        groups.into_values().max().map_or(newcomer, |(_, youngest)| youngest)
    }
}
