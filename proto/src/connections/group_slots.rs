//! The slots of one address group, shared among its nodes.
//!
//! A node accepts a bounded number of links of one address group. Where many nodes are behind one
//! address, as in a classroom, the first of them would take all slots of all nodes that can be
//! dialled, and the others would stay alone. So a newcomer without any link takes the slot of a
//! node of its own group that is linked elsewhere too.
//!
//! A link counts if both of its ends announce it. So a stranger can take slots only from nodes at
//! its own address, and leaves each of them a link.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::seq::IteratorRandom;

use crate::connections::table::{LinkState, LinkTable, NativePeer};
use crate::context::Context;
use crate::id::{LinkId, NodeId};
use crate::ip_prefix::IpPrefix;
use crate::util::generations::Generations;
use crate::util::rate_limit::RateLimit;

/// How often a slot of one address group changes hands at most. It is not before all have heard of
/// the link that is gone: otherwise another node might close the last one of the same node.
const SHARE_EVERY: Duration = Duration::from_secs(2);
/// How many address groups one generation remembers.
const GROUPS: usize = 1_024;

/// The close reason for the node whose slot changes hands.
pub(crate) const SHARED: &str = "another node at your address had no link, and takes this slot";

/// See the module.
#[derive(Debug)]
pub(super) struct GroupSlots {
    shared: Generations<IpPrefix, RateLimit>,
}

impl Default for GroupSlots {
    fn default() -> Self {
        Self { shared: Generations::new(GROUPS) }
    }
}

