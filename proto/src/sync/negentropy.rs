//! Negentropy over sorted blocks, with the sums of whole blocks in place of their items.
//!
//! The crate fingerprints a range by walking over all of it and adding up the identities. With a
//! million transactions that takes milliseconds per message, in the one task that owns the core. So
//! a walk that only adds up is shown one identity per whole block: the block's sum. Which walks
//! only add up follows from the message, whose ranges are read ahead here. The tests compare both
//! ways. If the reading were wrong, a comparison would find false differences, or end: nothing
//! would be lost.

use std::cell::Cell;

use ::negentropy::{Bound, Error, Id, Item, Negentropy, NegentropyStorageBase};

use crate::store::sorted_blocks::SortedBlocks;
use crate::wire::Floor;

/// The longest message, in bytes; in base64 it is a third longer.
pub(crate) const STEP_BYTES: u64 = 48 * 1024;
/// A walk over fewer items is shown each of them: below 32 the crate lists identities instead of
/// fingerprints, and it looks at two to find a bound between them.
const FEW: usize = 64;

/// A range that is skipped.
const SKIP: u64 = 0;
/// A range that carries a fingerprint.
const FINGERPRINT: u64 = 1;
/// A range that lists its identities.
const LIST: u64 = 2;

/// Returns the first question.
pub(crate) fn begin(items: &SortedBlocks) -> Result<Vec<u8>, Error> {
    Negentropy::owned(Walks::new(items, &[], Walk::Sum), STEP_BYTES)?.initiate()
}

/// Returns the first question about the items from a floor on, below which there are none. The
/// other side skips what it has below.
pub(crate) fn begin_from(items: &SortedBlocks, floor: &Floor) -> Result<Vec<u8>, Error> {
    let question = begin(items)?;
    // Its first range begins at zero, and ends at the next bound. A time is written as its distance
    // from the one before, plus one; zero stands for the end.
    let Some((first, rest)) = question.get(1..).and_then(number).filter(|_| *floor != Floor::default()) else {
        return Ok(question);
    };
    let next = if first == 0 { 0 } else { (first - 1).saturating_sub(floor.time) + 1 };
    let mut skipping = vec![question[0]];
    push_number(&mut skipping, floor.time + 1);
    push_number(&mut skipping, floor.id.len() as u64);
    skipping.extend(floor.id);
    push_number(&mut skipping, SKIP);
    push_number(&mut skipping, next);
    skipping.extend(rest);
    Ok(skipping)
}

/// Answers a question.
///
/// # Errors
/// The question is malformed.
pub(crate) fn answer(items: &SortedBlocks, question: &[u8]) -> Result<Vec<u8>, Error> {
    Negentropy::owned(Walks::new(items, question, Walk::List), STEP_BYTES)?.reconcile(question)
}

/// Reads an answer: adds what the other side lists, in no order and perhaps twice. The caller knows
/// what it has of that. What the other side lacks it finds by itself. Returns the next question, if
/// one is needed.
///
/// # Errors
/// The answer is malformed. What was read before is added all the same.
pub(crate) fn conclude(items: &SortedBlocks, answer: &[u8], listed: &mut Vec<Id>) -> Result<Option<Vec<u8>>, Error> {
    let mut negentropy = Negentropy::owned(Walks::new(items, answer, Walk::Sum), STEP_BYTES)?;
    negentropy.set_initiator();
    negentropy.reconcile_with_ids(answer, &mut Vec::new(), listed)
}

/// What a walk of the crate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// It adds up.
    Sum,
    /// It compares a list of the other side with our items: the first of a range that is a list. It
    /// is shown nothing, as a short list may be one of a range with millions of ours.
    Compare,
    /// It lists our items, as far as they fit into a message.
    List,
}

