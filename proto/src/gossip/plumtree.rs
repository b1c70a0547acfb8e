//! One tree per origin, so that each transaction reaches each node once: which link brings an origin's transactions, and which links want none of them.
//!
//! A tree grows by itself. The link on which an origin's first transaction was pushed to us is its **parent**; a direct link to the origin is always
//! the parent. A copy that comes on another link is answered with PRUNE, and that neighbour sends us nothing more of that origin. When the parent goes, GRAFT
//! makes every neighbour send again. Who has a direct link to an origin says PRUNE to all others as soon as the first transaction comes on it: under a burst
//! the copies would fill every queue before they could be answered. In a full mesh a tree is a star: one hop, one copy. (Epidemic broadcast trees, Leitão et al. 2007, with one tree per origin
//! in place of one for all.)
//!
//! The table is bounded by two generations: an origin that was not heard of for a generation is forgotten, and its transactions are flooded again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::id::LinkId;
use crate::transaction::{IdSet, Origin, TransactionId};

/// How many origins one generation holds; with two, at most 16,384.
const GENERATION: usize = 8_192;
/// Of how many transactions that were pushed lately it is known whose they are: a tenth of a second of as many as a node can take.
const LATELY: usize = 16_384;
/// A neighbour is told to prune an origin at most once in this time: copies that were on their way say nothing new.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// After so many transactions that a parent did not bring at all, first or not, another takes its place: it withholds them, or lost its own way.
const SILENT: u32 = 16;

/// How one origin's transactions come and go. Its order reaches no output.
#[derive(Debug, Default)]
struct Tree {
    parent: Option<LinkId>,
    /// Links whose other end wants none of this origin, in order.
    pruned: Vec<LinkId>,
    /// Links whose other end was told that we want none, and when. The parent is never among them.
    told: Vec<(LinkId, Instant)>,
    /// How many first copies came on other links since the parent last brought one, first or not.
    silent: u32,
    /// Who was faster than the parent last.
    faster: Option<LinkId>,
}

/// What is to be said to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeAction {
    Nothing,
    /// Send no more of this origin.
    Prune(LinkId),
    /// Send this origin again.
    Graft(LinkId),
}

/// The trees of all origins.
#[derive(Debug, Default)]
pub(crate) struct Plumtree {
    young: HashMap<Origin, Tree, RandomState>,
    old: HashMap<Origin, Tree, RandomState>,
    /// What was pushed lately, the oldest first. A list: each transaction is put into it, and hardly one is looked for.
    lately: VecDeque<TransactionId>,
    /// Whose these are: so many in a row are of this origin.
    runs: VecDeque<(Origin, usize)>,
}

impl Plumtree {
    /// Remembers whose a transaction is.
    pub(crate) fn remember(&mut self, id: TransactionId, origin: &Origin) {
        if self.lately.len() >= LATELY {
            self.lately.pop_front();
            if let Some((_, count)) = self.runs.front_mut() {
                *count -= 1;
            }
            self.runs.pop_front_if(|(_, count)| *count == 0);
        }
        self.lately.push_back(id);
        match self.runs.back_mut() {
            Some((last, count)) if last == origin => *count += 1,
            _ => self.runs.push_back((origin.clone(), 1)),
        }
    }

    /// Whose these transactions are, those of them that were pushed lately.
    pub(crate) fn origins_of(&self, ids: &IdSet) -> BTreeSet<&Origin> {
        let mut origins = BTreeSet::new();
        let mut lately = self.lately.iter();
        for (origin, count) in &self.runs {
            // All of a run are passed over, also once one was found.
            if lately.by_ref().take(*count).filter(|id| ids.contains(*id)).count() > 0 {
                origins.insert(origin);
            }
        }
        origins
    }

