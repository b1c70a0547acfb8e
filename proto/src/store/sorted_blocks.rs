//! A sorted list in blocks: an insertion moves half a block, never the whole list, and each block
//! knows the sum of its identities.
//!
//! Invariants: no block is empty, or longer than [`BLOCK`]. All items are in order and different.
//! `starts` and each `sum` are those of the items.

use std::ops::Range;

use negentropy::{Id, Item};

/// The most items of a block. An insertion moves half a block, a sum reads two: 20 KiB is the
/// cheapest for both.
const BLOCK: usize = 512;
/// Fewer items than this are inserted into a block one by one; for more, a merge is cheaper.
const FEW: usize = 16;
/// By how many items a block grows. Doubling would leave half of the memory free after insertions
/// everywhere.
const GROWTH: usize = 64;

/// See the module. 40 bytes per item, and the free room of blocks that were split.
#[derive(Debug, Default)]
pub(crate) struct SortedBlocks {
    blocks: Vec<Block>,
    /// The number of items before each block.
    starts: Vec<usize>,
    length: usize,
}

#[derive(Debug)]
struct Block {
    items: Vec<Item>,
    sum: IdSum,
}

/// A sum of identities as negentropy adds them: 256-bit little-endian numbers, modulo 2^256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct IdSum([u64; 4]);

impl IdSum {
    fn of(items: &[Item]) -> Self {
        let mut sum = Self::default();
        for item in items {
            sum.add(&item.id);
        }
        sum
    }

    fn add(&mut self, id: &Id) {
        let mut carry = false;
        for (limb, bytes) in self.0.iter_mut().zip(id.chunks_exact(8)) {
            let added = u64::from_le_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, carry) = limb.carrying_add(added, carry);
        }
    }

    /// Returns the sum as an identity: adding it adds all that went into it.
    fn to_id(self) -> Id {
        let mut bytes = [0; 32];
        for (limb, bytes) in self.0.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&limb.to_le_bytes());
        }
        Id::from_byte_array(bytes)
    }
}

impl SortedBlocks {
    /// Sorts items, and drops duplicates.
    pub(crate) fn of(mut items: Vec<Item>) -> Self {
        items.sort_unstable();
        items.dedup();
        let blocks = items.chunks(BLOCK).map(|items| Block { items: items.to_vec(), sum: IdSum::of(items) });
        let mut list = Self { blocks: blocks.collect(), ..Self::default() };
        list.count();
        list
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Inserts items that are in order, and calls `added` with each that was not there. Each block
    /// is read once.
    pub(crate) fn insert(&mut self, items: &[Item], mut added: impl FnMut(&Item)) {
        let Some(first) = items.first() else { return };
        let at = self.blocks.partition_point(|block| block.items[0] <= *first).saturating_sub(1);
        let mut tail = self.blocks.split_off(at).into_iter().peekable();
        let mut rest = items;
        while let Some(block) = tail.next() {
            let into = match tail.peek() {
                Some(next) => rest.partition_point(|item| *item < next.items[0]),
                None => rest.len(),
            };
            let (own, later) = rest.split_at(into);
            self.push_merged(block, own, &mut added);
            rest = later;
        }
        // There was no block.
        self.push_merged(Block { items: Vec::new(), sum: IdSum::default() }, rest, &mut added);
        self.count();
    }

    /// Appends a block with items merged into it, in as many blocks as needed.
    fn push_merged(&mut self, mut block: Block, own: &[Item], added: &mut impl FnMut(&Item)) {
        let appended = block.items.last() < own.first();
        if own.len() < FEW && block.items.len() + own.len() <= BLOCK && !block.items.is_empty() {
            for item in own {
                let Err(place) = block.items.binary_search(item) else { continue };
                if block.items.len() == block.items.capacity() {
                    block.items.reserve_exact(GROWTH);
                }
                block.items.insert(place, *item);
                block.sum.add(&item.id);
                added(item);
            }
            return self.blocks.push(block);
        }
        let mut merged = Vec::with_capacity(block.items.len() + own.len());
        let mut held = block.items.iter().peekable();
        for item in own {
            merged.extend(std::iter::from_fn(|| held.next_if(|held| *held < item)));
            if held.peek() != Some(&item) && merged.last() != Some(item) {
                added(item);
                merged.push(*item);
            }
        }
        merged.extend(held);
        // Time stamps mostly grow: then blocks are left full. Otherwise each is left some room.
        let length = if appended { BLOCK } else { merged.len().div_ceil(merged.len().div_ceil(BLOCK).max(1)).max(1) };
        let pieces = merged.chunks(length);
        self.blocks.extend(pieces.map(|items| Block { items: items.to_vec(), sum: IdSum::of(items) }));
    }

    /// Keeps the items for which `keep` returns `true`.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Item) -> bool) {
        for block in &mut self.blocks {
            let before = block.items.len();
            block.items.retain(&mut keep);
            if block.items.len() < before {
                block.sum = IdSum::of(&block.items);
            }
        }
        self.blocks.retain(|block| !block.items.is_empty());
        self.count();
    }