/// The items, as the crate walks over them to read one message.
struct Walks<'a> {
    items: &'a SortedBlocks,
    /// The kinds of the message's ranges, in its order.
    kinds: Vec<u64>,
    /// How many ranges were begun: the crate looks up the end of each once.
    begun: Cell<usize>,
    /// The walk after [`Walk::Compare`].
    then: Walk,
    next: Cell<Walk>,
}

impl<'a> Walks<'a> {
    fn new(items: &'a SortedBlocks, message: &[u8], then: Walk) -> Self {
        Self { items, kinds: kinds(message), begun: Cell::new(0), then, next: Cell::new(Walk::Sum) }
    }
}

impl NegentropyStorageBase for Walks<'_> {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.items.len())
    }

    fn get_item(&self, index: usize) -> Result<Option<Item>, Error> {
        Ok(self.items.get(index).copied())
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if begin > end || end > self.items.len() {
            return Err(Error::BadRange);
        }
        let walk = self.next.replace(Walk::Sum);
        if walk == Walk::Compare {
            self.next.set(self.then);
            return Ok(());
        }
        if walk == Walk::Sum && end - begin >= FEW {
            for sum in self.items.sums(begin..end) {
                each(Item::with_timestamp_and_id(0, sum), begin)?;
            }
            return Ok(());
        }
        for (index, item) in (begin..).zip(self.items.iter(begin..end)) {
            if !each(*item, index)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        let range = self.begun.replace(self.begun.get() + 1);
        let lists = self.kinds.get(range).is_some_and(|kind| *kind == LIST);
        self.next.set(if lists { Walk::Compare } else { Walk::Sum });
        self.items.below(&bound.item).clamp(first, last)
    }
}

/// Returns the kinds of a message's ranges, as far as they can be read.
fn kinds(message: &[u8]) -> Vec<u64> {
    let mut kinds = Vec::new();
    // The first byte is the version.
    let mut rest = message.get(1..).unwrap_or_default();
    while let Some((kind, after)) = range(rest) {
        kinds.push(kind);
        rest = after;
    }
    kinds
}

/// Reads the kind of the first range, and returns what follows it. A range has an upper bound (time
/// stamp, length of a prefix, prefix), a kind, and a payload.
fn range(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (_, bytes) = number(bytes)?;
    let (prefix, bytes) = number(bytes)?;
    let (kind, bytes) = number(bytes.get(usize::try_from(prefix).ok()?..)?)?;
    let (payload, bytes) = match kind {
        FINGERPRINT => (negentropy::FINGERPRINT_SIZE, bytes),
        LIST => {
            let (identities, bytes) = number(bytes)?;
            (usize::try_from(identities).ok()?.checked_mul(negentropy::ID_SIZE)?, bytes)
        }
        _ => (0, bytes),
    };
    Some((kind, bytes.get(payload..)?))
}

/// Reads a number: seven bits per byte, the highest first; all bytes but the last have their top
/// bit set.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let number = bytes[..=last].iter().fold(0_u64, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, &bytes[last + 1..]))
}

