//! Knows a copy of a transaction by the text of its frame, before anything of it is parsed.
//!
//! Every full peer sends a transaction on in the same normal form, so copies are equal byte for byte. A copy costs one hash and one look-up then, an
//! eighth of reading it. The filter is a short cut and never a judge: it holds only what the core has accepted, so whatever is not in it is read, and what a full
//! pool refused is not taken for known when it comes again. It keeps the last two generations, which bounds it.
//!
//! What is no copy pays for it all the same, and where each node has its place in a tree there are none. So the filter rests while few copies come; then they are
//! read, and the core knows them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;
use siphasher::sip::SipHasher13;

/// How many frames one generation holds: with two, some 600 KB, which stay in a core's cache. Copies come within moments of the first, or not at all: this is a
/// sixth of a second of as many transactions as a node can take.
const GENERATION: usize = 16_384;
/// After so many transactions and copies it is decided anew whether the filter rests.
const COUNTED: u64 = 4_096;
/// It does while fewer than one in so many is a copy: a copy that is read costs as much as eight times asking, and remembering costs about as much as asking.
const COPY_IN: u64 = 16;

/// The fingerprint of a frame's text: 64 bits under a key that nobody else knows, so that nobody can make two texts that share one. That two do by chance
/// happens once in 10^14; then the second one comes by comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// The texts of the transactions that were accepted lately.
#[derive(Debug)]
pub(crate) struct Filter {
    hasher: SipHasher13,
    known: RwLock<Generations>,
    rests: AtomicBool,
}

/// Counts what decides whether a filter rests.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    accepted: u64,
    /// How many copies there had been when the counting began.
    before: u64,
}

impl Copies {
    /// Counts transactions that were accepted. `copies`: how many copies there were since the node's start, whoever knew them. Has the filter rest, or work, once
    /// enough are counted.
    pub(crate) fn count(&mut self, filter: &Filter, accepted: u64, copies: u64) {
        self.accepted += accepted;
        let more = copies.saturating_sub(self.before);
        if self.accepted + more >= COUNTED {
            filter.rest(more * COPY_IN < self.accepted);
            *self = Self { accepted: 0, before: copies };
        }
    }
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Fingerprint, RandomState>,
    old: HashSet<Fingerprint, RandomState>,
}

impl Filter {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(key), known: RwLock::default(), rests: AtomicBool::new(false) }
    }

    fn rest(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    /// The fingerprint of a text that was accepted, to be learned; `None` while the filter rests.
    pub(crate) fn take_in(&self, text: &str) -> Option<Fingerprint> {
        (!self.rests.load(Ordering::Relaxed)).then(|| self.fingerprint(text))
    }

    fn fingerprint(&self, text: &str) -> Fingerprint {
        Fingerprint(self.hasher.hash(text.as_bytes()))
    }

    /// Whether this text is a transaction that is held, as far as this remembers.
    pub(crate) fn knows(&self, text: &str) -> bool {
        if self.rests.load(Ordering::Relaxed) {
            return false;
        }
        let print = self.fingerprint(text);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.young.contains(&print) || known.old.contains(&print)
    }

    /// Knows nothing any more: something that was held is lost, and may come again.
    pub(crate) fn clear(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Generations::default();
    }

    /// Remembers texts that were accepted.
    pub(crate) fn learn(&self, prints: impl IntoIterator<Item = Fingerprint>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for print in prints {
            if known.young.len() >= GENERATION {
                let Generations { young, old } = &mut *known;
                // Emptied, not dropped: a table that grows anew costs more than all that is put into it.
                std::mem::swap(young, old);
                young.clear();
            }
            known.young.insert(print);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_known_for_at_least_one_generation_and_not_for_ever() {
        let filter = Filter::new(&[7; 16]);
        assert!(!filter.knows("0"));
        filter.learn([filter.fingerprint("0")]);
        assert!(filter.knows("0") && !filter.knows("1"));
        filter.learn((1..GENERATION).map(|n| filter.fingerprint(&n.to_string())));
        assert!(filter.knows("0"));
        filter.learn((0..2 * GENERATION).map(|n| filter.fingerprint(&format!("later {n}"))));
        assert!(!filter.knows("0"), "bounded");
    }

    #[test]
    fn it_rests_while_few_copies_come_and_works_again_when_many_do() {
        let (filter, mut copies) = (Filter::new(&[7; 16]), Copies::default());
        filter.learn(filter.take_in("0"));
        copies.count(&filter, COUNTED - 1, 0);
        assert!(filter.knows("0"), "not enough to decide");
        copies.count(&filter, 1, 0);
        assert!(!filter.knows("0") && filter.take_in("1").is_none());
        copies.count(&filter, COUNTED, COUNTED / COPY_IN);
        assert!(filter.knows("0"), "one in sixteen");
        copies.count(&filter, COUNTED, COUNTED / COPY_IN + 1);
        assert!(!filter.knows("0"));
        copies.count(&filter, 0, COUNTED);
        assert!(!filter.knows("0"));
        copies.count(&filter, 0, COUNTED + COUNTED / COPY_IN + 1);
        assert!(filter.knows("0"), "copies alone, too");
    }

    #[test]
    fn ten_million_texts_take_no_more_memory_than_a_few_generations() {
        let filter = Filter::new(&[7; 16]);
        let room = || {
            let known = filter.known.read().unwrap();
            known.young.capacity() + known.old.capacity()
        };
        // The keys are hashes already: which numbers they are does not matter.
        let learn = |from: u64, to: u64| {
            for begin in (from..to).step_by(1_024) {
                filter.learn((begin..to.min(begin + 1_024)).map(Fingerprint));
            }
        };
        learn(0, 3 * GENERATION as u64);
        let full = room();
        learn(3 * GENERATION as u64, 10_000_000);
        assert!(room() <= full, "{} instead of {full}", room());
        assert!(full * size_of::<Fingerprint>() < 1 << 20, "{full} places");
    }
}