    fn tree(&mut self, origin: &Origin) -> &mut Tree {
        if self.young.len() >= GENERATION && !self.young.contains_key(origin) {
            let tree = self.old.remove(origin).unwrap_or_default();
            self.old = std::mem::take(&mut self.young);
            return self.young.entry(origin.clone()).or_insert(tree);
        }
        let Self { young, old, .. } = self;
        young.entry(origin.clone()).or_insert_with(|| old.remove(origin).unwrap_or_default())
    }

    fn all(&mut self) -> impl Iterator<Item = (&Origin, &mut Tree)> {
        self.young.iter_mut().chain(self.old.iter_mut())
    }

    /// The links whose other ends want none of an origin, in order.
    pub(crate) fn pruned(&mut self, origin: &Origin) -> &[LinkId] {
        &self.tree(origin).pruned
    }

    /// The first copy of a transaction was pushed on a link. The parent stays who it is for as long as it delivers; one that others beat time and again
    /// without its own copy coming at all is replaced.
    pub(crate) fn first_copy(&mut self, origin: &Origin, link: LinkId) -> TreeAction {
        let tree = self.tree(origin);
        match tree.parent {
            Some(parent) if parent == link => tree.silent = 0,
            Some(_) => {
                tree.silent += 1;
                tree.faster = Some(link);
                if tree.silent >= SILENT {
                    return tree.adopt(link);
                }
            }
            None => return tree.adopt(link),
        }
        TreeAction::Nothing
    }

    /// A direct link to an origin is its parent, whoever was before; `None` if it was already.
    pub(crate) fn direct(&mut self, origin: &Origin, link: LinkId) -> Option<TreeAction> {
        let tree = self.tree(origin);
        (tree.parent != Some(link)).then(|| tree.adopt(link))
    }

    /// What comes on a link that is not the parent is not needed.
    pub(crate) fn superfluous(&mut self, now: Instant, origin: &Origin, link: LinkId) -> TreeAction {
        self.tree(origin).prune_it(now, link)
    }

    /// Another copy was pushed on a link.
    pub(crate) fn another_copy(&mut self, now: Instant, origin: &Origin, link: LinkId) -> TreeAction {
        let tree = self.tree(origin);
        match tree.parent {
            None => tree.adopt(link),
            // The parent delivers: whoever was faster need not.
            Some(parent) if parent == link => {
                tree.silent = 0;
                tree.faster.take().map_or(TreeAction::Nothing, |faster| tree.prune_it(now, faster))
            }
            Some(_) => tree.prune_it(now, link),
        }
    }

    /// The other end of a link wants none of an origin. Of one that we never heard of there is nothing to note, unless it is a `neighbour`: whoever is quick
    /// may hear from it before we do.
    /// Says whether that is news.
    pub(crate) fn prune(&mut self, origin: &Origin, link: LinkId, neighbour: bool) -> bool {
        let tree = if neighbour { Some(self.tree(origin)) } else { self.known(origin) };
        let Some(tree) = tree.filter(|tree| tree.pruned.binary_search(&link).is_err()) else { return false };
        let place = tree.pruned.partition_point(|other| *other < link);
        tree.pruned.insert(place, link);
        true
    }

    /// The other end of a link wants an origin again; `true` if it was our own parent for it, which therefore has lost its way to the origin.
    pub(crate) fn graft(&mut self, origin: &Origin, link: LinkId) -> bool {
        let Some(tree) = self.known(origin) else { return false };
        tree.pruned.retain(|pruned| *pruned != link);
        let orphaned = tree.parent == Some(link);
        if orphaned {
            tree.orphan();
        }
        orphaned
    }

    /// As [`Self::graft`], for every origin; returns those whose parent it was, in order.
    pub(crate) fn graft_all(&mut self, link: LinkId) -> Vec<Origin> {
        self.forget_link(link)
    }

    /// The other end of a link gets an origin's transactions from us again, although it did not ask.
    pub(crate) fn unprune(&mut self, origin: &Origin, link: LinkId) {
        if let Some(tree) = self.known(origin) {
            tree.pruned.retain(|pruned| *pruned != link);
        }
    }