impl GroupSlots {
    /// Returns the link whose slot a newcomer is to have that there is none for: that of any node
    /// of its address group that is linked elsewhere. It is drawn, so that the nodes that a
    /// newcomer dials at the same time do not all take from one. `known`: the links that stay;
    /// `heard_within`: how long all need to hear of a changed link.
    pub(super) fn share(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        known: &BTreeSet<LinkId>,
        (newcomer, node): (LinkId, NodeId),
        heard_within: Duration,
        linked_elsewhere: impl Fn(BTreeSet<NodeId>) -> BTreeSet<NodeId>,
    ) -> Option<LinkId> {
        let group = links.get(newcomer)?.address_group?;
        let of_group: Vec<_> = links.accepted().filter(|(_, link)| link.address_group == Some(group)).collect();
        if of_group.len() < cx.config.limits.inbound_per_ip || !linked_elsewhere([node].into()).is_empty() {
            return None;
        }
        let every = SHARE_EVERY.max(heard_within);
        self.shared.entry(cx.now, &group).spend(cx.now, every, every).ok()?;
        let same_group: Vec<(LinkId, NodeId)> = of_group
            .into_iter()
            .filter(|(id, _)| !known.contains(id))
            .filter_map(|(id, link)| match &link.state {
                LinkState::Established(NativePeer { id: other, .. }) if *other != node => Some((id, *other)),
                _ => None,
            })
            .collect();
        let linked = linked_elsewhere(same_group.iter().map(|(_, node)| *node).collect());
        let shared = same_group.into_iter().filter(|(_, node)| linked.contains(node)).choose(&mut cx.rng);
        shared.map(|(link, _)| link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::address_book::AddressState;
    use crate::testing::overlay::{Overlay, ip, native};

    const GROUP: u8 = 20;

    /// A node with so many established links of one address group, by the nodes 1 and up, and a
    /// newcomer of that group.
    fn full(links: u64) -> (Overlay, LinkId) {
        let mut overlay = Overlay::with(|config| config.limits.inbound_per_ip = 3);
        let newcomer = LinkId(links + 1);
        for link in (1..=newcomer.0).map(LinkId) {
            overlay.conns.links.open(link, ip(GROUP), None, LinkState::Client, overlay.cx.now);
            if link != newcomer {
                overlay.conns.links.set_native(link, LinkState::Established(native(GROUP + link.0 as u8)));
            }
        }
        overlay.conns.links.get_mut(newcomer).expect("open").refused = Some("no room".into());
        (overlay, newcomer)
    }

    fn node(n: u8) -> NodeId {
        native(GROUP + n).id
    }

    /// Returns the node whose slot a newcomer has, if these nodes are linked elsewhere.
    fn shared(overlay: &mut Overlay, newcomer: LinkId, linked: &[u8]) -> Option<NodeId> {
        shared_if(overlay, newcomer, linked, Duration::ZERO)
    }

    /// The same where all need so long to hear of a changed link.
    fn shared_if(overlay: &mut Overlay, newcomer: LinkId, linked: &[u8], heard_within: Duration) -> Option<NodeId> {
        let linked: BTreeSet<NodeId> = linked.iter().map(|n| node(*n)).collect();
        let linked = |nodes: BTreeSet<NodeId>| &nodes & &linked;
        let Overlay { cx, peers, conns, .. } = overlay;
        let link = conns.share_slot(cx, peers, (newcomer, node(50)), heard_within, linked)?;
        conns.links.get(link)?.native().map(|peer| peer.id)
    }

    #[test]
    fn a_newcomer_without_a_link_takes_the_slot_of_any_that_has_another() {
        for (linked, expected) in [
            (&[1, 2, 3][..], &[Some(1), Some(2), Some(3)][..]),
            (&[1, 3], &[Some(1), Some(3)]),
            (&[2], &[Some(2)]),
            (&[], &[None]),
            (&[1, 2, 3, 50], &[None]),
        ] {
            let (mut overlay, newcomer) = full(3);
            let drawn: BTreeSet<Option<NodeId>> = (0..40)
                .map(|_| {
                    overlay.pass(SHARE_EVERY);
                    shared(&mut overlay, newcomer, linked)
                })
                .collect();
            assert_eq!(drawn, expected.iter().map(|n| n.map(node)).collect(), "{linked:?}");
        }
    }

    #[test]
    fn only_a_full_group_shares_its_own_slots() {
        let (mut overlay, newcomer) = full(2);
        assert_eq!(shared(&mut overlay, newcomer, &[1, 2]), None, "there is a slot");
        let (mut overlay, newcomer) = full(4);
        overlay.conns.links.get_mut(LinkId(4)).expect("open").closing = true;
        assert_eq!(shared(&mut overlay, newcomer, &[3, 4]), Some(node(3)), "the fourth is closing");
        let other = overlay.pending_peer(GROUP + 1);
        assert_eq!(shared(&mut overlay, other, &[1, 2, 3, 4]), None, "another address");
    }

    #[test]
    fn links_of_known_peers_and_of_the_newcomer_itself_stay() {
        let (mut overlay, newcomer) = full(3);
        let known = overlay.know(GROUP + 3);
        overlay.peers.book.set_state(&known, AddressState::Connected(LinkId(3)));
        overlay.conns.links.set_native(LinkId(2), LinkState::Established(native(GROUP + 50)));
        assert_eq!(overlay.conns.known_links(&overlay.peers), [LinkId(3)].into());
        for _ in 0..20 {
            assert_eq!(shared(&mut overlay, newcomer, &[1, 2, 3]), Some(node(1)));
            overlay.pass(SHARE_EVERY);
        }
    }

    #[test]
    fn a_slot_of_a_group_changes_hands_each_two_seconds_or_once_all_have_heard_of_it() {
        for (heard_within, every) in [(Duration::ZERO, SHARE_EVERY), (Duration::from_secs(50), Duration::from_secs(50))]
        {
            let (mut overlay, newcomer) = full(3);
            for _ in 0..2 {
                // A newcomer that is linked takes none of these times from one that is not.
                assert!(shared_if(&mut overlay, newcomer, &[1, 50], heard_within).is_none());
                assert!(shared_if(&mut overlay, newcomer, &[1], heard_within).is_some());
                overlay.pass(every - Duration::from_millis(1));
                assert!(shared_if(&mut overlay, newcomer, &[1], heard_within).is_none());
                overlay.pass(Duration::from_millis(1));
            }
        }
    }
}
