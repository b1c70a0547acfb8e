//! The shares of a bounded table: which party brought which entries, so that a full table takes
//! room from the party that has most, and none can fill it alone.

use std::collections::{BTreeMap, BTreeSet};

/// The shares of all parties. Each entry has a key, and a weight: one, or its bytes. Keys are in
/// the order in which the entries of a party give way.
#[derive(Debug)]
pub struct Shares<P, K> {
    entries: BTreeMap<P, BTreeSet<K>>,
    weights: BTreeMap<P, usize>,
    by_weight: BTreeSet<(usize, P)>,
}

impl<P, K> Default for Shares<P, K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), weights: BTreeMap::new(), by_weight: BTreeSet::new() }
    }
}

impl<P: Ord + Copy, K: Ord> Shares<P, K> {
    /// Adds an entry of a party.
    pub fn insert(&mut self, party: P, key: K, weight: usize) {
        if self.entries.entry(party).or_default().insert(key) {
            self.weigh(party, |all| all + weight);
        }
    }

    /// Removes an entry of a party, which was added with this weight.
    pub fn remove(&mut self, party: P, key: &K, weight: usize) {
        let Some(entries) = self.entries.get_mut(&party) else { return };
        if entries.remove(key) {
            if entries.is_empty() {
                self.entries.remove(&party);
            }
            self.weigh(party, |all| all - weight);
        }
    }

    fn weigh(&mut self, party: P, change: impl FnOnce(usize) -> usize) {
        let before = self.weights.remove(&party).unwrap_or(0);
        self.by_weight.remove(&(before, party));
        if self.entries.contains_key(&party) {
            let after = change(before);
            self.weights.insert(party, after);
            self.by_weight.insert((after, party));
        }
    }

    /// Iterates over the entries of the party with most, the first to give way first.
    pub fn of_largest(&self) -> impl Iterator<Item = &K> {
        self.by_weight.last().and_then(|(_, party)| self.entries.get(party)).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(shares: &Shares<char, u32>) -> Option<u32> {
        shares.of_largest().next().copied()
    }

    #[test]
    fn the_party_with_most_gives_way_with_its_first_entry() {
        let mut shares = Shares::default();
        assert_eq!(first(&shares), None);
        for (party, key, weight) in [('a', 5, 1), ('b', 7, 1), ('b', 6, 1), ('b', 6, 1)] {
            shares.insert(party, key, weight);
        }
        assert_eq!(shares.of_largest().copied().collect::<Vec<_>>(), [6, 7]);
        shares.insert('a', 1, 5);
        assert_eq!(first(&shares), Some(1), "by weight");
        shares.remove('a', &1, 5);
        shares.remove('a', &1, 5);
        assert_eq!(first(&shares), Some(6));
        for (party, key) in [('b', 6), ('b', 7), ('a', 5), ('c', 9)] {
            shares.remove(party, &key, 1);
        }
        assert!(first(&shares).is_none() && shares.weights.is_empty() && shares.entries.is_empty());
    }
}
