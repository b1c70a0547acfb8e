//! A map that is bounded by two generations: what was not used for a whole generation is forgotten.
//!
//! A full young generation becomes the old one, and the old one is dropped at once. So the bound
//! costs neither a list of ages nor a search for the oldest, and each entry is kept for one
//! generation at least.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// See the module. Without values it is a set. Its order must not reach an output.
#[derive(Debug)]
pub struct Generations<K, V = ()> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    size: usize,
    /// `None`: a generation ends when it is full, and no clock is looked at.
    lifetime: Option<Duration>,
    /// When the young generation began.
    since: Option<Instant>,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Bounds each of the two generations by a number of entries.
    pub fn new(size: usize) -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        Self { young, old, size, lifetime: None, since: None }
    }

    /// Ends a generation after this time as well. An entry is kept for as long at least, unless too
    /// many come.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime: Some(lifetime), ..self }
    }

    /// Returns the value of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Returns the value of a key, without moving it to the young generation.
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    /// Removes a key.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Returns whether a key is held.
    pub fn contains<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Inserts or replaces a value, in the young generation.
    pub fn insert(&mut self, now: Instant, key: K, value: V) {
        if !self.young.contains_key(&key) {
            self.old.remove(&key);
            if self.is_over(now) {
                self.begin_generation(now);
            }
        }
        self.young.insert(key, value);
    }

    /// Returns the value of a key, which moves to the young generation; the default if it is not
    /// held.
    pub fn entry(&mut self, now: Instant, key: &K) -> &mut V
    where
        K: Clone,
        V: Default,
    {
        // Mostly the young generation holds the key: then this is one look-up.
        if self.is_over(now) && !self.young.contains_key(key) {
            let value = self.old.remove(key).unwrap_or_default();
            self.begin_generation(now);
            return self.young.entry(key.clone()).or_insert(value);
        }
        let Self { young, old, .. } = self;
        young.entry(key.clone()).or_insert_with(|| old.remove(key).unwrap_or_default())
    }

    /// Iterates over all entries, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.young.iter_mut().chain(self.old.iter_mut())
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns for how many entries memory is reserved.
    pub fn capacity(&self) -> usize {
        self.young.capacity() + self.old.capacity()
    }

    /// Returns whether the young generation is full, or too old.
    fn is_over(&mut self, now: Instant) -> bool {
        let is_old = self.lifetime.is_some_and(|lifetime| {
            let since = *self.since.get_or_insert(now);
            now.saturating_duration_since(since) >= lifetime
        });
        is_old || self.young.len() >= self.size
    }

    fn begin_generation(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn filled(keys: std::ops::Range<u32>, size: usize) -> (Generations<u32, u32>, Instant) {
        let (mut map, now) = (Generations::new(size), Instant::now());
        keys.for_each(|key| map.insert(now, key, key * 10));
        (map, now)
    }

    #[test]
    fn each_entry_is_kept_for_one_generation_at_least_and_two_at_most() {
        let (mut map, now) = filled(0..8, 4);
        assert_eq!((map.len(), map.get(&0), map.get(&7)), (8, Some(&0), Some(&70)));
        map.insert(now, 8, 80);
        assert_eq!((map.len(), map.contains(&3), map.contains(&4)), (5, false, true));
        assert!(!map.is_empty() && Generations::<u32>::new(1).is_empty());
        assert!((5..=64).contains(&map.capacity()));
    }

    #[test]
    fn a_key_is_held_once_and_its_newest_value_counts() {
        let (mut map, now) = filled(0..4, 4);
        map.insert(now, 0, 1);
        assert_eq!((map.len(), map.get(&0)), (4, Some(&1)), "a full generation takes new values of its keys");
        map.insert(now, 4, 40);
        map.insert(now, 1, 2);
        assert_eq!((map.len(), map.get(&1)), (5, Some(&2)));
        *map.get_mut(&2).expect("held") = 3;
        assert_eq!((map.get(&2), map.contains(&9)), (Some(&3), false));
        assert_eq!(map.iter_mut().map(|(key, _)| *key).collect::<std::collections::BTreeSet<_>>(), (0..5).collect());
    }

    #[test]
    fn what_is_used_moves_to_the_young_generation() {
        let (mut map, now) = filled(0..4, 4);
        assert_eq!(*map.entry(now, &3), 30, "held by the full young generation");
        assert_eq!(*map.entry(now, &9), 0, "begins a generation");
        *map.entry(now, &0) += 5;
        assert_eq!((map.len(), map.young.len()), (5, 2));
        for key in 10..12 {
            map.entry(now, &key);
        }
        *map.entry(now, &1) += 6;
        assert_eq!((map.get(&0), map.get(&1), map.get(&2)), (Some(&5), Some(&16), None), "taken over, then full");
        assert_eq!((map.young.len(), map.old.len()), (1, 4));
    }

    #[test]
    fn a_generation_ends_with_its_lifetime() {
        let (mut set, start) = (Generations::new(100).with_lifetime(10 * SECOND), Instant::now());
        set.insert(start, 1, ());
        set.insert(start + 10 * SECOND - Duration::from_nanos(1), 2, ());
        assert_eq!(set.young.len(), 2);
        set.insert(start + 10 * SECOND, 3, ());
        assert_eq!((set.young.len(), set.contains(&1), set.contains(&2)), (1, true, true));
        set.insert(start + 19 * SECOND, 4, ());
        assert!(set.contains(&1), "the second generation began with the third key");
        set.insert(start + 20 * SECOND, 5, ());
        assert!(!set.contains(&1) && !set.contains(&2) && set.contains(&3) && set.contains(&4));
    }
}
