//! The queue of dials: addresses that are due and wait for a place, by the group that named them.
//!
//! A liar can name thousands of addresses at which nobody answers. With one queue for all, those of
//! honest nodes would wait behind them, and this node would scan foreign networks. So each group
//! has a queue and a bound of its own, and dials that failed count for a while. The group that has
//! fewest under way is next; of several, the one of which fewest failed lately. What the user named
//! goes first and has no such bound. Within a group an address that its node named goes before
//! those that others named, the latest first: it is alive, and who invents such addresses must send
//! a HANDSHAKE for each two.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::address::PeerAddress;
use crate::ip_prefix::SourceGroup;
use crate::peers::address_book::{AddressBook, AddressState};

/// How many dials on the word of one group are under way or failed lately: half of all, so that
/// no group takes all places, and so many dials a second that nobody answers.
pub(crate) const PER_GROUP: usize = 16;
/// For how long a dial that failed counts. One that led to a node does not count any more.
pub(crate) const FAILED_COUNTS: Duration = Duration::from_secs(1);
/// For how long it is remembered of a group whose turn it is how many of its dials failed: many
/// groups that name addresses which accept and never answer would otherwise have all others wait.
const FAILED_REMEMBERED: Duration = Duration::from_secs(60);
/// How many are counted, and of how many groups they are remembered.
const FAILED_MOST: usize = 64;
const GROUPS_MOST: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DialQueue {
    groups: BTreeMap<SourceGroup, Group>,
    /// The dials that were begun, and for which group. Those that ended are removed when it is
    /// counted.
    begun: BTreeMap<PeerAddress, SourceGroup>,
}

#[derive(Debug, Default)]
struct Group {
    waiting: VecDeque<PeerAddress>,
    /// When its last dials failed, the oldest first.
    failed: VecDeque<Instant>,
}

impl DialQueue {
    /// Begins a dial if one of the groups that named the address has a place. Returns whether it
    /// did.
    pub(crate) fn begin(&mut self, now: Instant, book: &AddressBook, address: &PeerAddress) -> bool {
        let Some((group, load)) = self.lightest(now, book, address) else { return false };
        let begins = load < PER_GROUP;
        if begins {
            self.begun.insert(address.clone(), group);
        }
        begins
    }

    /// Lets an address wait for its turn.
    pub(crate) fn push(&mut self, now: Instant, book: &AddressBook, address: PeerAddress) {
        let Some((group, _)) = self.lightest(now, book, &address) else { return };
        let waiting = &mut self.groups.entry(group).or_default().waiting;
        if book.get(&address).is_some_and(|peer| peer.self_announced) {
            waiting.push_front(address);
        } else {
            waiting.push_back(address);
        }
    }

    /// Takes the next address that has a place: of the group with the fewest dials.
    pub(crate) fn pop(&mut self, now: Instant, book: &AddressBook) -> Option<PeerAddress> {
        let under_way = self.under_way(book);
        let waiting = self.groups.iter_mut().filter(|(_, group)| !group.waiting.is_empty());
        let loads = waiting.map(|(of, group)| (group.load(now, *of, &under_way), group.failed.len(), *of));
        let (_, _, group) = loads.filter(|(load, ..)| *load < PER_GROUP).min()?;
        self.groups.get_mut(&group)?.waiting.pop_front()
    }

    /// Notes that a dial failed.
    pub(crate) fn on_failed(&mut self, now: Instant, address: &PeerAddress) {
        if let Some(group) = self.begun.remove(address).filter(|group| *group != SourceGroup::User) {
            let failed = &mut self.groups.entry(group).or_default().failed;
            if failed.len() >= FAILED_MOST {
                failed.pop_front();
            }
            failed.push_back(now);
        }
    }

    /// Returns when an address that waits may have a place because a failed dial counts no longer.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Instant> {
        let remembered = if self.groups.len() > GROUPS_MOST { FAILED_COUNTS } else { FAILED_REMEMBERED };
        self.groups.retain(|_, group| {
            group.forget(now, remembered);
            !group.waiting.is_empty() || !group.failed.is_empty()
        });
        let waiting = self.groups.values().filter(|group| !group.waiting.is_empty());
        waiting.filter_map(|group| group.counted(now).next()).map(|failed| failed + FAILED_COUNTS).min()
    }

    /// Returns the group for which an address is dialled, with its load.
    fn lightest(&mut self, now: Instant, book: &AddressBook, address: &PeerAddress) -> Option<(SourceGroup, usize)> {
        let sources = book.get(address).map(|peer| peer.sources.clone()).unwrap_or_default();
        // Of an address without a source nobody knows who named it.
        let sources = if sources.is_empty() { vec![SourceGroup::Relayed] } else { sources };
        let under_way = self.under_way(book);
        let loads = sources.into_iter().map(|of| (self.groups.entry(of).or_default().load(now, of, &under_way), of));
        loads.min().map(|(load, group)| (group, load))
    }

    /// Returns how many dials are under way for each group.
    fn under_way(&mut self, book: &AddressBook) -> BTreeMap<SourceGroup, usize> {
        self.begun.retain(|address, _| book.get(address).is_some_and(|peer| peer.state == AddressState::Attempting));
        let mut under_way = BTreeMap::new();
        for group in self.begun.values() {
            *under_way.entry(*group).or_default() += 1;
        }
        under_way
    }
}

impl Group {
    /// Returns how many of its dials are under way or failed lately; none of the user's.
    fn load(&self, now: Instant, of: SourceGroup, under_way: &BTreeMap<SourceGroup, usize>) -> usize {
        if of == SourceGroup::User { 0 } else { under_way.get(&of).copied().unwrap_or(0) + self.counted(now).count() }
    }

    /// Iterates over the failures that count, the oldest first.
    fn counted(&self, now: Instant) -> impl Iterator<Item = Instant> {
        self.failed.iter().copied().filter(move |failed| now < *failed + FAILED_COUNTS)
    }

    /// Forgets failures that are older.
    fn forget(&mut self, now: Instant, age: Duration) {
        while self.failed.front().is_some_and(|failed| *failed + age <= now) {
            self.failed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
