//! The state of every origin's tree: which link brings its transactions, and which links want none
//! of them.
//!
//! The **parent** of a tree is the link on which the origin's transactions come first. Other links
//! that bring copies are sent PRUNE. A link whose other end sent PRUNE is **lazy**: nothing of that
//! origin goes out on it.
//!
//! It is bounded by two generations: an origin that was not heard of for one generation is
//! forgotten, and its transactions are flooded again.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::id::LinkId;
use crate::limits;
use crate::transaction::{IdSet, Origin, TransactionId};
use crate::util::generations::Generations;

/// How many origins one generation holds.
const GENERATION: usize = limits::TREES / 2;
/// Of how many recent transactions the origin is known: a tenth of a second of as many as a node
/// can take.
const RECENT: usize = 16_384;
/// The shortest time between two PRUNEs of one origin on one link: copies that were in flight say
/// nothing new.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
/// After so many transactions that a parent did not bring at all, first or not, another link takes
/// its place: the parent withholds them, or has lost its own way to the origin.
const MISSED: u32 = 16;

/// The tree of one origin.
#[derive(Debug, Default)]
struct Tree {
    parent: Option<LinkId>,
    /// Links whose other end wants nothing of this origin, in order.
    lazy: Vec<LinkId>,
    /// Links that were sent PRUNE, and when. The parent is never among them.
    pruned: Vec<(LinkId, Instant)>,
    /// How many first copies came on other links since the parent last brought a copy, first or
    /// not.
    missed: u32,
    /// The link that was last faster than the parent.
    faster: Option<LinkId>,
}

/// A frame that a change in a tree calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TreeAction {
    Nothing,
    /// Tell the peer to send nothing more of this origin.
    Prune(LinkId),
    /// Ask the peer to send this origin again.
    Graft(LinkId),
}

/// The trees of all origins.
#[derive(Debug)]
pub(crate) struct Trees {
    trees: Generations<Origin, Tree>,
    /// Recent transactions, the oldest first. A list: each transaction is put into it, and hardly
    /// one is looked up.
    recent: VecDeque<TransactionId>,
    /// Their origins: so many in a row are of this one.
    runs: VecDeque<(Origin, usize)>,
}

impl Default for Trees {
    fn default() -> Self {
        Self { trees: Generations::new(GENERATION), recent: VecDeque::new(), runs: VecDeque::new() }
    }
}

