//! The broadcasts of the last ten minutes, and the digests of those that were seen.
//!
//! They are in memory only. A digest is remembered for twice as long at least, so that no copy that
//! another node still keeps is new here again. Broadcasts of different origins, or with different
//! texts, are different ones, also if they have the same id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use foldhash::fast::RandomState;
use sha2::{Digest, Sha256};

use crate::connections::table::Party;
use crate::limits;
use crate::transaction::Origin;
use crate::util::generations::Generations;
use crate::util::shares::Shares;
use crate::wire::{Broadcast, BroadcastDigest, BroadcastId};

/// See the module. Bounded in number and bytes: the oldest are dropped first of the party that
/// brought most, so that nobody drives out what others said.
#[derive(Debug)]
pub(crate) struct BroadcastStore {
    /// Its order reaches no output.
    held: HashMap<BroadcastDigest, HeldBroadcast, RandomState>,
    /// The oldest first, with their bytes.
    by_age: BTreeMap<(Instant, BroadcastDigest), usize>,
    /// The held ones by id.
    by_id: BTreeSet<(BroadcastId, BroadcastDigest)>,
    bytes: usize,
    /// The held ones by who brought them.
    shares: Shares<Party, (Instant, BroadcastDigest)>,
    /// The digests that were seen, each with whether a live copy came: one that did not answer a
    /// comparison.
    seen: Generations<BroadcastDigest, bool>,
    /// The ids that were seen, each with the hash of its first text.
    texts: Generations<BroadcastId, u64>,
}

/// A broadcast that is held.
#[derive(Debug)]
pub(crate) struct HeldBroadcast {
    pub(crate) broadcast: Broadcast,
    pub(crate) origin: Origin,
    /// When it was new in the network, as far as is known here.
    pub(crate) born: Instant,
    /// When it came here.
    pub(crate) received: Instant,
    /// Whether it did not come in answer to a comparison.
    pub(crate) is_live: bool,
    /// Who brought it.
    pub(crate) by: Party,
}

impl HeldBroadcast {
    /// Returns how many bytes it takes here, and about as many in a frame.
    pub(crate) fn bytes(&self) -> usize {
        self.broadcast.message.len() + self.broadcast.seal.as_ref().map_or(0, |seal| seal.canonical.len())
    }
}

impl Default for BroadcastStore {
    fn default() -> Self {
        let seen = Generations::new(limits::SEEN / 2).with_lifetime(limits::SEEN_TTL);
        let texts = Generations::new(limits::SEEN / 2).with_lifetime(limits::SEEN_TTL);
        let (by_age, by_id) = (BTreeMap::new(), BTreeSet::new());
        Self { held: HashMap::default(), by_age, by_id, bytes: 0, shares: Shares::default(), seen, texts }
    }
}

impl BroadcastStore {
    /// Returns whether a broadcast was seen, also if it is not held any more.
    pub(crate) fn has_seen(&self, digest: &BroadcastDigest) -> bool {
        self.seen.contains(digest)
    }

    /// Returns whether a broadcast was seen, and only in answers to comparisons.
    pub(crate) fn is_only_compared(&self, digest: &BroadcastDigest) -> bool {
        self.seen.get(digest) == Some(&false)
    }

    /// Returns whether any broadcast with this id was seen.
    pub(crate) fn has_seen_id(&self, id: &BroadcastId) -> bool {
        self.texts.contains(id)
    }

    pub(crate) fn get(&self, digest: &BroadcastDigest) -> Option<&HeldBroadcast> {
        self.held.get(digest)
    }

    /// Returns one of those that are held with an id.
    pub(crate) fn with_id(&self, id: BroadcastId) -> Option<&HeldBroadcast> {
        let (first, last) = (BroadcastDigest([0; 32]), BroadcastDigest([u8::MAX; 32]));
        self.by_id.range((id, first)..=(id, last)).find_map(|(_, digest)| self.held.get(digest))
    }

    /// Iterates over what is held in the order of ids.
    pub(crate) fn iter_by_id(&self) -> impl Iterator<Item = &HeldBroadcast> {
        self.by_id.iter().filter_map(|(_, digest)| self.held.get(digest))
    }