    fn count(&mut self) {
        self.starts.clear();
        self.length = 0;
        for block in &self.blocks {
            self.starts.push(self.length);
            self.length += block.items.len();
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Item> {
        self.iter(index..index.checked_add(1)?).next()
    }

    /// Iterates over the items at some indices, as far as there are any.
    pub(crate) fn iter(&self, indices: Range<usize>) -> impl Iterator<Item = &Item> {
        let block = self.block_at(indices.start);
        let skipped = indices.start - self.starts.get(block).copied().unwrap_or(0);
        let items = self.blocks.get(block..).unwrap_or_default().iter().flat_map(|block| &block.items);
        items.skip(skipped).take(indices.len())
    }

    /// Iterates over identities whose sum is that of all items at some indices: one for each block
    /// within them.
    pub(crate) fn sums(&self, indices: Range<usize>) -> impl Iterator<Item = Id> {
        let first = self.starts.partition_point(|start| *start < indices.start);
        // The last block ends where the items do.
        let begun = self.starts.partition_point(|start| *start <= indices.end);
        let after = if indices.end == self.length { begun } else { begun.saturating_sub(1) }.max(first);
        let start = |block: usize| self.starts.get(block).copied().unwrap_or(self.length);
        let (from, to) = (start(first).min(indices.end), start(after).min(indices.end));
        let sums = self.blocks.get(first..after).unwrap_or_default().iter().map(|block| block.sum.to_id());
        let before = self.iter(indices.start..from).map(|item| item.id);
        before.chain(sums).chain(self.iter(to..indices.end).map(|item| item.id))
    }

    /// Returns the sum of the identities at some indices, as an identity.
    pub(crate) fn sum(&self, indices: Range<usize>) -> Id {
        let mut sum = IdSum::default();
        self.sums(indices).for_each(|id| sum.add(&id));
        sum.to_id()
    }

    /// Returns the number of items less than a given one.
    pub(crate) fn below(&self, bound: &Item) -> usize {
        let block = self.blocks.partition_point(|block| block.items[0] < *bound).saturating_sub(1);
        let within = self.blocks.get(block).map_or(0, |block| block.items.partition_point(|item| item < bound));
        self.starts.get(block).copied().unwrap_or(0) + within
    }

    /// Returns the block that holds an index.
    fn block_at(&self, index: usize) -> usize {
        self.starts.partition_point(|start| *start <= index).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn item(rng: &mut SmallRng, times: u64) -> Item {
        Item::with_timestamp_and_id(rng.random_range(0..times), Id::from_byte_array(rng.random()))
    }

    fn assert_sound(blocks: &SortedBlocks, model: &BTreeSet<Item>, rng: &mut SmallRng) {
        let items: Vec<Item> = model.iter().copied().collect();
        assert_eq!(
            (blocks.len(), blocks.iter(0..items.len()).copied().collect::<Vec<_>>()),
            (items.len(), items.clone())
        );
        assert!(blocks.blocks.iter().all(|block| (1..=BLOCK).contains(&block.items.len())));
        for _ in 0..50 {
            let (a, b) = (rng.random_range(0..=items.len()), rng.random_range(0..=items.len()));
            let range = a.min(b)..a.max(b);
            let mut sum = IdSum::default();
            blocks.sums(range.clone()).for_each(|id| sum.add(&id));
            assert_eq!(sum, IdSum::of(&items[range.clone()]), "{range:?}");
            assert!(
                blocks.sums(range).count() <= 2 * BLOCK + items.len() / (BLOCK / 2),
                "sums of whole blocks are used"
            );
            assert_eq!(blocks.get(a), items.get(a));
            let bound = item(rng, 100);
            assert_eq!(blocks.below(&bound), items.partition_point(|item| *item < bound));
        }
    }

    #[test]
    fn whatever_is_inserted_and_taken_out_the_list_is_that_of_a_sorted_set() {
        let mut rng = SmallRng::seed_from_u64(7);
        for begun in [0, 1, BLOCK, 5 * BLOCK + 3] {
            let mut model: BTreeSet<Item> = (0..begun).map(|_| item(&mut rng, 50)).collect();
            let mut blocks = SortedBlocks::of(model.iter().rev().chain(&model).copied().collect());
            assert_sound(&blocks, &model, &mut rng);
            for round in 0..12 {
                let mut fresh: Vec<Item> = (0..rng.random_range(0..700)).map(|_| item(&mut rng, 100)).collect();
                fresh.extend(model.iter().take(3));
                fresh.sort_unstable();
                let mut added = 0;
                blocks.insert(&fresh, |_| added += 1);
                let before = model.len();
                model.extend(&fresh);
                assert_eq!(added, model.len() - before);
                if round % 3 == 0 {
                    let time = rng.random_range(0..100);
                    blocks.retain(|item| item.timestamp / 4 != time / 4);
                    model.retain(|item| item.timestamp / 4 != time / 4);
                }
                assert_sound(&blocks, &model, &mut rng);
            }
        }
    }

    #[test]
    fn what_is_appended_fills_its_blocks() {
        let mut blocks = SortedBlocks::default();
        let items: Vec<Item> = (0..10 * BLOCK as u64).map(Item::with_timestamp).collect();
        for some in items.chunks(100) {
            blocks.insert(some, |_| {});
        }
        assert_eq!(blocks.blocks.len(), 10);
    }

    /// Items 0 to 9 of a hundred each, so that there is room for one more anywhere.
    fn numbers(count: u64) -> Vec<Item> {
        (0..count).map(|n| Item::with_timestamp(n * 10)).collect()
    }

    fn lengths(blocks: &SortedBlocks) -> Vec<usize> {
        blocks.blocks.iter().map(|block| block.items.len()).collect()
    }

    #[test]
    fn few_items_go_into_a_block_with_room_and_more_are_merged() {
        let few = |from: u64, count: u64| (0..count).map(|n| Item::with_timestamp(from + n)).collect::<Vec<_>>();
        let mut blocks = SortedBlocks::of(numbers(300));
        assert_eq!((lengths(&blocks), blocks.blocks[0].items.capacity()), (vec![300], 300));
        // Fifteen and one fit into the room that is made for the first.
        blocks.insert(&few(1, 9), |_| {});
        blocks.insert(&few(11, 6), |_| {});
        assert_eq!((lengths(&blocks), blocks.blocks[0].items.capacity()), (vec![315], 300 + GROWTH));
        blocks.insert(&few(21, 9), |_| {});
        blocks.insert(&few(31, 9), |_| {});
        assert_eq!(blocks.blocks[0].items.capacity(), 300 + GROWTH);
        let more: Vec<Item> = few(41, 9).into_iter().chain(few(51, 7)).collect();
        assert_eq!(more.len(), FEW);
        blocks.insert(&more, |_| {});
        assert_eq!((lengths(&blocks), blocks.blocks[0].items.capacity()), (vec![349], 349), "merged into a new one");
        let sum = IdSum::of(&blocks.blocks[0].items);
        assert_eq!(blocks.blocks[0].sum, sum);
    }

    #[test]
    fn a_full_block_is_split_in_halves() {
        let mut blocks = SortedBlocks::of(numbers(BLOCK as u64 - 1));
        blocks.insert(&[Item::with_timestamp(1)], |_| {});
        assert_eq!(lengths(&blocks), [BLOCK], "it had room for one");
        blocks.insert(&[Item::with_timestamp(2)], |_| {});
        assert_eq!(lengths(&blocks), [257, 256]);
        let end = Item::with_timestamp(1_000_000);
        let mut blocks = SortedBlocks::of(numbers(BLOCK as u64));
        blocks.insert(&[end], |_| {});
        assert_eq!(lengths(&blocks), [BLOCK, 1], "what is appended leaves full blocks");
        blocks.insert(&[end], |_| panic!("it is there"));
        assert_eq!((lengths(&blocks), blocks.len()), (vec![BLOCK, 1], BLOCK + 1));
        let mut blocks = SortedBlocks::default();
        blocks.insert(&[], |_| panic!("there is none"));
        assert_eq!((lengths(&blocks), blocks.len()), (vec![], 0));
        blocks.insert(&numbers(2 * BLOCK as u64 + 1), |_| {});
        assert_eq!(lengths(&blocks), [BLOCK, BLOCK, 1], "the first ones are appended too");
    }

    #[test]
    fn duplicates_in_what_is_inserted_count_once() {
        let twice = [5, 5, 6, 20, 20].map(Item::with_timestamp);
        for base in [0, 3, 600] {
            let mut blocks = SortedBlocks::of(numbers(base));
            let mut added = Vec::new();
            blocks.insert(&twice, |item| added.push(item.timestamp));
            let expected: Vec<u64> = [5, 6, 20].into_iter().filter(|n| base < 3 || *n != 20).collect();
            assert_eq!((added, blocks.len()), (expected.clone(), base as usize + expected.len()), "{base}");
        }
    }

    #[test]
    fn what_a_later_block_holds_is_not_added_again() {
        let items = numbers(3 * BLOCK as u64);
        for known in [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1] {
            let mut blocks = SortedBlocks::of(items.clone());
            let mut added = Vec::new();
            blocks.insert(&[Item::with_timestamp(1), items[known]], |item| added.push(item.timestamp));
            assert_eq!((added, blocks.len()), (vec![1], 3 * BLOCK + 1), "{known}");
        }
    }

    #[test]
    fn each_whole_block_in_a_range_is_one_sum() {
        let items = numbers(4 * BLOCK as u64);
        let blocks = SortedBlocks::of(items.clone());
        for (range, count) in [
            (0..4 * BLOCK, 4),
            (0..BLOCK, 1),
            (0..BLOCK - 1, BLOCK - 1),
            (0..BLOCK + 1, 2),
            (1..BLOCK, BLOCK - 1),
            (1..2 * BLOCK, BLOCK),
            (BLOCK - 1..2 * BLOCK + 1, 3),
            (BLOCK..2 * BLOCK, 1),
            (7..7, 0),
            (4 * BLOCK..4 * BLOCK, 0),
        ] {
            assert_eq!(blocks.sums(range.clone()).count(), count, "{range:?}");
        }
        assert_eq!(SortedBlocks::default().sums(0..0).count(), 0);
        assert_eq!(blocks.get(4 * BLOCK), None);
        assert_eq!((blocks.get(usize::MAX), blocks.get(BLOCK)), (None, Some(&items[BLOCK])));
        assert_eq!(blocks.iter(BLOCK - 1..BLOCK + 1).count(), 2);
    }

    #[test]
    fn sums_carry_from_limb_to_limb() {
        let id = |bytes: [u8; 32]| Id::from_byte_array(bytes);
        let mut one = [0; 32];
        one[0] = 1;
        let mut sum = IdSum::default();
        sum.add(&id([0xff; 32]));
        sum.add(&id(one));
        assert_eq!(sum, IdSum::default(), "modulo 2^256");
        let mut low = [0; 32];
        low[..8].fill(0xff);
        sum.add(&id(low));
        sum.add(&id(one));
        assert_eq!(sum, IdSum([0, 1, 0, 0]));
        let mut back = IdSum::default();
        back.add(&sum.to_id());
        assert_eq!(back, sum);
    }
}