impl Trees {
    /// Remembers the origin of a transaction.
    pub(crate) fn remember(&mut self, id: TransactionId, origin: &Origin) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
            if let Some((_, count)) = self.runs.front_mut() {
                *count -= 1;
            }
            self.runs.pop_front_if(|(_, count)| *count == 0);
        }
        self.recent.push_back(id);
        match self.runs.back_mut() {
            Some((last, count)) if last == origin => *count += 1,
            _ => self.runs.push_back((origin.clone(), 1)),
        }
    }

    /// Returns the origins of those of these transactions that are recent.
    pub(crate) fn origins_of(&self, ids: &IdSet) -> BTreeSet<&Origin> {
        let mut origins = BTreeSet::new();
        let mut recent = self.recent.iter();
        for (origin, count) in &self.runs {
            // The whole run is passed over, also once one was found.
            if recent.by_ref().take(*count).filter(|id| ids.contains(*id)).count() > 0 {
                origins.insert(origin);
            }
        }
        origins
    }

    /// Returns the links whose other ends want nothing of an origin, in order.
    pub(crate) fn lazy(&mut self, now: Instant, origin: &Origin) -> &[LinkId] {
        &self.trees.entry(now, origin).lazy
    }

    /// Handles the first copy of a transaction. The parent stays for as long as it delivers. If
    /// others are faster again and again, without its own copy coming at all, it is replaced.
    pub(crate) fn on_first_copy(&mut self, now: Instant, origin: &Origin, link: LinkId) -> TreeAction {
        let tree = self.trees.entry(now, origin);
        match tree.parent {
            Some(parent) if parent == link => tree.missed = 0,
            Some(_) => {
                tree.missed += 1;
                tree.faster = Some(link);
                if tree.missed >= MISSED {
                    return tree.adopt(link);
                }
            }
            None => return tree.adopt(link),
        }
        TreeAction::Nothing
    }

    /// Handles another copy of a transaction.
    pub(crate) fn on_copy(&mut self, now: Instant, origin: &Origin, link: LinkId) -> TreeAction {
        let tree = self.trees.entry(now, origin);
        match tree.parent {
            None => tree.adopt(link),
            // The parent delivers, so the link that was faster need not.
            Some(parent) if parent == link => {
                tree.missed = 0;
                tree.faster.take().map_or(TreeAction::Nothing, |faster| tree.prune(now, faster))
            }
            Some(_) => tree.prune(now, link),
        }
    }

    /// Makes the direct link to an origin its parent; `None` if it was already.
    pub(crate) fn adopt_direct(&mut self, now: Instant, origin: &Origin, link: LinkId) -> Option<TreeAction> {
        let tree = self.trees.entry(now, origin);
        (tree.parent != Some(link)).then(|| tree.adopt(link))
    }

    /// Prunes a link that is not the parent, before a copy comes on it.
    pub(crate) fn prune(&mut self, now: Instant, origin: &Origin, link: LinkId) -> TreeAction {
        self.trees.entry(now, origin).prune(now, link)
    }

    /// Handles a PRUNE that came on a link, and returns whether that is news. Of an unknown origin
    /// nothing is noted, unless we are its `neighbour`: a faster peer may hear from it before we
    /// do.
    pub(crate) fn on_prune(&mut self, now: Instant, origin: &Origin, link: LinkId, neighbour: bool) -> bool {
        let tree = if neighbour { Some(self.trees.entry(now, origin)) } else { self.trees.get_mut(origin) };
        let Some(tree) = tree else { return false };
        let Err(at) = tree.lazy.binary_search(&link) else { return false };
        tree.lazy.insert(at, link);
        true
    }

    /// Handles a GRAFT that came on a link. Returns whether it was our own parent for this origin,
    /// which therefore has lost its way to the origin.
    pub(crate) fn on_graft(&mut self, origin: &Origin, link: LinkId) -> bool {
        let Some(tree) = self.trees.get_mut(origin) else { return false };
        tree.lazy.retain(|lazy| *lazy != link);
        let orphaned = tree.parent == Some(link);
        if orphaned {
            tree.orphan();
        }
        orphaned
    }

    /// Sends an origin's transactions on a link again, whose other end did not ask for it.
    pub(crate) fn make_eager(&mut self, origin: &Origin, link: LinkId) {
        if let Some(tree) = self.trees.get_mut(origin) {
            tree.lazy.retain(|lazy| *lazy != link);
        }
    }

    /// Forgets what was said on a link: it is closed, or its other end grafts everything. Returns
    /// the origins whose parent it was, in order.
    pub(crate) fn forget_link(&mut self, link: LinkId) -> Vec<Origin> {
        let mut orphans = Vec::new();
        for (origin, tree) in self.trees.iter_mut() {
            tree.lazy.retain(|lazy| *lazy != link);
            tree.pruned.retain(|(pruned, _)| *pruned != link);
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
        self.pruned.clear();
        self.faster = None;
        self.missed = 0;
    }

    /// Makes a link the parent. If it was sent PRUNE, it is asked to send again.
    fn adopt(&mut self, link: LinkId) -> TreeAction {
        let pruned = self.pruned.iter().any(|(pruned, _)| *pruned == link);
        self.pruned.retain(|(pruned, _)| *pruned != link);
        self.parent = Some(link);
        self.faster = None;
        self.missed = 0;
        if pruned { TreeAction::Graft(link) } else { TreeAction::Nothing }
    }

    fn prune(&mut self, now: Instant, link: LinkId) -> TreeAction {
        match self.pruned.iter_mut().find(|(pruned, _)| *pruned == link) {
            Some((_, at)) if now.saturating_duration_since(*at) < PRUNE_INTERVAL => return TreeAction::Nothing,
            Some((_, at)) => *at = now,
            None => self.pruned.push((link, now)),
        }
        TreeAction::Prune(link)
    }
}

#[cfg(test)]
mod tests;