    /// Iterates over what is held with its digests, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BroadcastDigest, &HeldBroadcast)> {
        self.by_age.keys().filter_map(|(_, digest)| Some((digest, self.held.get(digest)?)))
    }

    /// Inserts a broadcast that was not seen before, or a live copy of one that was only compared.
    /// Returns whether the same text was seen under the same id: a client that sends it to two
    /// nodes causes two broadcasts of one message.
    pub(crate) fn insert(&mut self, now: Instant, digest: BroadcastDigest, held: HeldBroadcast) -> bool {
        if let Some(born) = self.held.get(&digest).map(|before| before.born) {
            self.remove((born, digest));
        }
        let (id, bytes) = (held.broadcast.id, held.bytes());
        let text = hash_of(&held.broadcast.message);
        let first = self.texts.get(&id).copied();
        if first.is_none() {
            self.texts.insert(now, id, text);
        }
        self.seen.insert(now, digest, held.is_live);
        self.bytes += bytes;
        self.by_age.insert((held.born, digest), bytes);
        self.by_id.insert((id, digest));
        self.shares.insert(held.by, (held.born, digest), weight(bytes));
        self.held.insert(digest, held);
        while self.held.len() > limits::BROADCASTS || self.bytes > limits::BROADCASTS_BYTES {
            let Some(first) = self.shares.of_largest().next().copied() else { break };
            self.remove(first);
        }
        first == Some(text)
    }

    /// Drops broadcasts that are older than [`limits::BROADCAST_TTL`].
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(first) = self.by_age.keys().next().copied()
            && now.saturating_duration_since(first.0) >= limits::BROADCAST_TTL
        {
            self.remove(first);
        }
    }

    fn remove(&mut self, key: (Instant, BroadcastDigest)) {
        let Some(bytes) = self.by_age.remove(&key) else { return };
        self.bytes -= bytes;
        if let Some(held) = self.held.remove(&key.1) {
            self.by_id.remove(&(held.broadcast.id, key.1));
            self.shares.remove(held.by, &key, weight(bytes));
        }
    }
}

/// Returns what a broadcast of so many bytes counts for in a share: the bounds of number and bytes
/// are used up alike.
fn weight(bytes: usize) -> usize {
    bytes.max(limits::BROADCASTS_BYTES / limits::BROADCASTS)
}