    fn known(&mut self, origin: &Origin) -> Option<&mut Tree> {
        match self.young.get_mut(origin) {
            Some(tree) => Some(tree),
            None => self.old.get_mut(origin),
        }
    }

    /// A link is gone: what was said on it is void. Returns the origins whose parent it was, in order.
    pub(crate) fn forget_link(&mut self, link: LinkId) -> Vec<Origin> {
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
        self.faster = None;
        self.silent = 0;
    }

    /// Makes a link the parent. If its other end was told to send nothing, it is asked to send again.
    fn adopt(&mut self, link: LinkId) -> TreeAction {
        let told = self.told.iter().any(|(told, _)| *told == link);
        self.told.retain(|(told, _)| *told != link);
        self.parent = Some(link);
        self.faster = None;
        self.silent = 0;
        if told { TreeAction::Graft(link) } else { TreeAction::Nothing }
    }

    fn prune_it(&mut self, now: Instant, link: LinkId) -> TreeAction {
        match self.told.iter_mut().find(|(told, _)| *told == link) {
            Some((_, at)) if now.saturating_duration_since(*at) < TELL_EVERY => return TreeAction::Nothing,
            Some((_, at)) => *at = now,
            None => self.told.push((link, now)),
        }
        TreeAction::Prune(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn origin(n: u8) -> Origin {
        Origin::Node(NodeId([n; 32]))
    }

    #[test]
    fn copies_on_other_links_are_pruned_once_a_second_and_never_on_the_parent() {
        let (mut trees, now) = (Plumtree::default(), Instant::now());
        assert_eq!(trees.first_copy(&origin(1), A), TreeAction::Nothing);
        assert_eq!(trees.another_copy(now, &origin(1), A), TreeAction::Nothing, "the parent");
        assert_eq!(trees.another_copy(now, &origin(1), B), TreeAction::Prune(B));
        assert_eq!(trees.another_copy(now, &origin(1), B), TreeAction::Nothing, "told a moment ago");
        assert_eq!(trees.another_copy(now + TELL_EVERY, &origin(1), B), TreeAction::Prune(B));
        assert_eq!(
            trees.another_copy(now, &origin(2), B),
            TreeAction::Nothing,
            "an origin without parent takes who brings it"
        );
    }

    #[test]
    fn a_copy_that_was_on_its_way_when_its_sender_was_pruned_moves_no_parent() {
        let (mut trees, now) = (Plumtree::default(), Instant::now());
        trees.first_copy(&origin(1), A);
        assert_eq!(trees.another_copy(now, &origin(1), B), TreeAction::Prune(B));
        assert_eq!(trees.first_copy(&origin(1), B), TreeAction::Nothing, "the next one, still in flight");
        assert_eq!(
            trees.another_copy(now, &origin(1), A),
            TreeAction::Nothing,
            "the parent's copy of it must not prune the parent"
        );
    }

    #[test]
    fn a_parent_that_brings_nothing_is_replaced_and_its_successor_asked_to_send() {
        let (mut trees, now) = (Plumtree::default(), Instant::now());
        trees.first_copy(&origin(1), A);
        trees.another_copy(now, &origin(1), B);
        let told: Vec<TreeAction> = (0..SILENT).map(|_| trees.first_copy(&origin(1), B)).collect();
        assert_eq!(told.last(), Some(&TreeAction::Graft(B)));
        assert!(told[..told.len() - 1].iter().all(|tell| *tell == TreeAction::Nothing));
        assert_eq!(trees.another_copy(now, &origin(1), A), TreeAction::Prune(A));
    }

    #[test]
    fn whoever_is_faster_than_a_parent_that_delivers_is_pruned() {
        let (mut trees, now) = (Plumtree::default(), Instant::now());
        trees.first_copy(&origin(1), A);
        assert_eq!(trees.first_copy(&origin(1), B), TreeAction::Nothing);
        assert_eq!(trees.another_copy(now, &origin(1), A), TreeAction::Prune(B));
        assert_eq!(trees.direct(&origin(1), B), Some(TreeAction::Graft(B)), "a direct link takes over, and was pruned");
        assert_eq!(trees.direct(&origin(1), B), None);
    }

    #[test]
    fn prunes_die_with_their_link_and_orphans_are_named() {
        let mut trees = Plumtree::default();
        trees.first_copy(&origin(2), A);
        trees.first_copy(&origin(1), A);
        trees.first_copy(&origin(3), B);
        trees.prune(&origin(1), B, false);
        trees.prune(&origin(1), A, false);
        trees.prune(&origin(9), A, false);
        assert_eq!(trees.pruned(&origin(1)), [A, B]);
        assert!(trees.pruned(&origin(9)).is_empty(), "an origin that nobody sent");
        trees.prune(&origin(8), B, true);
        assert_eq!(trees.pruned(&origin(8)), [B], "a neighbour may be heard elsewhere first");
        assert_eq!(trees.forget_link(A), [origin(1), origin(2)]);
        assert_eq!(trees.pruned(&origin(1)), [B]);
        assert!(!trees.graft(&origin(1), B) && trees.pruned(&origin(1)).is_empty());
        assert!(trees.graft(&origin(3), B), "our parent asks us");
        assert!(trees.forget_link(B).is_empty());
    }

    #[test]
    fn whose_a_transaction_is_is_known_for_as_long_as_it_was_pushed_lately() {
        let mut trees = Plumtree::default();
        let id = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            TransactionId(id)
        };
        // Three in a row of each origin but the first, of which there are two.
        let whose = |n: usize| origin(((n + 1) / 3 % 7) as u8);
        for n in 0..LATELY + 4 {
            trees.remember(id(n), &whose(n));
        }
        let origins = |ids: &[usize]| {
            let ids = ids.iter().map(|n| id(*n)).collect();
            trees.origins_of(&ids).into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(origins(&[0, 3, LATELY + 4]), [], "forgotten, or never seen");
        assert_eq!(origins(&[4]), [whose(4)]);
        assert_eq!(
            origins(&[LATELY + 3, 5, 4]),
            std::collections::BTreeSet::from([whose(4), whose(5), whose(LATELY + 3)]).into_iter().collect::<Vec<_>>()
        );
        assert_eq!(trees.runs.iter().map(|(_, count)| count).sum::<usize>(), LATELY);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut trees = Plumtree::default();
        for n in 0..3 * GENERATION as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            trees.first_copy(&Origin::Node(NodeId(id)), A);
        }
        assert!(trees.young.len() <= GENERATION && trees.old.len() <= GENERATION);
    }

    #[test]
    fn ten_million_transactions_and_a_million_origins_take_no_more_memory_than_two_generations() {
        let mut trees = Plumtree::default();
        let mut id = [0; 32];
        let mut feed = |trees: &mut Plumtree, from: u64, to: u64| {
            for n in from..to {
                id[..8].copy_from_slice(&n.to_be_bytes());
                let origin = Origin::Node(NodeId(id));
                trees.remember(TransactionId(id), &origin);
                if n % 10 == 0 {
                    trees.first_copy(&origin, A);
                    trees.prune(&origin, B, false);
                }
            }
        };
        let room = |trees: &Plumtree| {
            [trees.young.capacity(), trees.old.capacity(), trees.lately.capacity(), trees.runs.capacity()]
        };
        feed(&mut trees, 0, 30 * GENERATION as u64);
        let full = room(&trees);
        feed(&mut trees, 30 * GENERATION as u64, 10_000_000);
        assert!(
            room(&trees).iter().zip(&full).all(|(now, then)| now <= then),
            "{:?} instead of {full:?}",
            room(&trees)
        );
    }
}