/// Appends a number as [`number`] reads it.
fn push_number(bytes: &mut Vec<u8>, number: u64) {
    let digits = (64 - number.leading_zeros()).div_ceil(7).max(1);
    for digit in (0..digits).rev() {
        bytes.push((number >> (7 * digit)) as u8 & 0x7f | if digit > 0 { 0x80 } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use negentropy::NegentropyStorageVector;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn plain(items: &[Item]) -> NegentropyStorageVector {
        let mut plain = NegentropyStorageVector::new();
        for item in items {
            plain.insert(item.timestamp, item.id).expect("not sealed yet");
        }
        plain.seal().expect("sealed once");
        plain
    }

    /// Compares two sets, and each message with that of the crate's own walk. Returns what the
    /// asking side needs, and the number of questions.
    fn compare(ours: &[Item], theirs: &[Item]) -> (BTreeSet<Id>, usize) {
        let (blocks, other) = (SortedBlocks::of(ours.to_vec()), SortedBlocks::of(theirs.to_vec()));
        let (plain_ours, plain_theirs) = (plain(ours), plain(theirs));
        let mut asking = Negentropy::borrowed(&plain_ours, STEP_BYTES).expect("allowed");
        let mut question = begin(&blocks).expect("a question");
        assert_eq!(question, asking.initiate().expect("a question"));
        let ours: BTreeSet<Id> = ours.iter().map(|item| item.id).collect();
        let (mut listed, mut need, mut questions) = (Vec::new(), Vec::new(), 1);
        loop {
            let told = answer(&other, &question).expect("an answer");
            let mut answering = Negentropy::borrowed(&plain_theirs, STEP_BYTES).expect("allowed");
            assert_eq!(told, answering.reconcile(&question).expect("an answer"));
            let next = conclude(&blocks, &told, &mut listed).expect("understood");
            assert_eq!(next, asking.reconcile_with_ids(&told, &mut Vec::new(), &mut need).expect("understood"));
            let Some(next) = next else {
                let found: BTreeSet<Id> = listed.into_iter().filter(|id| !ours.contains(id)).collect();
                assert_eq!(found, need.into_iter().collect());
                return (found, questions);
            };
            (question, questions) = (next, questions + 1);
            assert!(questions < 1_000);
        }
    }

    #[test]
    fn sums_of_blocks_change_no_message() {
        let mut rng = SmallRng::seed_from_u64(11);
        // (how many, every which is missing here, and there, how many time stamps, what is missing
        // here from then on)
        for (count, here, there, times, until) in [
            (0, 2, 2, 1, 1.0),
            (40, 3, 5, 1, 1.0),
            (20_000, 97, 89, 20_000, 1.0),
            (20_000, 3, 5_000, 1, 1.0),
            (20_000, 7_000, 2, 300, 0.5),
            (30_000, 1_000, 900, 30_000, 0.2),
        ] {
            let mut items: Vec<Item> = (0..count)
                .map(|_| Item::with_timestamp_and_id(rng.random_range(0..times), Id::from_byte_array(rng.random())))
                .collect();
            items.sort_unstable();
            let end = (count as f64 * until) as usize;
            let kept = |every: usize| (0..).zip(&items).filter(move |(n, _)| n % every != 1);
            let ours: Vec<Item> = kept(here).filter(|(n, _)| *n < end).map(|(_, item)| *item).collect();
            let theirs: Vec<Item> = kept(there).map(|(_, item)| *item).collect();
            let set = |items: &[Item]| items.iter().map(|item| item.id).collect::<BTreeSet<Id>>();
            let (need, questions) = compare(&ours, &theirs);
            assert_eq!(need, set(&theirs).difference(&set(&ours)).copied().collect(), "{count}, {questions} questions");
        }
    }

    #[test]
    fn a_question_from_a_floor_on_finds_all_above_it_and_nothing_below() {
        let mut rng = SmallRng::seed_from_u64(13);
        for (count, times) in [(0, 1), (5, 1), (40, 7), (3_000, 9), (20_000, 20_000)] {
            let mut theirs: Vec<Item> = (0..count)
                .map(|_| Item::with_timestamp_and_id(rng.random_range(0..times), Id::from_byte_array(rng.random())))
                .collect();
            theirs.sort_unstable();
            let first = theirs.get(count / 3).copied().unwrap_or(Item::with_timestamp(3));
            let floor = Floor { time: first.timestamp, id: *first.id };
            let kept = theirs.iter().skip(count / 3).enumerate();
            let ours: Vec<Item> = kept.clone().filter(|(n, _)| n % 10 != 1).map(|(_, item)| *item).collect();
            let lacking: BTreeSet<Id> = kept.filter(|(n, _)| n % 10 == 1).map(|(_, item)| item.id).collect();
            let (ours, theirs) = (SortedBlocks::of(ours), SortedBlocks::of(theirs));
            let (mut question, mut need) = (begin_from(&ours, &floor).expect("a question"), Vec::new());
            loop {
                let told = answer(&theirs, &question).expect("an answer");
                match conclude(&ours, &told, &mut need).expect("understood") {
                    Some(next) => question = next,
                    None => break,
                }
            }
            need.retain(|id| !ours.iter(0..ours.len()).any(|item| item.id == *id));
            assert_eq!(need.into_iter().collect::<BTreeSet<Id>>(), lacking, "{count}");
        }
    }

    #[test]
    fn equal_sets_above_a_floor_have_an_empty_answer() {
        let mut rng = SmallRng::seed_from_u64(17);
        let theirs: Vec<Item> =
            (0..20_000).map(|n| Item::with_timestamp_and_id(1_000 + n, Id::from_byte_array(rng.random()))).collect();
        for above in [5_000, 19_999] {
            let kept = &theirs[theirs.len() - above..];
            let floor = Floor { time: kept[0].timestamp, id: *kept[0].id };
            let question = begin_from(&SortedBlocks::of(kept.to_vec()), &floor).expect("a question");
            let answer = answer(&SortedBlocks::of(theirs.clone()), &question).expect("an answer");
            assert_eq!(answer, question[..1], "the version alone, with {above} above it");
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1_700_000_000, u64::from(u32::MAX), u64::MAX >> 1] {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            bytes.push(9);
            assert_eq!(number(&bytes), Some((value, &[9][..])));
        }
    }

    #[test]
    fn what_is_no_message_is_read_to_no_harm() {
        let mut rng = SmallRng::seed_from_u64(12);
        let items: Vec<Item> =
            (0..2_000).map(|n| Item::with_timestamp_and_id(n, Id::from_byte_array(rng.random()))).collect();
        let blocks = SortedBlocks::of(items.clone());
        let plain = plain(&items);
        let sound = begin(&SortedBlocks::of(items[..1_500].to_vec())).expect("a question");
        for round in 0..2_000 {
            let mut message = sound.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(1..message.len());
                message[at] = rng.random();
            }
            message.truncate(if round % 2 == 0 { rng.random_range(0..message.len()) } else { usize::MAX });
            let mut answering = Negentropy::borrowed(&plain, STEP_BYTES).expect("allowed");
            assert_eq!(answer(&blocks, &message), answering.reconcile(&message), "{message:?}");
        }
    }

    /// Returns how many items or sums a walk over the first `end` items is shown.
    fn shown(walks: &Walks<'_>, end: usize) -> usize {
        let mut shown = 0;
        walks
            .iterate(0, end, &mut |_, _| {
                shown += 1;
                Ok(true)
            })
            .expect("within the items");
        shown
    }

    #[test]
    fn walks_that_add_up_are_shown_sums_and_those_that_compare_nothing() {
        let items = SortedBlocks::of((0..2_048).map(Item::with_timestamp).collect());
        let fingerprint = Walks::new(&items, &[0x61, 0, 0, 0], Walk::List);
        assert_eq!(shown(&fingerprint, 2_048), 4, "one for each block");
        assert_eq!((shown(&fingerprint, FEW), shown(&fingerprint, FEW - 1)), (FEW, FEW - 1));
        assert_eq!(shown(&fingerprint, 512 + 10), 11);
        // A message with one list: its range is walked over twice to be answered.
        let list = [0x61, 0, 0, LIST as u8, 0];
        let walks = Walks::new(&items, &list, Walk::List);
        assert_eq!(shown(&walks, 1_024), 2, "no range has begun");
        let end = Bound::from_item(&Item::with_timestamp(1_024));
        assert_eq!(walks.find_lower_bound(0, 2_048, &end), 1_024);
        assert_eq!([0; 3].map(|_| shown(&walks, 1_024)), [0, 1_024, 2]);
        assert_eq!(walks.find_lower_bound(0, 7, &end), 7, "not beyond the last");
        assert_eq!(shown(&walks, 1_024), 2, "a range that was not read ahead");
        // And once to be read as an answer.
        let walks = Walks::new(&items, &list, Walk::Sum);
        walks.find_lower_bound(0, 2_048, &end);
        assert_eq!([0; 2].map(|_| shown(&walks, 1_024)), [0, 2]);
        let fingerprint: Vec<u8> = [&[0x61, 0, 0, FINGERPRINT as u8][..], &[0; 16]].concat();
        let read = Walks::new(&items, &fingerprint, Walk::List);
        read.find_lower_bound(0, 2_048, &end);
        assert_eq!(shown(&read, 1_024), 2);
        let walks = Walks::new(&items, &[], Walk::Sum);
        let bad = |from, to| walks.iterate(from, to, &mut |_, _| Ok(true)).is_err();
        assert!(bad(3, 2) && bad(0, 2_049) && !bad(2, 2) && !bad(0, 2_048));
    }

    /// However short the list of a peer is: what is listed of ours is what fits into one message.
    #[test]
    fn a_short_list_of_a_large_range_costs_little() {
        let items = SortedBlocks::of((0..100_000).map(Item::with_timestamp).collect());
        let list = [&[0x61, 0, 0, LIST as u8, 1][..], &[7; 32]].concat();
        let told = answer(&items, &list).expect("an answer");
        assert!(told.len() as u64 <= STEP_BYTES, "{}", told.len());
        let mut listed = Vec::new();
        assert_eq!(conclude(&items, &list, &mut listed).expect("understood"), None);
        assert_eq!(listed, [Id::from_byte_array([7; 32])]);
    }

    #[test]
    fn a_walk_ends_where_it_is_told_to() {
        let items = SortedBlocks::of((0..100).map(Item::with_timestamp).collect());
        let walks = Walks::new(&items, &[], Walk::Sum);
        walks.next.set(Walk::List);
        let mut seen = Vec::new();
        let walked = walks.iterate(10, 90, &mut |item, index| {
            seen.push((item.timestamp, index));
            Ok(index < 12)
        });
        assert_eq!((walked, seen), (Ok(()), vec![(10, 10), (11, 11), (12, 12)]));
    }

    #[test]
    fn kinds_are_read_as_far_as_a_message_can_be() {
        let fingerprint = [0_u8; 16];
        let ids = [0_u8; 64];
        let message = [
            &[0x61][..],
            &[0x81, 0x00, 0x02, 0xaa, 0xbb, FINGERPRINT as u8],
            &fingerprint,
            &[0, 0, LIST as u8, 2],
            &ids,
            &[5, 1, 0xcc, 0],
            &[0, 0, 0x83, 0x01],
        ]
        .concat();
        assert_eq!(kinds(&message), [FINGERPRINT, LIST, 0, 0x181]);
        assert_eq!(kinds(&message[..message.len() - 1]), [FINGERPRINT, LIST, 0], "the last number does not end");
        assert_eq!(kinds(&message[..7 + 15]), [0; 0]);
        assert_eq!(kinds(&message[..7 + 16 + 4 + 63]), [FINGERPRINT]);
        assert_eq!((kinds(&[]), kinds(&[0x61])), (vec![], vec![]));
        assert_eq!(number(&[0x7f, 1]), Some((127, &[1][..])));
        assert_eq!(number(&[0x81, 0x82, 0x03]), Some((1 << 14 | 2 << 7 | 3, &[][..])));
        assert_eq!((number(&[]), number(&[0x80])), (None, None));
        // Lengths of a liar that do not fit.
        let huge = [0xff; 9].into_iter().chain([0x7f]).collect::<Vec<u8>>();
        assert_eq!(kinds(&[&[0x61, 0, 0, LIST as u8][..], &huge].concat()), [0; 0]);
    }
}