/// Returns the hash of a text. A collision takes 2^64 attempts against one text.
fn hash_of(text: &str) -> u64 {
    let hash: [u8; 32] = Sha256::digest(text).into();
    u64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::id::NodeId;
    use crate::ip_prefix::SourceGroup;
    use crate::signature::{Seal, Signature};

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: u32) -> BroadcastId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        BroadcastId(id)
    }

    fn digest(n: u32) -> BroadcastDigest {
        BroadcastDigest(id(n).0)
    }

    fn insert(store: &mut BroadcastStore, n: u32, message: &str, at: Instant) {
        bring(store, 0, n, message, at);
    }

    /// A broadcast that a neighbor at another address brings.
    fn held(by: u8, n: u32, message: &str, at: Instant) -> HeldBroadcast {
        let by = (SourceGroup::of([192, 0, 2, by].into()), None);
        let broadcast = Broadcast { id: id(n), message: message.into(), time: 0.0, seal: None };
        let origin = Origin::Node(NodeId([1; 32]));
        HeldBroadcast { broadcast, origin, born: at, received: at, is_live: true, by }
    }

    fn bring(store: &mut BroadcastStore, by: u8, n: u32, message: &str, at: Instant) {
        store.insert(at, digest(n), held(by, n, message, at));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes_and_what_was_seen_is_not_forgotten_with_it() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        insert(&mut store, 0, "x", start);
        for n in 1..=limits::BROADCASTS as u32 {
            insert(&mut store, n, "x", start + Duration::from_millis(u64::from(n)));
        }
        assert_eq!((store.iter().count(), store.bytes), (limits::BROADCASTS, limits::BROADCASTS));
        assert!(store.get(&digest(0)).is_none() && store.has_seen(&digest(0)), "the oldest gave way");
        assert!(store.with_id(id(0)).is_none() && store.has_seen_id(&id(0)));
        assert!(store.get(&digest(1)).is_some());
        let long = "x".repeat(limits::BROADCAST_BYTES);
        for n in 0..2_000 {
            insert(&mut store, 100_000 + n, &long, start + SECOND * 100);
        }
        assert_eq!((store.bytes, store.iter().count()), (limits::BROADCASTS_BYTES, 1_024));
        store.expire(start + SECOND * 700);
        assert_eq!((store.iter().count(), store.bytes, store.held.len()), (0, 0, 0));
        assert!(store.by_id.is_empty());
    }

    #[test]
    fn nobody_drives_out_what_others_broadcast() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        for n in 0..100 {
            bring(&mut store, 1, n, "honest", start);
        }
        let long = "x".repeat(limits::BROADCAST_BYTES);
        for n in 0..60_000 {
            let text = if n < 50_000 { "x" } else { &long };
            bring(&mut store, 2, 1_000 + n, text, start + Duration::from_millis(u64::from(n)));
        }
        assert!((0..100).all(|n| store.get(&digest(n)).is_some()), "the oldest, and all there");
        assert!(store.bytes <= limits::BROADCASTS_BYTES && store.held.len() <= limits::BROADCASTS);
        bring(&mut store, 3, 500, &long, start);
        assert!(store.get(&digest(500)).is_some(), "there is room for others");
    }

    #[test]
    fn a_share_is_measured_in_bytes_as_well_as_in_number() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        for n in 0..2_000 {
            bring(&mut store, 1, n, "short", start);
        }
        let long = "x".repeat(limits::BROADCAST_BYTES);
        for n in 0..1_200 {
            bring(&mut store, 2, 10_000 + n, &long, start);
        }
        assert!((0..2_000).all(|n| store.get(&digest(n)).is_some()), "fewer, and most of the bytes, give way");
        // Ten thousand short ones use up more than half of the number.
        let mut store = BroadcastStore::default();
        for n in 0..400 {
            bring(&mut store, 1, n, &long, start);
        }
        for (by, from, to) in [(2, 1_000, 11_000), (3, 20_000, 26_100)] {
            (from..to).for_each(|n| bring(&mut store, by, n, "short", start));
        }
        assert!((0..400).all(|n| store.get(&digest(n)).is_some()), "most of the number gives way");
    }

    #[test]
    fn one_text_under_one_id_is_one_message_by_whichever_node_it_came() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        assert!(!store.has_seen(&digest(1)) && !store.has_seen_id(&id(1)) && store.with_id(id(1)).is_none());
        let cases = [
            (1, 1, "text", false),
            (1, 2, "text", true),
            (1, 3, "another", false),
            (1, 4, "another", false),
            (1, 5, "text", true),
            (2, 6, "text", false),
        ];
        for (number, of, text, repeats) in cases {
            let held = held(0, number, text, start);
            assert_eq!(store.insert(start, digest(of), held), repeats, "{number} {of} {text}");
            assert!(store.has_seen(&digest(of)) && store.has_seen_id(&id(number)));
        }
        assert_eq!(store.with_id(id(2)).map(|held| &*held.broadcast.message), Some("text"));
        let ids: Vec<BroadcastId> = store.iter_by_id().map(|held| held.broadcast.id).collect();
        assert_eq!(ids, [1, 1, 1, 1, 1, 2].map(id));
    }

    #[test]
    fn a_signature_counts_with_the_text_that_it_signs() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        let mut held = held(0, 1, "12345", start);
        held.broadcast.seal = Some(Arc::new(Seal { canonical: "x".repeat(100), signature: Signature([0; 64]) }));
        assert_eq!(held.bytes(), 105);
        store.insert(start, digest(1), held);
        assert_eq!(store.bytes, 105);
    }

    #[test]
    fn a_live_copy_takes_the_place_of_one_that_was_only_compared() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        let compared = HeldBroadcast { is_live: false, ..held(1, 1, "text", start) };
        assert!(!store.insert(start, digest(1), compared));
        assert!(store.has_seen(&digest(1)) && store.is_only_compared(&digest(1)));
        assert!(store.insert(start, digest(1), held(2, 1, "text", start + SECOND)), "it was reported");
        assert!(!store.is_only_compared(&digest(1)) && !store.is_only_compared(&digest(2)));
        assert_eq!((store.iter().count(), store.bytes, store.by_id.len()), (1, 4, 1));
        assert_eq!(store.get(&digest(1)).map(|held| held.born), Some(start + SECOND));
        store.expire(start + SECOND + limits::BROADCAST_TTL);
        assert_eq!((store.held.len(), store.bytes, store.by_id.len()), (0, 0, 0));
        assert!(store.shares.of_largest().next().is_none());
    }

    #[test]
    fn a_broadcast_is_dropped_at_the_age_of_ten_minutes_and_the_oldest_comes_first() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        insert(&mut store, 2, "young", start + SECOND);
        insert(&mut store, 3, "old", start);
        insert(&mut store, 1, "as old", start);
        let texts = |store: &BroadcastStore| -> Vec<String> {
            store.iter().map(|(_, held)| held.broadcast.message.to_string()).collect()
        };
        store.expire(start + limits::BROADCAST_TTL - Duration::from_nanos(1));
        assert_eq!(texts(&store), ["as old", "old", "young"]);
        store.expire(start + limits::BROADCAST_TTL);
        assert_eq!((texts(&store), store.bytes), (vec!["young".to_owned()], 5));
    }

    #[test]
    fn digests_are_remembered_for_twenty_minutes_and_bounded() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        let seen = &mut store.seen;
        seen.insert(start, digest(1), true);
        seen.insert(start + limits::SEEN_TTL - SECOND, digest(2), true);
        seen.insert(start + limits::SEEN_TTL, digest(3), true);
        assert!(seen.contains(&digest(1)) && seen.contains(&digest(2)));
        seen.insert(start + limits::SEEN_TTL * 2, digest(4), true);
        assert!(!seen.contains(&digest(1)) && seen.contains(&digest(3)));
        for n in 0..1_200_000 {
            seen.insert(start + limits::SEEN_TTL * 2, digest(10 + n), true);
        }
        assert!(seen.len() <= limits::SEEN);
    }
}
