//! Knows a copy of a transaction by the text of its frame, before anything of it is parsed.
//!
//! Every full peer sends a transaction on in the same normal form, so copies are equal byte for byte. A copy costs one hash and one look-up then, an
//! eighth of reading it. The filter is a short cut and never a judge: it holds only what the core has accepted, so whatever is not in it is read, and what a full
//! pool refused is not taken for known when it comes again. It keeps the last two generations, which bounds it.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;
use siphasher::sip::SipHasher13;

/// How many frames one generation holds: with two, some 600 KB, which stay in a core's cache. Copies come within moments of the first, or not at all: this is a
/// sixth of a second of as many transactions as a node can take.
const GENERATION: usize = 16_384;

/// The fingerprint of a frame's text: 64 bits under a key that nobody else knows, so that nobody can make two texts that share one. That two do by chance
/// happens once in 10^14; then the second one comes by comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// The texts of the transactions that were accepted lately.
#[derive(Debug)]
pub(crate) struct Filter {
    hasher: SipHasher13,
    known: RwLock<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Fingerprint, RandomState>,
    old: HashSet<Fingerprint, RandomState>,
}

impl Filter {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(key), known: RwLock::default() }
    }

    pub(crate) fn fingerprint(&self, text: &str) -> Fingerprint {
        Fingerprint(self.hasher.hash(text.as_bytes()))
    }

    /// Whether this text is a transaction that is held.
    pub(crate) fn knows(&self, text: &str) -> bool {
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
