//! One tree per origin, so that each transaction reaches each node once: which link brings an origin's transactions, and which links want none of them.
//!
//! A tree grows by itself. The link on which an origin's latest new transaction was pushed to us is its **parent**; a direct link to the origin is always
//! the parent. A copy that comes on another link is answered with PRUNE, and that neighbour sends us nothing more of that origin. When the parent goes, GRAFT
//! makes every neighbour send again. In a full mesh a tree is a star: one hop, one copy. (Epidemic broadcast trees, Leitão et al. 2007, with one tree per origin
//! in place of one for all.)
//!
//! The table is bounded by two generations: an origin that was not heard of for a generation is forgotten, and its transactions are flooded again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::identity::LinkId;
use super::transaction::{Origin, TransactionId};

/// How many origins one generation holds; with two, at most 16,384.
const GENERATION: usize = 8_192;
/// A neighbour is told to prune an origin at most once in this time: copies that were on their way say nothing new.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How one origin's transactions come and go. Its order reaches no output.
#[derive(Debug, Default)]
struct Tree {
    parent: Option<LinkId>,
    /// Links whose other end wants none of this origin.
    pruned: Vec<LinkId>,
    /// Links whose other end was told that we want none, and when.
    told: Vec<(LinkId, Instant)>,
}

/// The trees of all origins.
#[derive(Debug, Default)]
pub(super) struct Trees {
    young: HashMap<Origin, Tree>,
    old: HashMap<Origin, Tree>,
    /// Whose the transactions are that were pushed lately, in two generations as well.
    lately: HashMap<TransactionId, Origin>,
    earlier: HashMap<TransactionId, Origin>,
}

impl Trees {
    /// Remembers whose a transaction is.
    pub(super) fn remember(&mut self, id: TransactionId, origin: &Origin) {
        if self.lately.len() >= GENERATION {
            self.earlier = std::mem::take(&mut self.lately);
        }
        self.lately.insert(id, origin.clone());
    }

    /// Whose a transaction is, if it was pushed lately.
    pub(super) fn origin_of(&self, id: &TransactionId) -> Option<Origin> {
        self.lately.get(id).or_else(|| self.earlier.get(id)).cloned()
    }

    fn tree(&mut self, origin: &Origin) -> &mut Tree {
        if !self.young.contains_key(origin) {
            let tree = self.old.remove(origin).unwrap_or_default();
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(origin.clone(), tree);
        }
        self.young.get_mut(origin).expect("it was put there if it was not")
    }

    fn all(&mut self) -> impl Iterator<Item = (&Origin, &mut Tree)> {
        self.young.iter_mut().chain(self.old.iter_mut())
    }

    /// The links whose other ends want none of an origin.
    pub(super) fn pruned(&mut self, origin: &Origin) -> &[LinkId] {
        &self.tree(origin).pruned
    }

    /// The first copy of a transaction was pushed on a link: that is the origin's parent now.
    pub(super) fn first_copy(&mut self, origin: &Origin, link: LinkId) {
        self.tree(origin).parent = Some(link);
    }

    /// Another copy was pushed on a link; `true` if that neighbour is to be told to prune the origin.
    pub(super) fn another_copy(&mut self, now: Instant, origin: &Origin, link: LinkId) -> bool {
        let tree = self.tree(origin);
        match tree.parent {
            None => {
                tree.parent = Some(link);
                false
            }
            Some(parent) if parent == link => false,
            Some(_) => tree.may_tell(now, link),
        }
    }

    /// The other end of a link wants none of an origin.
    pub(super) fn prune(&mut self, origin: &Origin, link: LinkId) {
        let tree = self.tree(origin);
        if !tree.pruned.contains(&link) {
            tree.pruned.push(link);
        }
    }

    /// The other end of a link wants an origin again; `true` if it was our own parent for it, which therefore has lost its way to the origin.
    pub(super) fn graft(&mut self, origin: &Origin, link: LinkId) -> bool {
        let tree = self.tree(origin);
        tree.pruned.retain(|pruned| *pruned != link);
        let orphaned = tree.parent == Some(link);
        if orphaned {
            tree.orphan();
        }
        orphaned
    }

    /// A link is gone: what was said on it is void. Returns the origins whose parent it was, in order.
    pub(super) fn forget_link(&mut self, link: LinkId) -> Vec<Origin> {
        let mut orphans = Vec::new();
        for (origin, tree) in self.all() {
            tree.pruned.retain(|pruned| *pruned != link);
            tree.told.retain(|(told, _)| *told != link);
            if tree.parent == Some(link) {
                tree.orphan();
                orphans.push(origin.clone());
            }
        }
        orphans.sort_unstable();
        orphans
    }
}

impl Tree {
    fn orphan(&mut self) {
        self.parent = None;
        self.told.clear();
    }

    fn may_tell(&mut self, now: Instant, link: LinkId) -> bool {
        match self.told.iter_mut().find(|(told, _)| *told == link) {
            Some((_, at)) if now.saturating_duration_since(*at) < TELL_EVERY => false,
            Some((_, at)) => {
                *at = now;
                true
            }
            None => {
                self.told.push((link, now));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::NodeId;
    use super::*;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn origin(n: u8) -> Origin {
        Origin::Node(NodeId([n; 32]))
    }

    #[test]
    fn copies_on_other_links_are_pruned_once_a_second_and_never_on_the_parent() {
        let (mut trees, now) = (Trees::default(), Instant::now());
        trees.first_copy(&origin(1), A);
        assert!(!trees.another_copy(now, &origin(1), A), "the parent");
        assert!(trees.another_copy(now, &origin(1), B));
        assert!(!trees.another_copy(now, &origin(1), B), "told a moment ago");
        assert!(trees.another_copy(now + TELL_EVERY, &origin(1), B));
        trees.first_copy(&origin(1), B);
        assert!(trees.another_copy(now, &origin(1), A), "the faster link is the parent now");
        assert!(!trees.another_copy(now, &origin(2), B), "an origin without parent takes who brings it");
    }

    #[test]
    fn prunes_die_with_their_link_and_orphans_are_named() {
        let mut trees = Trees::default();
        trees.first_copy(&origin(2), A);
        trees.first_copy(&origin(1), A);
        trees.first_copy(&origin(3), B);
        trees.prune(&origin(1), B);
        trees.prune(&origin(1), A);
        assert_eq!(trees.pruned(&origin(1)), [B, A]);
        assert_eq!(trees.forget_link(A), [origin(1), origin(2)]);
        assert_eq!(trees.pruned(&origin(1)), [B]);
        assert!(!trees.graft(&origin(1), B) && trees.pruned(&origin(1)).is_empty());
        assert!(trees.graft(&origin(3), B), "our parent asks us");
        assert!(trees.forget_link(B).is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut trees = Trees::default();
        for n in 0..3 * GENERATION as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            trees.prune(&Origin::Node(NodeId(id)), A);
        }
        assert!(trees.young.len() <= GENERATION && trees.old.len() <= GENERATION);
    }
}
