//! A filter of duplicates: it knows a transaction by the text of its frame, before parsing.
//!
//! Every peer forwards a transaction in the same normal form, so duplicates are equal byte for
//! byte. A duplicate then costs one hash and one look-up, an eighth of parsing it.
//!
//! The filter only saves time and decides nothing. It holds what the core has accepted; everything
//! else is parsed. So what a full pool refused is not taken for known when it comes again. Two
//! generations bound its size.
//!
//! Texts that are no duplicates pay for the look-up as well, and in a broadcast tree nearly all are
//! none. So the filter is off while few duplicates come; they are parsed then, and the core knows
//! them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use siphasher::sip::SipHasher13;

/// How many texts one generation holds. Both take some 600 KB, which stay in the CPU cache.
/// Duplicates come soon after the first or not at all: one generation is a sixth of a second at a
/// node's highest rate.
const GENERATION: usize = 16_384;
/// After so many transactions and duplicates it is decided again whether the filter is on.
const SAMPLE: u64 = 4_096;
/// The filter is off while fewer than one in so many is a duplicate: parsing costs as much as eight
/// look-ups, and to insert a text costs about one.
const DUPLICATE_IN: u64 = 16;

/// The fingerprint of a text: 64 bits under a secret key, so that no one can make two texts with
/// the same one. Two meet by chance once in 10^14 texts; then anti-entropy brings the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// The texts of the transactions that were accepted last.
#[derive(Debug)]
pub(crate) struct DuplicateFilter {
    hasher: SipHasher13,
    known: RwLock<Generations>,
    off: AtomicBool,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Fingerprint, RandomState>,
    old: HashSet<Fingerprint, RandomState>,
}

impl DuplicateFilter {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(key), known: RwLock::default(), off: AtomicBool::new(false) }
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    fn fingerprint(&self, text: &str) -> Fingerprint {
        Fingerprint(self.hasher.hash(text.as_bytes()))
    }

    /// Whether this is the text of a transaction that was accepted lately.
    pub(crate) fn knows(&self, text: &str) -> bool {
        if self.is_off() {
            return false;
        }
        let print = self.fingerprint(text);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.young.contains(&print) || known.old.contains(&print)
    }

    /// Forgets everything: transactions were removed from the pool, and may come again.
    fn clear(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }

    fn insert(&self, prints: impl IntoIterator<Item = Fingerprint>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for print in prints {
            if known.young.len() >= GENERATION {
                let Generations { young, old } = &mut *known;
                // Emptied, not dropped: growing a new table costs more than all insertions into it.
                std::mem::swap(young, old);
                young.clear();
            }
            known.young.insert(print);
        }
    }
}

/// The driver's side of the filter: it inserts what was accepted, and turns the filter on and off.
#[derive(Debug)]
pub(crate) struct DuplicateTracker {
    filter: Arc<DuplicateFilter>,
    /// Fingerprints to be inserted when the round ends.
    accepted: Vec<Fingerprint>,
    /// How many transactions were accepted in this round.
    round: u64,
    /// How many were accepted since the last decision.
    since_decision: u64,
    /// The number of duplicates at the last decision.
    duplicates: u64,
}

impl DuplicateTracker {
    pub(crate) fn new(filter: Arc<DuplicateFilter>) -> Self {
        Self { filter, accepted: Vec::new(), round: 0, since_decision: 0, duplicates: 0 }
    }

    /// Notes a transaction that was accepted, by the text of its frame.
    pub(crate) fn on_accepted(&mut self, text: &str) {
        self.round += 1;
        if !self.filter.is_off() {
            self.accepted.push(self.filter.fingerprint(text));
        }
    }

    /// Inserts what was accepted in this round. `duplicates`: how many there were since the node's
    /// start, those of the core included.
    pub(crate) fn end_round(&mut self, duplicates: u64) {
        if self.round > 0 {
            self.filter.insert(self.accepted.drain(..));
        }
        let accepted = std::mem::take(&mut self.round);
        self.decide(accepted, duplicates);
    }

    /// Empties the filter: transactions were removed from the pool, and may come again.
    pub(crate) fn clear(&self) {
        self.filter.clear();
    }

    fn decide(&mut self, accepted: u64, duplicates: u64) {
        self.since_decision += accepted;
        let more = duplicates.saturating_sub(self.duplicates);
        if self.since_decision + more >= SAMPLE {
            self.filter.off.store(more * DUPLICATE_IN < self.since_decision, Ordering::Relaxed);
            (self.since_decision, self.duplicates) = (0, duplicates);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_known_for_at_least_one_generation_and_not_for_ever() {
        let filter = DuplicateFilter::new(&[7; 16]);
        assert!(!filter.knows("0"));
        filter.insert([filter.fingerprint("0")]);
        assert!(filter.knows("0") && !filter.knows("1"));
        filter.insert((1..GENERATION).map(|n| filter.fingerprint(&n.to_string())));
        assert!(filter.knows("0"));
        filter.insert((0..2 * GENERATION).map(|n| filter.fingerprint(&format!("later {n}"))));
        assert!(!filter.knows("0"), "bounded");
    }

    #[test]
    fn it_is_off_while_few_duplicates_come_and_on_again_when_many_do() {
        let filter = Arc::new(DuplicateFilter::new(&[7; 16]));
        let mut tracker = DuplicateTracker::new(Arc::clone(&filter));
        tracker.on_accepted("0");
        tracker.end_round(0);
        tracker.decide(SAMPLE - 2, 0);
        assert!(filter.knows("0"), "not enough to decide");
        tracker.decide(1, 0);
        assert!(!filter.knows("0") && filter.is_off());
        tracker.on_accepted("1");
        assert!(tracker.accepted.is_empty(), "nothing is inserted while it is off");
        tracker.decide(SAMPLE, SAMPLE / DUPLICATE_IN);
        assert!(filter.knows("0"), "one in sixteen");
        tracker.decide(SAMPLE, SAMPLE / DUPLICATE_IN + 1);
        assert!(!filter.knows("0"));
        tracker.decide(0, SAMPLE);
        assert!(!filter.knows("0"));
        tracker.decide(0, SAMPLE + SAMPLE / DUPLICATE_IN + 1);
        assert!(filter.knows("0"), "duplicates alone, too");
    }

    #[test]
    fn ten_million_texts_take_no_more_memory_than_a_few_generations() {
        let filter = DuplicateFilter::new(&[7; 16]);
        let room = || {
            let known = filter.known.read().unwrap();
            known.young.capacity() + known.old.capacity()
        };
        // The keys are hashes already: which numbers they are does not matter.
        let learn = |from: u64, to: u64| {
            for begin in (from..to).step_by(1_024) {
                filter.insert((begin..to.min(begin + 1_024)).map(Fingerprint));
            }
        };
        learn(0, 3 * GENERATION as u64);
        let full = room();
        learn(3 * GENERATION as u64, 10_000_000);
        assert!(room() <= full, "{} instead of {full}", room());
        assert!(full * size_of::<Fingerprint>() < 1 << 20, "{full} slots");
    }
}
